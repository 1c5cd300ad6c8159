"""The underlay bridge: uplinks, and control messages by our own RLOCs."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lisp_sdn.actions import (
    ApplyRules,
    Dropped,
    PacketIn,
    PacketOut,
    PortInfo,
    ReadRules,
)
from lisp_sdn.address import Endpoint
from lisp_sdn.config import XtrSettings
from lisp_sdn.rules import FlowRule, Output, Port, Ruleset, ToController, Verb
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_arp, parse_ethernet, parse_ip
from lisp_sdn.xtr.underlay import MAX_WAITING, ControlFrame, RlocChanged, Underlay, udp

DPID = 0x101
MAC, ROUTER = "02:00:00:00:00:aa", "02:00:00:00:00:bb"
ONE, SIX = ip_address("192.0.2.1"), ip_address("2001:db8::1")
FAR = Endpoint(ip_address("203.0.113.9"), 4342)
PORTS = (
    PortInfo(Port.LOCAL, "br-phy", MAC, True),
    PortInfo(1, "up1", "02:00:00:00:00:01", True),
    PortInfo(2, "up2", "02:00:00:00:00:02", True),
)


@pytest.fixture
def underlay() -> Underlay:
    settings = XtrSettings.model_validate(
        {
            "name": "x",
            "datapath_id": "1",
            "rlocs": [
                {"rloc": str(ONE), "uplink": "up1", "next_hop": "192.0.2.254"},
                {"rloc": str(SIX)},
            ],
        }
    )
    made = Underlay(settings, DPID)
    made.switch_connected(PORTS, 0.0)
    made.installed(PORTS, Ruleset(), 0.0)
    return made


def frame_in(packet: bytes, version: int = 4, port: int = 1) -> PacketIn:
    frame = replies.ip_frame(MAC, ROUTER, version, packet)
    return PacketIn(DPID, 0, 0, port, frame)


def test_rules_once_and_then_no_change(underlay: Underlay) -> None:
    fresh = Underlay(underlay.settings, DPID)
    assert fresh.switch_connected(PORTS, 0.0) == [ReadRules(DPID)]
    (first,) = fresh.installed(PORTS, Ruleset(), 0.0)
    assert isinstance(first, ApplyRules)
    assert {change.verb for change in first.changes} == {Verb.ADD}
    assert fresh.installed(PORTS, fresh.wanted(), 0.0) == []
    flows = [change.rule for change in first.changes if isinstance(change.rule, FlowRule)]
    assert (Output(Port.NORMAL),) in [flow.actions for flow in flows if not flow.match]


def test_an_rloc_is_down_without_its_uplink(underlay: Underlay) -> None:
    gone = PortInfo(1, "up1", "02:00:00:00:00:01", False)
    changed = [a for a in underlay.port_changed(gone, 1.0) if isinstance(a, RlocChanged)]
    assert changed == [RlocChanged("x", ONE, False)]
    assert underlay.up(SIX), "it may use any uplink"
    both = underlay.port_changed(PortInfo(2, "up2", "02:00:00:00:00:02", False), 2.0)
    assert RlocChanged("x", SIX, False) in both
    back = underlay.port_changed(PORTS[1], 3.0)
    assert {a for a in back if isinstance(a, RlocChanged)} == {
        RlocChanged("x", ONE, True),
        RlocChanged("x", SIX, True),
    }


def test_a_control_message_is_taken_and_can_be_answered_the_same_way(underlay: Underlay) -> None:
    packet = udp(FAR, Endpoint(ONE, 4342), b"hello")
    (got,) = underlay.packet_in(frame_in(packet), 5.0)
    assert got == ControlFrame("x", b"hello", FAR, Endpoint(ONE, 4342))
    (out,) = underlay.send(b"answer", ONE, FAR, 4342, 5.0)
    assert isinstance(out, PacketOut)
    assert out.actions == (Output(1),)
    sent = parse_ethernet(out.frame)
    assert (sent.destination, sent.source) == (ROUTER, MAC)
    inner = parse_ip(sent.payload)
    assert (inner.source, inner.destination) == (ONE, FAR.address)
    assert inner.payload[8:] == b"answer"


def test_port_4342_at_either_end_makes_a_control_message(underlay: Underlay) -> None:
    """RFC 9301 section 5: an answer may come from 4342 to whatever port the question had."""
    packet = udp(FAR, Endpoint(ONE, 61001), b"hello")
    (got,) = underlay.packet_in(frame_in(packet), 5.0)
    assert got == ControlFrame("x", b"hello", FAR, Endpoint(ONE, 61001))
    taken = {
        (name, dict(rule.match).get("ipv4_dst", dict(rule.match).get("ipv6_dst")))
        for rule in underlay.wanted().flows
        for name in ("udp_src", "udp_dst")
        if dict(rule.match).get(name) == 4342
        and any(isinstance(action, ToController) for action in rule.actions)
    }
    assert taken == {(name, rloc) for name in ("udp_src", "udp_dst") for rloc in (ONE, SIX)}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda p: p[:-1] + bytes([p[-1] ^ 1]), "control-bad-checksum"),
        (lambda p: p[:24] + b"\xff\xff" + p[26:], "truncated"),
        (lambda p: p[:30], "truncated"),
    ],
)
def test_what_is_malformed_is_counted(underlay: Underlay, spoil: object, reason: str) -> None:
    packet = udp(FAR, Endpoint(ONE, 4342), b"hello")
    (dropped,) = underlay.packet_in(frame_in(spoil(packet)), 5.0)  # type: ignore[operator]
    assert isinstance(dropped, Dropped)
    assert dropped.reason == reason


def test_a_next_hop_is_asked_for_and_messages_wait_in_order(underlay: Underlay) -> None:
    (ask,) = underlay.send(b"1", ONE, FAR, 4342, 0.0)
    assert isinstance(ask, PacketOut)
    arp = parse_arp(parse_ethernet(ask.frame).payload)
    assert (arp.sender, str(arp.target)) == (ONE, "192.0.2.254")
    assert ask.actions == (Output(1),)
    underlay.send(b"2", ONE, FAR, 4342, 0.0)
    answer = replies.arp(2, ROUTER, arp.target, MAC, arp.sender, MAC)
    sent = underlay.packet_in(PacketIn(DPID, 0, 0, 1, answer), 0.1)
    assert [parse_ip(parse_ethernet(a.frame).payload).payload[8:] for a in sent] == [b"1", b"2"]  # type: ignore[union-attr]
    assert len(underlay.send(b"3", ONE, FAR, 4342, 1.0)) == 1


def test_what_waits_is_bounded(underlay: Underlay) -> None:
    reasons = [
        action.reason
        for _ in range(MAX_WAITING + 3)
        for action in underlay.send(b"x", ONE, FAR, 4342, 0.0)
        if isinstance(action, Dropped)
    ]
    assert reasons == ["next-hop-queue-full"] * 3


def test_ipv6_neighbours(underlay: Underlay) -> None:
    near = Endpoint(ip_address("2001:db8::9"), 4342)
    (ask,) = underlay.send(b"1", SIX, near, 4342, 0.0)
    assert isinstance(ask, PacketOut)
    assert parse_ip(parse_ethernet(ask.frame).payload).payload[0] == 135
    rest = b"\x60\0\0\0" + near.address.packed + b"\x02\x01" + replies.mac_bytes(ROUTER)
    message = replies.icmpv6(near.address, SIX, 136, 0, rest)  # type: ignore[arg-type]
    packet = replies.ipv6(near.address, SIX, 58, message, hop_limit=255)  # type: ignore[arg-type]
    (sent,) = underlay.packet_in(frame_in(packet, 6, 2), 0.1)
    assert isinstance(sent, PacketOut)
    assert sent.actions == (Output(2),)


def test_nothing_leaves_without_an_uplink_or_a_bridge(underlay: Underlay) -> None:
    underlay.port_changed(PortInfo(1, "up1", "02:00:00:00:00:01", False), 1.0)
    (dropped,) = underlay.send(b"x", ONE, FAR, 4342, 2.0)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "rloc-without-uplink"
    underlay.disconnected(3.0)
    (dropped,) = underlay.send(b"x", ONE, FAR, 4342, 4.0)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "underlay-disconnected"
