"""A switch comes back with other port numbers: hosts are behind their ports, not their numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from xtr_network import Network, Site

from lisp_sdn.actions import PortInfo
from lisp_sdn.xtr.simulate import SimulatedSwitch


@pytest.fixture
def network() -> Network:
    made = Network()
    made.start()
    left = made["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    made["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    for data in (b"1", b"2"):
        made.send("xa", 1, left.frame("10.2.0.1", data))
        made.advance(1.0)
    return made


def restart(site: Site, numbers: dict[str, int]) -> None:
    """The switch lost everything, and gives its ports these numbers."""
    old = {port.name: port.number for port in site.ports}
    site.switch = SimulatedSwitch(site.settings.datapath_id)
    site.ports = tuple(replace(port, number=numbers[port.name]) for port in site.ports)
    site.hosts = {numbers[name]: site.hosts.get(old[name], []) for name in numbers}
    site.network.do(site, site.xtr.disconnected(site.network.now))
    site.connect()


def test_hosts_are_found_behind_their_ports_again(network: Network) -> None:
    site = network["xb"]
    (host,) = site.hosts[1]
    host.received.clear()
    restart(site, {"lisp0": 100, "p1": 7, "p2": 1})
    left = network["xa"].hosts[1][0]
    network.send("xa", 1, left.frame("10.2.0.1", b"3"))
    assert [packet[20:] for packet in host.received] == [b"3"]
    assert site.switch.ruleset() == site.xtr.wanted()


def test_a_port_that_comes_back_under_another_number(network: Network) -> None:
    """It was pulled, and put back, while the switch stayed."""
    site = network["xb"]
    (host,) = site.hosts.pop(1)
    host.received.clear()
    for number in (0, 9):
        port = PortInfo(number, "p1", "02:00:00:00:00:02", bool(number))
        network.do(site, site.xtr.port_changed(port, network.now))
    site.hosts[9] = [host]
    left = network["xa"].hosts[1][0]
    network.send("xa", 1, left.frame("10.2.0.1", b"3"))
    assert [packet[20:] for packet in host.received] == [b"3"]


def test_hosts_of_a_port_whose_number_another_one_has_are_forgotten(network: Network) -> None:
    site = network["xb"]
    assert list(site.xtr.local_eids())
    site.ports = tuple(
        replace(port, number=1) if port.name == "p2" else port
        for port in site.ports
        if port.name != "p1"
    )
    network.do(site, site.xtr.disconnected(network.now))
    site.connect()
    assert not list(site.xtr.local_eids())
    assert site.switch.ruleset() == site.xtr.wanted()
