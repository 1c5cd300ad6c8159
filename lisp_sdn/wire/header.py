"""The 8-octet LISP data header (RFC 9300 section 5.3) and its GPE form (RFC 9305 section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Self

from lisp_sdn.errors import BadValue, DecodeError, FieldError, Unsupported
from lisp_sdn.wire.cursor import Reader, check_uint, within

_WORDS = Struct("!II")
_SHIM = Struct("!BBBB")

_N = 1 << 31
_L = 1 << 30
_E = 1 << 29
_V = 1 << 28
_I = 1 << 27
_P = 1 << 26
_KK_SHIFT = 24


class NextProtocol(IntEnum):
    """LISP-GPE Next Protocol values (RFC 9305 section 6.1); 0x80 and above are shim headers."""

    IPV4 = 1
    IPV6 = 2
    ETHERNET = 3
    NSH = 4


FIRST_SHIM = 0x80


@dataclass(frozen=True, slots=True)
class DataHeader:
    """What stands between the UDP header and the inner packet on port 4341.

    nonce: 24 bits (N-bit), None without. echo_request: E-bit, only beside a nonce.
    versions: (source, destination) Map-Versions, 12 bits each (V-bit), None without; not beside
    a nonce, and the destination's is not 0 (RFC 9302 section 7.1). iid: 24 bits (I-bit),
    None without. status_bits: Locator-Status-Bits (L-bit), None without; 32 bits, 8 beside an
    iid. key: the KK bits 0..3 (RFC 8061). next_protocol: 0..255 for a GPE header (P-bit), None
    for RFC 9300; a GPE header has neither nonce nor versions. Raises FieldError.
    """

    nonce: int | None = None
    echo_request: bool = False
    versions: tuple[int, int] | None = None
    iid: int | None = None
    status_bits: int | None = None
    key: int = 0
    next_protocol: int | None = None

    def __post_init__(self) -> None:
        if self.nonce is not None:
            check_uint("nonce", self.nonce, 24)
        elif self.echo_request:
            raise FieldError("echo_request", True, "False without a nonce")
        if self.versions is not None:
            if self.nonce is not None:
                raise FieldError("versions", self.versions, "None beside a nonce")
            source, destination = self.versions
            check_uint("versions[0]", source, 12)
            check_uint("versions[1]", destination, 12)
            if not destination:
                raise FieldError("versions[1]", 0, "1..4095")
        if self.iid is not None:
            check_uint("iid", self.iid, 24)
        if self.status_bits is not None:
            check_uint("status_bits", self.status_bits, 32 if self.iid is None else 8)
        check_uint("key", self.key, 2)
        if self.next_protocol is not None:
            check_uint("next_protocol", self.next_protocol, 8)
            if self.nonce is not None or self.versions is not None:
                raise FieldError("next_protocol", self.next_protocol, "None beside N or V")

    @classmethod
    def parse(cls, reader: Reader, *, gpe: bool = False) -> Self:
        """Read a header. Raises DecodeError.

        gpe: the peer was agreed to speak RFC 9305, so bit 5 is the P-bit; otherwise it is the
        reserved R-bit and ignored. Where N and V are both set the nonce counts.
        """
        start = reader.pos
        first, second = reader.unpack(_WORDS, "data_header")
        nonce = versions = next_protocol = None
        if gpe and first & _P:
            next_protocol = first & 0xFF
        elif first & _N:
            nonce = first & 0xFFFFFF
        elif first & _V:
            versions = (first >> 12 & 0xFFF, first & 0xFFF)
            if not versions[1]:
                raise BadValue("dest_map_version", start, "the Null Map-Version")
        status_bits = None
        iid = second >> 8 if first & _I else None
        if first & _L:
            status_bits = second if iid is None else second & 0xFF
        return cls(
            nonce,
            nonce is not None and first & _E != 0,
            versions,
            iid,
            status_bits,
            first >> _KK_SHIFT & 3,
            next_protocol,
        )

    def serialize(self) -> bytes:
        """The 8 octets."""
        first = self.key << _KK_SHIFT
        if self.next_protocol is not None:
            first |= _P | self.next_protocol
        elif self.nonce is not None:
            first |= _N | self.nonce
            if self.echo_request:
                first |= _E
        elif self.versions is not None:
            first |= _V | self.versions[0] << 12 | self.versions[1]
        second = 0
        if self.iid is not None:
            first |= _I
            second = self.iid << 8
        if self.status_bits is not None:
            first |= _L
            second |= self.status_bits
        return _WORDS.pack(first, second)


@dataclass(frozen=True, slots=True)
class ShimHeader:
    """A header between a GPE header and the payload (RFC 9305 section 3.1).

    kind: the Type octet. body: what follows the first 4 octets, a multiple of 4, at most 1020.
    reserved: 8 bits. next_protocol: 0..255. Raises FieldError.
    """

    kind: int
    next_protocol: int
    body: bytes = b""
    reserved: int = 0

    def __post_init__(self) -> None:
        check_uint("kind", self.kind, 8)
        check_uint("next_protocol", self.next_protocol, 8)
        check_uint("reserved", self.reserved, 8)
        if len(self.body) % 4 or len(self.body) > 1020:
            raise FieldError("body", len(self.body), "a multiple of 4 octets, at most 1020")

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a shim header. Raises DecodeError."""
        kind, length, reserved, next_protocol = reader.unpack(_SHIM, "shim")
        body = reader.sub(length * 4, "shim.length").rest()
        return cls(kind, next_protocol, body, reserved)

    def serialize(self) -> bytes:
        """The first 4 octets and the body."""
        head = _SHIM.pack(self.kind, len(self.body) // 4, self.reserved, self.next_protocol)
        return head + self.body


def decode_data(
    data: bytes, *, gpe: bool = False
) -> tuple[DataHeader, tuple[ShimHeader, ...], bytes]:
    """Header, shim headers and inner packet of a UDP payload on port 4341.

    gpe: as in `DataHeader.parse`. Raises DecodeError; Unsupported for a Next Protocol that is
    unknown, which RFC 9305 section 3 wants dropped.
    """
    reader = Reader(data)
    try:
        header = DataHeader.parse(reader, gpe=gpe)
        shims = []
        protocol = header.next_protocol
        while protocol is not None and protocol >= FIRST_SHIM:
            shims.append(ShimHeader.parse(reader))
            protocol = shims[-1].next_protocol
        if protocol is not None and protocol not in set(NextProtocol):
            raise Unsupported("next_protocol", reader.pos, f"protocol {protocol:#04x}")
    except DecodeError as error:
        raise within("data", error) from None
    return header, tuple(shims), reader.rest()
