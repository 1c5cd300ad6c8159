"""Map-Requests over the ALT (RFC 6836 section 5): from Map-Resolver to Map-Server by flows."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from alt_network import NOW, Provider, chain, ecm

from lisp_sdn.actions import PortInfo, ReadRules
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.alt_router.datagrams import received
from lisp_sdn.mapping.chain import Kind, Query
from lisp_sdn.model import Requester
from lisp_sdn.rules import Port, Ruleset
from lisp_sdn.wire import Ecm, MapReply, MapRequest, RequestRecord, decode
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip
from lisp_sdn.xtr.simulate import Trace

FRAME = "02:00:00:00:00:00"


@pytest.fixture
def row() -> dict[int, Provider]:
    """Three providers in a row, who know each other's EID-prefixes; all sites registered."""
    made = chain(1, 2, 3)
    for provider in made.values():
        provider.start()
        provider.register()
    made[1].hears(made[2], made[2].network)
    made[1].hears(made[2], made[3].network)
    made[2].hears(made[1], made[1].network)
    made[2].hears(made[3], made[3].network)
    made[3].hears(made[2], made[1].network)
    made[3].hears(made[2], made[2].network)
    return made


def alt_frame(eid: str, **named: object) -> bytes:
    """A Map-Request as it leaves a GRE tunnel."""
    packet = ecm(eid, **named)[4:]  # type: ignore[arg-type]
    return replies.ip_frame(FRAME, FRAME, packet[0] >> 4, packet)


def tap(provider: Provider) -> list[bytes]:
    """What enters its bridge from now on."""
    seen: list[bytes] = []
    receive = provider.switch.receive

    def recorded(port: int, frame: bytes) -> Trace:
        seen.append(frame)
        return receive(port, frame)

    provider.switch.receive = recorded  # type: ignore[method-assign,assignment]
    return seen


def the_reply(provider: Provider) -> MapReply:
    (sent,) = provider.sent
    assert sent.destination == Endpoint(ipaddress.ip_address("192.0.2.9"), 61001)
    reply = decode(sent.data)
    assert isinstance(reply, MapReply)
    return reply


def test_a_query_crosses_two_providers_and_the_answer_comes_directly(
    row: dict[int, Provider],
) -> None:
    row[1].asked("10.3.0.5", nonce=0x1234)
    # The one in the middle forwards by flow; its controller sees nothing.
    assert [row[n].punted for n in (1, 2, 3)] == [0, 0, 1]
    assert row[1].sent == row[2].sent == []
    reply = the_reply(row[3])
    assert reply.nonce == 0x1234
    (record,) = reply.records
    assert str(record.eid) == "10.3.0.0/16"
    assert [str(item.rloc) for item in record.locators] == ["198.51.3.1"]


def test_on_the_wire_it_is_the_itrs_own_packet_with_one_hop_less(row: dict[int, Provider]) -> None:
    seen = tap(row[2])
    row[1].asked("10.3.0.5")
    (frame,) = seen
    packet = parse_ip(parse_ethernet(frame).payload)
    # AL-003: source is an RLOC of the ITR, destination the EID.
    assert (str(packet.source), str(packet.destination)) == ("192.0.2.9", "10.3.0.5")
    assert packet.ttl == 31
    original = decode(ecm("10.3.0.5"))
    assert isinstance(original, Ecm)
    assert packet.payload[8:] == original.payload


def test_a_site_without_proxy_reply_gets_the_map_request_itself(row: dict[int, Provider]) -> None:
    row[3].register(NOW + 1, proxy=False)
    row[1].asked("10.3.0.5")
    (sent,) = row[3].sent
    assert str(sent.destination) == "198.51.3.1:4342"
    forwarded = decode(sent.data)
    assert isinstance(forwarded, Ecm)
    assert isinstance(decode(forwarded.payload), MapRequest)
    assert str(forwarded.source.address) == "192.0.2.9"


def test_nothing_registered_is_answered_with_a_drop_by_the_map_server(
    row: dict[int, Provider],
) -> None:
    row[3].register(NOW + 1, ttl_minutes=0)
    row[1].asked("10.3.0.5")
    (record,) = the_reply(row[3]).records
    assert record.mapping.negative


def test_without_a_route_the_map_resolver_answers_negatively(row: dict[int, Provider]) -> None:
    row[1].asked("10.64.0.1")
    (record,) = the_reply(row[1]).records
    assert record.mapping.negative
    # The hole is clear of 10.0.0.0/12, which has the routes and the site.
    assert str(record.eid) == "10.64.0.0/10"


