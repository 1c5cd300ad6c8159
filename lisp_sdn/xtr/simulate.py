"""Where does this packet go? A switch in memory that follows rules as Open vSwitch does.

It knows the matches and actions of `lisp_sdn.rules`, masks, priorities, metadata, goto, groups of
type SELECT and tunnel ports. It does not count meters: it says which meter a packet met.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, cast

from lisp_sdn.actions import PacketIn
from lisp_sdn.address import IPAddress
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import (
    Bucket,
    CheckPktLarger,
    DecTtl,
    FieldValue,
    FlowRule,
    GroupRule,
    GroupType,
    MeterRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    RuleAction,
    RuleChange,
    Ruleset,
    SetField,
    ToController,
    ToGroup,
    Verb,
)
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    parse_arp,
    parse_ethernet,
    parse_ip,
)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame that left by a port; the tunnel fields count on a tunnel port."""

    port: int
    frame: bytes
    tunnel_id: int = 0
    tunnel_source: IPAddress | None = None
    tunnel_destination: IPAddress | None = None


@dataclass(slots=True)
class Trace:
    """The way of one packet. rules: that it met, in order; ended: why it went no further.

    groups: (group, index of the bucket) that it went through. meters: that it met.
    """

    rules: list[FlowRule] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    punted: list[PacketIn] = field(default_factory=list)
    groups: list[tuple[int, int]] = field(default_factory=list)
    meters: list[int] = field(default_factory=list)
    ended: str = ""

    @property
    def tables(self) -> list[int]:
        """The tables in which a rule was met."""
        return [rule.table for rule in self.rules]


def fields_of(frame: bytes) -> Fields:
    """The match fields of a frame. Raises DecodeError."""
    ethernet = parse_ethernet(frame)
    fields: Fields = {
        "eth_dst": ethernet.destination,
        "eth_src": ethernet.source,
        "eth_type": ethernet.ethertype,
    }
    if ethernet.ethertype == ETH_ARP:
        arp = parse_arp(ethernet.payload)
        fields.update(
            arp_op=arp.operation,
            arp_sha=arp.sender_mac,
            arp_spa=arp.sender,
            arp_tha=arp.target_mac,
            arp_tpa=arp.target,
        )
    elif ethernet.ethertype in (ETH_IPV4, ETH_IPV6):
        packet = parse_ip(ethernet.payload)
        version = packet.version
        fields.update({f"ipv{version}_src": packet.source, f"ipv{version}_dst": packet.destination})
        fields.update(nw_ttl=packet.ttl, ip_proto=packet.protocol)
        fields.update(ip_src=packet.source, ip_dst=packet.destination)
        data = packet.payload
        if packet.fragment or not data:
            return fields
        if packet.protocol in (TCP, UDP) and len(data) >= 4:
            fields["port_src"] = int.from_bytes(data[0:2], "big")
            fields["port_dst"] = int.from_bytes(data[2:4], "big")
            if packet.protocol == UDP:
                fields.update(udp_src=fields["port_src"], udp_dst=fields["port_dst"])
        elif packet.protocol == ICMP and version == 4:
            fields["icmpv4_type"] = data[0]
        elif packet.protocol == ICMPV6 and version == 6:
            fields["icmpv6_type"] = data[0]
            if data[0] in (135, 136) and len(data) >= 24:
                fields["ipv6_nd_target"] = IPv6Address(data[8:24])
    return fields


def matches(rule: FlowRule, fields: Fields) -> bool:
    """Whether a packet with these fields meets the rule."""
    return all(_meets(fields.get(name), value) for name, value in rule.match)


def _meets(have: Any, want: FieldValue) -> bool:
    if have is None:
        return False
    if isinstance(want, tuple):
        return bool(have & want[1] == want[0] & want[1])
    if isinstance(want, IPv4Network | IPv6Network):
        return have in want
    return bool(have == want)


def rebuild(frame: bytes, fields: Fields) -> bytes:
    """The frame with the header fields that actions may have changed."""
    out = bytearray(frame)
    out[0:6] = replies.mac_bytes(fields["eth_dst"])
    out[6:12] = replies.mac_bytes(fields["eth_src"])
    if fields["eth_type"] == ETH_ARP:
        out[20:22] = fields["arp_op"].to_bytes(2, "big")
        out[22:28] = replies.mac_bytes(fields["arp_sha"])
        out[28:32] = fields["arp_spa"].packed
        out[32:38] = replies.mac_bytes(fields["arp_tha"])
        out[38:42] = fields["arp_tpa"].packed
    elif fields["eth_type"] == ETH_IPV4:
        out[22] = fields["nw_ttl"]
        header = 14 + (out[14] & 0xF) * 4
        out[24:26] = b"\0\0"
        out[24:26] = replies.checksum(bytes(out[14:header])).to_bytes(2, "big")
    elif fields["eth_type"] == ETH_IPV6:
        out[21] = fields["nw_ttl"]
    return bytes(out)


