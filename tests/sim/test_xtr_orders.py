"""Flows are a function of state: any order of events, and every step of any history."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from xtr_network import CONFIG, Host, Network, eid

from lisp_sdn.actions import PortInfo
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import Ruleset
from lisp_sdn.wire import EidRecord

MAPPINGS = (
    Mapping(eid("[1] 10.2.0.0/16")).with_locators(
        (Locator(ip_address("192.0.2.2")), Locator(ip_address("192.0.2.3")))
    ),
    Mapping(eid("[1] 10.3.0.0/16"), (Locator(ip_address("192.0.2.3"), 1, 0),)),
    Mapping(eid("[1] 10.3.1.0/24"), (Locator(ip_address("192.0.2.2"), 1, 30),)),
    Mapping(eid("[1] 10.4.0.0/16"), (), 15, Act.DROP_POLICY_DENIED),
    Mapping(eid("[1] 2001:db8:2::/48"), (Locator(ip_address("2001:db8:ffff::2")),)),
    Mapping(eid("[2] 10.2.0.0/16"), (Locator(ip_address("192.0.2.2"), 255),)),
)
DESTINATIONS = (
    (1, "10.2.0.1"),
    (1, "10.3.0.1"),
    (1, "10.3.1.1"),
    (1, "10.4.0.1"),
    (1, "10.200.0.1"),
    (1, "2001:db8:2::1"),
    (2, "10.2.0.1"),
    (1, "10.1.0.9"),
)


def fresh(order: random.Random, config: str = CONFIG) -> Network:
    net = Network(config)
    mappings = list(MAPPINGS)
    order.shuffle(mappings)
    net.mapping.mappings = {mapping.eid: mapping for mapping in mappings}
    # Only xa is driven here; its own registrations are no part of the question.
    net.sites = {"xa": net["xa"]}
    net.start()
    net.mapping.mappings = {mapping.eid: mapping for mapping in mappings}
    return net


def source(net: Network, port: int, version: int) -> Host:
    address = {4: "10.1.0.1", 6: "2001:db8:1::1"}[version]
    for host in net["xa"].hosts.get(port, ()):
        if host.address == ip_address(address):
            return host
    return net["xa"].add(port, address, f"02:00:00:00:0a:0{port}")


def packet(net: Network, port: int, destination: str) -> None:
    host = source(net, port, ip_address(destination).version)
    net.send("xa", port, host.frame(destination))


def result(seed: int) -> Ruleset:
    order = random.Random(seed)
    net = fresh(order)
    net["xa"].add(1, "10.1.0.9", "02:00:00:00:0a:09")
    steps = list(DESTINATIONS) * 2
    order.shuffle(steps)
    for port, destination in steps:
        packet(net, port, destination)
        net.advance(order.choice([0.0, 0.01, 0.1]))
    net.advance(3.0)
    return net["xa"].switch.ruleset()


def test_the_order_of_events_does_not_show_in_the_flow_table() -> None:
    first = result(0)
    assert len(first.flows) > 60
    assert all(result(seed) == first for seed in range(1, 8))


def test_the_order_of_the_configuration_does_not_show_in_the_flow_table() -> None:
    other = CONFIG.replace(
        """      - {name: p1, iid: 1, gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]}
      - {name: p2, iid: 2, gateways: [10.1.0.254/24]}
""",
        """      - {name: p2, iid: 2, gateways: [10.1.0.254/24]}
      - {name: p1, iid: 1, gateways: ["2001:db8:1::fe/64", 10.1.0.254/24]}
