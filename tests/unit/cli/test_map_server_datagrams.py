"""Sockets that move many datagrams at once."""

from __future__ import annotations

import select
import socket
from ipaddress import ip_address

import pytest

from lisp_sdn.address import Endpoint
from lisp_sdn.cli.datagrams import (
    MAX_DATAGRAM,
    DatagramSocket,
    listen,
    pack_address,
    pack_endpoint,
    unpack_endpoint,
)


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1"])
def test_an_address_survives_as_a_sockaddr(text: str) -> None:
    endpoint = Endpoint(ip_address(text), 4342)
    assert unpack_endpoint(pack_endpoint(endpoint)) == endpoint
    assert pack_address(endpoint.address.packed, 4342) == pack_endpoint(endpoint)


def wait(datagrams: DatagramSocket) -> list[tuple[bytes, bytes]]:
    assert select.select([datagrams.socket], [], [], 5)[0], "nothing came"
    return [(data, datagrams.source(i)) for i, data in enumerate(datagrams.receive())]


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_many_datagrams_there_and_back(loopback: str) -> None:
    one = DatagramSocket(listen(Endpoint(ip_address(loopback), 0)), batch=8)
    two = DatagramSocket(listen(Endpoint(ip_address(loopback), 0)), batch=8)
    sent = [bytes([i]) * (i * 100 % 1400) for i in range(20)]
    for data in sent:
        one.send(data, pack_endpoint(two.endpoint))
    one.flush()
    got: list[tuple[bytes, bytes]] = []
    while len(got) < len(sent):
        batch = wait(two)
        assert 0 < len(batch) <= 8
        got += batch
    assert [data for data, _ in got] == sent
    assert {unpack_endpoint(name) for _, name in got} == {one.endpoint}
    two.send(b"back", got[0][1])
    two.answer(b"again", one.endpoint.address.packed, one.endpoint.port)
    two.send(b"large" * 1000, got[0][1])
    two.flush()
    name = pack_endpoint(two.endpoint)
    assert wait(one) == [(b"back", name), (b"again", name), (b"large" * 1000, name)]
    assert one.receive() == []
    one.close()
    two.close()


def test_a_datagram_of_the_greatest_size_is_whole() -> None:
    one = DatagramSocket(listen(Endpoint(ip_address("127.0.0.1"), 0)), batch=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        data = bytes(range(256)) * 256
        other.sendto(data[: MAX_DATAGRAM - 28], (str(one.endpoint.address), one.endpoint.port))
        assert [len(found) for found, _ in wait(one)] == [MAX_DATAGRAM - 28]
    one.close()


def test_what_cannot_be_sent_is_counted_and_the_rest_goes_out() -> None:
    one = DatagramSocket(listen(Endpoint(ip_address("127.0.0.1"), 0)))
    two = DatagramSocket(listen(Endpoint(ip_address("127.0.0.1"), 0)))
    nowhere = pack_endpoint(Endpoint(ip_address("127.0.0.1"), 0))
    for name in (nowhere, pack_endpoint(two.endpoint), nowhere, pack_endpoint(two.endpoint)):
        one.send(b"x", name)
    one.flush()
    assert one.send_failures == 2
    assert len(wait(two)) == 2
    one.close()
    two.close()


def test_a_port_in_use_is_an_error() -> None:
    first = listen(Endpoint(ip_address("127.0.0.1"), 0))
    port = first.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        listen(Endpoint(ip_address("127.0.0.1"), port))
    first.close()
    shared = [listen(Endpoint(ip_address("127.0.0.1"), port), reuse_port=True) for _ in range(2)]
    for sock in shared:
        sock.close()
