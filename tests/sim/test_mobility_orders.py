"""Random histories of moves, silence, links, restarts: in the end everybody finds everybody."""

from __future__ import annotations

import itertools
import random

import pytest
from mobile_network import CONFIG, MobileNetwork, packets
from xtr_network import Host

from lisp_sdn.actions import PortInfo

SITES = ("xa", "xb", "xc", "xs1", "xs2")
HOSTS = {"10.1.0.1": "xa", "10.1.0.2": "xa", "10.2.0.1": "xb", "10.4.0.1": "xs1", "10.4.0.2": "xs2"}


class History:
    """One network and what happens to it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.network = MobileNetwork(CONFIG.replace("mobility: {", "mobility: {max_moves: 500, "))
        self.hosts = [
            self.network.host(site, address, f"02:00:00:00:00:{n:02x}")
            for n, (address, site) in enumerate(HOSTS.items(), 1)
        ]

    def step(self) -> None:
        """One thing happens."""
        network, host = self.network, self.rng.choice(self.hosts)
        kind = self.rng.choice(["move", "move", "say", "say", "announce", "wait", "idle", "switch"])
        if kind == "move":
            self.move(host, self.rng.choice(SITES))
        elif kind == "say":
            network.say(host, str(self.rng.choice(self.hosts).address))
        elif kind == "announce":
            network.announce(host)
        elif kind == "wait":
            network.advance(self.rng.choice([0.1, 1.0, 8.0, 40.0]))
        elif kind == "idle":
            network.idle_out(self.rng.choice(SITES), f"'{host.address}'")
        elif self.rng.random() < 0.3:
            network.restarted(self.rng.choice(["", *SITES]))
            for site in network.sites.values():
                site.connect()
        else:
            network[self.rng.choice(SITES)].connect()

    def move(self, host: Host, site: str) -> None:
        """Plugged in elsewhere; sometimes the switches tell of their ports."""
        network, old = self.network, self.network.where(host)
        network.plug(host, site)
        if self.rng.random() < 0.5:
            for name in self.rng.sample([old, site], 2) if old != site else [site]:
                up = name == site or bool(network[name].hosts[1])
                port = PortInfo(1, "p1", "02:00:00:00:00:02", up)
                number = network[name].switch.datapath_id
                network.carry_out(network.controller.port_changed(number, port, network.now))
                network._arrive()

    def settled(self) -> None:
        """The switches hold what is wanted; host routes are where the hosts are."""
        for name, site in self.network.sites.items():
            assert site.switch.ruleset() == site.xtr.wanted(), name
        for host in self.hosts:
            found = self.network.mobile(host)
            assert found is not None
            assert found.xtr == self.network.where(host), host.address
            home = found.homes == (found.xtr,)
            registered = self.network.registered(f"[1] {host.address}/32")
            assert list(registered) == ([] if home else [found.xtr]), host.address


@pytest.mark.parametrize("seed", range(12))
def test_everybody_is_found_in_the_end(seed: int) -> None:
    history = History(seed)
    network = history.network
    for _ in range(40):
        history.step()
    # Disputes are over, and everybody says something.
    network.advance(25)
    for _ in range(2):
        for host in history.hosts:
            network.say(host, "10.3.0.9")
        network.advance(5)
    for one, other in itertools.permutations(history.hosts, 2):
        packets(other)
        network.say(one, str(other.address), b"hello")
        network.advance(0.5)
        assert b"hello" in packets(other), f"{one.address} to {other.address}"
    network.advance(150)
    history.settled()
