"""From a change of ingress policy by REST to the packets on the uplinks of a multihomed site.

    sudo .venv/bin/python bench/policy_effect.py [--changes 40]

Open vSwitch in network namespaces (mininet/multihomed.py), one UDP flow with a packet every 2 ms;
a change moves it from one uplink to the other. The yardstick is the same move by `ovs-ofctl`, with
neither controller nor policy: what starting a program and Open vSwitch itself take for it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "mininet"), str(REPOSITORY / "tests" / "lab"), str(REPOSITORY)]

import labrun  # noqa: E402
from _common import heading, row  # noqa: E402
from multihomed_lab import UP1, UP2, Lab, Stream, rule  # noqa: E402

SPACING = 0.25
"""Seconds between two changes."""

Change = Callable[[str], float]
"""Moves the flow to an RLOC; returns when it was told to, seconds since the epoch."""


def effect(lab: Lab, change: Change, count: int) -> tuple[list[float], int, int]:
    """Milliseconds from each change to the first packet by its way; packets sent and lost."""
    change(UP1)
    lab.wait_for_way("b1", "10.2.0.1", UP1)
    told: list[tuple[float, str]] = []
    with lab.tap() as tap, Stream(lab, "b1", interval=0.002) as stream:
        time.sleep(SPACING)
        for turn in range(count):
            rloc = (UP2, UP1)[turn % 2]
            told.append((change(rloc), rloc))
            time.sleep(SPACING)
    taken = [
        min(seen.at for seen in tap.packets if seen.rloc == rloc and seen.at > at) - at
        for at, rloc in told
    ]
    return [seconds * 1000 for seconds in taken], stream.sent, len(stream.lost)


def by_policy(lab: Lab, others: int) -> Change:
    """Change one rule. others: rules for other requesters that stand before it."""
    before = [
        rule(f"other-{i}", {"pin": [UP1]}, itr_rlocs=[f"10.{i >> 8}.{i & 255}.0/24"])
        for i in range(others)
    ]
    return lambda rloc: lab.apply(*before, rule("way", {"prefer": [rloc]}))


def by_hand(lab: Lab) -> Change:
    """A flow with a foreign cookie above those of the map-cache."""
    berlin = lab.net.xtrs["berlin"]

    def change(rloc: str) -> float:
        began = time.time()
        berlin.ofctl(
            "add-flow",
            "br0",
            "table=3,priority=40000,ip,nw_dst=10.1.0.1,actions=dec_ttl,set_field:42->tun_id,"
            f"set_field:198.51.100.1->tun_src,set_field:{rloc}->tun_dst,output:100",
        )
        return began

    return change


def report(what: str, result: tuple[list[float], int, int], yardstick: float | None) -> float:
    """Print one result; returns its median."""
    taken, sent, lost = result
    middle = median(taken)
    ninth = quantiles(taken, n=10)[-1]
    figure = f"median {middle:.1f} ms, p90 {ninth:.1f} ms, worst {max(taken):.1f} ms"
    lost_text = f"; {lost} of {sent} packets lost"
    if yardstick is None:
        row(what, figure + lost_text)
    else:
        row(what, figure + lost_text, f"ovs-ofctl {yardstick:.1f} ms", middle / yardstick)
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=40)
    count = parser.parse_args().changes
    reason = labrun.unavailable()
    if reason:
        print(f"not measured, it needs more than this machine has: {reason}")
        return
    heading(f"a policy takes effect, {count} changes each")
    with Lab() as lab:
        lab.warm("b1")
        yardstick = report("by ovs-ofctl", effect(lab, by_hand(lab), count), None)
        lab.net.xtrs["berlin"].ofctl("del-flows", "br0", "table=3,cookie=0/-1")
        for others in (0, 1000):
            result = effect(lab, by_policy(lab, others), count)
            report(f"by REST, a policy of {others + 1} rules", result, yardstick)


if __name__ == "__main__":
    main()
