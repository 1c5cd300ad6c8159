"""A lab removes all that it made, whatever ended it, and leaves alone what it did not make."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import labrun
import pytest

SCRIPT = """
import sys, time
sys.path[:0] = [{mininet!r}, {repo!r}]
import lispnet, two_sites
lispnet.exit_on_sigterm()
with two_sites.build() as net:
    net.start()
    print(net.run.name, flush=True)
    time.sleep(60)
"""
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def running(_lab_possible: None) -> tuple[subprocess.Popen[str], str]:
    """A lab in a process of its own, ready; and its name."""
    script = SCRIPT.format(mininet=str(REPO / "mininet"), repo=str(REPO))
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert (labrun.ROOT / name).is_dir()
    return child, name


def leftovers(name: str) -> list[str]:
    """Processes that mention the run's directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"lispnet/{name}/" in text:
            found.append(text)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(running: tuple[subprocess.Popen[str], str], number: int) -> None:
    child, name = running
    assert leftovers(name)
    child.send_signal(number)
    child.wait(20)
    labrun.poll("its processes to end", lambda: not leftovers(name), 10)
    assert not (labrun.ROOT / name).exists()


def test_killed_its_processes_die_and_the_next_run_sweeps(
    running: tuple[subprocess.Popen[str], str],
) -> None:
    child, name = running
    child.kill()
    child.wait(20)
    labrun.poll("its processes to end", lambda: not leftovers(name), 10)
    assert (labrun.ROOT / name).exists()
    assert name in labrun.sweep()
    assert not (labrun.ROOT / name).exists()


def test_the_sweep_spares_what_is_alive_or_foreign(tmp_path: Path) -> None:
    alive = labrun.Run(tmp_path)
    (tmp_path / "foreign").mkdir()
    bystander = subprocess.Popen(["sleep", "30"])
    dead = tmp_path / "ldead"
    (dead / "pids").mkdir(parents=True)
    (dead / "owner").write_text(f"{os.getpid()} 1\n")
    # The pid of a process that started at another time than the one recorded: reused, not ours.
    (dead / "pids" / str(bystander.pid)).write_text("1")
    try:
        assert labrun.sweep(tmp_path) == ["ldead"]
        assert alive.dir.is_dir()
        assert (tmp_path / "foreign").is_dir()
        time.sleep(0.1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        alive.close()


def test_two_labs_at_once_and_no_trace_in_the_root_namespace(
    running: tuple[subprocess.Popen[str], str],
) -> None:
    import two_sites

    child, name = running
    before = sorted(os.listdir("/sys/class/net"))
    try:
        with two_sites.build() as net:
            net.start()
            assert net.run.name != name
            assert sorted(os.listdir("/sys/class/net")) == before
        assert leftovers(name), "the other lab goes on"
    finally:
        child.terminate()
        child.wait(20)
    assert sorted(os.listdir("/sys/class/net")) == before
