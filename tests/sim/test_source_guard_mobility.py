"""The source guard where hosts move: nobody who moved is refused, and nobody else passes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from mobile_network import CONFIG, MobileNetwork
from xtr_network import TUNNEL, Host

from lisp_sdn.xtr.frames import parse_ip

ENFORCED = CONFIG + "source_guard: {mode: enforce}\n"


@pytest.fixture
def network() -> MobileNetwork:
    return MobileNetwork(ENFORCED)


def got(host: Host) -> list[bytes]:
    """Payloads that came to a host since the last look."""
    packets = [parse_ip(packet).payload for packet in host.received if packet[9] == 253]
    host.received.clear()
    return packets


def refused(network: MobileNetwork) -> set[str]:
    return {drop.reason for drop in network.drops if drop.reason.startswith("source-")}


def test_a_host_that_moved_sends_from_its_new_place(network: MobileNetwork) -> None:
    roamer = network.host("xa", "10.1.0.1", "02:00:00:00:01:01")
    peer = network.host("xc", "10.3.0.1", "02:00:00:00:03:01")
    for _ in range(2):
        network.say(roamer, "10.3.0.1")
        network.say(peer, "10.1.0.1")
        network.advance(1)
    got(peer), got(roamer)
    for number, site in enumerate(("xb", "xa", "xb")):
        network.plug(roamer, site)
        network.say(roamer, "10.3.0.1", b"from %d" % number)
        network.say(peer, "10.1.0.1", b"to %d" % number)
        network.advance(1)
        assert (got(peer), got(roamer)) == ([b"from %d" % number], [b"to %d" % number])
    assert refused(network) == set()


def test_what_the_old_place_sends_on_is_accepted(network: MobileNetwork) -> None:
    roamer = network.host("xa", "10.1.0.1", "02:00:00:00:01:01")
    peer = network.host("xc", "10.3.0.1", "02:00:00:00:03:01")
    network.say(roamer, "10.3.0.1")
    network.say(peer, "10.1.0.1")
    network.plug(roamer, "xb")
    network.say(roamer, "10.3.0.1")
    network.advance(1)
    got(roamer)
    for sender, arrives in (("192.0.2.3", [b"late"]), ("203.0.113.66", [])):
        trace = network["xa"].switch.receive(
            TUNNEL,
            peer.frame("10.1.0.1", b"late"),
            tunnel_id=1,
            tunnel_source=ip_address(sender),
            tunnel_destination=ip_address("192.0.2.1"),
        )
        network.follow(network["xa"], trace)
        network._arrive()
        assert got(roamer) == arrives
    assert refused(network) == {"source-rloc-mismatch"}


def test_a_port_that_allows_mobility_is_no_way_around(network: MobileNetwork) -> None:
    roamer = network.host("xa", "10.1.0.1", "02:00:00:00:01:01")
    peer = network.host("xc", "10.3.0.1", "02:00:00:00:03:01")
    network.say(roamer, "10.3.0.1")
    network.advance(1)
    got(peer)
    roamer.address = ip_address("172.16.0.1")
    network.say(roamer, "10.3.0.1", b"spoofed")
    network.advance(1)
    assert got(peer) == []
    assert refused(network) == {"source-eid-not-of-port"}
