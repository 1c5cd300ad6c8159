"""Where an xTR meets what is not LISP (RFC 6832): its native ports.

A native port is an internal port of the overlay bridge; behind it is the routing of the switch's
host. Negative map-cache entries that say Natively-Forward lead out by it, and what the host's
routing sends in by it is delivered to local EIDs. A Proxy-ITR encapsulates what comes in by it, a
Proxy-ETR sends out by it what ITRs have sent here.

Nothing goes in a circle: what came in by a native port never leaves by it, and a Proxy-ETR does
not forward what is for an EID. The host's routing takes one hop of TTL, so we take none.
"""

from __future__ import annotations

from collections.abc import Iterator

from lisp_sdn.address import IPNetwork
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.config.proxies import forwarded_sources, lisp_prefixes
from lisp_sdn.rules import (
    CookieClass,
    FlowRule,
    Match,
    MeterRule,
    Output,
    RuleAction,
    SetField,
    match,
)
from lisp_sdn.xtr.compiled import eth_type, flow
from lisp_sdn.xtr.pipeline import (
    FROM_NATIVE,
    FROM_TUNNEL,
    IID_MASK,
    METADATA_MASK,
    ORIGIN_MASK,
    MeterId,
    TableId,
)
from lisp_sdn.xtr.topology import AttachedNative, NativeRole, Topology

# Above the drop of all that comes out of the tunnel.
_REFUSE_PRIORITY, _FORWARD_PRIORITY, _IS_LISP_PRIORITY = 30005, 30010, 30020


def roles(config: Config, settings: XtrSettings) -> tuple[NativeRole, ...]:
    """What the native ports of an xTR are for."""
    return tuple(
        NativeRole(
            port.name,
            port.iid,
            port.proxy_itr is not None,
            forwarded_sources(config, port),
            lisp_prefixes(config, port),
        )
        for port in settings.native_ports
    )


def actions(native: AttachedNative) -> tuple[RuleAction, ...]:
    """Hand a packet to the routing of the host."""
    return (SetField("eth_dst", native.mac), Output(native.number))


def why_not(iid: int, topology: Topology) -> str | None:
    """The reason code when nothing of an instance-ID leaves natively; None when it does."""
    if topology.role(iid) is None:
        return "no-native-path"
    native = topology.native(iid)
    if native is None:
        return "no-native-port"
    return None if native.up else "native-port-down"


def problems(topology: Topology) -> Iterator[str]:
    """What is wrong with native ports, one sentence each."""
    for role in topology.roles:
        native = topology.native(role.iid)
        if native is None:
            yield f"the switch has no native port {role.port!r}"
        elif not native.up:
            yield f"native port {role.port!r} is down"


def flows(topology: Topology) -> Iterator[FlowRule]:
    """All rules of the native ports but those of map-cache entries."""
    for native in topology.natives:
        role = native.role
        yield from _classify(native)
        if role.proxy_itr:
            yield _miss(native)
        else:
            # An xTR is no Proxy-ITR by accident: what is for no local EID ends here.
            yield flow(
                TableId.MAP_CACHE,
                _FORWARD_PRIORITY,
                match(metadata=(FROM_NATIVE | role.iid, FROM_NATIVE | IID_MASK)),
                kind=CookieClass.INTERWORKING,
                value=role.iid,
            )
        if topology.tunnel_port is not None:
            yield from _proxy_etr(role)
        yield from _out(native)


def meters(topology: Topology) -> Iterator[MeterRule]:
    """The miss meter of each Proxy-ITR's port."""
    limits = topology.limits
    for native in topology.natives:
        if native.role.proxy_itr:
            yield MeterRule(_meter(native), limits.miss_rate, limits.miss_burst)


def _meter(native: AttachedNative) -> int:
    return MeterId.MISS_BASE + native.number


def _classify(native: AttachedNative) -> Iterator[FlowRule]:
    """Whatever MAC address the host sends it to: it takes the port for a link of its own."""
    for version in (4, 6):
        yield flow(
            TableId.CLASSIFY,
            400,
            match(in_port=native.number, eth_type=eth_type(version)),
            goto=TableId.SOURCE_GUARD,
            metadata=FROM_NATIVE | native.role.iid,
            kind=CookieClass.INTERWORKING,
            value=native.role.iid,
        )


def _miss(native: AttachedNative) -> FlowRule:
    return flow(
        TableId.MISS,
        100,
        match(in_port=native.number),
        goto=TableId.MISS_TOTAL,
        meter=_meter(native),
    )


def _proxy_etr(role: NativeRole) -> Iterator[FlowRule]:
    """RFC 6832 section 6.1: only for LISP sites, and only to what is not LISP."""
    for prefix in role.sources:
        yield _from_tunnel(role, _FORWARD_PRIORITY, prefix, "src", TableId.NATIVE)
    if role.sources:
        # Another source: dropped as all that comes out of the tunnel, but counted apart.
        yield flow(
            TableId.MAP_CACHE,
            _REFUSE_PRIORITY,
            match(metadata=(FROM_TUNNEL | role.iid, METADATA_MASK)),
            kind=CookieClass.INTERWORKING,
            value=role.iid,
        )
    for prefix in role.lisp if role.sources else ():
        yield _from_tunnel(role, _IS_LISP_PRIORITY, prefix, "dst", None)


def _from_tunnel(
    role: NativeRole, priority: int, prefix: IPNetwork, side: str, goto: TableId | None
) -> FlowRule:
    version = prefix.version
    metadata = (FROM_TUNNEL | role.iid, METADATA_MASK)
    fields = {f"ipv{version}_{side}": prefix}
    return flow(
        TableId.MAP_CACHE,
        priority,
        match(metadata=metadata, eth_type=eth_type(version), **fields),
        goto=goto,
        kind=CookieClass.INTERWORKING,
        value=role.iid,
    )


def _out(native: AttachedNative) -> Iterator[FlowRule]:
    """One rule for each way by which packets get here: their counters tell which it was."""
    iid = native.role.iid
    yield _leave(iid, native.role.iid, *actions(native))
    if native.role.proxy_etr:
        yield _leave(iid, FROM_TUNNEL | iid, *actions(native))
    yield _leave(iid, FROM_NATIVE | iid)


def _leave(iid: int, metadata: int, *does: RuleAction) -> FlowRule:
    matching: Match = match(metadata=(metadata, ORIGIN_MASK))
    return flow(TableId.NATIVE, 100, matching, *does, kind=CookieClass.INTERWORKING, value=iid)
