"""Frames that a gateway makes: ARP, neighbour discovery, ICMP (RFC 826, 4861, 792, 4443)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.address import IPAddress
from lisp_sdn.xtr.frames import ETH_ARP, ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, ND_SOLICIT, Ip

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES = IPv6Address("ff02::1")

TTL_EXCEEDED = "ttl-exceeded"
NET_UNREACHABLE = "net-unreachable"
HOST_UNREACHABLE = "host-unreachable"
PROHIBITED = "prohibited"
TOO_BIG = "too-big"

# (ICMP type, code), (ICMPv6 type, code): RFC 792, RFC 1812 5.2.7.1, RFC 4443 section 3.
_ERRORS = {
    TTL_EXCEEDED: ((11, 0), (3, 0)),
    NET_UNREACHABLE: ((3, 0), (1, 0)),
    HOST_UNREACHABLE: ((3, 1), (1, 3)),
    PROHIBITED: ((3, 13), (1, 1)),
    TOO_BIG: ((3, 4), (2, 0)),
}
# RFC 1812 4.3.2.3 and RFC 4443 3: as much of the packet as fits these sizes of the error itself.
_MAX_ERROR = {4: 576, 6: 1280}


def mac_bytes(mac: str) -> bytes:
    """Six octets of "aa:bb:..."."""
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(destination: str, source: str, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet II frame."""
    return mac_bytes(destination) + mac_bytes(source) + ethertype.to_bytes(2, "big") + payload


def ipv4(
    source: IPv4Address,
    destination: IPv4Address,
    protocol: int,
    payload: bytes,
    ttl: int = 64,
    tos: int = 0,
) -> bytes:
    """An IPv4 packet without options."""
    header = bytearray(20)
    header[0], header[1] = 0x45, tos
    header[2:4] = (20 + len(payload)).to_bytes(2, "big")
    header[8], header[9] = ttl, protocol
    header[12:16], header[16:20] = source.packed, destination.packed
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + payload


def ipv6(
    source: IPv6Address,
    destination: IPv6Address,
    protocol: int,
    payload: bytes,
    hop_limit: int = 64,
    traffic_class: int = 0,
) -> bytes:
    """An IPv6 packet without extension headers."""
    first = (6 << 28 | traffic_class << 20).to_bytes(4, "big")
    lengths = len(payload).to_bytes(2, "big") + bytes((protocol, hop_limit))
    return first + lengths + source.packed + destination.packed + payload


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP message. rest: everything after the checksum."""
    sum_ = checksum(bytes((kind, code, 0, 0)) + rest)
    return bytes((kind, code)) + sum_.to_bytes(2, "big") + rest


def icmpv6(
    source: IPv6Address, destination: IPv6Address, kind: int, code: int, rest: bytes
) -> bytes:
    """An ICMPv6 message with the checksum over its pseudo-header (RFC 4443 section 2.3)."""
    length = 4 + len(rest)
    pseudo = source.packed + destination.packed + length.to_bytes(4, "big") + bytes((0, 0, 0, 58))
    sum_ = checksum(pseudo + bytes((kind, code, 0, 0)) + rest)
    return bytes((kind, code)) + sum_.to_bytes(2, "big") + rest


def ip_frame(destination_mac: str, source_mac: str, version: int, packet: bytes) -> bytes:
    """An IP packet in Ethernet."""
    return ethernet(destination_mac, source_mac, ETH_IPV4 if version == 4 else ETH_IPV6, packet)


def arp(
    operation: int,
    sender_mac: str,
    sender: IPv4Address,
    target_mac: str,
    target: IPv4Address,
    destination: str,
) -> bytes:
    """An ARP frame. operation: 1 request, 2 reply."""
    body = b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2, "big")
    body += mac_bytes(sender_mac) + sender.packed + mac_bytes(target_mac) + target.packed
    return ethernet(destination, sender_mac, ETH_ARP, body)


def arp_request(mac: str, gateway: IPv4Address, target: IPv4Address) -> bytes:
    """The gateway asks who has `target`."""
    return arp(1, mac, gateway, "00:00:00:00:00:00", target, BROADCAST)


def solicited_node(target: IPv6Address) -> IPv6Address:
    """The solicited-node multicast address (RFC 4291 section 2.7.1)."""
    return IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(target) & 0xFFFFFF)


def multicast_mac(group: IPv6Address) -> str:
    """33:33 and the low 32 bits (RFC 2464 section 7)."""
    return (b"\x33\x33" + group.packed[12:]).hex(":")


def neighbour_solicitation(mac: str, gateway: IPv6Address, target: IPv6Address) -> bytes:
    """The gateway asks who has `target` (RFC 4861 section 7.2.2)."""
    group = solicited_node(target)
    rest = bytes(4) + target.packed + b"\x01\x01" + mac_bytes(mac)
    message = icmpv6(gateway, group, ND_SOLICIT, 0, rest)
    packet = ipv6(gateway, group, ICMPV6, message, hop_limit=255)
    return ethernet(multicast_mac(group), mac, ETH_IPV6, packet)


def neighbour_advertisement(
    mac: str, gateway: IPv6Address, asker: IPv6Address, asker_mac: str
) -> bytes:
    """The gateway's answer: router, override, solicited unless the asker has no address yet."""
    return _advertisement(0xE0, 0xA0, mac, gateway, asker, asker_mac)


