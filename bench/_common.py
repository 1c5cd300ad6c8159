"""What the measurements share: a result line, processor time, the load generator, a UDP echo."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TICK = os.sysconf("SC_CLK_TCK")


def commit() -> str:
    """The commit that is measured, with a "+" when the tree differs from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    return head + ("+" if changed else "")


def heading(what: str) -> None:
    """Name what follows, the machine and the moment."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    load = os.getloadavg()[0]
    day = time.strftime("%Y-%m-%d")
    print(f"# {what}, {day}, commit {commit()}, Python {sys.version.split()[0]}")
    print(f"# {os.cpu_count()} x {model}, load average before {load:.1f}", flush=True)


def row(what: str, figure: str, yardstick: str = "", ratio: float | None = None) -> None:
    """One result: what, figure, yardstick of the same run, ratio of the two."""
    parts = [f"{what:<58}", f"{figure:>24}"]
    if yardstick:
        parts.append(f"  {yardstick}")
    if ratio is not None:
        parts.append(f"  ratio {ratio:.2f}")
    print("".join(parts), flush=True)


def resident_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process, octets."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process, all its threads, has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def free_port(address: str = "127.0.0.1") -> int:
    """A UDP port that nobody uses now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator saw. p50, p99: microseconds. busy: its own processor seconds."""

    sent: int
    received: int
    lost: int
    seconds: float
    p50: float
    p99: float
    busy: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.received / self.seconds


def compiler() -> str:
    """The C compiler of this machine."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise SystemExit("no C compiler (cc): what makes the load is written in C, in bench/")
    return found


class Generator:
    """The load generator `loadgen.c`, compiled for this run."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="lisp-bench-")
        self._program = str(Path(self._directory.name) / "loadgen")
        subprocess.run(
            [compiler(), "-O2", "-o", self._program, str(HERE / "loadgen.c")], check=True
        )
        self._files = 0

    def messages(self, messages: Iterable[bytes]) -> Path:
        """A file of messages for `run`."""
        self._files += 1
        path = Path(self._directory.name) / f"messages-{self._files}"
        with path.open("wb") as file:
            for message in messages:
                file.write(len(message).to_bytes(2, "big") + message)
        return path

    def run(
        self,
        mode: str,
        port: int,
        messages: Path,
        *,
        seconds: float,
        outstanding: int = 256,
        flows: int = 8,
    ) -> Load:
        """Keep `outstanding` messages in flight. mode, flows: see loadgen.c."""
        command = [self._program, mode, "127.0.0.1", str(port), str(seconds)]
        command += [str(outstanding), str(flows), str(messages)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=seconds + 30
        )
        sent, received, lost, took, p50, p99, busy = done.stdout.split()
        return Load(
            int(sent), int(received), int(lost), float(took), float(p50), float(p99), float(busy)
        )


ECHO = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
sock.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
buffer = memoryview(bytearray(65536))
receive, send = sock.recvfrom_into, sock.sendto
while True:
    length, source = receive(buffer)
    send(buffer[:length], source)
"""
"""The yardstick: the least that a plain blocking Python server can do for a datagram."""


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What is started meanwhile stays on one processor. None, or a machine with one: anywhere."""
    usual = os.sched_getaffinity(0)
    cores = sorted(usual)
    if core is not None and len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def _drain(lines: IO[str]) -> None:
    """Read on: a server whose output nobody reads stops when the pipe is full."""
    with contextlib.suppress(ValueError):
        for _ in lines:
            pass


@contextlib.contextmanager
def process(
    *command: str, ready: str = "ready", timeout: float = 120.0, core: int | None = None
) -> Iterator[int]:
    """A server in a process of its own; its pid, once it printed a line with `ready` in it.

    core: the processor that it stays on.
    """
    with pinned(core):
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
    try:
        assert child.stdout is not None
        deadline = time.monotonic() + timeout
        said: list[str] = []
        for line in child.stdout:
            if ready in line:
                break
            if time.monotonic() > deadline:
                raise SystemExit(f"{command[:3]} is not ready after {timeout} s")
            said.append(line)
        else:
            raise SystemExit(f"{command[:3]} ended before it was ready: {''.join(said[-5:])}")
        threading.Thread(target=_drain, args=(child.stdout,), daemon=True).start()
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def echo() -> Iterator[tuple[int, int]]:
    """The plain UDP echo: (pid, port)."""
    port = free_port()
    with process(sys.executable, "-c", ECHO, str(port)) as pid:
        yield pid, port


def random_prefixes(count: int, bits: int, length: int, rng: random.Random) -> list[int]:
    """Distinct random prefixes of one length, as addresses, ascending."""
    found: set[int] = set()
    shift = bits - length
    while len(found) < count:
        found.add(rng.getrandbits(length) << shift)
    return sorted(found)
