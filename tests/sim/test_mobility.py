"""Hosts that roam between sites: everybody finds them, at once, and nobody can steal an EID."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from mobile_network import CONFIG, GATEWAY_MAC, MobileNetwork, eid_of, packets
from test_controller import ask
from xtr_network import Host, Site

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import Endpoint
from lisp_sdn.views import MobileState
from lisp_sdn.wire import MapReply, MapRequest, decode
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_arp, parse_ethernet, parse_ip

FAMILIES = [("10.{}.0.1", "10.{}.0.2"), ("2001:db8:{}::1", "2001:db8:{}::2")]


@pytest.fixture
def network() -> MobileNetwork:
    return MobileNetwork()


class Roamer:
    """A host of site a that everybody has talked to, with somebody at each site."""

    def __init__(self, network: MobileNetwork, names: tuple[str, str] = FAMILIES[0]) -> None:
        own, other = names
        self.network = network
        self.host = network.host("xa", own.format(1), "02:00:00:00:01:01")
        self.neighbour = network.host("xa", other.format(1), "02:00:00:00:01:02")
        self.b = network.host("xb", own.format(2), "02:00:00:00:02:01")
        self.c = network.host("xc", own.format(3), "02:00:00:00:03:01")
        for peer in (self.b, self.c):
            network.say(self.host, str(peer.address))
            network.say(peer, str(self.host.address))
        network.say(self.neighbour, str(self.c.address))
        network.advance(1)
        for host in (self.host, self.neighbour, self.b, self.c):
            packets(host)
        network.events.clear()
        network.drops.clear()

    def reached(self) -> None:
        """From every site to it and back, without a packet lost."""
        network = self.network
        for host in (self.host, self.neighbour, self.b, self.c):
            packets(host)
        for peer in (self.neighbour, self.b, self.c):
            network.say(peer, str(self.host.address), b"to it")
            assert packets(self.host) == [b"to it"], f"from {network.where(peer)}"
            network.say(self.host, str(peer.address), b"from it")
            assert packets(peer) == [b"from it"], f"to {network.where(peer)}"


@pytest.mark.parametrize("names", FAMILIES, ids=["IPv4", "IPv6"])
def test_its_first_packet_elsewhere_moves_a_host(
    network: MobileNetwork, names: tuple[str, str]
) -> None:
    roamer = Roamer(network, names)
    host, c = roamer.host, roamer.c
    network.plug(host, "xb")
    network.say(host, str(c.address), b"here I am")
    assert packets(c) == [b"here I am"], "the packet that told of the move is not lost"
    assert network.registered(eid_of(host)) == {"xb": "a"}
    moved = network.event("eid.moved")
    assert moved.data["xtr"] == "xb"
    assert moved.data["was"] == "xa p1 02:00:00:00:01:01"
    roamer.reached()
    network.advance(5)
    roamer.reached()
    assert "eid.duplicate" not in network.kinds()
    assert network.place(host) == "xb"


@pytest.mark.parametrize("names", FAMILIES, ids=["IPv4", "IPv6"])
def test_its_announcement_moves_a_silent_host(
    network: MobileNetwork, names: tuple[str, str]
) -> None:
    roamer = Roamer(network, names)
    network.plug(roamer.host, "xb")
    network.announce(roamer.host)
    network.say(roamer.c, str(roamer.host.address), b"found")
    assert packets(roamer.host) == [b"found"]
    assert network.mobile(roamer.host).state is MobileState.AWAY  # type: ignore[union-attr]


def test_duplicate_address_detection_shows_a_host(network: MobileNetwork) -> None:
    roamer = Roamer(network, FAMILIES[1])
    network.plug(roamer.host, "xb")
    address = roamer.host.address
    assert isinstance(address, IPv6Address)
    group = replies.solicited_node(address)
    message = replies.icmpv6(IPv6Address(0), group, 135, 0, bytes(4) + address.packed)
    packet = replies.ipv6(IPv6Address(0), group, 58, message, hop_limit=255)
    frame = replies.ip_frame(replies.multicast_mac(group), roamer.host.mac, 6, packet)
    assert not network.back(roamer.host, frame), "nobody else has the address"
    assert network.place(roamer.host) == "xb"


def test_an_arp_probe_shows_a_host(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    address = roamer.host.address
    assert isinstance(address, IPv4Address)
    nobody, no_mac = IPv4Address(0), "00:00:00:00:00:00"
    network.send(
        "xb", 1, replies.arp(1, roamer.host.mac, nobody, no_mac, address, replies.BROADCAST)
    )
    assert network.place(roamer.host) == "xb"


def dhcp_request(mac: str, requested: str, kind: int = 3) -> bytes:
    options = b"\x63\x82\x53\x63" + bytes((53, 1, kind, 50, 4)) + ip_address(requested).packed
    body = b"\x01\x01\x06\x00" + bytes(24) + replies.mac_bytes(mac) + bytes(202) + options + b"\xff"
    length = (8 + len(body)).to_bytes(2, "big")
    udp = (68).to_bytes(2, "big") + (67).to_bytes(2, "big") + length + bytes(2) + body
    nobody, everybody = IPv4Address(0), IPv4Address("255.255.255.255")
    packet = replies.ipv4(nobody, everybody, 17, udp)
    return replies.ip_frame(replies.BROADCAST, mac, 4, packet)


def test_a_dhcp_request_shows_a_host(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.send("xb", 1, dhcp_request(roamer.host.mac, "10.1.0.1", kind=1))
    assert network.place(roamer.host) == "xa", "a discovery asks for no address"
    assert {drop.reason for drop in network.drops} == {"dhcp-no-address"}
    network.send("xb", 1, dhcp_request(roamer.host.mac, "10.1.0.1"))
    assert network.place(roamer.host) == "xb"


def test_its_gateway_answers_it_everywhere(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    (answer,) = network.arp(roamer.host, "10.1.0.254")
    arp = parse_arp(parse_ethernet(answer).payload)
    assert (arp.sender_mac, str(arp.sender)) == (GATEWAY_MAC, "10.1.0.254")
    assert network.place(roamer.host) == "xb", "the question showed it"
    punts = network.punts
    assert len(network.arp(roamer.host, "10.1.0.254")) == 1
    assert network.punts == punts, "the switch answers a known host by itself"


def test_a_gateway_answers_a_ping_of_a_host_that_came(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    address = roamer.host.address
    assert isinstance(address, IPv4Address)
    echo = replies.ipv4(address, IPv4Address("10.1.0.254"), 1, replies.icmp(8, 0, b"12345678"))
    network.send("xb", 1, replies.ip_frame(GATEWAY_MAC, roamer.host.mac, 4, echo))
    (packet,) = roamer.host.received
    assert (str(parse_ip(packet).source), parse_ip(packet).payload[0]) == ("10.1.0.254", 0)


def test_neighbours_of_its_subnet_are_reached_through_the_gateway(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.announce(roamer.host)
    (answer,) = network.arp(roamer.host, "10.1.0.2")
    assert parse_arp(parse_ethernet(answer).payload).sender_mac == GATEWAY_MAC
    (answer,) = network.arp(roamer.neighbour, "10.1.0.1")
    assert parse_arp(parse_ethernet(answer).payload).sender_mac == GATEWAY_MAC
    assert not network.arp(roamer.neighbour, "10.1.0.77"), "that one would answer itself"


def test_a_host_may_go_on_using_the_mac_addresses_of_its_old_neighbours(
    network: MobileNetwork,
) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.announce(roamer.host)
    network.say(roamer.host, "10.1.0.2", b"still", mac=roamer.neighbour.mac)
    assert packets(roamer.neighbour) == [b"still"]


def test_its_old_neighbours_learn_that_it_is_behind_the_gateway(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.frames.clear()
    network.announce(roamer.host)
    told = [parse_arp(parse_ethernet(f).payload) for f in network.frames if f[12:14] == b"\x08\x06"]
    gratuitous = [arp for arp in told if arp.sender == arp.target]
    assert [(arp.sender_mac, str(arp.sender)) for arp in gratuitous] == [(GATEWAY_MAC, "10.1.0.1")]


@pytest.mark.parametrize("names", FAMILIES, ids=["IPv4", "IPv6"])
def test_a_host_goes_home(network: MobileNetwork, names: tuple[str, str]) -> None:
    roamer = Roamer(network, names)
    network.plug(roamer.host, "xb")
    network.say(roamer.host, str(roamer.c.address))
    network.advance(2)
    network.plug(roamer.host, "xa")
    network.say(roamer.host, str(roamer.c.address))
    assert network.registered(eid_of(roamer.host)) == {}
    packets(roamer.c)
    roamer.reached()
    network.advance(2)
    roamer.reached()
    assert network.mobile(roamer.host).state is MobileState.HOME  # type: ignore[union-attr]
    (entry,) = [
        e
        for e in network.controller.management.map_cache("xc", network.now)
        if e.eid.covers(network.mobile(roamer.host).eid)  # type: ignore[union-attr]
    ]
    assert not entry.eid.is_host, "the host route is gone from the map-caches too"


def test_a_host_moves_on_to_a_third_site(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    for site in ("xb", "xc", "xb", "xa"):
        network.plug(roamer.host, site)
        network.say(roamer.host, "10.4.0.9")
        roamer.reached()
        network.advance(2)
    assert network.mobile(roamer.host).moves == 4  # type: ignore[union-attr]


def test_the_place_that_it_left_sends_on_for_a_while(network: MobileNetwork) -> None:
    """An ITR that was not told yet goes on sending there: to its home, and to a site between."""
    roamer = Roamer(network)
    stale = roamer.c.frame("10.1.0.1", b"late")
    for left, site in (("xa", "xb"), ("xb", "xc")):
        network.plug(roamer.host, site)
        network.say(roamer.host, "10.3.0.1")
        for rloc in ("192.0.2.{}", "2001:db8:ffff::{}"):
            network.follow(network[left], _arrives(network[left], stale, rloc))
            assert packets(roamer.host) == [b"late"], f"{left} sends on what came to {rloc}"
        network.advance(2)
    network.idle_out("xb", "'10.1.0.1'")
    network.follow(network["xb"], _arrives(network["xb"], stale))
    network.advance(0.1)
    assert packets(roamer.host) == [b"late"], "also when its map-cache has forgotten the way"
    network.advance(101)
    network.follow(network["xb"], _arrives(network["xb"], stale))
    assert packets(roamer.host) == []
    network.follow(network["xa"], _arrives(network["xa"], stale))
    assert packets(roamer.host) == [b"late"], "its home does so as long as it is away"


def _arrives(site: Site, frame: bytes, rloc: str = "192.0.2.{}") -> object:
    number = int(str(site.settings.rlocs[0].rloc).rsplit(".", 1)[1])
    return site.switch.receive(
        100,
        frame,
        tunnel_id=1,
        tunnel_source=ip_address(rloc.format(99)),
        tunnel_destination=ip_address(rloc.format(number)),
    )


def test_foreign_itrs_are_solicited(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    itr = Endpoint(ip_address("192.0.2.99"), 4342)
    network.datagram(ask("[1] 10.1.0.1"), itr)
    network.sent.clear()
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    (message,) = [
        decode(sent.data) for sent in network.sent if sent.destination.address == itr.address
    ]
    assert isinstance(message, MapRequest)
    assert message.smr
    assert str(message.source_eid) == "[1] 10.1.0.1/32"
    (sent,) = network.datagram(ask("[1] 10.1.0.1"), itr)
    reply = decode(sent.data)
    assert isinstance(reply, MapReply)
    assert [str(item.rloc) for item in reply.records[0].locators] == [
        "192.0.2.2",
        "2001:db8:ffff::2",
    ]


def test_a_host_route_is_registered_again_and_again(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    for _ in range(8):
        network.advance(50)
    assert network.registered("[1] 10.1.0.1/32") == {"xb": "a"}
    roamer.reached()


def test_a_host_that_vanishes_leaves_nothing_behind(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    before = {name: site.switch.ruleset() for name, site in network.sites.items()}
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    network.unplug(roamer.host)
    network.advance(29)
    assert network.registered("[1] 10.1.0.1/32")
    network.advance(10)
    assert network.registered("[1] 10.1.0.1/32") == {}
    assert network.event("eid.gone").data["silent_for"] >= 30
    assert network.mobile(roamer.host) is None
    for name, rules in before.items():
        left = {r for r in network[name].switch.flows.values() if "10.1.0.1'" in str(r.match)}
        assert not left, name
        assert len(network[name].switch.flows) <= len(rules.flows) + 2


# --- duplicates and flapping -----------------------------------------------------------------


@pytest.mark.parametrize("names", FAMILIES, ids=["IPv4", "IPv6"])
def test_a_stolen_eid_goes_back_to_who_answers_for_it(
    network: MobileNetwork, names: tuple[str, str]
) -> None:
    roamer = Roamer(network, names)
    thief = Host(1, roamer.host.address, "02:00:00:00:66:66")
    network["xb"].hosts[1].append(thief)
    network.say(thief, str(roamer.c.address), b"mine")
    found = network.event("eid.duplicate")
    assert (found.data["xtr"], found.data["mac"]) == ("xa", roamer.host.mac)
    assert found.data["newcomer"] == "xb p1 02:00:00:00:66:66"
    assert network.place(roamer.host) == "xa"
    assert network.registered(eid_of(roamer.host)) == {}
    packets(roamer.c)
    roamer.reached()
    assert not packets(thief)
    assert network.mobile(roamer.host).state is MobileState.DUPLICATE  # type: ignore[union-attr]


def test_after_a_duplicate_newcomers_wait_for_silence(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    thief = Host(1, roamer.host.address, "02:00:00:00:66:66")
    network["xb"].hosts[1].append(thief)
    network.say(thief, "10.3.0.1")
    packets(roamer.c)
    network.events.clear()
    for _ in range(20):
        network.say(thief, "10.3.0.1", b"mine")
        network.advance(0.3)
    assert "eid.moved" not in network.kinds()
    assert "eid.duplicate" not in network.kinds(), "told once"
    assert not packets(roamer.c)
    assert {"eid-duplicate", "eid-contested"} <= {drop.reason for drop in network.drops}
    # Whoever had it goes away: the newcomer gets it after the silence.
    network.unplug(roamer.host)
    network.advance(1)
    network.say(thief, "10.3.0.1", b"mine now")
    assert not packets(roamer.c)
    network.advance(1)
    assert packets(roamer.c) == [b"mine now"]
    assert network.place(thief) == "xb"


def test_two_hosts_with_one_eid_at_one_port(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    thief = Host(1, roamer.host.address, "02:00:00:00:66:66")
    network["xa"].hosts[1].append(thief)
    network.say(thief, "10.3.0.1", b"mine")
    assert network.event("eid.duplicate").data["newcomer"] == "xa p1 02:00:00:00:66:66"
    assert network.mobile(roamer.host).mac == roamer.host.mac  # type: ignore[union-attr]


def test_a_flapping_eid_is_held_down(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    for n in range(7):
        network.plug(roamer.host, "xb" if n % 2 == 0 else "xa")
        network.say(roamer.host, "10.3.0.1")
        network.advance(2)
    assert network.kinds().count("eid.moved") == 5
    held = network.event("eid.held-down")
    assert (held.data["moves"], held.data["seconds"]) == (5, 20.0)
    assert held.data["seen_at"] == "xa p1 02:00:00:00:01:01"
    assert "eid-held-down" in {drop.reason for drop in network.drops}
    found = network.mobile(roamer.host)
    assert found is not None
    assert (found.xtr, found.state) == ("xb", MobileState.HELD_DOWN)
    network.plug(roamer.host, "xa")
    network.advance(20)
    assert "eid.released" in network.kinds()
    network.say(roamer.host, "10.3.0.1")
    roamer.reached()
    assert network.place(roamer.host) == "xa"


def test_slow_moves_are_no_flapping(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    for n in range(12):
        network.plug(roamer.host, "xb" if n % 2 == 0 else "xa")
        network.say(roamer.host, "10.3.0.1")
        network.advance(40)
    assert network.kinds().count("eid.moved") == 12
    assert "eid.held-down" not in network.kinds()


@pytest.mark.parametrize("bound", ["max_eids", "max_eids_per_port"])
def test_there_are_at_most_so_many(bound: str) -> None:
    network = MobileNetwork(CONFIG.replace("mobility: {", f"mobility: {{{bound}: 2, "))
    hosts = [network.host("xa", f"10.1.0.{n}", f"02:00:00:00:01:0{n}") for n in (1, 2, 3)]
    peer = network.host("xb", "10.2.0.1", "02:00:00:00:02:01")
    for host in hosts:
        network.say(host, "10.2.0.1", b"hello")
    network.advance(1)
    assert "mobile-eids-full" in {drop.reason for drop in network.drops}
    network.say(peer, "10.1.0.3", b"back")
    network.advance(1)
    assert packets(hosts[2]) == [b"back"], "at home it works, it only cannot roam"


def test_who_left_makes_room_at_a_port(network: MobileNetwork) -> None:
    network = MobileNetwork(CONFIG.replace("mobility: {", "mobility: {max_eids_per_port: 1, "))
    for n in range(1, 4):
        host = network.host("xa", f"10.1.0.{n}", f"02:00:00:00:01:0{n}")
        network.say(host, "10.2.0.1")
        assert network.place(host) == "xa"
        if n == 2:
            network.unplug(host)
            network.idle_out("xa", "'10.1.0.2'")
            continue
        network.plug(host, "xb" if n == 1 else "xc")
        network.say(host, "10.2.0.1")
    assert "mobile-eids-full" not in {drop.reason for drop in network.drops}


# --- stretched subnets -----------------------------------------------------------------------


def test_hosts_of_a_stretched_subnet_find_each_other(network: MobileNetwork) -> None:
    one = network.host("xs1", "10.4.0.1", "02:00:00:00:04:01")
    two = network.host("xs2", "10.4.0.2", "02:00:00:00:04:02")
    outside = network.host("xb", "10.2.0.1", "02:00:00:00:02:01")
    assert not network.arp(one, "10.4.0.2"), "nobody knows it yet; it is asked for at both sites"
    (answer,) = network.arp(one, "10.4.0.2")
    assert parse_arp(parse_ethernet(answer).payload).sender_mac == GATEWAY_MAC
    network.say(one, "10.4.0.2", b"across")
    assert packets(two) == [b"across"]
    network.say(two, "10.4.0.1", b"back")
    assert packets(one) == [b"back"]
    for host in (one, two):
        network.say(outside, str(host.address), b"in")
        network.advance(0.5)
        assert packets(host) == [b"in"]
    assert network.mobile(two).state is MobileState.STRETCHED  # type: ignore[union-attr]


def test_a_silent_host_of_a_stretched_subnet_is_found(network: MobileNetwork) -> None:
    """The packet arrives at the other site, which asks everywhere and sends it on."""
    silent = network.host("xs2", "10.4.0.2", "02:00:00:00:04:02")
    outside = network.host("xb", "10.2.0.1", "02:00:00:00:02:01")
    frame = outside.frame("10.4.0.2", b"anybody?")
    network.follow(network["xs1"], _arrives(network["xs1"], frame))  # type: ignore[arg-type]
    network._arrive()
    network.advance(0.5)
    assert packets(silent) == [b"anybody?"]
    assert network.registered("[1] 10.4.0.2/32") == {"xs2": "s"}


def test_a_host_moves_within_a_stretched_subnet(network: MobileNetwork) -> None:
    host = network.host("xs1", "10.4.0.1", "02:00:00:00:04:01")
    peer = network.host("xs1", "10.4.0.2", "02:00:00:00:04:02")
    outside = network.host("xb", "10.2.0.1", "02:00:00:00:02:01")
    for each in (host, peer):
        network.say(each, "10.2.0.1")
    network.say(outside, "10.4.0.1")
    network.advance(1)
    packets(outside), packets(host)
    network.plug(host, "xs2")
    network.say(host, "10.2.0.1", b"moved")
    assert packets(outside) == [b"moved"]
    network.say(outside, "10.4.0.1", b"there")
    network.say(peer, "10.4.0.1", b"peer")
    assert packets(host) == [b"there", b"peer"]
    assert network.registered("[1] 10.4.0.1/32") == {"xs2": "s"}


# --- restart and reconnection ----------------------------------------------------------------


def test_a_restarted_controller_knows_where_everybody_is(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    network.advance(2)
    again = network.restarted()
    assert network.place(roamer.host) == "xb"
    assert network.registered("[1] 10.1.0.1/32") == {"xb": "a"}
    packets(roamer.c)
    roamer.reached()
    assert again.mobility.eid(1, roamer.host.address, network.now) is not None


def test_after_a_restart_its_home_sends_on_although_its_place_is_late(
    network: MobileNetwork,
) -> None:
    """The switch where it is connects last; the others go on by what they hold."""
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    network.say(roamer.neighbour, "10.1.0.1")
    network.advance(2)
    network.restarted("xb")
    packets(roamer.host)
    network.say(roamer.neighbour, "10.1.0.1", b"meanwhile")
    network.follow(network["xa"], _arrives(network["xa"], roamer.c.frame("10.1.0.1", b"late")))
    assert packets(roamer.host) == [b"meanwhile", b"late"]
    network["xb"].connect()
    network.advance(1)
    roamer.reached()
    network.advance(110)
    roamer.reached()


def test_what_was_elsewhere_before_a_restart_and_is_nowhere_is_forgotten(
    network: MobileNetwork,
) -> None:
    roamer = Roamer(network)
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    network.restarted("xb")
    assert (1, roamer.host.address) in network.controller.xtrs["xa"].away
    network.advance(101)
    assert not network.controller.xtrs["xa"].away


def test_a_host_that_moved_while_its_switch_was_away(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    network.carry_out(
        network.controller.switch_disconnected(network["xa"].switch.datapath_id, network.now)
    )
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    network["xa"].connect()
    network.advance(1)
    assert network.place(roamer.host) == "xb"
    packets(roamer.c)
    roamer.reached()


def test_a_port_that_is_numbered_anew(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    site = network["xb"]
    network.plug(roamer.host, "xb")
    network.say(roamer.host, "10.3.0.1")
    port = PortInfo(9, "p1", "02:00:00:00:00:02", True)
    site.ports = (site.ports[0], port)
    site.hosts[9] = site.hosts.pop(1)
    network.carry_out(network.controller.port_changed(site.switch.datapath_id, port, network.now))
    frame = roamer.host.frame("10.3.0.1", b"again")
    network.send("xb", 9, frame)
    packets(roamer.c)
    network.say(roamer.c, "10.1.0.1", b"new number")
    assert packets(roamer.host) == [b"new number"]


# --- ports that come and go ------------------------------------------------------------------


def link(network: MobileNetwork, site: str, *, up: bool) -> None:
    """The switch tells that its port 1 has another link state."""
    port = PortInfo(1, "p1", "02:00:00:00:00:02", up)
    datapath_id = network[site].switch.datapath_id
    network.carry_out(network.controller.port_changed(datapath_id, port, network.now))
    network._arrive()


@pytest.mark.parametrize("first", ["xa", "xb"])
def test_a_silent_host_is_asked_for_where_a_port_comes_up(
    network: MobileNetwork, first: str
) -> None:
    """Whichever end is told first: the port that went down, or the one that came up."""
    roamer = Roamer(network)
    link(network, "xb", up=False)
    network.plug(roamer.host, "xb")
    for site in ("xa", "xb") if first == "xa" else ("xb", "xa"):
        link(network, site, up=site == "xb")
    assert network.place(roamer.host) == "xb"
    assert network.event("eid.moved").data["sign"] == "answer"


def test_a_host_that_does_not_hear_the_first_question_is_asked_again(
    network: MobileNetwork,
) -> None:
    roamer = Roamer(network)
    link(network, "xb", up=False)
    network.unplug(roamer.host)
    link(network, "xa", up=False)
    link(network, "xb", up=True)
    network.plug(roamer.host, "xb")
    assert network.place(roamer.host) == "xa"
    network.advance(0.1)
    assert network.place(roamer.host) == "xb"


def test_back_at_once_is_no_duplicate_when_the_port_went_down(network: MobileNetwork) -> None:
    roamer = Roamer(network)
    for here, there in (("xa", "xb"), ("xb", "xa")):
        network.plug(roamer.host, there)
        link(network, here, up=False)
        link(network, there, up=True)
        network.advance(0.1)
        assert network.place(roamer.host) == there
    assert "eid.duplicate" not in network.kinds()
    assert network.mobile(roamer.host).moves == 2  # type: ignore[union-attr]
