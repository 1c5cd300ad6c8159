"""Dashboard and alert rules name only metrics and labels that exist, and help that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from lisp_sdn.api import Api, Request
from lisp_sdn.apps.events import EventStreams
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.views import LocatorState

DOCS = Path(__file__).parents[2] / "docs"
NOW = 1_800_000_000.0

CONFIG = """
sites:
  - name: east
    authentication_keys: [{key: secret-of-east}]
    eid_prefixes: [{prefix: 10.1.0.0/16}]
xtrs:
  - {name: x, site: east, datapath_id: "1", rlocs: [{rloc: 192.0.2.1}]}
policies:
  - site: east
    rules: [{name: even, match: {}, action: {ttl_minutes: 5}}]
"""

NAME = re.compile(r"\b((?:lisp|process)_[a-z0-9_]+)\b")
SELECTOR = re.compile(r"\b((?:lisp|process)_[a-z0-9_]+)\{([^}]*)\}")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Names of samples -> names of their labels, of a controller that did nothing yet."""
    controller = Controller(load(CONFIG), store=MemoryStore(), rng=Random(1))
    controller.start(NOW)
    streams = EventStreams(1, lambda: 0, lambda dropped: None)
    api = Api(controller.management, (ProcessCollector(registry=None), streams))
    response, _ = api.handle(Request("GET", "/metrics"), NOW)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(response.body.decode()):
        found.setdefault(family.name, set())
        if family.type == "counter":
            found.setdefault(f"{family.name}_total", set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    # Told with the first occurrence only.
    found["lisp_dropped_total"] = {"where", "reason"}
    found["lisp_mapping_dropped_total"] = {"reason"}
    for name in ("rtt_seconds", "reachable"):
        found[f"lisp_rloc_{name}"] |= {"xtr", "rloc"}
    for name in ("weight", "share", "target"):
        found[f"lisp_policy_balance_{name}"] |= {"site", "rule", "rloc"}
    return found


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "grafana/lisp_sdn.json").read_text())
    return document


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((DOCS / "grafana/alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for rule in alerts():
        yield rule["alert"], rule["expr"]


def test_every_metric_exists(exported: dict[str, set[str]]) -> None:
    used = {name for _, text in expressions() for name in NAME.findall(text)}
    assert len(used) > 40
    assert used <= set(exported), sorted(used - set(exported))


def test_every_label_exists(exported: dict[str, set[str]]) -> None:
    for title, text in expressions():
        for name, inside in SELECTOR.findall(text):
            labels = set(re.findall(r'(\w+)(?:=~|!=|!~|=)"', inside)) - {"job"}
            assert labels <= exported[name], f"{title}: {name}{{{inside}}}"


def test_brackets_and_ranges_are_whole() -> None:
    for title, text in expressions():
        for left, right in ("()", "[]", "{}"):
            assert text.count(left) == text.count(right), title
        # A rate is of a counter or of the buckets of a histogram, over a time.
        for inside in re.findall(r"(?:rate|increase)\(([a-z_]+)", text):
            assert inside.endswith(("_total", "_bucket")), f"{title}: rate of {inside}"
        for inside in re.findall(r"(?:rate|increase|changes)\(([^()]*)\)", text):
            assert inside.endswith("]"), f"{title}: {inside}"


def test_states_that_are_asked_for_exist() -> None:
    states = {state.value for state in LocatorState}
    for title, text in expressions():
        for given in re.findall(r'state(?:=~|=|!=)"([^"]+)"', text):
            assert set(given.split("|")) <= states, title


def test_panels_have_their_own_place_and_say_what_they_show() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_every_alert_leads_to_a_heading_of_the_operations_page() -> None:
    page = (DOCS / "operations.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["annotations"]["runbook"] in headings, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def test_metrics_in_the_operations_page_exist(exported: dict[str, set[str]]) -> None:
    used = set(re.findall(r"\b(lisp_[a-z0-9_]+)", (DOCS / "operations.md").read_text()))
    used = {name for name in used if name != "lisp_sdn"}
    assert used
    assert used <= set(exported), sorted(used - set(exported))
