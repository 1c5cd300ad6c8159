"""Flow set-ups a second, against a minimal Ryu application in the same run.

    python bench/setups.py [--rounds R] [--seconds S] [--window W] [--prefixes N]

A fake switch (bench/fakeswitch.c) sends packet-ins as the miss table would, each for another
destination EID, as fast as they are answered, `window` of them unanswered. The controller,
`ryu-manager lisp_sdn.apps`, parses the packet, asks its own Map-Server (N registered EID-prefixes
/24 of 64 sites), has the policy of the site judge the answer, keeps a map-cache entry, and sends
the flow and the packet. The minimal application (bench/_minimal_ryu.py) sends one flow-mod and one
packet-out for whatever comes. Every round starts both anew; the controller stays on one processor,
the switch on another. Where other work shares them, compare what a processor second yields.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from _common import heading, resident_bytes, row
from _fakeswitch import FakeSwitch, Setups
from _overlay import (
    DATAPATH_ID,
    Manager,
    configuration,
    controller,
    fill,
    minimal,
    remote_prefixes,
)

SERVER_CORE, SWITCH_CORE = 0, 1
WARM_UP = 2000
"""Set-ups before it is measured: hosts seen, next hops resolved, groups there."""


def measure(
    server: AbstractContextManager[Manager], destinations: list[int], seconds: float, window: int
) -> tuple[Setups, float, int]:
    """One round: set-ups, processor seconds of the server, growth of its memory in octets."""
    with server as manager, FakeSwitch(DATAPATH_ID, destinations, SWITCH_CORE) as switch:
        switch.connect(manager.openflow)
        switch.setups(5, window, count=WARM_UP)
        memory, busy = resident_bytes(manager.pid), manager.busy()
        result = switch.setups(seconds, window, count=len(destinations) - WARM_UP)
        return result, manager.busy() - busy, resident_bytes(manager.pid) - memory


def show(what: str, rounds: list[tuple[Setups, float, int]]) -> float:
    """Print the best round and the median; returns the median rate."""
    best, busy, memory = max(rounds, key=lambda item: item[0].rate)
    median = statistics.median(item[0].rate for item in rounds)
    row(f"{what}, best of {len(rounds)}", best.text())
    row("  per processor second", f"{best.answered / busy:,.0f}")
    row("  flow-mods for each packet", f"{best.adds / best.answered:.3f}")
    row("  memory for each", f"{memory / best.answered:,.0f} octets")
    row("  median of the rounds", f"{median:,.0f} set-ups/s")
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--prefixes", type=int, default=100_000)
    arguments = parser.parse_args()
    heading(f"flow set-ups, {arguments.window} packet-ins unanswered")
    rng = random.Random(1)
    prefixes = remote_prefixes(arguments.prefixes, rng)
    destinations = [address | rng.randrange(1, 255) for address in prefixes]
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = configuration(directory, switch=True)
        fill(directory / "store.db", prefixes, 24, remote=True)
        servers: dict[str, Callable[[], AbstractContextManager[Manager]]] = {
            "minimal": lambda: minimal(SERVER_CORE),
            "ours": lambda: controller(settings, directory, SERVER_CORE),
        }
        found: dict[str, list[tuple[Setups, float, int]]] = {name: [] for name in servers}
        for _ in range(arguments.rounds):
            for name, server in servers.items():
                result = measure(server(), destinations, arguments.seconds, arguments.window)
                found[name].append(result)
                load = os.getloadavg()[0]
                print(f"# {name}: {result[0].text()}, load average {load:.1f}", flush=True)
    yardstick = show("minimal Ryu application", found["minimal"])
    ours = show("lisp_sdn.apps, policy, map-cache, registered prefixes", found["ours"])
    cpu = [max(s.answered / busy for s, busy, _ in found[name]) for name in ("ours", "minimal")]
    best = [max(s.rate for s, _, _ in found[name]) for name in ("ours", "minimal")]
    row("ratio of the medians, the best, per processor second", "", "aim 2.50", ours / yardstick)
    row("", "", "", best[0] / best[1])
    row("", "", "", cpu[0] / cpu[1])


if __name__ == "__main__":
    main()
