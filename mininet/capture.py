"""Packets seen on an interface of a lab node, as tshark decodes them."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from labrun import LabError, poll

if TYPE_CHECKING:
    from labnodes import LispNode

DECODE_AS = ("-d", "udp.port==4341,lisp-data")
"""Older tshark versions do not know that LISP-GPE (RFC 9305) on port 4341 is LISP."""

_SETTLE = 0.3
"""Seconds that dumpcap may keep the last packets in the kernel's buffer."""


class Capture:
    """Records what passes an interface while the `with` block runs; decodes it afterwards.

    bpf: capture filter, for instance "udp port 4341".
    """

    def __init__(self, node: LispNode, interface: str, bpf: str = "") -> None:
        self.node = node
        self.interface = interface
        self.bpf = bpf
        self.file = node.dir / f"{interface}-{time.monotonic_ns()}.pcapng"

    def __enter__(self) -> Capture:
        log = Path(f"{self.file}.log")
        with log.open("wb") as output:
            self._process = self.node.spawn(
                *("dumpcap", "-q", "-i", self.interface, "-f", self.bpf, "-w", str(self.file)),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

        def capturing() -> bool:
            text = log.read_text(errors="replace")
            if self._process.poll() is not None:
                raise RuntimeError(f"dumpcap on {self.node.name} {self.interface}: {text.strip()}")
            return "File:" in text

        poll(f"dumpcap on {self.node.name} {self.interface}", capturing, interval=0.02)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(_SETTLE)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)

    def rows(self, display_filter: str, *fields: str) -> list[tuple[str, ...]]:
        """One tuple a packet that fits the filter, in order. Repeated fields: "outer,inner"."""
        argv = ["-T", "fields", "-E", "separator=/t"]
        for name in fields:
            argv += ["-e", name]
        text = self._tshark(display_filter, *argv)
        return [tuple(line.split("\t")) for line in text.splitlines()]

    def count(self, display_filter: str = "") -> int:
        """How many packets fit the filter."""
        return len(self.rows(display_filter, "frame.number"))

    def decoded(self, display_filter: str, *layers: str) -> str:
        """The first packet that fits, in full words; only these protocols if any are named."""
        only = ["-O", ",".join(layers)] if layers else ["-V"]
        text = self._tshark(display_filter, *only, "-c", "1000")
        return text.split("\n\n")[0].strip()

    def _tshark(self, display_filter: str, *argv: str) -> str:
        command = ["tshark", "-n", "-r", str(self.file), *DECODE_AS, *argv]
        if display_filter:
            command += ["-Y", display_filter]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise LabError(f"tshark: {done.stderr.strip()}")
        return done.stdout
