"""An OpenFlow 1.3 switch without a datapath, `fakeswitch.c`, compiled for this run."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from _common import HERE, compiler, pinned


@dataclass(frozen=True, slots=True)
class Connected:
    """seconds: from the TCP connection to the first modification or packet-out after the switch
    had told what it holds; 0 when none came. adds, deletes: flow-mods. held: flows at the end."""

    seconds: float
    adds: int
    deletes: int
    held: int


@dataclass(frozen=True, slots=True)
class Setups:
    """Packet-ins, each answered by a packet-out of its frame. p50, p99: microseconds."""

    sent: int
    answered: int
    lost: int
    seconds: float
    p50: float
    p99: float
    adds: int
    held: int

    @property
    def rate(self) -> float:
        """Answered packet-ins per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def text(self) -> str:
        """Rate, percentiles, and what was lost."""
        return (
            f"{self.rate:,.0f} set-ups/s, p50 {self.p50 / 1000:.2f} ms, "
            f"p99 {self.p99 / 1000:.2f} ms, lost {self.lost}"
        )


class FakeSwitch:
    """datapath_id: its own. destinations: IPv4 EIDs as numbers, one for each packet-in."""

    def __init__(
        self, datapath_id: int, destinations: Iterable[int], core: int | None = None
    ) -> None:
        self._datapath_id = datapath_id
        self._destinations = b"".join(number.to_bytes(4, "big") for number in destinations)
        self._core = core
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        here = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lisp-bench-")))
        program, addresses = here / "fakeswitch", here / "destinations"
        subprocess.run(
            [compiler(), "-O2", "-o", str(program), str(HERE / "fakeswitch.c")], check=True
        )
        addresses.write_bytes(self._destinations)
        with pinned(self._core):
            self._process = subprocess.Popen(
                [str(program), str(self._datapath_id), str(addresses)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._stack.close()

    def connect(self, port: int) -> Connected:
        """Connect to a controller on 127.0.0.1 and wait until it has nothing more to say."""
        seconds, adds, deletes, held = self._ask(f"connect {port}")
        return Connected(float(seconds), int(adds), int(deletes), int(held))

    def disconnect(self) -> None:
        """Close the connection; what is held stays."""
        self._ask("disconnect")

    def setups(
        self, seconds: float, window: int = 64, rate: float = 0, count: int = 1 << 62
    ) -> Setups:
        """Packet-ins for that long. window: unanswered at most. rate: a second, 0 as it goes."""
        self.begin_setups(seconds, window, rate, count)
        return self.end_setups()

    def begin_setups(
        self, seconds: float, window: int = 64, rate: float = 0, count: int = 1 << 62
    ) -> None:
        """As `setups`, without waiting for the end."""
        self._say(f"setups {seconds} {window} {rate} {count}")

    def end_setups(self) -> Setups:
        """Wait for what `begin_setups` began."""
        sent, answered, lost, seconds, p50, p99, adds, held = self._hear()
        return Setups(
            int(sent),
            int(answered),
            int(lost),
            float(seconds),
            float(p50),
            float(p99),
            int(adds),
            int(held),
        )

    def _ask(self, command: str) -> list[str]:
        self._say(command)
        return self._hear()

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _hear(self) -> list[str]:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"the fake switch ended with status {self._process.wait()}")
        return answer
