"""What a map-cache miss leads to: held packets, Map-Requests, answers, entries, flows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from xtr_network import CONFIG, Network, eid

from lisp_sdn.actions import ApplyRules, PacketOut
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import CookieClass, Output, Port, cookie_class
from lisp_sdn.wire import EidRecord, MapReply
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip
from lisp_sdn.xtr.requests import Resolve

MAC = "02:00:00:00:0a:01"


@pytest.fixture
def net() -> Network:
    network = Network()
    network.start()
    return network


def cached(net: Network, site: str) -> list[str]:
    return sorted(str(row.eid) for row in net[site].xtr.map_cache_entries(net.now))


def flows(net: Network, site: str, kind: CookieClass) -> int:
    return sum(cookie_class(rule.cookie) is kind for rule in net[site].switch.flows.values())


def test_the_map_request_names_the_host_and_the_answer_covers_its_prefix(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.send("xa", 1, a.frame("10.2.0.1"))
    (request,) = net.mapping.requests
    assert str(request.records[0].eid) == "[1] 10.2.0.1/32"
    assert str(request.source_eid) == "[1] 10.1.0.1/32"
    assert [str(rloc) for rloc in request.itr_rlocs] == ["192.0.2.1", "2001:db8:ffff::1"]
    assert (request.smr, request.probe, request.authoritative) == (False, False, False)
    assert cached(net, "xa") == ["[1] 10.2.0.0/16"]
    net.send("xa", 1, a.frame("10.2.0.77"))
    assert len(net.mapping.requests) == 1


def test_an_unmapped_destination_costs_one_request_and_one_punt(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    punts = net.punts
    for number in range(1000):
        net.send("xa", 1, a.frame("10.200.0.1", b"%d" % number))
    assert net.punts - punts == 1
    assert len(net.mapping.requests) == 1
    (row,) = net["xa"].xtr.map_cache_entries(net.now)
    assert (str(row.eid), row.action) == ("[1] 10.128.0.0/9", Act.NATIVELY_FORWARD)
    assert row.expires == net.now + 15 * 60
    assert net.reasons() == {"no-native-path"}
    unreachable = parse_ip(a.received[0])
    assert (unreachable.payload[0], unreachable.payload[1]) == (3, 0)


@pytest.mark.parametrize(
    ("act", "code", "reason"),
    [
        (Act.DROP_NO_REASON, (3, 0), "drop-no-reason"),
        (Act.DROP_POLICY_DENIED, (3, 13), "drop-policy-denied"),
        (Act.DROP_AUTH_FAILURE, (3, 13), "drop-auth-failure"),
        (Act.NO_ACTION, None, "no-action"),
    ],
)
def test_drop_actions(net: Network, act: Act, code: tuple[int, int] | None, reason: str) -> None:
    net.mapping.register([EidRecord.from_mapping(Mapping(eid("[1] 10.9.0.0/16"), (), 15, act))])
    a = net["xa"].add(1, "10.1.0.1", MAC)
    for _ in range(3):
        net.send("xa", 1, a.frame("10.9.0.1"))
    assert net.reasons() == {reason}
    assert len(net.drops) == 1
    got = [(p.payload[0], p.payload[1]) for p in map(parse_ip, a.received)]
    assert got == ([] if code is None else [code])


def test_send_map_request_asks_for_every_packet_but_once_a_second(net: Network) -> None:
    mapping = Mapping(eid("[1] 10.9.0.0/16"), (), 15, Act.SEND_MAP_REQUEST)
    net.mapping.register([EidRecord.from_mapping(mapping)])
    a = net["xa"].add(1, "10.1.0.1", MAC)
    for _ in range(20):
        net.send("xa", 1, a.frame("10.9.0.1"))
        net.advance(0.1)
    assert 2 <= len(net.mapping.requests) <= 3
    assert "send-map-request" in net.reasons()


def test_the_answer_may_take_long_and_nothing_is_lost(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.mapping.silent = True
    for number in range(10):
        net.send("xa", 1, a.frame("10.2.0.1", b"%02d" % number))
    assert len(net.mapping.requests) == 1
    assert net["xa"].xtr.state().held_packets == 10
    assert flows(net, "xa", CookieClass.PENDING) == 1
    net.mapping.silent = False
    net.advance(1.1)
    assert [packet[-2:] for packet in b.received] == [b"%02d" % n for n in range(10)]
    assert net["xa"].xtr.state().held_packets == 0
    assert flows(net, "xa", CookieClass.PENDING) == 0
    assert len({request.nonce for request in net.mapping.requests}) == len(net.mapping.requests)


def test_ten_retransmissions_then_a_pause_then_it_begins_anew(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.mapping.silent = True
    start = net.now
    net.send("xa", 1, a.frame("10.2.0.1"))
    net.advance(10.5)
    assert len(net.mapping.requests) == 11
    net.advance(1.0)
    assert "no-map-reply" in net.reasons()
    assert [event.kind for event in net.events].count("resolution.failed") == 1
    for _ in range(100):
        net.send("xa", 1, a.frame("10.2.0.1"))
    net.advance(start + 40.9 - net.now)
    assert len(net.mapping.requests) == 11
    assert flows(net, "xa", CookieClass.PENDING) == 1
    net.advance(0.2)
    assert flows(net, "xa", CookieClass.PENDING) == 0
    net.send("xa", 1, a.frame("10.2.0.1"))
    assert len(net.mapping.requests) == 12


def test_at_most_one_request_a_second_for_an_eid(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.mapping.silent = True
    for _ in range(290):
        net.send("xa", 1, a.frame("10.2.0.1"))
        net.advance(0.01)
    assert len(net.mapping.requests) == 3


def test_held_packets_are_bounded_per_eid(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.mapping.silent = True
    for number in range(100):
        net.send("xa", 1, a.frame("10.2.0.1", b"%02d" % number))
    state = net["xa"].xtr.state()
    assert state.held_packets == 32
    # Once nothing more can be held, the switch drops; the controller sees no packet more.
    assert net.drops == []
    assert net["xa"].switch.receive(1, a.frame("10.2.0.1")).ended == "dropped in table 3"
    net.mapping.silent = False
    net.advance(1.1)
    assert [packet[-2:] for packet in b.received] == [b"%02d" % n for n in range(32)]


def test_held_packets_and_resolutions_are_bounded_in_total() -> None:
    text = CONFIG + "limits: {held_packets_total: 5, pending_resolutions: 7}\n"
    net = Network(text)
    net.start()
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.mapping.silent = True
    for number in range(20):
        net.send("xa", 1, a.frame(f"10.2.0.{number + 1}"))
    state = net["xa"].xtr.state()
    assert (state.held_packets, state.pending_resolutions) == (5, 7)
    assert net.reasons() == {"held-total", "pending-resolutions"}


def test_a_host_that_scans_leaves_resolutions_to_the_others() -> None:
    """The mapping system does not answer, so whatever is asked for stays."""
    net = Network(CONFIG + "limits: {held_packets_total: 128, pending_resolutions: 128}\n")
    net.start()
    scanner = net["xa"].add(1, "10.1.0.1", MAC)
    other = net["xa"].add(1, "10.1.0.2", "02:00:00:00:0a:02")
    net.mapping.silent = True
    for number in range(200):
        net.send("xa", 1, scanner.frame(f"10.77.0.{number + 1}"))
    assert net["xa"].xtr.state().pending_resolutions == 96
    net.send("xa", 1, other.frame("10.2.0.1"))
    state = net["xa"].xtr.state()
    assert (state.held_packets, state.pending_resolutions) == (97, 97)


def test_packets_in_flight_are_released_without_another_request(net: Network) -> None:
    """Several packet-ins were on their way when the flow came."""
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    frames = [a.frame("10.2.0.1", b"%02d" % number) for number in range(20)]
    waiting = [net["xa"].switch.receive(1, frame).punted[0] for frame in frames]
    for event in waiting:
        net.do(net["xa"], net["xa"].xtr.packet_in(event, net.now))
    net.send("xa", 1, a.frame("10.2.0.1", b"99"))
    net.advance(1.0)
    assert [packet[-2:] for packet in b.received] == [b"%02d" % n for n in range(20)] + [b"99"]
    assert len(net.mapping.requests) == 1


def test_a_miss_for_an_installed_entry_sends_its_flow_again_and_does_not_loop(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.send("xa", 1, a.frame("10.2.0.1", b"1"))
    net.advance(5.0)
    switch = net["xa"].switch
    for key in [
        k for k, r in switch.flows.items() if cookie_class(r.cookie) is CookieClass.MAP_CACHE
    ]:
        del switch.flows[key]
    punts = net.punts
    net.send("xa", 1, a.frame("10.2.0.1", b"2"))
    net.send("xa", 1, a.frame("10.2.0.1", b"3"))
    assert [packet[-1:] for packet in b.received] == [b"1", b"2", b"3"]
    # One miss at the ITR; the ETR of the first packet's host knows it already.
    assert net.punts - punts == 1
    assert switch.ruleset() == net["xa"].xtr.wanted()


def test_rules_come_before_the_packets_that_they_release(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    (punt,) = net["xa"].switch.receive(1, a.frame("10.2.0.1")).punted
    actions = net["xa"].xtr.packet_in(punt, net.now)
    (resolve,) = [action for action in actions if isinstance(action, Resolve)]
    reply = net.mapping.resolve(resolve.request)
    assert reply is not None
    kinds = [type(x) for x in net["xa"].xtr.receive(reply, None, net.now)]
    assert kinds[:2] == [ApplyRules, PacketOut]


def test_held_packets_go_through_the_table(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    (punt,) = net["xa"].switch.receive(1, a.frame("10.2.0.1")).punted
    actions = net["xa"].xtr.packet_in(punt, net.now)
    (resolve,) = [action for action in actions if isinstance(action, Resolve)]
    reply = net.mapping.resolve(resolve.request)
    assert reply is not None
    answer = net["xa"].xtr.receive(reply, None, net.now)
    (out,) = [action for action in answer if isinstance(action, PacketOut)]
    assert (out.in_port, out.actions, out.frame) == (1, (Output(Port.TABLE),), punt.frame)


def test_a_reply_nobody_asked_for_changes_nothing(net: Network) -> None:
    forged = MapReply(
        42, (EidRecord(eid("[1] 10.2.0.0/16"), (Locator(ip_address("192.0.2.66")),)),)
    )
    net.do(net["xa"], net["xa"].xtr.receive(forged, None, net.now))
    assert net.reasons() == {"unknown-nonce"}
    assert cached(net, "xa") == []


def test_a_reply_counts_once(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    (punt,) = net["xa"].switch.receive(1, a.frame("10.2.0.1")).punted
    (resolve,) = [x for x in net["xa"].xtr.packet_in(punt, net.now) if isinstance(x, Resolve)]
    reply = net.mapping.resolve(resolve.request)
    assert reply is not None
    net.do(net["xa"], net["xa"].xtr.receive(reply, None, net.now))
    before = net["xa"].switch.ruleset()
    net.do(net["xa"], net["xa"].xtr.receive(reply, None, net.now))
    assert net.reasons() == {"unknown-nonce"}
    assert net["xa"].switch.ruleset() == before


def test_records_that_were_not_asked_for_are_refused(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    (punt,) = net["xa"].switch.receive(1, a.frame("10.2.0.1")).punted
    (resolve,) = [x for x in net["xa"].xtr.packet_in(punt, net.now) if isinstance(x, Resolve)]
    reply = net.mapping.resolve(resolve.request)
    assert reply is not None
    stray = EidRecord(eid("[1] 10.66.0.0/16"), (Locator(ip_address("192.0.2.66")),))
    other_tenant = EidRecord(eid("[2] 10.2.0.0/16"), (Locator(ip_address("192.0.2.66")),))
    reply = replace(reply, records=(*reply.records, stray, other_tenant))
    net.do(net["xa"], net["xa"].xtr.receive(reply, None, net.now))
    assert cached(net, "xa") == ["[1] 10.2.0.0/16"]
    assert [drop.reason for drop in net.drops] == ["record-not-asked-for"] * 2


def test_the_first_packet_waits_for_the_next_hop_of_an_unknown_rloc(net: Network) -> None:
    """Open vSwitch loses the packet that makes it resolve a next hop; ours is a dummy."""
    new = Mapping(eid("[1] 10.77.0.0/16"), (Locator(ip_address("192.0.2.77"), 1, 100),))
    net.mapping.register([EidRecord.from_mapping(new)])
    a = net["xa"].add(1, "10.1.0.1", MAC)
    for number in range(3):
        net.send("xa", 1, a.frame("10.77.0.1", b"%d" % number))
    assert net["xa"].xtr.state().held_packets == 3
    assert not [s for s in net.sent_through_tunnel if s.tunnel_id != 0xFFFFFF]
    net.advance(0.021)
    sent = [s for s in net.sent_through_tunnel if s.tunnel_id != 0xFFFFFF]
    assert [s.frame[-1:] for s in sent] == [b"0", b"1", b"2"]
    assert net.lost_to_neighbours == len(net.resolved)
    first = [
        s for s in net.sent_through_tunnel if s.tunnel_destination == sent[0].tunnel_destination
    ]
    assert first[0].tunnel_id == 0xFFFFFF
    assert parse_ip(parse_ethernet(first[0].frame).payload).source.is_loopback


def test_known_rlocs_are_primed_when_the_switch_connects() -> None:
    net = Network()
    net.start()
    assert net.lost_to_neighbours == 4
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    now = net.now
    net.send("xa", 1, a.frame("10.2.0.1", b"1"))
    assert net.now == now
    assert len(b.received) == 1
    assert net.lost_to_neighbours == 4
    # Soon once more, for a system that addresses its bridges late; then now and again.
    for seconds in (2.0, 301.0):
        before = len(net.sent_through_tunnel)
        net.advance(seconds)
        again = net.sent_through_tunnel[before:]
        assert sorted(str(sent.tunnel_destination) for sent in again) == [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8:ffff::1",
            "2001:db8:ffff::2",
        ]


def test_two_tenants_with_the_same_addresses_do_not_see_each_other(net: Network) -> None:
    hosts = {}
    for site, network in (("xa", "10.1"), ("xb", "10.2")):
        for port in (1, 2):
            mac = f"02:00:00:00:{port:02x}:{0xA if site == 'xa' else 0xB:02x}"
            hosts[site, port] = net[site].add(port, f"{network}.0.1", mac)
    for port in (1, 2):
        net.send("xa", port, hosts["xa", port].frame("10.2.0.1", b"tenant%d" % port))
        net.advance(0.1)
        net.send("xb", port, hosts["xb", port].frame("10.1.0.1", b"answer%d" % port))
        net.advance(0.1)
    for port in (1, 2):
        assert [p[-7:] for p in hosts["xb", port].received] == [b"tenant%d" % port]
        assert [p[-7:] for p in hosts["xa", port].received] == [b"answer%d" % port]
    # The mapping of one tenant alone does not carry the other.
    del net.mapping.mappings[eid("[2] 10.2.0.0/16")]
    net.do(net["xa"], net["xa"].xtr.forget(None)[1])
    net.do(net["xa"], net["xa"].xtr.mapping_changed(eid("[2] 10.2.0.0/16"), net.now))
    net.send("xa", 2, hosts["xa", 2].frame("10.2.0.1", b"refused"))
    assert "no-native-path" in net.reasons()
