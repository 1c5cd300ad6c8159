"""Our OpenFlow octets: Ryu reads and rebuilds every one, and what comes back is what went out."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openflow_strategies import FLOWS, GROUPS, METERS
from ryu.ofproto import ofproto_v1_3, ofproto_v1_3_parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from lisp_sdn.actions import PacketOut
from lisp_sdn.apps import instructions, openflow, oxm, readback
from lisp_sdn.errors import DecodeError, FieldError
from lisp_sdn.rules import (
    Bucket,
    CheckPktLarger,
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
    RuleChange,
    SetField,
    ToController,
    ToGroup,
    Verb,
    match,
)

ofp, parser = ofproto_v1_3, ofproto_v1_3_parser
DATAPATH = ProtocolDesc(version=ofp.OFP_VERSION)

ITR_FLOW = FlowRule(
    table=3,
    priority=124,
    match=match(eth_type=0x800, ipv4_dst=ip_network("10.2.0.0/24"), metadata=42),
    actions=(
        DecTtl(),
        SetField("tunnel_id", 42),
        SetField("tun_ipv4_src", ip_address("192.0.2.1")),
        SetField("tun_ipv4_dst", ip_address("192.0.2.2")),
        Output(2),
    ),
    idle_timeout=300,
    notify_removed=True,
)


def ryu_bytes(message: Any) -> bytes:
    message.set_xid(7)
    message.serialize()
    return bytes(message.buf)


def flow_stats(rule: FlowRule, tail: bytes) -> bytes:
    """The entry of a flow statistics reply for a rule; tail: match and instructions."""
    return (
        struct.pack(
            "!HBxIIHHHH4xQQQ",
            48 + len(tail),
            rule.table,
            1,
            2,
            rule.priority,
            rule.idle_timeout,
            rule.hard_timeout,
            int(rule.notify_removed),
            rule.cookie,
            3,
            4,
        )
        + tail
    )


# --- against Ryu -------------------------------------------------------------------------


def test_an_itr_flow_is_what_ryu_would_send() -> None:
    expected = parser.OFPFlowMod(
        DATAPATH,
        cookie=ITR_FLOW.cookie,
        table_id=3,
        command=ofp.OFPFC_ADD,
        idle_timeout=300,
        priority=124,
        flags=ofp.OFPFF_SEND_FLOW_REM,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=parser.OFPMatch(eth_type=0x800, ipv4_dst=("10.2.0.0", "255.255.255.0"), metadata=42),
        instructions=[
            parser.OFPInstructionActions(
                ofp.OFPIT_APPLY_ACTIONS,
                [
                    parser.OFPActionDecNwTtl(),
                    parser.OFPActionSetField(tunnel_id=42),
                    parser.OFPActionSetField(tun_ipv4_src="192.0.2.1"),
                    parser.OFPActionSetField(tun_ipv4_dst="192.0.2.2"),
                    parser.OFPActionOutput(2, 0),
                ],
            )
        ],
    )
    assert openflow.encode_change(RuleChange(Verb.ADD, ITR_FLOW), 7) == ryu_bytes(expected)


def test_a_delete_is_strict_and_names_only_the_match() -> None:
    expected = parser.OFPFlowMod(
        DATAPATH,
        cookie=ITR_FLOW.cookie,
        table_id=3,
        command=ofp.OFPFC_DELETE_STRICT,
        idle_timeout=300,
        priority=124,
        flags=ofp.OFPFF_SEND_FLOW_REM,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=parser.OFPMatch(eth_type=0x800, ipv4_dst=("10.2.0.0", "255.255.255.0"), metadata=42),
        instructions=[],
    )
    assert openflow.encode_change(RuleChange(Verb.DELETE, ITR_FLOW), 7) == ryu_bytes(expected)


def test_every_instruction_is_what_ryu_would_send() -> None:
    rule = FlowRule(0, 1, match(in_port=1), (ToController(),), goto=2, metadata=(5, 0xFF), meter=9)
    expected = parser.OFPFlowMod(
        DATAPATH,
        cookie=rule.cookie,
        priority=1,
        out_port=ofp.OFPP_ANY,
        out_group=ofp.OFPG_ANY,
        match=parser.OFPMatch(in_port=1),
        instructions=[
            parser.OFPInstructionMeter(9),
            parser.OFPInstructionActions(
                ofp.OFPIT_APPLY_ACTIONS,
                [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)],
            ),
            parser.OFPInstructionWriteMetadata(5, 0xFF),
            parser.OFPInstructionGotoTable(2),
        ],
    )
    assert openflow.encode_change(RuleChange(Verb.ADD, rule), 7) == ryu_bytes(expected)


def test_nicira_actions_are_what_ryu_would_send() -> None:
    actions = (MoveField("eth_src", "eth_dst", 48), Multipath("reg0", 4, 3, 17))
    expected = parser.OFPPacketOut(
        DATAPATH,
        buffer_id=ofp.OFP_NO_BUFFER,
        in_port=5,
        actions=[
            parser.NXActionRegMove(src_field="eth_src", dst_field="eth_dst", n_bits=48),
            parser.NXActionMultipath(
                fields=3, basis=17, algorithm=0, max_link=3, arg=0, ofs_nbits=31, dst="reg0"
            ),
        ],
        data=b"frame",
    )
    assert openflow.encode_packet_out(PacketOut(1, b"frame", 5, actions), 7) == ryu_bytes(expected)


def test_nicira_actions_that_ryu_does_not_have() -> None:
    """NXAST_CHECK_PKT_LARGER and NXAST_RESUBMIT_TABLE, as `ovs-ofctl` sends them."""
    size, again = CheckPktLarger(1478, "reg2"), Resubmit(6)
    assert instructions.encode_actions((size,)).hex() == (
        "ffff001800002320003105c6000000010404000000000000"
    )
    assert instructions.encode_actions((again,)).hex() == ("ffff001000002320000efff806000000")
    for action in (size, again):
        data = instructions.encode_actions((action,))
        assert instructions.decode_actions(data, 0, len(data)) == (action,)
    # Another bit of the register, another port: not what we send, so it differs from it.
    other = bytearray(instructions.encode_actions((size,)))
    other[13] = 1
    assert instructions.decode_actions(bytes(other), 0, len(other)) != (size,)


def test_the_port_that_a_packet_came_by_is_set_as_open_vswitch_takes_it() -> None:
    """As NXM_OF_IN_PORT, 16 bits: OXM's in_port is refused with a port that does not exist."""
    action = SetField("in_port", 0)
    data = instructions.encode_actions((action,))
    assert data.hex(" ", 4) == "00190010 00000002 00000000 00000000"
    assert instructions.decode_actions(data, 0, len(data)) == (action,)


