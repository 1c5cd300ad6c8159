"""Packets too large for the underlay: what becomes of those that the switch found (`size`).

The stateless solution of RFC 9300 section 7.1: with DF, or as IPv6, the host is told how large a
packet may be; other packets go on in two fragments.
"""

from __future__ import annotations

from collections.abc import Callable

from lisp_sdn.actions import PacketIn
from lisp_sdn.rules import Output, SetField
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import Ip
from lisp_sdn.xtr.gateway import Gateway
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.pipeline import IID_MASK
from lisp_sdn.xtr.queue import Held
from lisp_sdn.xtr.size import ETHERNET, largest, outer_fields
from lisp_sdn.xtr.topology import Topology

_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_OFFSET = 0x1FFF


class TooBig:
    """What becomes of the packets that the switch found too large, in the state of one xTR."""

    def __init__(self, outbox: Outbox, topology: Callable[[], Topology], gateway: Gateway) -> None:
        self._out = outbox
        self._topology = topology
        self._gateway = gateway

    def packet(self, event: PacketIn, packet: Ip, iid: int, held: Held) -> None:
        """A packet with its outer addresses, its TTL decremented, but not encapsulated."""
        topology, rloc = self._topology(), event.tunnel_destination
        if rloc is None or event.tunnel_source is None or topology.tunnel_port is None:
            self._out.drop("unexpected-packet-in", "too large, without an RLOC")
            return
        room = largest(rloc, topology)
        parts = fragments(packet.packet, room)
        if parts is None:
            self._out.counters["packets-too-big"] += 1
            self._out.drop(
                "too-big", f"{len(packet.packet)} octets, {room} fit", str(packet.source)
            )
            self._gateway.tell(replies.TOO_BIG, iid, held, mtu=room)
            return
        self._out.counters["packets-fragmented"] += 1
        way = (
            SetField("tunnel_id", event.tunnel_id & IID_MASK),
            *outer_fields(event.tunnel_source, rloc),
            Output(topology.tunnel_port),
        )
        for part in parts:
            self._out.packet(event.frame[:ETHERNET] + part, event.in_port, *way)


def fragments(packet: bytes, room: int) -> tuple[bytes, bytes] | None:
    """An IPv4 packet in two of about the same size; None if it must not, or cannot, be split.

    room: octets that fit. A packet with options is not split: each option says for itself
    whether it belongs into the second fragment (RFC 791 section 3.1).
    """
    flags = int.from_bytes(packet[6:8], "big")
    if packet[0] != 0x45 or flags & _DONT_FRAGMENT:
        return None
    payload = packet[20:]
    # Offsets count in units of 8 octets.
    first = (len(payload) // 2 + 7) // 8 * 8
    if 20 + first > room:
        return None
    offset = flags & _OFFSET
    later = (flags & _MORE_FRAGMENTS) | offset + first // 8
    return (
        _fragment(packet, payload[:first], _MORE_FRAGMENTS | offset),
        _fragment(packet, payload[first:], later),
    )


def _fragment(packet: bytes, payload: bytes, flags: int) -> bytes:
    header = bytearray(packet[:20])
    header[2:4] = (20 + len(payload)).to_bytes(2, "big")
    header[6:8] = flags.to_bytes(2, "big")
    header[10:12] = b"\0\0"
    header[10:12] = replies.checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + payload
