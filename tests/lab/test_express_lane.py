"""The express lane on a real switch: what it sends is taken, and found again as it was sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from labrun import poll
from two_sites_lab import BLUE, RIGHT, flood

NETWORKS = 12
KINDS = {
    "10.60.{}.0/24": "10.60.{}.1",
    "10.61.0.{}/32": "10.61.0.{}",
    "2001:db8:60:{}::/64": "2001:db8:60:{}::1",
}
"""EID-prefixes, and an EID in each."""


@pytest.fixture(scope="module")
def mapped(session_lab: Any) -> Iterator[Any]:
    """The lab with static mappings that outlive a restart."""
    lab = session_lab
    before = lab.config
    mappings = [
        {"eid_prefix": prefix.format(number), "iid": BLUE, "locators": [{"rloc": RIGHT}]}
        for prefix in KINDS
        for number in range(NETWORKS)
    ]
    lab.config = {**before, "mappings": mappings}
    lab.net.ctl.kill()
    lab.ensure_running()
    yield lab
    lab.config = before
    lab.net.ctl.kill()
    lab.ensure_running()
    # Flows that are read back after a flush are entries again.
    poll("empty map-caches", lambda: _emptied(lab), 20)


def _emptied(lab: Any) -> bool:
    for name in lab.net.xtrs:
        lab.net.ctl.rest("DELETE", f"/lisp/v1/xtrs/{name}/map-cache")
    return not any(lab.cached_flows(name) for name in lab.net.xtrs)


@pytest.mark.parametrize("target", KINDS.values())
def test_set_ups_are_answered_at_once(mapped: Any, target: str) -> None:
    lab = mapped
    lab.flush("left")
    # The first one brings the RLOC-set's group and next hop.
    flood(lab.h1, target.format(0), 1)
    poll("the first flow", lambda: lab.cached_flows("left"), 5)
    time.sleep(0.5)
    before = lab.counted("express-set-ups", "left")
    for number in range(1, NETWORKS):
        flood(lab.h1, target.format(number), 1)
    poll("all flows", lambda: len(lab.cached_flows("left")) >= NETWORKS, 5)
    assert lab.counted("express-set-ups", "left") - before == NETWORKS - 1
    poll("a packet through each", lambda: all(f.packets for f in lab.cached_flows("left")), 5)
    assert len(lab.map_cache("left")) == NETWORKS


def test_a_restart_finds_them_as_they_were_sent(mapped: Any) -> None:
    lab = mapped
    flows = {flow.identity for flow in lab.cached_flows("left")}
    assert len(flows) == NETWORKS
    lab.net.ctl.kill()
    with lab.openflow("left") as openflow:
        lab.ensure_running()
        poll("the map-cache", lambda: len(lab.map_cache("left")) >= NETWORKS, 10)
        assert {entry["via"] for entry in lab.map_cache("left")} == {"map-reply"}
    assert openflow.count("openflow_v4.type == 14") == 0
    assert flows == {flow.identity for flow in lab.cached_flows("left")}
