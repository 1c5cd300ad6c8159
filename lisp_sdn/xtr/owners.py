"""Who owns rules, and which: the state of an xTR as the compiler sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from lisp_sdn.address import IPAddress
from lisp_sdn.xtr import base_rules, compiler, mobile_rules
from lisp_sdn.xtr.cache import MapCache
from lisp_sdn.xtr.compiled import Compiled
from lisp_sdn.xtr.compiler import GroupOf
from lisp_sdn.xtr.guard import KIND as GUARD
from lisp_sdn.xtr.guard import SourceGuard
from lisp_sdn.xtr.hosts import HostKey, Hosts
from lisp_sdn.xtr.outbox import Owner
from lisp_sdn.xtr.queue import HoldQueue, Resolution, Resolutions, host_eid
from lisp_sdn.xtr.rlocsets import RlocSet
from lisp_sdn.xtr.topology import Topology

STATIC: Owner = ("static", 0)


class Owners:
    """Reads the parts of an xTR; holds nothing itself. per_eid: packets held per destination.

    away: EIDs that are elsewhere.
    """

    def __init__(
        self,
        topology: Callable[[], Topology],
        hosts: Hosts,
        cache: MapCache,
        resolutions: Resolutions,
        hold: HoldQueue,
        per_eid: int,
        guard: SourceGuard,
        away: Collection[HostKey],
    ) -> None:
        self._topology = topology
        self._hosts = hosts
        self._cache = cache
        self._resolutions = resolutions
        self._hold = hold
        self._per_eid = per_eid
        self._guard = guard
        self._away = away

    def __iter__(self) -> Iterator[Owner]:
        return self._all(in_brief=True)

    def written_out(self) -> Iterator[Owner]:
        """All but the map-cache entries that are kept in brief."""
        return self._all(in_brief=False)

    def _all(self, *, in_brief: bool) -> Iterator[Owner]:
        yield STATIC
        yield from self._guard.owners()
        for host in self._hosts:
            yield ("host", host.key)
        for key in self._away:
            yield ("away", key)
        for destination in self._cache.destinations(in_brief=in_brief):
            yield ("cache", destination)
        for resolution in self._resolutions.misses():
            yield ("pending", pending_key(resolution))

    def of_packet(self, iid: int, source: IPAddress, destination: IPAddress) -> Iterator[Owner]:
        """Those whose rules a packet can meet, beside those of RLOC-sets."""
        yield STATIC
        yield from self._guard.owners_of(host_eid(iid, source))
        for address in {source, destination}:
            if (iid, address) in self._hosts:
                yield ("host", (iid, address))
            if (iid, address) in self._away:
                yield ("away", (iid, address))
        eid = host_eid(iid, destination)
        for prefix in {entry.destination for entry in self._cache.overlapping(eid)}:
            yield ("cache", prefix)
        if self._resolutions.miss(eid) is not None:
            yield ("pending", (iid, destination))

    def compile(self, owner: Owner, group_of: GroupOf) -> Compiled:
        """The rules of an owner; none if it is gone."""
        kind, key = owner
        topology = self._topology()
        if kind == "static":
            return base_rules.static(topology)
        if kind == GUARD:
            return self._guard.compile(key)
        if kind == "host":
            host = self._hosts.get(key)
            return compiler.local_eid(host, topology) if host else Compiled()
        if kind == "away":
            return mobile_rules.away(key) if key in self._away else Compiled()
        if kind == "cache":
            node = self._cache.view(key)
            return compiler.destination(node, topology, group_of) if node else Compiled()
        if kind == "set":
            return compiler.rloc_set(key, topology, group_of)
        resolution = self._resolutions.miss(host_eid(*key))
        if resolution is None or not resolution.announced:
            return Compiled()
        full = self._hold.count(key) >= self._per_eid
        return compiler.pending(*key, blocked=resolution.paused or full)

    def rloc_sets(self, owner: Owner) -> tuple[RlocSet, ...]:
        """The RLOC-sets that need a group for an owner."""
        node = self._cache.view(owner[1]) if owner[0] == "cache" else None
        return compiler.rloc_sets(node, self._topology()) if node else ()


def pending_key(resolution: Resolution) -> tuple[int, object]:
    """(instance-ID, EID) of a resolution that packets wait for."""
    return (resolution.eid.iid, resolution.eid.network.network_address)
