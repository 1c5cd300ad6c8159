"""What an xTR shows of itself, as the values that REST and CLI read."""

from __future__ import annotations

from collections.abc import Iterable

from lisp_sdn.address import IPAddress
from lisp_sdn.model import Act, Locator
from lisp_sdn.views import (
    LocatorState,
    LocatorStatus,
    MapCacheEntry,
    SourceGuardState,
    SourceVerdictEntry,
)
from lisp_sdn.xtr.cache import Entry
from lisp_sdn.xtr.guard import SourceGuard
from lisp_sdn.xtr.queue import Resolution
from lisp_sdn.xtr.reachability import Prober
from lisp_sdn.xtr.rlocsets import RlocSet, why_unusable
from lisp_sdn.xtr.topology import Topology

_STATES = {
    "no-source-rloc": LocatorState.NO_ROUTE,
    "rlocs-unreachable": LocatorState.NO_ROUTE,
}


def locator_state(locator: Locator, topology: Topology) -> LocatorState:
    """Whether an RLOC can carry traffic of this xTR."""
    if not locator.usable:
        return LocatorState.DOWN
    if locator.rloc in topology.down:
        return LocatorState.UNREACHABLE
    if locator.rloc in topology.drained:
        return LocatorState.DRAINED
    reason = why_unusable(RlocSet((locator,)), topology)
    return _STATES.get(reason or "", LocatorState.UP)


def own_rloc(locator: Locator, topology: Topology, since: float | None) -> LocatorStatus:
    """An RLOC of this xTR. since: when its switch connected, None while it is away."""
    state = LocatorState.UNKNOWN if since is None else LocatorState.UP
    if locator.rloc in topology.down:
        state = LocatorState.UNREACHABLE
    elif locator.rloc in topology.drained:
        state = LocatorState.DRAINED
    return LocatorStatus(locator, state, since)


def locator_status(
    locator: Locator, topology: Topology, prober: Prober, since: float | None
) -> LocatorStatus:
    """An RLOC of another, as probed if it is. since: when its state began, if it is not."""
    state = locator_state(locator, topology)
    probed = prober[locator.rloc] if isinstance(locator.rloc, IPAddress) else None
    if probed is None:
        return LocatorStatus(locator, state, since)
    return LocatorStatus(locator, state, probed.since, probed.rtt)


def cache_entry(entry: Entry, topology: Topology, prober: Prober) -> MapCacheEntry:
    """A map-cache entry; incomplete until its RLOCs' next hops are resolved."""
    mapping = entry.active or entry.mapping
    locators = tuple(
        locator_status(item, topology, prober, entry.updated) for item in mapping.locators
    )
    return MapCacheEntry(
        entry.key,
        entry.added,
        locators,
        mapping.action if mapping.negative else Act.NO_ACTION,
        entry.expires,
        entry.installed,
        str(entry.via),
    )


def unanswered(resolutions: Iterable[Resolution]) -> list[MapCacheEntry]:
    """EIDs that packets wait for."""
    return [
        MapCacheEntry(item.eid, item.began, complete=False, via="pending") for item in resolutions
    ]


def source_guard(guard: SourceGuard) -> SourceGuardState:
    """The verdicts of a source guard."""
    return SourceGuardState(
        guard.guarding.mode,
        tuple(
            SourceVerdictEntry(
                entry.key.source,
                None if isinstance(entry.key.origin, int) else entry.key.origin,
                guard.origin(entry.key) if isinstance(entry.key.origin, int) else None,
                None if entry.reason is None else str(entry.reason),
                str(entry.ground),
                entry.since,
                entry.expires,
                entry.packets,
            )
            for entry in guard.verdicts
        ),
    )
