"""Map-cache entries in brief: what many have in common, once.

The usual entry was answered like thousands of others: same RLOC-set, same TTL, same group. Written
out it is an entry, its mapping, a rule with its match, two timers and their places in a dozen
tables, some 4,000 octets and most of the time of a flow set-up. In brief it is a `cache.Brief`,
and a `FlowShape` that it shares with the others.

An entry in brief is written out, with all that belongs to it, as soon as anything happens to it:
a packet that misses, an answer that may have changed, an SMR, its refresh, its removal. So there
is one way of handling entries, and this is only how they wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from dataclasses import replace

from lisp_sdn.actions import Event
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.model import Mapping
from lisp_sdn.prefixtable import BITS, code_of, eid_of
from lisp_sdn.rules import FlowRule, RuleChange, Verb
from lisp_sdn.unchecked import unchecked
from lisp_sdn.views import Exchange
from lisp_sdn.xtr import compiler, rlocsets
from lisp_sdn.xtr.cache import Brief, CacheTable, Entry, MapCache, lifetime
from lisp_sdn.xtr.keeper import CacheKeeper, added, refresh_at
from lisp_sdn.xtr.program import Program
from lisp_sdn.xtr.rlocsets import RlocSet
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

TIMER = "briefs"

_BATCH = 50
"""Entries written out for one timer; the others follow with the next."""

_mapping = unchecked(Mapping)


class FlowShape:
    """A map-cache entry and its flow without the destination address.

    mapping, rule, code: of one of those that have this shape. rlocs, number: the RLOC-set and its
    group. hops: the RLOCs whose next hops must be known. sources: our own that can send. check_at:
    when to look at these again.
    """

    __slots__ = (
        "check_at",
        "code",
        "hops",
        "iid",
        "lifetime",
        "mapping",
        "number",
        "rlocs",
        "rule",
        "sources",
        "version",
        "xtr",
    )

    def __init__(self, xtr: str, mapping: Mapping, rule: FlowRule, number: int) -> None:
        self.xtr = xtr
        self.iid = mapping.eid.iid
        self.version = mapping.eid.version
        self.mapping = mapping
        self.rule = rule
        self.code = code_of(mapping.eid.network)
        self.number = number
        self.rlocs = rlocsets.normalise(mapping.locators)
        self.hops: tuple[IPAddress, ...] = ()
        self.sources: tuple[IPAddress, ...] = ()
        self.lifetime = lifetime(mapping.ttl_minutes)
        self.check_at = 0.0

    def of(self, code: int) -> Mapping:
        """The mapping of one of the EID-prefixes."""
        like = self.mapping
        mapping: Mapping = _mapping(
            eid_of(self.iid, self.version, code),
            like.locators,
            like.ttl_minutes,
            like.action,
            like.authoritative,
            like.map_version,
        )
        return mapping

    def entry(self, brief: Brief) -> Entry:
        """An entry, written out."""
        mapping, then = self.of(brief.code), brief.added
        asked = None
        if brief.source:
            host = int.from_bytes(brief.source, "big") << 8 | BITS[self.version]
            asked = eid_of(self.iid, self.version, host)
        return Entry(
            mapping.eid,
            mapping,
            then,
            then,
            then + self.lifetime,
            active=mapping,
            asked=asked,
            packets=int(asked is not None),
            programmed=then,
        )

    def flow(self, destination: EidPrefix) -> FlowRule:
        """The flow of one of the EID-prefixes."""
        rule: FlowRule = replace(self.rule, match=compiler.cache_match(destination, None))
        return rule

    def change(self, code: int) -> RuleChange:
        """What was sent for one of the EID-prefixes."""
        return RuleChange(Verb.ADD, self.flow(eid_of(self.iid, self.version, code)))

    def event(self, code: int) -> Event:
        """That the map-cache has got one of the EID-prefixes."""
        kind, subject, data = added(self.of(code))
        return Event(kind, subject, {"xtr": self.xtr, **data})

    def exchange(self, address: int, brief: Brief) -> Exchange:
        """Question and answer of one of the entries. address: the EID that was asked for."""
        bits = BITS[self.version]
        return Exchange(
            time=brief.added,
            nonce=0,
            eids=(eid_of(self.iid, self.version, address << 8 | bits),),
            source_eid=self.entry(brief).asked,
            itr_rlocs=self.sources,
            answers=(self.of(brief.code),),
        )


class Briefs:
    """Keeps the entries in brief of one xTR until something happens to them."""

    def __init__(
        self, cache: MapCache, keeper: CacheKeeper, timers: Timers, program: Program
    ) -> None:
        self._cache = cache
        self._keeper = keeper
        self._timers = timers
        self._program = program
        self._waiting: dict[float, deque[Brief]] = {}
        cache.written_out = self._written_out
        program.write_out = self.write_out

    def add(self, brief: Brief, shape: FlowShape, table: CacheTable) -> None:
        """Keep an entry whose flow is being sent, while there is room in the map-cache."""
        self._program.use(shape.rlocs)
        self.found(brief, shape, table)

    def found(self, brief: Brief, shape: FlowShape, table: CacheTable) -> None:
        """Keep an entry whose flow is on a switch that has just connected."""
        self._cache.insert_brief(brief, table)
        waiting = self._waiting.get(shape.lifetime)
        if waiting is None:
            waiting = self._waiting[shape.lifetime] = deque()
        if not waiting:
            self._schedule(shape.lifetime, brief)
        waiting.append(brief)
        if len(waiting) > 1024 and len(waiting) > 2 * len(self._cache):
            # Most have been written out or removed meanwhile.
            holds = self._cache.holds
            self._waiting[shape.lifetime] = deque(item for item in waiting if holds(item))

    def _schedule(self, life: float, brief: Brief) -> None:
        when = refresh_at(brief.added, brief.added + life)
        self._timers.schedule((TIMER, life), when)

    def due(self, life: float, now: float) -> None:
        """Write out those that live so long and want to be refreshed; their own timers do it."""
        waiting = self._waiting.get(life)
        budget = _BATCH
        while waiting:
            brief = waiting[0]
            if self._cache.holds(brief):
                if refresh_at(brief.added, brief.added + life) > now:
                    self._schedule(life, brief)
                    return
                if not budget:
                    self._timers.schedule((TIMER, life), now)
                    return
                budget -= 1
                self._cache.write_out(brief)
            waiting.popleft()
        self._waiting.pop(life, None)

    def write_out(self, sets: Container[RlocSet], most: int | None = None) -> None:
        """Write out the entries of these RLOC-sets. most: no more than so many, the newest."""
        found = [item for item in self._cache.in_brief() if shape_of(item).rlocs in sets]
        for brief in found if most is None else found[-most:]:
            self._cache.write_out(brief)

    def write_out_all(self) -> None:
        """Nothing stays in brief."""
        for brief in list(self._cache.in_brief()):
            self._cache.write_out(brief)
        self._waiting.clear()

    def follow(self, topology: Topology) -> None:
        """Write out those that would get another flow than the one that they have."""
        shapes = {shape_of(item) for item in self._cache.in_brief()}
        stale = {shape for shape in shapes if not self._same(shape, topology)}
        if stale:
            for brief in list(self._cache.in_brief()):
                if brief.shape in stale:
                    self._cache.write_out(brief)

    def _same(self, shape: FlowShape, topology: Topology) -> bool:
        mapping = shape.mapping
        entry = Entry(mapping.eid, mapping, 0.0, 0.0, 0.0, active=mapping)
        flows = compiler.cache_entry(entry, topology, lambda rlocs: shape.number).flows
        return flows == (shape.rule,)

    def _written_out(self, entry: Entry, brief: Brief) -> None:
        shape = shape_of(brief)
        owner = ("cache", entry.destination)
        self._program.note_written_out(owner, shape.flow(entry.destination), shape.rlocs)
        self._keeper.schedule(entry, brief.added)


def shape_of(brief: Brief) -> FlowShape:
    """What an entry in brief has in common with others."""
    shape = brief.shape
    assert isinstance(shape, FlowShape)
    return shape


def make_shape(
    xtr: str, mapping: Mapping, topology: Topology, number: int | None = None
) -> FlowShape | None:
    """The shape of an entry with this mapping; None when it would carry nothing.

    number: of its RLOC-set; None: the one that it gets if no other has it.
    """
    if compiler.drop_reason(mapping, topology) is not None:
        return None
    rlocs = rlocsets.normalise(mapping.locators)
    group = rlocsets.digest(rlocs) if number is None else number
    entry = Entry(mapping.eid, mapping, 0.0, 0.0, 0.0, active=mapping)
    (rule,) = compiler.cache_entry(entry, topology, lambda rlocs: group).flows
    shape = FlowShape(xtr, mapping, rule, group)
    shape.hops = rlocsets.candidates(rlocs, topology)
    shape.sources = topology.sources
    return shape
