"""As much of DHCP as shows which address a host has or asks for (RFC 2131)."""

from __future__ import annotations

from ipaddress import IPv4Address

_UDP_HEADER = 8
_FIXED = 236
_COOKIE = b"\x63\x82\x53\x63"
_REQUESTED_ADDRESS, _MESSAGE_TYPE, _PAD, _END = 50, 53, 0, 255
_DHCPREQUEST = 3
_ETHERNET = b"\x01\x01\x06"


def requested_address(udp: bytes) -> tuple[IPv4Address, str] | None:
    """The address and MAC address in a DHCPREQUEST of an Ethernet host; None for anything else.

    udp: from the UDP header on. A host that renews has its address in ciaddr, one that comes back
    asks for it by option 50 (RFC 2131 section 4.3.2).
    """
    data = udp[_UDP_HEADER:]
    if data[:3] != _ETHERNET or data[_FIXED : _FIXED + 4] != _COOKIE:
        return None
    options = _options(data[_FIXED + 4 :])
    if options.get(_MESSAGE_TYPE) != bytes((_DHCPREQUEST,)):
        return None
    wanted = options.get(_REQUESTED_ADDRESS, b"")
    octets = wanted if len(wanted) == 4 else data[12:16]
    if not any(octets):
        return None
    return IPv4Address(octets), data[28:34].hex(":")


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset < len(data) and data[offset] != _END:
        if data[offset] == _PAD:
            offset += 1
            continue
        if offset + 2 > len(data):
            break
        length = data[offset + 1]
        found.setdefault(data[offset], data[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return found
