"""LCAFs whose content is octets that nobody here interprets (RFC 8060 section 5, RFC 9306)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from lisp_sdn.address import AnyAddress
from lisp_sdn.errors import FieldError
from lisp_sdn.wire.afi import NO_ADDRESS, Lcaf, parse_address, register, serialize_address
from lisp_sdn.wire.cursor import Reader, check_uint


@register
@dataclass(frozen=True, slots=True)
class OpaqueKey(Lcaf):
    """A key of any format (RFC 8060 section 5.2, type 6, not registered).

    key: octets. fields: sub-fields of the key, 1..16. wildcards: bit n set = field n does not
    count. Text form "opaque-key:{fields=4,wildcards=3,key=0102}". Raises FieldError.
    """

    key: bytes
    fields: int = 1
    wildcards: int = 0
    lcaf_type: ClassVar[int] = 6
    bulky: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.fields <= 16:
            raise FieldError("fields", self.fields, "1..16")
        check_uint("wildcards", self.wildcards, 16)
        self.check_shape()

    def body(self) -> bytes:
        """Key Field Num, Key Wildcard Fields, key."""
        return bytes([self.fields - 1]) + self.wildcards.to_bytes(2, "big") + self.key

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        fields = reader.uint(1, "fields") + 1
        wildcards = reader.uint(2, "wildcards")
        return cls(reader.rest(), fields, wildcards)

    def to_text(self) -> str:
        """The text form "opaque-key:{fields=4,wildcards=3,key=0102}"."""
        key = self.key.hex()
        return f"opaque-key:{{fields={self.fields},wildcards={self.wildcards},key={key}}}"


@register
@dataclass(frozen=True, slots=True)
class JsonData(Lcaf):
    """A JSON text beside an address (RFC 8060 section 5.4, type 14, not registered).

    data: the JSON octets, not interpreted. binary: the B-bit. Text form
    "json:{ADDRESS,HEX}" or "json-binary:{ADDRESS,HEX}". Raises FieldError.
    """

    data: bytes
    address: AnyAddress = NO_ADDRESS
    binary: bool = False
    lcaf_type: ClassVar[int] = 14
    bulky: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.data) > 0xFFFF:
            raise FieldError("data", len(self.data), "at most 65535 octets")
        self.check_shape()

    @property
    def rsvd2(self) -> int:
        """The B-bit."""
        return int(self.binary)

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The address."""
        return (self.address,)

    def body(self) -> bytes:
        """JSON length, JSON, AFI, address."""
        return len(self.data).to_bytes(2, "big") + self.data + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        data = reader.sub(reader.uint(2, "json.length"), "json.length").rest()
        return cls(data, parse_address(reader, depth), rsvd2 & 1 != 0)

    def to_text(self) -> str:
        """The text form; the JSON in hexadecimal, so that no brace or comma ends it early."""
        name = "json-binary" if self.binary else "json"
        return f"{name}:{{{self.address},{self.data.hex()}}}"


@register
@dataclass(frozen=True, slots=True)
class VendorSpecific(Lcaf):
    """A vendor's own format (RFC 9306 section 4, type 255).

    oui: 24 bits. data: the internal format. No OUI is understood here: `understood` is False, and
    a message that carries one must be dropped. Text form "vendor:{oui=00005e,data=c0ffee}".
    Raises FieldError.
    """

    oui: int
    data: bytes
    lcaf_type: ClassVar[int] = 255
    bulky: ClassVar[bool] = True
    understood: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_uint("oui", self.oui, 24)
        self.check_shape()

    def body(self) -> bytes:
        """Rsvd3, OUI, internal format."""
        return self.oui.to_bytes(4, "big") + self.data

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        return cls(reader.uint(4, "oui") & 0xFFFFFF, reader.rest())

    def to_text(self) -> str:
        """The text form "vendor:{oui=00005e,data=c0ffee}"."""
        return f"vendor:{{oui={self.oui:06x},data={self.data.hex()}}}"
