"""LISP-SEC Authentication Data in ECM and Map-Reply (RFC 9303 sections 6.1 and 6.2).

Bytes to values and back; wrapping keys and checking HMACs is not done here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Self

from lisp_sdn.errors import BadLength, DecodeError, FieldError, Unsupported
from lisp_sdn.wire.cursor import Reader, check_uint, within
from lisp_sdn.wire.eid import Eid, check_eid, eid_mask_len, parse_eid, serialize_eid

LISP_SEC = 1
"""The only AD type, in ECM and in Map-Reply (RFC 9303 sections 8.1 and 8.2)."""

_OTK_HEAD = Struct("!BBHHBB")
_EID_AD = Struct("!BBH")
_EID_RECORD = Struct("!BB")
_E_BIT = 0x80
_PREAMBLE = 8


def _check_octets(name: str, value: bytes) -> None:
    if len(value) > 0xFF00:
        raise FieldError(name, len(value), "at most 65280 octets")


def _parse_ad_type(reader: Reader, kind: int, start: int) -> None:
    if kind != LISP_SEC:
        raise Unsupported("ad_type", start, f"Authentication Data type {kind}")


@dataclass(frozen=True, slots=True)
class ProtectedEids:
    """The part of the EID-AD that a Map-Server fills (RFC 9303 section 6.7.1).

    eids: at most 255. hmac_id: 16 bits. hmac: the EID HMAC. etr_cant_sign: the E-bit.
    Raises FieldError.
    """

    eids: tuple[Eid, ...]
    hmac_id: int
    hmac: bytes
    etr_cant_sign: bool = False

    def __post_init__(self) -> None:
        if len(self.eids) > 255:
            raise FieldError("eids", len(self.eids), "at most 255")
        for eid in self.eids:
            check_eid("eids", eid)
        check_uint("hmac_id", self.hmac_id, 16)
        _check_octets("hmac", self.hmac)


@dataclass(frozen=True, slots=True)
class EidAuthentication:
    """EID-AD, the same in ECM and Map-Reply.

    kdf_id: 16 bits. protected: None as an ITR sends it. Raises FieldError.
    """

    kdf_id: int
    protected: ProtectedEids | None = None

    def __post_init__(self) -> None:
        check_uint("kdf_id", self.kdf_id, 16)
        if len(self._content()) > 0xFFFF - 2:
            raise FieldError("protected", "too long", "at most 65535 octets")

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read an EID-AD; its length counts the length field too. Raises DecodeError."""
        start = reader.pos
        length = reader.uint(2, "eid_ad.length")
        if length < 4:
            raise BadLength("eid_ad.length", start, f"{length}, expected at least 4")
        body = reader.sub(length - 2, "eid_ad.length")
        kdf_id = body.uint(2, "eid_ad.kdf_id")
        if not body.remaining:
            return cls(kdf_id)
        count, flags, hmac_id = body.unpack(_EID_AD, "eid_ad")
        eids = []
        for index in range(count):
            try:
                _, mask_len = body.unpack(_EID_RECORD, "record")
                eids.append(parse_eid(body, mask_len))
            except DecodeError as error:
                raise within(f"eid_ad.records[{index}]", error) from None
        protected = ProtectedEids(tuple(eids), hmac_id, body.rest(), flags & _E_BIT != 0)
        return cls(kdf_id, protected)

    def serialize(self) -> bytes:
        """Length, KDF ID and what a Map-Server filled in."""
        content = self._content()
        return (len(content) + 2).to_bytes(2, "big") + content

    def _content(self) -> bytes:
        parts = [self.kdf_id.to_bytes(2, "big")]
        protected = self.protected
        if protected is not None:
            flags = _E_BIT if protected.etr_cant_sign else 0
            parts.append(_EID_AD.pack(len(protected.eids), flags, protected.hmac_id))
            for eid in protected.eids:
                parts.append(_EID_RECORD.pack(0, eid_mask_len(eid)) + serialize_eid(eid))
            parts.append(protected.hmac)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class EcmSecurity:
    """The Authentication Data of an ECM with the S-bit (RFC 9303 section 6.1).

    requested_hmac_id: 16 bits. key_id, wrapping_id: 8 bits. preamble: 8 octets. one_time_key: the
    OTK as it travels, 16 octets in every registered wrapping; it stays out of repr.
    Raises FieldError.
    """

    requested_hmac_id: int
    key_id: int
    wrapping_id: int
    preamble: bytes = field(repr=False)
    one_time_key: bytes = field(repr=False)
    eid_authentication: EidAuthentication

    def __post_init__(self) -> None:
        check_uint("requested_hmac_id", self.requested_hmac_id, 16)
        check_uint("key_id", self.key_id, 8)
        check_uint("wrapping_id", self.wrapping_id, 8)
        if len(self.preamble) != _PREAMBLE:
            raise FieldError("preamble", len(self.preamble), "8 octets")
        _check_octets("one_time_key", self.one_time_key)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the Authentication Data. OTK Length counts preamble and key. Raises DecodeError."""
        start = reader.pos
        kind, _, hmac_id, length, key_id, wrapping_id = reader.unpack(_OTK_HEAD, "ad")
        _parse_ad_type(reader, kind, start)
        if length < _PREAMBLE:
            raise BadLength("otk_length", start + 4, f"{length}, expected at least {_PREAMBLE}")
        otk = reader.sub(length, "otk_length").rest()
        return cls(
            hmac_id,
            key_id,
            wrapping_id,
            otk[:_PREAMBLE],
            otk[_PREAMBLE:],
            EidAuthentication.parse(reader),
        )

    def serialize(self) -> bytes:
        """The Authentication Data."""
        otk = self.preamble + self.one_time_key
        head = _OTK_HEAD.pack(
            LISP_SEC, 0, self.requested_hmac_id, len(otk), self.key_id, self.wrapping_id
        )
        return head + otk + self.eid_authentication.serialize()


@dataclass(frozen=True, slots=True)
class MapReplySecurity:
    """The Authentication Data of a Map-Reply with the S-bit (RFC 9303 section 6.2).

    packet_hmac_id: 16 bits. packet_hmac: computed over the whole Map-Reply with this field zero.
    Raises FieldError.
    """

    eid_authentication: EidAuthentication
    packet_hmac_id: int
    packet_hmac: bytes

    def __post_init__(self) -> None:
        check_uint("packet_hmac_id", self.packet_hmac_id, 16)
        _check_octets("packet_hmac", self.packet_hmac)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read the Authentication Data. Raises DecodeError."""
        start = reader.pos
        _parse_ad_type(reader, reader.uint(4, "ad") >> 24, start)
        eids = EidAuthentication.parse(reader)
        start = reader.pos
        length = reader.uint(2, "pkt_ad.length")
        if length < 4:
            raise BadLength("pkt_ad.length", start, f"{length}, expected at least 4")
        body = reader.sub(length - 2, "pkt_ad.length")
        return cls(eids, body.uint(2, "pkt_ad.hmac_id"), body.rest())

    def serialize(self) -> bytes:
        """The Authentication Data."""
        head = (LISP_SEC << 24).to_bytes(4, "big") + self.eid_authentication.serialize()
        length = len(self.packet_hmac) + 4
        words = length.to_bytes(2, "big") + self.packet_hmac_id.to_bytes(2, "big")
        return head + words + self.packet_hmac
