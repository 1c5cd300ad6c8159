"""Failover: from a cut link to the first packet on the surviving RLOC, and what switches are told.

    sudo python bench/failover.py [--trials 20] [--eids 10000]

The network is mininet/multihomed.py with a primary and a backup uplink, under a packet per
millisecond in both directions. The time begins before the command that cuts the link is started.
Times end with the first packet seen on the surviving uplink. Yardstick: when the kernel told of the
cut, which it does at most once a second for all namespaces together. The rules per switch are
counted on simulated switches.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from statistics import median

from _common import ROOT, heading, row

from lisp_sdn.actions import Action, ApplyRules, PortInfo, SwitchConnected
from lisp_sdn.address import EidPrefix
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import Port, Ruleset
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.simulate import SimulatedSwitch

CONFIG = """
sites:
  - {name: a, authentication_keys: [{key: a}], eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]}
  - {name: b, authentication_keys: [{key: b}], eid_prefixes: [{prefix: 10.2.0.0/16, iid: 1}]}
xtrs:
  - name: a
    site: a
    datapath_id: 0xa
    underlay: {datapath_id: 0x10a}
    rlocs: [{rloc: 192.0.2.1, uplink: up1}, {rloc: 192.0.2.129, uplink: up2}]
  - name: b
    site: b
    datapath_id: 0xb
    rlocs: [{rloc: 192.0.2.2}]
    eid_ports: [{name: p1, iid: 1, gateways: [10.2.0.254/16]}]
"""
NOW = 1_000_000.0
UPLINKS = ("up1", "up2")
TUNNEL = PortInfo(100, "lisp0", "02:00:00:00:00:01", True)


class Rules:
    """Two sites on simulated switches; b holds many EIDs behind the two RLOCs of a."""

    def __init__(self, eids: int, priorities: tuple[int, int]) -> None:
        self.controller = Controller(load(CONFIG), store=MemoryStore(), rng=random.Random(1))
        self.switch = SimulatedSwitch(0xB)
        self.now = NOW
        self.carry_out(self.controller.start(self.now))
        uplinks = [PortInfo(n, x, "02:00:00:00:00:02", True) for n, x in enumerate(UPLINKS, 1)]
        self.uplinks = (PortInfo(Port.LOCAL, "br-phy", "02:00:00:00:00:03", True), *uplinks)
        self.connect(0xA, (TUNNEL,))
        self.connect(0xB, (TUNNEL, PortInfo(1, "p1", "02:00:00:00:00:04", True)))
        self.connect(0x10A, self.uplinks)
        locators = tuple(
            Locator(ip_address(rloc), priority, 50)
            for rloc, priority in zip(("192.0.2.1", "192.0.2.129"), priorities, strict=True)
        )
        hosts = [IPv4Address((10 << 24) + (9 << 16) + number) for number in range(eids)]
        for host in hosts:
            mapping = Mapping(EidPrefix.host(1, host), locators)
            self.carry_out(self.controller.mapping.set_static(mapping, self.now))
        self.misses(hosts)
        cached = len(list(self.controller.xtrs["b"].map_cache_entries(self.now)))
        assert cached >= eids, f"{cached} map-cache entries, expected {eids}"

    def connect(self, datapath: int, ports: tuple[PortInfo, ...]) -> None:
        self.carry_out(self.controller.switch_connected(SwitchConnected(datapath, ports), self.now))
        self.carry_out(self.controller.installed(datapath, ports, Ruleset(), self.now))

    def misses(self, hosts: list[IPv4Address]) -> None:
        """A packet to each of them, when nothing is cached."""
        source = IPv4Address("10.2.0.1")
        frames = [
            replies.ip_frame(
                "02:00:5e:00:00:fe", "02:00:00:00:00:05", 4, replies.ipv4(source, host, 253, b"")
            )
            for host in hosts
        ]
        # The simulated switch looks at every flow; a real one punts the others like the first.
        (punt,) = self.switch.receive(1, frames[0]).punted
        for frame in frames:
            self.carry_out(self.controller.packet_in(replace(punt, frame=frame), self.now))
        self.now += 0.1
        self.carry_out(self.controller.handle_timer(self.now))

    def carry_out(self, actions: Iterable[Action]) -> Counter[int]:
        """Returns how many rules each switch was sent."""
        told: Counter[int] = Counter()
        for action in actions:
            if isinstance(action, ApplyRules):
                told[action.datapath_id] += len(action.changes)
                if action.datapath_id == self.switch.datapath_id:
                    self.switch.apply(action.changes)
        return told

    def cut(self) -> tuple[Counter[int], float]:
        """The first uplink of a goes down: rules sent to each switch, seconds of processor."""
        port = PortInfo(1, "up1", "02:00:00:00:00:02", False)
        began = time.process_time()
        actions = self.controller.port_changed(0x10A, port, self.now)
        took = time.process_time() - began
        return self.carry_out(actions), took


def count_rules(eids: int) -> None:
    """Rules per switch, for few and for many EIDs."""
    for name, priorities in (("primary and backup", (1, 2)), ("two by weight", (1, 1))):
        few, _ = Rules(10, priorities).cut()
        many, took = Rules(eids, priorities).cut()
        row(
            f"rules to the sending switch, {name}, {eids} EIDs",
            f"{many[0xB]} in {took * 1000:.2f} ms",
            f"with 10 EIDs {few[0xB]}",
            many[0xB] / few[0xB] if few[0xB] else None,
        )


def time_cuts(trials: int) -> None:
    """Cut and mend a real link, again and again."""
    sys.path[:0] = [str(ROOT / "mininet"), str(ROOT / "tests" / "lab")]
    from failover_lab import Lab

    with Lab() as lab:
        trials_seen = [lab.cut() for _ in range(trials)]
        told = [seconds for _, _, seconds in trials_seen]
        for index, what in enumerate(("towards the cut site", "from the cut site")):
            times = [found[index] for found in trials_seen]
            own = [time - first for time, first in zip(times, told, strict=True)]
            row(f"cut to first packet on the other RLOC, {what}", _spread(times))
            row("  from the kernel's word of it on", _spread(own), f"kernel {_spread(told)}")


def _spread(seconds: list[float]) -> str:
    return f"median {median(seconds) * 1000:.0f}, worst {max(seconds) * 1000:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--eids", type=int, default=10_000)
    chosen = parser.parse_args()
    heading(f"failover, {chosen.trials} trials")
    count_rules(chosen.eids)
    if chosen.trials:
        time_cuts(chosen.trials)


if __name__ == "__main__":
    main()
