"""The network below LISP, proven with hand-written flows and no controller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from capture import Capture
from labrun import poll

CONFIG = """
sites:
  - name: left
    authentication_keys: [{key: a}]
    eid_prefixes: [{prefix: 10.1.0.0/24, iid: 42}]
  - name: right
    authentication_keys: [{key: b}]
    eid_prefixes: [{prefix: 10.2.0.0/24, iid: 42}]
xtrs:
  - name: left
    site: left
    datapath_id: "1"
    rlocs: [{rloc: 198.51.100.1}, {rloc: 198.51.101.1}, {rloc: "2001:db8:a::1"}]
    eid_ports: [{name: p1, iid: 42, gateways: [10.1.0.254/24]}]
  - name: right
    site: right
    datapath_id: "2"
    rlocs: [{rloc: 203.0.113.1}, {rloc: "2001:db8:b::1"}]
    eid_ports: [{name: p1, iid: 42, gateways: [10.2.0.254/24]}]
"""
LEFT1, LEFT2, LEFT6 = "198.51.100.1", "198.51.101.1", "2001:db8:a::1"
RIGHT, RIGHT6 = "203.0.113.1", "2001:db8:b::1"


@pytest.fixture(scope="module")
def net(_lab_possible: None) -> Iterator[Any]:
    from lispnet import LispNet

    from lisp_sdn import config

    uplinks = {"left": [[LEFT1, LEFT6], [LEFT2]]}
    with LispNet(config.load(CONFIG), uplinks) as net:
        net.add_eid_host("h1", "left", "p1", "10.1.0.1")
        net.add_eid_host("h2", "right", "p1", "10.2.0.1")
        net.start()
        for name, site in (("left", 1), ("right", 2)):
            _receive(net, name, f"10.{site}.0.1", f"h{site}")
        yield net


def _receive(net: Any, xtr: str, eid: str, host: str) -> None:
    node, end = net.xtrs[xtr], net.nameToNode[host]
    gateway = "02:00:5e:00:00:fe"
    mac = end.do("cat", "/sys/class/net/eth0/address").strip()
    end.do("ip", "neigh", "replace", eid[:-1] + "254", "lladdr", gateway, "dev", "eth0")
    node.ofctl(
        "add-flow",
        "br0",
        f"in_port=100,tun_id=42,ip,nw_dst={eid},actions=dec_ttl,"
        f"set_field:{gateway}->eth_src,set_field:{mac}->eth_dst,output:1",
    )


def _send(net: Any, xtr: str, prefix: str, source: str, target: str) -> None:
    family = "tun_ipv6" if ":" in source else "tun"
    net.xtrs[xtr].ofctl(
        "add-flow",
        "br0",
        f"in_port=1,ip,nw_dst={prefix},actions=dec_ttl,set_field:42->tun_id,"
        f"set_field:{source}->{family}_src,set_field:{target}->{family}_dst,output:100",
    )


def _warm(net: Any) -> None:
    """Until the next hops are known; what resolves them is lost by design of OVS."""
    poll("h2 to answer", lambda: net.nameToNode["h1"].ping("10.2.0.1", 1).received, 10)


@pytest.mark.parametrize(
    ("left", "right", "uplink"),
    [(LEFT1, RIGHT, "left-1"), (LEFT2, RIGHT, "left-2"), (LEFT6, RIGHT6, "left-1")],
)
def test_traffic_uses_the_uplink_of_its_rloc_both_ways(
    net: Any, left: str, right: str, uplink: str
) -> None:
    _send(net, "left", "10.2.0.0/24", left, right)
    _send(net, "right", "10.1.0.0/24", right, left)
    _warm(net)
    other = "left-2" if uplink == "left-1" else "left-1"
    bpf = "udp port 4341"
    with Capture(net.core, uplink, bpf) as used, Capture(net.core, other, bpf) as unused:
        assert net.nameToNode["h1"].ping("10.2.0.1", 5, 0.05).received == 5
    assert used.count("lisp-data") == 10
    assert unused.count() == 0


def test_a_cut_uplink_carries_nothing_until_mended(net: Any) -> None:
    _send(net, "left", "10.2.0.0/24", LEFT1, RIGHT)
    _send(net, "right", "10.1.0.0/24", RIGHT, LEFT1)
    _warm(net)
    h1, left = net.nameToNode["h1"], net.xtrs["left"]
    net.cut("left", 1)
    try:
        poll("carrier loss seen by OVS", lambda: "LINK_DOWN" in left.ofctl("show", "br-phy"), 5)
        assert h1.ping("10.2.0.1", 2, 0.1).received == 0
    finally:
        net.mend("left", 1)
    _warm(net)
    net.core.blackhole(LEFT1)
    try:
        assert h1.ping("10.2.0.1", 2, 0.1).received == 0
    finally:
        net.core.blackhole(LEFT1, on=False)
    _warm(net)


def test_an_open_vswitch_that_was_killed_comes_back(net: Any) -> None:
    left = net.xtrs["left"]
    left.kill_switch()
    left.launch()
    left.provision(1600)
    _receive(net, "left", "10.1.0.1", "h1")
    _send(net, "left", "10.2.0.0/24", LEFT1, RIGHT)
    _send(net, "right", "10.1.0.0/24", RIGHT, LEFT1)
    _warm(net)
    assert net.nameToNode["h1"].ping("10.2.0.1", 3, 0.1).received == 3