def test_flows_follow_the_best_path(row: dict[int, Provider]) -> None:
    """The route moves to the other neighbour of provider 2: the next Map-Request does too."""
    middle = row[2]
    middle.hears(row[1], ipaddress.ip_network("10.9.0.0/16"))
    first = middle.switch.receive(3, alt_frame("10.9.0.1"))
    assert [sent.port for sent in first.sent] == [1]
    middle.hears(row[3], ipaddress.ip_network("10.9.0.0/16"))
    assert middle.switch.receive(3, alt_frame("10.9.0.1")).sent == []  # where it came from
    assert [s.port for s in middle.switch.receive(1, alt_frame("10.9.0.1")).sent] == [3]
    middle.perform(middle.brain.bgp_route_gone(ipaddress.ip_network("10.9.0.0/16"), NOW))
    assert middle.switch.receive(1, alt_frame("10.9.0.1")).sent == []


def test_the_longest_prefix_wins_also_against_our_own(row: dict[int, Provider]) -> None:
    middle = row[2]
    middle.hears(row[3], ipaddress.ip_network("10.2.77.0/24"))
    middle.hears(row[3], ipaddress.ip_network("0.0.0.0/0"))
    assert [s.port for s in middle.switch.receive(1, alt_frame("10.2.77.1")).sent] == [3]
    assert len(middle.switch.receive(1, alt_frame("10.2.78.1")).punted) == 1
    assert [s.port for s in middle.switch.receive(1, alt_frame("10.77.0.1")).sent] == [3]


def test_a_prefix_that_another_map_server_registers_too(row: dict[int, Provider]) -> None:
    """Ours while a site registers here; with the hold-down over, the other one's."""
    middle = row[2]
    middle.hears(row[3], middle.network)
    assert len(middle.switch.receive(1, alt_frame("10.2.0.1")).punted) == 1
    middle.register(NOW + 1, ttl_minutes=0)
    middle.perform(middle.brain.handle_timer(NOW + 62), NOW + 62)
    assert [s.port for s in middle.switch.receive(1, alt_frame("10.2.0.1")).sent] == [3]
    middle.register(NOW + 63)
    assert len(middle.switch.receive(1, alt_frame("10.2.0.1")).punted) == 1


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_spent_ttl_ends_in_the_switch(row: dict[int, Provider], ttl: int) -> None:
    frame = alt_frame("10.3.0.5", hop_limit=ttl)
    trace = row[2].switch.receive(1, frame)
    assert (trace.sent, trace.punted) == ([], [])
    # For ourselves it is enough.
    assert len(row[3].switch.receive(2, frame).punted) == 1


def test_nothing_but_map_requests_enters_from_a_tunnel(row: dict[int, Provider]) -> None:
    packet = bytearray(ecm("10.3.0.5")[4:])
    packet[22:24] = (53).to_bytes(2, "big")
    frame = replies.ip_frame(FRAME, FRAME, 4, bytes(packet))
    trace = row[2].switch.receive(1, frame)
    assert (trace.sent, trace.punted) == ([], [])


def test_bgp_passes_between_a_tunnel_and_its_own_host_port_only(row: dict[int, Provider]) -> None:
    middle = row[2]
    ours, theirs = middle.address(1), row[1].address(2)

    def segment(source: object, target: object) -> bytes:
        packet = replies.ipv4(source, target, 6, bytes(20))  # type: ignore[arg-type]
        return replies.ip_frame(FRAME, FRAME, 4, packet)

    (up,) = middle.switch.receive(1, segment(theirs, ours)).sent
    assert up.port == 101
    assert parse_ethernet(up.frame).destination == "02:00:00:00:01:01"
    (down,) = middle.switch.receive(101, segment(ours, theirs)).sent
    assert down.port == 1
    for port, source, target in ((3, theirs, ours), (103, ours, theirs), (1, ours, theirs)):
        assert middle.switch.receive(port, segment(source, target)).sent == []
    stranger = ipaddress.IPv4Address("10.3.0.5")
    assert middle.switch.receive(101, segment(ours, stranger)).sent == []


# --- what keeps Map-Requests from going round ---


def test_what_came_over_the_alt_does_not_go_there_again(row: dict[int, Provider]) -> None:
    """Should a route come while it is on its way to the controller."""
    router = row[1].brain.alt_router
    datagram = received(alt_frame("10.3.0.5", nonce=5), 0)
    query = Query(datagram.eid, Requester(), 500, datagram.request, datagram.message)
    router.arrived(datagram, NOW)
    assert router.ask(query, NOW) is None
    outcome = router.ask(query, NOW + 2)
    assert outcome is not None
    assert outcome.kind is Kind.FORWARDED


