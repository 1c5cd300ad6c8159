"""Encapsulation with a look at the size first (RFC 9300 section 7.1).

L is the MTU of the underlay, H the outer headers, S = L - H the largest packet of a host that can
be encapsulated. The switch compares behind everything that says where a packet goes, because H
depends on the family of the RLOC; what is larger comes to the controller, see `toobig`.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from lisp_sdn.address import IPAddress
from lisp_sdn.rules import (
    CheckPktLarger,
    FlowRule,
    MeterRule,
    Output,
    Resubmit,
    RuleAction,
    SetField,
    ToController,
    match,
)
from lisp_sdn.xtr.compiled import Compiled, flow
from lisp_sdn.xtr.pipeline import MeterId, Punt, TableId
from lisp_sdn.xtr.topology import Topology

TOO_LARGE_REGISTER = "reg2"

_OUTER = {4: 20 + 8 + 8, 6: 40 + 8 + 8}
"""H by version of the RLOC: IP, UDP and LISP headers."""

ETHERNET = 14


def largest(rloc: IPAddress, topology: Topology) -> int:
    """S: octets of the largest IP packet that can be encapsulated towards an RLOC."""
    return topology.mtu - _OUTER[rloc.version]


def tunnel_fields(rloc: IPAddress, topology: Topology) -> tuple[SetField, SetField]:
    """Outer source, an RLOC of ours of the same family that can send, and destination."""
    source = topology.source_rloc(rloc.version)
    assert source is not None
    return outer_fields(source, rloc)


def outer_fields(source: IPAddress, destination: IPAddress) -> tuple[SetField, SetField]:
    """The outer addresses of a packet."""
    family = "ipv4" if isinstance(destination, IPv4Address) else "ipv6"
    return SetField(f"tun_{family}_src", source), SetField(f"tun_{family}_dst", destination)


def encapsulate(rloc: IPAddress, topology: Topology) -> tuple[RuleAction, ...]:
    """Send a packet whose tunnel_id is set to an RLOC, if it is not too large.

    The comparison is in a table: buckets are action sets, and Open vSwitch leaves it out of them.
    """
    return (*tunnel_fields(rloc, topology), Resubmit(int(TableId.SIZE)))


def rules(topology: Topology) -> Compiled:
    """The tables behind `encapsulate`: to the tunnel port, or to the controller."""
    if topology.tunnel_port is None:
        return Compiled()
    limits = topology.limits
    meters = tuple(
        MeterRule(MeterId.TOO_BIG_BASE + number, limits.too_big_rate, limits.too_big_burst)
        for number in _sending(topology)
    )
    return Compiled(tuple(_flows(topology, topology.tunnel_port)), meters=meters)


def _flows(topology: Topology, tunnel_port: int) -> Iterator[FlowRule]:
    for rloc in topology.rlocs:
        yield flow(
            TableId.SIZE,
            100,
            match(**{f"tun_ipv{rloc.version}_src": rloc}),
            CheckPktLarger(ETHERNET + largest(rloc, topology), TOO_LARGE_REGISTER),
            goto=TableId.TUNNEL,
        )
    table = TableId.TUNNEL
    yield flow(table, 0, (), Output(tunnel_port))
    yield flow(table, 50, match(**{TOO_LARGE_REGISTER: 1}))
    for number in _sending(topology):
        yield flow(
            table,
            100,
            match(in_port=number, **{TOO_LARGE_REGISTER: 1}),
            ToController(),
            meter=MeterId.TOO_BIG_BASE + number,
            value=Punt.TOO_BIG,
        )


def _sending(topology: Topology) -> Iterator[int]:
    """The ports that packets for the tunnel come from."""
    yield from (port.number for port in topology.ports)
    yield from (native.number for native in topology.natives if native.role.proxy_itr)
