"""Open vSwitch reports every kind of rule exactly as we write it, so that reconcile finds no
difference where there is none."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from lisp_sdn.apps import openflow, readback
from lisp_sdn.rules import (
    Bucket,
    CheckPktLarger,
    CookieClass,
    DecTtl,
    FlowRule,
    GroupRule,
    GroupType,
    MeterRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    Rule,
    RuleChange,
    SetField,
    ToController,
    ToGroup,
    Verb,
    cookie,
    match,
)

MAC = "02:00:5e:00:00:fe"
V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
IPV4, IPV6, ARP = 0x800, 0x86DD, 0x806

# Tables, groups and meters that the controller does not use.
METERS = (MeterRule(900, 2000, 200), MeterRule(901, 1, 1))
GROUPS = (
    GroupRule(
        900,
        GroupType.SELECT,
        (
            Bucket((SetField("tun_ipv4_dst", V4), Output(Port.LOCAL)), weight=50),
            Bucket((SetField("tun_ipv6_dst", V6), Output(Port.LOCAL)), weight=25),
        ),
    ),
    GroupRule(901, GroupType.INDIRECT, (Bucket((Output(Port.LOCAL),)),)),
    GroupRule(902, GroupType.ALL, (Bucket((Output(Port.LOCAL),)), Bucket((Output(Port.NORMAL),)))),
    GroupRule(903, GroupType.FAST_FAILOVER, (Bucket((Output(Port.LOCAL),), watch_port=1),)),
    GroupRule(904, GroupType.SELECT, ()),
)
FLOWS = (
    FlowRule(
        200,
        100,
        match(in_port=1, eth_type=ARP, arp_op=1, arp_tpa=ip_address("10.0.0.254")),
        (
            MoveField("eth_src", "eth_dst", 48),
            SetField("eth_src", MAC),
            SetField("arp_op", 2),
            MoveField("arp_sha", "arp_tha", 48),
            MoveField("arp_spa", "arp_tpa", 32),
            SetField("arp_sha", MAC),
            SetField("arp_spa", ip_address("10.0.0.254")),
            Output(Port.IN_PORT),
        ),
    ),
    FlowRule(200, 90, match(in_port=1), goto=201, metadata=(42, 0xFFFFFF)),
    FlowRule(200, 80, match(in_port=2, tunnel_id=42), goto=202, metadata=(42, 0xFFFFFF)),
    FlowRule(
        200,
        81,
        match(tunnel_id=42, tun_ipv4_src=V4, tun_ipv4_dst=ip_address("192.0.2.2")),
        goto=202,
    ),
    FlowRule(200, 82, match(tun_ipv6_src=V6, tun_ipv6_dst=ip_network("2001:db8::/48"))),
    FlowRule(
        201, 80, match(eth_type=IPV4, ipv4_src=ip_network("10.0.0.0/24"), metadata=42), goto=202
    ),
    FlowRule(
        201,
        81,
        match(eth_type=IPV6, ipv6_src=ip_network("2001:db8::/64"), metadata=(42, 0xFFFFFF)),
        goto=202,
    ),
    FlowRule(201, 82, match(eth_type=IPV6, ipv6_src=ip_network("2001:db8::1/128")), goto=202),
    FlowRule(202, 82, match(eth_type=IPV4, nw_ttl=1), (ToController(),), meter=900),
    FlowRule(202, 84, match(in_port=1), (ToController(meter=901),), goto=203),
    FlowRule(
        202,
        83,
        match(eth_type=IPV6, ip_proto=58, icmpv6_type=135, ipv6_nd_target=ip_address("fe80::1")),
        (ToController(128),),
        meter=901,
    ),
    FlowRule(
        203,
        124,
        match(eth_type=IPV4, ipv4_dst=ip_network("10.2.0.0/24"), metadata=42),
        (DecTtl(), SetField("tunnel_id", 42), Multipath("reg0", 4, 3, 17), ToGroup(900)),
        idle_timeout=300,
        notify_removed=True,
        cookie=cookie(CookieClass.MAP_CACHE, 77),
    ),
    FlowRule(
        203,
        125,
        match(eth_type=IPV4, ipv4_dst=ip_network("10.2.0.1/32"), reg0=(3, 7)),
        (
            SetField("tun_ipv4_src", V4),
            SetField("tun_ipv4_dst", V4),
            SetField("tun_ipv6_src", V6),
            SetField("tun_ipv6_dst", V6),
            SetField("reg1", 5),
            SetField("nw_ttl", 64),
            SetField("eth_dst", MAC),
            Output(1),
        ),
        hard_timeout=10_000,
    ),
    FlowRule(204, 1, (), (CheckPktLarger(1478, "reg2"), Resubmit(205)), goto=206),
    FlowRule(203, 0, match(ipv4_dst=ip_network("0.0.0.0/0"))),
    FlowRule(203, 1, match(eth_dst=(0x010000000000, 0x010000000000))),
    FlowRule(203, 2, match(eth_type=IPV4, ip_proto=17, udp_dst=4342), (Output(Port.NORMAL),)),
    FlowRule(203, 3, match(in_port=Port.LOCAL), (Output(Port.FLOOD),)),
)
RULES: tuple[Rule, ...] = (*METERS, *GROUPS, *FLOWS)


class Connection:
    """An OpenFlow 1.3 connection of our own to the management socket of a bridge."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._xid = 100
        self._send(openflow.message(0, 1, b""))
        assert self._receive()[0] == 0

    def close(self) -> None:
        self._socket.close()

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _receive(self) -> tuple[int, int, bytes]:
        head = self._exactly(8)
        _, kind, length, xid = openflow.HEADER.unpack(head)
        return kind, xid, head + self._exactly(length - 8)

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            received = self._socket.recv(length - len(data))
            assert received, "the switch closed the connection"
            data += received
        return data

    def apply(self, verb: Verb, rules: tuple[Rule, ...]) -> list[str]:
        """Send changes and a barrier; what was refused."""
        sent = {}
        for rule in rules:
            self._xid += 1
            sent[self._xid] = rule
            self._send(openflow.encode_change(RuleChange(verb, rule), self._xid))
        self._xid += 1
        self._send(openflow.encode_barrier(self._xid))
        refused = []
        while True:
            kind, xid, data = self._receive()
            if kind == openflow.MESSAGE_ERROR:
                refused.append(f"{sent.get(xid)}: {struct.unpack_from('!HH', data, 8)}")
            if xid == self._xid and kind == 21:
                return refused

    def read(self, request: Any, decode: Any) -> list[Any]:
        """Everything that a multipart request returns."""
        self._xid += 1
        self._send(request(self._xid))
        found: list[Any] = []
        while True:
            kind, xid, data = self._receive()
            if kind != openflow.MESSAGE_MULTIPART_REPLY or xid != self._xid:
                continue
            _, more, body = readback.split_multipart(data)
            found += decode(body)
            if not more:
                return found