def test_the_same_query_twice_at_once_goes_out_once(row: dict[int, Provider]) -> None:
    row[1].asked("10.3.0.5", nonce=9)
    row[1].asked("10.3.0.5", nonce=9, now=NOW + 0.1)
    assert row[3].punted == 1
    assert row[1].dropped == ["alt-repeated"]
    row[1].asked("10.3.0.5", nonce=9, now=NOW + 2)
    assert row[3].punted == 2


def test_a_map_request_for_another_eid_than_its_destination_is_refused(
    row: dict[int, Provider],
) -> None:
    packet = parse_ip(parse_ethernet(alt_frame("10.3.0.5")).payload)
    segment = packet.payload[:6] + bytes(2) + packet.payload[8:]
    assert isinstance(packet.source, ipaddress.IPv4Address)
    moved = replies.ipv4(packet.source, ipaddress.IPv4Address("10.3.0.6"), 17, segment)
    row[3].follow(row[3].switch.receive(2, replies.ip_frame(FRAME, FRAME, 4, moved)))
    assert row[3].dropped == ["bad_value"]
    assert row[3].sent == []


# --- what fails ---


def test_the_rate_is_limited_in_both_directions() -> None:
    row = chain(1, 2)
    for provider in row.values():
        provider.start()
    bridge = {**row[1].config().model_dump(mode="json")["alt"]["bridge"]}
    row[1].start(bridge={**bridge, "map_requests_per_second": 2})
    row[1].hears(row[2], row[2].network)
    for nonce in range(4):
        row[1].asked(f"10.2.0.{nonce}", nonce=nonce)
    assert row[1].dropped == ["alt-rate-limited"] * 2
    meters = row[1].switch.meters.values()
    assert {(meter.meter_id, meter.rate) for meter in meters} == {(1, 2), (2, 2)}
    trace = row[1].switch.receive(2, alt_frame("10.1.0.1"))
    assert trace.meters == [2, 1]


def test_without_a_way_nobody_answers_and_the_reason_is_counted(row: dict[int, Provider]) -> None:
    first = row[1]
    first.perform(first.brain.port_changed(1, PortInfo(2, "gre2", FRAME, False), NOW))
    first.asked("10.3.0.5", nonce=1)
    first.perform(first.brain.port_changed(1, PortInfo(2, "gre2", FRAME, True), NOW))
    first.perform(first.brain.switch_disconnected(1, NOW))
    first.asked("10.3.0.5", nonce=2)
    assert first.dropped == ["alt-tunnel-down"] * 2
    assert first.sent == []
    first.connect()
    first.asked("10.3.0.5", nonce=3)
    assert row[3].punted == 1


def test_a_missing_port_is_a_problem_and_its_coming_mends_it(row: dict[int, Provider]) -> None:
    first = row[1]
    bridge = first.brain.alt_router.bridge
    assert bridge is not None
    # One that is removed is told as one that is down, and its number may be another's later.
    first.perform(first.brain.port_changed(1, replace(first.ports[0], up=False), NOW))
    assert bridge.problems() == ["the port gre2 of the bridge is down"]
    assert not bridge.up(next(iter(bridge.settings.tunnels)).neighbour)
    other = replace(first.ports[0], name="other")
    first.perform(first.brain.port_changed(1, other, NOW))
    assert bridge.problems() == ["the bridge has no port gre2"]
    assert first.switch.receive(2, alt_frame("10.1.0.1")).punted == []
    first.perform(first.brain.port_changed(1, first.ports[0], NOW))
    assert bridge.problems() == []
    assert len(first.switch.receive(2, alt_frame("10.1.0.1")).punted) == 1
    assert first.switch.ruleset() == bridge.wanted()


def test_an_eid_without_itr_rloc_of_its_family_goes_out_from_the_eid_that_asks(
    row: dict[int, Provider],
) -> None:
    first = row[1]
    first.hears(row[2], ipaddress.ip_network("2001:db8::/32"))
    rloc = ipaddress.ip_address("192.0.2.9")
    wanted = RequestRecord(EidPrefix.from_text("2001:db8::5/128"))
    bare = MapRequest(3, None, (rloc,), (wanted,))
    first.perform(first.brain.receive(bare.serialize(), Endpoint(rloc, 61000), NOW))
    assert first.dropped == ["alt-no-source"]
    seen = tap(row[2])
    told = replace(bare, nonce=4, source_eid=EidPrefix.from_text("2001:db8:9::1/128"))
    first.perform(first.brain.receive(told.serialize(), Endpoint(rloc, 61000), NOW))
    (frame,) = seen
    assert str(parse_ip(parse_ethernet(frame).payload).source) == "2001:db8:9::1"


