"""Map-Reply (RFC 9301 section 5.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisp_sdn.errors import DecodeError
from lisp_sdn.unchecked import unchecked
from lisp_sdn.wire.cursor import Reader, check_uint, within
from lisp_sdn.wire.messages.base import HEAD, Message, MessageType, check_records
from lisp_sdn.wire.record import EidRecord, parse_records
from lisp_sdn.wire.security import MapReplySecurity

_P = 1 << 27
_E = 1 << 26
_S = 1 << 25


@dataclass(frozen=True, slots=True)
class MapReply(Message):
    """Answers a Map-Request or an RLOC-probe.

    nonce: of the Map-Request, 64 bits. records: at most 255. probe: P-bit. echo_nonce_capable:
    E-bit. security: the LISP-SEC Authentication Data behind the S-bit (RFC 9303 section 6.2).
    Raises FieldError.
    """

    nonce: int
    records: tuple[EidRecord, ...]
    probe: bool = False
    echo_nonce_capable: bool = False
    security: MapReplySecurity | None = None
    name: ClassVar[str] = "map_reply"

    def __post_init__(self) -> None:
        check_uint("nonce", self.nonce, 64)
        check_records(self.records, EidRecord)

    @classmethod
    def parse(cls, reader: Reader) -> MapReply:
        """Read a Map-Reply. Raises DecodeError."""
        word, nonce = reader.unpack(HEAD, "header")
        records = parse_records(reader, word & 0xFF)
        security = None
        if word & _S:
            try:
                security = MapReplySecurity.parse(reader)
            except DecodeError as error:
                raise within("security", error) from None
        reader.finish("trailing")
        return _map_reply(nonce, records, word & _P != 0, word & _E != 0, security)

    def serialize(self) -> bytes:
        """The UDP payload."""
        word = MessageType.MAP_REPLY << 28 | len(self.records)
        if self.probe:
            word |= _P
        if self.echo_nonce_capable:
            word |= _E
        parts = [HEAD.pack(word, self.nonce)]
        parts += [record.serialize() for record in self.records]
        if self.security is not None:
            parts[0] = HEAD.pack(word | _S, self.nonce)
            parts.append(self.security.serialize())
        return b"".join(parts)


_map_reply = unchecked(MapReply)
