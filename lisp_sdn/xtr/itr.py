"""The ITR of one xTR: misses, held packets, Map-Requests, Map-Replies (RFC 9300, RFC 9301)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.model import Act, Mapping
from lisp_sdn.rules import Output, Port, RuleAction
from lisp_sdn.wire import MapRequest, RequestRecord
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.cache import CacheKey, Entry
from lisp_sdn.xtr.compiler import drop_reason, forwards_natively
from lisp_sdn.xtr.frames import Ip
from lisp_sdn.xtr.hosts import Hosts
from lisp_sdn.xtr.keeper import CacheKeeper, Record, destination_of
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.queue import (
    MAX_RETRANSMISSIONS,
    PAUSE,
    REQUEST_INTERVAL,
    Held,
    HoldKey,
    HoldQueue,
    Purpose,
    Resolution,
    ResolutionName,
    Resolutions,
    host_eid,
    nobody,
)
from lisp_sdn.xtr.requests import Resolve
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

MAX_ITR_RLOCS = 32
"""RFC 9301 section 5.2: IRC has five bits."""

IN_FLIGHT = 2.0
"""Seconds after which a miss for an installed entry means that its flow is not there."""

HOSTS_LOOKED_AT = 256
"""For one that could have asked."""

SOURCE_RETRANSMISSIONS = 2
"""Of a Map-Request for the source of packets that wait: they do so for 3 seconds at most."""

# What the sender of a held packet is told when it is dropped (RFC 9301 5.4 asks for ICMP
# Destination Unreachable with Drop/No-Reason).
_ICMP = {
    "drop-policy-denied": replies.PROHIBITED,
    "drop-auth-failure": replies.PROHIBITED,
    "no-action": None,
}


class Teller(Protocol):
    """Sends an ICMP error about a held packet."""

    def __call__(self, kind: str, iid: int, held: Held) -> None:
        """kind: of `replies`."""


SourceKnown = Callable[[EidPrefix, Sequence[Mapping] | None, float], None]
"""Takes the Map-Reply about a source EID-prefix; None when none came."""


class Itr:
    """Resolves what the switch does not know.

    name: of the xTR. pending: resolutions at once. embedded: its Map-Resolver is ours.
    actions_of: the actions of an installed entry's flow. reassert: sends that flow again.
    tell: sends ICMP errors.
    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        timers: Timers,
        topology: Callable[[], Topology],
        rng: random.Random,
        pending: int,
        keeper: CacheKeeper,
        hold: HoldQueue,
        hosts: Hosts,
        *,
        embedded: bool,
        actions_of: Callable[[Entry], tuple[RuleAction, ...]],
        reassert: Callable[[Entry], None],
        tell: Teller,
    ) -> None:
        self._name = name
        self._out = outbox
        self._timers = timers
        self._rng = rng
        self._topology = topology
        self._keeper = keeper
        self._cache = keeper.cache
        self._hold = hold
        self._hosts = hosts
        self._embedded = embedded
        self._actions_of = actions_of
        self._reassert = reassert
        self._tell = tell
        self._asked_for: dict[HoldKey, float] = {}
        self._resolved: deque[float] = deque(maxlen=pending)
        self.resolutions = Resolutions(pending)
        self.source_known: SourceKnown = lambda eid, mappings, now: None

    # --- packets -----------------------------------------------------------------------------

    def miss(self, packet: Ip, iid: int, held: Held, now: float) -> None:
        """A packet for which the switch found no map-cache flow.

        The usual one is answered by `express` before it comes here: what decides here about a
        packet without an entry decides there as well (tests/sim/test_express_agrees.py).
        """
        self._out.counters["map-cache-misses"] += 1
        entry = self._cache.lookup(iid, packet.source, packet.destination)
        key = (iid, packet.destination)
        if entry is not None and entry.installed and not _asks_always(entry):
            if self._hold.count(key):
                self.release(key, now)
            self._in_flight(entry, iid, held, now)
            return
        resolution = self.resolutions.miss(host_eid(*key))
        if resolution is not None and resolution.paused:
            self._out.drop("resolution-paused", str(resolution.eid), str(packet.source))
            return
        asker = (held.in_port, packet.source)
        if resolution is None and self._must_ask(entry) and not self.resolutions.admits(*asker):
            self._out.drop("pending-resolutions", str(packet.destination), str(packet.source))
            return
        self._put(key, held)
        if not self._must_ask(entry):
            assert entry is not None
            self._keeper.wait(entry, key)
        elif resolution is None:
            self._ask_for(key, asker, now)
        else:
            self._announce(resolution)

    @staticmethod
    def _must_ask(entry: Entry | None) -> bool:
        return entry is None or _asks_always(entry)

    def _put(self, key: HoldKey, held: Held) -> None:
        reason = self._hold.put(key, held)
        if reason is None:
            self._out.counters["packets-held"] += 1
            return
        self._out.drop(reason, str(key[1]), str(held.source))
        self._out.touch("pending", key)

    def _in_flight(self, entry: Entry, iid: int, held: Held, now: float) -> None:
        """It was on its way to us when the flow came; it takes the way that the flow has."""
        self._cache.touch(entry)
        if now - entry.programmed > IN_FLIGHT:
            entry.programmed = now
            self._out.counters["flows-reasserted"] += 1
            self._reassert(entry)
        # Not through the tables: if the flow is missing there, the packet would come back.
        self._deliver(entry, iid, held, self._actions_of(entry), tell=False)

    def _deliver(
        self, entry: Entry, iid: int, held: Held, actions: tuple[RuleAction, ...], *, tell: bool
    ) -> None:
        entry.packets += 1
        reason = self._why_dropped(entry, held)
        if reason is None and actions:
            self._out.counters["packets-released"] += 1
            in_port = Port.CONTROLLER if held.from_tunnel else held.in_port
            self._out.packet(held.frame, in_port, *actions)
            return
        reason = reason or "no-flow"
        self._out.drop(reason, str(entry.key), str(held.source))
        kind = _ICMP.get(reason, replies.NET_UNREACHABLE)
        if tell and kind is not None:
            self._tell(kind, iid, held)

    def _why_dropped(self, entry: Entry, held: Held) -> str | None:
        mapping, topology = entry.active or entry.mapping, self._topology()
        if forwards_natively(mapping, topology) and topology.native_port(held.in_port) is not None:
            # A Proxy-ITR got what no LISP site has; by the native port it would only come back.
            return "not-an-eid"
        return drop_reason(mapping, topology)

    def release(self, key: HoldKey, now: float, asked: IPAddress | None = None) -> None:
        """Send held packets of a destination on, in order; ask again for other sources.

        asked: the source EID of the answer that came; its packets have no other to wait for.
        """
        iid, destination = key
        told: set[IPAddress] = set()
        again: list[Held] = []
        for held in self._hold.take(key):
            entry = self._cache.lookup(iid, held.source, destination)
            if entry is None:
                if held.source == asked:
                    self._out.drop("no-mapping", str(destination), str(held.source))
                else:
                    again.append(held)
            elif _asks_always(entry):
                self._out.drop(entry.mapping.action.text, str(entry.key), str(held.source))
            elif not entry.installed:
                self._hold.put(key, held, again=True)
                self._keeper.wait(entry, key)
            else:
                # What has left the tunnel once does not enter the tables by it again.
                through: tuple[RuleAction, ...] = (Output(Port.TABLE),)
                if held.from_tunnel:
                    through = self._actions_of(entry)
                self._deliver(entry, iid, held, through, tell=held.source not in told)
                told.add(held.source)
        for held in again:
            self._hold.put(key, held, again=True)
        if not self._hold.count(key) and key in self._asked_for:
            self._resolved.append(self._asked_for.pop(key))
        resolution = self.resolutions.miss(host_eid(*key))
        if resolution is None and again:
            self._ask_for(key, (again[0].in_port, again[0].source), now)
        elif resolution is not None and resolution.announced:
            self._out.touch("pending", key)

    def give_up(self, key: HoldKey, reason: str) -> None:
        """Give up the held packets of a destination."""
        self._asked_for.pop(key, None)
        for held in self._hold.take(key):
            self._out.drop(reason, str(key[1]), str(held.source))
        self._out.touch("pending", key)

    def take_resolved(self) -> list[float]:
        """When the misses began whose flows were sent since the last call."""
        if not self._resolved:
            return []
        resolved = list(self._resolved)
        self._resolved.clear()
        return resolved

    # --- asking ------------------------------------------------------------------------------

    def _ask_for(self, key: HoldKey, asker: tuple[int, IPAddress], now: float) -> None:
        iid, destination = key
        resolution = Resolution(
            Purpose.MISS,
            host_eid(iid, destination),
            host_eid(iid, asker[1]),
            began=now,
            asker=asker,
        )
        self.resolutions.add(resolution)
        self._request(resolution, now)

    def _request(self, resolution: Resolution, now: float) -> None:
        earliest = self.resolutions.earliest(resolution, now)
        # The limit of RFC 9301 5.3 protects the mapping system; one of ours asked for a refresh.
        wanted_at_once = self._embedded and resolution.purpose is Purpose.REFRESH
        if earliest > now and not wanted_at_once:
            self._timers.schedule(("retry", resolution.name), earliest)
            return
        nonce = self._rng.getrandbits(64)
        self.resolutions.sent(resolution, nonce, now)
        self._timers.schedule(("retry", resolution.name), now + REQUEST_INTERVAL)
        self._out.counters["map-requests-out"] += 1
        topology = self._topology()
        request = MapRequest(
            nonce,
            resolution.source,
            (topology.sources or topology.rlocs)[:MAX_ITR_RLOCS],
            (RequestRecord(resolution.eid),),
            smr_invoked=resolution.smr_invoked,
            pitr=topology.asks_for_others(resolution.eid.iid, resolution.source),
        )
        self._out.act(Resolve(self._name, request, resolution.attempts - 1))

    def retry(self, name: ResolutionName, now: float) -> None:
        """No answer yet, or the pause is over."""
        resolution = self.resolutions.get(name)
        if resolution is None:
            return
        if resolution.paused:
            self._end(resolution)
        elif resolution.attempts <= (
            SOURCE_RETRANSMISSIONS if resolution.purpose is Purpose.SOURCE else MAX_RETRANSMISSIONS
        ):
            self._request(resolution, now)
            self._announce(resolution)
        else:
            self._give_up(resolution, now)

    def _announce(self, resolution: Resolution) -> None:
        """It takes long: keep its further packets away from the controller."""
        if resolution.purpose is Purpose.MISS:
            resolution.announced = True
            self._out.touch("pending", _hold_key(resolution))

    def ask_source(self, eid: EidPrefix, now: float) -> None:
        """Send a Map-Request for a source EID-prefix; `source_known` is told the answer."""
        resolution = Resolution(Purpose.SOURCE, eid, None, began=now)
        if self.resolutions.get(resolution.name) is None:
            self.resolutions.add(resolution)
            self._request(resolution, now)

    def _give_up(self, resolution: Resolution, now: float) -> None:
        self._out.event("resolution.failed", str(resolution.eid), requests=resolution.attempts)
        self._out.counters["resolutions-failed"] += 1
        if resolution.purpose is not Purpose.MISS:
            self.resolutions.end(resolution)
            if resolution.purpose is Purpose.SOURCE:
                self.source_known(resolution.eid, None, now)
            return
        resolution.paused = resolution.announced = True
        self._timers.schedule(("retry", resolution.name), now + PAUSE)
        self.give_up(_hold_key(resolution), "no-map-reply")

    def ask_again(
        self,
        eid: EidPrefix,
        source: EidPrefix | None,
        entry: CacheKey | None,
        now: float,
        *,
        smr_invoked: bool = False,
    ) -> None:
        """Send a Map-Request for something that is, or may be, cached. entry: its key."""
        if self._embedded and source is None:
            source = self._source_for(eid, entry)
        resolution = Resolution(Purpose.REFRESH, eid, source, entry, smr_invoked=smr_invoked)
        known = self.resolutions.get(resolution.name)
        if known is not None:
            self.resolutions.end(known)
        self.resolutions.add(resolution)
        self._request(resolution, now)

    def _source_for(self, eid: EidPrefix, entry: CacheKey | None) -> EidPrefix:
        """A source EID for a question that no packet led to: one that could have, or nobody's."""
        if isinstance(entry, SourceDestPrefix):
            return host_eid(eid.iid, entry.source.network.network_address)
        hosts = islice(self._hosts, HOSTS_LOOKED_AT)
        found = (h.address for h in hosts if h.iid == eid.iid and h.address.version == eid.version)
        address = next(found, None)
        return nobody(eid.iid, eid.version) if address is None else host_eid(eid.iid, address)

    # --- answers -----------------------------------------------------------------------------

    def answer(self, nonce: int, records: Sequence[Record], now: float) -> None:
        """The records of a Map-Reply (RFC 9301 sections 5.4 and 5.5)."""
        resolution = self.resolutions.answered(nonce)
        if resolution is None:
            self._out.drop("unknown-nonce", f"{nonce:016x}")
            return
        self._timers.cancel(("retry", resolution.name))
        self._out.counters["map-replies-in"] += 1
        accepted = self._accept(resolution, records)
        if resolution.purpose is Purpose.SOURCE:
            self.source_known(resolution.eid, [mapping for _, mapping in accepted], now)
            return
        self._keeper.store(accepted, resolution.source, now)
        if resolution.purpose is Purpose.MISS:
            if resolution.announced:
                self._out.touch("pending", _hold_key(resolution))
            self._asked_for[_hold_key(resolution)] = resolution.began
            asked = resolution.source.network.network_address if resolution.source else None
            self.release(_hold_key(resolution), now, asked)
            return
        if accepted and resolution.entry and resolution.entry not in dict(accepted):
            self._keeper.remove(resolution.entry, "replaced")

    def _accept(self, resolution: Resolution, records: Sequence[Record]) -> list[Record]:
        """The records that answer what was asked: a covering one and those that it covers."""
        covering = [
            destination_of(key)
            for key, _ in records
            if destination_of(key).covers(resolution.eid)
            or resolution.eid.covers(destination_of(key))
        ]
        accepted = []
        for key, mapping in records:
            if any(eid.covers(destination_of(key)) for eid in covering):
                accepted.append((key, mapping))
            else:
                self._out.drop("record-not-asked-for", str(key), str(resolution.eid))
        return accepted

    def _end(self, resolution: Resolution) -> None:
        self.resolutions.end(resolution)
        self._timers.cancel(("retry", resolution.name))
        self._out.touch("pending", _hold_key(resolution))

    # --- the network changed -----------------------------------------------------------------

    def forget(self, key: CacheKey | None) -> int:
        """Forget entries on an operator's word, and that they were asked for; returns how many."""
        eid = None if key is None else destination_of(key)
        self.resolutions.forget(eid)
        for resolution in self.resolutions.misses():
            if resolution.paused and (eid is None or eid.covers(resolution.eid)):
                self._end(resolution)
        return self._keeper.forget(key)

    def mapping_changed(self, eid: EidPrefix, now: float) -> None:
        """The answer for (part of) this prefix may be another: ask again for what is affected."""
        # The mapping system itself says that asking again is worth while.
        self.resolutions.forget(None)
        self._keeper.mapping_changed(eid, now)
        for resolution in self.resolutions.misses():
            if eid.covers(resolution.eid):
                resolution.attempts = 0
                self._timers.schedule(("retry", resolution.name), now)

    def disconnected(self) -> None:
        """The switch is away: nothing can be released, so nothing is held."""
        for resolution in self.resolutions.misses():
            self._end(resolution)
        for key in self._hold.destinations():
            self.give_up(key, "switch-disconnected")


def _asks_always(entry: Entry) -> bool:
    """ACT 2, Send-Map-Request: a matching packet asks again (RFC 9301 section 5.4)."""
    return entry.mapping.negative and entry.mapping.action is Act.SEND_MAP_REQUEST


def _hold_key(resolution: Resolution) -> HoldKey:
    return (resolution.eid.iid, resolution.eid.network.network_address)