# --- rules as a function of state ---


def test_what_is_sent_piecemeal_is_what_is_wanted(row: dict[int, Provider]) -> None:
    for provider in row.values():
        bridge = provider.brain.alt_router.bridge
        assert bridge is not None
        assert provider.switch.ruleset() == bridge.wanted()


def test_a_restarted_bridge_gets_everything_and_a_kept_one_nothing(
    row: dict[int, Provider],
) -> None:
    middle = row[2]
    before = middle.switch.ruleset()
    held = middle.brain.installed(2, middle.ports, before, NOW)
    assert held == []
    middle.switch.flows.clear()
    middle.switch.meters.clear()
    middle.perform(middle.brain.installed(2, middle.ports, Ruleset(), NOW))
    assert middle.switch.ruleset() == before


def test_counters_tell_what_became_of_packets(row: dict[int, Provider]) -> None:
    middle = row[2]
    bridge = middle.brain.alt_router.bridge
    assert bridge is not None
    middle.perform(middle.brain.handle_timer(NOW), NOW)
    row[1].asked("10.3.0.5", nonce=1)
    middle.follow(middle.switch.receive(1, alt_frame("10.77.0.1")))
    middle.follow(middle.switch.receive(1, alt_frame("10.3.0.5", hop_limit=1)))
    middle.follow(middle.switch.receive(3, alt_frame("10.3.0.5")))
    middle.perform(middle.brain.handle_timer(NOW + 5), NOW + 5)
    assert bridge.packets == {
        "map-requests-out": 1,
        "alt-no-route": 1,
        "alt-ttl": 1,
        "alt-loop": 1,
        "alt-not-a-map-request": 0,
    }
    assert bridge.by_prefix[row[3].network] == 3
    assert bridge.by_tunnel == {row[1].address(2): 3, row[3].address(2): 1}


def test_a_map_resolvers_packet_enters_as_if_by_the_controllers_port(
    row: dict[int, Provider],
) -> None:
    trace = row[1].switch.receive(int(Port.CONTROLLER), alt_frame("10.3.0.5"))
    assert [sent.port for sent in trace.sent] == [2]


# --- another configuration ---


def test_a_bridge_that_is_configured_later_gets_its_flows_and_one_no_longer_loses_them() -> None:
    row = chain(1, 2)
    first = row[1]
    with_bridge = first.config()
    assert with_bridge.alt is not None
    without = with_bridge.model_copy(
        update={"alt": with_bridge.alt.model_copy(update={"bridge": None})}
    )
    first.start(bridge=None)
    brain = first.brain
    assert brain.alt_router.bridge is None
    asked = [a for a in brain.reconfigure(with_bridge, NOW) if isinstance(a, ReadRules)]
    assert asked == [ReadRules(1)]
    first.perform(brain.installed(1, first.ports, Ruleset(), NOW))
    first.hears(row[2], row[2].network)
    assert [s.port for s in first.switch.receive(int(Port.CONTROLLER), alt_frame("10.2.0.1")).sent]
    first.perform(brain.reconfigure(without, NOW + 1), NOW + 1)
    assert brain.alt_router.bridge is None
    assert first.switch.ruleset() == Ruleset()


def test_other_limits_change_the_meters_and_nothing_else(row: dict[int, Provider]) -> None:
    middle = row[2]
    before = middle.switch.ruleset()
    config = middle.brain.config
    assert config.alt is not None
    assert config.alt.bridge is not None
    bridge = config.alt.bridge.model_copy(update={"map_requests_per_second": 9})
    alt = config.alt.model_copy(update={"bridge": bridge})
    middle.perform(middle.brain.reconfigure(config.model_copy(update={"alt": alt}), NOW))
    after = middle.switch.ruleset()
    assert after.flows == before.flows
    assert {meter.rate for meter in after.meters} == {9}


def test_an_eid_prefix_that_is_no_longer_ours_is_the_route_of_another(
    row: dict[int, Provider],
) -> None:
    middle = row[2]
    middle.hears(row[3], middle.network)
    config = middle.brain.config
    middle.perform(middle.brain.reconfigure(config.model_copy(update={"sites": ()}), NOW))
    assert [s.port for s in middle.switch.receive(1, alt_frame("10.2.0.1")).sent] == [3]
    middle.perform(middle.brain.reconfigure(config, NOW))
    # Configured again and not yet registered again: still the other one's.
    assert [s.port for s in middle.switch.receive(1, alt_frame("10.2.0.1")).sent] == [3]
    middle.register(NOW + 1)
    assert len(middle.switch.receive(1, alt_frame("10.2.0.1")).punted) == 1
