"""State -> rules: pure functions, one per thing that owns rules.

Priorities in the map-cache table grow with the prefix lengths, destination before source, so
that OpenFlow's highest priority is LISP's longest match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.model import Act, Mapping
from lisp_sdn.rules import (
    CookieClass,
    DecTtl,
    FieldValue,
    FlowRule,
    GroupRule,
    Match,
    MeterRule,
    MoveField,
    Output,
    Port,
    RuleAction,
    SetField,
    ToController,
    ToGroup,
    cookie,
    match,
)
from lisp_sdn.xtr import rlocsets
from lisp_sdn.xtr.cache import TTL_UNLIMITED, Entry, Node
from lisp_sdn.xtr.frames import ETH_ARP, ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, ND_ADVERT, ND_SOLICIT
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.pipeline import (
    FROM_TUNNEL,
    IID_MASK,
    METADATA_MASK,
    MeterId,
    Punt,
    TableId,
    check,
    check_group,
)
from lisp_sdn.xtr.rlocsets import RlocSet
from lisp_sdn.xtr.topology import AttachedPort, Topology

CACHE_PRIORITY = 1000
PENDING_PRIORITY = 20000
FROM_TUNNEL_PRIORITY = 30000
_PER_DESTINATION_BIT = 130

# Sources and destinations that no router forwards (RFC 1812 5.3.7, RFC 4291 2.4 and 2.5.6,
# RFC 3927 2.7): they never lead to a Map-Request.
_BAD_SOURCES: tuple[IPNetwork, ...] = tuple(
    [IPv4Network(t) for t in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")]
    + [IPv6Network(t) for t in ("::/127", "fe80::/10", "ff00::/8")]
)
_BAD_DESTINATIONS = _BAD_SOURCES

GroupOf = Callable[[RlocSet], int]
"""The group number of an RLOC-set."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The rules of one owner. kept_groups: adopted from the switch as they are."""

    flows: tuple[FlowRule, ...] = ()
    groups: tuple[GroupRule, ...] = ()
    kept_groups: tuple[GroupRule, ...] = ()
    meters: tuple[MeterRule, ...] = ()


def eth_type(version: int) -> int:
    """The EtherType of an IP version."""
    return ETH_IPV4 if version == 4 else ETH_IPV6


def _address_match(version: int, side: str, prefix: IPNetwork | None) -> dict[str, FieldValue]:
    return {} if prefix is None else {f"ipv{version}_{side}": prefix}


def _flow(
    table: TableId,
    priority: int,
    matching: Match,
    *actions: RuleAction,
    goto: TableId | None = None,
    metadata: int | None = None,
    meter: int | None = None,
    kind: CookieClass = CookieClass.PIPELINE,
    value: int = 0,
    idle_timeout: int = 0,
    notify_removed: bool = False,
) -> FlowRule:
    return check(
        FlowRule(
            int(table),
            priority,
            matching,
            actions,
            None if goto is None else int(goto),
            None if metadata is None else (metadata, METADATA_MASK),
            None if meter is None else int(meter),
            cookie(kind, value),
            idle_timeout,
            0,
            notify_removed,
        )
    )


# --- what is always there ----------------------------------------------------------------


def static(topology: Topology) -> Compiled:
    """Everything that depends on settings and ports only."""
    limits = topology.limits
    meters = [
        MeterRule(MeterId.ICMP, limits.icmp_rate, limits.icmp_burst),
        MeterRule(MeterId.NEIGHBOUR, limits.neighbour_rate, limits.neighbour_burst),
        MeterRule(MeterId.PENDING, limits.pending_rate, limits.pending_burst),
    ]
    flows = list(_classify_common(topology))
    flows.append(_flow(TableId.SOURCE_GUARD, 0, (), goto=TableId.LOCAL_EIDS))
    flows.extend(_local_common(topology))
    flows.append(
        _flow(TableId.MAP_CACHE, FROM_TUNNEL_PRIORITY, match(metadata=(FROM_TUNNEL, FROM_TUNNEL)))
    )
    flows.append(_flow(TableId.MAP_CACHE, 0, (), goto=TableId.MISS))
    flows.append(_flow(TableId.MISS, 0, ()))
    for port in topology.ports:
        meter = MeterId.MISS_BASE + port.number
        meters.append(MeterRule(meter, limits.miss_rate, limits.miss_burst))
        flows.extend(_classify_port(port))
        flows.append(
            _flow(
                TableId.MISS,
                100,
                match(in_port=port.number),
                ToController(),
                meter=meter,
                value=Punt.MISS,
            )
        )
    return Compiled(tuple(flows), meters=tuple(meters))


