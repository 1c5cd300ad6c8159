"""The whole brain in memory: two sites, the embedded mapping system, simulated switches."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import cast

import pytest
from xtr_network import CONFIG, Network, Site

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    Dropped,
    Event,
    FlowCounter,
    FlowCounters,
    PacketOut,
    ReadRules,
    SendControl,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.controller import AnyAction, Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import CookieClass, Ruleset, match
from lisp_sdn.wire import Ecm, MapReply, MapRequest, RequestRecord, decode


class ControlledNetwork(Network):
    """The simulated network, with the controller in the place of the fake mapping system."""

    def __init__(self, config_text: str = CONFIG) -> None:
        super().__init__(config_text)
        self.controller = Controller(self.config, store=MemoryStore(), rng=random.Random(7))
        self.sent: list[SendControl] = []
        self.by_datapath = {site.switch.datapath_id: site for site in self.sites.values()}
        for name, site in self.sites.items():
            site.xtr = self.controller.xtrs[name]

    def start(self) -> None:
        self.carry_out(self.controller.start(self.now))
        for site in self.sites.values():
            site.connect()
        self.advance(1.0)

    def do(self, site: Site, actions: Iterable[object]) -> None:
        self.carry_out(self.controller.settle(cast("Iterable[AnyAction]", actions), self.now))

    def told(self, site: Site) -> Ruleset:
        """What the edges tell that a switch holds."""
        return site.switch.ruleset()

    def carry_out(self, actions: Iterable[Action]) -> None:
        todo = deque(actions)
        while todo:
            match todo.popleft():
                case ApplyRules() as action:
                    self.by_datapath[action.datapath_id].switch.apply(action.changes)
                case PacketOut() as action:
                    site = self.by_datapath[action.datapath_id]
                    trace = site.switch.packet_out(action.frame, action.in_port, action.actions)
                    self.follow(site, trace)
                case ReadRules() as action:
                    site = self.by_datapath[action.datapath_id]
                    rules = self.told(site)
                    todo.extend(
                        self.controller.installed(action.datapath_id, site.ports, rules, self.now)
                    )
                case SendControl() as action:
                    self.sent.append(action)
                case Dropped() as action:
                    self.drops.append(action)
                case Event() as action:
                    self.events.append(action)

    def datagram(self, data: bytes, source: Endpoint) -> list[SendControl]:
        self.sent.clear()
        self.carry_out(self.controller.receive(data, source, self.now))
        return list(self.sent)

    def counter(self, name: str) -> float:
        return sum(c.value for c in self.controller.management.counters() if c.name == name)


@pytest.fixture
def network() -> ControlledNetwork:
    made = ControlledNetwork()
    made.start()
    return made


def ask(eid: str, rloc: str = "192.0.2.99") -> bytes:
    """An ECM Map-Request as a foreign ITR sends it."""
    wanted = EidPrefix.from_text(eid)
    itr = Endpoint(_ip(rloc), 61001)
    request = MapRequest(1234, None, (itr.address,), (RequestRecord(wanted),))
    inner = Endpoint(wanted.network.network_address, 4342)
    return Ecm(itr, inner, request.serialize()).serialize()


def _ip(text: str) -> IPAddress:
    return EidPrefix.from_text(text).network.network_address


def test_ping_resolves_through_the_embedded_map_server(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    right = network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"ping"))
    network.advance(1.0)
    assert [packet[20:] for packet in right.received] == [b"ping"]
    network.send("xb", 1, right.frame("10.1.0.1", b"pong"))
    network.advance(1.0)
    assert [packet[20:] for packet in left.received] == [b"pong"]
    assert network.counter("map-requests-in") == 2
    (row,) = network.controller.management.map_cache("xa", network.now)
    assert str(row.eid) == "[1] 10.2.0.0/16"
    assert row.complete


def test_registrations_of_our_own_etrs_bear_their_names(network: ControlledNetwork) -> None:
    entries = list(network.controller.management.registrations(None, network.now))
    assert {(entry.site, entry.xtr) for entry in entries} == {("a", "xa"), ("b", "xb")}


def test_the_second_packet_does_not_reach_the_controller(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    right = network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    network.advance(1.0)
    punts = network.punts
    network.send("xa", 1, left.frame("10.2.0.1", b"2"))
    assert network.punts == punts
    assert [packet[20:] for packet in right.received] == [b"1", b"2"]


def test_a_foreign_itr_is_answered_from_the_same_database(network: ControlledNetwork) -> None:
    (answer,) = network.datagram(ask("[1] 10.2.0.1"), Endpoint(_ip("192.0.2.99"), 4342))
    assert answer.destination == Endpoint(_ip("192.0.2.99"), 61001)
    reply = decode(answer.data)
    assert isinstance(reply, MapReply)
    (record,) = reply.records
    assert str(record.eid) == "[1] 10.2.0.0/16"
    assert [str(locator.rloc) for locator in record.locators] == ["192.0.2.2", "2001:db8:ffff::2"]
    assert not record.authoritative


def test_an_unmapped_eid_is_one_request_and_one_negative_entry(
    network: ControlledNetwork,
) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    before = network.counter("map-requests-in")
    for number in range(50):
        network.send("xa", 1, left.frame("172.16.0.1", bytes([number])))
    assert network.counter("map-requests-in") == before + 1
    assert network.punts == 1
    (row,) = network.controller.management.map_cache("xa", network.now)
    assert (row.action, row.locators) == (Act.NATIVELY_FORWARD, ())


def test_a_static_mapping_moves_traffic_at_once(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    network.advance(1.0)
    mapping = Mapping(EidPrefix.from_text("[1] 10.2.0.0/16"), (Locator(_ip("192.0.2.77")),))
    network.carry_out(network.controller.management.set_mapping(mapping, network.now))
    network.advance(1.0)
    network.sent_through_tunnel.clear()
    network.send("xa", 1, left.frame("10.2.0.1", b"2"))
    assert {str(sent.tunnel_destination) for sent in network.sent_through_tunnel} == {"192.0.2.77"}
    network.carry_out(network.controller.management.remove_mapping(mapping.eid, network.now))
    network.advance(1.0)
    network.sent_through_tunnel.clear()
    network.send("xa", 1, left.frame("10.2.0.1", b"3"))
    assert {str(sent.tunnel_destination) for sent in network.sent_through_tunnel} <= {
        "192.0.2.2",
        "2001:db8:ffff::2",
    }


def test_clearing_the_map_cache(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    network.advance(1.0)
    management = network.controller.management
    count, actions = management.clear_map_cache("xa", None, network.now)
    network.carry_out(actions)
    assert count == 1
    assert not list(management.map_cache("xa", network.now))


def test_registrations_stay_alive_for_a_day(network: ControlledNetwork) -> None:
    before = {str(entry.eid) for entry in network.controller.management.mappings(None, 0)}
    assert len(before) == 6
    for _ in range(24 * 6):
        network.advance(600.0)
        network.carry_out(network.controller.handle_timer(network.now))
    after = {str(entry.eid) for entry in network.controller.management.mappings(None, 0)}
    assert after == before


@pytest.mark.parametrize("data", [b"", b"\x20", b"\xff" * 40, bytes(8)])
def test_garbage_is_counted_with_a_reason(network: ControlledNetwork, data: bytes) -> None:
    assert network.datagram(data, Endpoint(_ip("192.0.2.9"), 1)) == []
    assert network.drops[-1].reason
    (refusal,) = (r for r in network.controller.management.refusals() if r.source)
    assert refusal.count == 1


POLICY = """
- site: b
  rules:
    - name: partner-by-its-own-link
      match: {sites: [a]}
      action: {pin: ["2001:db8:ffff::2"]}
