"""What is not LISP: native forwarding, Proxy-ITR and Proxy-ETR (RFC 6832 sections 5.2 and 6.1)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from xtr_network import CONFIG, NATIVE, NATIVE_MAC, Network, eid

from lisp_sdn.config import load
from lisp_sdn.errors import ConfigError
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import ICMP, parse_ethernet, parse_ip

MAC = "02:00:00:00:0a:01"
WEB, WEB6 = "203.0.113.80", "2001:db8:feed::80"

NATIVE_PORT = CONFIG.replace(
    "    datapath_id: 0xa\n", "    datapath_id: 0xa\n    native_ports: [{iid: 1}]\n"
)
GATE = """
  - name: gate
    datapath_id: 0xc
    rlocs: [{rloc: 192.0.2.3}, {rloc: "2001:db8:ffff::3"}]
    native_ports:
      - name: native0
        iid: 1
        proxy_itr: {eid_prefixes: [10.0.0.0/8, "2001:db8::/40"]}
"""
BGP = """
bgp:
  as_number: 64512
  router_id: 192.0.2.3
  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]
"""
PITR = CONFIG + GATE + BGP
BOTH = PITR.replace('"2001:db8::/40"]}\n', '"2001:db8::/40"]}\n        proxy_etr: {}\n')
USE_PETR = "use_petr: [{iid: 1, locators: [{rloc: 192.0.2.3}]}]\n"


def started(text: str) -> Network:
    network = Network(text)
    network.start()
    network.sent_through_tunnel.clear()
    return network


def from_outside(source: str, destination: str, ttl: int = 64) -> bytes:
    """A packet that the host's routing sends into the native port."""
    one, other = ip_address(source), ip_address(destination)
    if one.version == 4:
        packet = replies.ipv4(one, other, 253, b"hello", ttl=ttl)
    else:
        packet = replies.ipv6(one, other, 253, b"hello", hop_limit=ttl)
    return replies.ip_frame(NATIVE_MAC, NATIVE_MAC, one.version, packet)


# --- native forwarding -----------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), [("10.1.0.1", WEB), ("2001:db8:1::1", WEB6)])
def test_what_is_not_lisp_leaves_by_the_native_port(source: str, target: str) -> None:
    net = started(NATIVE_PORT)
    host = net["xa"].add(1, source, MAC)
    for number in range(5):
        net.send("xa", 1, host.frame(target, b"%d" % number))
        net.advance(0.1)
    sent = net["xa"].sent_natively
    assert [parse_ip(parse_ethernet(item.frame).payload).payload for item in sent] == [
        b"%d" % number for number in range(5)
    ]
    assert {parse_ethernet(item.frame).destination for item in sent} == {NATIVE_MAC}
    # The host's routing takes the hop.
    assert {parse_ip(parse_ethernet(item.frame).payload).ttl for item in sent} == {64}
    assert net.sent_through_tunnel == []
    assert len(net.mapping.requests) == 1
    assert not net.reasons()


def test_what_comes_in_by_it_reaches_local_eids_only() -> None:
    net = started(NATIVE_PORT)
    host = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", NATIVE, from_outside(WEB, "10.1.0.1"))
    assert [parse_ip(packet).source for packet in host.received] == [ip_address(WEB)]
    asked = len(net.mapping.requests)
    # It is no Proxy-ITR: an EID of another site is not its concern, and costs nothing.
    punts = net.punts
    net.send("xa", NATIVE, from_outside(WEB, "10.2.0.1"))
    assert net.sent_through_tunnel == []
    assert (len(net.mapping.requests), net.punts) == (asked, punts)


def test_another_instance_id_has_no_way_out() -> None:
    net = started(NATIVE_PORT)
    host = net["xa"].add(2, "10.1.0.1", MAC)
    net.send("xa", 2, host.frame(WEB))
    assert net["xa"].sent_natively == []
    assert net.reasons() == {"no-native-path"}


@pytest.mark.parametrize("gone", [True, False])
def test_a_native_port_that_is_missing_or_down_is_told(gone: bool) -> None:
    net = started(NATIVE_PORT)
    site = net["xa"]
    port = next(item for item in site.ports if item.number == NATIVE)
    if gone:
        net.do(site, site.xtr.port_changed(replace(port, number=0, up=False), net.now))
        problem, reason = "the switch has no native port 'native0'", "no-native-port"
    else:
        net.do(site, site.xtr.port_changed(replace(port, up=False), net.now))
        problem, reason = "native port 'native0' is down", "native-port-down"
    assert problem in site.xtr.problems()
    host = site.add(1, "10.1.0.1", MAC)
    net.send("xa", 1, host.frame(WEB))
    assert net.reasons() == {reason}
    net.do(site, site.xtr.port_changed(port, net.now))
    net.send("xa", 1, host.frame(WEB))
    assert len(site.sent_natively) == 1
    assert site.xtr.problems() == ()