def test_a_metered_packet_in_is_what_open_vswitch_defines() -> None:
    """NXAST_CONTROLLER2 with NXAC2PT_METER_ID, which Ryu does not know."""
    data = instructions.encode_actions((ToController(meter=4),))
    assert data.hex(" ", 4) == "ffff0018 00002320 00250000 00000000 00050008 00000004"
    assert instructions.decode_actions(data, 0, len(data)) == (ToController(meter=4),)
    with pytest.raises(FieldError, match="max_len"):
        instructions.encode_actions((ToController(128, meter=4),))


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        (Verb.ADD, ofp.OFPGC_ADD),
        (Verb.MODIFY, ofp.OFPGC_MODIFY),
        (Verb.DELETE, ofp.OFPGC_DELETE),
    ],
)
def test_a_group_is_what_ryu_would_send(verb: Verb, command: int) -> None:
    rule = GroupRule(
        11, GroupType.SELECT, (Bucket((Output(2),), weight=50), Bucket((ToGroup(3),), weight=1))
    )
    buckets = [
        parser.OFPBucket(50, ofp.OFPP_ANY, ofp.OFPG_ANY, [parser.OFPActionOutput(2, 0)]),
        parser.OFPBucket(1, ofp.OFPP_ANY, ofp.OFPG_ANY, [parser.OFPActionGroup(3)]),
    ]
    expected = parser.OFPGroupMod(
        DATAPATH, command, ofp.OFPGT_SELECT, 11, [] if verb is Verb.DELETE else buckets
    )
    assert openflow.encode_change(RuleChange(verb, rule), 7) == ryu_bytes(expected)


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        (Verb.ADD, ofp.OFPMC_ADD),
        (Verb.MODIFY, ofp.OFPMC_MODIFY),
        (Verb.DELETE, ofp.OFPMC_DELETE),
    ],
)
def test_a_meter_is_what_ryu_would_send(verb: Verb, command: int) -> None:
    bands = [parser.OFPMeterBandDrop(rate=2000, burst_size=200)]
    expected = parser.OFPMeterMod(
        DATAPATH,
        command,
        ofp.OFPMF_PKTPS | ofp.OFPMF_BURST,
        1,
        [] if verb is Verb.DELETE else bands,
    )
    change = RuleChange(verb, MeterRule(1, 2000, 200))
    assert openflow.encode_change(change, 7) == ryu_bytes(expected)