"""


def test_a_policy_moves_traffic_at_once_and_back(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    network.advance(1.0)
    policing = network.controller.policing
    for version, expected in ((None, "2001:db8:ffff::2"), (1, "192.0.2.2")):
        if version is None:
            _, actions = policing.apply(
                network.controller.policing.parse(POLICY), who="t", why="test", now=network.now
            )
        else:
            _, actions = policing.rollback(version, who="t", why="test", now=network.now)
        network.carry_out(actions)
        network.advance(1.0)
        rows = list(network.controller.management.map_cache("xa", network.now))
        used = {str(s.locator.rloc) for row in rows for s in row.locators if s.locator.usable}
        assert expected in used
        assert ("192.0.2.2" in used) == (version == 1)


STEERED = """
- site: b
  rules:
    - name: one-itr
      match: {itr_rlocs: [192.0.2.98/32]}
      action: {pin: ["2001:db8:ffff::2"]}
"""
CLOSED_PART = """
- site: b
  rules:
    - name: one-host-closed
      match: {eid_prefixes: ["[1] 10.2.5.0/24"], itr_rlocs: [192.0.2.98/32]}
      action: {deny: true}
"""


@pytest.mark.parametrize("policy", [STEERED, CLOSED_PART])
def test_only_itrs_with_another_answer_are_solicited(
    network: ControlledNetwork, policy: str
) -> None:
    """RFC 9301 section 6.1. The second policy is for a part of what both ITRs hold."""
    for rloc in ("192.0.2.98", "192.0.2.99"):
        for _ in range(2):  # the second is answered from what the first one left
            assert network.datagram(ask("[1] 10.2.5.1/32", rloc), Endpoint(_ip(rloc), 4342))
    network.sent.clear()
    policing = network.controller.policing
    _, actions = policing.apply(policing.parse(policy), who="t", why="test", now=network.now)
    network.carry_out(actions)
    assert [str(sent.destination.address) for sent in network.sent] == ["192.0.2.98"]
    message = decode(network.sent[0].data)
    assert isinstance(message, MapRequest)
    assert message.smr
    network.datagram(ask("[1] 10.2.5.1/32", "192.0.2.98"), Endpoint(_ip("192.0.2.98"), 4342))
    # Back again: it is the only one of whom that is true now, too.
    network.sent.clear()
    network.advance(4.0)
    _, actions = policing.rollback(1, who="t", why="test", now=network.now)
    network.carry_out(actions)
    assert {str(sent.destination.address) for sent in network.sent} == {"192.0.2.98"}


BALANCED = """
- site: b
  rules:
    - name: seventy-thirty
      match: {}
      action:
        balance:
          interval: 2
          settle: 1
          target: [{rloc: 192.0.2.2, share: 70}, {rloc: "2001:db8:ffff::2", share: 30}]
