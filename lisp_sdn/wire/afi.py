"""Addresses behind an Address Family Identifier (RFC 9301 section 5.1, RFC 8060 section 3).

IPv4 and IPv6 addresses are `ipaddress` objects; everything else is a subclass of
`lisp_sdn.address.Address` that serializes itself, AFI first. The LCAF types live in
`lisp_sdn.wire.lcaf` and register themselves here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import ClassVar, Self, TypeVar

from lisp_sdn.address import Address, AnyAddress, ipv4, ipv6
from lisp_sdn.errors import BadValue, DecodeError, FieldError, Unsupported
from lisp_sdn.wire.cursor import Reader, check_uint, refused, within

AFI_NONE = 0
AFI_IPV4 = 1
AFI_IPV6 = 2
AFI_MAC = 6
AFI_NAME = 17
AFI_LCAF = 16387

MAX_DEPTH = 8
"""LCAFs may be nested this deep; deeper is refused (RFC 8060 section 4.10.4 sets no limit)."""

_U16 = Struct("!H")
_AFI_V4 = Struct("!HI")
_LCAF_HEADER = Struct("!BBBBH")


class WireAddress(Address):
    """An address that knows its bytes. `understood`: whether this project knows what it means."""

    __slots__ = ()
    afi: ClassVar[int]
    understood: ClassVar[bool] = True

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read an address of this class, AFI first. Raises DecodeError."""
        start = reader.pos
        address = parse_address(reader)
        if not isinstance(address, cls):
            raise BadValue("afi", start, f"{address}, expected {cls.__name__}")
        return address

    @abstractmethod
    def serialize(self) -> bytes:
        """The AFI and what follows it."""

    @abstractmethod
    def to_text(self) -> str:
        """The text form; `lisp_sdn.wire.text.address_from_text` reads it back."""

    def __str__(self) -> str:
        return self.to_text()

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """The place in an RLOC-set: after IP, by {AFI, LCAF type} (RFC 8060 section 3)."""
        return (0x10000 + self.afi, 0, self.serialize().hex())


@dataclass(frozen=True, slots=True)
class NoAddress(WireAddress):
    """AFI 0: no address (RFC 9301 section 5.2). Text form "none"."""

    afi: ClassVar[int] = AFI_NONE

    def serialize(self) -> bytes:
        """Two zero octets."""
        return b"\0\0"

    def to_text(self) -> str:
        """Always "none"."""
        return "none"


NO_ADDRESS = NoAddress()


@dataclass(frozen=True, slots=True)
class MacAddress(WireAddress):
    """AFI 6: an IEEE 802 48-bit MAC address (RFC 8060 section 4.10.2).

    octets: exactly 6. Text form "mac:02:00:00:00:00:01". Raises FieldError.
    """

    octets: bytes
    afi: ClassVar[int] = AFI_MAC

    def __post_init__(self) -> None:
        if not isinstance(self.octets, bytes) or len(self.octets) != 6:
            raise FieldError("octets", self.octets, "6 octets")

    def serialize(self) -> bytes:
        """AFI and 6 octets."""
        return b"\0\x06" + self.octets

    def to_text(self) -> str:
        """The text form "mac:02:00:00:00:00:01"."""
        return "mac:" + self.octets.hex(":")


@dataclass(frozen=True, slots=True)
class DistinguishedName(WireAddress):
    """AFI 17: an ASCII name, NUL-terminated on the wire (RFC 8060 section 4.10.3).

    name: ASCII without NUL, at most 1024 characters. Text form "dn:router-1". Raises FieldError.
    """

    name: str
    afi: ClassVar[int] = AFI_NAME
    MAX_LENGTH: ClassVar[int] = 1024

    def __post_init__(self) -> None:
        if not self.name.isascii() or "\0" in self.name or len(self.name) > self.MAX_LENGTH:
            raise FieldError("name", self.name[:40], "ASCII without NUL, up to 1024 characters")

    @classmethod
    def parse_name(cls, reader: Reader, *, bounded: bool) -> Self:
        """Read up to the NUL, or up to the end of an enclosing LCAF when `bounded`."""
        start = reader.pos
        stop = reader.data.find(0, start, min(reader.end, start + cls.MAX_LENGTH + 1))
        if stop < 0:
            if not bounded or reader.remaining > cls.MAX_LENGTH:
                raise BadValue("name", start, f"no NUL within {cls.MAX_LENGTH} octets")
            stop = reader.end
            reader.pos = stop
        else:
            reader.pos = stop + 1
        try:
            return cls(reader.data[start:stop].decode("ascii"))
        except UnicodeDecodeError:
            raise BadValue("name", start, "not ASCII") from None

    def serialize(self) -> bytes:
        """AFI, name, NUL."""
        return b"\0\x11" + self.name.encode("ascii") + b"\0"

    def to_text(self) -> str:
        """The text form "dn:router-1"."""
        return "dn:" + _escape(self.name)


