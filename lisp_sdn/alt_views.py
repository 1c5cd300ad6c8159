"""What BGP and the ALT show of themselves: plain values, read by REST, CLI and metrics.

Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lisp_sdn.address import IPAddress, IPNetwork
from lisp_sdn.model import BgpScope


@dataclass(frozen=True, slots=True)
class AltTunnelState:
    """A GRE tunnel to an ALT-Router.

    up: whether the GRE port is there and has link. session_up: whether BGP runs over it.
    routes: best routes by it. map_requests: that came by it, since its flow was installed.
    """

    port: str
    host_port: str
    address: IPAddress
    neighbour: IPAddress
    local: IPAddress | None
    remote: IPAddress | None
    up: bool
    session_up: bool
    routes: int
    map_requests: int


@dataclass(frozen=True, slots=True)
class HeldDown:
    """An EID-prefix that is announced without a registration. until: when it is withdrawn."""

    prefix: IPNetwork
    until: float


@dataclass(frozen=True, slots=True)
class AltState:
    """The ALT of a controller.

    iid: None without `alt`. datapath_id: of the ALT bridge, None without one. problems: why it
    does not forward as configured. routes: how many. packets: of the bridge, by what became of
    them, since the controller started.
    """

    iid: int | None = None
    datapath_id: int | None = None
    connected_since: float | None = None
    problems: tuple[str, ...] = ()
    announced: tuple[IPNetwork, ...] = ()
    held_down: tuple[HeldDown, ...] = ()
    routes: int = 0
    tunnels: tuple[AltTunnelState, ...] = ()
    packets: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AltRoute:
    """A best route. port: of the tunnel that it leads into. packets: of its flow, if known."""

    prefix: IPNetwork
    neighbour: IPAddress
    next_hop: IPAddress
    as_path: tuple[int, ...]
    port: str | None
    packets: int | None


@dataclass(frozen=True, slots=True)
class BgpNeighbourState:
    """A BGP session. since: of its state, None if it never was up. shut: by maximum_prefixes.

    password: whether there is one. routes: best routes from it.
    """

    address: IPAddress
    as_number: int
    scope: BgpScope
    up: bool
    since: float | None
    shut: bool
    password: bool
    hold_time: int
    routes: int
    maximum_prefixes: int


@dataclass(frozen=True, slots=True)
class BgpState:
    """The BGP speaker. as_number, router_id: None without `bgp`."""

    as_number: int | None = None
    router_id: IPAddress | None = None
    neighbours: tuple[BgpNeighbourState, ...] = ()