def test_native_traffic_goes_on_while_the_mapping_changes() -> None:
    net = started(NATIVE_PORT)
    site, host = net["xa"], net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, host.frame("10.200.0.1"))
    assert len(site.sent_natively) == 1
    new = Mapping(eid("[1] 10.200.0.0/16"), (Locator(ip_address("192.0.2.2")),))
    for changed in net.mapping.register([EidRecord.from_mapping(new)]):
        net.do(site, site.xtr.mapping_changed(changed, net.now))
    net.advance(1.0)
    for _ in range(2):
        net.send("xa", 1, host.frame("10.200.0.1"))
        net.advance(0.1)
    assert str(net.sent_through_tunnel[-1].tunnel_destination) == "192.0.2.2"
    assert len(site.sent_natively) == 1
    assert not net.reasons()


def test_a_restarted_controller_takes_native_flows_over() -> None:
    net = started(NATIVE_PORT)
    site, host = net["xa"], net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, host.frame(WEB))
    before = site.switch.ruleset()
    site.restart_controller()
    site.connect()
    net.advance(1.0)
    net.send("xa", 1, host.frame(WEB))
    assert len(site.sent_natively) == 2
    assert site.switch.ruleset() == before


# --- Proxy-ITR -------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), [(WEB, "10.1.0.1"), (WEB6, "2001:db8:1::1")])
def test_a_proxy_itr_encapsulates_what_comes_from_outside(source: str, target: str) -> None:
    net = started(PITR)
    host = net["xa"].add(1, target, MAC)
    for _ in range(3):
        net.send("gate", NATIVE, from_outside(source, target))
        net.advance(0.1)
    assert [parse_ip(packet).source for packet in host.received] == [ip_address(source)] * 3
    (request,) = net.mapping.requests
    assert request.pitr
    assert str(request.source_eid).startswith(f"[1] {source}/")
    outer = {str(item.tunnel_source) for item in net.sent_through_tunnel}
    assert len(outer) == 1
    assert outer <= {"192.0.2.3", "2001:db8:ffff::3"}
    assert not net.reasons()


def test_only_the_proxy_itr_sets_the_p_bit() -> None:
    net = started(PITR)
    host = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, host.frame("10.2.0.1"))
    assert [request.pitr for request in net.mapping.requests] == [False]


def test_an_address_of_no_site_is_refused_and_told_to_its_sender() -> None:
    net = started(BOTH + USE_PETR)
    gate = net["gate"]
    net.send("gate", NATIVE, from_outside(WEB, "10.200.0.1"))
    # Neither to a PETR nor back where it came from: it would come again.
    assert net.sent_through_tunnel == []
    assert net.reasons() == {"not-an-eid"}
    (told,) = gate.sent_natively
    error = parse_ip(parse_ethernet(told.frame).payload)
    assert (error.protocol, error.payload[0]) == (ICMP, 3)
    assert (str(error.source), str(error.destination)) == ("192.0.2.3", WEB)
    net.send("gate", NATIVE, from_outside(WEB, "10.200.0.1"))
    assert len(gate.sent_natively) == 1
    assert net.sent_through_tunnel == []


def test_a_proxy_itr_honours_drop_entries() -> None:
    net = started(PITR)
    denied = Mapping(eid("[1] 10.9.0.0/16"), (), 15, Act.DROP_POLICY_DENIED)
    net.mapping.register([EidRecord.from_mapping(denied)])
    net.send("gate", NATIVE, from_outside(WEB, "10.9.0.1"))
    assert net.reasons() == {"drop-policy-denied"}
    assert net.sent_through_tunnel == []


def test_traceroute_through_a_proxy_itr_sees_its_rloc() -> None:
    net = started(PITR)
    net.send("gate", NATIVE, from_outside(WEB, "10.1.0.1", ttl=1))
    (told,) = net["gate"].sent_natively
    error = parse_ip(parse_ethernet(told.frame).payload)
    assert (str(error.source), error.payload[0]) == ("192.0.2.3", 11)


# --- Proxy-ETR -------------------------------------------------------------------------------


