"""Ingress policy on real Open vSwitch, measured in packets on the uplinks of a multihomed site."""

from __future__ import annotations

import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from labrun import poll
from multihomed_lab import (
    B1,
    B1_V6,
    B2,
    C1,
    UP1,
    UP2,
    WEB,
    WEB_V6,
    ForeignItr,
    Lab,
    Stream,
    rule,
    shares,
    show,
    tcp_flows,
    udp_flows,
    weights,
)

from lisp_sdn.wire import MapReply, MapRequest

FLOWS = 1000
POINTS = 0.05


@pytest.fixture(scope="module")
def module_lab(_lab_possible: None) -> Iterator[Lab]:
    """The network of mininet/multihomed.py, built once."""
    with Lab() as lab:
        lab.warm("b1", "b2", "c1")
        yield lab


@pytest.fixture
def lab(module_lab: Lab) -> Lab:
    """The network with a running controller and no policy."""
    module_lab.ensure_running()
    module_lab.apply()
    return module_lab


# --- who enters by which uplink ------------------------------------------------------------


def test_two_clients_enter_by_the_uplinks_that_the_policy_says(lab: Lab) -> None:
    """Applied by lispctl, seen on both uplinks, IPv4 and IPv6."""
    file = lab.net.ctl.dir / "policy.yaml"
    file.write_text(
        "policies:\n"
        "  - site: athens\n"
        "    rules:\n"
        f"      - {{name: berlin, match: {{sites: [berlin]}}, action: {{prefer: [{UP1}]}}}}\n"
        f"      - {{name: corinth, match: {{sites: [corinth]}}, action: {{pin: [{UP2}]}}}}\n"
    )
    lab.lispctl("policy", "apply", str(file), "--why", "each by its own uplink", "--who", "lab")
    for target, b1, c1 in ((WEB, B1, C1), (WEB_V6, B1_V6, "2001:db8:e3::1")):
        lab.wait_for_way("b1", b1, UP1, target)
        lab.wait_for_way("c1", c1, UP2, target)
        with lab.tap() as tap:
            assert lab.host("b1").ping(target, 10, 0.05).received == 10
            assert lab.host("c1").ping(target, 10, 0.05).received == 10
        assert tap.by_uplink(b1) == {UP1: 10}
        assert tap.by_uplink(c1) == {UP2: 10}
    history = lab.get("/policies/history?limit=1")["items"][0]
    assert (history["who"], history["why"]) == ("lab", "each by its own uplink"), show(history)


@pytest.mark.parametrize(("target", "source"), [(WEB, B1), (WEB_V6, B1_V6)], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_weights_split_the_flows(lab: Lab, protocol: str, target: str, source: str) -> None:
    """30:70 within 5 points over 1,000 flows between the same two hosts."""
    lab.apply(rule("split", weights(30, 70)))
    protocol_number = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}[protocol]
    with lab.tap() as tap:
        if protocol == "udp":
            with lab.sink():
                udp_flows(lab.host("b1"), target, FLOWS)
        else:
            tcp_flows(lab.host("b1"), lab.host("web"), target, FLOWS)
        poll("every flow", lambda: len(tap.flows(protocol_number, source)) == FLOWS, 5)
    flows = tap.flows(protocol_number, source)
    assert all(len(rlocs) == 1 for rlocs in flows.values()), "a flow stays on its uplink"
    by_uplink = Counter(rloc for rlocs in flows.values() for rloc in rlocs)
    print(f"{protocol} {target}: {by_uplink[UP1]} : {by_uplink[UP2]} of {FLOWS}")
    assert abs(by_uplink[UP1] / FLOWS - 0.3) <= POINTS, by_uplink


def test_a_denied_requester_gets_a_drop_and_no_packet_through(lab: Lab) -> None:
    """Also when its traffic is flowing at the moment of the change."""
    lab.warm("c1")
    with lab.tap() as tap:
        with Stream(lab, "c1", interval=0.002):
            poll("c1 to enter athens", lambda: len(tap.read()) > 50, 5)
            began = lab.apply(rule("closed", {"deny": True}, sites=["corinth"]))
            poll("the last packet", lambda: time.time() - tap.read()[-1].at > 0.3, 5)
            through = len(tap.packets)
            time.sleep(1)
        print(f"REST to last packet: {(tap.packets[-1].at - began) * 1000:.1f} ms")
        assert lab.host("c1").ping(WEB, 5, 0.1).received == 0
        assert lab.host("c1").ping(WEB_V6, 5, 0.1).received == 0
        assert lab.host("b1").ping(WEB, 5, 0.1).received == 5
    after = tap.packets[through:]
    assert {seen.source for seen in after} == {B1}, show(after)
    entries = [e for e in lab.map_cache("corinth") if "10.1.0." in e["eid"] or ":e1:" in e["eid"]]
    assert {e["action"] for e in entries} == {"drop-policy-denied"}, show(entries)
    assert all(e["negative"] for e in entries), show(entries)
    lab.apply()
    poll("c1 to reach web again", lambda: lab.host("c1").ping(WEB, 1).received, 5)


