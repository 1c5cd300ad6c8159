"""The metrics parse, agree with what is counted, and are complete from the start."""

from __future__ import annotations

import re
from collections import Counter as Tally
from pathlib import Path

import pytest
from api_fake import NOW, Client, FakeBackend, filled
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

import lisp_sdn
from lisp_sdn.api import Api, Request
from lisp_sdn.api import metric_names as names
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.views import Counter

PACKAGE = Path(lisp_sdn.__file__).parent

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(client: Client) -> list[Metric]:
    response = client("GET", "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return list(text_string_to_metric_families(response.body.decode()))


def samples(client: Client) -> Samples:
    found = [sample for family in families(client) for sample in family.samples]
    values = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in found}
    assert len(values) == len(found), "a series was told twice"
    return values


@pytest.fixture
def backend() -> FakeBackend:
    return filled()


@pytest.fixture
def client(backend: FakeBackend) -> Client:
    return Client(backend)


def test_every_family_has_a_type_and_a_help_text(client: Client) -> None:
    for family in families(client):
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert len(family.documentation) > 8, family.name
        assert family.name.startswith("lisp_")


def test_counters_of_the_mapping_system_are_named_after_yang(client: Client) -> None:
    found = samples(client)
    assert found["lisp_map_registers_in_total", ()] == 12
    # From 0 on: a rate needs the time before the first one, too.
    assert found["lisp_map_registers_in_auth_failed_total", ()] == 0
    assert found["lisp_proxy_reply_records_out_total", ()] == 0
    assert found["lisp_xtr_map_cache_misses_total", (("xtr", "xtr-west"),)] == 0


def test_drops_have_their_reason_as_a_label(client: Client, backend: FakeBackend) -> None:
    backend.counts += [
        Counter("dropped-rate-limited", 7.0),
        Counter("dropped", 2.0, (("reason", "held-total"), ("where", "xtr.xtr-east"))),
    ]
    found = samples(client)
    reason = (("reason", "bad_digest"), ("where", "map-server"))
    assert found["lisp_dropped_total", reason] == 3
    held = (("reason", "held-total"), ("where", "xtr.xtr-east"))
    assert found["lisp_dropped_total", held] == 2
    assert found["lisp_mapping_dropped_total", (("reason", "rate-limited"),)] == 7


def test_a_label_is_escaped(client: Client, backend: FakeBackend) -> None:
    backend.counts.append(Counter("events", 1.0, (("kind", 'odd "\n\\ kind'),)))
    assert samples(client)["lisp_events_total", (("kind", 'odd "\n\\ kind'),)] == 1


def test_the_state_of_rlocs_and_switches(client: Client) -> None:
    found = samples(client)
    east = (("rloc", "192.0.2.1"), ("xtr", "xtr-east"))
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in found.items()
        if name == "lisp_rloc_state" and set(east) <= set(labels)
    }
    assert [state for state, value in states.items() if value] == ["up"]
    assert {"down", "drained", "no-route", "unreachable"} <= set(states)
    probed = {
        (name, dict(labels)["rloc"]): value
        for (name, labels), value in found.items()
        if name in ("lisp_rloc_rtt_seconds", "lisp_rloc_reachable")
    }
    assert probed == {
        ("lisp_rloc_rtt_seconds", "192.0.2.9"): 0.004,
        ("lisp_rloc_rtt_seconds", "192.0.2.10"): 0.005,
        ("lisp_rloc_reachable", "192.0.2.9"): 1,
        ("lisp_rloc_reachable", "192.0.2.10"): 0,
    }
    assert found["lisp_xtr_connected", (("xtr", "xtr-east"),)] == 1
    assert found["lisp_xtr_connected", (("xtr", "xtr-west"),)] == 0
    assert found["lisp_xtr_problems", (("xtr", "xtr-east"),)] == 1
    assert found["lisp_xtr_port_up", (("port", "eth1"), ("xtr", "xtr-east"))] == 1


def test_octets_of_an_rloc_stand_beside_its_weight(client: Client) -> None:
    found = samples(client)
    west = (("rloc", "192.0.2.2"), ("site", "west"), ("xtr", "xtr-west"))
    assert found["lisp_rloc_received_bytes_total", west] == 1000
    assert found["lisp_rloc_weight", west] == 30
    assert found["lisp_rloc_priority", west] == 2


def test_histograms_are_cumulative(client: Client) -> None:
    found = samples(client)
    for name in ("lisp_xtr_resolution_seconds", "lisp_openflow_round_trip_seconds"):
        east = ("xtr", "xtr-east")
        counts = [found[f"{name}_bucket", (("le", le), east)] for le in ("0.001", "1.0", "+Inf")]
        assert counts == [1, 3, 4]
        assert found[f"{name}_count", (east,)] == 4
        assert found[f"{name}_sum", (east,)] == 4.5


def test_hits_of_a_rule_are_told_from_0_on(client: Client, backend: FakeBackend) -> None:
    rule = {"name": "drain", "match": {}, "action": {"ttl_minutes": 5}}
    policy = SitePolicy.model_validate({"site": "east", "rules": [rule]})
    backend.policing.apply([policy], who="t", why="t", now=NOW)
    labels = (("rule", "drain"), ("site", "east"))
    assert samples(client)["lisp_policy_rule_hits_total", labels] == 0
    backend.counts.append(Counter("policy-rule-hits", 9.0, labels))
    assert samples(client)["lisp_policy_rule_hits_total", labels] == 9


def test_metrics_of_the_edges_and_the_usual_path(backend: FakeBackend) -> None:
    class Edge:
        def collect(self) -> list[Metric]:
            return [GaugeMetricFamily("lisp_edge", "Of an edge", value=3)]

    # As Prometheus asks.
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    request = Request("GET", "/metrics", {}, {"Accept": accept})
    response, _ = Api(backend, [Edge()]).handle(request, NOW)
    assert response.status == 200
    assert b"\nlisp_edge 3.0\n" in response.body


def test_nothing_is_told_to_who_has_no_token(backend: FakeBackend) -> None:
    token = {"name": "prometheus", "token": "0123456789abcdef0123"}
    rest = backend.settings.rest.model_validate({"tokens": [token]})
    backend.settings = backend.settings.model_copy(update={"rest": rest})
    request = Request("GET", "/metrics", {}, {})
    assert Api(backend).handle(request, NOW)[0].status == 401
    allowed = Request("GET", "/metrics", {}, {"Authorization": f"Bearer {token['token']}"})
    assert Api(backend).handle(allowed, NOW)[0].status == 200


def test_every_counter_in_the_code_is_listed_with_a_help_text() -> None:
    counted: Tally[str] = Tally()
    for path in (*PACKAGE.glob("mapping/*.py"), *PACKAGE.glob("xtr/*.py")):
        listed = names.XTR_COUNTERS if path.parent.name == "xtr" else names.MAPPING_COUNTERS
        for name in re.findall(r'(?:counters\[|\bcount\()"([a-z0-9-]+)"', path.read_text()):
            counted[name] += 1
            assert name in listed, f"{path.name} counts {name!r}; give it a help text"
    # The pattern still finds them.
    assert len(counted) > 30