"""


def test_weights_follow_the_measured_load(network: ControlledNetwork) -> None:
    """Everything arrives by the second RLOC: the first gets more weight, step by step."""
    policing = network.controller.policing
    _, actions = policing.apply(policing.parse(BALANCED), who="t", why="test", now=network.now)
    network.carry_out(actions)
    (before,) = policing.balance_status
    for count in range(1, 5):
        observe(network, count * 1_000_000)
        network.advance(1.5)
    (after,) = policing.balance_status
    rloc = _ip("192.0.2.2")
    assert after.weights[rloc] > before.weights[rloc]
    (answer,) = network.datagram(ask("[1] 10.2.0.1"), Endpoint(_ip("192.0.2.99"), 4342))
    reply = decode(answer.data)
    assert isinstance(reply, MapReply)
    told = {item.rloc: item.weight for item in reply.records[0].locators}
    assert told[rloc] == after.weights[rloc]


def observe(network: ControlledNetwork, octets: int) -> None:
    """So many octets have come by the second RLOC of every xTR, and none by the first."""
    for site in network.by_datapath.values():
        flows = tuple(
            FlowCounter(
                match(tunnel_id=1, **{f"tun_ipv{item.rloc.version}_dst": item.rloc}),
                1,
                octets if item.rloc.version == 6 else 0,
            )
            for item in site.settings.rlocs
        )
        network.controller.inflow.ask([site.switch.datapath_id])
        answer = FlowCounters(site.switch.datapath_id, CookieClass.DECAPSULATION, flows)
        network.carry_out(network.controller.counters(answer, network.now))


def test_balanced_weights_outlive_a_restart_and_end_with_their_rule(
    network: ControlledNetwork,
) -> None:
    policing = network.controller.policing
    _, actions = policing.apply(policing.parse(BALANCED), who="t", why="test", now=network.now)
    network.carry_out(actions)
    for count in range(1, 5):
        observe(network, count * 1_000_000)
        network.advance(1.5)
    (before,) = policing.balance_status
    assert before.weights != {rloc: round(100 * share) for rloc, share in before.target.items()}
    store = network.controller.store
    again = Controller(network.config, store=store, rng=random.Random(8))
    again.start(network.now)
    (after,) = again.policing.balance_status
    assert after.weights == before.weights
    assert again.policy.conditions.weights == {("b", "seventy-thirty"): before.weights}
    again.policing.apply(
        policing.parse("- {site: b, rules: []}"), who="t", why="test", now=network.now
    )
    assert not store.document_list("balanced-weights")


def test_a_new_target_moves_on_from_the_weights_that_there_are(network: ControlledNetwork) -> None:
    """Also when the loop has made no step yet: what is answered is what the loop believes."""
    policing = network.controller.policing
    swapped = BALANCED.replace("70", "20").replace("share: 30", "share: 80")
    for text in (BALANCED, swapped):
        _, actions = policing.apply(policing.parse(text), who="t", why="test", now=network.now)
        network.carry_out(actions)
    (status,) = policing.balance_status
    (answer,) = network.datagram(ask("[1] 10.2.0.1"), Endpoint(_ip("192.0.2.99"), 4342))
    reply = decode(answer.data)
    assert isinstance(reply, MapReply)
    told = {item.rloc: item.weight for item in reply.records[0].locators}
    assert told == status.weights
    assert told[_ip("192.0.2.2")] == 70


def test_what_a_candidate_would_change_on_which_switch(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    right = network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    network.send("xb", 1, right.frame("10.1.0.1", b"2"))
    network.advance(1.0)
    policing = network.controller.policing
    before = network.controller.management.wanted("xa")
    (change,) = policing.flow_changes(policing.parse(POLICY), network.now)
    assert (change.xtr, change.datapath_id, str(change.eid)) == ("xa", 0xA, "[1] 10.2.0.0/16")
    assert change.new.rule == "partner-by-its-own-link"
    assert network.controller.management.wanted("xa") == before