Choose = Callable[[tuple[Bucket, ...], Fields], int]


def slot_of(fields: Fields, slots: int) -> int:
    """The slot of a packet's flow: addresses, protocol and ports, the same in both directions.

    As for `choose_bucket`, the hash is not that of Open vSwitch.
    """
    ends = sorted(
        f"{fields.get(address)}:{fields.get(port)}"
        for address, port in (("ip_src", "port_src"), ("ip_dst", "port_dst"))
    )
    text = f"{fields.get('ip_proto')}|{'|'.join(ends)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % slots


def choose_bucket(buckets: tuple[Bucket, ...], fields: Fields) -> int:
    """A weighted choice that is the same for every packet of one pair of addresses.

    The hash is not that of Open vSwitch: which bucket a flow takes is the switch's own matter.
    """
    pair = sorted(
        str(fields.get(name)) for name in ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")
    )
    digest = hashlib.blake2b("|".join(pair).encode(), digest_size=8).digest()
    ticket = int.from_bytes(digest, "big") % sum(bucket.weight for bucket in buckets)
    for index, bucket in enumerate(buckets):
        ticket -= bucket.weight
        if ticket < 0:
            return index
    raise AssertionError("weights do not add up")


class SimulatedSwitch:
    """A switch that holds rules. datapath_id: as its packet-ins tell it."""

    def __init__(self, datapath_id: int = 1, ruleset: Ruleset | None = None) -> None:
        ruleset = ruleset or Ruleset()
        self.datapath_id = datapath_id
        self.flows: dict[tuple[int, int, Any], FlowRule] = {r.key: r for r in ruleset.flows}
        self.groups: dict[int, GroupRule] = {r.group_id: r for r in ruleset.groups}
        self.meters: dict[int, MeterRule] = {r.meter_id: r for r in ruleset.meters}

    def ruleset(self) -> Ruleset:
        """Everything that it holds."""
        return Ruleset(
            frozenset(self.flows.values()),
            frozenset(self.groups.values()),
            frozenset(self.meters.values()),
        )

    def apply(self, changes: Iterable[RuleChange]) -> None:
        """Carry out changes; what Open vSwitch would refuse raises ValueError."""
        for change in changes:
            rule = change.rule
            if isinstance(rule, FlowRule):
                self._apply_flow(change.verb, rule)
            elif isinstance(rule, GroupRule):
                self._apply_group(change.verb, rule)
            else:
                _apply(self.meters, change.verb, rule.meter_id, rule)

    def _apply_flow(self, verb: Verb, rule: FlowRule) -> None:
        if verb is Verb.DELETE:
            self.flows.pop(rule.key, None)
            return
        for action in rule.actions:
            if isinstance(action, ToGroup) and action.group_id not in self.groups:
                raise ValueError(f"no group {action.group_id} for {rule}")
        if rule.meter is not None and rule.meter not in self.meters:
            raise ValueError(f"no meter {rule.meter} for {rule}")
        if verb is Verb.ADD or rule.key in self.flows:
            self.flows[rule.key] = rule

    def _apply_group(self, verb: Verb, rule: GroupRule) -> None:
        _apply(self.groups, verb, rule.group_id, rule)
        if verb is Verb.DELETE:
            # OpenFlow 1.3 section 6.5: flows that use the group go with it.
            for key, flow in list(self.flows.items()):
                if ToGroup(rule.group_id) in flow.actions:
                    del self.flows[key]

    # --- packets -----------------------------------------------------------------------------

    def receive(
        self,
        in_port: int,
        frame: bytes,
        *,
        tunnel_id: int = 0,
        tunnel_source: IPAddress | None = None,
        tunnel_destination: IPAddress | None = None,
        choose: Choose = choose_bucket,
    ) -> Trace:
        """A frame enters by a port."""
        walk = _Walk(self, frame, in_port, choose)
        walk.fields.update(tunnel_id=tunnel_id)
        walk.set_tunnel(tunnel_source, tunnel_destination)
        walk.tables()
        return walk.trace

    def packet_out(
        self,
        frame: bytes,
        in_port: int,
        actions: tuple[RuleAction, ...],
        *,
        choose: Choose = choose_bucket,
    ) -> Trace:
        """The controller sends a frame."""
        walk = _Walk(self, frame, in_port, choose)
        walk.act(actions, None)
        return walk.trace

    def lookup(self, table: int, fields: Fields) -> FlowRule | None:
        """The rule of highest priority that a packet meets."""
        met = (
            rule for rule in self.flows.values() if rule.table == table and matches(rule, fields)
        )
        return max(met, key=lambda rule: rule.priority, default=None)


