"""What the inner header takes from the outer one at the ETR: ECN, not DSCP, not TTL."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from labrun import in_namespace
from two_sites_lab import BLUE, H1, H2, LEFT

from lisp_sdn.xtr import replies

NOT_ECT, ECT1, ECT0, CE = range(4)
DROPPED = None
PORT = 4000
IP_RECVTTL = 12

# RFC 6040 section 4.2, figure 4: what leaves the tunnel, by inner (row) and outer header.
OUTGOING = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: DROPPED},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}
# Open vSwitch knows no severity between the two: it looks for CE only.
OPEN_VSWITCH = {(ECT0, ECT1): ECT0}


@contextlib.contextmanager
def receiver(lab: Any) -> Iterator[socket.socket]:
    """A socket of h1 that hears TOS and TTL of what comes."""
    with in_namespace(lab.h1.pid):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((H1, PORT))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        sock.settimeout(0.5)
        yield sock


def encapsulated(tos: int, ttl: int, data: bytes) -> bytes:
    """LISP-GPE (RFC 9305): flags I and P, IPv4 inside; a UDP packet from h2 to h1."""
    udp = PORT.to_bytes(2, "big") * 2 + (8 + len(data)).to_bytes(2, "big") + bytes(2) + data
    inner = replies.ipv4(IPv4Address(H2), IPv4Address(H1), 17, udp, ttl=ttl, tos=tos)
    return bytes((0x0C, 0, 0, 1)) + (BLUE << 8).to_bytes(4, "big") + inner


def through(
    lab: Any, heard: socket.socket, inner: tuple[int, int], outer: tuple[int, int]
) -> tuple[int, int] | None:
    """Send a packet through the tunnel; its (TOS, TTL) at h1. inner, outer: (TOS, TTL)."""
    data = bytes((*inner, *outer))
    with in_namespace(lab.net.core.pid), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, outer[0])
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, outer[1])
        sock.sendto(encapsulated(*inner, data), (LEFT, 4341))
    try:
        got, ancillary, _, _ = heard.recvmsg(100, 100)
    except TimeoutError:
        return None
    assert got == data
    values = {kind: int.from_bytes(value[:1], "big") for _, kind, value in ancillary}
    return values[socket.IP_TOS], values[socket.IP_TTL]


@pytest.mark.parametrize("inner", [NOT_ECT, ECT0, ECT1, CE])
def test_ecn_leaves_the_tunnel_as_rfc_6040_says(lab: Any, inner: int) -> None:
    assert lab.h1.ping(H2, 2, 0.2).received
    with receiver(lab) as heard:
        for outer in (NOT_ECT, ECT0, ECT1, CE):
            expected = OPEN_VSWITCH.get((inner, outer), OUTGOING[inner][outer])
            found = through(lab, heard, (inner, 64), (outer, 64))
            assert (None if found is None else found[0]) == expected, f"outer {outer}"


def test_dscp_and_ttl_of_the_outer_header_stay_outside(lab: Any) -> None:
    """Nothing of OpenFlow reaches them (docs/lab.md); what came by the tunnel never goes back."""
    assert lab.h1.ping(H2, 2, 0.2).received
    with receiver(lab) as heard:
        assert through(lab, heard, (0x28, 40), (0xB8, 64)) == (0x28, 39)
        assert through(lab, heard, (0x28, 40), (0xB8, 3)) == (0x28, 39)
