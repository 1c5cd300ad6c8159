"""State -> rules: pure functions, one per thing that owns rules.

Priorities in the map-cache table grow with the prefix lengths, destination before source, so
that OpenFlow's highest priority is LISP's longest match.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.model import Act, Mapping
from lisp_sdn.rules import (
    CookieClass,
    DecTtl,
    FieldValue,
    FlowRule,
    GroupRule,
    Match,
    Output,
    Port,
    RuleAction,
    SetField,
    ToController,
    ToGroup,
    match,
)
from lisp_sdn.xtr import mobile_rules, native, rlocsets
from lisp_sdn.xtr.cache import TTL_UNLIMITED, Entry, Node, Via
from lisp_sdn.xtr.compiled import Compiled, eth_type, flow
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.pipeline import (
    IID_MASK,
    METADATA_MASK,
    MeterId,
    TableId,
    check_group,
)
from lisp_sdn.xtr.rlocsets import RlocSet
from lisp_sdn.xtr.size import encapsulate
from lisp_sdn.xtr.topology import AttachedPort, Topology

CACHE_PRIORITY = 1000
PENDING_PRIORITY = 20000
_PER_DESTINATION_BIT = 130

GLEANED_BIT = 1 << 32
"""In the cookie value of a map-cache flow: nothing has verified it."""

GroupOf = Callable[[RlocSet], int]
"""The group number of an RLOC-set."""


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

    Only the first leaves by idle timeout; the others go with it.
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
    beside = tuple(mobile_rules.host(host, port)) if port.mobility else ()
    return Compiled(
        (
            flow(
                table,
                260,
                match(**fields),
                *host_actions(host, port, -1),
                kind=kind,
                value=host.iid,
                idle_timeout=0 if host.kept else topology.limits.idle_timeout,
                notify_removed=True,
            ),
            flow(
                table,
                270,
                match(**fields, in_port=host.port),
                *host_actions(host, port, host.port),
                kind=kind,
                value=host.iid,
            ),
            *beside,
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
    kept: list[GroupRule] = []
    for entry in node.entries.values():
        compiled = cache_entry(entry, topology, group_of)
        flows.extend(compiled.flows)
        kept.extend(compiled.kept_groups)
    if None not in node.entries and any(entry.installed for entry in node.entries.values()):
        # Known for some sources only: another source must not fall to a less-specific entry.
        flows.append(
            flow(
                TableId.MAP_CACHE,
                cache_priority(node.destination, None),
                cache_match(node.destination, None),
                goto=TableId.MISS,
                kind=CookieClass.PENDING,
                value=node.destination.iid,
            )
        )
    return Compiled(tuple(flows), kept_groups=tuple(kept))


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


def rloc_set(rlocs: RlocSet, topology: Topology, group_of: GroupOf) -> Compiled:
    """The rules that an RLOC-set has by itself, for all EIDs behind it."""
    if topology.tunnel_port is None:
        return Compiled()
    number = group_of(rlocs)
    if rlocsets.spreads(rlocs, topology):
        return Compiled(tuple(rlocsets.spread_rules(number, rlocs, topology)))
    return Compiled(groups=(check_group(rlocsets.group(number, rlocs, topology)),))


def forwards_natively(mapping: Mapping, topology: Topology) -> bool:
    """Whether packets of this mapping leave without encapsulation (RFC 6832 section 5.2)."""
    if not mapping.negative or mapping.action is not Act.NATIVELY_FORWARD:
        return False
    return topology.role(mapping.eid.iid) is not None


def direct_actions(entry: Entry, topology: Topology, group_of: GroupOf) -> tuple[RuleAction, ...]:
    """How one packet goes where the flow of an entry would send it, past the tables.

    Past its group as well: that may be on its way to the switch only now.
    """
    if entry.active is not None and forwards_natively(entry.active, topology):
        port = topology.native(entry.destination.iid)
        return native.actions(port) if port is not None else ()
    if entry.active is not None:
        rlocs = rlocsets.normalise(entry.active.locators)
        if topology.tunnel_port is not None and rlocs:
            rlocs_now = rlocsets.next_hops(rlocs, topology)
            if not rlocs_now:
                return ()
            tunnel_id = SetField("tunnel_id", entry.destination.iid)
            return (DecTtl(), tunnel_id, *encapsulate(rlocs_now[0], topology))
    flows = cache_entry(entry, topology, group_of).flows
    return flows[0].actions if flows and flows[0].goto is None else ()


def cache_entry(entry: Entry, topology: Topology, group_of: GroupOf) -> Compiled:
    """The rules of one map-cache entry."""
    if entry.active is None:
        flows, groups = entry.adopted or ((), ())
        return Compiled(flows, kept_groups=groups)
    mapping = entry.active
    actions, goto = _forwarding(entry.destination, mapping, topology, group_of)
    rule = flow(
        TableId.MAP_CACHE,
        cache_priority(entry.destination, entry.source),
        cache_match(entry.destination, entry.source),
        *actions,
        goto=goto,
        kind=CookieClass.MAP_CACHE,
        value=cookie_value(mapping) | (GLEANED_BIT if entry.via is Via.GLEANED else 0),
        idle_timeout=idle_timeout(mapping, topology),
        notify_removed=True,
    )
    if entry.via is Via.GLEANED:
        # It must not be used for longer, even if the controller goes away.
        rule = replace(rule, hard_timeout=math.ceil(entry.expires - entry.added) + 1)
    return Compiled((rule,))


def _forwarding(
    eid: EidPrefix, mapping: Mapping, topology: Topology, group_of: GroupOf
) -> tuple[tuple[RuleAction, ...], TableId | None]:
    """(actions, continue in) for a mapping."""
    if forwards_natively(mapping, topology):
        return (), TableId.NATIVE
    if mapping.negative:
        # ACT 2: every matching packet asks again (RFC 9301 5.4), metered like any miss.
        wants_request = mapping.action is Act.SEND_MAP_REQUEST
        return (), TableId.MISS if wants_request else None
    rlocs = rlocsets.normalise(mapping.locators)
    if topology.tunnel_port is None or not rlocsets.best(rlocs, topology):
        return (), None
    into_tunnel = (DecTtl(), SetField("tunnel_id", eid.iid))
    number = group_of(rlocs)
    if rlocsets.spreads(rlocs, topology):
        return (*into_tunnel, *rlocsets.spread_actions(number)), TableId.SPREAD
    return (*into_tunnel, ToGroup(number)), None


def drop_reason(mapping: Mapping, topology: Topology) -> str | None:
    """Why packets of this mapping are not encapsulated; None if they are."""
    if mapping.negative:
        if mapping.action is Act.SEND_MAP_REQUEST:
            return None
        if mapping.action is Act.NATIVELY_FORWARD:
            return native.why_not(mapping.eid.iid, topology)
        return mapping.action.text
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
            flow(
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
