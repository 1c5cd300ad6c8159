"""The first packet of a flow, cold against warm: what resolving an EID costs a host.

    sudo .venv/bin/python bench/first_packet.py --trials 200

Real Open vSwitch, two sites (mininet/two_sites.py), round trip of one UDP datagram that h2 sends
back. Warm: the flow is in the switch. Cold: the map-cache entry of h2's EID-prefix is forgotten
before each datagram, so it is resolved first; the way back is known. Cold at both ends: forgotten
at both sites, so the answer waits as well. Trials of the three kinds take turns.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any
from urllib.parse import quote

from _common import ROOT, heading, row

sys.path[:0] = [str(ROOT / "mininet"), str(ROOT / "tests" / "lab")]

from labrun import in_namespace, poll  # noqa: E402

PORT = 4000
EIDS = {
    4: ("10.1.0.1", "10.2.0.1", "[42] 10.1.0.0/24", "[42] 10.2.0.0/24"),
    6: ("2001:db8:e1::1", "2001:db8:e2::1", "[42] 2001:db8:e1::/64", "[42] 2001:db8:e2::/64"),
}


class Echo:
    """h2 sends back what it gets; h1 measures."""

    def __init__(self, lab: Any, version: int) -> None:
        self.lab = lab
        here, self.there, self.own, self.other = EIDS[version]
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with in_namespace(lab.h2.pid):
            self.far = socket.socket(family, socket.SOCK_DGRAM)
        with in_namespace(lab.h1.pid):
            self.near = socket.socket(family, socket.SOCK_DGRAM)
        self.far.bind((self.there, PORT))
        self.near.bind((here, PORT))
        self.near.settimeout(3)
        threading.Thread(target=self._reply, daemon=True).start()

    def _reply(self) -> None:
        while True:
            data, source = self.far.recvfrom(100)
            self.far.sendto(data, source)

    def round_trip(self) -> float:
        """Milliseconds. Raises TimeoutError for a datagram that was lost."""
        began = time.perf_counter()
        self.near.sendto(repr(began).encode(), (self.there, PORT))
        while self.near.recv(100) != repr(began).encode():
            pass
        return (time.perf_counter() - began) * 1000

    def forget(self, *where: tuple[str, str]) -> None:
        """Forget map-cache entries: (xTR, EID-prefix)."""
        for xtr, eid in where:
            path = f"/lisp/v1/xtrs/{xtr}/map-cache/{quote(eid, safe='')}"
            reply = self.lab.net.ctl.rest("DELETE", path)
            if reply.status not in (200, 204, 404):
                raise SystemExit(f"DELETE {path}: {reply.status} {reply.body}")
        for xtr, eid in where:
            prefix = eid.partition(" ")[2]
            poll(f"{eid} to leave {xtr}", lambda xtr=xtr, prefix=prefix: not self.has(xtr, prefix))

    def has(self, xtr: str, prefix: str) -> bool:
        """Whether the switch has a map-cache flow for it."""
        return any(f"_dst={prefix}" in flow.text for flow in self.lab.cached_flows(xtr))


def measure(lab: Any, version: int, trials: int) -> None:
    """Take turns and print the spread of each kind."""
    echo = Echo(lab, version)
    lab.h1.ping(echo.there, 3, 0.2)
    for _ in range(10):
        echo.round_trip()
    cold = (("left", echo.other),)
    kinds: dict[str, Callable[[], None]] = {
        "warm": lambda: time.sleep(0.01),
        "cold": lambda: echo.forget(*cold),
        "cold at both ends": lambda: echo.forget(*cold, ("right", echo.own)),
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    lost = dict.fromkeys(kinds, 0)
    for _ in range(trials):
        for kind, prepare in kinds.items():
            prepare()
            try:
                times[kind].append(echo.round_trip())
            except TimeoutError:
                lost[kind] += 1
    middle = {kind: quantiles(found, n=100) for kind, found in times.items()}
    for kind, cuts in middle.items():
        p50, p95, p99 = cuts[49], cuts[94], cuts[98]
        text = f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms"
        compare = None if kind == "warm" else p50 / middle["warm"][49]
        row(
            f"first packet, IPv{version}, {kind}, {trials} trials",
            text,
            f"lost {lost[kind]}",
            compare,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    chosen = parser.parse_args()
    heading(f"first packet, {chosen.trials} trials of each kind")
    from two_sites_lab import Lab

    with Lab() as lab:
        for version in (4, 6):
            measure(lab, version, chosen.trials)


if __name__ == "__main__":
    main()