def _classify_common(topology: Topology) -> Iterable[FlowRule]:
    table = TableId.CLASSIFY
    yield _flow(table, 0, ())
    for side, networks in (("src", _BAD_SOURCES), ("dst", _BAD_DESTINATIONS)):
        for network in networks:
            fields = _address_match(network.version, side, network)
            yield _flow(table, 450, match(eth_type=eth_type(network.version), **fields))
    if topology.tunnel_port is None:
        return
    # A packet of an instance-ID that is not served here ends at this rule, where it is counted.
    yield _flow(table, 100, match(in_port=topology.tunnel_port))
    # One per RLOC of ours: an ETR takes only what is addressed to it (RFC 9300 section 4.2), and
    # its counters are the inbound load of the RLOC.
    for iid in topology.iids():
        for rloc in topology.rlocs:
            tunnel = {f"tun_ipv{rloc.version}_dst": rloc}
            for version in (4, 6):
                yield _flow(
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
    yield _flow(
        table,
        490,
        match(in_port=number, eth_type=ETH_ARP),
        ToController(),
        value=Punt.ARP,
        meter=MeterId.NEIGHBOUR,
    )
    yield _flow(
        table,
        500,
        match(in_port=number, eth_type=ETH_IPV6, ip_proto=ICMPV6, icmpv6_type=ND_ADVERT),
        ToController(),
        value=Punt.NEIGHBOUR,
        meter=MeterId.NEIGHBOUR,
    )
    for gateway in port.gateways:
        if isinstance(gateway.ip, IPv4Address):
            yield _arp_responder(port, gateway.ip)
        else:
            yield _flow(
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
        yield _flow(
            table,
            400,
            match(in_port=number, eth_dst=port.mac, eth_type=eth_type(version)),
            goto=TableId.SOURCE_GUARD,
            metadata=port.iid,
        )


def _arp_responder(port: AttachedPort, gateway: IPv4Address) -> FlowRule:
    """Turn an ARP request for the gateway into its answer in the switch itself.

    Hosts keep their gateway while the controller is down. The order of the actions matters: the
    requester's addresses are moved before they are overwritten.
    """
    return _flow(
        TableId.CLASSIFY,
        500,
        match(in_port=port.number, eth_type=ETH_ARP, arp_op=1, arp_tpa=gateway),
        MoveField("eth_src", "eth_dst", 48),
        SetField("eth_src", port.mac),
        SetField("arp_op", 2),
        MoveField("arp_sha", "arp_tha", 48),
        MoveField("arp_spa", "arp_tpa", 32),
        SetField("arp_sha", port.mac),
        SetField("arp_spa", gateway),
        Output(Port.IN_PORT),
    )


def _local_common(topology: Topology) -> Iterable[FlowRule]:
    table = TableId.LOCAL_EIDS
    yield _flow(table, 0, (), goto=TableId.MAP_CACHE)
    for version in (4, 6):
        for ttl in (0, 1):
            yield _flow(
                table,
                280,
                match(eth_type=eth_type(version), nw_ttl=ttl),
                ToController(),
                meter=MeterId.ICMP,
                value=Punt.TTL,
            )
    gateways = {(port.iid, gateway) for port in topology.ports for gateway in port.gateways}
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
        yield _flow(
            table,
            300,
            match(**own, **echo),
            ToController(),
            meter=MeterId.ICMP,
            value=Punt.GATEWAY,
        )
        yield _flow(table, 290, match(**own))
        subnet = gateway.network
        yield _flow(
            table,
            100 + subnet.prefixlen,
            match(**common, **_address_match(version, "dst", subnet)),
            ToController(),
            meter=MeterId.NEIGHBOUR,
            value=Punt.LOCAL,
        )


# --- local EIDs --------------------------------------------------------------------------


def host_actions(host: Host, port: AttachedPort, in_port: int) -> tuple[RuleAction, ...]:
    """Deliver to a local EID a packet that entered by `in_port`."""
    out = Port.IN_PORT if in_port == host.port else host.port
    return (
        DecTtl(),
        SetField("eth_src", port.mac),
        SetField("eth_dst", host.mac),
        Output(int(out)),
    )


def local_eid(host: Host, topology: Topology) -> Compiled:
    """The rules of a local EID: delivery, and delivery out of the port that it came in by.

    Only the first leaves by idle timeout; the other goes with it.
    """
    port = topology.port(host.port)
    if port is None or port.iid != host.iid:
        return Compiled()
    version = host.address.version
    fields: dict[str, FieldValue] = {
        "metadata": (host.iid, IID_MASK),
        "eth_type": eth_type(version),
        f"ipv{version}_dst": host.address,
    }
    kind, table = CookieClass.LOCAL_EID, TableId.LOCAL_EIDS
    return Compiled(
        (
            _flow(
                table,
                260,
                match(**fields),
                *host_actions(host, port, -1),
                kind=kind,
                value=host.iid,
                idle_timeout=topology.limits.idle_timeout,
                notify_removed=True,
            ),
            _flow(
                table,
                270,
                match(**fields, in_port=host.port),
                *host_actions(host, port, host.port),
                kind=kind,
                value=host.iid,
            ),
        )
    )


# --- map-cache ---------------------------------------------------------------------------


def cache_priority(destination: EidPrefix, source: EidPrefix | None) -> int:
    """Longest destination first, then longest source."""
    scoped = 0 if source is None else source.prefixlen + 1
    return CACHE_PRIORITY + destination.prefixlen * _PER_DESTINATION_BIT + scoped


def cache_match(destination: EidPrefix, source: EidPrefix | None) -> Match:
    """Packets from an EID-facing port to, and maybe from, a prefix.

    What `rules.match` would give, put together without sorting: it is made for every miss.
    """
    version = destination.version
    fields: list[tuple[str, FieldValue]] = [("eth_type", eth_type(version))]
    if destination.prefixlen:
        fields.append((f"ipv{version}_dst", _plain(destination)))
    if source is not None and source.prefixlen:
        fields.append((f"ipv{version}_src", _plain(source)))
    fields.append(("metadata", (destination.iid, METADATA_MASK)))
    return tuple(fields)


def _plain(eid: EidPrefix) -> FieldValue:
    return eid.network.network_address if eid.is_host else eid.network


def cookie_value(mapping: Mapping) -> int:
    """What an adopting controller must know of a flow: instance-ID, and the action plus one."""
    act = mapping.action + 1 if mapping.negative else 0
    return act << 24 | mapping.eid.iid


def idle_timeout(mapping: Mapping, topology: Topology) -> int:
    """Seconds without a packet after which the flow leaves; never longer than the record lives."""
    limit = topology.limits.idle_timeout
    if mapping.ttl_minutes == TTL_UNLIMITED:
        return limit
    return max(1, min(limit, mapping.ttl_minutes * 60))


def destination(node: Node, topology: Topology, group_of: GroupOf) -> Compiled:
    """The rules of one destination prefix with all its entries."""
    flows: list[FlowRule] = []
    groups: list[GroupRule] = []
    kept: list[GroupRule] = []
    for entry in node.entries.values():
        compiled = cache_entry(entry, topology, group_of)
        flows.extend(compiled.flows)
        groups.extend(compiled.groups)
        kept.extend(compiled.kept_groups)
    if None not in node.entries and any(entry.installed for entry in node.entries.values()):
        # Known for some sources only: another source must not fall to a less-specific entry.
        flows.append(
            _flow(
                TableId.MAP_CACHE,
                cache_priority(node.destination, None),
                cache_match(node.destination, None),
                goto=TableId.MISS,
                kind=CookieClass.PENDING,
                value=node.destination.iid,
            )
        )
    return Compiled(tuple(flows), tuple(groups), tuple(kept))


def rloc_sets(node: Node, topology: Topology) -> tuple[RlocSet, ...]:
    """The RLOC-sets that need a group for this destination prefix."""
    if topology.tunnel_port is None:
        return ()
    sets = (
        rlocsets.normalise(entry.active.locators)
        for entry in node.entries.values()
        if entry.active is not None and entry.active.locators
    )
    return tuple(rlocs for rlocs in sets if rlocsets.best(rlocs, topology))


def cache_entry(entry: Entry, topology: Topology, group_of: GroupOf) -> Compiled:
    """The rules of one map-cache entry."""
    if entry.active is None:
        flows, groups = entry.adopted or ((), ())
        return Compiled(flows, kept_groups=groups)
    mapping = entry.active
    actions, group, goto = _forwarding(entry.destination, mapping, topology, group_of)
    flow = _flow(
        TableId.MAP_CACHE,
        cache_priority(entry.destination, entry.source),
        cache_match(entry.destination, entry.source),
        *actions,
        goto=goto,
        kind=CookieClass.MAP_CACHE,
        value=cookie_value(mapping),
        idle_timeout=idle_timeout(mapping, topology),
        notify_removed=True,
    )
    return Compiled((flow,), () if group is None else (check_group(group),))


def _forwarding(
    eid: EidPrefix, mapping: Mapping, topology: Topology, group_of: GroupOf
) -> tuple[tuple[RuleAction, ...], GroupRule | None, TableId | None]:
    """(actions, group, continue in) for a mapping."""
    if mapping.negative:
        # ACT 2: every matching packet asks again (RFC 9301 5.4), metered like any miss.
        wants_request = mapping.action is Act.SEND_MAP_REQUEST
        return (), None, TableId.MISS if wants_request else None
    rlocs = rlocsets.normalise(mapping.locators)
    if topology.tunnel_port is None or not rlocsets.best(rlocs, topology):
        return (), None, None
    group = rlocsets.group(group_of(rlocs), rlocs, topology)
    return (DecTtl(), SetField("tunnel_id", eid.iid), ToGroup(group.group_id)), group, None


def drop_reason(mapping: Mapping, topology: Topology) -> str | None:
    """Why packets of this mapping are not encapsulated; None if they are."""
    if mapping.negative:
        if mapping.action is Act.SEND_MAP_REQUEST:
            return None
        # Natively forwarded packets need a path past the overlay, which an xTR without an
        # interworking port does not have.
        native = mapping.action is Act.NATIVELY_FORWARD
        return "no-native-path" if native else mapping.action.text
    rlocs = rlocsets.normalise(mapping.locators)
    if topology.tunnel_port is None:
        return "no-tunnel-port"
    return rlocsets.why_unusable(rlocs, topology)


def pending(iid: int, address: IPAddress, *, blocked: bool) -> Compiled:
    """While a destination is resolved: few further packets reach the controller.

    blocked: nothing more can be held for it, so its packets are dropped in the switch.
    """
    host = EidPrefix.host(iid, address)
    return Compiled(
        (
            _flow(
                TableId.MAP_CACHE,
                PENDING_PRIORITY,
                cache_match(host, None),
                *(() if blocked else (ToController(),)),
                meter=None if blocked else MeterId.PENDING,
                kind=CookieClass.PENDING,
                value=iid,
            ),
        )
    )
