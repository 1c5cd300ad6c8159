"""Natively-Forward answers by way of a Proxy-ETR (RFC 6832 section 6)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from xtr_network import CONFIG, Network, eid

from lisp_sdn.config import load
from lisp_sdn.errors import ConfigError
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr.cache import Via

MAC = "02:00:00:00:0a:01"
PETR = """
use_petr:
  - iid: 1
    locators: [{rloc: 198.51.100.1}, {rloc: 198.51.100.2, priority: 2}]
"""
IPV6_ONLY = """
use_petr:
  - {iid: 1, when: ipv6-over-ipv4-only, locators: [{rloc: 198.51.100.1}]}
"""
IPV4_UNDERLAY = CONFIG.replace(', {rloc: "2001:db8:ffff::1"}', "").replace(
    ', {rloc: "2001:db8:ffff::2"}', ""
)


def started(text: str) -> Network:
    network = Network(text)
    network.start()
    # What the xTRs sent each other to resolve their next hops is not of interest.
    network.sent_through_tunnel.clear()
    return network


def sent_to(net: Network) -> list[str]:
    return [str(sent.tunnel_destination) for sent in net.sent_through_tunnel]


def test_what_is_not_lisp_goes_to_the_petr_of_best_priority() -> None:
    net = started(CONFIG + PETR)
    host = net["xa"].add(1, "10.1.0.1", MAC)
    for number in range(20):
        net.send("xa", 1, host.frame("10.200.0.1", b"%d" % number))
        net.advance(0.1)
    packets = [sent for sent in net.sent_through_tunnel if sent.tunnel_id == 1]
    assert [str(sent.tunnel_destination) for sent in packets] == ["198.51.100.1"] * 20
    assert {str(sent.tunnel_source) for sent in packets} == {"192.0.2.1"}
    assert len(net.mapping.requests) == 1
    assert not net.reasons()
    (row,) = net["xa"].xtr.map_cache_entries(net.now)
    assert (str(row.eid), row.via) == ("[1] 10.128.0.0/9", Via.PETR)
    rlocs = [(str(item.locator.rloc), item.locator.priority) for item in row.locators]
    assert rlocs == [("198.51.100.1", 1), ("198.51.100.2", 2)]
    assert row.expires == pytest.approx(net.now - 2 + 15 * 60, abs=0.2)


def test_another_instance_id_has_no_petr() -> None:
    net = started(CONFIG + PETR)
    host = net["xa"].add(2, "10.1.0.1", MAC)
    net.send("xa", 2, host.frame("10.200.0.1"))
    assert net.sent_through_tunnel == []
    assert net.reasons() == {"no-native-path"}


def test_one_xtr_may_have_petrs_of_its_own() -> None:
    own = PETR.replace("iid: 1\n", "iid: 1\n    xtrs: [xb]\n").replace(
        "198.51.100.1", "203.0.113.9"
    )
    net = started(CONFIG + own + PETR.replace("use_petr:\n", ""))
    hosts = {"xa": ("10.1.0.1", "02:00:00:00:0a:01"), "xb": ("10.2.0.1", "02:00:00:00:0b:01")}
    for name, (address, mac) in hosts.items():
        host = net[name].add(1, address, mac)
        for _ in range(2):
            net.send(name, 1, host.frame("10.200.0.1"))
            net.advance(0.1)
    by_source = {str(x.tunnel_source): str(x.tunnel_destination) for x in net.sent_through_tunnel}
    assert by_source == {"192.0.2.1": "198.51.100.1", "192.0.2.2": "203.0.113.9"}


def test_only_natively_forward_goes_there() -> None:
    net = started(CONFIG + PETR)
    host = net["xa"].add(1, "10.1.0.1", MAC)
    denied = Mapping(eid("[1] 10.9.0.0/16"), (), 15, Act.DROP_POLICY_DENIED)
    net.mapping.register([EidRecord.from_mapping(denied)])
    net.send("xa", 1, host.frame("10.9.0.1"))
    assert net.sent_through_tunnel == []
    assert net.reasons() == {"drop-policy-denied"}


@pytest.mark.parametrize(
    ("config", "used"), [(IPV4_UNDERLAY + IPV6_ONLY, True), (CONFIG + IPV6_ONLY, False)]
)
def test_ipv6_over_an_ipv4_underlay(config: str, used: bool) -> None:
    net = started(config)
    host = net["xa"].add(1, "2001:db8:1::1", MAC)
    old = net["xa"].add(1, "10.1.0.1", "02:00:00:00:0a:02")
    for _ in range(2):
        net.send("xa", 1, host.frame("2001:db8:feed::1"))
        net.advance(0.1)
    assert (set(sent_to(net)) == {"198.51.100.1"}) is used
    assert ("no-native-path" in net.reasons()) is not used
    # IPv4 has a native path there.
    net.send("xa", 1, old.frame("10.200.0.1"))
    assert "no-native-path" in net.reasons()


def test_when_the_eid_becomes_lisp_its_etr_takes_the_place_of_the_petr() -> None:
    net = started(CONFIG + PETR)
    host = net["xa"].add(1, "10.1.0.1", MAC)
    for _ in range(2):
        net.send("xa", 1, host.frame("10.200.0.1"))
        net.advance(0.1)
    assert sent_to(net)[-1] == "198.51.100.1"
    new = Mapping(eid("[1] 10.200.0.0/16"), (Locator(ip_address("192.0.2.2")),))
    for changed in net.mapping.register([EidRecord.from_mapping(new)]):
        net.do(net["xa"], net["xa"].xtr.mapping_changed(changed, net.now))
    net.advance(1.0)
    for _ in range(2):
        net.send("xa", 1, host.frame("10.200.0.1"))
        net.advance(0.1)
    assert sent_to(net)[-1] == "192.0.2.2"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (
            PETR + PETR.replace("use_petr:\n", ""),
            "use_petr[1].iid",
            "'1' is already use_petr[0]",
        ),
        (
            PETR.replace("iid: 1\n", "iid: 1\n    xtrs: [xc]\n"),
            "use_petr[0].xtrs[0]",
            "'xc' is not an xTR; configured: xa, xb",
        ),
        (
            PETR.replace("198.51.100.2", "192.0.2.2"),
            "use_petr[0].locators[1].rloc",
            "192.0.2.2 is of xTR xb, which is no Proxy-ETR of instance-ID 1",
        ),
        (
            PETR.replace("198.51.100.2", "198.51.100.1"),
            "use_petr[0].locators[1].rloc",
            "'198.51.100.1' is already use_petr[0].locators[0]",
        ),
        (
            PETR.replace("198.51.100.2", "224.0.0.1"),
            "use_petr[0].locators[1].rloc",
            "224.0.0.1 cannot be an RLOC, expected a unicast address",
        ),
    ],
)
def test_mistakes_are_named(text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(CONFIG + text)
    assert (path, message) in caught.value.problems
