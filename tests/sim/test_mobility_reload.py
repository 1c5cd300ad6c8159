"""Another configuration while hosts are away from home."""

from __future__ import annotations

import pytest
from mobile_network import CONFIG, MobileNetwork, eid_of, packets
from xtr_network import Host

from lisp_sdn.config import load
from lisp_sdn.config.changes import effective
from lisp_sdn.views import MobileState
from lisp_sdn.xtr.hosts import Host as LocalEid
from lisp_sdn.xtr.requests import Admit


@pytest.fixture
def network() -> MobileNetwork:
    return MobileNetwork()


@pytest.fixture
def roamer(network: MobileNetwork) -> Host:
    """A host of site a that is at site b."""
    made = network.host("xa", "10.1.0.1", "02:00:00:00:01:01")
    network.host("xc", "10.3.0.1", "02:00:00:00:03:01")
    network.say(made, "10.3.0.1")
    network.plug(made, "xb")
    network.say(made, "10.3.0.1")
    network.advance(2)
    network.events.clear()
    return made


def reconfigure(network: MobileNetwork, text: str) -> None:
    config = load(text)
    assert effective(network.controller.config, config) == config, "nothing needs a restart"
    network.carry_out(network.controller.reconfigure(config, network.now))
    network.config = config
    for name, site in network.sites.items():
        site.xtr = network.controller.xtrs.get(name, site.xtr)
    network._arrive()


def settled(network: MobileNetwork) -> None:
    """The switches hold what is wanted, and nothing else."""
    for name, xtr in network.controller.xtrs.items():
        assert network[name].switch.ruleset() == xtr.wanted(), name


def test_other_bounds_move_nobody(network: MobileNetwork, roamer: Host) -> None:
    peer = network["xc"].hosts[1][0]
    reconfigure(network, CONFIG.replace("mobility: {", "mobility: {max_moves: 1, window: 900, "))
    assert network.registered(eid_of(roamer)) == {"xb": "a"}
    packets(roamer)
    network.say(peer, "10.1.0.1", b"still there")
    assert packets(roamer) == [b"still there"]
    settled(network)
    network.plug(roamer, "xc")
    network.say(roamer, "10.3.0.1")
    assert "eid.held-down" in network.kinds(), "the new bound counts"
    for _ in range(4):
        network.advance(50)
    settled(network)


def test_a_port_where_it_may_not_be_any_more(network: MobileNetwork, roamer: Host) -> None:
    head, _, tail = CONFIG.rpartition("name: xb")
    reconfigure(network, f"{head}name: xb{tail.replace('mobility: true', 'mobility: false', 1)}")
    assert network.registered(eid_of(roamer)) == {}
    assert network.mobile(roamer) is None
    settled(network)
    network.plug(roamer, "xa")
    network.say(roamer, "10.3.0.1")
    assert network.place(roamer) == "xa"
    network.advance(200)
    assert network.registered(eid_of(roamer)) == {}


def test_its_home_becomes_stretched_and_is_not_any_more(
    network: MobileNetwork, roamer: Host
) -> None:
    """The xTR of site s gets a port of the subnet of site a, whose EID-prefix it may register."""
    neighbour = network.host("xa", "10.1.0.2", "02:00:00:00:01:02")
    network.say(neighbour, "10.3.0.1")
    text = CONFIG.replace("name: xs1\n    site: s", "name: xs1\n    site: a").replace(
        'gateways: [10.4.0.254/24, "2001:db8:4::fe/64"]',
        'gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]',
        1,
    )
    reconfigure(network, text)
    settled(network)
    assert network.registered(eid_of(neighbour)) == {"xa": "a"}, "only host routes tell now"
    assert network.mobile(neighbour).state is MobileState.STRETCHED  # type: ignore[union-attr]
    assert network.registered(eid_of(roamer)) == {"xb": "a"}
    reconfigure(network, CONFIG)
    settled(network)
    assert network.registered(eid_of(neighbour)) == {}
    assert network.mobile(neighbour).state is MobileState.HOME  # type: ignore[union-attr]
    assert network.registered(eid_of(roamer)) == {"xb": "a"}


def without_xb() -> str:
    start, end = CONFIG.index("\n  - name: xb"), CONFIG.index("\n  - name: xc")
    return CONFIG[:start] + CONFIG[end:]


def test_an_xtr_that_it_has_left_goes(network: MobileNetwork, roamer: Host) -> None:
    """Nobody is asked there any more, and nothing there has to be ended."""
    network.plug(roamer, "xc")
    network.say(roamer, "10.3.0.1")
    assert network.place(roamer) == "xc"
    reconfigure(network, without_xb())
    network.advance(150)
    assert network.place(roamer) == "xc"
    assert network.registered(eid_of(roamer)) == {"xc": "a"}
    settled(network)


def test_a_port_number_that_changed_meanwhile(network: MobileNetwork, roamer: Host) -> None:
    """The controller knows places by the names of their ports."""
    stale = LocalEid(1, roamer.address, 99, roamer.mac)
    xtr = network["xb"].xtr
    network.carry_out(
        network.controller.settle(xtr.carry_out(Admit("xb", "p1", stale), network.now), network.now)
    )
    (known,) = (host for host in xtr.local_eids() if host.address == roamer.address)
    assert known.port == 1
    settled(network)


def test_the_xtr_where_it_is_goes(network: MobileNetwork, roamer: Host) -> None:
    reconfigure(network, without_xb())
    assert network.registered(eid_of(roamer)) == {}
    assert network.mobile(roamer) is None
    network.plug(roamer, "xc")
    network.say(roamer, "10.3.0.1")
    assert network.place(roamer) == "xc"
