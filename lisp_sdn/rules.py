"""OpenFlow rules as values: what `xtr` compiles, `apps.openflow` encodes and tests simulate.

Names of match fields are OXM names as OpenFlow 1.3 and Ryu spell them (`in_port`, `eth_type`,
`ipv4_dst`, `tunnel_id`, `metadata`, `tun_ipv4_src`, `nw_ttl`, `reg0`, ...).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from lisp_sdn.address import IPAddress, IPNetwork

COOKIE_MAGIC = 0x4C53 << 48
"""The upper 16 bits of every cookie of ours ("LS"): how a flow is recognised after a restart."""

COOKIE_MASK = 0xFFFF << 48


class CookieClass(IntEnum):
    """Bits 40-47 of the cookie: what a flow is there for. The low 40 bits are the owner's."""

    PIPELINE = 1
    LOCAL_EID = 2
    MAP_CACHE = 3
    PENDING = 4
    SOURCE_GUARD = 5
    UNDERLAY = 6
    INTERWORKING = 7
    ALT = 8
    DECAPSULATION = 9
    RLOC_SET = 10


def cookie(kind: CookieClass, value: int = 0) -> int:
    """A cookie of ours. value: 0..2**40-1."""
    return COOKIE_MAGIC | kind << 40 | value


def cookie_class(value: int) -> CookieClass | None:
    """The class of one of our cookies; None for a foreign one."""
    if value & COOKIE_MASK != COOKIE_MAGIC:
        return None
    try:
        return CookieClass(value >> 40 & 0xFF)
    except ValueError:
        return None


class Port(IntEnum):
    """Reserved ports of OpenFlow 1.3."""

    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    NORMAL = 0xFFFFFFFA
    FLOOD = 0xFFFFFFFB
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE


FieldValue = int | str | IPAddress | IPNetwork | tuple[int, int]
"""int; "aa:bb:.." for a MAC; an address; a network for a masked address; (value, mask)."""

Match = tuple[tuple[str, FieldValue], ...]
"""(field, value) pairs sorted by field name; build it with `match`."""


def match(**fields: FieldValue | None) -> Match:
    """A match from keyword arguments, in the form in which a switch reports it.

    None leaves the field out, and so does a network of length 0, which matches everything. A
    network of one address becomes that address; bits of a value outside of its mask become zero.
    """
    return tuple(
        sorted((k, normal_value(v)) for k, v in fields.items() if v is not None and not _any(v))
    )


def normal_value(value: FieldValue) -> FieldValue:
    """The one form of a value that can be written in several ways."""
    if isinstance(value, IPNetwork) and value.prefixlen == value.max_prefixlen:
        return value.network_address
    if isinstance(value, tuple):
        return (value[0] & value[1], value[1])
    return value


def _any(value: FieldValue) -> bool:
    return isinstance(value, IPNetwork) and value.prefixlen == 0


@dataclass(frozen=True, slots=True)
class Output:
    """Send to a port number or a reserved `Port`."""

    port: int


@dataclass(frozen=True, slots=True)
class ToController:
    """Packet-in with the whole packet. userdata-free: the cookie of the flow says why.

    meter: meter-id that limits the packet-ins alone, while the packet itself goes on (the meter of
    a `FlowRule` drops both).
    """

    max_len: int = 0xFFFF
    meter: int | None = None


@dataclass(frozen=True, slots=True)
class ToGroup:
    """Continue in a group."""

    group_id: int


@dataclass(frozen=True, slots=True)
class SetField:
    """Set an OXM field."""

    field: str
    value: FieldValue


