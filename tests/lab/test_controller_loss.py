"""Kill -9 of the controller: forwarding goes on, and a restart finds its flows again."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from labrun import poll
from two_sites_lab import H2, H2_V6, Flow


def own_flows(lab: Any, xtr: str) -> dict[str, Flow]:
    flows = [Flow.read(text) for text in lab.net.xtrs[xtr].flows()]
    return {flow.identity: flow for flow in flows if flow.kind}


def test_kill_and_restart_lose_nothing_and_keep_the_flows(lab: Any) -> None:
    lab.flush()
    assert lab.h1.ping(H2, 3, 0.1).received == 3
    before = {name: own_flows(lab, name) for name in lab.net.xtrs}
    groups = {name: node.groups() for name, node in lab.net.xtrs.items()}
    assert lab.cached_flows("left")
    assert groups["left"], "map-cache entries share groups"

    from labnodes import Pings

    pings = lab.h1.spawn("ping", "-n", "-i", "0.02", "-c", "600", H2, stdout=subprocess.PIPE)
    started = time.time()
    time.sleep(1)
    lab.net.ctl.kill()
    time.sleep(2)
    restarted = time.time()
    lab.ensure_running()
    # A new miss resolves while the old ping still runs.
    assert lab.h1.ping(H2_V6, 3, 0.1).received == 3
    out, _ = pings.communicate(timeout=60)
    result = Pings.read(out.decode())
    assert result.received == result.sent == 600, result.text[-400:]
    assert time.time() - started > 10

    for name in lab.net.xtrs:
        after = own_flows(lab, name)
        gone = set(before[name]) - set(after)
        assert not gone, f"flows of {name} were flushed: {sorted(gone)}"
        for identity, flow in before[name].items():
            kept = after[identity]
            assert kept.duration > time.time() - restarted, f"installed anew: {kept.text}"
            assert kept.packets >= flow.packets, f"counters were reset: {kept.text}"
        assert set(groups[name]) <= set(lab.net.xtrs[name].groups())


def test_the_restarted_controller_knows_the_entries(lab: Any) -> None:
    """Recognised flows are map-cache entries again: shown, and gone when flushed."""
    lab.flush()
    assert lab.h1.ping(H2, 2, 0.1).received == 2
    keys = {entry["eid"] for entry in lab.map_cache("left")}
    lab.net.ctl.kill()
    lab.ensure_running()
    poll(
        "the entries in the restarted controller",
        lambda: keys <= {entry["eid"] for entry in lab.map_cache("left")},
        10,
    )
    lab.flush()
    assert lab.h1.ping(H2, 2, 0.1).received == 2


def test_cached_traffic_flows_while_the_controller_is_away(lab: Any) -> None:
    assert lab.h1.ping(H2, 2, 0.1).received == 2
    lab.net.ctl.kill()
    result = lab.h1.ping(H2, 20, 0.05)
    assert result.received == 20, result.text


def test_a_restart_changes_no_flow(lab: Any) -> None:
    """Wanted minus installed is empty: not one flow-mod for what is already there."""
    lab.flush()
    assert lab.h1.ping(H2, 2, 0.1).received == 2
    lab.net.ctl.kill()
    with lab.openflow("left") as openflow:
        lab.ensure_running()
        poll("the map-cache", lambda: lab.map_cache("left"), 10)
    flow_mods = openflow.count("openflow_v4.type == 14")
    assert flow_mods == 0, openflow.rows("openflow_v4.type == 14", "openflow_v4.flowmod.table_id")
