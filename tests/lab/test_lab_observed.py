"""Metrics and events of real switches: what Prometheus and a person at the event stream see."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from labrun import poll
from prometheus_client.parser import text_string_to_metric_families
from two_sites_lab import H2

STREAM = ("curl", "-sN", "-m", "20", "-H", "Accept: text/event-stream")
URL = "http://127.0.0.1:8080"


def metrics(lab: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = lab.node("ctl").do("curl", "-s", f"{URL}/metrics")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_ping_shows_in_the_metrics(lab: Any) -> None:
    left = ("xtr", "left")
    lab.flush("left", "right")
    before = metrics(lab)
    assert lab.h1.ping(H2, 20, 0.05).received == 20
    after = metrics(lab)
    assert after["lisp_xtr_connected", (left,)] == 1
    resolved = "lisp_xtr_resolution_seconds_count", (left,)
    assert after[resolved] > before[resolved]
    spent = "lisp_xtr_resolution_seconds_sum", (left,)
    # Within the machine, and the first packet was not lost: well below a second.
    assert 0 < after[spent] - before[spent] < 1.0 * (after[resolved] - before[resolved])
    held = "lisp_xtr_packets_held_total", (left,)
    assert after[held] > before[held]

    def looked_up() -> bool:
        table = ("table", "map-cache")
        name = "lisp_xtr_table_packets_total", (table, left)
        return metrics(lab)[name] - before[name] >= 20

    poll("the switch tells its table statistics", looked_up, 25)
    now = metrics(lab)
    assert now["lisp_openflow_round_trip_seconds_count", (left,)] >= 1
    count = now["lisp_openflow_round_trip_seconds_count", (left,)]
    assert 0 < now["lisp_openflow_round_trip_seconds_sum", (left,)] / count < 1.0


def test_inbound_octets_are_told_without_a_policy(lab: Any) -> None:
    def received() -> float:
        found = metrics(lab)
        return sum(
            value
            for (name, labels), value in found.items()
            if name == "lisp_rloc_received_bytes_total" and ("xtr", "right") in labels
        )

    # The first look finds what was carried before and leaves it out.
    assert lab.h1.ping(H2, 3, 0.05).received == 3
    before = received()

    def more() -> bool:
        lab.h1.ping(H2, 5, 0.05)
        return received() > before + 400

    poll("the inbound octets of right", more, 40)


def test_the_event_stream_tells_of_a_map_cache_entry(lab: Any) -> None:
    lab.flush("left")
    path = f"{URL}/lisp/v1/events?kind=map-cache&xtr=left"
    stream = lab.node("ctl").spawn(*STREAM, path, stdout=subprocess.PIPE, text=True)
    try:
        assert stream.stdout.readline() == "retry: 2000\n"
        assert lab.h1.ping(H2, 1).received == 1
        for line in stream.stdout:
            if line.startswith("data: "):
                break
        event = json.loads(line.removeprefix("data: "))
        assert event["kind"] == "map-cache.added"
        assert event["data"]["xtr"] == "left"
    finally:
        stream.terminate()
        stream.wait(10)
