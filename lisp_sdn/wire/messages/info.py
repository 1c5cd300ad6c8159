"""Info-Request and Info-Reply, type 7 (draft-ermagan-lisp-nat-traversal; RFC 8060 section 4.4).

RFC 9301 leaves type 7 unassigned; deployed routers and Wireshark use this layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.errors import BadValue, FieldError
from lisp_sdn.wire.afi import NO_ADDRESS, NoAddress, parse_address
from lisp_sdn.wire.cursor import Reader, check_uint
from lisp_sdn.wire.eid import Eid, OtherEid, check_eid, eid_mask_len, parse_eid, serialize_eid
from lisp_sdn.wire.lcaf import NatTraversal
from lisp_sdn.wire.messages.base import HEAD, Message, MessageType

_AUTH = Struct("!BBH")
_TTL = Struct("!IBB")
_R = 1 << 27
NO_EID = OtherEid(NO_ADDRESS, 0)


def _check(message: InfoRequest | InfoReply) -> None:
    check_uint("nonce", message.nonce, 64)
    check_uint("key_id", message.key_id, 8)
    check_uint("algorithm", message.algorithm, 8)
    check_uint("ttl_minutes", message.ttl_minutes, 32)
    check_eid("eid", message.eid)
    if len(message.auth_data) > 0xFFFF:
        raise FieldError("auth_data", len(message.auth_data), "at most 65535 octets")


def _serialize(word: int, message: InfoRequest | InfoReply) -> bytes:
    auth_data = message.auth_data
    return b"".join(
        (
            HEAD.pack(word, message.nonce),
            _AUTH.pack(message.key_id, message.algorithm, len(auth_data)),
            auth_data,
            _TTL.pack(message.ttl_minutes, 0, eid_mask_len(message.eid)),
            serialize_eid(message.eid),
        )
    )


@dataclass(frozen=True, slots=True)
class InfoRequest(Message):
    """Asks a Map-Server how it sees the sender, to find a NAT on the way.

    nonce: 64 bits. key_id, algorithm, auth_data: as in a Map-Register. ttl_minutes: 0..2**32-1.
    eid: AFI 0 (`NO_EID`) or an EID. Raises FieldError.
    """

    nonce: int
    key_id: int = 0
    algorithm: int = 0
    auth_data: bytes = b""
    ttl_minutes: int = 0
    eid: Eid = NO_EID
    name: ClassVar[str] = "info_request"

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def parse(cls, reader: Reader) -> InfoRequest | InfoReply:  # type: ignore[override]
        """Read an Info-Request, or an Info-Reply when the R-bit is set. Raises DecodeError."""
        word, nonce = reader.unpack(HEAD, "header")
        key_id, algorithm, length = reader.unpack(_AUTH, "authentication")
        auth_data = reader.sub(length, "auth_data").rest()
        ttl, _, mask_len = reader.unpack(_TTL, "ttl")
        eid = parse_eid(reader, mask_len)
        start = reader.pos
        address = parse_address(reader)
        reader.finish("trailing")
        if not word & _R:
            if not isinstance(address, NoAddress):
                raise BadValue("afi", start, "not 0 at the end of an Info-Request")
            return cls(nonce, key_id, algorithm, auth_data, ttl, eid)
        if not isinstance(address, NatTraversal):
            raise BadValue("nat", start, "no NAT-Traversal LCAF in an Info-Reply")
        return InfoReply(nonce, address, key_id, algorithm, auth_data, ttl, eid)

    def serialize(self) -> bytes:
        """The UDP payload."""
        return _serialize(MessageType.INFO << 28, self) + NO_ADDRESS.serialize()


@dataclass(frozen=True, slots=True)
class InfoReply(Message):
    """Answers an Info-Request with what the Map-Server sees; fields as there.

    nat: addresses and ports around the NAT. Raises FieldError.
    """

    nonce: int
    nat: NatTraversal
    key_id: int = 0
    algorithm: int = 0
    auth_data: bytes = b""
    ttl_minutes: int = 0
    eid: Eid = NO_EID
    name: ClassVar[str] = "info_reply"

    def __post_init__(self) -> None:
        _check(self)
        if not isinstance(self.nat, NatTraversal):
            raise FieldError("nat", self.nat, "a NatTraversal")

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read an Info-Reply. Raises DecodeError."""
        start = reader.pos
        message = InfoRequest.parse(reader)
        if not isinstance(message, cls):
            raise BadValue("r_bit", start, "an Info-Request, expected an Info-Reply")
        return message

    def serialize(self) -> bytes:
        """The UDP payload."""
        return _serialize(MessageType.INFO << 28 | _R, self) + self.nat.serialize()
