"""ryu-manager lisp_sdn.apps, as a person starts and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0

CONFIGURATION = """
control: {listen: ["127.0.0.1:0"]}
rest: {listen: "127.0.0.1:0"}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Manager:
    """A ryu-manager process with its configuration, and the lines that it wrote."""

    def __init__(self, folder: Path, configuration: str, port: int) -> None:
        (folder / "lisp.yaml").write_text(configuration)
        (folder / "ryu.conf").write_text(f"[lisp_sdn]\nconfig = {folder / 'lisp.yaml'}\n")
        self.output = folder / "output"
        # In a bare checkout, too: the folder is named, and nothing need be installed.
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "import sys; from ryu.cmd.manager import main; sys.exit(main())",
                    "--config-file",
                    str(folder / "ryu.conf"),
                    "--ofp-listen-host=127.0.0.1",
                    f"--ofp-tcp-listen-port={port}",
                    "lisp_sdn.apps",
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> str:
        """The line with these words."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and self.process.poll() is None:
            for line in self.text.splitlines():
                if words in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no {words!r} in:\n{self.text}")

    def wait(self) -> int:
        return self.process.wait(DEADLINE)


@pytest.fixture
def managers() -> Iterator[list[Manager]]:
    started: list[Manager] = []
    yield started
    for manager in started:
        manager.process.kill()
        manager.process.wait()


def test_it_listens_says_so_answers_and_ends(tmp_path: Path, managers: list[Manager]) -> None:
    port = free_port()
    manager = Manager(tmp_path, CONFIGURATION, port)
    managers.append(manager)
    line = manager.wait_for("REST: listening on ")
    url = line.rpartition(" ")[2]
    assert f"OpenFlow: listening on TCP 127.0.0.1:{port}\n" in manager.text
    assert "LISP control: listening on UDP 127.0.0.1:" in manager.text
    with urllib.request.urlopen(f"{url}/status", timeout=DEADLINE) as response:
        assert response.status == 200
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as switch:
        assert switch.recv(8)[:2] == b"\x04\x00"
    control = int(manager.wait_for("LISP control").rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"\xff" * 30, ("127.0.0.1", control))
    manager.wait_for("dropped ")
    manager.process.send_signal(signal.SIGTERM)
    assert manager.wait() == 0
    assert "Traceback" not in manager.text
    assert "Eventlet" not in manager.text
    assert manager.text.endswith("stopping\nstopped\n")


def test_a_port_in_use_is_one_line_and_a_failure(tmp_path: Path, managers: list[Manager]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        manager = Manager(tmp_path, CONFIGURATION, port)
        managers.append(manager)
        assert manager.wait() == 1
    expected = f"OpenFlow: cannot listen on TCP 127.0.0.1:{port}: Address already in use"
    assert expected in manager.text
    assert "Traceback" not in manager.text
    assert "listening on" not in manager.text


def test_every_mistake_in_the_configuration_is_told_and_nothing_started(
    tmp_path: Path, managers: list[Manager]
) -> None:
    wrong = "xtrs: [{name: a, datapath_id: zz, rlocs: [{rloc: 192.0.2.300}]}]\nnonsense: 1\n"
    manager = Manager(tmp_path, wrong, free_port())
    managers.append(manager)
    assert manager.wait() == 1
    for words in ("xtrs[0].datapath_id", "xtrs[0].rlocs[0].rloc", "nonsense: unknown key"):
        assert f"{tmp_path / 'lisp.yaml'}: {words}" in manager.text
    assert "Traceback" not in manager.text
    assert "listening on" not in manager.text
