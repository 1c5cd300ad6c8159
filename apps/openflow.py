"""OpenFlow 1.3 messages to a switch, as octets ready to send (OpenFlow 1.3.5 section 7.3).

Ryu keeps the connection; these messages are built here because one flow-mod through its classes
takes longer than everything else that a map-cache miss costs.
"""

from __future__ import annotations

import struct

from lisp_sdn.actions import PacketOut
from lisp_sdn.apps import oxm
from lisp_sdn.apps.instructions import encode_actions, encode_instructions
from lisp_sdn.rules import (
    COOKIE_MAGIC,
    COOKIE_MASK,
    Bucket,
    CookieClass,
    FlowRule,
    GroupRule,
    GroupType,
    MeterRule,
    RuleChange,
    Verb,
    cookie,
)

VERSION = 4
MESSAGE_ERROR, MESSAGE_PACKET_IN, MESSAGE_FLOW_REMOVED = 1, 10, 11
MESSAGE_PACKET_OUT, MESSAGE_FLOW_MOD, MESSAGE_GROUP_MOD, MESSAGE_METER_MOD = 13, 14, 15, 29
MESSAGE_MULTIPART_REQUEST, MESSAGE_MULTIPART_REPLY, MESSAGE_BARRIER_REQUEST = 18, 19, 20

MULTIPART_FLOW, MULTIPART_GROUP_DESC, MULTIPART_METER_CONFIG = 1, 7, 10
MULTIPART_TABLE = 3

ANY = 0xFFFFFFFF
NO_BUFFER = 0xFFFFFFFF
ALL_TABLES = 0xFF
ALL_METERS = 0xFFFFFFFF
SEND_FLOW_REM = 1

GROUP_TYPES = (GroupType.ALL, GroupType.SELECT, GroupType.INDIRECT, GroupType.FAST_FAILOVER)
"""In the order of their numbers."""

METER_PKTPS, METER_BURST = 2, 4
METER_BAND_DROP = 1

_FLOW_ADD, _FLOW_DELETE_STRICT = 0, 4
_COMMANDS = {Verb.ADD: 0, Verb.MODIFY: 1, Verb.DELETE: 2}

HEADER = struct.Struct("!BBHI")
_FLOW_MOD = struct.Struct("!QQBBHHHIIIH2x")
_GROUP_MOD = struct.Struct("!HBxI")
BUCKET = struct.Struct("!HHII4x")
_METER_MOD = struct.Struct("!HHI")
METER_BAND = struct.Struct("!HHII4x")
_PACKET_OUT = struct.Struct("!IIH6x")
_MULTIPART = struct.Struct("!HH4x")
_FLOW_REQUEST = struct.Struct("!B3xII4xQQ")


def message(kind: int, xid: int, body: bytes) -> bytes:
    """A whole message. xid: 0..2**32-1."""
    return HEADER.pack(VERSION, kind, 8 + len(body), xid) + body


def encode_change(change: RuleChange, xid: int) -> bytes:
    """The flow-, group- or meter-mod of a change. Raises FieldError."""
    match change.rule:
        case FlowRule():
            return message(MESSAGE_FLOW_MOD, xid, _flow_mod(change.verb, change.rule))
        case GroupRule():
            return message(MESSAGE_GROUP_MOD, xid, _group_mod(change.verb, change.rule))
        case MeterRule():
            return message(MESSAGE_METER_MOD, xid, _meter_mod(change.verb, change.rule))


def _flow_mod(verb: Verb, rule: FlowRule) -> bytes:
    # A modify would leave cookie, timeouts and flags as they were; an add with the same table,
    # priority and match replaces the whole flow (section 6.4), and loses no packet either.
    delete = verb is Verb.DELETE
    return (
        _FLOW_MOD.pack(
            rule.cookie,
            0,
            rule.table,
            _FLOW_DELETE_STRICT if delete else _FLOW_ADD,
            rule.idle_timeout,
            rule.hard_timeout,
            rule.priority,
            NO_BUFFER,
            ANY,
            ANY,
            SEND_FLOW_REM if rule.notify_removed else 0,
        )
        + oxm.encode_match(rule.match)
        + (b"" if delete else encode_instructions(rule))
    )


def _group_mod(verb: Verb, rule: GroupRule) -> bytes:
    head = _GROUP_MOD.pack(_COMMANDS[verb], GROUP_TYPES.index(rule.type), rule.group_id)
    if verb is Verb.DELETE:
        return head
    return head + b"".join([_bucket(bucket) for bucket in rule.buckets])


def _bucket(bucket: Bucket) -> bytes:
    actions = encode_actions(bucket.actions)
    watch_port = ANY if bucket.watch_port is None else bucket.watch_port
    return BUCKET.pack(BUCKET.size + len(actions), bucket.weight, watch_port, ANY) + actions


def _meter_mod(verb: Verb, rule: MeterRule) -> bytes:
    head = _METER_MOD.pack(_COMMANDS[verb], METER_PKTPS | METER_BURST, rule.meter_id)
    if verb is Verb.DELETE:
        return head
    return head + METER_BAND.pack(METER_BAND_DROP, METER_BAND.size, rule.rate, rule.burst)


def encode_packet_out(action: PacketOut, xid: int) -> bytes:
    """A packet-out with the frame in it. Raises FieldError."""
    actions = encode_actions(action.actions)
    head = _PACKET_OUT.pack(NO_BUFFER, action.in_port, len(actions))
    return message(MESSAGE_PACKET_OUT, xid, head + actions + action.frame)


def encode_barrier(xid: int) -> bytes:
    """A barrier request."""
    return message(MESSAGE_BARRIER_REQUEST, xid, b"")


def encode_read_flows(xid: int) -> bytes:
    """Ask for every flow with a cookie of ours."""
    body = _FLOW_REQUEST.pack(ALL_TABLES, ANY, ANY, COOKIE_MAGIC, COOKIE_MASK)
    return _multipart(MULTIPART_FLOW, xid, body + oxm.encode_match(()))


def encode_read_counters(kind: CookieClass, xid: int) -> bytes:
    """Ask for the statistics of every flow of one class of ours."""
    mask = COOKIE_MASK | 0xFF << 40
    body = _FLOW_REQUEST.pack(ALL_TABLES, ANY, ANY, cookie(kind), mask)
    return _multipart(MULTIPART_FLOW, xid, body + oxm.encode_match(()))


def encode_read_groups(xid: int) -> bytes:
    """Ask for every group."""
    return _multipart(MULTIPART_GROUP_DESC, xid, b"")


def encode_read_meters(xid: int) -> bytes:
    """Ask for the configuration of every meter."""
    return _multipart(MULTIPART_METER_CONFIG, xid, struct.pack("!I4x", ALL_METERS))


def encode_read_tables(xid: int) -> bytes:
    """Ask for the statistics of every table."""
    return _multipart(MULTIPART_TABLE, xid, b"")


def _multipart(kind: int, xid: int, body: bytes) -> bytes:
    return message(MESSAGE_MULTIPART_REQUEST, xid, _MULTIPART.pack(kind, 0) + body)
