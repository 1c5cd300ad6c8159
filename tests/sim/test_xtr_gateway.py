"""The anycast gateway: ARP in the switch, neighbour discovery, ICMP, local EIDs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from xtr_network import Host, Network

from lisp_sdn.rules import CookieClass, cookie_class
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_arp, parse_ethernet, parse_ip, parse_neighbour

GATEWAY_MAC = "02:00:5e:00:00:fe"
GATEWAY, GATEWAY6 = IPv4Address("10.1.0.254"), IPv6Address("2001:db8:1::fe")
MAC = "02:00:00:00:0a:01"
RLOC = ip_address("192.0.2.1")


@pytest.fixture
def net() -> Network:
    network = Network()
    network.start()
    return network


def echo(host: Host, destination: str, ttl: int = 64) -> bytes:
    target = ip_address(destination)
    rest = b"\x12\x34\x00\x01" + b"data"
    if isinstance(host.address, IPv4Address):
        assert isinstance(target, IPv4Address)
        packet = replies.ipv4(host.address, target, 1, replies.icmp(8, 0, rest), ttl=ttl)
    else:
        assert isinstance(target, IPv6Address)
        message = replies.icmpv6(host.address, target, 128, 0, rest)
        packet = replies.ipv6(host.address, target, 58, message, hop_limit=ttl)
    return replies.ip_frame(GATEWAY_MAC, host.mac, target.version, packet)


def test_arp_for_the_gateway_is_answered_by_the_switch_alone(net: Network) -> None:
    request = replies.arp_request(MAC, IPv4Address("10.1.0.1"), GATEWAY)
    trace = net["xa"].switch.receive(1, request)
    assert trace.punted == []
    (sent,) = trace.sent
    assert sent.port == 1
    ethernet = parse_ethernet(sent.frame)
    arp = parse_arp(ethernet.payload)
    assert (ethernet.destination, ethernet.source) == (MAC, GATEWAY_MAC)
    assert (arp.operation, arp.sender_mac, arp.sender) == (2, GATEWAY_MAC, GATEWAY)
    assert (arp.target_mac, arp.target) == (MAC, IPv4Address("10.1.0.1"))


def test_arp_for_others_is_not_answered(net: Network) -> None:
    request = replies.arp_request(MAC, IPv4Address("10.1.0.1"), IPv4Address("10.1.0.77"))
    assert net.send("xa", 1, request).sent == []


def test_neighbour_solicitation_for_the_gateway(net: Network) -> None:
    host = IPv6Address("2001:db8:1::1")
    ask = replies.neighbour_solicitation(MAC, host, GATEWAY6)
    (punt,) = net["xa"].switch.receive(1, ask).punted
    (out,) = net["xa"].xtr.packet_in(punt, net.now)[1:2]
    ethernet = parse_ethernet(out.frame)  # type: ignore[union-attr]
    packet = parse_ip(ethernet.payload)
    answer = parse_neighbour(packet)
    assert ethernet.destination == MAC
    assert (packet.source, packet.destination, packet.ttl) == (GATEWAY6, host, 255)
    assert (answer.kind, answer.target, answer.mac) == (136, GATEWAY6, GATEWAY_MAC)
    assert packet.payload[4] == 0xE0


def test_duplicate_address_detection_is_answered_to_all_nodes(net: Network) -> None:
    ask = replies.neighbour_solicitation(MAC, IPv6Address("::"), GATEWAY6)
    trace = net["xa"].switch.receive(1, ask)
    actions = net["xa"].xtr.packet_in(trace.punted[0], net.now)
    packet = parse_ip(parse_ethernet(actions[0].frame).payload)  # type: ignore[union-attr]
    assert str(packet.destination) == "ff02::1"
    assert packet.payload[4] == 0xA0


def test_a_forged_solicitation_from_beyond_a_router_is_refused(net: Network) -> None:
    ask = bytearray(replies.neighbour_solicitation(MAC, IPv6Address("2001:db8:1::1"), GATEWAY6))
    ask[21] = 254
    net.send("xa", 1, bytes(ask))
    assert net.reasons() == {"bad_value"}
    assert not list(net["xa"].xtr._hosts)


@pytest.mark.parametrize(
    ("source", "gateway"), [("10.1.0.1", "10.1.0.254"), ("2001:db8:1::1", "2001:db8:1::fe")]
)
def test_the_gateway_answers_pings(net: Network, source: str, gateway: str) -> None:
    host = net["xa"].add(1, source, MAC)
    net.send("xa", 1, echo(host, gateway))
    (answer,) = map(parse_ip, host.received)
    assert str(answer.source) == gateway
    assert answer.payload[0] in (0, 129)
    assert answer.payload[4:] == b"\x12\x34\x00\x01data"


@pytest.mark.parametrize(
    ("source", "remote", "gateway", "kind"),
    [
        ("10.1.0.1", "10.2.0.1", "10.1.0.254", 11),
        ("2001:db8:1::1", "2001:db8:2::1", "2001:db8:1::fe", 3),
    ],
)
def test_a_spent_ttl_is_reported(
    net: Network, source: str, remote: str, gateway: str, kind: int
) -> None:
    host = net["xa"].add(1, source, MAC)
    for ttl in (0, 1):
        host.received.clear()
        net.send("xa", 1, echo(host, remote, ttl=ttl))
        (error,) = map(parse_ip, host.received)
        assert (str(error.source), error.payload[0], error.payload[1]) == (gateway, kind, 0)
        quoted = parse_ip(error.payload[8:])
        assert str(quoted.destination) == remote
    assert not net.mapping.requests


def test_the_second_router_reports_a_spent_ttl_through_the_overlay(net: Network) -> None:
    """As traceroute sees it: the ITR is one hop, the ETR the next."""
    host = net["xa"].add(1, "10.1.0.1", MAC)
    net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.send("xa", 1, echo(host, "10.2.0.1", ttl=2))
    net.advance(1.0)
    (error,) = map(parse_ip, host.received)
    assert (str(error.source), error.payload[0]) == ("10.2.0.254", 11)


def test_no_error_about_an_error(net: Network) -> None:
    host = net["xa"].add(1, "10.1.0.1", MAC)
    about = replies.ipv4(IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1"), 17, bytes(8))
    error = replies.icmp(3, 1, bytes(4) + about)
    packet = replies.ipv4(IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1"), 1, error, ttl=1)
    net.send("xa", 1, replies.ip_frame(GATEWAY_MAC, MAC, 4, packet))
    assert host.received == []


def test_ttl_is_decremented_at_both_ends(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.send("xa", 1, a.frame("10.2.0.1", ttl=64))
    net.send("xa", 1, a.frame("10.2.0.1", ttl=64))
    assert [parse_ip(packet).ttl for packet in b.received] == [62, 62]


def test_a_packet_to_a_host_that_nobody_knows_waits_for_arp(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    b = net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    for number in range(3):
        net.send("xa", 1, a.frame("10.2.0.1", b"%d" % number))
    assert [packet[-1:] for packet in b.received] == [b"0", b"1", b"2"]
    assert [str(host.address) for host in net["xb"].xtr._hosts] == ["10.2.0.1"]
    punts = net.punts
    net.send("xa", 1, a.frame("10.2.0.1", b"3"))
    assert net.punts == punts


def test_a_host_that_is_not_there_is_asked_for_three_times(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net["xb"].add(1, "10.2.0.7", "02:00:00:00:0b:01", answers=False)
    net.send("xa", 1, a.frame("10.2.0.7"))
    net.advance(5.0)
    assert "no-such-host" in net.reasons()
    (error,) = map(parse_ip, a.received)
    assert (str(error.source), error.payload[0], error.payload[1]) == ("10.2.0.254", 3, 1)
    assert net["xb"].xtr.state().held_packets == 0
    assert net["xb"].xtr._hosts.asking == 0


def test_the_broadcast_address_of_a_subnet_is_not_asked_for(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.2.0.255"))
    assert net.reasons() == {"not-a-host-address"}


def test_hosts_of_one_port_reach_each_other_through_the_gateway(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    c = net["xa"].add(1, "10.1.0.2", "02:00:00:00:0a:02")
    net.send("xa", 1, a.frame("10.1.0.2", b"1"))
    net.send("xa", 1, a.frame("10.1.0.2", b"2"))
    assert [packet[-1:] for packet in c.received] == [b"1", b"2"]
    assert not net.mapping.requests


def test_an_announcement_moves_a_host_but_a_data_packet_does_not(net: Network) -> None:
    net["xa"].add(1, "10.1.0.1", MAC)
    other = "02:00:00:00:0a:99"
    address = IPv4Address("10.1.0.1")
    gateway_arp = replies.arp(1, MAC, address, "00:00:00:00:00:00", address, replies.BROADCAST)
    net.send("xa", 1, gateway_arp)
    thief = Host(1, address, other)
    net.send("xa", 1, thief.frame("10.2.0.1"))
    assert "host-conflict" in net.reasons()
    (host,) = net["xa"].xtr._hosts
    assert host.mac == MAC
    moved = replies.arp(1, other, address, "00:00:00:00:00:00", address, replies.BROADCAST)
    net.send("xa", 1, moved)
    (host,) = net["xa"].xtr._hosts
    assert host.mac == other
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()


def test_addresses_outside_the_subnet_and_gateways_are_not_learned(net: Network) -> None:
    for address in ("10.1.0.254", "10.99.0.1", "0.0.0.0"):
        sender = IPv4Address(address)
        frame = replies.arp(1, MAC, sender, "00:00:00:00:00:00", sender, replies.BROADCAST)
        net.send("xa", 1, frame)
    assert not list(net["xa"].xtr._hosts)


def test_an_arp_reply_in_another_ones_name_is_refused(net: Network) -> None:
    frame = bytearray(replies.arp_request(MAC, IPv4Address("10.1.0.1"), IPv4Address("10.1.0.9")))
    frame[11] ^= 1
    net.send("xa", 1, bytes(frame))
    assert net.reasons() == {"arp-mismatch"}


def test_an_idle_host_leaves_with_both_of_its_flows(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.2.0.1"))
    kinds = [cookie_class(rule.cookie) for rule in net["xa"].switch.flows.values()]
    assert kinds.count(CookieClass.LOCAL_EID) == 2
    net.idle_out("xa", "'10.1.0.1'")
    kinds = [cookie_class(rule.cookie) for rule in net["xa"].switch.flows.values()]
    assert kinds.count(CookieClass.LOCAL_EID) == 0
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("10.1.0.1", "224.0.0.251"),
        ("10.1.0.1", "255.255.255.255"),
        ("10.1.0.1", "169.254.1.1"),
        ("127.0.0.1", "10.2.0.1"),
        ("169.254.0.9", "10.2.0.1"),
        ("2001:db8:1::1", "ff02::fb"),
        ("2001:db8:1::1", "fe80::1"),
        ("fe80::1", "2001:db8:2::1"),
    ],
)
def test_addresses_that_are_not_routed_never_reach_the_controller(
    net: Network, source: str, destination: str
) -> None:
    host = Host(1, ip_address(source), MAC)
    trace = net.send("xa", 1, host.frame(destination))
    assert (trace.punted, trace.sent, trace.ended) == ([], [], "dropped in table 0")


def test_frames_for_other_routers_are_left_alone(net: Network) -> None:
    host = Host(1, ip_address("10.1.0.1"), MAC, gateway_mac="02:00:00:00:00:99")
    assert net.send("xa", 1, host.frame("10.2.0.1")).ended == "dropped in table 0"


def test_an_instance_id_that_is_not_served_ends_at_the_tunnel(net: Network) -> None:
    host = Host(9, ip_address("10.2.0.1"), MAC)
    trace = net["xa"].switch.receive(
        100, host.frame("10.1.0.1"), tunnel_id=9, tunnel_destination=RLOC
    )
    assert (trace.punted, trace.sent, trace.ended) == ([], [], "dropped in table 0")
    assert trace.rules[0].priority == 100


def test_decapsulated_packets_are_never_encapsulated_again(net: Network) -> None:
    host = Host(1, ip_address("10.2.0.1"), MAC)
    trace = net["xa"].switch.receive(
        100, host.frame("10.77.0.1"), tunnel_id=1, tunnel_destination=RLOC
    )
    assert (trace.punted, trace.sent, trace.ended) == ([], [], "dropped in table 3")