def through_the_petr(net: Network, source: str, target: str, mac: str = MAC) -> None:
    host = net["xa"].add(1, source, mac)
    for _ in range(2):
        net.send("xa", 1, host.frame(target))
        net.advance(0.1)


def test_a_proxy_etr_forwards_for_lisp_sites_to_what_is_not_lisp() -> None:
    net = started(BOTH + USE_PETR)
    through_the_petr(net, "10.1.0.1", WEB)
    sent = net["gate"].sent_natively
    assert [parse_ip(parse_ethernet(item.frame).payload).source for item in sent] == [
        ip_address("10.1.0.1")
    ] * 2
    assert net["xa"].sent_natively == []
    assert not net.reasons()


@pytest.mark.parametrize(
    ("source", "target"),
    [("10.99.0.1", WEB), ("10.1.0.1", "10.2.0.77"), ("10.1.0.1", "10.99.0.1")],
    ids=["spoofed source", "EID of a site", "in an aggregate"],
)
def test_a_proxy_etr_forwards_nothing_else(source: str, target: str) -> None:
    """RFC 6832 section 6.1: the inner source is checked; and LISP does not go in circles."""
    net = started(BOTH)
    packet = from_outside(source, target)
    net["gate"].switch.receive(
        100,
        packet,
        tunnel_id=1,
        tunnel_source=ip_address("192.0.2.1"),
        tunnel_destination=ip_address("192.0.2.3"),
    )
    trace = net["gate"].switch.receive(
        100,
        packet,
        tunnel_id=1,
        tunnel_source=ip_address("192.0.2.1"),
        tunnel_destination=ip_address("192.0.2.3"),
    )
    assert trace.sent == []
    assert trace.punted == []


def test_without_the_role_nothing_that_was_decapsulated_goes_on() -> None:
    net = started(PITR)
    trace = net["gate"].switch.receive(
        100,
        from_outside("10.1.0.1", WEB),
        tunnel_id=1,
        tunnel_source=ip_address("192.0.2.1"),
        tunnel_destination=ip_address("192.0.2.3"),
    )
    assert (trace.sent, trace.punted) == ([], [])


# --- configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (
            CONFIG + GATE,
            "xtrs[2].native_ports[0].proxy_itr",
            "nobody hears it, expected a bgp.neighbours[] with scope: underlay",
        ),
        (
            PITR.replace("[10.0.0.0/8", "[192.0.2.0/24"),
            "xtrs[2].native_ports[0].proxy_itr.eid_prefixes[0]",
            "192.0.2.0/24 holds the RLOC 192.0.2.3: what is encapsulated would come back",
        ),
        (
            PITR.replace("[10.0.0.0/8", "[10.0.0.0/8, 10.1.0.0/16"),
            "xtrs[2].native_ports[0].proxy_itr.eid_prefixes[1]",
            "10.1.0.0/16 overlaps 10.0.0.0/8, expected aggregates side by side",
        ),
        (
            PITR.replace(', {rloc: "2001:db8:ffff::3"}', ""),
            "xtrs[2].native_ports[0].proxy_itr.eid_prefixes[1]",
            "2001:db8::/40: xTR gate has no IPv6 RLOC, expected next_hops",
        ),
        (
            PITR.replace("proxy_itr: {eid", "proxy_itr: {next_hops: [224.0.0.5], eid"),
            "xtrs[2].native_ports[0].proxy_itr.next_hops[0]",
            "224.0.0.5 cannot be a next hop, expected a unicast address",
        ),
        (
            BOTH.replace("        iid: 1\n        proxy_itr", "        iid: 9\n        proxy_itr"),
            "xtrs[2].native_ports[0].proxy_etr.eid_prefixes",
            "no EID-prefix of instance-ID 9 is configured, expected some",
        ),
        (
            NATIVE_PORT.replace("[{iid: 1}]", "[{iid: 1}, {iid: 1, name: native1}]"),
            "xtrs[0].native_ports[1].iid",
            "'1' is already xtrs[0].native_ports[0]: one for each",
        ),
        (
            NATIVE_PORT.replace("[{iid: 1}]", "[{iid: 1, name: p2}]"),
            "xtrs[0].native_ports[0].name",
            "'p2' is already xtrs[0].eid_ports[1]",
        ),
        (
            PITR.replace(
                "scope: underlay}", "scope: underlay, prefixes_in: [{prefix: 0.0.0.0/0}]}"
            ),
            "bgp.neighbours[0].prefixes_in",
            "a neighbour of scope underlay is not listened to, expected no filter",
        ),
    ],
)
def test_mistakes_are_named(text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert (path, message) in caught.value.problems
