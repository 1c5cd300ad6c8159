"""One run of a lab: its directory, its processes, and the certainty that nothing outlives it.

Every process that a run starts dies with it, even when the run is killed with SIGKILL (the
kernel delivers the parent-death signal). Network namespaces are anonymous: they vanish with their
last process. What may stay is a directory under /run/lispnet; the next run sweeps it, together
with any process that its pid files name, if the run that owned it is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path("/run/lispnet")
CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def _find_mininet() -> bool:
    """Make `import mininet` find the real one; False when it is not installed.

    Debian installs it for the system's Python only. This folder is no package; an origin of None
    means that Python found nothing, or nothing but this folder.
    """
    for retry in (False, True):
        if retry:
            sys.path.append("/usr/lib/python3/dist-packages")
        spec = importlib.util.find_spec("mininet")
        if spec is not None and spec.origin is not None:
            return True
        sys.modules.pop("mininet", None)
    return False


HAVE_MININET = _find_mininet()

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab cannot be built or did not behave; the text is a plain reason for a person."""


def poll(what: str, probe: Callable[[], T], timeout: float = 10.0, interval: float = 0.05) -> T:
    """Call `probe` until it returns something true; raise LabError naming `what` after `timeout`.

    timeout, interval: seconds. A LabError or OSError of the probe counts as "not yet".
    """
    deadline = time.monotonic() + timeout
    trouble: object = "no answer"
    while True:
        try:
            result = probe()
            if result:
                return result
            trouble = result
        except (LabError, OSError) as error:
            trouble = error
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:g} s for {what}; last seen: {trouble!r}")
        time.sleep(interval)


def birth(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when there is none. With the pid it
    identifies a process for good, so that a reused pid is never taken for ours."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


class Run:
    """A run directory /run/lispnet/NAME with a random NAME, and the processes started in it."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        self.name = "l" + secrets.token_hex(3)
        self.dir = root / self.name
        # The owner file must exist before another run can see the directory, or sweep it.
        unborn = root / f".{self.name}"
        (unborn / "pids").mkdir(parents=True)
        (unborn / "owner").write_text(f"{os.getpid()} {birth(os.getpid())}\n")
        unborn.rename(self.dir)
        self._children: list[subprocess.Popen[Any]] = []

    def node_dir(self, name: str) -> Path:
        """A directory of a node; short, because paths of unix sockets stay under 100 characters."""
        path = self.dir / name
        path.mkdir(exist_ok=True)
        return path

    def record(self, pid: int) -> None:
        """Remember a process of ours, for the sweep of a later run."""
        (self.dir / "pids" / str(pid)).write_text(str(birth(pid)))

    def spawn(self, argv: Sequence[str], *, inside: int, **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a process in the namespace of process `inside`; it dies when this run dies."""
        command = ["mnexec", "-a", str(inside), "setpriv", "--pdeathsig", "KILL", *argv]
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen(command, **kwargs)
        self.record(child.pid)
        self._children = [old for old in self._children if old.poll() is None]
        self._children.append(child)
        return child

    def close(self) -> None:
        """End every process of this run and remove its directory."""
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + 3
        for child in self._children:
            try:
                child.wait(max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()
        _kill_recorded(self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)


def sweep(root: Path = ROOT) -> list[str]:
    """Remove what runs with a dead owner left behind, nothing else; returns their names."""
    swept = []
    for directory in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            pid, born = (directory / "owner").read_text().split()
        except (OSError, ValueError):
            continue
        if birth(int(pid)) == born:
            continue
        _kill_recorded(directory)
        shutil.rmtree(directory, ignore_errors=True)
        swept.append(directory.name)
    return swept


def _kill_recorded(directory: Path) -> None:
    for entry in (directory / "pids").glob("*"):
        with contextlib.suppress(OSError, ValueError):
            if birth(int(entry.name)) == entry.read_text():
                os.kill(int(entry.name), signal.SIGKILL)


@contextlib.contextmanager
def in_namespace(pid: int) -> Iterator[None]:
    """Put the calling thread into the network namespace of a process.

    A socket keeps the namespace in which it was made, so `with in_namespace(pid): connect()` is all
    that a client needs.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _setns(Path(f"/proc/{pid}/ns/net"))
        try:
            yield
        finally:
            _libc.setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def _setns(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        if _libc.setns(handle, CLONE_NEWNET):
            code = ctypes.get_errno()
            raise LabError(f"cannot enter {path}: {errno.errorcode.get(code, code)}")
    finally:
        os.close(handle)


def unavailable() -> str | None:
    """Why a lab cannot run here; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tools = {
        "ovs-vswitchd": "openvswitch-switch",
        "ovsdb-server": "openvswitch-switch",
        "mnexec": "mininet",
        "tshark": "tshark",
        "ethtool": "ethtool",
        "ip": "iproute2",
        "setpriv": "util-linux",
        "ping": "iputils-ping",
    }
    missing = {package for tool, package in tools.items() if not shutil.which(tool)}
    if not HAVE_MININET:
        missing.add("mininet")
    if missing:
        return "missing Debian packages: " + " ".join(sorted(missing))
    probe = subprocess.run(["mnexec", "-n", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        return "the kernel refuses a new network namespace: " + probe.stderr.strip()
    return None
