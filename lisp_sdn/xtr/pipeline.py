"""The OpenFlow pipeline of an xTR as data, and the check of every rule against it.

Metadata: instance-ID in the low 24 bits, bit 24 set for packets that came out of the tunnel, bit
25 for those that came in by a native port.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from lisp_sdn.errors import FieldError
from lisp_sdn.rules import (
    CheckPktLarger,
    DecTtl,
    FlowRule,
    GroupRule,
    MoveField,
    Multipath,
    Output,
    Resubmit,
    RuleAction,
    SetField,
    ToController,
    ToGroup,
    cookie_class,
)
from lisp_sdn.xtr.frames import ETH_ARP, ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, UDP

IID_MASK = 0xFFFFFF
FROM_TUNNEL = 1 << 24
FROM_NATIVE = 1 << 25
METADATA_MASK = FROM_TUNNEL | IID_MASK
"""What a map-cache flow looks at: whence a packet came, but for the tunnel, is no concern of it."""

ORIGIN_MASK = FROM_NATIVE | METADATA_MASK

RE_ENCAPSULATED = 0
"""The in_port of a packet out of the tunnel that goes on to where its EID has moved. Open vSwitch
does not send a packet out by the port that it came in by; no port has this number."""


class TableId(IntEnum):
    """Table numbers."""

    CLASSIFY = 0
    SOURCE_GUARD = 1
    LOCAL_EIDS = 2
    MAP_CACHE = 3
    MISS = 4
    SPREAD = 5
    NATIVE = 6
    SIZE = 7
    TUNNEL = 8
    MISS_TOTAL = 9


class Punt(IntEnum):
    """Why a packet was sent to the controller: the low bits of a PIPELINE cookie."""

    NONE = 0
    ARP = 1
    NEIGHBOUR = 2
    TTL = 3
    GATEWAY = 4
    LOCAL = 5
    MISS = 6
    TOO_BIG = 7
    SOURCE = 8
    ARRIVAL = 10
    DHCP = 11


class MeterId(IntEnum):
    """Meters; those of a port are MISS_BASE and TOO_BIG_BASE plus its port number."""

    ICMP = 1
    NEIGHBOUR = 2
    PENDING = 3
    SOURCE_RLOC = 4
    SOURCE_UNKNOWN_RLOC = 5
    SOURCE_PORT = 6
    LOCAL = 7
    MISS_TOTAL = 8
    MISS_BASE = 0x100
    TOO_BIG_BASE = 0x10000


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what its rules may match and do, and where a packet without a rule goes.

    fields: match fields beside the prerequisites. goto: tables that a rule may continue in.
    """

    number: TableId
    job: str
    fields: frozenset[str]
    actions: frozenset[type[RuleAction]]
    goto: frozenset[TableId]
    miss: str


