"""The ITR of one xTR: misses, Map-Requests, answers, the map-cache's life (RFC 9300, RFC 9301)."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.config import Limits
from lisp_sdn.model import Act, Mapping
from lisp_sdn.rules import Output, Port, RuleAction
from lisp_sdn.wire import MapRequest, RequestRecord
from lisp_sdn.xtr import replies, rlocsets
from lisp_sdn.xtr.cache import CacheKey, Entry, MapCache, Via, lifetime
from lisp_sdn.xtr.compiler import drop_reason
from lisp_sdn.xtr.frames import Ip
from lisp_sdn.xtr.neighbours import Neighbours
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
)
from lisp_sdn.xtr.requests import Resolve
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

ADOPTED_LIFETIME = 900.0
"""Seconds that an entry taken over from the switch lives without a Map-Reply that confirms it."""

IN_FLIGHT = 2.0
"""Seconds after which a miss for an installed entry means that its flow is not there."""

SMR_INTERVAL = 3.0
"""RFC 9301 section 6.1: an SMR leads to one Map-Request per EID-prefix in this many seconds."""

_REFRESH_SHARE = 0.1
_REFRESH_AT_MOST = 60.0
_BATCH = 200
_BATCH_INTERVAL = 0.05

# What the sender of a held packet is told when it is dropped (RFC 9301 5.4 asks for ICMP
# Destination Unreachable with Drop/No-Reason).
_ICMP = {
    "drop-policy-denied": replies.PROHIBITED,
    "drop-auth-failure": replies.PROHIBITED,
    "no-action": None,
}


class Teller(Protocol):
    """Sends an ICMP error about a held packet."""

    def __call__(self, kind: str, iid: int, frame: bytes) -> None:
        """kind: of `replies`."""


Record = tuple[CacheKey, Mapping]


class Itr:
    """Resolves what the switch does not know. name: of the xTR. embedded: its Map-Resolver is ours.

    actions_of: the actions of an installed entry's flow. tell: sends ICMP errors.
    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        timers: Timers,
        rng: random.Random,
        limits: Limits,
        topology: Callable[[], Topology],
        neighbours: Neighbours,
        hold: HoldQueue,
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
        self._neighbours = neighbours
        self._hold = hold
        self._embedded = embedded
        self._actions_of = actions_of
        self._reassert = reassert
        self._tell = tell
        self.cache = MapCache(limits.map_cache_entries)
        self.resolutions = Resolutions(limits.pending_resolutions)
        self._waiting: dict[CacheKey, dict[HoldKey, None]] = {}
        self._revalidate: OrderedDict[CacheKey, None] = OrderedDict()
        self._limits = limits

    # --- packets -----------------------------------------------------------------------------

    def miss(self, packet: Ip, iid: int, held: Held, now: float) -> None:
        """A packet for which the switch found no map-cache flow."""
        self._out.counters["map-cache-misses"] += 1
        entry = self.cache.lookup(iid, packet.source, packet.destination)
        key = (iid, packet.destination)
        if entry is not None and entry.installed and not _asks_always(entry):
            if self._hold.count(key):
                self._release(key, now)
            self._in_flight(entry, iid, held, now)
            return
        resolution = self.resolutions.miss(EidPrefix.host(*key))
        if resolution is not None and resolution.paused:
            self._out.drop("resolution-paused", str(resolution.eid), str(packet.source))
            return
        if resolution is None and self._must_ask(entry) and self.resolutions.full:
            self._out.drop("pending-resolutions", str(packet.destination), str(packet.source))
            return
        self._put(key, held)
        if not self._must_ask(entry):
            assert entry is not None
            self._waiting.setdefault(entry.key, {})[key] = None
        elif resolution is None:
            self._ask_for(key, packet.source, now)
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
        self.cache.touch(entry)
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
        reason = drop_reason(entry.active or entry.mapping, self._topology())
        if reason is None and actions:
            self._out.counters["packets-released"] += 1
            self._out.packet(held.frame, held.in_port, *actions)
            return
        reason = reason or "no-flow"
        self._out.drop(reason, str(entry.key), str(held.source))
        kind = _ICMP.get(reason, replies.NET_UNREACHABLE)
        if tell and kind is not None:
            self._tell(kind, iid, held.frame)

    def _release(self, key: HoldKey, now: float, asked: IPAddress | None = None) -> None:
        """Send held packets of a destination on, in order; ask again for other sources.

        asked: the source EID of the answer that came; its packets have no other to wait for.
        """
        iid, destination = key
        told: set[IPAddress] = set()
        again: list[Held] = []
        for held in self._hold.take(key):
            entry = self.cache.lookup(iid, held.source, destination)
            if entry is None:
                if held.source == asked:
                    self._out.drop("no-mapping", str(destination), str(held.source))
                else:
                    again.append(held)
            elif _asks_always(entry):
                self._out.drop(entry.mapping.action.text, str(entry.key), str(held.source))
            elif not entry.installed:
                self._hold.put(key, held)
                self._waiting.setdefault(entry.key, {})[key] = None
            else:
                through = (Output(Port.TABLE),)
                self._deliver(entry, iid, held, through, tell=held.source not in told)
                told.add(held.source)
        for held in again:
            self._hold.put(key, held)
        if again and self.resolutions.miss(EidPrefix.host(*key)) is None:
            self._ask_for(key, again[0].source, now)
        self._out.touch("pending", key)

    def held_dropped(self, key: HoldKey, reason: str) -> None:
        """Give up the held packets of a destination."""
        for held in self._hold.take(key):
            self._out.drop(reason, str(key[1]), str(held.source))
        self._out.touch("pending", key)

    # --- asking ------------------------------------------------------------------------------

    def _ask_for(self, key: HoldKey, source: IPAddress, now: float) -> None:
        iid, destination = key
        resolution = Resolution(
            Purpose.MISS, EidPrefix.host(iid, destination), EidPrefix.host(iid, source)
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
        request = MapRequest(
            nonce,
            resolution.source,
            self._topology().rlocs,
            (RequestRecord(resolution.eid),),
        )
        self._out.act(Resolve(self._name, request, resolution.attempts - 1))

    def retry(self, name: ResolutionName, now: float) -> None:
        """No answer yet, or the pause is over."""
        resolution = self.resolutions.get(name)
        if resolution is None:
            return
        if resolution.paused:
            self.resolutions.end(resolution)
            self._out.touch("pending", _hold_key(resolution))
        elif resolution.attempts <= MAX_RETRANSMISSIONS:
            self._request(resolution, now)
            self._announce(resolution)
        else:
            self._give_up(resolution, now)

    def _announce(self, resolution: Resolution) -> None:
        """It takes long: keep its further packets away from the controller."""
        if resolution.purpose is Purpose.MISS:
            resolution.announced = True
            self._out.touch("pending", _hold_key(resolution))

    def _give_up(self, resolution: Resolution, now: float) -> None:
        self._out.event("resolution.failed", str(resolution.eid), requests=resolution.attempts)
        self._out.counters["resolutions-failed"] += 1
        if resolution.purpose is Purpose.REFRESH:
            self.resolutions.end(resolution)
            return
        resolution.paused = resolution.announced = True
        self._timers.schedule(("retry", resolution.name), now + PAUSE)
        self.held_dropped(_hold_key(resolution), "no-map-reply")

    def _refresh(self, entry: Entry, now: float) -> None:
        # RFC 9301 5.2 leaves the Source EID out of a refresh; where the answer may depend on it,
        # and with a Map-Resolver of ours, the same question is asked again.
        source = entry.asked if self._embedded or entry.source is not None else None
        self._ask_again(entry.destination, source, entry.key, now)

    def _ask_again(
        self, eid: EidPrefix, source: EidPrefix | None, entry: CacheKey | None, now: float
    ) -> None:
        resolution = Resolution(Purpose.REFRESH, eid, source, entry)
        known = self.resolutions.get(resolution.name)
        if known is not None:
            self.resolutions.end(known)
        self.resolutions.add(resolution)
        self._request(resolution, now)

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
        keys = {key for key, _ in accepted}
        for key, mapping in sorted(accepted, key=lambda record: _length(record[0])):
            self._store(key, mapping, resolution, keys, now)
        if resolution.purpose is Purpose.MISS:
            asked = resolution.source.network.network_address if resolution.source else None
            self._release(_hold_key(resolution), now, asked)
        elif accepted and resolution.entry is not None and resolution.entry not in keys:
            self.remove(resolution.entry, "replaced")

    def _accept(self, resolution: Resolution, records: Sequence[Record]) -> list[Record]:
        """The records that answer what was asked: a covering one and those that it covers."""
        covering = [
            _destination(key)
            for key, _ in records
            if _destination(key).covers(resolution.eid) or resolution.eid.covers(_destination(key))
        ]
        accepted = []
        for key, mapping in records:
            if any(eid.covers(_destination(key)) for eid in covering):
                accepted.append((key, mapping))
            else:
                self._out.drop("record-not-asked-for", str(key), str(resolution.eid))
        return accepted

    def _store(
        self,
        key: CacheKey,
        mapping: Mapping,
        resolution: Resolution,
        together: set[CacheKey],
        now: float,
    ) -> None:
        if mapping.ttl_minutes == 0:
            self.remove(key, "ttl-zero")
            return
        expires = now + lifetime(mapping.ttl_minutes)
        replaced, expires = self._overlaps(key, together, expires)
        entry = self.cache.get(key)
        if entry is None:
            entry = Entry(key, mapping, now, now, expires)
            self._insert(entry)
        entry.mapping, entry.updated, entry.expires = mapping, now, expires
        entry.via = Via.MAP_REPLY
        entry.asked = resolution.source or entry.asked
        self.cache.touch(entry)
        self._schedule(entry, now)
        for old in replaced:
            self.remove(old.key, "replaced")
        hops = rlocsets.next_hops(rlocsets.normalise(mapping.locators), self._topology())
        ready = self._neighbours.ready_at(hops, now) if hops else now
        if ready <= now:
            self.activate(key, now)
        else:
            self._timers.schedule(("ready", key), ready)

    def _insert(self, entry: Entry) -> None:
        for evicted in self.cache.insert(entry):
            self._out.counters["map-cache-evictions"] += 1
            self._gone(evicted, "evicted")

    def _overlaps(
        self, key: CacheKey, together: set[CacheKey], expires: float
    ) -> tuple[list[Entry], float]:
        """Entries that the new one replaces, and its expiry beside those that stay.

        RFC 9301 section 5.5: a less-specific record replaces what it covers; where entries stay
        beside it, it expires no later than they do.
        """
        destination = _destination(key)
        scoped = isinstance(key, SourceDestPrefix)
        replaced = []
        for other in self.cache.covered_by(destination):
            if other.key == key or other.key in together:
                continue
            if other.destination == destination:
                if (other.source is None) == scoped:
                    replaced.append(other)
            elif other.mapping.negative or other.via is Via.ADOPTED:
                expires = min(expires, other.expires)
            elif not scoped:
                replaced.append(other)
        return replaced, expires

    def _schedule(self, entry: Entry, now: float) -> None:
        margin = min(_REFRESH_AT_MOST, (entry.expires - now) * _REFRESH_SHARE)
        self._timers.schedule(("refresh", entry.key), entry.expires - margin)
        self._timers.schedule(("expire", entry.key), entry.expires)

    def activate(self, key: CacheKey, now: float) -> None:
        """The next hops of an entry are known: let its traffic go."""
        entry = self.cache.get(key)
        if entry is None:
            return
        fresh = entry.active is None and entry.adopted is None
        changed = entry.active != entry.mapping
        entry.active, entry.adopted, entry.programmed = entry.mapping, None, now
        self._timers.cancel(("ready", key))
        self._out.touch("cache", entry.destination)
        if fresh or changed:
            kind = "map-cache.added" if fresh else "map-cache.changed"
            self._out.event(kind, str(key), **_summary(entry.mapping))
        for hold_key in self._waiting.pop(key, ()):
            self._release(hold_key, now)

    # --- the life of entries -----------------------------------------------------------------

    def refresh_due(self, key: CacheKey, now: float) -> None:
        """It will expire soon; its flow is still there, so it is in use."""
        entry = self.cache.get(key)
        if entry is not None and entry.installed:
            self._refresh(entry, now)

    def remove(self, key: CacheKey, why: str) -> None:
        """Take an entry and its flows out."""
        entry = self.cache.remove(key)
        if entry is not None:
            self._gone(entry, why)

    def _gone(self, entry: Entry, why: str) -> None:
        for kind in ("refresh", "expire", "ready"):
            self._timers.cancel((kind, entry.key))
        self._revalidate.pop(entry.key, None)
        self._out.touch("cache", entry.destination)
        self._out.event("map-cache.removed", str(entry.key), reason=why)
        for key in self._waiting.pop(entry.key, ()):
            self.held_dropped(key, f"entry-{why}")

    def clear(self, eid: EidPrefix | None, now: float) -> int:
        """Forget entries on an operator's word: all, or those under or, for an EID, over it."""
        entries = list(self.cache) if eid is None else self.cache.covered_by(eid)
        if eid is not None and not entries and eid.is_host:
            entries = self.cache.covering(eid)[:1]
        for entry in entries:
            self.remove(entry.key, "cleared")
        self.resolutions.forget(eid)
        for resolution in self.resolutions.misses():
            if resolution.paused and (eid is None or eid.covers(resolution.eid)):
                self._timers.schedule(("retry", resolution.name), now)
        return len(entries)

    def mapping_changed(self, eid: EidPrefix, now: float) -> None:
        """The answer for (part of) this prefix may be another: ask again for what is cached."""
        covering = self.cache.covering(eid)
        for entry in (*self.cache.covered_by(eid), *covering):
            if entry.mapping.negative:
                # Nothing flows through it; the next packet asks and is held meanwhile.
                self.remove(entry.key, "mapping-changed")
            else:
                self._revalidate[entry.key] = None
        if any(not entry.mapping.negative for entry in covering):
            self._ask_again(eid, covering[0].asked, None, now)
        for resolution in self.resolutions.misses():
            if eid.covers(resolution.eid):
                resolution.attempts = 0
                self.resolutions.forget(resolution.eid)
                self._timers.schedule(("retry", resolution.name), now)
        self.revalidate_some(now)

    def solicited(self, eid: EidPrefix, now: float) -> None:
        """A Solicit-Map-Request named a prefix (RFC 9301 section 6.1)."""
        entries = self.cache.covered_by(eid) + self.cache.covering(eid)
        if not entries:
            self._out.drop("smr-not-cached", str(eid))
        for entry in entries:
            if now - entry.solicited < SMR_INTERVAL:
                self._out.drop("smr-rate", str(entry.key))
                continue
            entry.solicited = now
            self._revalidate[entry.key] = None
        self.revalidate_some(now)

    def revalidate_some(self, now: float) -> None:
        """Ask for the next batch of entries whose mapping may have changed."""
        for _ in range(min(_BATCH, len(self._revalidate))):
            key, _ = self._revalidate.popitem(last=False)
            entry = self.cache.get(key)
            if entry is not None:
                self._refresh(entry, now)
        if self._revalidate:
            self._timers.schedule(("revalidate", 0), now + _BATCH_INTERVAL)

    def adopt(self, entries: Iterable[Entry]) -> int:
        """Take over entries found on the switch; each is asked for again, a batch at a time."""
        count = 0
        for entry in entries:
            if self.cache.get(entry.key) is not None:
                continue
            self._insert(entry)
            self._timers.schedule(("expire", entry.key), entry.expires)
            self._revalidate[entry.key] = None
            count += 1
        return count

    def next_hops_in_use(self) -> set[IPAddress]:
        """RLOCs that cached entries use now."""
        topology = self._topology()
        return {
            rloc
            for entry in self.cache
            for rloc in rlocsets.next_hops(
                rlocsets.normalise((entry.active or entry.mapping).locators), topology
            )
        }


def _asks_always(entry: Entry) -> bool:
    """ACT 2, Send-Map-Request: a matching packet asks again (RFC 9301 section 5.4)."""
    return entry.mapping.negative and entry.mapping.action is Act.SEND_MAP_REQUEST


def _destination(key: CacheKey) -> EidPrefix:
    return key.destination if isinstance(key, SourceDestPrefix) else key


def _length(key: CacheKey) -> int:
    return _destination(key).prefixlen


def _hold_key(resolution: Resolution) -> HoldKey:
    return (resolution.eid.iid, resolution.eid.network.network_address)


def _summary(mapping: Mapping) -> dict[str, object]:
    if mapping.negative:
        return {"action": mapping.action.text, "ttl_minutes": mapping.ttl_minutes}
    return {
        "rlocs": [str(locator.rloc) for locator in mapping.locators],
        "ttl_minutes": mapping.ttl_minutes,
    }
