"""The source guard with the whole brain in memory: who may send for which source EID."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
import yaml
from test_controller import ControlledNetwork
from xtr_network import CONFIG, TUNNEL

from lisp_sdn.actions import FlowCounter, FlowCounters, FlowRemoved
from lisp_sdn.address import EidPrefix
from lisp_sdn.controller import Controller
from lisp_sdn.guard_settings import GuardMode
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import CookieClass, cookie_class, match
from lisp_sdn.trace import Mark, Packet, StepName, Verdict
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import ICMP, parse_ip
from lisp_sdn.xtr.pipeline import MeterId, TableId
from lisp_sdn.xtr.simulate import Trace

XB_RLOC, XB_RLOC6 = "192.0.2.2", "2001:db8:ffff::2"
STRANGER = "203.0.113.66"


def config(mode: str = "enforce", text: str = CONFIG, **more: Any) -> str:
    document = yaml.safe_load(text)
    document["source_guard"] = {"mode": mode, **more.pop("guard", {})}
    document.update(more)
    return yaml.safe_dump(document)


def guarded(mode: str = "enforce", **more: Any) -> ControlledNetwork:
    made = ControlledNetwork(config(mode, **more))
    made.start()
    hosts = {
        "xa": made["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01"),
        "xb": made["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01"),
    }
    # Hosts that were heard of are delivered to without a question.
    for name, host in hosts.items():
        made.send(name, 1, host.frame("172.31.0.1"))
    made.advance(1.0)
    return made


@pytest.fixture
def network() -> ControlledNetwork:
    return guarded()


def arrive(
    network: ControlledNetwork,
    source: str,
    rloc: str,
    destination: str = "10.1.0.1",
    iid: int = 1,
    data: bytes = b"x",
) -> Trace:
    """A packet out of the tunnel of xa."""
    origin, target = ip_address(source), ip_address(destination)
    build: Any = replies.ipv4 if origin.version == 4 else replies.ipv6
    packet = build(origin, target, 253, data)
    zero = "00:00:00:00:00:00"
    frame = replies.ip_frame(zero, zero, origin.version, packet)
    outer = ip_address(rloc)
    own = "192.0.2.1" if outer.version == 4 else "2001:db8:ffff::1"
    site = network["xa"]
    trace = site.switch.receive(
        TUNNEL,
        frame,
        tunnel_id=iid,
        tunnel_source=outer,
        tunnel_destination=ip_address(own),
    )
    network.follow(site, trace)
    network._arrive()
    return trace


def received(network: ControlledNetwork, protocol: int = 253, port: int = 1) -> int:
    """Packets of this protocol that the host at a port of xa got."""
    (host, *_) = network["xa"].hosts[port]
    return sum(parse_ip(packet).protocol == protocol for packet in host.received)


def refused(network: ControlledNetwork) -> dict[str, float]:
    return {
        dict(c.labels)["reason"]: c.value
        for c in network.controller.management.counters()
        if c.name == "source-guard-packets" and dict(c.labels)["xtr"] == "xa"
    }


def verdicts(network: ControlledNetwork, site: str = "xa") -> dict[str, str | None]:
    return {
        f"{e.key.source} {e.key.origin}": None if e.reason is None else str(e.reason)
        for e in network[site].xtr.guard.verdicts
    }


def test_without_the_guard_nothing_is_looked_at() -> None:
    network = guarded("off")
    assert arrive(network, "10.2.0.1", STRANGER).punted == []
    assert received(network) == 1
    table = [r for r in network["xa"].switch.flows.values() if r.table == TableId.SOURCE_GUARD]
    assert [(r.priority, r.match, r.goto) for r in table] == [(0, (), TableId.LOCAL_EIDS)]


@pytest.mark.parametrize("rloc", [XB_RLOC, XB_RLOC6])
@pytest.mark.parametrize("pair", [("10.2.0.1", "10.1.0.1"), ("2001:db8:2::1", "2001:db8:1::1")])
def test_a_registered_rloc_may_send_in_every_family(
    network: ControlledNetwork, rloc: str, pair: tuple[str, str]
) -> None:
    """The first packet waits for the verdict and arrives; the next ones pass in the switch."""
    if pair[0].startswith("2001"):
        network["xa"].hosts[1].clear()
        host = network["xa"].add(1, pair[1], "02:00:00:00:01:06")
        network.send("xa", 1, host.frame("2001:db8:2::77"))
    first = arrive(network, pair[0], rloc, pair[1])
    assert len(first.punted) == 1
    assert received(network) == 1
    second = arrive(network, pair[0], rloc, pair[1])
    assert (second.punted, received(network)) == ([], 2)
    assert refused(network) == {}
    # One flow for the whole EID-prefix of the registration.
    scope = "10.2.0.0/16" if pair[0].startswith("10.") else "2001:db8:2::/48"
    assert verdicts(network) == {f"[1] {scope} {rloc}": None}


def test_spoofed_sources_are_refused_by_reason(network: ControlledNetwork) -> None:
    cases = [
        ("10.2.0.1", STRANGER, "source-rloc-mismatch"),
        ("10.2.0.1", "192.0.2.1", "source-rloc-mismatch"),
        ("172.16.0.1", XB_RLOC, "source-eid-unknown"),
    ]
    for number, (source, rloc, reason) in enumerate(cases, 1):
        arrive(network, source, rloc)
        assert network.drops[-1].reason == reason
        assert network.drops[-1].source == rloc
        assert received(network) == 0
        assert sum(refused(network).values()) == number
        # Further ones end in the switch.
        again = arrive(network, source, rloc)
        assert (again.punted, again.ended) == ([], "dropped in table 1")
    assert refused(network) == {"source-rloc-mismatch": 2, "source-eid-unknown": 1}


def test_an_eid_is_one_of_its_instance_id(network: ControlledNetwork) -> None:
    """10.2.0.0/16 is registered in 1 and 2 by xb; 10.1.0.0/16 of 2 is not that of 1."""
    host = network["xa"].add(2, "10.1.0.1", "02:00:00:00:01:02")
    network.send("xa", 2, host.frame("172.31.0.1"))
    arrive(network, "10.2.0.1", XB_RLOC, iid=2)
    assert received(network, port=2) == 1
    assert verdicts(network) == {"[2] 10.2.0.0/16 192.0.2.2": None}
    network.carry_out(
        network.controller.management.set_mapping(
            Mapping(EidPrefix.from_text("[2] 10.2.0.0/24")).with_locators(
                (Locator(ip_address("192.0.2.50")),)
            ),
            network.now,
        )
    )
    arrive(network, "10.2.0.1", "192.0.2.50", iid=2)
    arrive(network, "10.2.0.1", "192.0.2.50", iid=1)
    assert network.drops[-1].reason == "source-rloc-mismatch"
    assert received(network, port=2) == 2


def register(network: ControlledNetwork, eid: str, *rlocs: str, ttl: int = 1440) -> None:
    mapping = Mapping(EidPrefix.from_text(eid)).with_locators(
        tuple(Locator(ip_address(rloc)) for rloc in rlocs)
    )
    network.carry_out(network.controller.management.set_mapping(mapping, network.now))


def unregister(network: ControlledNetwork, eid: str) -> None:
    management = network.controller.management
    network.carry_out(management.remove_mapping(EidPrefix.from_text(eid), network.now))


def test_the_verdict_follows_the_mapping(network: ControlledNetwork) -> None:
    register(network, "[1] 10.9.0.0/24", STRANGER)
    arrive(network, "10.9.0.1", STRANGER)
    assert received(network) == 1
    # The RLOC is withdrawn: refused at once, without another packet to the controller.
    register(network, "[1] 10.9.0.0/24", "203.0.113.67")
    assert verdicts(network)[f"[1] 10.9.0.0/24 {STRANGER}"] == "source-rloc-mismatch"
    assert arrive(network, "10.9.0.1", STRANGER).ended == "dropped in table 1"
    # It comes back: allowed at once.
    register(network, "[1] 10.9.0.0/24", "203.0.113.67", STRANGER)
    assert arrive(network, "10.9.0.1", STRANGER).punted == []
    assert received(network) == 2
    # The mapping goes: the EID is none any more.
    unregister(network, "[1] 10.9.0.0/24")
    arrive(network, "10.9.0.1", STRANGER)
    assert received(network) == 2
    assert "source-eid-unknown" in verdicts(network).values()


def test_a_more_specific_mapping_is_heeded_at_once(network: ControlledNetwork) -> None:
    register(network, "[1] 10.9.0.0/16", STRANGER)
    arrive(network, "10.9.7.1", STRANGER)
    assert received(network) == 1
    register(network, "[1] 10.9.7.0/24", "203.0.113.67")
    arrive(network, "10.9.7.1", STRANGER)
    assert network.drops[-1].reason == "source-rloc-mismatch"
    arrive(network, "10.9.8.1", STRANGER)
    assert received(network) == 2
    unregister(network, "[1] 10.9.7.0/24")
    arrive(network, "10.9.7.1", STRANGER)
    assert received(network) == 3


def test_an_expired_registration_no_longer_sends(network: ControlledNetwork) -> None:
    arrive(network, "10.2.0.1", XB_RLOC)
    network.carry_out(network.controller.switch_disconnected(0xB, network.now))
    network.advance(1.0)
    network.now += 181.0
    network.carry_out(network.controller.handle_timer(network.now))
    arrive(network, "10.2.0.1", XB_RLOC)
    assert received(network) == 1
    assert verdicts(network) == {"[1] 10.2.0.0/16 192.0.2.2": "source-eid-not-registered"}


def test_policy_hides_an_rloc_that_may_still_send(network: ControlledNetwork) -> None:
    policing = network.controller.policing
    text = f"""
