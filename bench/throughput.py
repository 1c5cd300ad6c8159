"""TCP through the overlay against the same tunnel with flows written by hand.

    sudo .venv/bin/python bench/throughput.py --rounds 7 --seconds 5

The two-site network of the lab, controller connected, hosts with an MTU of 1500 and an underlay
that carries the outer headers. The yardstick are four flows of table 0, two at each site, that
match as little as they can and change nothing but tunnel fields and MAC addresses: no TTL, no size,
no guard. Rounds take turns; switches and iperf3 stay each on one processor. On a machine with other
work the rate varies by half and more between rounds, so beside medians there is the median of the
ratios of neighbouring rounds, and what the two switches forward in a second of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _common import ROOT, cpu_seconds, heading, row

sys.path[:0] = [str(ROOT / "mininet"), str(ROOT / "tests" / "lab")]

PORT = 5201
PRIORITY = 65000


@dataclass(frozen=True)
class Run:
    """One run of iperf3. rate: bit/s that h2 received. efficiency: bits of it per processor second
    of both switches. again: segments that h1 sent again.
    """

    rate: float
    efficiency: float
    again: int


class Network:
    """h1 behind left sends to h2 behind right."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self._switches = [
            int(Path(xtr.dir, "ovs-vswitchd.pid").read_text()) for xtr in (lab.left, lab.right)
        ]
        self._pin()

    def _pin(self) -> None:
        """The sender's switch and the receiver on one processor, the other two on the other."""
        for pid, core in zip(self._switches, (0, 1), strict=True):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {core})

    def by_hand(self, version: int) -> None:
        """Write the flows of the yardstick at both ends."""
        lab, dst, kind = self.lab, "nw_dst", "ip"
        if version == 6:
            dst, kind = "ipv6_dst", "ipv6"
        ends = (
            (lab.left, "198.51.100.1", "203.0.113.1", lab.h1, self.eids(version)),
            (lab.right, "203.0.113.1", "198.51.100.1", lab.h2, self.eids(version)[::-1]),
        )
        for xtr, own, other, host, (here, there) in ends:
            mac = host.intf("eth0").MAC()
            common = f"table=0,priority={PRIORITY},{kind}"
            for text in (
                f"{common},in_port=1,{dst}={there},actions=set_field:42->tun_id,"
                f"set_field:{own}->tun_src,set_field:{other}->tun_dst,output:100",
                f"{common},in_port=100,tun_id=42,{dst}={here},"
                f"actions=set_field:02:00:5e:00:00:fe->eth_src,set_field:{mac}->eth_dst,output:1",
            ):
                xtr.ofctl("add-flow", "br0", text)

    def by_controller(self) -> None:
        """Remove them again."""
        for xtr in (self.lab.left, self.lab.right):
            used = [flow for flow in xtr.flows() if f"priority={PRIORITY}" in flow]
            if any("n_packets=0," in flow for flow in used):
                raise SystemExit(f"flows written by hand that nothing used: {used}")
            # Ours have other cookies.
            xtr.ofctl("del-flows", "br0", "cookie=0/-1,table=0")

    def eids(self, version: int) -> tuple[str, str]:
        """The EIDs of h1 and h2."""
        return ("10.1.0.1", "10.2.0.1") if version == 4 else ("2001:db8:e1::1", "2001:db8:e2::1")

    def measure(self, version: int, seconds: float) -> Run:
        """One run of iperf3."""
        target = self.eids(version)[1]
        self.lab.h1.ping(target, 3, 0.2)
        busy = sum(map(cpu_seconds, self._switches))
        server = ["taskset", "-c", "0", "iperf3", "-s", "-1", "-p", str(PORT)]
        with self.lab.h2.spawn(*server, stdout=subprocess.DEVNULL) as process:
            client = ["taskset", "-c", "1", "iperf3", "-J", "-c", target, "-p", str(PORT)]
            text = ""
            for _ in range(20):
                text = self.lab.h1.do(*client, "-t", str(seconds), timeout=60, check=False)
                if "unable to connect" not in text:
                    break
            process.wait(30)
        busy = sum(map(cpu_seconds, self._switches)) - busy
        end = json.loads(text)["end"]
        received = end["sum_received"]
        per_second = 8 * received["bytes"] / busy
        return Run(received["bits_per_second"], per_second, end["sum_sent"]["retransmits"])


def compare(network: Network, version: int, rounds: int, seconds: float) -> None:
    """Take turns and print the medians."""
    ours: list[Run] = []
    others: list[Run] = []
    for number in range(rounds):
        # Whoever is second finds the machine warmer: not always the same.
        for hand in (True, False) if number % 2 else (False, True):
            if hand:
                network.by_hand(version)
            else:
                network.by_controller()
            (others if hand else ours).append(network.measure(version, seconds))
    network.by_controller()
    what = f"TCP through the overlay, IPv{version}"
    one, other = median(run.rate for run in ours), median(run.rate for run in others)
    row(
        f"{what}, median of {rounds}",
        f"{one / 1e6:.0f} Mbit/s",
        f"by hand {other / 1e6:.0f}",
        one / other,
    )
    spread = [
        f"{min(run.rate for run in runs) / 1e6:.0f} to {max(run.rate for run in runs) / 1e6:.0f}"
        for runs in (ours, others)
    ]
    pairs = list(zip(ours, others, strict=True))
    ratio = median(mine.rate / yours.rate for mine, yours in pairs)
    row("  lowest and highest", spread[0], f"by hand {spread[1]}; median ratio of rounds", ratio)
    one, other = median(run.efficiency for run in ours), median(run.efficiency for run in others)
    ratio = median(mine.efficiency / yours.efficiency for mine, yours in pairs)
    row(
        "  per processor second of both switches",
        f"{one / 1e6:.0f} Mbit",
        f"by hand {other / 1e6:.0f}; median ratio of rounds",
        ratio,
    )
    again = [sum(run.again for run in runs) for runs in (ours, others)]
    row("  segments sent again", str(again[0]), f"by hand {again[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5)
    chosen = parser.parse_args()
    heading(f"TCP throughput, {chosen.rounds} rounds of {chosen.seconds:g} s")
    from two_sites_lab import Lab

    with Lab() as lab:
        network = Network(lab)
        for version in (4, 6):
            compare(network, version, chosen.rounds, chosen.seconds)


if __name__ == "__main__":
    main()
