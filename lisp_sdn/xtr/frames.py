"""Ethernet, ARP, IPv4, IPv6 and ICMP frames that reach the controller, parsed.

Parsing is total: any bytes give a value or a `DecodeError`, nothing else. Frames are built by
`lisp_sdn.xtr.replies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from lisp_sdn.address import IPAddress
from lisp_sdn.errors import BadLength, BadValue, Truncated, Unsupported

ETH_ARP = 0x0806
ETH_IPV4 = 0x0800
ETH_IPV6 = 0x86DD

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

ND_SOLICIT = 135
ND_ADVERT = 136

_ETH_LEN = 14
_VLAN_TYPES = (0x8100, 0x88A8)
_ND_OPTION_SOURCE = 1
_ND_OPTION_TARGET = 2
# Hop-by-hop, routing, destination options: headers of the "next, length in 8 octets" form.
_V6_OPTIONS = frozenset((0, 43, 60))
_V6_FRAGMENT = 44
_MAX_V6_HEADERS = 8


@dataclass(frozen=True, slots=True)
class Ethernet:
    """An Ethernet II frame without VLAN tag. payload: what follows the header."""

    destination: str
    source: str
    ethertype: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet for IPv4 over Ethernet (RFC 826). operation: 1 request, 2 reply."""

    operation: int
    sender_mac: str
    sender: IPv4Address
    target_mac: str
    target: IPv4Address