- site: b
  rules:
    - name: hidden
      match: {{}}
      action: {{hide: [{XB_RLOC}]}}
"""
    _, actions = policing.apply(policing.parse(text), who="t", why="test", now=network.now)
    network.carry_out(actions)
    arrive(network, "10.2.0.1", XB_RLOC)
    assert received(network) == 1


def test_another_xtr_of_the_site_may_send_what_it_does_not_register() -> None:
    document = yaml.safe_load(CONFIG)
    second = {**document["xtrs"][1], "name": "xb2", "datapath_id": 0xB2}
    second["rlocs"] = [{"rloc": "192.0.2.22"}]
    second["eid_ports"] = []
    second["eid_prefixes"] = [{"prefix": "2001:db8:2::/48", "iid": 1}]
    document["xtrs"].append(second)
    network = guarded(text=yaml.safe_dump(document))
    arrive(network, "10.2.0.1", "192.0.2.22")
    assert received(network) == 1
    arrive(network, "10.2.0.1", "192.0.2.1")
    assert received(network) == 1


def test_a_proxy_itr_may_send_for_what_is_no_eid() -> None:
    network = guarded(guard={"proxy_itrs": [STRANGER]})
    arrive(network, "8.8.8.8", STRANGER)
    assert received(network) == 1
    # It does not speak for EIDs, and nobody else for the rest of the world.
    arrive(network, "10.2.0.1", STRANGER)
    arrive(network, "8.8.8.8", XB_RLOC)
    assert received(network) == 1
    assert set(refused(network)) == {"source-rloc-mismatch", "source-eid-unknown"}


# --- EID-facing ports ---


def spoofed(network: ControlledNetwork, source: str, destination: str = "10.2.0.1") -> Trace:
    packet = replies.ipv4(ip_address(source), ip_address(destination), 253, b"s")
    frame = replies.ip_frame("02:00:5e:00:00:fe", "02:00:00:00:01:01", 4, packet)
    return network.send("xa", 1, frame)


def test_a_port_sends_for_its_subnets_only(network: ControlledNetwork) -> None:
    tunnel = len(network.sent_through_tunnel)
    spoofed(network, "10.3.0.1")
    assert network.drops[-1].reason == "source-eid-not-of-port"
    assert network.drops[-1].source == "p1"
    assert len(network.sent_through_tunnel) == tunnel
    assert spoofed(network, "10.3.0.1", "10.2.7.7").ended == "dropped in table 1"
    assert refused(network) == {"source-eid-not-of-port": 1}
    spoofed(network, "10.1.0.77")
    network.advance(1.0)
    assert len(network.sent_through_tunnel) > tunnel


def test_what_the_gateway_needs_still_works(network: ControlledNetwork) -> None:
    """ARP, neighbour discovery with and without a source address, pings of the gateway."""
    host6 = network["xa"].add(1, "2001:db8:1::5", "02:00:00:00:01:05")
    before = network.punts
    arp = replies.arp_request(
        "02:00:00:00:01:01", IPv4Address("10.1.0.1"), IPv4Address("10.1.0.254")
    )
    assert network.send("xa", 1, arp).sent
    solicitation = replies.neighbour_solicitation(
        host6.mac, IPv6Address("fe80::5"), IPv6Address("2001:db8:1::fe")
    )
    assert len(network.send("xa", 1, solicitation).punted) == 1
    assert network.punts == before + 1
    assert refused(network) == {}
    echo = replies.ipv4(
        IPv4Address("10.1.0.1"), IPv4Address("10.1.0.254"), 1, replies.icmp(8, 0, bytes(8))
    )
    frame = replies.ip_frame("02:00:5e:00:00:fe", "02:00:00:00:01:01", 4, echo)
    have = received(network, ICMP)
    network.send("xa", 1, frame)
    assert received(network, ICMP) == have + 1


# --- count ---


def test_in_mode_count_everything_passes_and_is_counted() -> None:
    network = guarded("count")
    for _ in range(3):
        arrive(network, "10.2.0.1", STRANGER)
    spoofed(network, "10.3.0.1")
    assert received(network) == 3
    assert [d for d in network.drops if d.reason.startswith("source")] == []
    # One each came to the controller; the switch tells about the others.
    assert refused(network) == {"source-rloc-mismatch": 1, "source-eid-not-of-port": 1}
    flows = [
        rule
        for rule in network["xa"].switch.flows.values()
        if cookie_class(rule.cookie) is CookieClass.SOURCE_GUARD
    ]
    assert {rule.goto for rule in flows} == {TableId.LOCAL_EIDS}
    told = [FlowCounter(r.match, 2 if "metadata" in dict(r.match) else 0, 200) for r in flows]
    for _ in range(2):
        network.carry_out(
            network.controller.counters(
                FlowCounters(0xA, CookieClass.SOURCE_GUARD, tuple(told)), network.now
            )
        )
        assert refused(network) == {"source-rloc-mismatch": 3, "source-eid-not-of-port": 1}
    # What is left when a flow goes is not lost.
    rule = next(rule for rule in flows if "metadata" in dict(rule.match))
    del network["xa"].switch.flows[rule.key]
    removed = FlowRemoved(0xA, rule.key, rule.cookie, True, 7, 700, 30.0)
    network.carry_out(network.controller.flow_removed(removed, network.now))
    assert refused(network)["source-rloc-mismatch"] == 8
    assert len(verdicts(network)) == 1


def test_a_copy_in_mode_count_is_limited_and_the_packet_is_not() -> None:
    network = guarded("count")
    rule = next(
        r
        for r in network["xa"].switch.flows.values()
        if r.table == TableId.SOURCE_GUARD and r.match == match(in_port=1)
    )
    assert rule.meter is None
    assert rule.goto == TableId.LOCAL_EIDS
    trace = spoofed(network, "10.3.0.1")
    assert trace.meters[0] == MeterId.SOURCE_PORT


def test_known_rlocs_have_a_meter_of_their_own(network: ControlledNetwork) -> None:
    assert arrive(network, "10.2.0.1", XB_RLOC).meters == [MeterId.SOURCE_RLOC]
    assert arrive(network, "10.2.0.1", STRANGER).meters == [MeterId.SOURCE_UNKNOWN_RLOC]


def test_the_mode_can_change_while_it_runs() -> None:
    network = guarded("count")
    arrive(network, "10.2.0.1", STRANGER)
    for mode, passes in ((GuardMode.ENFORCE, 0), (GuardMode.OFF, 1), (GuardMode.COUNT, 1)):
        before = received(network)
        xtr = network["xa"].xtr
        xtr.guard.set_mode(mode, network.now)
        network.do(network["xa"], xtr._finish())
        arrive(network, "10.2.0.1", STRANGER)
        assert received(network) == before + passes, mode
        assert network["xa"].switch.ruleset() == xtr.wanted()


# --- bounds ---


def test_refusals_are_bounded_and_leave_allowances_alone() -> None:
    network = guarded(guard={"entries": 20, "refused_entries": 5})
    arrive(network, "10.2.0.1", XB_RLOC)
    rng = random.Random(1)
    for _ in range(200):
        arrive(network, "10.2.0.9", str(ip_address(0xCB007100 + rng.randrange(200))))
    assert len(verdicts(network)) <= 6
    assert arrive(network, "10.2.0.1", XB_RLOC).punted == []
    assert sum(refused(network).values()) >= 195
    assert network.counter("xtr-source-guard-unlisted") > 0
    assert network["xa"].switch.ruleset() == network["xa"].xtr.wanted()


def test_allowances_are_bounded() -> None:
    network = guarded(guard={"entries": 4})
    for number in range(10):
        register(network, f"[1] 10.9.{number}.0/24", STRANGER)
        arrive(network, f"10.9.{number}.1", STRANGER)
    assert received(network) == 10
    assert len(verdicts(network)) == 4
    assert network.counter("xtr-source-guard-evictions") == 6


def test_an_idle_verdict_leaves_with_its_flow(network: ControlledNetwork) -> None:
    arrive(network, "10.2.0.1", XB_RLOC)
    network.idle_out("xa", "tun_ipv4_src")
    assert verdicts(network) == {}
    assert len(arrive(network, "10.2.0.1", XB_RLOC).punted) == 1
    assert received(network) == 2


# --- restart ---


def restart(network: ControlledNetwork) -> None:
    """A new controller with an empty database finds the switches as they are."""
    network.controller = Controller(
        network.config, store=network.controller.store, rng=random.Random(8)
    )
    for name, site in network.sites.items():
        site.xtr = network.controller.xtrs[name]


def test_a_restart_takes_the_verdicts_over(network: ControlledNetwork) -> None:
    arrive(network, "10.2.0.1", XB_RLOC)
    arrive(network, "10.2.0.1", STRANGER)
    arrive(network, "10.2.0.1", STRANGER)
    before = network["xa"].switch.ruleset()
    restart(network)
    network.start()
    assert network["xa"].switch.ruleset() == before
    assert verdicts(network) == {
        f"[1] 10.2.0.0/16 {XB_RLOC}": None,
        f"[1] 10.2.0.0/16 {STRANGER}": "source-rloc-mismatch",
    }
    assert arrive(network, "10.2.0.1", XB_RLOC).punted == []


def test_a_restart_corrects_what_changed_meanwhile(network: ControlledNetwork) -> None:
    register(network, "[1] 10.9.0.0/24", STRANGER)
    arrive(network, "10.9.0.1", STRANGER)
    unregister_quietly = network["xa"].switch.ruleset()
    unregister(network, "[1] 10.9.0.0/24")
    # The switch did not hear of it.
    for key in list(network["xa"].switch.flows):
        del network["xa"].switch.flows[key]
    network["xa"].switch.flows.update({r.key: r for r in unregister_quietly.flows})
    restart(network)
    network.start()
    # Nobody has registered it again: believed for a while, then no longer.
    assert arrive(network, "10.9.0.1", STRANGER).punted == []
    network.advance(181.0)
    arrive(network, "10.9.0.1", STRANGER)
    assert received(network) == 2
    assert "source-eid-unknown" in verdicts(network).values()
    register(network, "[1] 10.9.0.0/24", STRANGER)
    arrive(network, "10.9.0.1", STRANGER)
    assert received(network) == 3


def test_a_guard_switched_off_leaves_nothing_behind(network: ControlledNetwork) -> None:
    arrive(network, "10.2.0.1", XB_RLOC)
    network.config = network.config.model_copy(
        update={
            "source_guard": network.config.source_guard.model_copy(update={"mode": GuardMode.OFF})
        }
    )
    restart(network)
    network.start()
    table = [r for r in network["xa"].switch.flows.values() if r.table == TableId.SOURCE_GUARD]
    assert [r.priority for r in table] == [0]
    assert not {MeterId.SOURCE_RLOC, MeterId.SOURCE_PORT} & set(network["xa"].switch.meters)


# --- trace ---


def traced(network: ControlledNetwork) -> Any:
    packet = Packet(EidPrefix.from_text("[1] 10.2.0.1"), EidPrefix.from_text("[1] 10.1.0.1"), 253)
    before = network["xa"].switch.ruleset()
    found = network.controller.management.trace(packet, network.now)
    assert network["xa"].switch.ruleset() == before
    return found


def talk(network: ControlledNetwork) -> None:
    """The host of xb sends, and xa judges."""
    (host, *_) = network["xb"].hosts[1]
    network.send("xb", 1, host.frame("10.1.0.1"))
    network.advance(1.0)
    network.send("xb", 1, host.frame("10.1.0.1"))


@pytest.mark.parametrize("mode", ["count", "enforce"])
def test_a_trace_goes_through_the_guard(mode: str) -> None:
    network = guarded(mode)
    talk(network)
    network.idle_out("xa", "tun_ip")
    found = traced(network)
    notes = [step.reason for step in found.steps if step.mark is Mark.NOTE]
    assert notes == (["source-verified"] if mode == "enforce" else [])
    assert found.steps[-1].text.startswith("delivered by port p1 of xTR xa")
    talk(network)
    found = traced(network)
    assert found.verdict is Verdict.DELIVERED
    assert {step.mark for step in found.steps} == {Mark.OK}


@pytest.mark.parametrize("mode", ["count", "enforce"])
def test_a_trace_stops_at_the_guard_with_its_reason(mode: str) -> None:
    text = CONFIG.replace("- name: b\n", "- name: b\n    shutdown: true\n", 1)
    network = guarded(mode, text=text)
    for _ in range(2):
        found = traced(network)
        if mode == "enforce":
            step = found.stopped_at
            assert (step.name, step.reason) == (StepName.ETR, "source-eid-not-registered")
            assert "lispctl show source-guard --xtr xa" in step.suggestion
        else:
            assert found.verdict is not Verdict.STOPPED
            reasons = [step.reason for step in found.steps if step.name is StepName.ETR]
            assert "source-eid-not-registered" in reasons
        talk(network)


# --- reload ---


def test_a_reload_changes_the_mode_and_keeps_what_was_verified() -> None:
    network = guarded("enforce")
    arrive(network, "10.2.0.1", XB_RLOC)
    arrive(network, "10.2.0.1", STRANGER)
    for mode, passes in (("count", 1), ("off", 1), ("enforce", 0)):
        guard = network.config.source_guard.model_copy(update={"mode": GuardMode(mode)})
        network.config = network.config.model_copy(update={"source_guard": guard})
        network.carry_out(network.controller.reconfigure(network.config, network.now))
        for name, site in network.sites.items():
            site.xtr = network.controller.xtrs[name]
        before = received(network)
        if mode == "count":
            assert verdicts(network)[f"[1] 10.2.0.0/16 {XB_RLOC}"] is None
            assert arrive(network, "10.2.0.1", XB_RLOC).punted == []
            before += 1
        arrive(network, "10.2.0.1", STRANGER)
        assert received(network) == before + passes, mode
        assert network["xa"].switch.ruleset() == network["xa"].xtr.wanted()
    assert refused(network)["source-rloc-mismatch"] >= 2


def test_a_reload_that_makes_an_rloc_a_proxy_itr_is_heeded_at_once(
    network: ControlledNetwork,
) -> None:
    arrive(network, "8.8.8.8", STRANGER)
    assert received(network) == 0
    guard = network.config.source_guard.model_copy(update={"proxy_itrs": (ip_address(STRANGER),)})
    config = network.config.model_copy(update={"source_guard": guard})
    network.carry_out(network.controller.reconfigure(config, network.now))
    network["xa"].xtr = network.controller.xtrs["xa"]
    assert arrive(network, "8.8.8.8", STRANGER).punted == []
    assert received(network) == 1
