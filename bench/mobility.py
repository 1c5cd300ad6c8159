"""What it costs to move a host between two sites: lost traffic of a ping every 10 ms.

    sudo .venv/bin/python bench/mobility.py [--moves 20]

Open vSwitch in network namespaces (mininet/mobility.py). A host moves back and forth between two
xTRs while a host of a third site pings it, IPv4 and IPv6; it says nothing by itself. The yardstick
is the time that the cable itself was out, which no network could do without.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "mininet"), str(REPOSITORY)]

import labrun  # noqa: E402
import mobility  # noqa: E402
from _common import heading, row  # noqa: E402


def measure(moves: int) -> list[mobility.Loss]:
    """That many moves, there and back in turn."""
    settings = mobility.config.MobilitySettings(max_moves=1000)
    with mobility.build(settings) as net:
        net.start()
        net.ctl.start(net.controller_config())
        labrun.poll("every switch to connect", lambda: mobility.connected(net), 20)
        c1 = net.nameToNode["c1"]
        for target in (mobility.WEB, mobility.WEB_V6):
            labrun.poll("a ping", lambda t=target: c1.ping(t, 2, 0.1).received == 2, 20)
        places = (mobility.AWAY, mobility.HOME)
        return [mobility.measure(net, *places[n % 2]) for n in range(moves)]


def main() -> int:
    """Measure and print; 0 when the aim is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moves", type=int, default=20)
    arguments = parser.parse_args()
    reason = labrun.unavailable()
    if reason:
        print(f"This needs more than the machine has: {reason}", file=sys.stderr)
        return 1
    heading(f"A moved host, {arguments.moves} moves, pings every {mobility.INTERVAL * 1000:.0f} ms")
    losses = measure(arguments.moves)
    cable = median(loss.plugging for loss in losses) * 1000
    met = True
    for name, lost in (
        ("IPv4", [loss.lost(loss.v4) for loss in losses]),
        ("IPv6", [loss.lost(loss.v6) for loss in losses]),
    ):
        middle = median(lost)
        met = met and middle < 150
        row(f"{name}: lost traffic, median", f"{middle:.0f} ms", f"worst {max(lost):.0f} ms")
        row(f"{name}: cable out, median", f"{cable:.0f} ms", f"ratio {middle / cable:.2f}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
