"""Frames: parsing is total, what is built is read back, and malformed input is counted."""

from __future__ import annotations

import contextlib
import random
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from lisp_sdn.actions import Dropped, PacketIn, PortInfo
from lisp_sdn.config import load
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import CookieClass, Ruleset, cookie
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.dhcp import requested_address
from lisp_sdn.xtr.frames import (
    is_icmp_error,
    parse_arp,
    parse_ethernet,
    parse_ip,
    parse_neighbour,
)
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, Punt
from lisp_sdn.xtr.simulate import fields_of
from lisp_sdn.xtr.xtr import Xtr

v4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
v6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
macs = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
octets = st.integers(0, 255)

CONFIG = load(
    """
sites:
  - name: a
    authentication_keys: [{key: k}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}, {prefix: "2001:db8:1::/48", iid: 1}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: p1, iid: 1, gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]}]
"""
)
PORTS = (
    PortInfo(100, "lisp0", "02:00:00:00:00:01", True),
    PortInfo(1, "p1", "02:00:00:00:00:02", True),
)

few = settings(max_examples=max(30, settings.default.max_examples // 3))
"""A third of what the profile asks for: these run in every gate."""


def connected() -> Xtr:
    xtr = Xtr(CONFIG.xtrs[0], CONFIG, random.Random(1))
    xtr.connected(PORTS, 1000.0)
    xtr.installed(PORTS, Ruleset(), 1000.0)
    return xtr


def valid_frames() -> st.SearchStrategy[bytes]:
    """Frames of every kind that the pipeline punts."""
    host4, host6 = IPv4Address("10.1.0.1"), IPv6Address("2001:db8:1::1")
    mac, gateway = "02:00:00:00:0a:01", "02:00:5e:00:00:fe"
    echo = replies.icmp(8, 0, b"\0\1\0\1data")
    udp4 = replies.ipv4(host4, IPv4Address("10.2.0.1"), 17, bytes(8))
    udp6 = replies.ipv6(host6, IPv6Address("2001:db8:2::1"), 17, bytes(8))
    fragment6 = replies.ipv6(
        host6, IPv6Address("2001:db8:2::1"), 0, b"\x2c\0" + bytes(6) + b"\x11\0\0\1" + bytes(12)
    )
    return st.sampled_from(
        [
            replies.arp_request(mac, host4, IPv4Address("10.1.0.254")),
            replies.neighbour_solicitation(mac, host6, IPv6Address("2001:db8:1::fe")),
            replies.neighbour_advertisement(mac, host6, IPv6Address("2001:db8:1::fe"), gateway),
            replies.ip_frame(gateway, mac, 4, udp4),
            replies.ip_frame(gateway, mac, 6, udp6),
            replies.ip_frame(gateway, mac, 6, fragment6),
            replies.ip_frame(
                gateway, mac, 4, replies.ipv4(host4, IPv4Address("10.1.0.254"), 1, echo)
            ),
        ]
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid frame with some octets changed, cut or appended."""
    frame = bytearray(draw(valid_frames()))
    for _ in range(draw(st.integers(0, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(octets)
    return bytes(frame[: draw(st.integers(0, len(frame)))]) + draw(st.binary(max_size=4))


events = st.builds(
    PacketIn,
    datapath_id=st.just(0xA),
    table=st.integers(0, 4),
    cookie=st.one_of(
        st.sampled_from([cookie(CookieClass.PIPELINE, punt) for punt in Punt]),
        st.just(cookie(CookieClass.PENDING, 1)),
        st.just(cookie(CookieClass.UNDERLAY)),
        st.integers(0, 2**64 - 1),
    ),
    in_port=st.sampled_from([1, 100, 7]),
    frame=st.one_of(st.binary(max_size=120), damaged()),
    metadata=st.sampled_from([1, 2, FROM_TUNNEL | 1, 0]),
    tunnel_id=st.sampled_from([0, 1]),
)


@few
@given(st.lists(events, min_size=1, max_size=20))
def test_any_packet_in_is_handled_or_counted(batch: list[PacketIn]) -> None:
    xtr = connected()
    for event in batch:
        for action in xtr.packet_in(event, 1001.0):
            if isinstance(action, Dropped):
                assert action.reason
                assert action.where == "xtr.xa"
    now = 1001.0
    for _ in range(200):
        timer = xtr.next_timer()
        if timer is None or timer > 1060.0:
            break
        now = max(now, timer)
        xtr.handle_timer(now)
    assert xtr.state().held_packets == 0


@few
@given(st.one_of(st.binary(max_size=200), damaged()))
def test_parsers_raise_decode_errors_only(data: bytes) -> None:
    for parse in (parse_ethernet, parse_arp, parse_ip, fields_of):
        with contextlib.suppress(DecodeError):
            parse(data)
    with contextlib.suppress(DecodeError):
        packet = parse_ip(parse_ethernet(data).payload)
        is_icmp_error(packet)
        replies.is_echo_request(packet)
        parse_neighbour(packet)


@few
@given(v4, v4, octets, st.binary(max_size=60), octets, octets)
def test_ipv4_is_read_back(
    source: IPv4Address, target: IPv4Address, protocol: int, data: bytes, ttl: int, tos: int
) -> None:
    packet = parse_ip(replies.ipv4(source, target, protocol, data, ttl, tos) + b"padding")
    assert (packet.source, packet.destination, packet.protocol) == (source, target, protocol)
    assert (packet.payload, packet.ttl, packet.tos) == (data, ttl, tos)
    assert replies.checksum(packet.packet[:20]) == 0


@few
@given(v6, v6, st.sampled_from([6, 17, 58, 253]), st.binary(max_size=60), octets, octets)
def test_ipv6_is_read_back(
    source: IPv6Address, target: IPv6Address, protocol: int, data: bytes, ttl: int, tos: int
) -> None:
    packet = parse_ip(replies.ipv6(source, target, protocol, data, ttl, tos))
    assert (packet.source, packet.destination, packet.protocol) == (source, target, protocol)
    assert (packet.payload, packet.ttl, packet.tos) == (data, ttl, tos)


@few
@given(st.sampled_from([1, 2]), macs, v4, macs, v4)
def test_arp_is_read_back(
    operation: int, mac: str, sender: IPv4Address, target_mac: str, target: IPv4Address
) -> None:
    frame = replies.arp(operation, mac, sender, target_mac, target, target_mac)
    arp = parse_arp(parse_ethernet(frame).payload)
    assert (arp.operation, arp.sender_mac, arp.sender) == (operation, mac, sender)
    assert (arp.target_mac, arp.target) == (target_mac, target)


@few
@given(macs, v6, v6, macs)
def test_neighbour_discovery_is_read_back(
    mac: str, address: IPv6Address, other: IPv6Address, other_mac: str
) -> None:
    asked = parse_ip(parse_ethernet(replies.neighbour_solicitation(mac, address, other)).payload)
    assert parse_neighbour(asked).mac == mac
    assert parse_neighbour(asked).target == other
    frame = replies.neighbour_advertisement(mac, address, other, other_mac)
    answer = parse_neighbour(parse_ip(parse_ethernet(frame).payload))
    assert (answer.target, answer.mac) == (address, mac)


def pseudo_sum(packet: bytes) -> int:
    """The checksum over an ICMPv6 message with its pseudo-header: 0 when it is right."""
    length = (len(packet) - 40).to_bytes(4, "big")
    return replies.checksum(packet[8:40] + length + bytes((0, 0, 0, 58)) + packet[40:])


@few
@given(v4, v4, v4, st.binary(max_size=900))
def test_icmp_errors_quote_within_bounds(
    gateway: IPv4Address, source: IPv4Address, target: IPv4Address, data: bytes
) -> None:
    about = parse_ip(replies.ipv4(source, target, 17, data))
    error = parse_ip(replies.icmp_error(replies.TTL_EXCEEDED, gateway, about))
    assert (error.source, error.destination) == (gateway, source)
    assert len(error.packet) <= 576
    assert replies.checksum(error.payload) == 0
    assert about.packet.startswith(error.payload[8:])
    assert is_icmp_error(error)


@few
@given(v6, v6, v6, st.binary(max_size=1400))
def test_icmpv6_errors_quote_within_bounds(
    gateway: IPv6Address, source: IPv6Address, target: IPv6Address, data: bytes
) -> None:
    about = parse_ip(replies.ipv6(source, target, 17, data))
    error = parse_ip(replies.icmp_error(replies.HOST_UNREACHABLE, gateway, about))
    assert (error.source, error.destination) == (gateway, source)
    assert len(error.packet) <= 1280
    assert pseudo_sum(error.packet) == 0
    assert about.packet.startswith(error.payload[8:])
    assert is_icmp_error(error)


@given(st.binary(max_size=400), st.binary(max_size=60))
def test_any_dhcp_message_shows_an_address_or_none(octets: bytes, options: bytes) -> None:
    """Whatever it is, and whatever stands behind the magic cookie."""
    fixed = b"\x01\x01\x06" + bytes(9) + octets[:4].ljust(4, b"\0") + bytes(12) + bytes(208)
    for message in (octets, bytes(8) + fixed + b"\x63\x82\x53\x63" + options):
        found = requested_address(message)
        assert found is None or (isinstance(found[0], IPv4Address) and len(found[1]) == 17)