def _escape(name: str) -> str:
    """Percent-encode what would end a name inside a larger text form."""
    return "".join(c if c.isalnum() or c in "._-:=+" else f"%{ord(c):02x}" for c in name)


def guarded(address: AnyAddress) -> str:
    """The text form, in braces where a "|" or "/" behind it would be ambiguous otherwise."""
    text = str(address)
    return f"{{{text}}}" if "|" in text else text


class Lcaf(WireAddress):
    """Base of the LISP Canonical Address Formats (RFC 8060 section 3, AFI 16387).

    Rsvd1, Flags and Rsvd2 are sent as 0 and ignored on receipt, but for the types that use
    Rsvd2. A subclass gives `lcaf_type`, `body`, `parse_body` and `inner`.
    """

    __slots__ = ()
    afi: ClassVar[int] = AFI_LCAF
    lcaf_type: ClassVar[int]
    bulky: ClassVar[bool] = False
    """Whether there are octets of any number in it, besides addresses."""

    @property
    def rsvd2(self) -> int:
        """The octet after the type; only some types give it a meaning."""
        return 0

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The addresses inside this one."""
        return ()

    @property
    def depth(self) -> int:
        """LCAFs on the longest way in, this one included."""
        return 1 + max((a.depth for a in self.inner if isinstance(a, Lcaf)), default=0)

    @abstractmethod
    def body(self) -> bytes:
        """What the Length field counts."""

    @classmethod
    @abstractmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""

    def serialize(self) -> bytes:
        """AFI, common header and body."""
        body = self.body()
        return _LCAF_HEAD_AFI.pack(AFI_LCAF, 0, 0, self.lcaf_type, self.rsvd2, len(body)) + body

    def check_shape(self) -> None:
        """Refuse what could not be sent or read back. Raises FieldError."""
        inner = self.inner
        large = self.bulky or len(inner) > 1000
        for address in inner:
            check_address("address", address)
            if isinstance(address, _SIZED):
                large = True
        if not large:
            return
        if self.depth > MAX_DEPTH:
            raise FieldError("depth", self.depth, f"at most {MAX_DEPTH} nested LCAFs")
        length = len(self.body())
        if length > 0xFFFF:
            raise FieldError("length", length, "at most 65535 octets")

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """After IP addresses, by {AFI, LCAF type}, then by content."""
        return (0x10000 + AFI_LCAF, self.lcaf_type, self.serialize().hex())


_LCAF_HEAD_AFI = Struct("!HBBBBH")
_SIZED = (Lcaf, DistinguishedName)
"""Addresses that may be so large that an LCAF around them does not fit its length field."""


@dataclass(frozen=True, slots=True)
class OpaqueLcaf(Lcaf):
    """An LCAF whose type or content this project does not know (RFC 9306 section 3).

    It goes out exactly as it came in. As a locator it must be ignored (`understood` is False);
    as an EID the decoder refuses the message. Text form "lcaf:{type=200,data=...}".
    Raises FieldError.
    """

    type_number: int
    data: bytes
    flags: int = 0
    rsvd1: int = 0
    reserved: int = 0
    understood: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("type_number", "flags", "rsvd1", "reserved"):
            check_uint(name, getattr(self, name), 8)
        if len(self.data) > 0xFFFF:
            raise FieldError("data", len(self.data), "at most 65535 octets")

    def body(self) -> bytes:
        """The octets as received."""
        return self.data

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Not used: `parse_address` builds opaque LCAFs itself, with their header octets."""
        raise NotImplementedError

    def serialize(self) -> bytes:
        """AFI, the common header as received, and the body."""
        header = (self.rsvd1, self.flags, self.type_number, self.reserved)
        return _LCAF_HEAD_AFI.pack(AFI_LCAF, *header, len(self.data)) + self.data

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """After IP addresses, by {AFI, LCAF type}, then by content."""
        return (0x10000 + AFI_LCAF, self.type_number, self.data.hex())

    def to_text(self) -> str:
        """The text form "lcaf:{type=200,data=c0ffee}"."""
        extra = "".join(
            f",{name}={getattr(self, name)}"
            for name in ("flags", "rsvd1", "reserved")
            if getattr(self, name)
        )
        return f"lcaf:{{type={self.type_number}{extra},data={self.data.hex()}}}"


