"""ryu-manager lisp_sdn.apps as Prometheus, a follower of the events and a log collector see it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_ryu_manager import DEADLINE, Manager, free_port

CONFIGURATION = """
control: {listen: ["127.0.0.1:0"]}
rest: {listen: "127.0.0.1:0"}
log: {format: json}
sites:
  - name: east
    authentication_keys: [{key: a-secret-never-told}]
    eid_prefixes: [{prefix: 10.1.0.0/16}]
xtrs:
  - {name: xtr-east, site: east, datapath_id: "1", rlocs: [{rloc: 192.0.2.1}]}
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path, CONFIGURATION, free_port())
    yield made
    made.process.kill()
    made.process.wait()


def test_a_refusal_shows_in_metrics_events_and_log(manager: Manager) -> None:
    url = json.loads(manager.wait_for("REST: listening on "))["message"].rpartition(" ")[2]
    request = urllib.request.Request(
        f"{url}/events?after=0", headers={"Accept": "text/event-stream"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as stream:
        control = json.loads(manager.wait_for("LISP control"))["message"].rpartition(":")[2]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"\x30" + bytes(3), ("127.0.0.1", int(control)))
        kinds = {}
        while "refusal" not in kinds:
            line = stream.readline().decode()
            assert line, "the stream ended"
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                kinds[event["kind"]] = event
    assert kinds["registration.added"]["subject"] == "10.1.0.0/16"
    refused = kinds["refusal"]
    assert refused["subject"] == "127.0.0.1"

    base = url.removesuffix("/lisp/v1")
    with urllib.request.urlopen(f"{base}/metrics", timeout=DEADLINE) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = {(s.name, s.labels.get("reason")): s.value for f in families for s in f.samples}
    assert samples["lisp_dropped_total", refused["data"]["reason"]] == 1
    assert samples["lisp_registrations", None] == 1
    assert samples["process_resident_memory_bytes", None] > 1 << 20

    line = json.loads(manager.wait_for('"where"'))
    assert (line["where"], line["reason"]) == ("map-server", refused["data"]["reason"])
    manager.process.send_signal(signal.SIGTERM)
    assert manager.wait() == 0
    assert "a-secret-never-told" not in manager.text
    # Ryu's first lines come before the configuration is read.
    lines = manager.text.splitlines()
    first = next(number for number, text in enumerate(lines) if text.startswith("{"))
    assert all(json.loads(text)["level"] for text in lines[first:])
