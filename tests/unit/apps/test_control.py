"""The control sockets: datagrams in and out, answered from the address that was asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import eventlet
import pytest

from lisp_sdn.actions import Dropped, SendControl
from lisp_sdn.address import Endpoint
from lisp_sdn.apps.control import ControlSockets, ListenError

ANY4, ANY6 = Endpoint(ip_address("0.0.0.0"), 0), Endpoint(ip_address("::"), 0)


class Edge:
    """Control sockets that answer every datagram with the same octets reversed."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Endpoint]] = []
        self.dropped: list[Dropped] = []
        self.sockets = ControlSockets(self.receive, self.dropped.append)

    def receive(self, data: bytes, source: Endpoint) -> None:
        self.received.append((data, source))
        self.sockets.send(SendControl(data[::-1], source))


@pytest.fixture
def edge() -> Iterator[Edge]:
    made = Edge()
    yield made
    made.sockets.close()


def ask(address: str, port: int) -> tuple[bytes, str]:
    """Send a datagram; the answer and where it came from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.sendto(b"abc", (address, port))
        with eventlet.Timeout(5):
            while True:
                eventlet.sleep(0.001)
                try:
                    data, source = client.recvfrom(100)
                except BlockingIOError:
                    continue
                return data, source[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.77", "::1"])
def test_the_answer_comes_from_the_address_that_was_asked(edge: Edge, address: str) -> None:
    edge.sockets.listen([ANY4, ANY6])
    edge.sockets.start()
    port = next(
        e.port for e in edge.sockets.endpoints if e.address.version == ip_address(address).version
    )
    assert ask(address, port) == (b"cba", address)
    ((data, source),) = edge.received
    assert data == b"abc"
    assert source.address == ip_address("::1" if ":" in address else "127.0.0.1")
    assert edge.dropped == []


def test_a_port_in_use_is_one_line_and_nothing_stays_bound(edge: Edge) -> None:
    edge.sockets.listen([Endpoint(ip_address("127.0.0.1"), 0)])
    (taken,) = edge.sockets.endpoints
    other = Edge()
    with pytest.raises(ListenError) as caught:
        other.sockets.listen([ANY4, taken])
    assert str(caught.value) == (
        f"LISP control: cannot listen on UDP {taken}: Address already in use"
    )
    assert other.sockets.endpoints == []


def test_what_cannot_be_sent_is_counted_with_its_reason(edge: Edge) -> None:
    edge.sockets.listen([Endpoint(ip_address("127.0.0.1"), 0)])
    too_long = SendControl(bytes(70_000), Endpoint(ip_address("127.0.0.1"), 4342))
    edge.sockets.send(too_long)
    edge.sockets.send(SendControl(b"x", Endpoint(ip_address("::1"), 4342)))
    assert [drop.reason for drop in edge.dropped] == ["send_emsgsize", "no_ipv6_socket"]
    assert "127.0.0.1:4342" in edge.dropped[0].detail


def test_many_datagrams_at_once_are_all_received(edge: Edge) -> None:
    edge.sockets.listen([Endpoint(ip_address("127.0.0.1"), 0)])
    edge.sockets.start()
    (endpoint,) = edge.sockets.endpoints
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for number in range(200):
            client.sendto(number.to_bytes(2, "big"), ("127.0.0.1", endpoint.port))
    with eventlet.Timeout(5):
        while len(edge.received) < 200:
            eventlet.sleep(0.001)
    assert [data for data, _ in edge.received] == [n.to_bytes(2, "big") for n in range(200)]


def test_an_answer_that_is_ready_goes_out_at_once(edge: Edge) -> None:
    def quick(data: bytes, version: int) -> tuple[bytes, bytes, int] | None:
        asked.append((data, version))
        return (b"ready", ip_address("127.0.0.1").packed, client.getsockname()[1])

    asked: list[tuple[bytes, int]] = []
    sockets = ControlSockets(edge.receive, edge.dropped.append, quick)
    sockets.listen([Endpoint(ip_address("127.0.0.1"), 0)])
    sockets.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.setblocking(False)
        client.sendto(b"abc", ("127.0.0.1", sockets.endpoints[0].port))
        with eventlet.Timeout(5):
            while not asked:
                eventlet.sleep(0.001)
        assert client.recv(100) == b"ready"
    sockets.close()
    assert asked == [(b"abc", 4)]
    assert edge.received == []
    assert edge.dropped == []
