"""Reload, switch reconnect and a restart of Open vSwitch under a running ping."""

from __future__ import annotations

import copy
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import yaml
from labrun import poll
from test_controller_loss import own_flows
from two_sites_lab import H2

INTERVAL = 0.01


@contextmanager
def pinging(lab: Any) -> Iterator[Callable[[], Any]]:
    """h1 pings h2 every 10 ms; the result ends it."""
    from labnodes import Pings

    lab.flush()
    assert lab.h1.ping(H2, 3, 0.1).received == 3
    argv = ("ping", "-n", "-i", str(INTERVAL), "-w", "60", H2)
    pings = lab.h1.spawn(*argv, stdout=subprocess.PIPE)

    def result() -> Any:
        if pings.poll() is None:
            pings.send_signal(signal.SIGINT)
        out, _ = pings.communicate(timeout=10)
        seen = Pings.read(out.decode())
        # The newest may still be under way when ping is told to stop.
        under_way = seen.sent not in seen.times and seen.sent - 1 in seen.times
        return replace(seen, sent=seen.sent - under_way)

    try:
        yield result
    finally:
        if pings.poll() is None:
            pings.kill()
            pings.communicate()


def write(lab: Any, config: dict[str, Any]) -> None:
    (lab.net.ctl.dir / "lisp.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def lispctl(lab: Any, *argv: str) -> str:
    ctl = lab.net.ctl
    command = (sys.executable, "-m", "lisp_sdn.cli.lispctl", *argv)
    return str(ctl.do(*command))


@pytest.fixture
def file(lab: Any) -> Iterator[dict[str, Any]]:
    """The configuration, to be edited; afterwards it is as it was, in the file and in force."""
    yield copy.deepcopy(lab.config)
    write(lab, lab.config)
    reply = lab.net.ctl.rest("POST", "/lisp/v1/configuration/reload", {})
    assert reply.status == 200, reply.body


def test_reloads_under_a_running_ping_lose_nothing(lab: Any, file: dict[str, Any]) -> None:
    left, right = (next(x for x in file["xtrs"] if x["name"] == n) for n in ("left", "right"))
    with pinging(lab) as result:
        # Another key, another site: no xTR has to notice.
        file["sites"][1]["authentication_keys"][0]["key"] = "rolled-over"
        keys = [{"key_id": 1, "key": "new"}]
        file["sites"].append(
            {
                "name": "new",
                "authentication_keys": keys,
                "eid_prefixes": [{"prefix": "10.9.0.0/16"}],
            }
        )
        write(lab, file)
        told = lispctl(lab, "reload", "--yes")
        assert "authentication_keys[1].key: changed" in told
        assert "+ sites[new]" in told
        assert "rolled-over" not in told
        # Both xTRs are made anew.
        file["limits"] = {"map_cache_entries": 5000, "miss_rate": 1500}
        write(lab, file)
        lispctl(lab, "reload", "--yes")
        # Traffic moves to the other RLOC, and back; by a signal this time.
        for priority in (3, 1):
            right["rlocs"][0]["priority"] = priority
            write(lab, file)
            lab.net.ctl.process.send_signal(signal.SIGHUP)
            used = "2001:db8:b::1" if priority == 3 else "203.0.113.1"
            poll(f"traffic to {used}", lambda used=used: sends_to(lab, used), 5)
        # One tenant less, then again.
        port = left["eid_ports"].pop()
        for ports in (left["eid_ports"], [*left["eid_ports"], port]):
            left["eid_ports"] = ports
            write(lab, file)
            lispctl(lab, "reload", "--yes")
        pings = result()
    assert pings.received == pings.sent > 30, pings.text[-400:]
    assert lab.node("t1").ping("10.2.0.1", 5, 0.2).received >= 4
    lab.wait_connected()


def sends_to(lab: Any, rloc: str) -> bool:
    return any(rloc in group for group in lab.left.groups())


def test_a_reload_without_a_difference_sends_nothing(lab: Any, file: dict[str, Any]) -> None:
    lab.flush()
    assert lab.h1.ping(H2, 2, 0.1).received == 2
    before = own_flows(lab, "left")
    with lab.openflow("left") as openflow:
        assert "nothing differs" in lispctl(lab, "reload")
        lab.net.ctl.process.send_signal(signal.SIGHUP)
        poll("the reload", lambda: lab.get("/configuration")["reloaded"], 5)
        assert lab.h1.ping(H2, 2, 0.1).received == 2
    assert openflow.count("openflow_v4.type == 14 || openflow_v4.type == 15") == 0
    assert own_flows(lab, "left").keys() == before.keys()


def test_a_mistake_in_the_file_changes_nothing(lab: Any, file: dict[str, Any]) -> None:
    file["xtrs"][1]["site"] = "nobody"
    file["xtrs"][1]["datapath_id"] = file["xtrs"][0]["datapath_id"]
    write(lab, file)
    reply = lab.net.ctl.rest("POST", "/lisp/v1/configuration/reload", {})
    assert reply.status == 422
    told = str(reply.body["errors"])
    assert "xtrs[1].site" in told
    assert "xtrs[1].datapath_id" in told
    lab.net.ctl.process.send_signal(signal.SIGHUP)
    poll(
        "the refusal in the log", lambda: "configuration.refused" in lab.net.ctl.log.read_text(), 5
    )
    assert lab.h1.ping(H2, 2, 0.1).received == 2


def test_a_switch_that_reconnects_loses_nothing(lab: Any) -> None:
    with pinging(lab) as result:
        before = own_flows(lab, "left")
        since = [x["connected_since"] for x in lab.get("/xtrs")["items"]]
        with lab.openflow("left") as openflow:
            for bridge in ("br0", "br-phy"):
                lab.left.appctl("bridge/reconnect", bridge)
            poll(
                "a new connection",
                lambda: since != [x["connected_since"] for x in lab.get("/xtrs")["items"]],
                10,
            )
            lab.wait_connected()
            assert openflow.count("openflow_v4.type == 14") == 0
        pings = result()
    assert pings.received == pings.sent > 20, pings.text[-400:]
    assert own_flows(lab, "left").keys() >= before.keys()


def test_a_restart_of_open_vswitch_costs_only_its_own_time(lab: Any) -> None:
    """The switch comes back with empty tables; nobody has to do anything."""
    with pinging(lab) as result:
        lab.left.kill_switch()
        lab.left.launch()
        lab.left.provision(1600)
        lab.wait_connected()
        poll("answers again", lambda: lab.h1.ping(H2, 1, 0.1).received, 10)
        pings = result()
    answered = {int(n) for n in re.findall(r"icmp_seq=(\d+)", pings.text)}
    lost = [n for n in range(1, pings.sent + 1) if n not in answered]
    # One gap, from the end of the switch until it has its rules again.
    assert lost, "the switch was away"
    assert len(lost) == lost[-1] - lost[0] + 1, lost
    assert len(lost) * INTERVAL < 10
