"""Connections: rules go out, what the switch holds and what it refuses come back."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

import eventlet
import pytest
from edge_fakes import FakeBrain, FakeDatapath, port
from ryu.ofproto import ofproto_v1_3, ofproto_v1_3_parser

from lisp_sdn.actions import (
    ApplyRules,
    FlowCounter,
    FlowCounters,
    PacketIn,
    PacketOut,
    ReadCounters,
    ReadRules,
    SwitchConnected,
)
from lisp_sdn.apps import openflow, oxm, switch
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.switches import Switches, take_messages
from lisp_sdn.rules import (
    COOKIE_MAGIC,
    CookieClass,
    FlowRule,
    GroupRule,
    GroupType,
    MeterRule,
    Output,
    RuleChange,
    Ruleset,
    Verb,
    match,
)

DPID = 0xA1
FLOW = FlowRule(0, 5, match(in_port=1), (Output(2),))
ADD = RuleChange(Verb.ADD, FLOW)


class Sinks:
    """The switches of a test, and no control sockets."""

    def __init__(self, switches: Switches) -> None:
        self.apply_rules = switches.apply_rules
        self.packet_out = switches.packet_out
        self.read_rules = switches.read_rules

    def send_control(self, action: Any) -> None:
        raise AssertionError(action)


@pytest.fixture
def brain() -> FakeBrain:
    return FakeBrain()


@pytest.fixture
def switches(brain: FakeBrain) -> Switches:
    dispatcher = Dispatcher(brain, clock=lambda: 7.0)
    made = Switches(brain, dispatcher)
    dispatcher.sinks = Sinks(made)
    return made


@pytest.fixture
def datapath() -> FakeDatapath:
    return FakeDatapath(DPID)


def let_it_send() -> None:
    eventlet.sleep(0)
    eventlet.sleep(0)


def multipart(kind: int, xid: int, body: bytes, *, more: bool = False) -> bytes:
    return openflow.message(19, xid, struct.pack("!HH4x", kind, int(more)) + body)


def flow_stats(rule: FlowRule) -> bytes:
    tail = openflow.encode_change(RuleChange(Verb.ADD, rule), 0)[48:]
    head = struct.pack("!HBxIIHHHH4xQQQ", 48 + len(tail), 0, 0, 0, 5, 0, 0, 0, rule.cookie, 0, 0)
    return head + tail


def group_desc(rule: GroupRule) -> bytes:
    body = openflow.encode_change(RuleChange(Verb.ADD, rule), 0)[10:]
    return struct.pack("!H", len(body) + 2) + body


# --- coming and going --------------------------------------------------------------------


def test_a_switch_is_told_once_with_its_ports(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    switches.up(datapath)
    (told,) = brain.named("switch_connected")
    event = told[0]
    assert isinstance(event, SwitchConnected)
    assert [(p.number, p.name, p.up) for p in event.ports] == [(1, "p1", True), (2, "lisp0", True)]
    assert brain.reasons() == ["switch.connected"]


def test_a_second_connection_with_the_same_id_replaces_the_first(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    again = FakeDatapath(DPID)
    switches.up(again)
    switches.down(datapath)
    assert [call[0] for call in brain.calls] == [
        "switch_connected",
        "switch_disconnected",
        "switch_connected",
    ]
    switches.down(again)
    assert len(brain.named("switch_disconnected")) == 2


def test_rules_for_a_switch_that_is_away_are_counted(brain: FakeBrain, switches: Switches) -> None:
    switches.apply_rules(ApplyRules(DPID, (ADD,)))
    switches.packet_out(PacketOut(DPID, b"", 1, ()))
    switches.read_rules(ReadRules(DPID))
    assert brain.reasons() == ["switch_not_connected"] * 3
    assert brain.settled[0].source == f"{DPID:016x}"  # type: ignore[union-attr]


def test_ports_that_come_and_go(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    assert switches.port_status(datapath, port(3, "p3"), gone=False) is None
    known = switches.up(datapath)
    assert switches.port_status(datapath, port(3, "p3"), gone=False) is known
    switches.port_status(datapath, port(3, "p3"), gone=True)
    told = [(dpid, p.number, p.up) for dpid, p, _ in brain.named("port_changed")]
    assert told == [(DPID, 3, True), (DPID, 3, False)]


# --- out ---------------------------------------------------------------------------------


def test_changes_and_packets_leave_in_order_as_one_write(
    switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    switches.apply_rules(ApplyRules(DPID, (ADD, ADD), barrier=True))
    switches.packet_out(PacketOut(DPID, b"frame", 1, (Output(2),)))
    assert datapath.sent == []
    let_it_send()
    assert len(datapath.sent) == 1
    kinds = [kind for kind, _, _ in datapath.messages()]
    assert kinds == [14, 14, 20, 13]
    xids = [xid for _, xid, _ in datapath.messages()]
    assert len(set(xids)) == 4


def test_a_rule_that_openflow_cannot_say_does_not_keep_back_the_others(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    impossible = RuleChange(Verb.ADD, FlowRule(0, 5, match(eth_type=0x10000)))
    switches.apply_rules(ApplyRules(DPID, (ADD, impossible, ADD)))
    let_it_send()
    assert [kind for kind, _, _ in datapath.messages()] == [14, 14]
    assert brain.reasons()[-1] == "rule_not_encodable"


def test_a_switch_that_does_not_read_is_disconnected(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "MAX_UNSENT", 1000)
    switches.up(datapath)
    switches.packet_out(PacketOut(DPID, bytes(900), 1, ()))
    switches.packet_out(PacketOut(DPID, bytes(900), 1, ()))
    assert "switch_too_slow" in brain.reasons()
    let_it_send()
    assert datapath.is_closed
    assert datapath.sent == []


# --- reading back ------------------------------------------------------------------------


def requests(datapath: FakeDatapath) -> dict[int, int]:
    """Multipart type -> xid of the newest request."""
    let_it_send()
    return {
        int.from_bytes(message[8:10], "big"): xid
        for kind, xid, message in datapath.messages()
        if kind == 18
    }


def test_what_a_switch_holds_is_told_when_it_is_complete(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    switches.read_rules(ReadRules(DPID))
    asked = requests(datapath)
    assert sorted(asked) == [1, 7, 10]
    other = FlowRule(0, 5, match(in_port=2))
    group, meter = GroupRule(3, GroupType.ALL, ()), MeterRule(4, 10, 5)
    config = openflow.encode_change(RuleChange(Verb.ADD, meter), 0)[10:]
    replies = [
        (asked[1], multipart(1, asked[1], flow_stats(FLOW), more=True)),
        (asked[7], multipart(7, asked[7], group_desc(group))),
        (asked[10], multipart(10, asked[10], struct.pack("!H", len(config) + 2) + config)),
        (asked[1] + 500, multipart(1, asked[1] + 500, flow_stats(FLOW))),
        (asked[1], multipart(1, asked[1], flow_stats(other))),
    ]
    for xid, data in replies:
        assert brain.named("installed") == []
        assert switches.message(datapath, 19, xid, data)
    ((dpid, ports, ruleset, now),) = brain.named("installed")
    assert (dpid, len(ports), now) == (DPID, 2, 7.0)
    assert ruleset == Ruleset(frozenset({FLOW, other}), frozenset({group}), frozenset({meter}))


def test_a_switch_without_meters_is_read_all_the_same(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    switches.read_rules(ReadRules(DPID))
    asked = requests(datapath)
    switches.message(datapath, 19, asked[1], multipart(1, asked[1], b""))
    switches.message(datapath, 19, asked[7], multipart(7, asked[7], b""))
    switches.error(datapath, 1, 2, asked[10])
    assert brain.named("installed")[0][2] == Ruleset()
    assert "ofpbrc_bad_multipart" in brain.reasons()


def test_a_second_read_forgets_the_first(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    switches.read_rules(ReadRules(DPID))
    first = requests(datapath)
    switches.read_rules(ReadRules(DPID))
    second = requests(datapath)
    for asked in (first, second):
        assert brain.named("installed") == []
        for kind, xid in asked.items():
            switches.message(datapath, 19, xid, multipart(kind, xid, b""))
    assert len(brain.named("installed")) == 1


def test_a_switch_that_never_answers_is_disconnected(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "READ_TIMEOUT", 0.01)
    switches.up(datapath)
    switches.read_rules(ReadRules(DPID))
    with eventlet.Timeout(5):
        while not datapath.is_closed:
            eventlet.sleep(0.005)
    assert "read_timeout" in brain.reasons()


def test_a_switch_that_tells_much_is_not_disconnected_while_it_tells(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    spawned = eventlet.spawn_after

    def spawn_after(seconds: float, *rest: Any) -> Any:
        waits.append(seconds)
        return spawned(seconds, *rest)

    monkeypatch.setattr(eventlet, "spawn_after", spawn_after)
    switches.up(datapath)
    switches.read_rules(ReadRules(DPID))
    xid = requests(datapath)[1]
    assert waits.count(switch.READ_TIMEOUT) == 1
    for parts in range(2, 5):
        switches.message(datapath, 19, xid, multipart(1, xid, flow_stats(FLOW), more=True))
        assert waits.count(switch.READ_TIMEOUT) == parts
    switches.message(datapath, 19, xid + 500, multipart(1, xid + 500, b""))
    assert waits.count(switch.READ_TIMEOUT) == 4, "what was not asked for is no progress"


# --- refusals ----------------------------------------------------------------------------


def test_a_refused_rule_is_named_and_the_difference_corrected(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "RESYNC_FIRST", 0.01)
    switches.up(datapath)
    switches.apply_rules(ApplyRules(DPID, (ADD,)))
    let_it_send()
    ((_, xid, _),) = datapath.messages()
    switches.error(datapath, 5, 1, xid)
    (drop,) = [entry for entry in brain.settled if hasattr(entry, "reason")]
    assert (drop.where, drop.reason) == ("openflow", "ofpfmfc_table_full")
    assert drop.detail == "add flow table=0 priority=5 in_port=1"
    with eventlet.Timeout(5):
        while len(datapath.messages()) < 4:
            eventlet.sleep(0.005)
    assert [kind for kind, _, _ in datapath.messages()] == [14, 18, 18, 18]


def test_a_refusal_of_something_unknown_is_counted(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    switches.error(datapath, 77, 78, 12345)
    assert brain.reasons()[-1] == "error_77_78"


# --- messages that Ryu leaves to us ------------------------------------------------------


def packet_in() -> bytes:
    body = struct.pack("!IHBBQ", 0xFFFFFFFF, 5, 1, 3, COOKIE_MAGIC)
    fields = match(in_port=1, tunnel_id=42, tun_ipv4_src=ip_address("192.0.2.1"))
    return openflow.message(10, 0, body + oxm.encode_match(fields) + b"\0\0frame")


def test_a_packet_in_before_ryus_own_event_makes_the_switch_known_first(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    assert switches.message(datapath, 10, 0, packet_in())
    assert [call[0] for call in brain.calls] == ["switch_connected", "packet_in"]
    event = brain.named("packet_in")[0][0]
    assert isinstance(event, PacketIn)
    assert (event.in_port, event.tunnel_id, event.frame) == (1, 42, b"frame")


def test_messages_of_the_handshake_are_left_to_ryu(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    datapath.state = "config"
    assert not switches.message(datapath, 19, 1, multipart(13, 1, b""))
    assert not switches.message(FakeDatapath(None), 10, 0, packet_in())
    assert brain.calls == []


def test_a_malformed_message_is_counted_and_survived(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.up(datapath)
    assert switches.message(datapath, 10, 0, packet_in()[:20])
    assert switches.message(datapath, 11, 0, openflow.message(11, 0, b"short"))
    assert brain.reasons()[1:] == ["truncated", "truncated"]


def test_ryus_parser_hands_over_what_is_taken_and_keeps_the_rest() -> None:
    parsers = ofproto_v1_3_parser._MSG_PARSERS
    kept = dict(parsers)
    taken: list[int] = []

    def receiver(datapath: Any, kind: int, xid: int, data: bytes) -> bool:
        taken.append(kind)
        return datapath is not None

    try:
        take_messages(receiver)
        take_messages(receiver)
        data = packet_in()
        parse = ofproto_v1_3_parser.msg_parser
        assert parse("ours", 4, 10, len(data), 0, data) is None
        message = parse(None, 4, 10, len(data), 0, data)
        assert message.data == b"frame"
        assert taken == [ofproto_v1_3.OFPT_PACKET_IN] * 2
    finally:
        parsers.update(kept)


def test_counters_of_one_class_of_flows(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    switches.read_counters(ReadCounters(DPID, CookieClass.DECAPSULATION))
    assert brain.settled == []
    switches.up(datapath)
    switches.read_counters(ReadCounters(DPID, CookieClass.DECAPSULATION))
    xid = requests(datapath)[1]
    entry = bytearray(flow_stats(FLOW))
    struct.pack_into("!QQ", entry, 32, 7, 4200)
    switches.message(datapath, 19, xid, multipart(1, xid, bytes(entry), more=True))
    assert brain.named("counters") == []
    switches.message(datapath, 19, xid, multipart(1, xid, b""))
    ((answer, _),) = brain.named("counters")
    assert answer == FlowCounters(
        DPID, CookieClass.DECAPSULATION, (FlowCounter(FLOW.match, 7, 4200),)
    )


def test_table_statistics_tell_the_round_trip_as_well(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    made = switches.up(datapath)
    made.measure()
    xid = requests(datapath)[3]
    stats = struct.Struct("!B3xIQQ")
    first, second = stats.pack(3, 5, 1000, 990), stats.pack(4, 5, 10, 10)
    switches.message(datapath, 19, xid, multipart(3, xid, first, more=True))
    assert brain.named("switch_measured") == []
    switches.message(datapath, 19, xid, multipart(3, xid, second))
    ((datapath_id, seconds, lookups, _),) = brain.named("switch_measured")
    assert (datapath_id, lookups) == (DPID, {3: 1000, 4: 10})
    assert 0 <= seconds < 5
    switches.message(datapath, 19, xid, multipart(3, xid, second))
    assert len(brain.named("switch_measured")) == 1


def test_malformed_table_statistics_are_counted(
    brain: FakeBrain, switches: Switches, datapath: FakeDatapath
) -> None:
    made = switches.up(datapath)
    made.measure()
    xid = requests(datapath)[3]
    switches.message(datapath, 19, xid, multipart(3, xid, b"short"))
    assert brain.reasons()[-1] == "truncated"
    assert brain.named("switch_measured") == []
