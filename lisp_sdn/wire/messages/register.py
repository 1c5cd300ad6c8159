"""Map-Register, Map-Notify and Map-Notify-Ack (RFC 9301 sections 5.6 and 5.7)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.errors import FieldError
from lisp_sdn.unchecked import unchecked
from lisp_sdn.wire.cursor import Reader, check_uint
from lisp_sdn.wire.messages.base import (
    HEAD,
    Message,
    MessageType,
    check_ids,
    check_records,
    parse_ids,
    serialize_ids,
)
from lisp_sdn.wire.messages.request import check_claim
from lisp_sdn.wire.record import EidRecord, parse_records

_AUTH = Struct("!BBH")

_P = 1 << 27
_S = 1 << 26
_I = 1 << 25
_E = 1 << 12
_T = 1 << 11
_MERGE = 1 << 10
_M = 1 << 8


def _check_auth(message: MapRegister | MapNotify) -> None:
    check_uint("nonce", message.nonce, 64)
    check_uint("key_id", message.key_id, 8)
    check_uint("algorithm", message.algorithm, 8)
    if len(message.auth_data) > 0xFFFF:
        raise FieldError("auth_data", len(message.auth_data), "at most 65535 octets")
    check_records(message.records, EidRecord)


def _parse_auth(reader: Reader) -> tuple[int, int, bytes]:
    key_id, algorithm, length = reader.unpack(_AUTH, "authentication")
    return key_id, algorithm, reader.sub(length, "auth_data").rest()


def _serialize(word: int, message: MapRegister | MapNotify) -> list[bytes]:
    auth_data = message.auth_data
    parts = [
        HEAD.pack(word | len(message.records), message.nonce),
        _AUTH.pack(message.key_id, message.algorithm, len(auth_data)),
        auth_data,
    ]
    parts += [record.serialize() for record in message.records]
    return parts


@dataclass(frozen=True, slots=True)
class MapRegister(Message):
    """Registers EID-prefixes with a Map-Server.

    nonce: 64 bits, grows with every register. records: at most 255, ACT and p-bit 0. key_id,
    algorithm: 0..255 (`lisp_sdn.wire.auth`). auth_data: the MAC as received or to be sent; use
    `auth.sign` to fill it. proxy_reply: P-bit. security_capable: S-bit. use_ttl: T-bit. merge:
    a-bit. want_notify: M-bit. eid_notify: E-bit. xtr_id, site_id: 128 and 64 bits, both or
    neither (I-bit). Raises FieldError.
    """

    nonce: int
    records: tuple[EidRecord, ...]
    key_id: int = 0
    algorithm: int = 0
    auth_data: bytes = b""
    proxy_reply: bool = False
    security_capable: bool = False
    use_ttl: bool = False
    merge: bool = False
    want_notify: bool = False
    eid_notify: bool = False
    xtr_id: int | None = None
    site_id: int | None = None
    name: ClassVar[str] = "map_register"

    def __post_init__(self) -> None:
        _check_auth(self)
        for record in self.records:
            check_claim(record)
        check_ids(self.xtr_id, self.site_id)

    @classmethod
    def parse(cls, reader: Reader) -> MapRegister:
        """Read a Map-Register. Raises DecodeError."""
        word, nonce = reader.unpack(HEAD, "header")
        key_id, algorithm, auth_data = _parse_auth(reader)
        records = parse_records(reader, word & 0xFF, claim=True)
        xtr_id, site_id = parse_ids(reader) if word & _I else (None, None)
        reader.finish("trailing")
        return _map_register(
            nonce,
            records,
            key_id,
            algorithm,
            auth_data,
            word & _P != 0,
            word & _S != 0,
            word & _T != 0,
            word & _MERGE != 0,
            word & _M != 0,
            word & _E != 0,
            xtr_id,
            site_id,
        )

    def serialize(self) -> bytes:
        """The UDP payload."""
        word = MessageType.MAP_REGISTER << 28
        for flag, bit in (
            (self.proxy_reply, _P),
            (self.security_capable, _S),
            (self.xtr_id is not None, _I),
            (self.eid_notify, _E),
            (self.use_ttl, _T),
            (self.merge, _MERGE),
            (self.want_notify, _M),
        ):
            if flag:
                word |= bit
        parts = _serialize(word, self)
        parts.append(serialize_ids(self.xtr_id, self.site_id))
        return b"".join(parts)


_map_register = unchecked(MapRegister)


@dataclass(frozen=True, slots=True)
class MapNotify(Message):
    """Acknowledges a Map-Register, or tells of a changed mapping.

    nonce: 64 bits, of the register that it acknowledges. records: at most 255. key_id,
    algorithm: 0..255. auth_data: the MAC. Octets behind the last record are ignored on receipt.
    Raises FieldError.
    """

    nonce: int
    records: tuple[EidRecord, ...]
    key_id: int = 0
    algorithm: int = 0
    auth_data: bytes = b""
    name: ClassVar[str] = "map_notify"
    message_type: ClassVar[MessageType] = MessageType.MAP_NOTIFY

    def __post_init__(self) -> None:
        _check_auth(self)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a Map-Notify or Map-Notify-Ack. Raises DecodeError."""
        word, nonce = reader.unpack(HEAD, "header")
        key_id, algorithm, auth_data = _parse_auth(reader)
        return cls(nonce, parse_records(reader, word & 0xFF), key_id, algorithm, auth_data)

    def serialize(self) -> bytes:
        """The UDP payload."""
        return b"".join(_serialize(self.message_type << 28, self))


@dataclass(frozen=True, slots=True)
class MapNotifyAck(MapNotify):
    """Acknowledges an unsolicited Map-Notify; the fields are those of `MapNotify`."""

    name: ClassVar[str] = "map_notify_ack"
    message_type: ClassVar[MessageType] = MessageType.MAP_NOTIFY_ACK