def test_answers_depend_on_the_source_eid(lab: Lab) -> None:
    """Two hosts behind one xTR: (source, destination) entries in its switch."""
    lab.apply(
        rule("first-host", {"pin": [UP1]}, source_eids=[f"{B1}/32"]),
        rule("second-host", {"pin": [UP2]}, source_eids=[f"{B2}/32"]),
    )
    lab.wait_for_way("b1", B1, UP1)
    lab.wait_for_way("b2", B2, UP2)
    with lab.tap() as tap:
        for name in ("b1", "b2"):
            assert lab.host(name).ping(WEB, 10, 0.05).received == 10
    assert tap.by_uplink(B1) == {UP1: 10}
    assert tap.by_uplink(B2) == {UP2: 10}
    matches = [flow.text for flow in lab.cached("berlin") if "nw_dst=10.1.0." in flow.text]
    for source in (B1, B2):
        assert [text for text in matches if f"nw_src={source}" in text], "\n".join(matches)


def test_a_foreign_itr_is_told_when_its_own_answer_changes(lab: Lab) -> None:
    """An SMR (RFC 9301 6.1) to the one, and nothing to the other, though both hold the mapping."""
    core = lab.net.core
    with ForeignItr(core, "198.19.0.1") as steered, ForeignItr(core, "198.19.0.2") as other:
        for itr in (steered, other):
            assert rlocs_of(itr.ask(WEB)) == {UP1, UP2}
        lab.apply(rule("one", {"pin": [UP2]}, itr_rlocs=["198.19.0.1/32"]))
        (smr,) = steered.heard(2)
        assert isinstance(smr, MapRequest)
        assert smr.smr, smr
        assert rlocs_of(steered.ask(WEB)) == {UP2}
        assert other.heard(1) == []
        assert steered.heard(3.5) == [], "no second SMR after the Map-Request"


def rlocs_of(reply: MapReply) -> set[str]:
    return {str(locator.rloc) for record in reply.records for locator in record.locators}


# --- a policy that changes under traffic ---------------------------------------------------

CHANGES = 14
SPACING = 0.25
TAKES_EFFECT_MS = 100.0


@pytest.mark.parametrize("target", [WEB, WEB_V6], ids=["v4", "v6"])
def test_a_change_moves_traffic_within_100_ms_and_loses_nothing(lab: Lab, target: str) -> None:
    """From the REST call to the first packet on the other uplink, a packet every 2 ms."""
    lab.apply(rule("way", {"prefer": [UP1]}))
    lab.warm("b1")
    began: list[tuple[float, str]] = []
    with lab.tap() as tap, Stream(lab, "b1", interval=0.002, target=target) as stream:
        time.sleep(SPACING)
        for turn in range(CHANGES):
            new = (UP2, UP1)[turn % 2]
            began.append((lab.apply(rule("way", {"prefer": [new]})), new))
            time.sleep(SPACING)
    assert stream.sent > CHANGES * SPACING / 0.004, "the sender did not keep up"
    assert stream.lost == [], f"of {stream.sent} packets {len(stream.lost)}: {stream.lost[:20]}"
    taken = []
    for at, rloc in began:
        moved = [seen.at for seen in tap.packets if seen.rloc == rloc and seen.at > at]
        taken.append((min(moved) - at) * 1000)
    median = statistics.median(taken)
    print(f"REST to packet, ms: median {median:.1f} worst {max(taken):.1f}; {stream.sent} packets")
    assert median < TAKES_EFFECT_MS, taken