@dataclass(frozen=True, slots=True)
class MoveField:
    """Copy bits between fields (NXAST_REG_MOVE); whole fields, `bits` wide."""

    source: str
    destination: str
    bits: int


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Decrement the IPv4 TTL or IPv6 hop limit."""


@dataclass(frozen=True, slots=True)
class Multipath:
    """Hash the packet into a register (NXAST_MULTIPATH): 0..buckets-1 in `register`.

    fields: NX_HASH_FIELDS_*: 1 symmetric L4, 2 symmetric L3L4, 3 symmetric L3L4 with UDP ports.
    """

    register: str
    buckets: int
    fields: int = 3
    basis: int = 0


@dataclass(frozen=True, slots=True)
class CheckPktLarger:
    """Set `register` to 1 if the frame has more octets than `octets`, else 0.

    NXAST_CHECK_PKT_LARGER; the Ethernet header counts. Bit 0 of the register is written.
    """

    octets: int
    register: str


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in a table, then go on (NXAST_RESUBMIT_TABLE): the goto of a bucket."""

    table: int


RuleAction = (
    Output
    | ToController
    | ToGroup
    | SetField
    | MoveField
    | DecTtl
    | Multipath
    | CheckPktLarger
    | Resubmit
)


@dataclass(frozen=True, slots=True)
class FlowRule:
    """One flow. Identity is (table, priority, match); everything else is what it does.

    meter: meter-id applied first. metadata: (value, mask) written before `goto`. Empty actions
    and no goto: drop. idle_timeout: seconds, 0 = stays. notify_removed: SEND_FLOW_REM.
    """

    table: int
    priority: int
    match: Match
    actions: tuple[RuleAction, ...] = ()
    goto: int | None = None
    metadata: tuple[int, int] | None = None
    meter: int | None = None
    cookie: int = COOKIE_MAGIC
    idle_timeout: int = 0
    hard_timeout: int = 0
    notify_removed: bool = False

    @property
    def key(self) -> tuple[int, int, Match]:
        """What the switch identifies a flow by."""
        return (self.table, self.priority, self.match)


class GroupType(StrEnum):
    """Group types of OpenFlow 1.3 that we use."""

    ALL = "all"
    SELECT = "select"
    INDIRECT = "indirect"
    FAST_FAILOVER = "ff"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket. weight: for SELECT, >= 1. watch_port: for FAST_FAILOVER."""

    actions: tuple[RuleAction, ...]
    weight: int = 0
    watch_port: int | None = None


@dataclass(frozen=True, slots=True)
class GroupRule:
    """One group. Identity is group_id."""

    group_id: int
    type: GroupType
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class MeterRule:
    """One meter: drop above the rate. rate: packets/s. burst: packets, >= 1: Open vSwitch takes 0
    for "as much as the rate". Identity is meter_id.
    """

    meter_id: int
    rate: int
    burst: int


Rule = FlowRule | GroupRule | MeterRule


class Verb(StrEnum):
    """What to do with a rule."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One OpenFlow modification; a delete names the rule that goes (strict match)."""

    verb: Verb
    rule: Rule


@dataclass(frozen=True, slots=True)
class Alike:
    """Flows that differ from one rule in their destination address only.

    addresses: of their destinations, as numbers; the mask length is that of the rule.
    """

    rule: FlowRule
    addresses: tuple[int, ...]

    def flow(self, address: int) -> FlowRule:
        """The flow for one of the addresses."""
        return replace(
            self.rule,
            match=tuple((name, _moved(name, value, address)) for name, value in self.rule.match),
        )


def _moved(name: str, value: FieldValue, address: int) -> FieldValue:
    if name in ("ipv4_dst", "ipv6_dst"):
        if isinstance(value, IPNetwork):
            return type(value)((address, value.prefixlen), strict=False)
        if isinstance(value, IPAddress):
            return type(value)(address)
    return value


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything that a switch should hold, or holds, of ours. alike: flows that go by the thousand
    may be here instead of in `flows`, when they are told by a switch.
    """

    flows: frozenset[FlowRule] = field(default=frozenset())
    groups: frozenset[GroupRule] = field(default=frozenset())
    meters: frozenset[MeterRule] = field(default=frozenset())
    alike: tuple[Alike, ...] = ()

    @property
    def flow_count(self) -> int:
        """How many flows."""
        return len(self.flows) + sum(len(item.addresses) for item in self.alike)
