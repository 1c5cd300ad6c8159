"""Going on with a switch that tells what it holds, a part at a time.

What forwards is taken over, and only the difference is sent. With a hundred thousand flows that
takes a while in which other switches, hosts and routers want something too, so it is done in parts
that take some milliseconds each. Meanwhile packets of this switch wait (`Xtr.packet_in`), and what
changes is noted and looked at in the end (`Program.resumed`).

Flows that are alike are not compared one by one with what an entry would compile to: the entries
in brief share a shape, and it is that shape which is compared. Flows without an entry, after a
restart, become entries in brief if the mapping system has the very answer for them ready; else
they are adopted as they are, and asked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lisp_sdn.address import IPAddress
from lisp_sdn.rules import Alike, FlowRule, RuleChange, Ruleset
from lisp_sdn.xtr import adopt, rlocsets
from lisp_sdn.xtr.brief import Briefs, FlowShape, shape_of
from lisp_sdn.xtr.cache import Brief, MapCache
from lisp_sdn.xtr.express import Express
from lisp_sdn.xtr.keeper import ADOPTED_LIFETIME, CacheKeeper
from lisp_sdn.xtr.owners import Owners
from lisp_sdn.xtr.program import Program
from lisp_sdn.xtr.reconcile import parts_of
from lisp_sdn.xtr.rlocsets import RlocSet
from lisp_sdn.xtr.topology import Topology

AT_ONCE = 500
"""Flows and map-cache entries up to which everything is done in one go."""

BRIEF_PART = 1_000
"""Flows that are alike, a part; each takes a tenth of the time of another."""


TIMER = ("resume", 0)
"""Due while there are parts left."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What there is of an xTR."""

    topology: Callable[[], Topology]
    cache: MapCache
    keeper: CacheKeeper
    briefs: Briefs
    program: Program
    owners: Owners
    express: Express


class Resumption:
    """What a switch holds, compared with what an xTR wants of it. now: when it told.

    adopted: entries found. changes: sent so far. hops: RLOCs that traffic may go to.
    """

    def __init__(self, parts: Parts, ruleset: Ruleset, now: float) -> None:
        self.ruleset = ruleset
        self.adopted = 0
        self.changes = 0
        self.hops: set[IPAddress] = set()
        self._parts = parts
        self._now = now
        self._plain: list[FlowRule] = list(ruleset.flows)
        self._confirmed: set[Brief] = set()

    @property
    def is_small(self) -> bool:
        """Whether there is no need for parts."""
        return self.ruleset.flow_count + len(self._parts.cache) <= AT_ONCE

    def steps(self) -> Iterator[list[RuleChange]]:
        """The changes to send, a part at a time; some are empty."""
        parts, program = self._parts, self._parts.program
        parts.briefs.follow(parts.topology())
        program.begin()
        for alike in self.ruleset.alike:
            yield from self._compare(alike)
        lost = self._begin()
        program.coming.note((), self.ruleset.groups, self.ruleset.meters)
        for briefs in parts_of(lost):
            self._not_there(briefs)
            yield []
        found = adopt.Found(self.ruleset)
        for told in parts_of(self._plain):
            flows = [rule for rule in told if rule.key not in program.forgotten]
            program.coming.note(flows)
            self.adopted += parts.keeper.adopt(found.entries(flows, self._now, ADOPTED_LIFETIME))
            yield []
        for changes in program.resumed(parts.owners.written_out()):
            self.changes += len(changes)
            yield changes
        yield from self._gather_hops()

    # --- flows that are alike ----------------------------------------------------------------

    def _compare(self, flows: Alike) -> Iterator[list[RuleChange]]:
        """Which entries in brief they are the flows of; the others are told one by one."""
        cache, eid = self._parts.cache, adopt.plain_destination(flows.rule)
        if eid is None:
            for addresses in parts_of(flows.addresses):
                self._plain += [flows.flow(address) for address in addresses]
                yield []
            return
        table = cache.table(eid.iid, eid.version)
        confirm = self._parts.express.confirm(flows, self._now)
        same: dict[FlowShape, bool] = {}
        for addresses in parts_of(flows.addresses, BRIEF_PART):
            for address in self._still_there(flows, addresses):
                code = address << 8 | eid.prefixlen
                value = table.get(code)
                if isinstance(value, Brief):
                    shape = shape_of(value)
                    if shape not in same:
                        same[shape] = shape.flow(eid) == flows.rule
                    if same[shape]:
                        self._confirmed.add(value)
                        continue
                elif value is None and len(cache) < cache.limit:
                    found = confirm(code)
                    if found is not None:
                        brief = Brief(code, found, self._now, b"")
                        self._parts.briefs.found(brief, found, table)
                        self._confirmed.add(brief)
                        self.adopted += 1
                        continue
                self._plain.append(flows.flow(address))
            yield []

    def _still_there(self, flows: Alike, addresses: list[int]) -> list[int]:
        forgotten = self._parts.program.forgotten
        if not forgotten:
            return addresses
        return [item for item in addresses if flows.flow(item).key not in forgotten]

    def _begin(self) -> list[Brief]:
        """Begin with the program; returns the entries in brief whose flow is not as it should be.

        In one go, so that it is true when it ends.
        """
        uses: Counter[FlowShape] = Counter()
        lost = []
        for brief in self._parts.cache.in_brief():
            uses[shape_of(brief)] += 1
            if brief not in self._confirmed:
                lost.append(brief)
        in_brief: Counter[RlocSet] = Counter()
        for shape, count in uses.items():
            in_brief[shape.rlocs] += count
            self.hops.update(shape.hops)
        numbers = {shape.rlocs: shape.number for shape in uses}
        self._keep_confirmed()
        self._parts.program.resume(in_brief, numbers)
        return lost

    def _keep_confirmed(self) -> None:
        """Of the entries that were written out meanwhile, the switch has the flows of those that
        had been confirmed; of the others it tells.
        """
        flows = self._parts.program.coming.flows
        if flows:
            written = [b for b in self._confirmed if not self._parts.cache.holds(b)]
            kept = {_flow(brief).key for brief in written}
            for key in [key for key in flows if key not in kept]:
                del flows[key]

    def _not_there(self, briefs: list[Brief]) -> None:
        """Write entries out; the switch has other flows for them, or none."""
        for brief in briefs:
            if self._parts.cache.holds(brief):
                self._parts.cache.write_out(brief)
            self._parts.program.coming.flows.pop(_flow(brief).key, None)

    # --- afterwards --------------------------------------------------------------------------

    def _gather_hops(self) -> Iterator[list[RuleChange]]:
        """Also of entries that were taken over and not confirmed yet."""
        cache, topology = self._parts.cache, self._parts.topology()
        known: set[object] = set()
        for destinations in parts_of(cache.destinations(in_brief=False)):
            for destination in destinations:
                node = cache.view(destination)
                for entry in node.entries.values() if node is not None else ():
                    locators = entry.mapping.locators
                    if locators not in known:
                        known.add(locators)
                        rlocs = rlocsets.normalise(locators)
                        self.hops.update(rlocsets.candidates(rlocs, topology))
            yield []


def _flow(brief: Brief) -> FlowRule:
    shape = shape_of(brief)
    return shape.flow(shape.of(brief.code).eid)