@pytest.fixture
def connection(lab: Any) -> Iterator[Connection]:
    made = Connection(f"{lab.left.dir}/br0.mgmt")
    yield made
    made.apply(Verb.DELETE, tuple(reversed(RULES)))
    made.close()


def test_what_open_vswitch_reports_is_what_we_wrote(connection: Connection) -> None:
    assert connection.apply(Verb.ADD, RULES) == []
    flows = connection.read(openflow.encode_read_flows, readback.decode_flows)
    assert {rule for rule in flows if rule.table >= 200} == set(FLOWS)
    groups = connection.read(openflow.encode_read_groups, readback.decode_groups)
    assert {rule for rule in groups if 900 <= rule.group_id < 1000} == set(GROUPS)
    meters = connection.read(openflow.encode_read_meters, readback.decode_meters)
    assert {rule for rule in meters if 900 <= rule.meter_id < 1000} == set(METERS)


def test_an_add_replaces_and_a_delete_takes_exactly_its_rule(connection: Connection) -> None:
    assert connection.apply(Verb.ADD, RULES) == []
    changed = FlowRule(
        203, 0, match(), (Output(Port.NORMAL),), idle_timeout=7, cookie=cookie(CookieClass.ALT, 5)
    )
    assert connection.apply(Verb.MODIFY, (changed,)) == []
    assert connection.apply(Verb.DELETE, (FLOWS[-1],)) == []
    flows = connection.read(openflow.encode_read_flows, readback.decode_flows)
    wanted = {rule for rule in FLOWS if rule.key != changed.key} - {FLOWS[-1]} | {changed}
    assert {rule for rule in flows if rule.table >= 200} == wanted
