"""OpenFlow 1.3 messages from a switch as values; the other direction of `openflow`.

What Open vSwitch reports of a rule of ours is equal to that rule: `lisp_sdn.rules.match` and this
module write the same thing in the same form. Octets raise DecodeError only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar, cast

from lisp_sdn.actions import FlowCounter, FlowRemoved, PacketIn, PortInfo
from lisp_sdn.address import IPAddress
from lisp_sdn.apps import oxm
from lisp_sdn.apps.instructions import decode_actions, decode_instructions
from lisp_sdn.apps.openflow import (
    ANY,
    BUCKET,
    GROUP_TYPES,
    HEADER,
    METER_BAND,
    METER_BAND_DROP,
    METER_BURST,
    METER_PKTPS,
    SEND_FLOW_REM,
)
from lisp_sdn.errors import BadLength, BadValue, Truncated
from lisp_sdn.rules import Bucket, FlowRule, GroupRule, MeterRule

_PACKET_IN = struct.Struct("!IHBBQ")
_FLOW_REMOVED = struct.Struct("!QHBBIIHHQQ")
_FLOW_STATS = struct.Struct("!HB9xHHHH4xQ16x")
_FLOW_COUNTERS = struct.Struct("!32xQQ")
_TABLE_STATS = struct.Struct("!B7xQ8x")
_GROUP_DESC = struct.Struct("!HBxI")
_METER_CONFIG = struct.Struct("!HHI")
_MULTIPART_REPLY = struct.Struct("!HH4x")
_TLV = struct.Struct("!I")

_Rule = TypeVar("_Rule")

_REASON_INVALID_TTL = 2
_REASON_IDLE_TIMEOUT = 0
_REPLY_MORE = 1
_PORT_DOWN = 1
_LINK_DOWN = 1


def _header(name: str) -> int:
    return int.from_bytes(oxm.field(name).header, "big")


_IN_PORT = _header("in_port")
_METADATA = _header("metadata")
_TUNNEL_ID = _header("tunnel_id")
_TUNNEL_SOURCES: dict[int, Callable[[bytes], IPAddress]] = {
    _header("tun_ipv4_src"): IPv4Address,
    _header("tun_ipv6_src"): IPv6Address,
}
_TUNNEL_DESTINATIONS: dict[int, Callable[[bytes], IPAddress]] = {
    _header("tun_ipv4_dst"): IPv4Address,
    _header("tun_ipv6_dst"): IPv6Address,
}


def decode_packet_in(datapath_id: int, data: bytes) -> PacketIn:
    """A whole OFPT_PACKET_IN. Reads only the fields that somebody uses. Raises DecodeError."""
    if len(data) < 34:
        raise Truncated("packet_in", 0, f"{len(data)} octets, expected 34 or more")
    _, total_len, reason, table, cookie = _PACKET_IN.unpack_from(data, HEADER.size)
    offset = HEADER.size + _PACKET_IN.size
    length = oxm.match_length(data, offset)
    end = offset + length
    frame_at = end + -length % 8 + 2
    offset += 4
    in_port = metadata = tunnel_id = 0
    source: IPAddress | None = None
    destination: IPAddress | None = None
    while offset + 4 <= end:
        header: int = _TLV.unpack_from(data, offset)[0]
        start = offset + 4
        offset = start + (header & 0xFF)
        if offset > end:
            break
        value = data[start:offset]
        if header == _IN_PORT:
            in_port = int.from_bytes(value, "big")
        elif header == _METADATA:
            metadata = int.from_bytes(value, "big")
        elif header == _TUNNEL_ID:
            tunnel_id = int.from_bytes(value, "big")
        elif header in _TUNNEL_SOURCES:
            source = _TUNNEL_SOURCES[header](bytes(value))
        elif header in _TUNNEL_DESTINATIONS:
            destination = _TUNNEL_DESTINATIONS[header](bytes(value))
    if offset != end:
        raise BadLength("packet_in.match", offset, "a field reaches behind the match")
    return PacketIn(
        datapath_id,
        table,
        cookie,
        in_port,
        bytes(data[frame_at : frame_at + total_len]),
        metadata,
        tunnel_id,
        source,
        destination,
        reason == _REASON_INVALID_TTL,
    )


def decode_flow_removed(datapath_id: int, data: bytes) -> FlowRemoved:
    """A whole OFPT_FLOW_REMOVED. Raises DecodeError."""
    if len(data) < HEADER.size + _FLOW_REMOVED.size:
        raise Truncated("flow_removed", 0, f"{len(data)} octets")
    cookie, priority, reason, table, seconds, nanoseconds, _, _, packets, octets = (
        _FLOW_REMOVED.unpack_from(data, HEADER.size)
    )
    match, _ = oxm.decode_match(data, HEADER.size + _FLOW_REMOVED.size)
    return FlowRemoved(
        datapath_id,
        (table, priority, match),
        cookie,
        reason == _REASON_IDLE_TIMEOUT,
        packets,
        octets,
        seconds + nanoseconds / 1e9,
    )


def split_multipart(data: bytes) -> tuple[int, bool, bytes]:
    """A whole OFPT_MULTIPART_REPLY: type, whether more will follow, body. Raises DecodeError."""
    if len(data) < 16:
        raise Truncated("multipart", 0, f"{len(data)} octets, expected 16 or more")
    kind, flags = cast("tuple[int, int]", _MULTIPART_REPLY.unpack_from(data, HEADER.size))
    return kind, bool(flags & _REPLY_MORE), bytes(data[16:])


def decode_flows(body: bytes) -> list[FlowRule]:
    """The body of a flow statistics reply. Raises DecodeError."""
    return [decode_flow(entry) for entry in flow_entries(body)]


def flow_entries(body: bytes) -> Iterator[bytes]:
    """The flows in the body of a flow statistics reply, for `decode_flow`. Raises DecodeError."""
    return _split(body, "flow_stats", _FLOW_STATS.size + 8)


def decode_counters(body: bytes) -> list[FlowCounter]:
    """The counters in the body of a flow statistics reply. Raises DecodeError."""
    return _entries(body, "flow_stats", _FLOW_STATS.size + 8, _counter)


def decode_tables(body: bytes) -> dict[int, int]:
    """Table -> packets looked up in it, of a table statistics reply. Raises DecodeError."""
    if len(body) % _TABLE_STATS.size:
        raise Truncated("table_stats", 0, f"{len(body)} octets, expected a multiple of 24")
    return dict(_TABLE_STATS.iter_unpack(body))


def decode_groups(body: bytes) -> list[GroupRule]:
    """The body of a group description reply. Raises DecodeError."""
    return _entries(body, "group_desc", _GROUP_DESC.size, _group)


def decode_meters(body: bytes) -> list[MeterRule]:
    """The body of a meter configuration reply. Raises DecodeError."""
    return _entries(body, "meter_config", _METER_CONFIG.size, _meter)


def _entries(body: bytes, name: str, least: int, decode: Callable[[bytes], _Rule]) -> list[_Rule]:
    return [decode(entry) for entry in _split(body, name, least)]


def _split(body: bytes, name: str, least: int) -> Iterator[bytes]:
    """Every entry of a reply; each begins with its own length."""
    offset = 0
    while offset < len(body):
        if offset + least > len(body):
            raise Truncated(name, offset, f"{len(body) - offset} octets left, expected {least}")
        length = int.from_bytes(body[offset : offset + 2], "big")
        if length < least or offset + length > len(body):
            raise BadLength(name, offset, f"length {length} with {len(body) - offset} left")
        yield body[offset : offset + length]
        offset += length


def _counter(entry: bytes) -> FlowCounter:
    packets, octets = _FLOW_COUNTERS.unpack_from(entry)
    match, _ = oxm.decode_match(entry, _FLOW_STATS.size)
    return FlowCounter(match, packets, octets)


def decode_flow(entry: bytes) -> FlowRule:
    """One of `flow_entries`. Raises DecodeError."""
    length, table, priority, idle, hard, flags, cookie = _FLOW_STATS.unpack_from(entry)
    match, offset = oxm.decode_match(entry, _FLOW_STATS.size)
    rule: dict[str, Any] = {}
    decode_instructions(rule, entry, offset, length)
    return FlowRule(
        table,
        priority,
        match,
        cookie=cookie,
        idle_timeout=idle,
        hard_timeout=hard,
        notify_removed=bool(flags & SEND_FLOW_REM),
        **rule,
    )


def _group(entry: bytes) -> GroupRule:
    length, kind, group_id = _GROUP_DESC.unpack_from(entry)
    if kind >= len(GROUP_TYPES):
        raise BadValue("group_desc.type", 2, f"{kind}, expected 0..{len(GROUP_TYPES) - 1}")
    buckets: list[Bucket] = []
    offset = _GROUP_DESC.size
    while offset < length:
        if offset + BUCKET.size > length:
            raise Truncated("group_desc.bucket", offset, f"{length - offset} octets left")
        size, weight, watch_port, _ = BUCKET.unpack_from(entry, offset)
        if size < BUCKET.size or offset + size > length:
            raise BadLength("group_desc.bucket", offset, f"length {size}")
        actions = decode_actions(entry, offset + BUCKET.size, offset + size)
        buckets.append(Bucket(actions, weight, None if watch_port == ANY else watch_port))
        offset += size
    return GroupRule(group_id, GROUP_TYPES[kind], tuple(buckets))


def _meter(entry: bytes) -> MeterRule:
    """A meter of a kind that we never send gets the rate 0, so that it differs from ours."""
    length, flags, meter_id = _METER_CONFIG.unpack_from(entry)
    ours = flags & 7 == METER_PKTPS | METER_BURST
    if ours and length == _METER_CONFIG.size + METER_BAND.size:
        kind, _, rate, burst = METER_BAND.unpack_from(entry, _METER_CONFIG.size)
        if kind == METER_BAND_DROP:
            return MeterRule(meter_id, rate, burst)
    return MeterRule(meter_id, 0, 0)


def port_info(port: Any, *, gone: bool = False) -> PortInfo:
    """A port of Ryu's port description or port status. gone: it was removed."""
    down = bool(port.config & _PORT_DOWN or port.state & _LINK_DOWN)
    name = port.name.split(b"\0")[0].decode("utf-8", "replace")
    return PortInfo(port.port_no, name, port.hw_addr, up=not (down or gone))
