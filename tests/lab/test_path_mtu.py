"""Hosts and underlay with the same MTU: hosts learn what fits, without being touched."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from labrun import in_namespace, poll
from two_sites_lab import H2, H2_V6, LEFT, RIGHT, Lab

if TYPE_CHECKING:
    from labnodes import EidHost

MTU = 1500
OUTER = {4: 36, 6: 56}
IP_MTU, IPV6_MTU = 14, 24
OCTETS = 2 << 20


@pytest.fixture(scope="module")
def net(_lab_possible: None) -> Iterator[Lab]:
    """The two-site network with an underlay that leaves no room for outer headers."""
    with Lab(mtu=MTU) as made:
        yield made


@pytest.fixture(params=[4, 6], ids=["outer-ipv4", "outer-ipv6"])
def outer(net: Lab, request: pytest.FixtureRequest) -> Iterator[int]:
    """Encapsulation in this IP version: with the IPv4 RLOC of the right site drained, IPv6."""
    version: int = request.param
    if version == 6:
        set_drained(net, True)
    for host, target in ((net.h1, H2), (net.h1, H2_V6)):
        host.ping(target, 3, 0.2)
    for host in (net.h1, net.h2):
        for family in ("-4", "-6"):
            host.do("ip", family, "route", "flush", "cache")
    yield version
    if version == 6:
        set_drained(net, False)


def set_drained(net: Lab, drained: bool) -> None:
    """Traffic to both sites goes to IPv6 RLOCs, or to IPv4 ones again."""
    for rloc in (LEFT, RIGHT):
        reply = net.net.ctl.rest("PUT" if drained else "DELETE", f"/lisp/v1/rlocs/{rloc}/drain")
        assert reply.status == 200, reply
    tunnel = "tun_ipv6_dst" if drained else "tun_dst"

    def moved() -> bool:
        groups = [group for xtr in net.net.xtrs.values() for group in xtr.groups()]
        return all(f"->{tunnel}" in group for group in groups)

    poll(f"groups that set {tunnel}", moved, 5)


@contextlib.contextmanager
def echo_server(host: EidHost, address: str) -> Iterator[int]:
    """Takes one connection and sends back what it got, when it got all of it; yields its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with in_namespace(host.pid):
        listener = socket.create_server((address, 0), family=family)
    listener.settimeout(10)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            received = bytearray()
            while data := connection.recv(1 << 16):
                received += data
            connection.sendall(received)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield int(listener.getsockname()[1])
        thread.join(20)


@pytest.mark.parametrize("target", [H2, H2_V6], ids=["ipv4", "ipv6"])
def test_ping_learns_the_path_mtu(net: Lab, outer: int, target: str) -> None:
    header = 28 if "." in target else 48
    room = MTU - OUTER[outer]
    fits, too_large = str(room - header), str(room - header + 1)
    assert net.h1.ping(target, 3, 0.1, "-M", "do", "-s", fits).received == 3
    before = net.counted("packets-too-big", "left")
    said = net.h1.ping(target, 2, 0.3, "-M", "do", "-s", too_large).text
    assert f"mtu = {room}" in said or f"mtu={room}" in said, said
    gateway = "10.1.0.254" if "." in target else "2001:db8:e1::fe"
    assert f"From {gateway}" in said, said
    assert net.counted("packets-too-big", "left") - before == 1
    cached = net.h1.do("ip", "route", "get", target)
    assert f"mtu {room}" in cached, cached


@pytest.mark.parametrize("target", [H2, H2_V6], ids=["ipv4", "ipv6"])
def test_tcp_works_in_both_directions(net: Lab, outer: int, target: str) -> None:
    room = MTU - OUTER[outer]
    with echo_server(net.h2, target) as port:
        with in_namespace(net.h1.pid):
            client = socket.create_connection((target, port), timeout=10)
        with client:
            client.sendall(bytes(OCTETS))
            client.shutdown(socket.SHUT_WR)
            received = 0
            while data := client.recv(1 << 16):
                received += len(data)
            level, option = (0, IP_MTU) if "." in target else (41, IPV6_MTU)
            assert client.getsockopt(level, option) == room
    assert received == OCTETS


def test_without_df_packets_arrive_in_fragments(net: Lab, outer: int) -> None:
    before = net.counted("packets-fragmented", "left")
    pings = net.h1.ping(H2, 5, 0.1, "-M", "dont", "-s", str(MTU - 28))
    assert pings.received == 5, pings.text
    assert net.counted("packets-fragmented", "left") - before == 5


def test_a_flood_of_large_packets_is_metered(net: Lab) -> None:
    with in_namespace(net.h1.pid), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # IP_PMTUDISC_PROBE: DF, whatever the host has learned.
        sock.setsockopt(socket.IPPROTO_IP, 10, 3)
        before = net.counted("packets-too-big", "left")
        for _ in range(5000):
            sock.sendto(bytes(1460), (H2, 9))
    assert net.h1.ping(H2, 3, 0.1).received == 3
    assert 1 <= net.counted("packets-too-big", "left") - before <= 200
