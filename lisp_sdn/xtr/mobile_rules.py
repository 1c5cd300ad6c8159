"""Rules of host mobility: ports where hosts come and go, hosts there, EIDs that are elsewhere.

On such a port the switch knows every host by a rule of its own, so that the first packet of a host
that came from elsewhere reaches the controller, whatever the map-cache holds for its destination.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.rules import CookieClass, FieldValue, FlowRule, SetField, ToController, match
from lisp_sdn.xtr.arp import arp_responder
from lisp_sdn.xtr.compiled import Compiled, eth_type, flow
from lisp_sdn.xtr.frames import ETH_IPV4, ETH_IPV6, ICMPV6, ND_SOLICIT, UDP
from lisp_sdn.xtr.hosts import Host, HostKey
from lisp_sdn.xtr.pipeline import (
    FROM_TUNNEL,
    METADATA_MASK,
    RE_ENCAPSULATED,
    MeterId,
    Punt,
    TableId,
)
from lisp_sdn.xtr.topology import AttachedPort, Topology

DHCP_CLIENT, DHCP_SERVER = 68, 67

_OWN_PRIORITY = 610
_HOST_PRIORITY = 600
_STRANGER_PRIORITY = 450
_AWAY_PRIORITY = 250

_NO_OUTER = (
    SetField("tun_ipv4_src", IPv4Address(0)),
    SetField("tun_ipv4_dst", IPv4Address(0)),
    SetField("tun_ipv6_src", IPv6Address(0)),
    SetField("tun_ipv6_dst", IPv6Address(0)),
)


def static(topology: Topology) -> Iterable[FlowRule]:
    """What depends on settings and ports only."""
    for port in topology.ports:
        if port.mobility:
            yield from _port(port)
    if topology.mobility:
        # Of an EID that is elsewhere, out of the tunnel: there is no miss meter of a port for it.
        yield flow(
            TableId.MISS,
            100,
            match(in_port=RE_ENCAPSULATED),
            goto=TableId.MISS_TOTAL,
            meter=MeterId.PENDING,
        )


def _port(port: AttachedPort) -> Iterable[FlowRule]:
    number = port.number
    # Not for a gateway address only: duplicate address detection asks for the host's own address,
    # and the neighbours of a host that came are elsewhere.
    yield flow(
        TableId.CLASSIFY,
        495,
        match(in_port=number, eth_type=ETH_IPV6, ip_proto=ICMPV6, icmpv6_type=ND_SOLICIT),
        ToController(),
        value=Punt.NEIGHBOUR,
        meter=MeterId.NEIGHBOUR,
    )
    yield flow(
        TableId.CLASSIFY,
        495,
        match(
            in_port=number,
            eth_type=ETH_IPV4,
            ip_proto=UDP,
            udp_src=DHCP_CLIENT,
            udp_dst=DHCP_SERVER,
        ),
        ToController(),
        value=Punt.DHCP,
        meter=MeterId.NEIGHBOUR,
    )
    for gateway in port.interfaces:
        version, network = gateway.version, gateway.network
        kind = eth_type(version)
        # What the controller sends in the gateway's name enters by the port as well.
        yield flow(
            TableId.SOURCE_GUARD,
            _OWN_PRIORITY,
            match(
                in_port=number, eth_src=port.mac, eth_type=kind, **{f"ipv{version}_src": gateway.ip}
            ),
            goto=TableId.LOCAL_EIDS,
        )
        yield flow(
            TableId.SOURCE_GUARD,
            _STRANGER_PRIORITY + network.prefixlen,
            match(in_port=number, eth_type=kind, **{f"ipv{version}_src": network}),
            ToController(),
            meter=MeterId.MISS_BASE + number,
            value=Punt.ARRIVAL,
        )


def host(host: Host, port: AttachedPort) -> Iterable[FlowRule]:
    """What a host at a port that allows mobility has beside its delivery."""
    version = host.address.version
    own: dict[str, FieldValue] = {
        "in_port": host.port,
        "eth_src": host.mac,
        "eth_type": eth_type(version),
        f"ipv{version}_src": host.address,
    }
    kind, value = CookieClass.LOCAL_EID, host.iid
    yield flow(
        TableId.SOURCE_GUARD,
        _HOST_PRIORITY,
        match(**own),
        goto=TableId.LOCAL_EIDS,
        kind=kind,
        value=value,
    )
    gateway = port.gateway_for(host.address)
    if gateway is not None and isinstance(gateway.ip, IPv4Address):
        yield arp_responder(port, gateway.ip, asker=host)
    if host.kept:
        # It may know neighbours of its subnet by their own MAC addresses, and they are elsewhere.
        yield flow(
            TableId.CLASSIFY,
            395,
            match(**own),
            goto=TableId.SOURCE_GUARD,
            metadata=host.iid,
            kind=kind,
            value=value,
        )


def away(key: HostKey) -> Compiled:
    """An EID that is elsewhere: the map-cache knows where, also for packets out of the tunnel.

    These are encapsulated once more, which a host route here can only want while their ITR has not
    heard of the new place; the TTL bounds whatever else may happen.
    """
    iid, address = key
    version = address.version
    to: dict[str, FieldValue] = {"eth_type": eth_type(version), f"ipv{version}_dst": address}
    return Compiled(
        (
            flow(
                TableId.LOCAL_EIDS,
                _AWAY_PRIORITY,
                match(metadata=(iid, METADATA_MASK), **to),
                goto=TableId.MAP_CACHE,
                kind=CookieClass.LOCAL_EID,
                value=iid,
            ),
            flow(
                TableId.LOCAL_EIDS,
                _AWAY_PRIORITY,
                match(metadata=(FROM_TUNNEL | iid, METADATA_MASK), **to),
                SetField("in_port", RE_ENCAPSULATED),
                *_NO_OUTER,
                goto=TableId.MAP_CACHE,
                metadata=iid,
                kind=CookieClass.LOCAL_EID,
                value=iid,
            ),
        )
    )
