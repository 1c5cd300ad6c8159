"""Map-Referral of the Delegated Database Tree (RFC 8111 section 6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.errors import DecodeError, FieldError
from lisp_sdn.model import Locator
from lisp_sdn.wire.afi import check_address
from lisp_sdn.wire.cursor import Reader, check_uint, refused, within
from lisp_sdn.wire.eid import Eid, check_eid, eid_mask_len, parse_eid, serialize_eid
from lisp_sdn.wire.messages.base import HEAD, Message, MessageType, check_records
from lisp_sdn.wire.record import parse_locator, serialize_locator

_RECORD = Struct("!IBBHH")
_SIGNATURE = Struct("!IIIHHBBH")
_A_BIT = 0x1000
_I_BIT = 0x0800


class ReferralAct(IntEnum):
    """The ACT field of a Map-Referral (RFC 8111 section 6.1)."""

    NODE_REFERRAL = 0
    MS_REFERRAL = 1
    MS_ACK = 2
    MS_NOT_REGISTERED = 3
    DELEGATION_HOLE = 4
    NOT_AUTHORITATIVE = 5


@dataclass(frozen=True, slots=True)
class ReferralSignature:
    """A signature over a referral record (RFC 8111 section 6.4.1); not verified here.

    original_ttl_minutes: 0..2**32-1. expiration, inception: seconds since the epoch, 32 bits.
    key_tag: 16 bits. algorithm: 8 bits. signature: at most 65535 octets. Raises FieldError.
    """

    original_ttl_minutes: int
    expiration: int
    inception: int
    key_tag: int
    algorithm: int
    signature: bytes

    def __post_init__(self) -> None:
        for name in ("original_ttl_minutes", "expiration", "inception"):
            check_uint(name, getattr(self, name), 32)
        check_uint("key_tag", self.key_tag, 16)
        check_uint("algorithm", self.algorithm, 8)
        if len(self.signature) > 0xFFFF:
            raise FieldError("signature", len(self.signature), "at most 65535 octets")

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a signature section. Raises DecodeError."""
        ttl, expiration, inception, tag, length, algorithm, _, _ = reader.unpack(
            _SIGNATURE, "signature"
        )
        octets = reader.sub(length, "signature.length").rest()
        return cls(ttl, expiration, inception, tag, algorithm, octets)

    def serialize(self) -> bytes:
        """The signature section."""
        head = _SIGNATURE.pack(
            self.original_ttl_minutes,
            self.expiration,
            self.inception,
            self.key_tag,
            len(self.signature),
            self.algorithm,
            0,
            0,
        )
        return head + self.signature


@dataclass(frozen=True, slots=True)
class ReferralRecord:
    """Where to ask next about an EID-prefix (RFC 8111 section 6.4).

    referrals: at most 255 locators. action: 0..7, see `ReferralAct`. authoritative: A-bit.
    incomplete: I-bit. map_version: 0..4095. signatures: at most 15. Raises FieldError.
    """

    eid: Eid
    action: int
    referrals: tuple[Locator, ...] = ()
    ttl_minutes: int = 1440
    authoritative: bool = False
    incomplete: bool = False
    map_version: int = 0
    signatures: tuple[ReferralSignature, ...] = ()

    def __post_init__(self) -> None:
        check_eid("eid", self.eid)
        check_uint("action", self.action, 3)
        check_uint("ttl_minutes", self.ttl_minutes, 32)
        check_uint("map_version", self.map_version, 12)
        if len(self.referrals) > 255:
            raise FieldError("referrals", len(self.referrals), "at most 255 locators")
        if len(self.signatures) > 15:
            raise FieldError("signatures", len(self.signatures), "at most 15 signatures")
        for locator in self.referrals:
            check_address("referrals.rloc", locator.rloc)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a referral record. Raises DecodeError."""
        start = reader.pos
        ttl, count, mask_len, flags, version = reader.unpack(_RECORD, "record")
        eid = parse_eid(reader, mask_len)
        referrals = []
        for index in range(count):
            try:
                referrals.append(parse_locator(reader))
            except DecodeError as error:
                raise within(f"referrals[{index}]", error) from None
        signatures = tuple(ReferralSignature.parse(reader) for _ in range(version >> 12))
        try:
            return cls(
                eid,
                flags >> 13,
                tuple(referrals),
                ttl,
                flags & _A_BIT != 0,
                flags & _I_BIT != 0,
                version & 0xFFF,
                signatures,
            )
        except FieldError as error:
            raise refused("record", start, error) from None

    def serialize(self) -> bytes:
        """The record with its RLOC-records and signatures."""
        flags = self.action << 13
        if self.authoritative:
            flags |= _A_BIT
        if self.incomplete:
            flags |= _I_BIT
        head = _RECORD.pack(
            self.ttl_minutes,
            len(self.referrals),
            eid_mask_len(self.eid),
            flags,
            len(self.signatures) << 12 | self.map_version,
        )
        parts = [head, serialize_eid(self.eid)]
        parts += map(serialize_locator, self.referrals)
        parts += [signature.serialize() for signature in self.signatures]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class MapReferral(Message):
    """Answers an ECM with the D-bit. nonce: 64 bits. records: at most 255. Raises FieldError."""

    nonce: int
    records: tuple[ReferralRecord, ...]
    name: ClassVar[str] = "map_referral"

    def __post_init__(self) -> None:
        check_uint("nonce", self.nonce, 64)
        check_records(self.records, ReferralRecord)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a Map-Referral. Raises DecodeError."""
        word, nonce = reader.unpack(HEAD, "header")
        records = []
        for index in range(word & 0xFF):
            try:
                records.append(ReferralRecord.parse(reader))
            except DecodeError as error:
                raise within(f"records[{index}]", error) from None
        reader.finish("trailing")
        return cls(nonce, tuple(records))

    def serialize(self) -> bytes:
        """The UDP payload."""
        word = MessageType.MAP_REFERRAL << 28 | len(self.records)
        return HEAD.pack(word, self.nonce) + b"".join(r.serialize() for r in self.records)
