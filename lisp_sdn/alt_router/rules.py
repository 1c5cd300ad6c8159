"""The rules of the ALT bridge, as a function of tunnels, announcements and routes.

| table | job |
| --- | --- |
| 0 ingress | a tunnel and the host of the speaker: BGP; Map-Requests go on; nothing else does |
| 1 routes | destination EID -> Map-Server, or tunnel of the best route; nothing known: drop |
| 2 tunnels | a spent TTL, or back to where it came from: drop; else dec_ttl and out |

RFC 6836 section 4.1: an ALT-Router takes nothing but ALT Datagrams, and few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import IPAddress, IPNetwork
from lisp_sdn.alt_settings import AltBridge, AltTunnel
from lisp_sdn.rules import (
    CookieClass,
    DecTtl,
    FieldValue,
    FlowRule,
    Match,
    MeterRule,
    Output,
    Port,
    RuleAction,
    Ruleset,
    SetField,
    ToController,
    cookie,
    match,
)
from lisp_sdn.xtr.frames import ETH_IPV4, ETH_IPV6, UDP

CONTROL_PORT = 4342

OWN_METER = 1
"""The meter of what goes to the Map-Server; those of tunnels are 1 more than their index."""

MAX_TTL_SPENT = 1
"""With this TTL or less a packet does not leave any more."""

_ETHERTYPE = {4: ETH_IPV4, 6: ETH_IPV6}
_TUNNEL_MASK = 0xFFFF


class TableId(IntEnum):
    """Table numbers."""

    INGRESS = 0
    ROUTES = 1
    TUNNELS = 2


@dataclass(frozen=True, slots=True)
class Attached:
    """A tunnel whose ports are there. index: 1 for the first of the configuration.

    port, host_port: their OpenFlow numbers. host_mac: of the internal port.
    """

    settings: AltTunnel
    index: int
    port: int
    host_port: int
    host_mac: str


def attach(bridge: AltBridge, ports: Iterable[PortInfo]) -> dict[int, Attached]:
    """The tunnels whose ports the bridge has, by index."""
    known = {port.name: port for port in ports}
    found = {}
    for index, tunnel in enumerate(bridge.tunnels, 1):
        port, host = known.get(tunnel.port), known.get(tunnel.host_port)
        if port is not None and host is not None:
            found[index] = Attached(tunnel, index, port.number, host.number, host.mac)
    return found


def port_names(bridge: AltBridge) -> list[str]:
    """The ports that the bridge must have."""
    return [name for tunnel in bridge.tunnels for name in (tunnel.port, tunnel.host_port)]


# --- what does not depend on routes ---------------------------------------------------------


def base(bridge: AltBridge, attached: Mapping[int, Attached]) -> Ruleset:
    """Tables 0 and 2, the end of table 1, and the meters."""
    rate = bridge.map_requests_per_second
    # Those of tunnels whose ports are missing too: a meter costs nothing and need not come and go.
    numbers = (OWN_METER, *(_meter(n) for n in range(1, len(bridge.tunnels) + 1)))
    meters = [MeterRule(number, rate, rate) for number in numbers]
    flows = [
        _flow(TableId.INGRESS, 400, match(in_port=int(Port.CONTROLLER)), goto=TableId.ROUTES),
        _flow(TableId.ROUTES, 0, match()),
    ]
    for kind in _ETHERTYPE.values():
        for ttl in range(MAX_TTL_SPENT + 1):
            flows.append(_flow(TableId.TUNNELS, 300, match(eth_type=kind, nw_ttl=ttl)))
    for tunnel in attached.values():
        flows.extend(_ingress(tunnel))
        flows.extend(_egress(tunnel))
    return Ruleset(frozenset(flows), meters=frozenset(meters))


def _ingress(tunnel: Attached) -> Iterator[FlowRule]:
    settings = tunnel.settings
    # The speaker's session, and whatever else the two ends say to each other.
    heard = _between(tunnel.port, settings.neighbour, settings.address)
    to_host = (SetField("eth_dst", tunnel.host_mac), Output(tunnel.host_port))
    yield _flow(TableId.INGRESS, 500, heard, to_host)
    said = _between(tunnel.host_port, settings.address, settings.neighbour)
    yield _flow(TableId.INGRESS, 500, said, (Output(tunnel.port),))
    for matching in map_requests(tunnel.port):
        meter = _meter(tunnel.index)
        yield _flow(TableId.INGRESS, 400, matching, goto=TableId.ROUTES, meter=meter)
    yield _flow(TableId.INGRESS, 300, match(in_port=tunnel.port))


def _between(port: int, source: IPAddress, destination: IPAddress) -> Match:
    version = source.version
    fields: dict[str, FieldValue] = {
        "in_port": port,
        "eth_type": _ETHERTYPE[version],
        f"ipv{version}_src": source,
        f"ipv{version}_dst": destination,
    }
    return match(**fields)


def _egress(tunnel: Attached) -> Iterator[FlowRule]:
    yield _flow(TableId.TUNNELS, 200, back(tunnel))
    for matching in onward(tunnel):
        yield _flow(TableId.TUNNELS, 100, matching, (DecTtl(), Output(tunnel.port)))


def map_requests(port: int) -> list[Match]:
    """What a Map-Request that came by this port matches, IPv4 and IPv6."""
    return [
        match(in_port=port, eth_type=kind, ip_proto=UDP, udp_dst=CONTROL_PORT)
        for kind in _ETHERTYPE.values()
    ]


def spent(matching: Match) -> bool:
    """Whether a flow of table 2 is for packets with a spent TTL."""
    return any(name == "nw_ttl" for name, _ in matching)


def onward(tunnel: Attached) -> list[Match]:
    """What leaves by this tunnel matches in table 2, IPv4 and IPv6."""
    chosen = (tunnel.index, _TUNNEL_MASK)
    return [match(eth_type=kind, metadata=chosen) for kind in _ETHERTYPE.values()]


def back(tunnel: Attached) -> Match:
    """What would leave by the tunnel that it came from matches in table 2: a loop."""
    return match(metadata=(tunnel.index, _TUNNEL_MASK), in_port=tunnel.port)


# --- routes ---------------------------------------------------------------------------------


def destination(prefix: IPNetwork) -> Match:
    """The match of all EIDs of a prefix."""
    version = prefix.version
    fields: dict[str, FieldValue] = {
        "eth_type": _ETHERTYPE[version],
        f"ipv{version}_dst": prefix,
    }
    return match(**fields)


def key(prefix: IPNetwork) -> tuple[int, int, Match]:
    """By which the switch knows the flow of a prefix."""
    return (int(TableId.ROUTES), _priority(prefix), destination(prefix))


def to_map_server(prefix: IPNetwork) -> FlowRule:
    """Map-Requests for an EID-prefix of ours."""
    return _flow(
        TableId.ROUTES,
        _priority(prefix),
        destination(prefix),
        (ToController(),),
        meter=OWN_METER,
    )


def to_tunnel(prefix: IPNetwork, index: int) -> FlowRule:
    """Map-Requests for an EID-prefix of somebody else. index: of the tunnel."""
    return _flow(
        TableId.ROUTES,
        _priority(prefix),
        destination(prefix),
        goto=TableId.TUNNELS,
        written=(index, _TUNNEL_MASK),
    )


def _priority(prefix: IPNetwork) -> int:
    return 1000 + prefix.prefixlen


def _meter(index: int) -> int:
    return OWN_METER + index


def _flow(
    table: TableId,
    priority: int,
    matching: Match,
    actions: tuple[RuleAction, ...] = (),
    *,
    goto: TableId | None = None,
    written: tuple[int, int] | None = None,
    meter: int | None = None,
) -> FlowRule:
    return FlowRule(
        int(table),
        priority,
        matching,
        actions,
        goto=None if goto is None else int(goto),
        metadata=written,
        meter=meter,
        cookie=cookie(CookieClass.ALT),
    )
