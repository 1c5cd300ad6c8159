"""Rules for property tests: everything that the compiler may emit."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from lisp_sdn.rules import (
    Bucket,
    CheckPktLarger,
    CookieClass,
    DecTtl,
    FieldValue,
    FlowRule,
    GroupRule,
    GroupType,
    Match,
    MeterRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    RuleAction,
    SetField,
    ToController,
    ToGroup,
    cookie,
    match,
)


def numbers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def masked(bits: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(numbers(bits), st.integers(1, (1 << bits) - 2))


MACS = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
IPV4 = numbers(32).map(IPv4Address)
IPV6 = numbers(128).map(IPv6Address)
IPV4_NETS = st.tuples(numbers(32), st.integers(0, 32)).map(lambda v: IPv4Network(v, strict=False))
IPV6_NETS = st.tuples(numbers(128), st.integers(0, 128)).map(lambda v: IPv6Network(v, strict=False))

MATCH_FIELDS: dict[str, st.SearchStrategy[FieldValue]] = {
    "in_port": st.integers(1, 0xFF00) | st.just(int(Port.LOCAL)),
    "metadata": numbers(64) | masked(64),
    "tunnel_id": numbers(64) | masked(64),
    "eth_type": st.sampled_from([0x800, 0x86DD, 0x806]),
    "eth_src": MACS,
    "eth_dst": MACS | masked(48),
    "ip_proto": numbers(8),
    "ipv4_src": IPV4 | IPV4_NETS,
    "ipv4_dst": IPV4 | IPV4_NETS | masked(32),
    "ipv6_src": IPV6 | IPV6_NETS,
    "ipv6_dst": IPV6 | IPV6_NETS,
    "arp_op": numbers(16),
    "arp_tpa": IPV4,
    "ipv6_nd_target": IPV6,
    "icmpv6_type": numbers(8),
    "udp_dst": numbers(16),
    "nw_ttl": numbers(8),
    "reg0": numbers(32) | masked(32),
    "tun_ipv4_src": IPV4 | IPV4_NETS,
    "tun_ipv6_dst": IPV6,
}

SET_FIELDS: dict[str, st.SearchStrategy[FieldValue]] = {
    "tunnel_id": numbers(64),
    "tun_ipv4_src": IPV4,
    "tun_ipv4_dst": IPV4,
    "tun_ipv6_src": IPV6,
    "tun_ipv6_dst": IPV6,
    "eth_src": MACS,
    "eth_dst": MACS,
    "nw_ttl": numbers(8),
    "reg1": numbers(32),
    "metadata": numbers(64),
    "arp_op": numbers(16),
}


def matches() -> st.SearchStrategy[Match]:
    return st.fixed_dictionaries({}, optional=MATCH_FIELDS).map(lambda fields: match(**fields))


def set_fields() -> st.SearchStrategy[SetField]:
    return st.sampled_from(sorted(SET_FIELDS)).flatmap(
        lambda name: SET_FIELDS[name].map(lambda value: SetField(name, value))
    )


def actions() -> st.SearchStrategy[tuple[RuleAction, ...]]:
    one: st.SearchStrategy[RuleAction] = st.one_of(
        set_fields(),
        st.builds(Output, st.integers(1, 0xFF00) | st.sampled_from([int(p) for p in OUTPUTS])),
        st.builds(ToController, numbers(16)),
        st.builds(ToGroup, st.integers(0, 0xFFFFFF00)),
        st.builds(DecTtl),
        st.builds(MoveField, st.just("eth_src"), st.just("eth_dst"), st.integers(1, 48)),
        st.builds(MoveField, st.just("arp_sha"), st.just("arp_tha"), st.just(48)),
        st.builds(CheckPktLarger, numbers(16), st.just("reg2")),
        st.builds(Resubmit, numbers(8)),
        st.builds(Multipath, st.just("reg3"), st.integers(1, 64), st.integers(0, 6), numbers(16)),
    )
    return st.lists(one, max_size=5).map(tuple)


OUTPUTS = (Port.IN_PORT, Port.TABLE, Port.NORMAL, Port.FLOOD, Port.LOCAL)

FLOWS: st.SearchStrategy[FlowRule] = st.builds(
    FlowRule,
    table=st.integers(0, 253),
    priority=numbers(16),
    match=matches(),
    actions=actions(),
    goto=st.none() | st.integers(1, 253),
    metadata=st.none() | st.tuples(numbers(64), numbers(64)),
    meter=st.none() | st.integers(1, 0xFFFF0000),
    cookie=st.builds(cookie, st.sampled_from(CookieClass), numbers(40)),
    idle_timeout=numbers(16),
    hard_timeout=numbers(16),
    notify_removed=st.booleans(),
)

GROUPS: st.SearchStrategy[GroupRule] = st.builds(
    GroupRule,
    group_id=st.integers(0, 0xFFFFFF00),
    type=st.sampled_from(GroupType),
    buckets=st.lists(
        st.builds(
            Bucket,
            actions=actions(),
            weight=numbers(16),
            watch_port=st.none() | st.integers(1, 0xFF00),
        ),
        max_size=4,
    ).map(tuple),
)

METERS: st.SearchStrategy[MeterRule] = st.builds(
    MeterRule, st.integers(1, 0xFFFF0000), st.integers(1, 1 << 31), st.integers(0, 1 << 31)
)
