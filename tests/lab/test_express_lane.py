"""The express lane on a real switch: what it sends is taken, and found again as it was sent."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from labrun import poll
from two_sites_lab import BLUE, RIGHT, flood

NETWORKS = 12


@pytest.mark.parametrize(
    ("prefix", "target"),
    [
        ("10.60.{}.0/24", "10.60.{}.1"),
        ("10.61.0.{}/32", "10.61.0.{}"),
        ("2001:db8:60:{}::/64", "2001:db8:60:{}::1"),
    ],
)
def test_set_ups_are_answered_at_once(lab: Any, prefix: str, target: str) -> None:
    prefixes = [prefix.format(number) for number in range(NETWORKS)]
    targets = [target.format(number) for number in range(NETWORKS)]
    paths = ["/lisp/v1/mappings/" + quote(f"[{BLUE}] {name}", safe="") for name in prefixes]
    for path in paths:
        lab.net.ctl.rest("PUT", path, {"locators": [{"rloc": RIGHT}]})
    try:
        lab.flush("left")
        # The first one brings the RLOC-set's group and next hop.
        flood(lab.h1, targets[0], 1)
        poll("the first flow", lambda: lab.cached_flows("left"), 5)
        time.sleep(0.5)
        before = lab.counted("express-set-ups", "left")
        for one in targets[1:]:
            flood(lab.h1, one, 1)
        poll("all flows", lambda: len(lab.cached_flows("left")) >= NETWORKS, 5)
        after = lab.counted("express-set-ups", "left")
        assert after - before == NETWORKS - 1
        poll("a packet through each", lambda: all(f.packets for f in lab.cached_flows("left")), 5)
        flows = {flow.identity: flow for flow in lab.cached_flows("left")}
        assert len(lab.map_cache("left")) == NETWORKS
        _restart_changes_nothing(lab, flows)
    finally:
        for path in paths:
            lab.net.ctl.rest("DELETE", path)


def _restart_changes_nothing(lab: Any, flows: dict[str, Any]) -> None:
    lab.net.ctl.kill()
    with lab.openflow("left") as openflow:
        lab.ensure_running()
        poll("the map-cache", lambda: len(lab.map_cache("left")) >= NETWORKS, 10)
    assert openflow.count("openflow_v4.type == 14") == 0
    assert set(flows) <= {flow.identity for flow in lab.cached_flows("left")}