def _apply(store: dict[int, Any], verb: Verb, key: int, rule: GroupRule | MeterRule) -> None:
    if verb is Verb.DELETE:
        store.pop(key, None)
    elif (verb is Verb.ADD) == (key in store):
        raise ValueError(f"{verb} of {rule}: it is {'already' if key in store else 'not'} there")
    else:
        store[key] = rule


class _Walk:
    """One packet on its way."""

    def __init__(self, switch: SimulatedSwitch, frame: bytes, in_port: int, choose: Choose) -> None:
        self.switch = switch
        self.frame = frame
        self.choose = choose
        self.trace = Trace()
        self.fields: Fields = {"in_port": in_port, "metadata": 0, "tunnel_id": 0}
        try:
            self.fields.update(fields_of(frame))
        except DecodeError as error:
            self.trace.ended = f"malformed: {error}"

    def set_tunnel(self, source: IPAddress | None, destination: IPAddress | None) -> None:
        for side, address in (("src", source), ("dst", destination)):
            if address is not None:
                family = "ipv4" if isinstance(address, IPv4Address) else "ipv6"
                self.fields[f"tun_{family}_{side}"] = address

    def tables(self, first: int = 0) -> None:
        table: int | None = first
        while table is not None and not self.trace.ended:
            rule = self.switch.lookup(table, self.fields)
            if rule is None:
                self.trace.ended = f"no rule in table {table}"
                return
            self.trace.rules.append(rule)
            if rule.meter is not None:
                self.trace.meters.append(rule.meter)
            self.act(rule.actions, rule)
            if rule.metadata is not None:
                value, mask = rule.metadata
                self.fields["metadata"] = self.fields["metadata"] & ~mask | value & mask
            if rule.goto is None and not rule.actions:
                self.trace.ended = f"dropped in table {table}"
            table = rule.goto

    def act(self, actions: tuple[RuleAction, ...], rule: FlowRule | None) -> None:
        for action in actions:
            if self.trace.ended:
                return
            if isinstance(action, SetField):
                self._set(action.field, action.value)
            elif isinstance(action, MoveField):
                self.fields[action.destination] = self.fields[action.source]
            elif isinstance(action, DecTtl):
                self._dec_ttl()
            elif isinstance(action, ToGroup):
                self._group(action.group_id)
            elif isinstance(action, Multipath):
                self.fields[action.register] = slot_of(self.fields, action.buckets)
            elif isinstance(action, CheckPktLarger):
                self.fields[action.register] = int(len(self.frame) > action.octets)
            elif isinstance(action, Resubmit):
                self.tables(action.table)
            elif isinstance(action, ToController):
                if action.meter is not None:
                    self.trace.meters.append(action.meter)
                self._punt(rule)
            elif isinstance(action, Output):
                self._output(action.port)
            else:
                raise NotImplementedError(type(action).__name__)

    def _set(self, name: str, value: FieldValue) -> None:
        if name.startswith("tun_") and int(cast("IPAddress", value)) == 0:
            # An outer address of zeros is none: that of the other family counts.
            self.fields.pop(name, None)
            return
        self.fields[name] = value

    def _dec_ttl(self) -> None:
        if self.fields["nw_ttl"] <= 1:
            self.trace.ended = "TTL spent"
            return
        self.fields["nw_ttl"] -= 1

    def _group(self, group_id: int) -> None:
        group = self.switch.groups.get(group_id)
        if group is None:
            self.trace.ended = f"no group {group_id}"
            return
        select = group.type is GroupType.SELECT
        index = self.choose(group.buckets, self.fields) if select else 0
        self.trace.groups.append((group_id, index))
        # Changes of a bucket do not outlive it.
        before = dict(self.fields)
        self.act(group.buckets[index].actions, None)
        self.fields = before

    def _output(self, port: int) -> None:
        if port == Port.TABLE:
            self.frame = rebuild(self.frame, self.fields)
            self.tables()
            return
        if port == self.fields["in_port"]:
            # OpenFlow 1.3 section 5.12: only IN_PORT sends a packet back.
            return
        self.trace.sent.append(
            Sent(
                self.fields["in_port"] if port == Port.IN_PORT else port,
                rebuild(self.frame, self.fields),
                self.fields["tunnel_id"],
                *self._tunnel(),
            )
        )

    def _tunnel(self) -> tuple[IPAddress | None, IPAddress | None]:
        fields = self.fields
        return (
            fields.get("tun_ipv4_src") or fields.get("tun_ipv6_src"),
            fields.get("tun_ipv4_dst") or fields.get("tun_ipv6_dst"),
        )

    def _punt(self, rule: FlowRule | None) -> None:
        source, destination = self._tunnel()
        self.trace.punted.append(
            PacketIn(
                self.switch.datapath_id,
                rule.table if rule else 0,
                rule.cookie if rule else 0,
                self.fields["in_port"],
                rebuild(self.frame, self.fields),
                self.fields["metadata"],
                self.fields["tunnel_id"],
                source,
                destination,
            )
        )
