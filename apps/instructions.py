"""Actions and instructions between `lisp_sdn.rules` and octets (OpenFlow 1.3 section 7.2).

The Nicira extensions are those of Open vSwitch's nicira-ext.h. What a switch reports and we never
send becomes a `SetField` of a field that does not exist, so that it differs from every rule of
ours and reconciling replaces it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import cast

from lisp_sdn.apps import oxm
from lisp_sdn.errors import BadLength, FieldError, Truncated
from lisp_sdn.rules import (
    CheckPktLarger,
    DecTtl,
    FlowRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    RuleAction,
    SetField,
    ToController,
    ToGroup,
)

_OUTPUT, _GROUP, _DEC_NW_TTL, _SET_FIELD, _EXPERIMENTER = 0, 22, 24, 25, 0xFFFF
_NICIRA = 0x00002320
_REG_MOVE, _MULTIPATH, _RESUBMIT_TABLE, _CONTROLLER2, _CHECK_PKT_LARGER = 6, 10, 14, 37, 49
_SAME_PORT = 0xFFF8
_METER_ID = 5
_MODULO_N = 0
_WHOLE = 0xFFFF

_GOTO_TABLE, _WRITE_METADATA, _APPLY_ACTIONS, _METER = 1, 2, 4, 6

_SET_AS = {"in_port": "in_port_nxm"}
"""Open vSwitch refuses to set the OpenFlow 1.3 field to a port that no switch has; 0 is one."""

_TYPE_LENGTH = struct.Struct("!HH")
_OUTPUT_FORM = struct.Struct("!HHIH6x")
_NUMBER_FORM = struct.Struct("!HHI")
_PLAIN_FORM = struct.Struct("!HH4x")
_MOVE_FORM = struct.Struct("!HHIHHHH4s4s")
_MULTIPATH_FORM = struct.Struct("!HHIHHH2xHHI2xH4s")
_RESUBMIT_FORM = struct.Struct("!HHIHHB3x")
_CHECK_FORM = struct.Struct("!HHIHHH4s6x")
_METERED_FORM = struct.Struct("!HHIH6xHHI")
_GOTO_FORM = struct.Struct("!HHB3x")
_METADATA_FORM = struct.Struct("!HH4xQQ")


# --- to the switch -----------------------------------------------------------------------


def encode_actions(actions: Iterable[RuleAction]) -> bytes:
    """An action list. Raises FieldError."""
    return b"".join([_encode_action(action) for action in actions])


def _encode_action(action: RuleAction) -> bytes:
    match action:
        case Output(port=port):
            return _OUTPUT_FORM.pack(_OUTPUT, 16, port, 0)
        case SetField(field=name, value=value):
            tlv = oxm.encode_field(_SET_AS.get(name, name), value)
            padding = -(4 + len(tlv)) % 8
            length = 4 + len(tlv) + padding
            return _TYPE_LENGTH.pack(_SET_FIELD, length) + tlv + bytes(padding)
        case ToGroup(group_id=group_id):
            return _NUMBER_FORM.pack(_GROUP, 8, group_id)
        case DecTtl():
            return _PLAIN_FORM.pack(_DEC_NW_TTL, 8)
        case ToController(max_len=max_len, meter=int(meter)):
            if max_len != _WHOLE:
                raise FieldError("max_len", max_len, "the whole packet where there is a meter")
            return _METERED_FORM.pack(
                *(_EXPERIMENTER, _METERED_FORM.size, _NICIRA, _CONTROLLER2, _METER_ID, 8, meter)
            )
        case ToController(max_len=max_len):
            return _OUTPUT_FORM.pack(_OUTPUT, 16, Port.CONTROLLER, max_len)
        case MoveField(source=source, destination=destination, bits=bits):
            return _MOVE_FORM.pack(
                _EXPERIMENTER,
                _MOVE_FORM.size,
                _NICIRA,
                _REG_MOVE,
                bits,
                0,
                0,
                oxm.field(source).header,
                oxm.field(destination).header,
            )
        case Multipath(register=register, buckets=buckets, fields=fields, basis=basis):
            entry = oxm.field(register)
            return _MULTIPATH_FORM.pack(
                _EXPERIMENTER,
                _MULTIPATH_FORM.size,
                _NICIRA,
                _MULTIPATH,
                fields,
                basis,
                _MODULO_N,
                buckets - 1,
                0,
                8 * entry.width - 1,
                entry.header,
            )
        case CheckPktLarger(octets=octets, register=register):
            return _CHECK_FORM.pack(
                _EXPERIMENTER,
                _CHECK_FORM.size,
                _NICIRA,
                _CHECK_PKT_LARGER,
                octets,
                0,
                oxm.field(register).header,
            )
        case Resubmit(table=table):
            return _RESUBMIT_FORM.pack(
                _EXPERIMENTER, _RESUBMIT_FORM.size, _NICIRA, _RESUBMIT_TABLE, _SAME_PORT, table
            )


def encode_instructions(rule: FlowRule) -> bytes:
    """The instructions of a flow, in the order in which a switch carries them out."""
    parts: list[bytes] = []
    if rule.meter is not None:
        parts.append(_NUMBER_FORM.pack(_METER, 8, rule.meter))
    if rule.actions:
        actions = encode_actions(rule.actions)
        parts += (_PLAIN_FORM.pack(_APPLY_ACTIONS, 8 + len(actions)), actions)
    if rule.metadata is not None:
        parts.append(_METADATA_FORM.pack(_WRITE_METADATA, 24, *rule.metadata))
    if rule.goto is not None:
        parts.append(_GOTO_FORM.pack(_GOTO_TABLE, 8, rule.goto))
    return b"".join(parts)


# --- from the switch ---------------------------------------------------------------------


def decode_actions(data: bytes, offset: int, end: int) -> tuple[RuleAction, ...]:
    """The action list in data[offset:end]. Raises DecodeError."""
    actions: list[RuleAction] = []
    while offset < end:
        kind, length = _type_length(data, offset, end)
        actions.append(_decode_action(data[offset : offset + length], kind))
        offset += length
    return tuple(actions)


def _type_length(data: bytes, offset: int, end: int) -> tuple[int, int]:
    if offset + 8 > end or end > len(data):
        raise Truncated("action", offset, f"{end - offset} octets left, expected 8 or more")
    kind, length = cast("tuple[int, int]", _TYPE_LENGTH.unpack_from(data, offset))
    if length < 8 or length % 8 or offset + length > end:
        raise BadLength("action", offset, f"length {length} with {end - offset} octets left")
    return kind, length


def _decode_action(data: bytes, kind: int) -> RuleAction:
    if kind == _OUTPUT and len(data) == _OUTPUT_FORM.size:
        port, max_len = _OUTPUT_FORM.unpack(data)[2:]
        return ToController(max_len) if port == Port.CONTROLLER else Output(port)
    if kind == _SET_FIELD:
        name, value, _ = oxm.decode_field(data, 4)
        return SetField(name, value)
    if kind == _GROUP and len(data) == _NUMBER_FORM.size:
        return ToGroup(_NUMBER_FORM.unpack(data)[2])
    if kind == _DEC_NW_TTL:
        return DecTtl()
    if kind == _EXPERIMENTER:
        return _decode_nicira(data) or _unknown(data)
    return _unknown(data)


def _decode_nicira(data: bytes) -> RuleAction | None:
    if len(data) < 16 or struct.unpack_from("!I", data, 4)[0] != _NICIRA:
        return None
    subtype = struct.unpack_from("!H", data, 8)[0]
    if subtype == _REG_MOVE and len(data) == _MOVE_FORM.size:
        bits, from_bit, to_bit, source, destination = _MOVE_FORM.unpack(data)[4:]
        names = _field_name(source), _field_name(destination)
        if from_bit == to_bit == 0 and names[0] and names[1]:
            return MoveField(names[0], names[1], bits)
    if subtype == _MULTIPATH and len(data) == _MULTIPATH_FORM.size:
        fields, basis, algorithm, max_link, _, bits, register = _MULTIPATH_FORM.unpack(data)[4:]
        entry = oxm.field_of_header(int.from_bytes(register, "big"))
        if entry and algorithm == _MODULO_N and bits == 8 * entry.width - 1:
            return Multipath(entry.name, max_link + 1, fields, basis)
    if subtype == _CHECK_PKT_LARGER and len(data) == _CHECK_FORM.size:
        octets, bit, register = _CHECK_FORM.unpack(data)[4:]
        name = _field_name(register)
        if name and bit == 0:
            return CheckPktLarger(octets, name)
    if subtype == _RESUBMIT_TABLE and len(data) == _RESUBMIT_FORM.size:
        in_port, table = _RESUBMIT_FORM.unpack(data)[4:]
        if in_port == _SAME_PORT:
            return Resubmit(table)
    if subtype == _CONTROLLER2 and len(data) == _METERED_FORM.size:
        *_, kind, length, meter = _METERED_FORM.unpack(data)
        if (kind, length) == (_METER_ID, 8):
            return ToController(_WHOLE, meter)
    return None


def _field_name(header: bytes) -> str | None:
    entry = oxm.field_of_header(int.from_bytes(header, "big"))
    return entry.name if entry else None


def _unknown(data: bytes) -> RuleAction:
    return SetField(f"action_{data[:2].hex()}", int.from_bytes(data[4:], "big"))


def decode_instructions(rule: dict[str, object], data: bytes, offset: int, end: int) -> None:
    """Note in `rule` the FlowRule arguments that the instructions in data[offset:end] stand for.

    An instruction that we never send is noted as an unknown action. Raises DecodeError.
    """
    actions: tuple[RuleAction, ...] = ()
    while offset < end:
        kind, length = _type_length(data, offset, end)
        body = data[offset : offset + length]
        if kind == _APPLY_ACTIONS:
            actions += decode_actions(body, 8, length)
        elif kind == _GOTO_TABLE:
            rule["goto"] = body[4]
        elif kind == _METER and length == _NUMBER_FORM.size:
            rule["meter"] = _NUMBER_FORM.unpack(body)[2]
        elif kind == _WRITE_METADATA and length == _METADATA_FORM.size:
            rule["metadata"] = _METADATA_FORM.unpack(body)[2:]
        else:
            actions += (SetField(f"instruction_{kind}", int.from_bytes(body[4:], "big")),)
        offset += length
    rule["actions"] = actions
