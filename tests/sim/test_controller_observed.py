"""What the whole brain tells of itself: metrics and events of a packet's way through it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_controller import POLICY, ControlledNetwork

from lisp_sdn.actions import FlowCounter, FlowCounters
from lisp_sdn.api import Api, Request
from lisp_sdn.rules import CookieClass, match

Value = Callable[..., float]


@pytest.fixture
def network() -> ControlledNetwork:
    made = ControlledNetwork()
    made.start()
    return made


@pytest.fixture
def metric(network: ControlledNetwork) -> Value:
    api = Api(network.controller.management)

    def value(name: str, **labels: str) -> float:
        response, _ = api.handle(Request("GET", "/metrics"), network.now)
        assert response.status == 200
        families = text_string_to_metric_families(response.body.decode())
        samples = [s for family in families for s in family.samples if s.name == name]
        assert samples, name
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    return value


def test_a_miss_is_counted_and_timed(network: ControlledNetwork, metric: Value) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    assert metric("lisp_xtr_resolution_seconds_count", xtr="xa") == 0
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    # The edge tells when the actions of an event went out.
    network.advance(0.5)
    network.controller.performed(network.now)
    assert metric("lisp_xtr_map_cache_misses_total", xtr="xa") == 1
    assert metric("lisp_xtr_packets_held_total", xtr="xa") == 1
    assert metric("lisp_xtr_packets_released_total", xtr="xa") == 1
    assert metric("lisp_xtr_resolution_seconds_count", xtr="xa") == 1
    assert 0.4 < metric("lisp_xtr_resolution_seconds_sum", xtr="xa") < 0.7
    assert metric("lisp_xtr_map_cache_entries", xtr="xa") >= 1
    assert metric("lisp_events_total", kind="map-cache.added") >= 1
    assert metric("lisp_map_requests_in_total") >= 1
    network.controller.performed(network.now + 5)
    assert metric("lisp_xtr_resolution_seconds_count", xtr="xa") == 1


def test_hits_of_a_policy_rule(network: ControlledNetwork, metric: Value) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    policing = network.controller.policing
    _, actions = policing.apply(policing.parse(POLICY), who="t", why="test", now=network.now)
    network.carry_out(actions)
    hits = {"site": "b", "rule": "partner-by-its-own-link"}
    assert metric("lisp_policy_rule_hits_total", **hits) == 0
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    network.advance(0.5)
    assert metric("lisp_policy_rule_hits_total", **hits) >= 1


def test_inbound_octets_without_any_policy(network: ControlledNetwork, metric: Value) -> None:
    controller = network.controller
    asked = [
        action
        for _ in range(3)
        for action in controller.handle_timer(network.now + 20)
        if type(action).__name__ == "ReadCounters"
    ]
    assert len(asked) == len(controller.xtrs)
    settings = controller.config.xtrs[1]
    rloc = settings.rlocs[0].rloc
    field = {f"tun_ipv{rloc.version}_dst": rloc}
    for octets in (1000, 4000):
        controller.inflow.ask([settings.datapath_id])
        flow = FlowCounter(match(tunnel_id=1, **field), 1, octets)
        answer = FlowCounters(settings.datapath_id, CookieClass.DECAPSULATION, (flow,))
        assert controller.counters(answer, network.now) == []
    labels = {"xtr": settings.name, "rloc": str(rloc)}
    assert metric("lisp_rloc_received_bytes_total", **labels) == 3000


def test_the_cache_hit_ratio_has_its_parts(network: ControlledNetwork, metric: Value) -> None:
    number = network.controller.config.xtrs[0].datapath_id
    name = network.controller.config.xtrs[0].name
    network.controller.switch_measured(number, 0.002, {3: 500, 4: 5}, network.now)
    lookups = metric("lisp_xtr_table_packets_total", xtr=name, table="map-cache")
    misses = metric("lisp_xtr_table_packets_total", xtr=name, table="miss")
    assert 1 - misses / lookups == 0.99
    assert metric("lisp_openflow_round_trip_seconds_count", xtr=name) == 1
