"""The life of map-cache entries: stored, activated, refreshed, replaced, expired, adopted.

RFC 9300 section 6, RFC 9301 sections 5.4 (TTL), 5.5 (overlaps) and 6.1 (SMR).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.xtr import rlocsets
from lisp_sdn.xtr.cache import CacheKey, Entry, MapCache, Via, lifetime
from lisp_sdn.xtr.compiler import forwards_natively
from lisp_sdn.xtr.neighbours import Neighbours
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.petr import Petrs
from lisp_sdn.xtr.queue import HoldKey
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

ADOPTED_LIFETIME = 900.0
"""Seconds that an entry taken over from the switch lives without a Map-Reply that confirms it."""

SMR_INTERVAL = 3.0
"""RFC 9301 section 6.1: an SMR leads to one Map-Request per EID-prefix in this many seconds."""

ADDED = "map-cache.added"

_REFRESH_SHARE = 0.1
_REFRESH_AT_MOST = 60.0
_BATCH = 200
_BATCH_INTERVAL = 0.05

Record = tuple[CacheKey, Mapping]


class Asker(Protocol):
    """What the keeper needs of the ITR."""

    def ask_again(
        self,
        eid: EidPrefix,
        source: EidPrefix | None,
        entry: CacheKey | None,
        now: float,
        *,
        smr_invoked: bool = False,
    ) -> None:
        """Send a Map-Request for something that is, or may be, cached."""

    def release(self, key: HoldKey, now: float) -> None:
        """The entry that these packets wait for is active."""

    def give_up(self, key: HoldKey, reason: str) -> None:
        """It never will be."""


class CacheKeeper:
    """Owns the map-cache of one xTR.

    embedded: the Map-Resolver is ours, so that asking costs no message.
    """

    def __init__(
        self,
        cache: MapCache,
        outbox: Outbox,
        timers: Timers,
        topology: Callable[[], Topology],
        neighbours: Neighbours,
        petrs: Petrs,
        *,
        embedded: bool,
    ) -> None:
        self.cache = cache
        self.petrs = petrs
        self._out = outbox
        self._timers = timers
        self._topology = topology
        self._neighbours = neighbours
        self._embedded = embedded
        self._waiting: dict[CacheKey, dict[HoldKey, None]] = {}
        self._revalidate: OrderedDict[CacheKey, bool] = OrderedDict()
        self.asker: Asker

    def wait(self, entry: Entry, key: HoldKey) -> None:
        """Packets of this destination wait for the entry to become active."""
        self._waiting.setdefault(entry.key, {})[key] = None

    # --- answers -----------------------------------------------------------------------------

    def store(self, records: Iterable[Record], asked: EidPrefix | None, now: float) -> None:
        """Take in the records of one Map-Reply. asked: the source EID of the Map-Request."""
        listed = sorted(records, key=lambda record: destination_of(record[0]).prefixlen)
        together = {key for key, _ in listed}
        for key, answer in listed:
            mapping = self.petrs.through(answer)
            via = Via.MAP_REPLY if mapping is answer else Via.PETR
            self._store(key, mapping, via, asked, together, now)

    def _store(
        self,
        key: CacheKey,
        mapping: Mapping,
        via: Via,
        asked: EidPrefix | None,
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
        entry.via = via
        entry.asked = asked or entry.asked
        self.cache.touch(entry)
        self.schedule(entry, now)
        for old in replaced:
            self.remove(old.key, "replaced")
        self._activate_when_ready(key, mapping, now)

    def _activate_when_ready(self, key: CacheKey, mapping: Mapping, now: float) -> None:
        rlocs, topology = rlocsets.normalise(mapping.locators), self._topology()
        hops = rlocsets.next_hops(rlocs, topology)
        # Those that stand by are resolved as well, but nothing waits for them.
        self._neighbours.ready_at(rlocsets.candidates(rlocs, topology), now)
        ready = self._neighbours.ready_at(hops, now) if hops else now
        if ready <= now:
            self.activate(key, now)
        else:
            self._timers.schedule(("ready", key), ready)

    def glean(self, eid: EidPrefix, rloc: IPAddress, seconds: float, now: float) -> None:
        """Use an RLOC for a source EID until a Map-Reply says better (RFC 9300 section 9)."""
        # "the same best Priority with a Weight of zero"
        mapping = Mapping(eid, (Locator(rloc, 1, 0),), ttl_minutes=1)
        self._insert(Entry(eid, mapping, now, now, now + seconds, Via.GLEANED))
        self._timers.schedule(("expire", eid), now + seconds)
        self._activate_when_ready(eid, mapping, now)

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
        destination = destination_of(key)
        scoped = isinstance(key, SourceDestPrefix)
        replaced = []
        for other in self.cache.covered_by(destination):
            if other.key == key or other.key in together:
                continue
            if other.destination == destination:
                if (other.source is None) == scoped:
                    replaced.append(other)
            elif other.via is Via.GLEANED:
                replaced.append(other)
            elif other.mapping.negative or other.via is not Via.MAP_REPLY:
                expires = min(expires, other.expires)
            elif not scoped:
                replaced.append(other)
        return replaced, expires

    def schedule(self, entry: Entry, now: float) -> None:
        """Set the timers of an entry that was answered now."""
        self._timers.schedule(("refresh", entry.key), refresh_at(now, entry.expires))
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
            kind = ADDED if fresh else "map-cache.changed"
            self._out.event(kind, str(key), **_summary(entry.mapping))
        for hold_key in self._waiting.pop(key, ()):
            self.asker.release(hold_key, now)

    # --- the life of entries -----------------------------------------------------------------

    def refresh_due(self, key: CacheKey, now: float) -> None:
        """It will expire soon; its flow is still there, so it is in use."""
        entry = self.cache.get(key)
        if entry is not None and entry.installed:
            self.refresh(entry, now)

    def refresh(self, entry: Entry, now: float, *, smr_invoked: bool = False) -> None:
        """Ask again for an entry. smr_invoked: because of a Solicit-Map-Request."""
        # RFC 9301 5.2 leaves the Source EID out of a refresh; where the answer may depend on it,
        # and with a Map-Resolver of ours, the same question is asked again.
        source = entry.asked if self._embedded or entry.source is not None else None
        self.asker.ask_again(entry.destination, source, entry.key, now, smr_invoked=smr_invoked)

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
            self.asker.give_up(key, f"entry-{why}")

    def forget(self, key: CacheKey | None) -> int:
        """Forget the entry with exactly this key, or all; returns how many went."""
        keys = [entry.key for entry in self.cache] if key is None else [key]
        known = [key for key in keys if self.cache.get(key) is not None]
        for gone in known:
            self.remove(gone, "cleared")
        return len(known)

    def mapping_changed(self, eid: EidPrefix, now: float) -> None:
        """The answer for (part of) this prefix may be another: ask again for what is cached."""
        covering = self.cache.covering(eid)
        for entry in (*self.cache.covered_by(eid), *covering):
            if not self._carries(entry):
                # Nothing flows through it; the next packet asks and is held meanwhile.
                self.remove(entry.key, "mapping-changed")
            else:
                self._revalidate[entry.key] = False
        if any(self._carries(entry) for entry in covering):
            self.asker.ask_again(eid, covering[0].asked, None, now)
        self.revalidate_some(now)

    def _carries(self, entry: Entry) -> bool:
        return not entry.mapping.negative or forwards_natively(entry.mapping, self._topology())

    def solicited(self, eid: EidPrefix, now: float) -> None:
        """A Solicit-Map-Request named a prefix (RFC 9301 section 6.1)."""
        for entry in self.cache.overlapping(eid):
            if now - entry.solicited < SMR_INTERVAL:
                self._out.drop("smr-rate", str(entry.key))
                continue
            entry.solicited = now
            self._revalidate[entry.key] = True
        self.revalidate_some(now)

    def revalidate_some(self, now: float) -> None:
        """Ask for the next batch of entries whose mapping may have changed."""
        for _ in range(min(_BATCH, len(self._revalidate))):
            key, smr_invoked = self._revalidate.popitem(last=False)
            entry = self.cache.get(key)
            if entry is not None:
                self.refresh(entry, now, smr_invoked=smr_invoked)
        if self._revalidate:
            self._timers.schedule(("revalidate", 0), now + _BATCH_INTERVAL)

    def take_over(self, entries: Iterable[Entry], now: float, *, ask: bool) -> None:
        """Go on with the entries of an xTR under other settings, the longest unused first.

        ask: for every one of them again; else only for those that were not confirmed.
        """
        for entry in entries:
            self._insert(entry)
            self.schedule(entry, now)
            if ask or entry.active is None:
                self._revalidate[entry.key] = False
            if not entry.installed:
                self._timers.schedule(("ready", entry.key), now)

    def adopt(self, entries: Iterable[Entry]) -> int:
        """Take over entries found on the switch; each is asked for again, a batch at a time."""
        count = 0
        for entry in entries:
            if self.cache.get(entry.key) is not None:
                continue
            self._insert(entry)
            self._timers.schedule(("expire", entry.key), entry.expires)
            self._revalidate[entry.key] = False
            count += 1
        return count


def destination_of(key: CacheKey) -> EidPrefix:
    """The destination EID-prefix of a map-cache key."""
    return key.destination if isinstance(key, SourceDestPrefix) else key


def refresh_at(now: float, expires: float) -> float:
    """When an entry that was answered now is asked for again."""
    return expires - min(_REFRESH_AT_MOST, (expires - now) * _REFRESH_SHARE)


def added(mapping: Mapping) -> tuple[str, str, dict[str, object]]:
    """Kind, subject and data of the event that an EID-prefix has got an entry."""
    return ADDED, str(mapping.eid), _summary(mapping)


def _summary(mapping: Mapping) -> dict[str, object]:
    if mapping.negative:
        return {"action": mapping.action.text, "ttl_minutes": mapping.ttl_minutes}
    return {
        "rlocs": [str(locator.rloc) for locator in mapping.locators],
        "ttl_minutes": mapping.ttl_minutes,
    }
