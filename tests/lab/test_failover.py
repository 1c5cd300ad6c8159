"""Links are cut, RLOCs drained, paths swallow packets: traffic takes the RLOC that is left."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from failover_lab import B1, BACKUP, PRIMARY, WEB, Lab, Tap, stream
from labrun import poll

TRIALS = 4


@pytest.fixture(scope="module")
def net(_lab_possible: None) -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def test_probes_measure_the_rtt_of_every_rloc(net: Lab) -> None:
    for name in ("berlin", "athens"):
        for rloc, entry in net.states(name).items():
            assert entry["state"] == "up", (name, rloc, entry)
            assert 0 < entry["rtt_seconds"] < 0.5, (name, rloc, entry)


def test_a_cut_link_at_either_end(net: Lab) -> None:
    """From the cut to the first packet on the surviving RLOC, towards it and from it.

    From the kernel's word of the cut on: it speaks at most once a second, for all labs together.
    """
    trials = [net.cut() for _ in range(TRIALS)]
    for times in zip(*((to - told, out - told) for to, out, told in trials), strict=True):
        assert statistics.median(times) < 0.3, trials
        assert max(times) < 1.0, trials


def test_a_drained_rloc_loses_nothing(net: Lab) -> None:
    with Tap(net.net.core, "athens-1") as tap, stream(net.b1, WEB, 0.01):
        pinging = net.b1.spawn(
            *("ping", "-n", "-q", "-i", "0.005", "-c", "800", WEB), stdout=-1, text=True
        )
        time.sleep(1)
        assert tap.since(0, destination=PRIMARY)
        _put(net, "PUT")
        drained = time.monotonic()
        time.sleep(1)
        assert not tap.since(drained + 0.3), "packets on a drained uplink"
        assert net.states()[PRIMARY]["state"] == "drained"
        _put(net, "DELETE")
        text, _ = pinging.communicate(timeout=30)
    assert "800 packets transmitted, 800 received" in text, text
    assert net.normal()


def _put(net: Lab, method: str) -> None:
    reply = net.net.ctl.rest(method, f"/lisp/v1/rlocs/{PRIMARY}/drain")
    assert (reply.status, reply.body["drained"]) == (200, method == "PUT"), reply


def test_a_path_that_swallows_packets_is_found_by_probing(net: Lab) -> None:
    with Tap(net.net.core, "athens-2") as tap, stream(net.b1, WEB):
        time.sleep(0.3)
        began = time.monotonic()
        net.net.core.blackhole(PRIMARY)
        try:
            first = poll("traffic to the backup", lambda: tap.since(began, "", BACKUP), 5, 0.01)
            seen: Any = poll(
                "the RLOC to be unreachable",
                lambda: net.states()[PRIMARY]["state"] == "unreachable" and net.states(),
                5,
            )
        finally:
            net.net.core.blackhole(PRIMARY, on=False)
    assert first[0] - began < 1.5
    assert seen[BACKUP]["state"] == "up"
    poll("the primary to be used again", net.normal, 90)
    assert net.b1.ping(WEB, 3, 0.1).received == 3
    assert net.web.ping(B1, 3, 0.1).received == 3
