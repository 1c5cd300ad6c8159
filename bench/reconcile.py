"""Time and memory of a controller whose switch holds many flows.

    python bench/reconcile.py [--flows N]

A fake switch (bench/fakeswitch.c) fills itself: packet-ins for N destinations, each in another
registered EID-prefix, until it holds N map-cache flows. Then it reconnects, first to the same
controller, which compares what it wants with what the switch tells; then to a new one with an
empty map-cache, which takes the flows over. Timed from the TCP connection to the
first message after the comparison; no flow may be changed. Meanwhile the REST API is asked again
and again: how long it takes to answer shows how long nothing else is handled. Yardstick: the same
before the switch connects.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from _common import heading, resident_bytes, row
from _fakeswitch import Connected, FakeSwitch
from _overlay import DATAPATH_ID, Manager, configuration, controller, fill, remote_prefixes

MIB = 1 << 20


class Waits:
    """How long REST answers took, in seconds."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._seen: list[float] = []

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Ask while the block runs."""
        self._seen = []
        ended = threading.Event()
        asking = threading.Thread(target=self._ask, args=(ended,))
        asking.start()
        yield
        ended.set()
        asking.join()

    def _ask(self, ended: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while not ended.wait(0.002):
            began = time.perf_counter()
            connection.request("GET", "/lisp/v1/status")
            connection.getresponse().read()
            self._seen.append(time.perf_counter() - began)
        connection.close()

    def text(self) -> str:
        """The longest and the 99th percentile."""
        seen = sorted(self._seen)
        return f"{seen[-1] * 1000:.0f} ms, p99 {seen[len(seen) * 99 // 100] * 1000:.0f} ms"


def connect(what: str, switch: FakeSwitch, manager: Manager) -> Connected:
    """Connect and print how long it took and what the controller changed."""
    busy, memory = manager.busy(), resident_bytes(manager.pid)
    waits = Waits(manager.rest)
    with waits.measured():
        time.sleep(2)
    alone = waits.text()
    with waits.measured():
        result = switch.connect(manager.openflow)
    busy = manager.busy() - busy
    row(
        f"{what}: {result.held:,} flows, connected to reconciled",
        f"{result.seconds:.2f} s",
        f"{result.held / result.seconds:,.0f} flows/s; {busy:.2f} processor seconds in all",
    )
    row("  flow-mods sent", f"{result.adds} adds, {result.deletes} deletes")
    row("  longest wait for a REST answer", waits.text(), f"before: {alone}")
    grown = resident_bytes(manager.pid) - memory
    row(
        "  memory grown by",
        f"{grown / MIB:.0f} MiB",
        f"{grown / result.held:,.0f} octets/flow, {memory / MIB:.0f} MiB before",
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=100_000)
    count = parser.parse_args().flows
    heading(f"reconciling {count:,} flows")
    rng = random.Random(1)
    prefixes = remote_prefixes(count, rng)
    destinations = [address | rng.randrange(1, 255) for address in prefixes]
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = configuration(directory, switch=True)
        fill(directory / "store.db", prefixes, 24, remote=True)
        switch = stack.enter_context(FakeSwitch(DATAPATH_ID, destinations))
        with controller(settings, directory) as manager:
            switch.connect(manager.openflow)
            memory = resident_bytes(manager.pid)
            learned = switch.setups(1800, 64, count=count)
            grown = resident_bytes(manager.pid) - memory
            row(f"learned {learned.answered:,} map-cache entries", learned.text())
            row(
                "  memory grown by",
                f"{grown / MIB:.0f} MiB",
                f"{grown / learned.answered:,.0f} octets/entry, {memory / MIB:.0f} MiB before",
            )
            switch.disconnect()
            time.sleep(1)
            connect("the same controller", switch, manager)
            switch.disconnect()
        with controller(settings, directory) as manager:
            connect("a new controller", switch, manager)
            switch.disconnect()


if __name__ == "__main__":
    main()
