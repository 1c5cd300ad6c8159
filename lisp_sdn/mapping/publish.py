"""Publish/subscribe (RFC 9437): Map-Notifies to the xTRs that asked to be told of changes.

A subscription needs a security association. Ours is a registration: an xTR may subscribe when it
is registered under its (Site-ID, xTR-ID), and only for the address that it registered from, so that
nobody can point our Map-Notifies at somebody else. They are signed with the key of its last
Map-Register. An xTR that is not registered gets Drop/Auth-Failure.

Unsolicited Map-Notifies are repeated 3 times after 3 seconds, then 3 times with doubled interval
(RFC 9301 section 5.7); a newer one for the same subscription takes the place of the older. A
subscription whose xTR acknowledges none of them ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from lisp_sdn.actions import Action, Event, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config, Limits
from lisp_sdn.errors import AuthError
from lisp_sdn.mapping.chain import Kind, Query
from lisp_sdn.mapping.database import Registrar
from lisp_sdn.mapping.faces import Concerns, face_of
from lisp_sdn.mapping.intake import MAX_PAYLOAD, usable_rlocs
from lisp_sdn.mapping.limits import TokenBucket
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.requesters import PrefixKey
from lisp_sdn.mapping.resolver import Resolver
from lisp_sdn.mapping.sites import Refused, Sites
from lisp_sdn.model import Act, Answer, Mapping, Requester
from lisp_sdn.prefixtable import PrefixTable, code_of
from lisp_sdn.wire import Eid, EidRecord, MapNotify, MapNotifyAck, MapRequest, NoAddress, auth

CONTROL_PORT = 4342
INTERVALS = (3.0, 3.0, 3.0, 6.0, 12.0, 24.0)
"""Seconds between one Map-Notify and the next, while none is acknowledged."""

NOTIFIES_PER_TIMER = 1000
_AUTH_OCTETS = 16 + 32


Expected = tuple[IPAddress, int, Eid | None]
"""The Map-Notify-Ack that ends the repeating: its address, its nonce, the EID of its record."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One xTR's wish to be told about one EID-prefix.

    nonce: of the last message of either side. attempts: how often the Map-Notify under way was
    sent; data: its octets, None when all is acknowledged; waiting_for: the acknowledgement. due:
    when to act again.
    """

    eid: EidPrefix
    registrar: Registrar
    target: Endpoint
    requester: Requester
    nonce: int
    data: bytes | None = None
    attempts: int = 0
    due: float = 0.0
    waiting_for: Expected | None = None


@dataclass(slots=True)
class Subscribed:
    """The subscriptions of one EID-prefix. code: see `prefixtable`."""

    code: int
    by_etr: dict[Registrar, Subscription] = field(default_factory=dict)


class Publisher:
    """All subscriptions and the Map-Notifies that wait for a Map-Notify-Ack."""

    def __init__(self, config: Config, sites: Sites, resolver: Resolver, report: Report) -> None:
        self._sites = sites
        self._resolver = resolver
        self._report = report
        self._limit(config.limits)
        self._tables: dict[tuple[int, int], PrefixTable[Subscribed]] = {}
        self._of_xtr: dict[Registrar, int] = {}
        self._waiting: dict[Expected, Subscription] = {}
        self._queue: list[tuple[float, int, Subscription]] = []
        self._order = count()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def _limit(self, limits: Limits) -> None:
        self._most = limits.subscriptions
        self._most_per_xtr = limits.subscriptions_per_xtr
        self._pace = TokenBucket(limits.map_notify_rate, limits.map_notify_rate)

    def configure(self, config: Config) -> list[Action]:
        """Go on under these limits; subscriptions of xTRs whose site is gone end."""
        self._limit(config.limits)
        gone = {etr for etr in self._of_xtr if not self._is_configured(etr)}
        if not gone:
            return []
        ended = [
            subscription
            for table in self._tables.values()
            for code in table.codes_from(0)
            if (subscribed := table.get(code)) is not None
            for etr, subscription in subscribed.by_etr.items()
            if etr in gone
        ]
        return [self._end(subscription, "site-gone") for subscription in ended]

    def _is_configured(self, etr: Registrar) -> bool:
        site = etr.site
        return site is not None and self._sites.by_name.get(site.name) is site

    # --- subscribe ---

    def subscribe(
        self, request: MapRequest, eid: EidPrefix, requester: Requester, now: float
    ) -> list[Action] | Answer | Refused:
        """Handle a Map-Request record with the N-bit.

        Returns what to send; or the negative answer to send as a Map-Reply; or why nothing is
        answered at all.
        """
        self._report.count("map-subscribes-in")
        registrar = self._association(request)
        if registrar is None or registrar.source is None:
            return _denied(eid, Act.DROP_AUTH_FAILURE)
        if all(isinstance(rloc, NoAddress) for rloc in request.itr_rlocs):
            return self._unsubscribe(request, eid, registrar, now)
        address = registrar.source.address
        if address not in usable_rlocs(request):
            return _denied(eid, Act.DROP_AUTH_FAILURE)
        known = self._find(eid, registrar)
        if known is not None and request.nonce <= known.nonce:
            return Refused(
                "replayed_nonce",
                f"subscription to {eid}: nonce {request.nonce:#x} is not above {known.nonce:#x}",
            )
        outcome = self._resolver.resolve(Query(eid, requester, _octets(address.version)), now)
        if outcome.answers[0].mapping.action in (Act.DROP_POLICY_DENIED, Act.DROP_AUTH_FAILURE):
            return outcome.answers[0]
        if known is None:
            if not self._has_room(registrar):
                self._report.count("map-subscribes-refused")
                return _denied(eid, Act.DROP_POLICY_DENIED)
            known = self._insert(eid, registrar, requester)
        known.target = Endpoint(address, CONTROL_PORT)
        known.requester = requester
        known.nonce = request.nonce
        records = tuple(_record(answer, now) for answer in outcome.answers)
        subject = {"xtr_id": f"{request.xtr_id:032x}", "etr": str(address)}
        event = Event("subscription.added", str(eid), subject)
        return [event, *self._send(known, records, now)]

    def _association(self, request: MapRequest) -> Registrar | None:
        if request.xtr_id is None:
            return None
        identity = (request.site_id or 0, request.xtr_id)
        for site in self._sites.by_name.values():
            registrar = site.registrars.get(identity)
            if registrar is not None and registrar.count:
                return registrar
        return None

    def _unsubscribe(
        self, request: MapRequest, eid: EidPrefix, registrar: Registrar, now: float
    ) -> list[Action] | Answer | Refused:
        known = self._find(eid, registrar)
        if known is None:
            return Refused("not-subscribed", f"{eid}: nothing to unsubscribe")
        if request.nonce <= known.nonce:
            return Refused("replayed_nonce", f"unsubscription of {eid}: possible replay")
        known.nonce = request.nonce
        self._remove(known)
        data = self._signed(known, (EidRecord(eid, ttl_minutes=0),))
        if data is None:
            return []
        event = Event("subscription.removed", str(eid), {"etr": str(known.target.address)})
        return [event, SendControl(data, known.target)]

    def _has_room(self, registrar: Registrar) -> bool:
        return self._count < self._most and self._of_xtr.get(registrar, 0) < self._most_per_xtr

    def _find(self, eid: EidPrefix, registrar: Registrar) -> Subscription | None:
        table = self._tables.get((eid.iid, eid.version))
        subscribed = table.get(code_of(eid.network)) if table is not None else None
        return subscribed.by_etr.get(registrar) if subscribed is not None else None

    def _insert(self, eid: EidPrefix, registrar: Registrar, requester: Requester) -> Subscription:
        name = (eid.iid, eid.version)
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = PrefixTable(*name)
        code = code_of(eid.network)
        subscribed = table.get(code)
        if subscribed is None:
            subscribed = Subscribed(code)
            table.put(subscribed)
        assert registrar.source is not None
        made = Subscription(eid, registrar, registrar.source, requester, 0)
        subscribed.by_etr[registrar] = made
        self._of_xtr[registrar] = self._of_xtr.get(registrar, 0) + 1
        self._count += 1
        return made

    def _remove(self, subscription: Subscription) -> None:
        table = self._tables[subscription.eid.iid, subscription.eid.version]
        subscribed = table.get(code_of(subscription.eid.network))
        if subscribed is None or subscribed.by_etr.pop(subscription.registrar, None) is None:
            return
        if not subscribed.by_etr:
            table.remove(subscribed.code)
        left = self._of_xtr[subscription.registrar] - 1
        if left:
            self._of_xtr[subscription.registrar] = left
        else:
            del self._of_xtr[subscription.registrar]
        self._count -= 1
        self._settle(subscription)

    # --- publish ---

    def changed(
        self, eid: EidPrefix, now: float, concerns: Concerns = lambda face: True
    ) -> list[Action]:
        """Tell the subscribers whose answer a change of `eid` concerns."""
        table = self._tables.get((eid.iid, eid.version))
        if table is None or not table:
            return []
        actions: list[Action] = []
        for subscription in list(self._concerned(table, code_of(eid.network))):
            if not concerns(face_of(subscription.requester)):
                continue
            narrow = eid if eid.prefixlen >= subscription.eid.prefixlen else subscription.eid
            subscription.nonce += 1
            records = self._publication(subscription, narrow, now)
            actions += self._send(subscription, records, now)
        return actions

    def prefixes(self) -> Iterator[PrefixKey]:
        """Every EID-prefix with a subscription."""
        for (iid, version), table in self._tables.items():
            for code in table.codes_from(0):
                yield iid, version, code

    def _concerned(self, table: PrefixTable[Subscribed], code: int) -> Iterator[Subscription]:
        for subscribed in table.covering(code):
            yield from subscribed.by_etr.values()
        for inside in table.codes_inside(code):
            found = table.get(inside)
            if found is not None:
                yield from found.by_etr.values()

    def _publication(
        self, subscription: Subscription, eid: EidPrefix, now: float
    ) -> tuple[EidRecord, ...]:
        octets = _octets(subscription.target.address.version)
        outcome = self._resolver.resolve(Query(eid, subscription.requester, octets), now)
        if outcome.kind is not Kind.REGISTERED:
            return (EidRecord(eid, ttl_minutes=0),)
        return tuple(_record(answer, now) for answer in outcome.answers)

    def _send(
        self, subscription: Subscription, records: tuple[EidRecord, ...], now: float
    ) -> list[Action]:
        """Send now, or as soon as the pace allows, and again until it is acknowledged."""
        self._settle(subscription)
        data = self._signed(subscription, records)
        if data is None:
            self._remove(subscription)
            return []
        subscription.data = data
        subscription.attempts = 0
        expected = (subscription.target.address, subscription.nonce, records[0].eid)
        subscription.waiting_for = expected
        self._waiting[expected] = subscription
        self._appoint(subscription, now)
        return self.handle_timer(now)

    def _signed(self, subscription: Subscription, records: tuple[EidRecord, ...]) -> bytes | None:
        registrar = subscription.registrar
        site = registrar.site
        key = site.key(registrar.key_id) if site is not None else None
        if site is None or key is None:
            return None
        return auth.sign(
            MapNotify(subscription.nonce, records),
            registrar.key_id,
            key.key.get_secret_value().encode(),
            registrar.algorithm,
            full_length=site.settings.mac_length == "full",
        )

    def _appoint(self, subscription: Subscription, due: float) -> None:
        subscription.due = due
        heappush(self._queue, (due, next(self._order), subscription))

    def _settle(self, subscription: Subscription) -> None:
        """Nothing is under way any more."""
        if subscription.waiting_for is not None:
            self._waiting.pop(subscription.waiting_for, None)
        subscription.data = subscription.waiting_for = None

    # --- acknowledge, repeat ---

    def acknowledge(self, message: MapNotifyAck, data: bytes, source: Endpoint) -> Refused | None:
        """A Map-Notify-Ack; why it was refused, None when it was taken or came twice."""
        self._report.count("map-notify-acks-in")
        eid = message.records[0].eid if message.records else None
        subscription = self._waiting.get((source.address, message.nonce, eid))
        if subscription is None:
            return None
        registrar = subscription.registrar
        key = registrar.site.key(message.key_id) if registrar.site is not None else None
        if key is None:
            return Refused("unknown_key", f"Map-Notify-Ack with Key ID {message.key_id}")
        try:
            secret = key.key.get_secret_value().encode()
            auth.verify(data, message, secret, registrar.algorithm)
        except AuthError as error:
            return Refused(error.reason, f"Map-Notify-Ack, nonce {message.nonce:#x}: {error}")
        self._settle(subscription)
        return None

    def next_timer(self) -> float | None:
        """When `handle_timer` has work to do, epoch seconds."""
        return self._queue[0][0] if self._queue else None

    def handle_timer(self, now: float) -> list[Action]:
        """Send and repeat what is due, at the pace of `map_notify_rate`."""
        actions: list[Action] = []
        for _ in range(NOTIFIES_PER_TIMER):
            if not self._queue or self._queue[0][0] > now:
                break
            due, _, subscription = heappop(self._queue)
            if subscription.due != due or subscription.data is None:
                continue
            if subscription.attempts > len(INTERVALS) - 1:
                actions.append(self._end(subscription, "no Map-Notify-Ack"))
                continue
            if not self._pace.take(now):
                self._appoint(subscription, now + 1 / self._pace.rate)
                break
            actions.append(SendControl(subscription.data, subscription.target))
            self._report.count("map-notify-records-out")
            self._appoint(subscription, now + INTERVALS[subscription.attempts])
            subscription.attempts += 1
        return actions

    def _end(self, subscription: Subscription, reason: str) -> Event:
        self._remove(subscription)
        self._report.count("subscriptions-lost")
        data = {"etr": str(subscription.target.address), "reason": reason}
        return Event("subscription.lost", str(subscription.eid), data)


def _denied(eid: EidPrefix, action: Act) -> Answer:
    return Answer(Mapping(eid, ttl_minutes=1, action=action))


def _record(answer: Answer, now: float) -> EidRecord:
    mapping = answer.mapping
    return EidRecord(
        mapping.eid,
        mapping.locators,
        answer.ttl_minutes(now),
        int(mapping.action),
        map_version=mapping.map_version,
    )


def _octets(version: int) -> int:
    return MAX_PAYLOAD[version] - _AUTH_OCTETS