def _fields(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DESTINATION = "metadata ipv4_dst ipv6_dst"

TABLES = (
    Table(
        TableId.CLASSIFY,
        "EID-facing port, tunnel or native port -> instance-ID; ARP answered; neighbour discovery, "
        "ARP and, where hosts come and go, DHCP to the controller; addresses that must not be "
        "routed dropped",
        _fields(
            "in_port eth_dst eth_src arp_op arp_spa arp_tpa icmpv6_type ipv6_nd_target "
            "udp_src udp_dst "
            "tunnel_id tun_ipv4_dst tun_ipv6_dst "
            "ipv4_src ipv4_dst ipv6_src ipv6_dst"
        ),
        frozenset((MoveField, SetField, Output, ToController)),
        frozenset((TableId.SOURCE_GUARD,)),
        "drop",
    ),
    Table(
        TableId.SOURCE_GUARD,
        "EID-side: source is an EID of this port; tunnel-side: source EID fits source RLOC "
        "(mode off: passes everything); where hosts come and go, those unknown to the controller",
        _fields("in_port metadata ipv4_src ipv6_src tun_ipv4_src tun_ipv6_src eth_src"),
        frozenset((ToController,)),
        frozenset((TableId.LOCAL_EIDS,)),
        "next table",
    ),
    Table(
        TableId.LOCAL_EIDS,
        "gateway addresses and spent TTL to the controller; local EID -> dec_ttl, MAC "
        "addresses, port; EID that is elsewhere -> next table, also from the tunnel; connected "
        "subnet without a known host -> controller",
        _fields("in_port nw_ttl icmpv4_type icmpv6_type " + _DESTINATION),
        frozenset((DecTtl, SetField, Output, ToController)),
        frozenset((TableId.MAP_CACHE,)),
        "next table",
    ),
    Table(
        TableId.MAP_CACHE,
        "(instance-ID, [source], destination prefix) -> dec_ttl, tunnel_id, group, or hash "
        "and number of the RLOC-set; or native; or drop; from the tunnel: drop, at a Proxy-ETR "
        "native; from a native port without Proxy-ITR: drop",
        _fields("ipv4_src ipv6_src " + _DESTINATION),
        frozenset((DecTtl, SetField, ToGroup, Multipath, ToController)),
        frozenset((TableId.MISS, TableId.SPREAD, TableId.NATIVE)),
        "next table",
    ),
    Table(
        TableId.MISS,
        "map-cache miss, metered per port",
        _fields("in_port"),
        frozenset(),
        frozenset((TableId.MISS_TOTAL,)),
        "drop",
    ),
    Table(
        TableId.SPREAD,
        "RLOC-set with several locators: (number of the set, slot of the flow's hash) -> outer "
        "addresses, next table; slots by weight",
        _fields("reg0 reg1"),
        frozenset((SetField, Resubmit)),
        frozenset(),
        "drop",
    ),
    Table(
        TableId.NATIVE,
        "not LISP: out by the native port of the instance-ID; what came in by it: drop",
        _fields("metadata"),
        frozenset((SetField, Output)),
        frozenset(),
        "drop",
    ),
    Table(
        TableId.SIZE,
        "behind outer addresses: outer source -> is the packet too large for the underlay?",
        _fields("tun_ipv4_src tun_ipv6_src"),
        frozenset((CheckPktLarger,)),
        frozenset((TableId.TUNNEL,)),
        "drop",
    ),
    Table(
        TableId.TUNNEL,
        "tunnel port; a packet that is too large -> controller, metered per port",
        _fields("in_port reg2"),
        frozenset((Output, ToController)),
        frozenset(),
        "drop",
    ),
    Table(
        TableId.MISS_TOTAL,
        "map-cache misses of all ports -> controller, metered together",
        frozenset(),
        frozenset((ToController,)),
        frozenset(),
        "drop",
    ),
)

# Field -> the match fields, with the values allowed, that OpenFlow 1.3 section 7.2.3.8 wants
# beside it; OVS refuses the rule otherwise.
_PREREQUISITES: dict[str, tuple[tuple[str, frozenset[int]], ...]] = {
    **dict.fromkeys(("arp_op", "arp_spa", "arp_tpa"), (("eth_type", frozenset((ETH_ARP,))),)),
    **dict.fromkeys(("ipv4_src", "ipv4_dst"), (("eth_type", frozenset((ETH_IPV4,))),)),
    **dict.fromkeys(("ipv6_src", "ipv6_dst"), (("eth_type", frozenset((ETH_IPV6,))),)),
    "nw_ttl": (("eth_type", frozenset((ETH_IPV4, ETH_IPV6))),),
    "ip_proto": (("eth_type", frozenset((ETH_IPV4, ETH_IPV6))),),
    "icmpv4_type": (
        ("eth_type", frozenset((ETH_IPV4,))),
        ("ip_proto", frozenset((ICMP,))),
    ),
    "icmpv6_type": (
        ("eth_type", frozenset((ETH_IPV6,))),
        ("ip_proto", frozenset((ICMPV6,))),
    ),
    **dict.fromkeys(("udp_src", "udp_dst"), (("ip_proto", frozenset((UDP,))),)),
    "ipv6_nd_target": (("icmpv6_type", frozenset((135, 136))),),
}
_ALWAYS = frozenset(("eth_type", "ip_proto"))


def check(rule: FlowRule) -> FlowRule:
    """Hand the rule back if the pipeline allows it. Raises FieldError naming what it does not."""
    present = dict(rule.match)
    checked = tuple(
        (name, present[name] if name in _ALWAYS or name == "icmpv6_type" else None)
        for name in present
    )
    _check_shape(rule.table, checked, tuple(type(action) for action in rule.actions), rule.goto)
    if cookie_class(rule.cookie) is None:
        raise FieldError("cookie", hex(rule.cookie), "one of ours")
    if not 0 <= rule.priority <= 0xFFFF:
        raise FieldError("priority", rule.priority, "0..65535")
    return rule


@lru_cache(maxsize=1024)
def _check_shape(
    number: int,
    match: tuple[tuple[str, object], ...],
    actions: tuple[type[RuleAction], ...],
    goto: int | None,
) -> None:
    table = next((item for item in TABLES if item.number == number), None)
    if table is None:
        raise FieldError("table", number, f"0..{len(TABLES) - 1}")
    where = f"table {number}"
    present = dict(match)
    for name in present:
        if name not in table.fields and name not in _ALWAYS:
            raise FieldError(f"{where} match", name, ", ".join(sorted(table.fields)))
        for needed, values in _PREREQUISITES.get(name, ()):
            if present.get(needed) not in values:
                raise FieldError(
                    f"{where} {needed} beside {name}", present.get(needed), f"one of {set(values)}"
                )
    for action in actions:
        if action not in table.actions:
            allowed = ", ".join(sorted(item.__name__ for item in table.actions))
            raise FieldError(f"{where} action", action.__name__, allowed)
    if goto is not None and goto not in table.goto:
        raise FieldError(f"{where} goto", goto, str(sorted(table.goto)))


_IN_BUCKETS = (SetField, Resubmit)


def check_group(rule: GroupRule) -> GroupRule:
    """Hand the group back if its buckets only encapsulate. Raises FieldError."""
    for bucket in rule.buckets:
        for action in bucket.actions:
            if not isinstance(action, _IN_BUCKETS):
                expected = ", ".join(item.__name__ for item in _IN_BUCKETS)
                raise FieldError("bucket action", type(action).__name__, expected)
    if not rule.buckets:
        raise FieldError("buckets", 0, "at least one")
    return rule


def to_markdown() -> str:
    """The pipeline as the table that the documentation shows."""
    lines = ["| table | job | match fields | actions | without a rule |", "| --- " * 5 + "|"]
    for table in TABLES:
        actions = ", ".join(sorted(item.__name__ for item in table.actions))
        fields = ", ".join(sorted(table.fields))
        name = f"{table.number.value} {table.number.name.lower().replace('_', ' ')}"
        lines.append(f"| {name} | {table.job} | {fields} | {actions} | {table.miss} |")
    return "\n".join(lines) + "\n"
