"""The rules that are always there: they depend on settings and ports only.

ARP and neighbour discovery, classification by port and tunnel, addresses that no router forwards,
gateway addresses, spent TTLs, connected subnets, the ways to the controller with their meters.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from lisp_sdn.address import IPNetwork
from lisp_sdn.rules import (
    CookieClass,
    FieldValue,
    FlowRule,
    MeterRule,
    ToController,
    match,
)
from lisp_sdn.xtr import mobile_rules, native, size
from lisp_sdn.xtr.arp import arp_responder
from lisp_sdn.xtr.compiled import Compiled, eth_type, flow
from lisp_sdn.xtr.frames import ETH_ARP, ETH_IPV6, ICMP, ICMPV6, ND_ADVERT, ND_SOLICIT
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, IID_MASK, MeterId, Punt, TableId
from lisp_sdn.xtr.topology import AttachedPort, Topology

FROM_TUNNEL_PRIORITY = 30000

# Sources and destinations that no router forwards (RFC 1812 5.3.7, RFC 4291 2.4 and 2.5.6,
# RFC 3927 2.7): they never lead to a Map-Request.
_NEVER_ROUTED: tuple[IPNetwork, ...] = tuple(
    [IPv4Network(t) for t in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")]
    + [IPv6Network(t) for t in ("::/127", "fe80::/10", "ff00::/8")]
)


def static(topology: Topology) -> Compiled:
    """Everything that depends on settings and ports only."""
    limits = topology.limits
    meters = [
        MeterRule(MeterId.ICMP, limits.icmp_rate, limits.icmp_burst),
        MeterRule(MeterId.NEIGHBOUR, limits.neighbour_rate, limits.neighbour_burst),
        MeterRule(MeterId.PENDING, limits.pending_rate, limits.pending_burst),
        MeterRule(MeterId.LOCAL, limits.local_rate, limits.local_burst),
        MeterRule(MeterId.MISS_TOTAL, limits.miss_total_rate, limits.miss_total_burst),
    ]
    flows = list(_classify_common(topology))
    flows.extend(_local_common(topology))
    flows.append(
        flow(TableId.MAP_CACHE, FROM_TUNNEL_PRIORITY, match(metadata=(FROM_TUNNEL, FROM_TUNNEL)))
    )
    flows.append(flow(TableId.MAP_CACHE, 0, (), goto=TableId.MISS))
    flows.append(flow(TableId.MISS, 0, ()))
    total = MeterId.MISS_TOTAL
    flows.append(flow(TableId.MISS_TOTAL, 0, (), ToController(), meter=total, value=Punt.MISS))
    for port in topology.ports:
        meter = MeterId.MISS_BASE + port.number
        meters.append(MeterRule(meter, limits.miss_rate, limits.miss_burst))
        flows.extend(_classify_port(port))
        flows.append(
            flow(
                TableId.MISS,
                100,
                match(in_port=port.number),
                goto=TableId.MISS_TOTAL,
                meter=meter,
            )
        )
    flows.extend(native.flows(topology))
    meters.extend(native.meters(topology))
    flows.extend(mobile_rules.static(topology))
    sizes = size.rules(topology)
    return Compiled((*flows, *sizes.flows), meters=(*meters, *sizes.meters))


def _classify_common(topology: Topology) -> Iterable[FlowRule]:
    table = TableId.CLASSIFY
    yield flow(table, 0, ())
    for network in _NEVER_ROUTED:
        for side in ("src", "dst"):
            fields: dict[str, FieldValue] = {f"ipv{network.version}_{side}": network}
            yield flow(table, 450, match(eth_type=eth_type(network.version), **fields))
    if topology.tunnel_port is None:
        return
    # A packet of an instance-ID that is not served here ends at this rule, where it is counted.
    yield flow(table, 100, match(in_port=topology.tunnel_port))
    # One per RLOC of ours: an ETR takes only what is addressed to it (RFC 9300 section 4.2), and
    # its counters are the inbound load of the RLOC.
    for iid in topology.iids():
        for rloc in topology.rlocs:
            tunnel = {f"tun_ipv{rloc.version}_dst": rloc}
            for version in (4, 6):
                yield flow(
                    table,
                    400,
                    match(
                        in_port=topology.tunnel_port,
                        tunnel_id=iid,
                        eth_type=eth_type(version),
                        **tunnel,
                    ),
                    goto=TableId.SOURCE_GUARD,
                    metadata=FROM_TUNNEL | iid,
                    kind=CookieClass.DECAPSULATION,
                    value=iid,
                )


def _classify_port(port: AttachedPort) -> Iterable[FlowRule]:
    table, number = TableId.CLASSIFY, port.number
    yield flow(
        table,
        490,
        match(in_port=number, eth_type=ETH_ARP),
        ToController(),
        value=Punt.ARP,
        meter=MeterId.NEIGHBOUR,
    )
    yield flow(
        table,
        500,
        match(in_port=number, eth_type=ETH_IPV6, ip_proto=ICMPV6, icmpv6_type=ND_ADVERT),
        ToController(),
        value=Punt.NEIGHBOUR,
        meter=MeterId.NEIGHBOUR,
    )
    for gateway in port.interfaces:
        if isinstance(gateway.ip, IPv4Address):
            yield arp_responder(port, gateway.ip)
        else:
            yield flow(
                table,
                500,
                match(
                    in_port=number,
                    eth_type=ETH_IPV6,
                    ip_proto=ICMPV6,
                    icmpv6_type=ND_SOLICIT,
                    ipv6_nd_target=gateway.ip,
                ),
                ToController(),
                value=Punt.NEIGHBOUR,
                meter=MeterId.NEIGHBOUR,
            )
    for version in (4, 6):
        yield flow(
            table,
            400,
            match(in_port=number, eth_dst=port.mac, eth_type=eth_type(version)),
            goto=TableId.SOURCE_GUARD,
            metadata=port.iid,
        )


def _local_common(topology: Topology) -> Iterable[FlowRule]:
    table = TableId.LOCAL_EIDS
    yield flow(table, 0, (), goto=TableId.MAP_CACHE)
    for version in (4, 6):
        for ttl in (0, 1):
            yield flow(
                table,
                280,
                match(eth_type=eth_type(version), nw_ttl=ttl),
                ToController(),
                meter=MeterId.ICMP,
                value=Punt.TTL,
            )
    gateways = {(port.iid, gateway) for port in topology.ports for gateway in port.interfaces}
    connected = {(port.iid, gateway) for port in topology.ports for gateway in port.gateways}
    for iid, gateway in gateways:
        version = gateway.version
        common: dict[str, FieldValue] = {
            "metadata": (iid, IID_MASK),
            "eth_type": eth_type(version),
        }
        own = {**common, f"ipv{version}_dst": gateway.ip}
        echo: dict[str, FieldValue] = {"ip_proto": ICMPV6, "icmpv6_type": 128}
        if version == 4:
            echo = {"ip_proto": ICMP, "icmpv4_type": 8}
        yield flow(
            table,
            300,
            match(**own, **echo),
            ToController(),
            meter=MeterId.ICMP,
            value=Punt.GATEWAY,
        )
        yield flow(table, 290, match(**own))
        if (iid, gateway) not in connected:
            continue
        subnet = gateway.network
        yield flow(
            table,
            100 + subnet.prefixlen,
            match(**common, **{f"ipv{version}_dst": subnet}),
            ToController(),
            meter=MeterId.LOCAL,
            value=Punt.LOCAL,
        )
