"""What an xTR is made of, and how the parts of it are tied together."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    PacketIn,
    PortInfo,
)
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.rules import (
    RuleAction,
    RuleChange,
)
from lisp_sdn.xtr import compiler, native, rlocsets, topology
from lisp_sdn.xtr.brief import Briefs
from lisp_sdn.xtr.cache import CacheKey, Entry, MapCache
from lisp_sdn.xtr.etr import Etr
from lisp_sdn.xtr.express import Express
from lisp_sdn.xtr.gateway import Gateway
from lisp_sdn.xtr.gleaner import Gleaner
from lisp_sdn.xtr.guard import SourceGuard
from lisp_sdn.xtr.guard_rules import guarding
from lisp_sdn.xtr.hosts import HostKey, Hosts
from lisp_sdn.xtr.itr import Itr
from lisp_sdn.xtr.keeper import CacheKeeper
from lisp_sdn.xtr.neighbours import Neighbours
from lisp_sdn.xtr.outbox import Outbox, Owner, XtrAction
from lisp_sdn.xtr.owners import Owners
from lisp_sdn.xtr.petr import Petrs
from lisp_sdn.xtr.program import Program, set_owner
from lisp_sdn.xtr.queue import HoldQueue
from lisp_sdn.xtr.reachability import Prober
from lisp_sdn.xtr.resume import Resumption
from lisp_sdn.xtr.roaming import Roaming
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.toobig import TooBig


def probe_rate(config: Config) -> float:
    """RLOC-probes per second of one xTR."""
    return config.reachability.probes_per_second / max(1, len(config.xtrs))


class Assembly:
    """The parts of one xTR.

    Whatever happens to them ends in `_finish`: the rules that must follow are compiled, and what
    the parts want done is handed out in order.
    """

    def __init__(self, settings: XtrSettings, config: Config, rng: random.Random) -> None:
        limits = config.limits
        embedded = not settings.map_resolvers
        self.settings = settings
        self.connected_since: float | None = None
        self._limits = limits
        self._ports: dict[str, PortInfo] = {}
        self._numbers: dict[str, int] = {}
        self._mobile = config.subnets_at(settings)
        self._topology = topology.build(
            settings, limits, (), roles=native.roles(config, settings), mobile=self._mobile
        )
        self._early: deque[PacketIn] = deque(maxlen=limits.held_packets_total)
        self._resumption: Resumption | None = None
        self._unwanted: set[CacheKey | None] = set()
        self._steps: Iterator[list[RuleChange]] = iter(())
        self._checked: tuple[str, ...] = ()
        self._central: frozenset[IPAddress] = frozenset()
        self._out = Outbox(settings.name, settings.datapath_id)
        self._timers = Timers()
        self._hosts = Hosts(limits.map_cache_entries)
        self._cache = MapCache(limits.map_cache_entries)
        hold = self._hold = HoldQueue(limits.held_packets_per_eid, limits.held_packets_total)
        common = (self._out, self._timers, lambda: self._topology)
        self._neighbours = Neighbours(*common, self._next_hops, limits.neighbour_prime_delay)
        self.away: set[HostKey] = set()
        """EIDs of connected subnets, or that were here, which are elsewhere now."""
        self._gateway = Gateway(
            *common, self._hosts, hold, limits.pending_resolutions, self.away, self._reassert
        )
        self._too_big = TooBig(self._out, lambda: self._topology, self._gateway)
        petrs = Petrs(settings, config.use_petr)
        self._keeper = CacheKeeper(self._cache, *common, self._neighbours, petrs, embedded=embedded)
        self._itr = Itr(
            settings.name,
            *common,
            rng,
            limits.pending_resolutions,
            self._keeper,
            hold,
            self._hosts,
            embedded=embedded,
            actions_of=self._actions_of,
            reassert=lambda entry: self._reassert(("cache", entry.destination)),
            tell=self._gateway.tell,
        )
        self._keeper.asker = self._itr
        self._etr = Etr(settings, config, self._out, self._timers)
        self._gleaner = Gleaner(config.gleaning, self._out, lambda: self._topology, self._keeper)
        self.guard = SourceGuard(
            guarding(settings, config),
            *common,
            self._hosts,
            limits.held_packets_per_eid,
            ask=self._itr.ask_source,
            glean=self._gleaner.seen,
            reassert=self._reassert,
            embedded=embedded,
        )
        self._itr.source_known = self.guard.answered
        self._roaming = Roaming(
            self._out,
            lambda: self._topology,
            self._hosts,
            self._gateway,
            self._itr,
            self._etr,
            hold,
            self.away,
        )
        self._owners = Owners(
            lambda: self._topology,
            self._hosts,
            self._cache,
            self._itr.resolutions,
            hold,
            limits.held_packets_per_eid,
            self.guard,
            self.away,
        )
        self._program = Program(self._owners.compile, self._owners.rloc_sets)
        self._briefs = Briefs(self._cache, self._keeper, self._timers, self._program)
        self.express = Express(
            settings.name,
            self._out,
            lambda: self._topology,
            self._hosts,
            self._cache,
            self._neighbours,
            self._itr.resolutions,
            hold,
            self._program,
            self._briefs,
        )
        reachability = config.reachability
        self._prober = Prober(
            reachability,
            probe_rate(config),
            *common,
            rng,
            self._probe_targets,
        )

    def _set_ports(self, ports: Iterable[PortInfo]) -> None:
        self._ports = {port.name: port for port in ports}
        for key in self._hosts.renumber(topology.renumbered(self._numbers, self._ports.values())):
            self._out.touch("host", key)
        self._topology = topology.build(
            self.settings,
            self._limits,
            self._ports.values(),
            self._topology.down,
            self._topology.drained,
            self._topology.roles,
            self._mobile,
        )

    def _probe_targets(self) -> dict[IPAddress, EidPrefix]:
        """The RLOCs that traffic may go to, each with an EID-prefix behind it."""
        targets: dict[IPAddress, EidPrefix] = {}
        for rlocs in self._program.live_sets():
            for rloc in rlocsets.candidates(rlocs, self._topology):
                if rloc not in targets:
                    targets[rloc] = self._program.user(rlocs)[1]
        return targets

    def _reach(self, drained: frozenset[IPAddress]) -> None:
        """Let RLOC-sets follow: their rules only, however many EIDs are behind them."""
        before, down = self._topology, self._central | self._prober.down
        changed = (down ^ before.down) | (drained ^ before.drained)
        if not changed:
            return
        self._topology = replace(before, down=down, drained=drained)
        every = not changed.isdisjoint(before.rlocs)
        for rlocs in self._program.live_sets():
            if every or any(item.rloc in changed for item in rlocs):
                self._out.dirty[set_owner(rlocs)] = None

    def _finish(self, changes: Sequence[RuleChange] = ()) -> list[XtrAction]:
        self.guard.hosts_changed([key for kind, key in self._out.dirty if kind == "host"])
        dirty, self._out.dirty = self._out.dirty, {}
        for kind, key in dirty:
            if kind == "cache":
                self._prober.changed(key)
        changes = [*changes, *self._program.update(dirty)]
        rules: list[Action] = []
        if changes:
            self._out.counters["rule-changes"] += len(changes)
            rules.append(ApplyRules(self.settings.datapath_id, tuple(changes)))
        return self._out.take(rules)

    def _actions_of(self, entry: Entry) -> tuple[RuleAction, ...]:
        return compiler.direct_actions(entry, self._topology, self._program.number)

    def _reassert(self, owner: Owner) -> None:
        self._program.forget_owner(owner)
        self._out.dirty[owner] = None

    def _next_hops(self) -> frozenset[IPAddress]:
        return frozenset(
            rloc
            for rlocs in self._program.live_sets()
            for rloc in rlocsets.candidates(rlocs, self._topology)
        )

    def _all_next_hops(self) -> frozenset[IPAddress]:
        """Also of entries that were taken over and not confirmed yet."""
        sets = {rlocsets.normalise(locators) for locators in self._cache.locators()}
        return frozenset(
            rloc for rlocs in sets for rloc in rlocsets.candidates(rlocs, self._topology)
        )