""",
    )
    assert other != CONFIG
    rulesets = []
    for config in (CONFIG, other):
        net = Network(config)
        site = net["xa"]
        site.ports = (
            PortInfo(100, "lisp0", "02:00:00:00:00:01", True),
            PortInfo(1, "p1", "02:00:00:00:00:02", True),
            PortInfo(2, "p2", "02:00:00:00:00:03", True),
        )
        site.connect()
        rulesets.append(site.switch.ruleset())
    assert rulesets[0] == rulesets[1]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_added_and_removed_leaves_nothing_behind(seed: int) -> None:
    order = random.Random(seed)
    net = fresh(order)
    packet(net, 1, "10.2.0.1")
    net.advance(1.0)
    before = net["xa"].switch.ruleset()
    steps = list(DESTINATIONS[1:7])
    order.shuffle(steps)
    for port, destination in steps:
        packet(net, port, destination)
        net.advance(0.1)
    assert net["xa"].switch.ruleset() != before
    xtr = net["xa"].xtr
    for row in list(xtr.map_cache_entries(net.now)):
        if row.eid != eid("[1] 10.2.0.0/16"):
            net.do(net["xa"], xtr.forget(row.eid)[1])
    for host in list(xtr._hosts):
        if (host.iid, str(host.address)) != (1, "10.1.0.1"):
            net.idle_out("xa", f"'{host.address}'" if host.iid == 1 else "(2, 16777215)")
            net.idle_out("xa", f"IPv6Address('{host.address}')")
    assert net["xa"].switch.ruleset() == before


class History(RuleBasedStateMachine):
    """After every step the switch holds exactly what a fresh compilation of the state gives."""

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed: int) -> None:
        self.net = fresh(random.Random(seed))
        self.site = self.net["xa"]

    @rule(step=st.sampled_from(DESTINATIONS))
    def packet(self, step: tuple[int, str]) -> None:
        packet(self.net, *step)

    @rule(seconds=st.sampled_from([0.005, 0.05, 1.0, 31.0, 400.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.net.advance(seconds)

    @rule(silent=st.booleans())
    def mapping_system(self, silent: bool) -> None:
        self.net.mapping.silent = silent

    @rule(
        mapping=st.sampled_from(MAPPINGS),
        rloc=st.sampled_from(["192.0.2.2", "192.0.2.1", "2001:db8:ffff::7"]),
        ttl=st.sampled_from([0, 1, 1440]),
    )
    def change(self, mapping: Mapping, rloc: str, ttl: int) -> None:
        new = Mapping(mapping.eid, (Locator(ip_address(rloc)),), ttl)
        self.net.mapping.register([EidRecord.from_mapping(new)])
        self.net.do(self.site, self.site.xtr.mapping_changed(new.eid, self.net.now))

    @rule(mapping=st.sampled_from(MAPPINGS))
    def withdraw(self, mapping: Mapping) -> None:
        self.net.mapping.mappings.pop(mapping.eid, None)
        self.net.do(self.site, self.site.xtr.mapping_changed(mapping.eid, self.net.now))

    @rule()
    def forget(self) -> None:
        self.net.do(self.site, self.site.xtr.forget(None)[1])

    @rule(text=st.sampled_from(["10.2.0.0", "10.3.", "2001:db8", "'10.1.0.1'"]))
    def idle(self, text: str) -> None:
        self.net.idle_out("xa", text)

    @rule(number=st.sampled_from([1, 5]))
    def port(self, number: int) -> None:
        info = PortInfo(number, "p1", "02:00:00:00:00:02", True)
        self.net.do(self.site, self.site.xtr.port_changed(info, self.net.now))
        others = tuple(port for port in self.site.ports if port.name != "p1")
        self.site.ports = (*others, info)

    @rule()
    def reconnect(self) -> None:
        self.net.do(self.site, self.site.xtr.disconnected(self.net.now))
        self.site.connect()

    @rule()
    def restart(self) -> None:
        self.site.restart_controller()
        self.site.connect()

    @invariant()
    def installed_is_wanted(self) -> None:
        assert self.site.switch.ruleset() == self.site.xtr.wanted()

    @invariant()
    def bounds_hold(self) -> None:
        state = self.site.xtr.state()
        assert state.held_packets <= self.net.config.limits.held_packets_total
        assert (state.flows, state.groups, state.meters) == (
            len(self.site.switch.flows),
            len(self.site.switch.groups),
            len(self.site.switch.meters),
        )


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=max(10, settings.default.max_examples // 8), stateful_step_count=20, deadline=None
)
