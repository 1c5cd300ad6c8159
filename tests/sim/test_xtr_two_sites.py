"""Two sites, simulated switches, a mapping system in memory: nothing is lost because of a miss."""

from __future__ import annotations

import pytest
from xtr_network import Network


@pytest.fixture
def net() -> Network:
    network = Network()
    network.start()
    return network


@pytest.mark.parametrize(
    ("source", "destination"),
    [("10.1.0.1", "10.2.0.1"), ("2001:db8:1::1", "2001:db8:2::1")],
)
def test_first_packet_and_answer_arrive(net: Network, source: str, destination: str) -> None:
    a = net["xa"].add(1, source, "02:00:00:00:0a:01")
    b = net["xb"].add(1, destination, "02:00:00:00:0b:01")
    for number in range(5):
        net.send("xa", 1, a.frame(destination, b"ping%d" % number))
        net.advance(0.1)
        net.send("xb", 1, b.frame(source, b"pong%d" % number))
        net.advance(0.1)
    assert [packet[-5:] for packet in b.received] == [b"ping%d" % n for n in range(5)]
    assert [packet[-5:] for packet in a.received] == [b"pong%d" % n for n in range(5)]
    assert len(net.mapping.requests) == 2
    assert not net.drops