def test_no_shape_of_policy_loses_a_packet_when_it_comes_or_goes(lab: Lab) -> None:
    """Groups, spread RLOC-sets, (source, destination) entries and the registered RLOC-set, in
    every order of two; 20 flows, 1,000 packets per second."""
    shapes: list[list[Any]] = [
        [],
        [rule("a", {"pin": [UP1]})],
        [rule("a", weights(30, 70))],
        [rule("a", {"pin": [UP2]}, source_eids=[f"{B1}/32"]), rule("b", weights(90, 10))],
        [rule("a", {"prefer": [UP2], "ttl_minutes": 5})],
    ]
    lab.warm("b1", "c1")
    orders = [0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 1, 3, 1, 4, 2, 3, 2, 4, 3, 4, 0]
    with Stream(lab, "b1", "c1", interval=0.02, flows=10) as stream:
        for index in orders:
            time.sleep(0.15)
            lab.apply(*shapes[index])
        time.sleep(0.15)
    print(f"{len(orders)} changes, {stream.sent} packets")
    assert stream.sent > 1000
    assert stream.lost == [], f"of {stream.sent} packets {len(stream.lost)}: {stream.lost[:20]}"


def test_weights_follow_the_load_to_the_target(lab: Lab) -> None:
    """The closed loop: from 20:80 on the wire to 70:30, measured in octets on the uplinks."""

    def balanced(first: int, second: int) -> dict[str, Any]:
        target = [{"rloc": UP1, "share": first}, {"rloc": UP2, "share": second}]
        loop = {"hysteresis": 0.04, "interval": 0.4, "settle": 0.2, "max_step": 20}
        return rule("loop", {"balance": {"target": target, **loop}})

    def now_and_then(tap: Any, since: float) -> dict[str, float]:
        return shares(seen for seen in tap.read() if seen.at > since)

    lab.apply(balanced(20, 80))
    lab.warm("b1", "c1")
    with Stream(lab, "b1", "c1", interval=0.4, flows=200, size=200) as stream, lab.tap() as tap:
        time.sleep(1.5)
        wrong = now_and_then(tap, time.time() - 1)
        assert wrong[UP1] < 0.35, f"the start is not wrong: {wrong}"
        began = lab.apply(balanced(70, 30))

        def there() -> bool:
            window = now_and_then(tap, time.time() - 1)
            return abs(window.get(UP1, 0) - 0.7) <= POINTS

        poll("70:30 on the uplinks", there, 20)
        reached = time.time() - began
        # It stays there: the loop does not swing past its target.
        since = time.time()
        time.sleep(3)
        after = now_and_then(tap, since)
    moves = lab.get("/events?limit=1000")["items"]
    steps = [e for e in moves if e["kind"] == "policy.balanced"]
    print(f"from {wrong[UP1]:.3f} to {after[UP1]:.3f} in {reached:.1f} s, {len(steps)} steps")
    assert len(steps) > 1, "it did not move on from the weights that there were"
    assert abs(after[UP1] - 0.7) <= POINTS, f"{after}, steps {show(steps[-8:])}"
    assert stream.lost == [], f"of {stream.sent} packets {len(stream.lost)}"


# --- the controller goes and comes back ----------------------------------------------------


def test_a_killed_controller_takes_no_spread_packet_with_it(lab: Lab) -> None:
    """kill -9 with RLOC-sets of two locators: flows kept, not one packet lost."""
    lab.apply(rule("split", weights(30, 70)))
    lab.warm("b1", "c1")
    before = {name: lab.own_flows(name) for name in lab.net.xtrs}
    assert [text for text in before["berlin"] if "table=5 " in text], "no spread RLOC-set"
    with lab.tap() as tap, Stream(lab, "b1", "c1", interval=0.02, flows=10) as stream:
        time.sleep(0.5)
        lab.net.ctl.kill()
        time.sleep(1)
        restarted = time.time()
        lab.ensure_running()
        time.sleep(2)
    assert stream.lost == [], f"of {stream.sent} packets {len(stream.lost)}: {stream.lost[:20]}"
    print(f"{stream.sent} packets while the controller was killed and came back")
    carried = Counter(seen.rloc for seen in tap.packets)
    assert carried[UP1], carried
    assert carried[UP2], carried
    moved = {flow: rlocs for flow, rlocs in tap.flows(17, B1).items() if len(rlocs) > 1}
    assert not moved, "a flow changed its uplink"
    for name in lab.net.xtrs:
        after = lab.own_flows(name)
        gone = set(before[name]) - set(after)
        assert not gone, f"flows of {name} were flushed: {sorted(gone)}"
        for identity in before[name]:
            assert after[identity].duration > time.time() - restarted, after[identity].text
    # The policy is in force again, and can be changed.
    assert lab.get("/policies/athens")["rules"][0]["name"] == "split"
    lab.apply(rule("way", {"pin": [UP2]}))
    lab.wait_for_way("b1", B1, UP2)
