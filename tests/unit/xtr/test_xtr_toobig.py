"""Large IPv4 packets in two (RFC 791 section 3.2, RFC 9300 section 7.1)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_ip
from lisp_sdn.xtr.toobig import fragments

A, B = IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1")


def packet(octets: int, flags: int = 0) -> bytes:
    """An IPv4 packet of a length, with flags and fragment offset."""
    made = bytearray(replies.ipv4(A, B, 17, bytes(i % 251 for i in range(octets - 20)), tos=0xB8))
    made[4:6] = b"\x12\x34"
    made[6:8] = flags.to_bytes(2, "big")
    made[10:12] = b"\0\0"
    made[10:12] = replies.checksum(bytes(made[:20])).to_bytes(2, "big")
    return bytes(made)


def field(part: bytes) -> tuple[int, int]:
    """(flags, offset in octets) of a packet."""
    value = int.from_bytes(part[6:8], "big")
    return value >> 13, (value & 0x1FFF) * 8


@pytest.mark.parametrize("octets", [1465, 1466, 1499, 1500, 2000])
def test_two_fragments_of_about_the_same_size(octets: int) -> None:
    whole = packet(octets)
    parts = fragments(whole, 1464)
    assert parts is not None
    first, second = parts
    assert abs(len(first) - len(second)) <= 16
    assert max(map(len, parts)) <= 1464
    assert (field(first), field(second)) == ((1, 0), (0, len(first) - 20))
    assert first[20:] + second[20:] == whole[20:]
    for part in parts:
        read = parse_ip(part)
        assert (read.source, read.destination, read.protocol, read.tos) == (A, B, 17, 0xB8)
        assert replies.checksum(part[:20]) == 0
        assert int.from_bytes(part[2:4], "big") == len(part)
        assert part[4:6] == whole[4:6]


def test_a_fragment_is_split_at_its_place_in_the_whole() -> None:
    parts = fragments(packet(1500, flags=0x2000 | 185), 1464)
    assert parts is not None
    assert [field(part) for part in parts] == [(1, 1480), (1, 1480 + 744)]


def test_the_last_fragment_stays_the_last() -> None:
    parts = fragments(packet(1500, flags=185), 1464)
    assert parts is not None
    assert [field(part)[0] for part in parts] == [1, 0]


@pytest.mark.parametrize(
    "whole",
    [
        packet(1500, flags=0x4000),
        packet(4000),
        b"\x46" + packet(1500)[1:],
        replies.ipv6(IPv6Address("::1"), IPv6Address("::2"), 17, bytes(1460)),
    ],
    ids=["df", "more than two", "options", "ipv6"],
)
def test_what_is_not_split(whole: bytes) -> None:
    assert fragments(whole, 1464) is None