@dataclass(frozen=True, slots=True)
class Ip:
    """An IPv4 or IPv6 packet.

    protocol: after IPv6 extension headers. ttl: or hop limit. tos: or traffic class.
    fragment: whether it is a fragment other than the first. payload: from the upper-layer header
    to the end of the packet. packet: the whole packet without Ethernet padding.
    """

    version: int
    source: IPAddress
    destination: IPAddress
    protocol: int
    ttl: int
    tos: int
    fragment: bool
    payload: bytes
    packet: bytes


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour solicitation or advertisement (RFC 4861 sections 4.3, 4.4).

    mac: of the source or target link-layer address option, None without one.
    """

    kind: int
    target: IPv6Address
    mac: str | None


def parse_ethernet(frame: bytes) -> Ethernet:
    """The Ethernet header. Raises DecodeError; a VLAN tag is Unsupported."""
    if len(frame) < _ETH_LEN:
        raise Truncated("frame", len(frame), f"{len(frame)} octets, expected at least {_ETH_LEN}")
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype in _VLAN_TYPES:
        raise Unsupported("frame.ethertype", 12, "VLAN tag on an EID-facing port")
    return Ethernet(frame[:6].hex(":"), frame[6:12].hex(":"), ethertype, frame[_ETH_LEN:])


def parse_arp(data: bytes) -> Arp:
    """The ARP packet in an Ethernet payload. Raises DecodeError."""
    if len(data) < 28:
        raise Truncated("arp", len(data), f"{len(data)} octets, expected 28")
    if data[:6] != b"\x00\x01\x08\x00\x06\x04":
        raise Unsupported("arp.hardware", 0, "not IPv4 over Ethernet")
    return Arp(
        int.from_bytes(data[6:8], "big"),
        data[8:14].hex(":"),
        IPv4Address(data[14:18]),
        data[18:24].hex(":"),
        IPv4Address(data[24:28]),
    )


_PEEK4 = Struct("!6x6sHBxH8x4sI")
_PEEK6 = Struct("!6x6sHBxxxHBx16sQQ")
_V6_EXTENSIONS = _V6_OPTIONS | {_V6_FRAGMENT}


def peek(frame: bytes) -> tuple[bytes, int, int] | None:
    """Sender (MAC address and packed IP), IP version and destination of a plain IP packet.

    None for what is not one, or where `parse_ethernet` and `parse_ip` may find something wrong.
    """
    if len(frame) < 34:
        return None
    mac, ethertype, first, total, source, destination = _PEEK4.unpack_from(frame)
    if ethertype == ETH_IPV4 and first == 0x45:
        return (mac + source, 4, destination) if 20 <= total <= len(frame) - 14 else None
    if ethertype != ETH_IPV6 or len(frame) < 54:
        return None
    mac, _, first, length, protocol, source, high, low = _PEEK6.unpack_from(frame)
    if first >> 4 != 6 or protocol in _V6_EXTENSIONS or length > len(frame) - 54:
        return None
    return mac + source, 6, high << 64 | low


def parse_ip(data: bytes) -> Ip:
    """The IPv4 or IPv6 packet in an Ethernet payload. Raises DecodeError."""
    if not data:
        raise Truncated("ip", 0, "empty")
    version = data[0] >> 4
    if version == 4:
        return _parse_ipv4(data)
    if version == 6:
        return _parse_ipv6(data)
    raise BadValue("ip.version", 0, f"{version}, expected 4 or 6")


def _parse_ipv4(data: bytes) -> Ip:
    if len(data) < 20:
        raise Truncated("ipv4", len(data), f"{len(data)} octets, expected at least 20")
    header = (data[0] & 0xF) * 4
    total = int.from_bytes(data[2:4], "big")
    if header < 20:
        raise BadLength("ipv4.ihl", 0, f"{header} octets, expected at least 20")
    if total < header:
        raise BadLength("ipv4.total_length", 2, f"{total}, header is {header}")
    if total > len(data):
        raise Truncated("ipv4", len(data), f"{len(data)} octets, total length says {total}")
    return Ip(
        4,
        IPv4Address(data[12:16]),
        IPv4Address(data[16:20]),
        data[9],
        data[8],
        data[1],
        bool(int.from_bytes(data[6:8], "big") & 0x1FFF),
        data[header:total],
        data[:total],
    )


def _parse_ipv6(data: bytes) -> Ip:
    if len(data) < 40:
        raise Truncated("ipv6", len(data), f"{len(data)} octets, expected at least 40")
    total = 40 + int.from_bytes(data[4:6], "big")
    if total > len(data):
        raise Truncated("ipv6", len(data), f"{len(data)} octets, payload length says {total - 40}")
    protocol, offset, fragment = _skip_extension_headers(data[:total])
    return Ip(
        6,
        IPv6Address(data[8:24]),
        IPv6Address(data[24:40]),
        protocol,
        data[7],
        (int.from_bytes(data[:2], "big") >> 4) & 0xFF,
        fragment,
        data[offset:total],
        data[:total],
    )


def _skip_extension_headers(data: bytes) -> tuple[int, int, bool]:
    """(upper-layer protocol, its offset, whether a later fragment)."""
    protocol, offset = data[6], 40
    for _ in range(_MAX_V6_HEADERS):
        if protocol == _V6_FRAGMENT:
            if offset + 8 > len(data):
                raise Truncated("ipv6.fragment", offset, "header cut off")
            later = bool(int.from_bytes(data[offset + 2 : offset + 4], "big") & 0xFFF8)
            protocol, offset = data[offset], offset + 8
            if later:
                return protocol, offset, True
        elif protocol in _V6_OPTIONS:
            if offset + 2 > len(data):
                raise Truncated("ipv6.extension", offset, "header cut off")
            length = (data[offset + 1] + 1) * 8
            if offset + length > len(data):
                raise BadLength("ipv6.extension", offset, f"{length} octets, packet ends before")
            protocol, offset = data[offset], offset + length
        else:
            return protocol, offset, False
    raise BadValue("ipv6.extension", offset, f"more than {_MAX_V6_HEADERS} extension headers")


def parse_neighbour(packet: Ip) -> Neighbour:
    """The neighbour discovery message in an IPv6 packet. Raises DecodeError."""
    data = packet.payload
    if packet.version != 6 or packet.protocol != ICMPV6 or packet.fragment:
        raise BadValue("nd", 0, "not an ICMPv6 packet")
    if len(data) < 24:
        raise Truncated("nd", len(data), f"{len(data)} octets, expected at least 24")
    if data[0] not in (ND_SOLICIT, ND_ADVERT) or data[1]:
        raise BadValue("nd.type", 0, f"type {data[0]} code {data[1]}")
    if packet.ttl != 255:
        # RFC 4861 section 7.1: anything less has crossed a router, so it is forged.
        raise BadValue("nd.hop_limit", 7, f"{packet.ttl}, expected 255")
    wanted = _ND_OPTION_SOURCE if data[0] == ND_SOLICIT else _ND_OPTION_TARGET
    return Neighbour(data[0], IPv6Address(data[8:24]), _nd_option(data, wanted))


def _nd_option(data: bytes, wanted: int) -> str | None:
    offset = 24
    while offset + 2 <= len(data):
        length = data[offset + 1] * 8
        if length == 0 or offset + length > len(data):
            raise BadLength("nd.option", offset, f"{length} octets")
        if data[offset] == wanted and length == 8:
            return data[offset + 2 : offset + 8].hex(":")
        offset += length
    return None


def is_icmp_error(packet: Ip) -> bool:
    """Whether no ICMP error may be sent about it (RFC 1122 3.2.2, RFC 4443 2.4 e)."""
    if packet.fragment:
        return True
    if packet.protocol == ICMP and packet.version == 4:
        # Only queries and their replies may be answered by an error.
        return not packet.payload or packet.payload[0] in (3, 4, 5, 11, 12)
    if packet.protocol == ICMPV6 and packet.version == 6:
        return not packet.payload or packet.payload[0] < 128
    return False
