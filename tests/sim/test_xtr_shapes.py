"""Sites of other shapes: several ports in one subnet, one address family, nothing at all."""

from __future__ import annotations

import random

import pytest
from xtr_network import Network

from lisp_sdn.actions import ApplyRules, PortInfo, ReadRules
from lisp_sdn.config import load
from lisp_sdn.rules import Ruleset
from lisp_sdn.xtr import Xtr
from lisp_sdn.xtr.simulate import SimulatedSwitch

SITES = """
sites:
  - name: a
    authentication_keys: [{key: k}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}, {prefix: "2001:db8:1::/48", iid: 1}]
  - name: b
    authentication_keys: [{key: k}]
    eid_prefixes: [{prefix: 10.2.0.0/16, iid: 1}, {prefix: "2001:db8:2::/48", iid: 1}]
xtrs:
"""


def test_an_anycast_gateway_on_two_ports_of_one_subnet() -> None:
    net = Network(
        SITES
        + """
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.1.0.254/24]}
      - {name: p2, iid: 1, gateways: [10.1.0.254/24, 10.1.7.254/24]}
"""
    )
    net.start()
    a = net["xa"].add(1, "10.1.0.1", "02:00:00:00:0a:01")
    c = net["xa"].add(2, "10.1.0.2", "02:00:00:00:0a:02")
    d = net["xa"].add(2, "10.1.7.1", "02:00:00:00:0a:03")
    for number in range(2):
        net.send("xa", 1, a.frame("10.1.0.2", b"a-c%d" % number))
        net.send("xa", 2, c.frame("10.1.0.1", b"c-a%d" % number))
        net.send("xa", 2, c.frame("10.1.7.1", b"c-d%d" % number))
    assert [packet[-4:] for packet in a.received] == [b"c-a0", b"c-a1"]
    assert [packet[-4:] for packet in c.received] == [b"a-c0", b"a-c1"]
    assert [packet[-4:] for packet in d.received] == [b"c-d0", b"c-d1"]
    assert {host.port for host in net["xa"].xtr._hosts if host.address != a.address} == {2}
    assert not net.mapping.requests
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()


@pytest.mark.parametrize("rlocs", ["192.0.2.{n}", "2001:db8:ffff::{n}"])
@pytest.mark.parametrize("inner", [("10.1.0.1", "10.2.0.1"), ("2001:db8:1::1", "2001:db8:2::1")])
def test_every_inner_family_over_every_outer_one(rlocs: str, inner: tuple[str, str]) -> None:
    text = SITES
    for number, site in ((1, "a"), (2, "b")):
        text += f"""
  - name: x{site}
    site: {site}
    datapath_id: {number}
    rlocs: [{{rloc: "{rlocs.format(n=number)}"}}]
    eid_ports:
      - {{name: p1, iid: 1, gateways: [10.{number}.0.254/24, "2001:db8:{number}::fe/64"]}}
"""
    net = Network(text)
    net.start()
    a = net["xa"].add(1, inner[0], "02:00:00:00:0a:01")
    b = net["xb"].add(1, inner[1], "02:00:00:00:0b:01")
    net.send("xa", 1, a.frame(inner[1], b"over"))
    assert [packet[-4:] for packet in b.received] == [b"over"]
    outer = {
        str(sent.tunnel_destination) for sent in net.sent_through_tunnel if sent.tunnel_id == 1
    }
    assert outer == {rlocs.format(n=2)}


def test_an_xtr_without_ports_and_site_connects_and_does_nothing() -> None:
    config = load("xtrs: [{name: x, datapath_id: 1, rlocs: [{rloc: 192.0.2.1}]}]")
    xtr = Xtr(config.xtrs[0], config, random.Random(1))
    assert xtr.start(0.0) == []
    assert [type(action) for action in xtr.connected((), 0.0)] == [ReadRules]
    switch = SimulatedSwitch()
    for action in xtr.installed((), Ruleset(), 0.0):
        if isinstance(action, ApplyRules):
            switch.apply(action.changes)
    assert switch.ruleset() == xtr.wanted()
    assert xtr.next_timer() is None
    assert list(xtr.map_cache_entries(0.0)) == []
    ports = (PortInfo(1, "p1", "02:00:00:00:00:01", True),)
    for action in xtr.port_changed(ports[0], 1.0):
        assert not isinstance(action, ApplyRules)
    assert xtr.problems() == ("the switch has no tunnel port 'lisp0'",)