def _advertisement(
    answer: int, unsolicited: int, mac: str, target: IPv6Address, asker: IPv6Address, asker_mac: str
) -> bytes:
    solicited = not asker.is_unspecified
    destination = asker if solicited else ALL_NODES
    destination_mac = asker_mac if solicited else multicast_mac(ALL_NODES)
    flags = answer if solicited else unsolicited
    rest = bytes((flags, 0, 0, 0)) + target.packed + b"\x02\x01" + mac_bytes(mac)
    message = icmpv6(target, destination, 136, 0, rest)
    packet = ipv6(target, destination, ICMPV6, message, hop_limit=255)
    return ethernet(destination_mac, mac, ETH_IPV6, packet)


def proxy_advertisement(mac: str, target: IPv6Address, asker: IPv6Address, asker_mac: str) -> bytes:
    """The gateway stands in for a host that is elsewhere (RFC 4861 section 7.2.8).

    With the override flag: its neighbours may still know its own MAC address. asker: unspecified
    for an unsolicited advertisement.
    """
    return _advertisement(0x60, 0x20, mac, target, asker, asker_mac)


def icmp_error(kind: str, source: IPAddress, about: Ip, mtu: int = 0) -> bytes:
    """The IP packet that tells `about`'s sender what happened. kind: one of the names above.

    mtu: of the next hop, for TOO_BIG (RFC 1191 section 4, RFC 4443 section 3.2).
    """
    (type4, code4), (type6, code6) = _ERRORS[kind]
    rest = mtu.to_bytes(4, "big")
    if isinstance(source, IPv4Address) and isinstance(about.source, IPv4Address):
        quoted = about.packet[: _MAX_ERROR[4] - 28]
        message = icmp(type4, code4, rest + quoted)
        # RFC 1812 4.3.2.5: ICMP errors carry internetwork control precedence.
        return ipv4(source, about.source, ICMP, message, tos=0xC0)
    assert isinstance(source, IPv6Address)
    assert isinstance(about.source, IPv6Address)
    quoted = about.packet[: _MAX_ERROR[6] - 48]
    message = icmpv6(source, about.source, type6, code6, rest + quoted)
    return ipv6(source, about.source, ICMPV6, message)


def echo_reply(request: Ip) -> bytes:
    """The IP packet that answers an echo request, with its data (RFC 792, RFC 4443 4.2)."""
    rest = request.payload[4:]
    source, destination = request.destination, request.source
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        return ipv4(source, destination, ICMP, icmp(0, 0, rest), tos=request.tos)
    assert isinstance(source, IPv6Address)
    assert isinstance(destination, IPv6Address)
    message = icmpv6(source, destination, 129, 0, rest)
    return ipv6(source, destination, ICMPV6, message, traffic_class=request.tos)


def is_echo_request(packet: Ip) -> bool:
    """Whether it asks for an echo."""
    if packet.fragment or len(packet.payload) < 8 or packet.payload[1]:
        return False
    return (packet.protocol, packet.payload[0]) == ((ICMP, 8) if packet.version == 4 else (58, 128))
