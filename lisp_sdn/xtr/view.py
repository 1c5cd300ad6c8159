"""What an xTR tells of itself: rules, map-cache, local EIDs, state, counters. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.model import Locator
from lisp_sdn.rules import (
    Ruleset,
)
from lisp_sdn.views import (
    CachedAnswer,
    Counter,
    LocatorStatus,
    MapCacheEntry,
    ProbedRloc,
    XtrState,
)
from lisp_sdn.xtr import native, show, topology
from lisp_sdn.xtr.assembly import Assembly
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.queue import host_eid


class View(Assembly):
    """The parts of an xTR as others see them."""

    def problems(self) -> tuple[str, ...]:
        """Why the switch does not forward as configured, one sentence each."""
        if not self._ports:
            return ()
        found = list(self._checked)
        if self._topology.tunnel_port is None:
            found.append(f"the switch has no tunnel port {self.settings.tunnel_port!r}")
        for port in self.settings.eid_ports:
            if port.name not in self._ports:
                found.append(f"the switch has no EID-facing port {port.name!r}")
            elif not self._ports[port.name].up:
                found.append(f"EID-facing port {port.name!r} is down")
        found += native.problems(self._topology)
        return tuple(found)

    def expects(self, nonce: int) -> bool:
        """Whether a Map-Reply with this nonce is awaited."""
        return self._itr.resolutions.expects(nonce) or self._prober.expects(nonce)

    def next_timer(self) -> float | None:
        """When `handle_timer` must be called; None for never."""
        return self._timers.next()

    def wanted(self) -> Ruleset:
        """Every rule that the switch should hold: a function of settings, ports and state."""
        return self._program.wanted(self._owners)

    def rules_for(
        self,
        iid: int,
        source: IPAddress,
        destination: IPAddress,
        verified: IPAddress | None = None,
    ) -> Ruleset:
        """Those of `wanted` that one packet can meet, however many there are.

        verified: with the verdict of the source guard that this RLOC may send for the source.
        """
        rules = self._program.wanted(self._owners.of_packet(iid, source, destination))
        if verified is None:
            return rules
        return replace(rules, flows=rules.flows | self.guard.allowance(iid, source, verified))

    def source_rloc(self, version: int) -> IPAddress | None:
        """Our first RLOC of this family."""
        return self._topology.source_rloc(version)

    @property
    def topology(self) -> topology.Topology:
        """What it is attached to now."""
        return self._topology

    def native_trouble(self, iid: int) -> str | None:
        """Why it takes no native packets of this instance-ID in, as a reason code."""
        if not self._out.connected:
            return "switch-not-connected"
        if self._topology.tunnel_port is None:
            return "no-tunnel-port"
        return native.why_not(iid, self._topology)

    def rloc_status(self, locator: Locator) -> LocatorStatus:
        """How it sees an RLOC of another."""
        return show.locator_status(locator, self._topology, self._prober, None)

    def asks_for_others(self, source: EidPrefix) -> bool:
        """Whether it asks as Proxy-ITR for a packet from this source."""
        return self._topology.asks_for_others(source.iid, source)

    def serves(self, eid: EidPrefix) -> bool:
        """Whether it is, or is in, an EID-prefix that we register."""
        return self._etr.serves(eid)

    def map_cache_entries(self, now: float) -> Iterator[MapCacheEntry]:
        """The map-cache, resolutions under way included, in no particular order. Lazy."""
        for entry in self._cache:
            yield show.cache_entry(entry, self._topology, self._prober)
        yield from show.unanswered(self._itr.resolutions.misses())

    def cached(self, iid: int, source: IPAddress, destination: IPAddress) -> MapCacheEntry | None:
        """The map-cache entry for a packet, or the resolution that it would wait for."""
        entry = self._cache.lookup(iid, source, destination)
        if entry is not None:
            return show.cache_entry(entry, self._topology, self._prober)
        waiting = self._itr.resolutions.miss(host_eid(iid, destination))
        return show.unanswered([waiting])[0] if waiting is not None else None

    def local_eid(self, iid: int, address: IPAddress) -> Host | None:
        """The host with this EID, if one was seen here."""
        return self._hosts.get((iid, address))

    def is_away(self, iid: int, address: IPAddress) -> bool:
        """Whether it is known that this EID is at another xTR."""
        return (iid, address) in self.away

    def local_eids(self) -> Iterator[Host]:
        """The hosts that were seen here, in no particular order."""
        return iter(self._hosts)

    def cached_answers(self) -> Iterator[CachedAnswer]:
        """What it has asked for and holds, in no particular order."""
        for entry in self._cache:
            yield CachedAnswer(self.settings.name, entry.key, entry.asked)

    def state(self) -> XtrState:
        """What changes about this xTR."""
        flows, groups, meters = self._program.counts()
        return XtrState(
            connected_since=self.connected_since,
            problems=self.problems(),
            rlocs=tuple(
                show.own_rloc(item.locator, self._topology, self.connected_since)
                for item in self.settings.rlocs
            ),
            ports=tuple(self._ports.values()),
            map_cache_entries=len(self._cache),
            pending_resolutions=len(self._itr.resolutions.misses()),
            held_packets=len(self._hold),
            flows=flows,
            groups=groups,
            meters=meters,
            probed=tuple(ProbedRloc(item.rloc, item.state, item.rtt) for item in self._prober),
        )

    def counters(self) -> Iterator[Counter]:
        """Counters of this xTR."""
        for name, value in sorted(self._out.counters.items()):
            yield Counter(f"xtr-{name}", value, (("xtr", self.settings.name),))
        for reason, value in sorted(self.guard.packets.items()):
            labels = (("reason", str(reason)), ("xtr", self.settings.name))
            yield Counter("source-guard-packets", value, labels)