def test_requests_are_what_ryu_would_send() -> None:
    flows = parser.OFPFlowStatsRequest(
        DATAPATH, cookie=0x4C53 << 48, cookie_mask=0xFFFF << 48, match=parser.OFPMatch()
    )
    assert openflow.encode_read_flows(7) == ryu_bytes(flows)
    assert openflow.encode_read_groups(7) == ryu_bytes(parser.OFPGroupDescStatsRequest(DATAPATH, 0))
    meters = parser.OFPMeterConfigStatsRequest(DATAPATH, 0, ofp.OFPM_ALL)
    assert openflow.encode_read_meters(7) == ryu_bytes(meters)
    assert openflow.encode_barrier(7) == ryu_bytes(parser.OFPBarrierRequest(DATAPATH))


def test_what_requires_ipv4_stands_behind_eth_type() -> None:
    data = oxm.encode_match(match(nw_ttl=1, eth_type=0x800, reg0=3))
    assert data.index(oxm.encode_field("eth_type", 0x800)) < data.index(
        oxm.encode_field("nw_ttl", 1)
    )


# --- there and back ----------------------------------------------------------------------


@given(FLOWS)
def test_a_flow_comes_back_through_ryu_as_it_went_out(rule: FlowRule) -> None:
    data = openflow.encode_change(RuleChange(Verb.ADD, rule), 7)
    read = parser.OFPFlowMod.parser(DATAPATH, 4, ofp.OFPT_FLOW_MOD, len(data), 7, data)
    rebuilt = parser.OFPFlowMod(
        DATAPATH, match=read.match, instructions=read.instructions, cookie=read.cookie
    )
    tail = ryu_bytes(rebuilt)[48:]
    assert len(tail) == len(data) - 48
    assert readback.decode_flows(flow_stats(rule, tail)) == [rule]
    assert readback.decode_flows(flow_stats(rule, data[48:]) * 2) == [rule, rule]


@given(GROUPS)
def test_a_group_comes_back_through_ryu_as_it_went_out(rule: GroupRule) -> None:
    data = openflow.encode_change(RuleChange(Verb.ADD, rule), 7)
    entry = struct.pack("!H", len(data) - 8) + data[10:]
    stats = parser.OFPGroupDescStats.parser(entry, 0)
    rebuilt = parser.OFPGroupMod(DATAPATH, ofp.OFPGC_ADD, stats.type, stats.group_id, stats.buckets)
    assert ryu_bytes(rebuilt)[8:] == data[8:]
    assert readback.decode_groups(entry + entry) == [rule, rule]


@given(METERS)
def test_a_meter_comes_back_as_it_went_out(rule: MeterRule) -> None:
    data = openflow.encode_change(RuleChange(Verb.ADD, rule), 7)
    entry = struct.pack("!H", len(data) - 8) + data[10:]
    assert readback.decode_meters(entry) == [rule]


@given(FLOWS)
def test_flow_removed_names_the_flow(rule: FlowRule) -> None:
    tail = oxm.encode_match(rule.match)
    body = struct.pack(
        "!QHBBIIHHQQ", rule.cookie, rule.priority, 0, rule.table, 9, 500_000_000, 0, 0, 3, 250
    )
    event = readback.decode_flow_removed(5, openflow.message(11, 7, body + tail))
    assert event.rule_key == rule.key
    assert (event.datapath_id, event.cookie, event.idle) == (5, rule.cookie, True)
    assert (event.packets, event.bytes, event.duration) == (3, 250, 9.5)


def packet_in(frame: bytes = b"frame", reason: int = 1, **fields: Any) -> bytes:
    body = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), reason, 3, 0x4C53 << 48)
    return openflow.message(10, 0, body + oxm.encode_match(match(**fields)) + b"\0\0" + frame)


