"""Restarts and reconnections: what forwards stays, only the difference is sent."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from xtr_network import TUNNEL, Network, eid

from lisp_sdn.actions import ApplyRules, FlowRemoved, PortInfo, ReadRules
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import (
    CookieClass,
    FlowRule,
    GroupRule,
    RuleChange,
    Verb,
    cookie,
    cookie_class,
    match,
)
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr.xtr import Xtr

MAC = "02:00:00:00:0a:01"


@pytest.fixture
def net() -> Network:
    network = Network()
    network.start()
    mapping = Mapping(eid("[1] 10.9.0.0/16"), (), 15, Act.DROP_NO_REASON)
    network.mapping.register([EidRecord.from_mapping(mapping)])
    a = network["xa"].add(1, "10.1.0.1", MAC)
    a6 = network["xa"].add(1, "2001:db8:1::1", MAC)
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    network["xb"].add(1, "2001:db8:2::1", "02:00:00:00:0b:01")
    network.send("xa", 1, a.frame("10.2.0.1"))
    network.send("xa", 1, a6.frame("2001:db8:2::1"))
    network.send("xa", 1, a.frame("10.9.0.1"))
    network.advance(1.0)
    return network


def restart(net: Network) -> tuple[list[RuleChange], list[str]]:
    """Restart the controller of xa; returns the changes that it sends, at once and later."""
    site = net["xa"]
    site.restart_controller()
    changes: list[RuleChange] = []
    apply = site.switch.apply

    def record(items: tuple[RuleChange, ...]) -> None:
        changes.extend(items)
        apply(items)

    site.switch.apply = record  # type: ignore[method-assign,assignment]
    site.connect()
    adopted = [str(row.eid) for row in site.xtr.map_cache_entries(net.now)]
    net.advance(2.0)
    return changes, sorted(adopted)


def test_a_restarted_controller_changes_nothing_and_knows_everything(net: Network) -> None:
    before = net["xa"].switch.ruleset()
    hosts = {host.address for host in net["xa"].xtr._hosts}
    asked = len(net.mapping.requests)
    changes, entries = restart(net)
    assert changes == []
    assert entries == ["[1] 10.2.0.0/16", "[1] 10.9.0.0/16", "[1] 2001:db8:2::/48"]
    assert net["xa"].switch.ruleset() == before == net["xa"].xtr.wanted()
    assert {host.address for host in net["xa"].xtr._hosts} == hosts
    # Each entry was asked for again, and is now what the Map-Reply says.
    assert len(net.mapping.requests) == asked + 3
    assert {row.via for row in net["xa"].xtr.map_cache_entries(net.now)} == {"map-reply"}


def test_what_changed_meanwhile_is_corrected_in_place(net: Network) -> None:
    moved = Mapping(eid("[1] 10.2.0.0/16"), (Locator(ip_address("192.0.2.77")),))
    net.mapping.register([EidRecord.from_mapping(moved)])
    changes, _ = restart(net)
    assert [(change.verb, type(change.rule)) for change in changes] == [
        (Verb.ADD, GroupRule),
        (Verb.ADD, FlowRule),
    ]


def test_new_misses_resolve_after_a_restart(net: Network) -> None:
    restart(net)
    a = net["xa"].hosts[1][0]
    net.mapping.register(
        [
            EidRecord.from_mapping(
                Mapping(eid("[1] 10.88.0.0/16"), (Locator(ip_address("192.0.2.2")),))
            )
        ]
    )
    net.sent_through_tunnel.clear()
    net.send("xa", 1, a.frame("10.88.0.1", b"new"))
    net.advance(0.1)
    assert [s.frame[-3:] for s in net.sent_through_tunnel if s.tunnel_id == 1] == [b"new"]


def test_adopted_entries_keep_forwarding_when_the_mapping_system_is_silent(net: Network) -> None:
    net.mapping.silent = True
    before = net["xa"].switch.ruleset()
    changes, entries = restart(net)
    net.advance(800.0)
    assert changes == []
    assert net["xa"].switch.ruleset() == before
    assert len(entries) == 3
    # Unconfirmed for a quarter of an hour they go.
    net.advance(200.0)
    assert net["xa"].xtr.state().map_cache_entries == 0


def test_flows_of_others_are_not_touched(net: Network) -> None:
    foreign = FlowRule(0, 7, match(in_port=42), cookie=0x1234)
    stale = FlowRule(3, 9, match(in_port=42), cookie=cookie(CookieClass.PIPELINE, 9))
    for rule in (foreign, stale):
        net["xa"].switch.flows[rule.key] = rule
    changes, _ = restart(net)
    assert changes == [RuleChange(Verb.DELETE, stale)]
    assert foreign.key in net["xa"].switch.flows


def test_garbage_in_the_map_cache_table_is_removed_not_adopted(net: Network) -> None:
    odd = [
        FlowRule(3, 5000, match(eth_type=0x800), cookie=cookie(CookieClass.MAP_CACHE)),
        FlowRule(
            3,
            77,
            match(eth_type=0x800, metadata=(1, 0x1FFFFFF)),
            cookie=cookie(CookieClass.MAP_CACHE),
        ),
        FlowRule(1, 77, match(in_port=3), cookie=cookie(CookieClass.MAP_CACHE)),
    ]
    for rule in odd:
        net["xa"].switch.flows[rule.key] = rule
    changes, entries = restart(net)
    assert {change.rule for change in changes} == set(odd)
    assert len(entries) == 3


def test_an_empty_switch_gets_everything_again(net: Network) -> None:
    """Open vSwitch was restarted; the controller was not."""
    site = net["xa"]
    wanted = site.xtr.wanted()
    net.do(site, site.xtr.disconnected(net.now))
    site.switch.__init__(site.settings.datapath_id)  # type: ignore[misc]
    site.connect()
    assert site.switch.ruleset() == site.xtr.wanted() == wanted


def test_nothing_is_sent_before_the_rules_are_read(net: Network) -> None:
    site = net["xa"]
    site.restart_controller()
    a = site.hosts[1][0]
    kinds = [type(action) for action in site.xtr.connected(site.ports, net.now)]
    assert kinds == [ReadRules]
    (punt,) = site.switch.receive(1, a.frame("10.66.0.1", b"early")).punted
    assert site.xtr.packet_in(punt, net.now) == []
    net.do(site, site.xtr.installed(site.ports, site.switch.ruleset(), net.now))
    assert str(net.mapping.requests[-1].records[0].eid) == "[1] 10.66.0.1/32"


def test_a_lost_connection_drops_what_is_held_and_stops_registering(net: Network) -> None:
    site = net["xa"]
    a = site.hosts[1][0]
    net.mapping.silent = True
    net.send("xa", 1, a.frame("10.66.0.1"))
    assert site.xtr.state().held_packets == 1
    net.do(site, site.xtr.disconnected(net.now))
    assert site.xtr.state().held_packets == 0
    assert net.reasons() >= {"switch-disconnected"}
    registers = counter(site.xtr, "xtr-map-registers-out")
    net.advance(600.0)
    assert counter(site.xtr, "xtr-map-registers-out") == registers
    site.connect()
    assert counter(site.xtr, "xtr-map-registers-out") == registers + 1
    net.advance(300.5)
    assert counter(site.xtr, "xtr-map-registers-out") == registers + 6


def counter(xtr: Xtr, name: str) -> float:
    return {item.name: item.value for item in xtr.counters()}.get(name, 0)


def test_a_flow_deleted_by_hand_is_sent_again(net: Network) -> None:
    site = net["xa"]
    (rule,) = [
        rule
        for rule in site.switch.flows.values()
        if cookie_class(rule.cookie) is CookieClass.MAP_CACHE and "10.2.0.0" in str(rule.match)
    ]
    del site.switch.flows[rule.key]
    gone = FlowRemoved(site.settings.datapath_id, rule.key, rule.cookie, False, 0, 0, 1.0)
    actions = site.xtr.flow_removed(gone, net.now)
    assert next(action for action in actions if isinstance(action, ApplyRules)).changes == (
        RuleChange(Verb.ADD, rule),
    )


def test_a_missing_tunnel_port_is_a_problem_and_its_arrival_mends_it(net: Network) -> None:
    site = net["xb"]
    fresh = Xtr(site.settings, site.config, random.Random(3))
    site.xtr = fresh
    site.switch.__init__(site.settings.datapath_id)  # type: ignore[misc]
    ports = site.ports
    site.ports = tuple(port for port in ports if port.name not in ("lisp0", "p2"))
    site.connect()
    assert fresh.problems() == (
        "the switch has no tunnel port 'lisp0'",
        "the switch has no EID-facing port 'p2'",
    )
    b = site.hosts[1][0]
    net.send("xb", 1, b.frame("10.1.0.1"))
    assert "no-tunnel-port" in net.reasons()
    site.ports = ports
    for port in ports:
        net.do(site, fresh.port_changed(port, net.now))
    net.advance(0.1)
    assert fresh.problems() == ()
    assert site.switch.ruleset() == fresh.wanted()
    assert any(ToTunnel in str(rule.match) for rule in site.switch.flows.values())
    down = PortInfo(1, "p1", "02:00:00:00:00:02", False)
    net.do(site, fresh.port_changed(down, net.now))
    assert fresh.problems() == ("EID-facing port 'p1' is down",)


ToTunnel = f"('in_port', {TUNNEL})"


def test_a_port_with_another_number_moves_its_rules(net: Network) -> None:
    site = net["xa"]
    net.do(site, site.xtr.port_changed(PortInfo(55, "p1", "02:00:00:00:00:02", True), net.now))
    assert site.switch.ruleset() == site.xtr.wanted()
    assert not any("('in_port', 1)" in str(rule.match) for rule in site.switch.flows.values())
    assert any("('in_port', 55)" in str(rule.match) for rule in site.switch.flows.values())
