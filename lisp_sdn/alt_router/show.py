"""The ALT and BGP as they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from lisp_sdn.actions import BgpRoute
from lisp_sdn.address import EidPrefix, IPNetwork
from lisp_sdn.alt_router.bridge import Bridge
from lisp_sdn.alt_router.router import AltRouter
from lisp_sdn.alt_views import (
    AltRoute,
    AltState,
    AltTunnelState,
    BgpNeighbourState,
    BgpState,
    HeldDown,
)
from lisp_sdn.config import Config
from lisp_sdn.views import Counter


def alt_state(router: AltRouter, config: Config) -> AltState:
    """The ALT as a whole."""
    alt, bridge = router.alt, router.bridge
    if config.alt is None:
        return AltState()
    held = sorted(alt.held_down.items(), key=lambda item: str(item[0]))
    return AltState(
        alt.iid,
        None if bridge is None else bridge.datapath_id,
        None if bridge is None else bridge.connected_since,
        tuple(problems(router)),
        alt.announced,
        tuple(HeldDown(prefix, until) for prefix, until in held),
        len(alt.rib),
        () if bridge is None else tuple(_tunnels(router, bridge)),
        packets(router),
    )


def problems(router: AltRouter) -> list[str]:
    """Why the ALT does not work as configured, one sentence each."""
    found = [] if router.bridge is None else router.bridge.problems()
    shut = sorted(str(address) for address in router.alt.shut)
    found += [f"BGP neighbour {address} is shut: maximum_prefixes" for address in shut]
    down = sorted(str(address) for address in router.alt.unreachable)
    return found + [f"no BGP session with the ALT-Router {address}" for address in down]


def _tunnels(router: AltRouter, bridge: Bridge) -> Iterator[AltTunnelState]:
    for tunnel in bridge.settings.tunnels:
        yield AltTunnelState(
            tunnel.port,
            tunnel.host_port,
            tunnel.address,
            tunnel.neighbour,
            tunnel.local,
            tunnel.remote,
            bridge.up(tunnel.neighbour),
            router.alt.sessions.get(tunnel.neighbour, False),
            router.alt.rib.from_peer(tunnel.neighbour),
            bridge.by_tunnel.get(tunnel.neighbour, 0),
        )


def packets(router: AltRouter) -> dict[str, int]:
    """What became of packets, by name."""
    counted = dict.fromkeys(("map-requests-in", "map-requests-out", *_DROPS), 0)
    if router.bridge is not None:
        counted.update(router.bridge.packets)
    counted["map-requests-sent"] = router.counters["map-requests-sent"]
    return counted


_DROPS = ("alt-no-route", "alt-ttl", "alt-loop", "alt-not-a-map-request")
"""Why the flows of the bridge drop."""


def alt_routes(router: AltRouter, start: IPNetwork | None) -> Iterator[AltRoute]:
    """The best routes from `start` on, by family, address, mask length. Lazy."""
    bridge = router.bridge
    ports = {} if bridge is None else {t.neighbour: t.port for t in bridge.settings.tunnels}
    for route in router.alt.rib.following(start):
        yield AltRoute(
            route.prefix,
            route.peer,
            route.next_hop,
            route.as_path,
            ports.get(route.peer),
            None if bridge is None else bridge.by_prefix.get(route.prefix),
        )


def alt_route(router: AltRouter, eid: EidPrefix) -> AltRoute | None:
    """By which a Map-Request for an EID travels; None where it is not asked over the ALT."""
    if router.bridge is None or eid.iid != router.alt.iid:
        return None
    host = EidPrefix.host(eid.iid, eid.network.network_address).network
    route = router.alt.longest(host)
    if not isinstance(route, BgpRoute):
        return None
    return next(iter(alt_routes(router, route.prefix)), None)


def bgp_state(router: AltRouter, config: Config) -> BgpState:
    """The speaker and its sessions."""
    bgp, alt = config.bgp, router.alt
    if bgp is None:
        return BgpState()
    return BgpState(
        bgp.as_number,
        bgp.router_id,
        tuple(
            BgpNeighbourState(
                neighbour.address,
                neighbour.as_number,
                neighbour.scope,
                alt.sessions.get(neighbour.address, False),
                alt.since.get(neighbour.address),
                neighbour.address in alt.shut,
                neighbour.password is not None,
                neighbour.hold_time,
                alt.rib.from_peer(neighbour.address),
                neighbour.maximum_prefixes,
            )
            for neighbour in bgp.neighbours
        ),
    )


def counters(router: AltRouter, config: Config) -> Iterator[Counter]:
    """What is counted, for metrics."""
    if config.bgp is not None:
        for name in ("bgp-routes-in", "bgp-withdrawals-in"):
            yield Counter(name, router.counters[name])
    if config.alt is not None:
        for way, count in packets(router).items():
            yield Counter("alt-packets", count, (("way", way),))