@pytest.mark.parametrize("version", ["4", "6"])
def test_packet_in_out_of_the_tunnel(version: str) -> None:
    source, destination = {
        "4": (ip_address("192.0.2.1"), ip_address("192.0.2.2")),
        "6": (ip_address("2001:db8::1"), ip_address("2001:db8::2")),
    }[version]
    fields: dict[str, Any] = {
        f"tun_ipv{version}_src": source,
        f"tun_ipv{version}_dst": destination,
    }
    data = packet_in(in_port=2, metadata=9, tunnel_id=42, **fields)
    event = readback.decode_packet_in(5, data)
    assert (event.datapath_id, event.table, event.cookie) == (5, 3, 0x4C53 << 48)
    assert (event.in_port, event.metadata, event.tunnel_id) == (2, 9, 42)
    assert (event.tunnel_source, event.tunnel_destination) == (source, destination)
    assert (event.frame, event.invalid_ttl) == (b"frame", False)


def test_packet_in_of_an_expired_ttl() -> None:
    assert readback.decode_packet_in(5, packet_in(reason=2, in_port=1)).invalid_ttl


def test_padding_behind_the_frame_is_cut_off() -> None:
    data = packet_in(b"abc", in_port=1) + bytes(5)
    assert readback.decode_packet_in(5, data).frame == b"abc"


# --- what cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no_such_field", 1),
        ("eth_type", 0x10000),
        ("in_port", -1),
        ("eth_dst", "02:00:00:00:00"),
        ("eth_dst", "not a mac"),
        ("ipv4_dst", ip_address("::1")),
        ("ipv6_dst", ip_network("10.0.0.0/8")),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: Any) -> None:
    with pytest.raises(FieldError, match=name):
        oxm.encode_field(name, value)


@given(FLOWS, st.data())
def test_octets_cut_or_changed_raise_decode_error_only(rule: FlowRule, data: Any) -> None:
    tail = openflow.encode_change(RuleChange(Verb.ADD, rule), 7)[48:]
    entry = bytearray(flow_stats(rule, tail))
    position = data.draw(st.integers(0, len(entry) - 1))
    entry[position] ^= data.draw(st.integers(1, 255))
    cut = bytes(entry[: data.draw(st.integers(0, len(entry)))])
    for decode in (readback.decode_flows, readback.decode_groups, readback.decode_meters):
        with contextlib.suppress(DecodeError):
            decode(cut)


@given(st.binary(max_size=120))
def test_random_octets_raise_decode_error_only(data: bytes) -> None:
    for decode in (
        lambda: readback.decode_packet_in(1, data),
        lambda: readback.decode_flow_removed(1, data),
        lambda: readback.split_multipart(data),
        lambda: readback.decode_flows(data),
        lambda: readback.decode_groups(data),
        lambda: readback.decode_meters(data),
    ):
        with contextlib.suppress(DecodeError):
            decode()


def test_a_field_of_a_packet_in_that_reaches_behind_the_match_is_a_decode_error() -> None:
    field = oxm.encode_field("tun_ipv4_src", ip_address("192.0.2.1"))
    body = struct.pack("!IHBBQ", 0xFFFFFFFF, 0, 1, 3, 0) + struct.pack("!HH", 1, 4 + 6) + field[:6]
    with pytest.raises(DecodeError, match="reaches behind"):
        readback.decode_packet_in(1, openflow.message(10, 0, body))


def test_a_meter_instruction_of_another_length_is_one_that_we_never_send() -> None:
    rule: dict[str, Any] = {}
    instructions.decode_instructions(rule, struct.pack("!HHIQ", 6, 16, 1, 0), 0, 16)
    assert "meter" not in rule
    assert rule["actions"] == (SetField("instruction_6", 1 << 64),)


def test_an_unknown_action_makes_the_rule_differ() -> None:
    push_vlan = bytes.fromhex("0011000881000000")
    actions = struct.pack("!HH4x", 4, 16) + push_vlan
    entry = flow_stats(ITR_FLOW, oxm.encode_match(ITR_FLOW.match) + actions)
    (rule,) = readback.decode_flows(entry)
    assert rule.key == ITR_FLOW.key
    assert rule.actions == (SetField("action_0011", 0x81000000),)


def test_port_down_and_gone() -> None:
    port = SimpleNamespace(
        port_no=2, name=b"lisp0\0\0", hw_addr="aa:bb:cc:dd:ee:ff", config=0, state=0
    )
    assert readback.port_info(port).up
    assert readback.port_info(port).name == "lisp0"
    assert not readback.port_info(port, gone=True).up
    port.state = ofp.OFPPS_LINK_DOWN
    assert not readback.port_info(port).up
    assert Port.LOCAL == ofp.OFPP_LOCAL
