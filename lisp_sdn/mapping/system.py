"""The mapping system: Map-Server and Map-Resolver in one core, without I/O.

The edge calls `receive` with every datagram of UDP port 4342 and carries out the actions that come
back. A Map-Notify leaves only after the store is durable: the edge calls `durable` with what
`store.flush` returned.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lisp_sdn.actions import Action, Dropped, Event, MappingChanged, SendControl
from lisp_sdn.address import AnyAddress, EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config
from lisp_sdn.errors import DecodeError
from lisp_sdn.mapping.chain import Kind, Query, Source
from lisp_sdn.mapping.database import Database, destination_of
from lisp_sdn.mapping.ddt import refer
from lisp_sdn.mapping.faces import Concerns, Faces
from lisp_sdn.mapping.intake import (
    MAX_RECORDS,
    Arrival,
    Intake,
    query_of,
    requester_of,
    usable_rlocs,
)
from lisp_sdn.mapping.inventory import Inventory
from lisp_sdn.mapping.origins import Origins, origins
from lisp_sdn.mapping.publish import Publisher
from lisp_sdn.mapping.reachable import News
from lisp_sdn.mapping.readmit import readmit
from lisp_sdn.mapping.recovery import Follower, recover, snapshot
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.requesters import PrefixKey, Requesters, prefix_key
from lisp_sdn.mapping.resolver import Resolver, record_of
from lisp_sdn.mapping.server import MapServer, Outcome
from lisp_sdn.mapping.sites import Refused, Sites
from lisp_sdn.mapping.smr import Solicitor
from lisp_sdn.mapping.statics import Statics
from lisp_sdn.mapping.store import Change, MemoryStore, Store
from lisp_sdn.model import Answer, AnswerPolicy, Mapping, Requester
from lisp_sdn.prefixtable import eid_of
from lisp_sdn.wire import (
    Ecm,
    EidRecord,
    MapNotifyAck,
    MapRegister,
    MapReply,
    MapRequest,
    Message,
    OtherEid,
    decode,
)
from lisp_sdn.wire.understood import understood

WHERE = "map-server"
OWN_OCTETS = 60_000
"""Octets of EID-records for an xTR of ours, to which nothing is sent."""

_REPLY_HEAD = 12


class MapSystem:
    """Map-Server and Map-Resolver of one controller.

    policy: ingress policy. rng: for nonces. sources: further links of the Map-Resolver's chain,
    asked after our own mappings and before the negative answer.
    """

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        policy: AnswerPolicy,
        rng: random.Random,
        sources: Sequence[Source] = (),
    ) -> None:
        self.config = config
        self.report = Report(WHERE)
        self.sites = Sites(config)
        self.database = Database()
        self.resolver = Resolver(self.sites, self.database, policy, sources)
        self.inventory = Inventory(self.sites, self.database, self.report)
        self._store = store
        self.intake = Intake(config)
        self._server = MapServer(self.sites, self.database, store, self.report)
        self._statics = Statics(config, self.database, store, self.report)
        self._follower = Follower(self.sites, self.database, self._server)
        self.requesters = Requesters(config.limits.requesters)
        self._faces = Faces(config.limits.requesters)
        self.solicitor = Solicitor(config, rng, self.report)
        self._publisher = Publisher(config, self.sites, self.resolver, self.report)
        self._news = News(self._rlocs_of, self._tell_holders)
        self._waiting: deque[tuple[int, SendControl]] = deque()

    def reconfigure(self, config: Config, now: float) -> list[Action]:
        """Go on under another configuration: what it still allows stays as it is.

        What it does not allow any more goes, from the store as well.
        """
        actions, changed = readmit(self.sites, self.database, self._store, self.config, config)
        changed += self._statics.configure(config, now)
        self.config = config
        self.intake.configure(config)
        self.requesters.capacity = self._faces.capacity = config.limits.requesters
        self.solicitor.configure(config)
        actions += self._publisher.configure(config)
        if isinstance(self._store, MemoryStore):
            self._store.flush()
        for eid in dict.fromkeys(changed):
            actions += self.answer_changed(eid, now, shape=True, inside=True)
        return actions

    def start(self, now: float) -> list[Action]:
        """Recover registrations, nonces and static mappings from the store."""
        actions = recover(self.sites, self.database, self._server, self._store, self.report, now)
        return actions + self._statics.recover(now)

    # --- datagrams ---

    def receive(self, data: bytes, source: Endpoint, now: float) -> list[Action]:
        """Handle one datagram of UDP port 4342. source: where it came from."""
        try:
            message = understood(decode(data))
        except DecodeError as error:
            return [self.report.drop(error.reason, str(error), source.address)]
        if isinstance(message, Ecm):
            return self._receive_ecm(message, data, source, now)
        if isinstance(message, MapRequest):
            arrival = Arrival(message, source, source, data, data, False)
            return self._receive_request(arrival, now)
        if isinstance(message, MapRegister):
            return self._receive_register(message, data, source, now)
        if isinstance(message, MapNotifyAck):
            refused = self._publisher.acknowledge(message, data, source)
            return [] if refused is None else [self._refused(refused, source)]
        return [self._unexpected(message, source, now)]

    def _unexpected(self, message: Message, source: Endpoint, now: float) -> Dropped:
        """What a Map-Server never gets (RFC 9301 section 8.3 for the Map-Reply)."""
        name = message.name.replace("_", "-")
        self.report.count(f"{name}-in")
        return self.report.drop("unexpected-type", f"{name} to a Map-Server", source.address)

    def _receive_ecm(self, ecm: Ecm, data: bytes, sender: Endpoint, now: float) -> list[Action]:
        self.report.count("encapsulated-map-requests-in")
        if ecm.destination.port != 4342:
            detail = f"inner destination port {ecm.destination.port}, expected 4342"
            return [self.report.drop("ecm-port", detail, sender.address)]
        try:
            message = understood(decode(ecm.payload))
        except DecodeError as error:
            return [self.report.drop(error.reason, f"ecm.{error}", sender.address)]
        if not isinstance(message, MapRequest):
            detail = f"{message.name.replace('_', '-')} inside an ECM"
            return [self.report.drop("ecm-payload", detail, sender.address)]
        arrival = Arrival(message, ecm.source, sender, data, ecm.payload, True)
        return self._refer(arrival, now) if ecm.ddt else self._receive_request(arrival, now)

    def _refer(self, arrival: Arrival, now: float) -> list[Action]:
        """RFC 8111 section 7.2: the D-bit wants a Map-Referral as well."""
        self.report.count("ddt-map-requests-in")
        refused = self.intake.refusal(arrival.request) or self.intake.limited(
            arrival.sender.address, now
        )
        if refused is not None:
            return [self._refused(refused, arrival.sender)]
        referral, registered = refer(arrival.request, self.resolver.lookup)
        self.report.count("map-referrals-out")
        actions: list[Action] = [SendControl(referral.serialize(), arrival.sender)]
        if registered is None:
            return actions
        # An ETR is asked without the D-bit.
        datagram = bytes((arrival.datagram[0] & 0xFB,)) + arrival.datagram[1:]
        rest = replace(arrival, request=registered, datagram=datagram)
        return actions + self._receive_request(rest, now)

    # --- Map-Register ---

    def _receive_register(
        self, message: MapRegister, data: bytes, source: Endpoint, now: float
    ) -> list[Action]:
        outcome = self._server.register(message, data, source, now)
        actions = self._settle(outcome, now)
        if outcome.notify is not None:
            self._waiting.append((outcome.seq, outcome.notify))
        if isinstance(self._store, MemoryStore):
            self._store.flush()
        return actions + self.durable(self._store.durable_seq, now)

    def durable(self, seq: int, now: float) -> list[Action]:
        """The store keeps everything up to `seq`: the Map-Notifies that waited for it."""
        actions: list[Action] = []
        while self._waiting and self._waiting[0][0] <= seq:
            actions.append(self._waiting.popleft()[1])
        return actions

    def _settle(self, outcome: Outcome, now: float) -> list[Action]:
        """Tell everybody who may hold an older answer."""
        actions = list(outcome.actions)
        for key, shape in outcome.changed:
            actions += self.answer_changed(destination_of(key), now, shape=shape)
        return actions

    def answer_changed(
        self,
        eid: EidPrefix,
        now: float,
        *,
        shape: bool = False,
        inside: bool = False,
        concerns: Concerns = lambda face: True,
    ) -> list[Action]:
        """Answers for (part of) `eid` may differ now, by registration or by policy.

        shape: the EID-prefix came or went, so that answers for wider prefixes differ as well.
        inside: so do those for registered EID-prefixes in it. concerns: which foreign ITRs have
        to be told, of those that are known; see `faces`.
        """
        self.resolver.forget()
        prefix = prefix_key(eid)
        holders = self.requesters.take(
            prefix,
            shape=shape,
            inside=inside,
            concerned=lambda rloc: self._faces.concerned(rloc, concerns),
        )
        return [
            MappingChanged(eid),
            *self.solicitor.solicit(holders, prefix, now),
            *self._publisher.changed(eid, now, concerns),
        ]

    # --- reachability of our own RLOCs ---

    def rlocs_changed(
        self, down: frozenset[IPAddress], drained: frozenset[IPAddress], now: float
    ) -> list[Action]:
        """Which RLOCs of our xTRs are down or drained now; the xTRs themselves know it already."""
        reachable = self.resolver.reachable
        changed = (down ^ reachable.down) | (drained ^ reachable.drained)
        reachable.down, reachable.drained = down, drained
        if not changed:
            return []
        held = [*self.requesters.prefixes(), *self._publisher.prefixes()]
        return self._news.spread(changed, held, now)

    def _rlocs_of(self, prefix: PrefixKey) -> list[AnyAddress]:
        mapping = self.resolver.registered(eid_of(*prefix))
        return [] if mapping is None else [item.rloc for item in mapping.locators]

    def _tell_holders(self, prefix: PrefixKey, now: float) -> list[Action]:
        holders = self.requesters.take(prefix, shape=False)
        solicited = self.solicitor.solicit(holders, prefix, now)
        return [*solicited, *self._publisher.changed(eid_of(*prefix), now)]

    # --- Map-Request ---

    def _receive_request(self, arrival: Arrival, now: float) -> list[Action]:
        self.report.count("map-requests-in")
        request = arrival.request
        refused = self.intake.refusal(request)
        if refused is not None:
            return [self._refused(refused, arrival.sender)]
        if any(record.subscribe for record in request.records):
            return self._receive_subscription(arrival, now)
        target = self.intake.reply_to(arrival)
        if isinstance(target, Refused):
            return [self._refused(target, arrival.sender)]
        refused = self.intake.limited(target.address, now)
        if refused is not None:
            return [self._refused(refused, arrival.sender)]
        if len(self.solicitor):
            self._hear(request, target)
        if request.dont_reply:
            self.report.count("map-requests-in-dont-reply")
            return []
        return self._answer_request(arrival, target, now)

    def _hear(self, request: MapRequest, target: Endpoint) -> None:
        """It may be the one that an SMR asked for."""
        for record in request.records[:MAX_RECORDS]:
            if not isinstance(record.eid, OtherEid):
                prefix = prefix_key(destination_of(record.eid))
                self.solicitor.heard(target.address.packed, prefix)

    def _receive_subscription(self, arrival: Arrival, now: float) -> list[Action]:
        """RFC 9437 section 5."""
        request = arrival.request
        refused = self.intake.limited(arrival.sender.address, now)
        if refused is not None:
            return [self._refused(refused, arrival.sender)]
        requester = requester_of(request, usable_rlocs(request))
        actions: list[Action] = []
        for record in request.records[:MAX_RECORDS]:
            if not record.subscribe or not isinstance(record.eid, EidPrefix):
                unsupported = Refused("unsupported-eid", f"{record.eid}: no subscription to it")
                actions.append(self._refused(unsupported, arrival.sender))
                continue
            done = self._publisher.subscribe(request, record.eid, requester, now)
            if isinstance(done, Answer):
                actions += self._deny(arrival, record.eid, done, now)
            elif isinstance(done, Refused):
                actions.append(self._refused(done, arrival.sender))
            else:
                actions += done
        return actions

    def _deny(self, arrival: Arrival, eid: EidPrefix, answer: Answer, now: float) -> list[Action]:
        reason = answer.mapping.action.text
        refused = Refused("subscription-refused", f"{eid}: {reason}")
        actions: list[Action] = [self._refused(refused, arrival.sender)]
        target = self.intake.reply_to(arrival)
        if isinstance(target, Endpoint) and self.intake.limited(target.address, now) is None:
            reply = MapReply(arrival.request.nonce, (record_of(answer, eid, now),))
            actions.append(SendControl(reply.serialize(), target))
        return actions

    def _refused(self, refused: Refused, sender: Endpoint) -> Dropped:
        return self.report.drop(refused.reason, refused.hint, sender.address)

    def _answer_request(self, arrival: Arrival, target: Endpoint, now: float) -> list[Action]:
        request = arrival.request
        requester = requester_of(request, usable_rlocs(request))
        received = len(arrival.datagram)
        octets = self.intake.budget(target.address, received) - _REPLY_HEAD
        actions: list[Action] = []
        records: list[EidRecord] = []
        for wanted in request.records[:MAX_RECORDS]:
            eid = wanted.eid
            if isinstance(eid, OtherEid):
                refused = Refused("unsupported-eid", f"{eid}: not an IPv4 or IPv6 EID")
                actions.append(self._refused(refused, arrival.sender))
                continue
            repeated = self.intake.repeated(target.address, eid, now)
            if repeated is not None:
                actions.append(self._refused(repeated, arrival.sender))
                continue
            query = query_of(eid, requester, octets, arrival)
            self._faces.note(target.address.packed, query.requester)
            outcome = self.resolver.resolve(query, now)
            self._count(outcome.kind, outcome.answers)
            actions += outcome.actions
            for answer in outcome.answers:
                record = record_of(answer, eid, now)
                octets -= len(record.serialize())
                records.append(record)
                self.told(answer.mapping.eid, target.address, requester.source_eid)
        if not records:
            return actions
        data = MapReply(request.nonce, tuple(records)).serialize()
        if self.intake.amplifies(len(data), received):
            detail = f"{len(data)} octets for {received}: limits.amplification is exceeded"
            refused = Refused("amplification", detail)
            return [*actions, self._refused(refused, arrival.sender)]
        return [*actions, SendControl(data, target)]

    def told(self, eid: EidPrefix, rloc: IPAddress, source_eid: EidPrefix | None) -> None:
        """A Map-Reply about `eid` went to `rloc`: an SMR will, when the answer changes."""
        source = None
        if source_eid is not None and source_eid.version == eid.version:
            source = source_eid.network.network_address.packed
        partial = self.database.head(eid) is None
        self.requesters.note(prefix_key(eid), rloc.packed, source, partial=partial)

    def _count(self, kind: Kind, answers: Iterable[Answer]) -> None:
        if kind is Kind.REGISTERED:
            for answer in answers:
                self.report.count("proxy-reply-records-out")
                if answer.rule is not None:
                    owner = self.sites.owner(answer.mapping.eid)
                    site = owner.site.name if owner is not None else ""
                    self.report.rule_hits[site, answer.rule] += 1
        elif kind is Kind.FORWARDED:
            self.report.count("map-requests-forwarded-out")
        else:
            self.report.count("negative-map-replies-out")

    # --- our own xTRs, REST ---

    def resolve(
        self, request: MapRequest, requester: Requester, now: float
    ) -> tuple[MapReply | None, list[Action]]:
        """Answer a Map-Request of an xTR of ours: the same core, no sockets.

        An answer that depends on the source EID comes with a (source, destination) EID. None when
        the Map-Request was sent on: the Map-Reply then comes from elsewhere.
        """
        self.report.count("map-requests-in")
        actions: list[Action] = []
        records: list[EidRecord] = []
        for wanted in request.records[:MAX_RECORDS]:
            if isinstance(wanted.eid, OtherEid):
                continue
            destination = destination_of(wanted.eid)
            query = Query(destination, requester, OWN_OCTETS, request)
            outcome = self.resolver.resolve(query, now)
            self._count(outcome.kind, outcome.answers)
            actions += outcome.actions
            records += [
                record_of(answer, answer.scope or destination, now) for answer in outcome.answers
            ]
        reply = MapReply(request.nonce, tuple(records)) if records else None
        return reply, actions

    def answer(self, eid: EidPrefix, requester: Requester, now: float) -> Answer:
        """What this requester would be answered for this EID. Changes and counts nothing."""
        return self.resolver.resolve(Query(eid, requester, 0), now).answers[0]

    def origins(self, eid: EidPrefix) -> Origins:
        """From which RLOCs packets of this source EID may come."""
        return origins(self.sites, self.database, self.resolver.lookup, eid)

    # --- static mappings ---

    def set_static(self, mapping: Mapping, now: float) -> list[Action]:
        """Add or replace a static mapping; it wins over registrations of its EID-prefix."""
        return self._after_static(self._statics.put(mapping, now), mapping.eid, now)

    def remove_static(self, eid: EidPrefix, now: float) -> list[Action]:
        """Remove a static mapping. Raises LookupError when there is none."""
        return self._after_static(self._statics.remove(eid, now), eid, now)

    def _after_static(self, event: Event, eid: EidPrefix, now: float) -> list[Action]:
        if isinstance(self._store, MemoryStore):
            self._store.flush()
        return [event, *self.answer_changed(eid, now, shape=True)]

    # --- time ---

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called, epoch seconds; None: not before an event."""
        timers = (
            self._server.next_timer(),
            self.solicitor.next_timer(),
            self._publisher.next_timer(),
            self._news.next_timer(),
        )
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """Do what is due: expire registrations, repeat SMRs and Map-Notifies."""
        actions = self._settle(self._server.expire(now), now)
        actions += self.solicitor.handle_timer(now)
        actions += self._news.handle_timer(now)
        return actions + self._publisher.handle_timer(now)

    # --- copies in other processes ---

    def snapshot(self) -> Iterator[Change]:
        """Everything that `apply` needs to make another core answer like this one. Lazy."""
        return snapshot(self.database)

    def apply(self, changes: Iterable[Change], now: float) -> list[Action]:
        """Follow another core, whose `store.append` had these changes.

        A follower neither stores nor expires what it is told; its leader does both. Raises
        StoreError for octets that are none of ours.
        """
        actions: list[Action] = []
        for key, shape in self._follower.apply(changes):
            actions += self.answer_changed(destination_of(key), now, shape=shape)
        return actions

    # --- what REST and CLI show; see also `inventory` ---

    def gauges(self) -> dict[str, int]:
        """How much there is of what, by name."""
        return {
            "registrations": self.database.registered,
            "static-mappings": self.database.static,
            "requesters": len(self.requesters),
            "requesters-forgotten": self.requesters.forgotten,
            "smrs-pending": len(self.solicitor),
            "subscriptions": len(self._publisher),
            "map-notifies-waiting": len(self._waiting),
        }