L = TypeVar("L", bound=Lcaf)

LCAF_TYPES: dict[int, type[Lcaf]] = {}
"""The LCAF types that this project knows, by number."""


def register(cls: type[L]) -> type[L]:
    """Class decorator: make an LCAF type known to the decoder."""
    LCAF_TYPES[cls.lcaf_type] = cls
    return cls


def parse_address(reader: Reader, depth: int = 0) -> AnyAddress:
    """Read an AFI and the address behind it; AFI 0 gives `NO_ADDRESS`.

    depth: LCAFs already entered. Raises DecodeError; Unsupported for an unknown AFI.
    """
    start = reader.pos
    stop = start + 6
    octets = reader.data[start:stop]
    if octets[:2] == b"\0\x01" and stop <= reader.end:
        reader.pos = stop
        return ipv4(_AFI_V4.unpack(octets)[1])
    (afi,) = reader.unpack(_U16, "afi")
    if afi == AFI_IPV4:
        reader.truncated("address", 4)
    if afi == AFI_IPV6:
        return ipv6(reader.uint(16, "address"))
    if afi == AFI_NONE:
        return NO_ADDRESS
    if afi == AFI_LCAF:
        return _parse_lcaf(reader, depth)
    if afi == AFI_MAC:
        return MacAddress(reader.take(6, "address"))
    if afi == AFI_NAME:
        return DistinguishedName.parse_name(reader, bounded=depth > 0)
    raise Unsupported("afi", start, f"AFI {afi}")


def _parse_lcaf(reader: Reader, depth: int) -> Lcaf:
    start = reader.pos - 2
    rsvd1, flags, number, rsvd2, length = reader.unpack(_LCAF_HEADER, "lcaf")
    body = reader.sub(length, "lcaf.length")
    known = LCAF_TYPES.get(number)
    if known is not None:
        if depth >= MAX_DEPTH:
            raise BadValue("lcaf", start, f"nested deeper than {MAX_DEPTH}")
        first = body.pos
        try:
            address = known.parse_body(body, rsvd2, depth + 1)
            body.finish("lcaf.length")
        except Unsupported:
            # An AFI inside an LCAF that we do not know makes the whole LCAF one that we do not
            # understand; RFC 9306 section 3 then ignores the locator, not the message.
            body.pos = first
        except DecodeError as error:
            raise within(f"lcaf{number}", error) from None
        except FieldError as error:
            raise refused(f"lcaf{number}", start, error) from None
        else:
            return address
    return OpaqueLcaf(number, body.rest(), flags, rsvd1, rsvd2)


def serialize_address(address: AnyAddress) -> bytes:
    """The AFI and the address."""
    if isinstance(address, IPv4Address):
        return _AFI_V4.pack(AFI_IPV4, int(address))
    if isinstance(address, IPv6Address):
        return b"\0\x02" + address.packed
    if isinstance(address, WireAddress):
        return address.serialize()
    raise FieldError("address", address, "an IP address or an address of lisp_sdn.wire")


_ADDRESS_TYPES = (IPv4Address, IPv6Address, WireAddress)


def check_address(field: str, value: object) -> None:
    """Refuse what is no address at all. Raises FieldError."""
    if not isinstance(value, _ADDRESS_TYPES):
        raise FieldError(field, value, "an IP address or an address of lisp_sdn.wire")
    if isinstance(value, IPv6Address) and value.scope_id is not None:
        raise FieldError(field, value, "an IPv6 address without a zone")
