"""`lispctl trace` of packets from and to hosts that roam."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from mobile_network import MobileNetwork

from lisp_sdn.address import EidPrefix
from lisp_sdn.trace import Packet, StepName, Trace, Verdict
from lisp_sdn.xtr.frames import UDP


@pytest.fixture
def network() -> MobileNetwork:
    """10.1.0.1 of site a is at site b, and everybody has heard of it."""
    made = MobileNetwork()
    roamer = made.host("xa", "10.1.0.1", "02:00:00:00:01:01")
    for site, n in (("xa", 1), ("xb", 2), ("xc", 3)):
        peer = made.host(site, f"10.{n}.0.2", f"02:00:00:00:0{n}:02")
        made.say(peer, "10.1.0.1")
    made.say(roamer, "10.3.0.2")
    made.plug(roamer, "xb")
    for n in (1, 2, 3):
        made.say(roamer, f"10.{n}.0.2")
    made.advance(2)
    return made


def trace(network: MobileNetwork, source: str, destination: str) -> Trace:
    ends = (EidPrefix.host(1, ip_address(text)) for text in (source, destination))
    packet = Packet(*ends, UDP, 1000, 2000)
    return network.controller.management.trace(packet, network.now)


@pytest.mark.parametrize("peer", ["10.1.0.2", "10.2.0.2", "10.3.0.2"])
def test_to_a_host_that_roams_and_from_it(network: MobileNetwork, peer: str) -> None:
    there, back = trace(network, peer, "10.1.0.1"), trace(network, "10.1.0.1", peer)
    assert there.verdict is Verdict.DELIVERED, there.steps[-1]
    assert there.etr == "xb"
    assert there.steps[-1].text.endswith("02:00:00:00:01:01")
    assert back.verdict is Verdict.DELIVERED, back.steps[-1]
    assert "behind port p1 of xTR xb, site b, where it roams" in back.steps[0].text


def test_the_mapping_is_the_host_route(network: MobileNetwork) -> None:
    found = trace(network, "10.3.0.2", "10.1.0.1")
    texts = {step.name: step.text for step in found.steps}
    assert "[1] 10.1.0.1/32" in texts[StepName.MAPPING]
    assert "[1] 10.1.0.1/32" in texts[StepName.MAP_CACHE]


def test_a_host_that_was_not_seen_goes_on_when_it_is(network: MobileNetwork) -> None:
    found = trace(network, "10.1.0.77", "10.3.0.2")
    assert found.verdict in (Verdict.DELIVERED, Verdict.RESOLVES), found.steps[-1]
    assert found.steps[0].reason == "host-not-seen"
    assert found.steps[-1].text.endswith("02:00:00:00:03:02")


def test_what_still_goes_to_the_old_place_is_sent_on(network: MobileNetwork) -> None:
    """The ITR has not heard of the move: its entry is an old one."""
    xtr = network.controller.xtrs["xc"]
    key = EidPrefix.from_text("[1] 10.1.0.1/32")
    network.carry_out(network.controller.settle(xtr.forget(key)[1], network.now))
    found = trace(network, "10.3.0.2", "10.1.0.1")
    assert found.verdict is Verdict.DELIVERED, found.steps[-1]
    assert "sent-on" in [step.reason for step in found.steps]
    assert (found.etr, found.steps[-1].text[-17:]) == ("xb", "02:00:00:00:01:01")
