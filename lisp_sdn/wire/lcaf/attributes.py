"""LCAFs that attach an attribute to an address (RFC 8060 sections 4 and 5; RFC 9306)."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.address import AnyAddress
from lisp_sdn.errors import FieldError
from lisp_sdn.wire.afi import (
    NO_ADDRESS,
    Lcaf,
    parse_address,
    register,
    serialize_address,
)
from lisp_sdn.wire.cursor import Reader, check_uint

_APPLICATION = Struct("!IHHHH")
_GEO = Struct("!HBBHBBi")
_KEY_HEAD = Struct("!BBBB")

NO_ALTITUDE = 0x7FFFFFFF


@register
@dataclass(frozen=True, slots=True)
class AsNumber(Lcaf):
    """An address and the AS that carries it (RFC 8060 section 4.2, type 3).

    as_number: 0..2**32-1. Text form "as:{65001,192.0.2.1}". Raises FieldError.
    """

    as_number: int
    address: AnyAddress
    lcaf_type: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_uint("as_number", self.as_number, 32)
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The address."""
        return (self.address,)

    def body(self) -> bytes:
        """AS Number, AFI, address."""
        return self.as_number.to_bytes(4, "big") + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        return cls(reader.uint(4, "as_number"), parse_address(reader, depth))

    def to_text(self) -> str:
        """The text form "as:{65001,192.0.2.1}"."""
        return f"as:{{{self.as_number},{self.address}}}"


@register
@dataclass(frozen=True, slots=True)
class ApplicationData(Lcaf):
    """An address for one application (RFC 8060 section 5.1, type 4, not registered).

    tos: IPv4 TOS, IPv6 Traffic Class or Flow Label, 24 bits. protocol: 0..255. Ports: inclusive
    ranges, 0..65535. Text form "app:{tos=184,protocol=6,local=443-443,remote=0-65535,ADDRESS}".
    Raises FieldError.
    """

    address: AnyAddress
    tos: int = 0
    protocol: int = 0
    local_ports: tuple[int, int] = (0, 0xFFFF)
    remote_ports: tuple[int, int] = (0, 0xFFFF)
    lcaf_type: ClassVar[int] = 4

    def __post_init__(self) -> None:
        check_uint("tos", self.tos, 24)
        check_uint("protocol", self.protocol, 8)
        for name in ("local_ports", "remote_ports"):
            for port in getattr(self, name):
                check_uint(name, port, 16)
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The address."""
        return (self.address,)

    def body(self) -> bytes:
        """TOS, protocol, port ranges, AFI, address."""
        head = _APPLICATION.pack(
            self.tos << 8 | self.protocol, *self.local_ports, *self.remote_ports
        )
        return head + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        word, *ports = reader.unpack(_APPLICATION, "application")
        address = parse_address(reader, depth)
        return cls(address, word >> 8, word & 0xFF, (ports[0], ports[1]), (ports[2], ports[3]))

    def to_text(self) -> str:
        """The text form "app:{tos=...,protocol=...,local=LOW-HIGH,remote=LOW-HIGH,ADDRESS}"."""
        local, remote = ("-".join(map(str, p)) for p in (self.local_ports, self.remote_ports))
        fields = f"tos={self.tos},protocol={self.protocol},local={local},remote={remote}"
        return f"app:{{{fields},{self.address}}}"


@register
@dataclass(frozen=True, slots=True)
class GeoCoordinates(Lcaf):
    """An address and where on earth it is (RFC 8060 section 4.3, type 5).

    latitude, longitude: (degrees, minutes, seconds), degrees 0..90 and 0..180. north, east: the
    hemisphere. altitude: metres, signed 32 bits, None when not given. Text form
    "geo:{46-31-12-N,6-34-5-E,372,ADDRESS}". Raises FieldError.
    """

    latitude: tuple[int, int, int]
    north: bool
    longitude: tuple[int, int, int]
    east: bool
    altitude: int | None = None
    address: AnyAddress = NO_ADDRESS
    lcaf_type: ClassVar[int] = 5

    def __post_init__(self) -> None:
        for name, limit in (("latitude", 90), ("longitude", 180)):
            degrees, minutes, seconds = getattr(self, name)
            if not (0 <= degrees <= limit and 0 <= minutes <= 59 and 0 <= seconds <= 59):
                raise FieldError(name, getattr(self, name), f"0..{limit} degrees, 0..59, 0..59")
        if self.altitude is not None and not -(2**31) <= self.altitude < NO_ALTITUDE:
            raise FieldError("altitude", self.altitude, "-2147483648..2147483646")
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The address."""
        return (self.address,)

    def body(self) -> bytes:
        """Latitude, longitude, altitude, AFI, address."""
        lat, lon = self.latitude, self.longitude
        head = _GEO.pack(
            lat[0] | (0x8000 if self.north else 0),
            lat[1],
            lat[2],
            lon[0] | (0x8000 if self.east else 0),
            lon[1],
            lon[2],
            NO_ALTITUDE if self.altitude is None else self.altitude,
        )
        return head + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        lat, lat_min, lat_sec, lon, lon_min, lon_sec, altitude = reader.unpack(_GEO, "geo")
        return cls(
            (lat & 0x7FFF, lat_min, lat_sec),
            lat & 0x8000 != 0,
            (lon & 0x7FFF, lon_min, lon_sec),
            lon & 0x8000 != 0,
            None if altitude == NO_ALTITUDE else altitude,
            parse_address(reader, depth),
        )

    def to_text(self) -> str:
        """The text form "geo:{46-31-12-N,6-34-5-E,372,ADDRESS}", "-" for no altitude."""
        latitude = "{}-{}-{}".format(*self.latitude) + ("-N" if self.north else "-S")
        longitude = "{}-{}-{}".format(*self.longitude) + ("-E" if self.east else "-W")
        altitude = "-" if self.altitude is None else str(self.altitude)
        return f"geo:{{{latitude},{longitude},{altitude},{self.address}}}"


@register
@dataclass(frozen=True, slots=True)
class NonceLocator(Lcaf):
    """A locator and the nonce that its PETR expects (RFC 8060 section 5.3, type 8, not registered).

    nonce: 24 bits. Text form "nonce:{11259375,192.0.2.1}". Raises FieldError.
    """

    nonce: int
    address: AnyAddress
    lcaf_type: ClassVar[int] = 8

    def __post_init__(self) -> None:
        check_uint("nonce", self.nonce, 24)
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The locator."""
        return (self.address,)

    def body(self) -> bytes:
        """Reserved, nonce, AFI, address."""
        return self.nonce.to_bytes(4, "big") + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        nonce = reader.uint(4, "nonce") & 0xFFFFFF
        return cls(nonce, parse_address(reader, depth))

    def to_text(self) -> str:
        """The text form "nonce:{11259375,192.0.2.1}"."""
        return f"nonce:{{{self.nonce},{self.address}}}"


@register
@dataclass(frozen=True, slots=True)
class SecurityKey(Lcaf):
    """A locator and its key material (RFC 8060 section 4.7, type 11).

    keys: up to 255 keys of up to 65535 octets; they stay out of repr. algorithm: 0..255
    (RFC 8061, RFC 8111). revoked: the R-bit. Text form
    "key:{algorithm=2,revoked=0,keys=0x11+0x22,ADDRESS}"; `str` leaves the keys out.
    Raises FieldError.
    """

    address: AnyAddress
    keys: tuple[bytes, ...] = field(repr=False)
    algorithm: int = 0
    revoked: bool = False
    lcaf_type: ClassVar[int] = 11
    bulky: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_uint("algorithm", self.algorithm, 8)
        if len(self.keys) > 255 or any(len(key) > 0xFFFF for key in self.keys):
            raise FieldError("keys", len(self.keys), "at most 255 keys of at most 65535 octets")
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The locator."""
        return (self.address,)

    def body(self) -> bytes:
        """Key count, algorithm, R-bit, keys, AFI, address."""
        parts = [_KEY_HEAD.pack(len(self.keys), 0, self.algorithm, int(self.revoked))]
        for key in self.keys:
            parts += (len(key).to_bytes(2, "big"), key)
        return b"".join(parts) + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        count, _, algorithm, flags = reader.unpack(_KEY_HEAD, "security_key")
        keys = tuple(
            reader.sub(reader.uint(2, "key.length"), "key.length").rest() for _ in range(count)
        )
        return cls(parse_address(reader, depth), keys, algorithm, flags & 1 != 0)

    def to_text(self) -> str:
        """The text form, key material included: not for logs."""
        return self._text("+".join("0x" + key.hex() for key in self.keys))

    def __str__(self) -> str:
        return self._text(f"{len(self.keys)} hidden")

    def _text(self, keys: str) -> str:
        head = f"algorithm={self.algorithm},revoked={int(self.revoked)}"
        return f"key:{{{head},keys={keys},{self.address}}}"


ENCAPSULATIONS = ("lisp", "lisp-l2", "vxlan", "vxlan-gpe", "nvgre", "geneve", "gue")
"""Names of the bits of the Encapsulation Format LCAF, least significant first."""


@register
@dataclass(frozen=True, slots=True)
class EncapsulationFormat(Lcaf):
    """A locator and the encapsulations it accepts (RFC 8060 section 5.6, type 16, not registered).

    formats: names out of `ENCAPSULATIONS`. Text form "encap:{vxlan-gpe+lisp,192.0.2.1}".
    Raises FieldError.
    """

    formats: frozenset[str]
    address: AnyAddress
    lcaf_type: ClassVar[int] = 16

    def __post_init__(self) -> None:
        if not self.formats <= set(ENCAPSULATIONS):
            raise FieldError("formats", sorted(self.formats), "of " + ", ".join(ENCAPSULATIONS))
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The locator."""
        return (self.address,)

    def body(self) -> bytes:
        """Encapsulation bits, AFI, address."""
        bits = sum(1 << ENCAPSULATIONS.index(name) for name in self.formats)
        return bits.to_bytes(4, "big") + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        bits = reader.uint(4, "formats")
        names = frozenset(name for n, name in enumerate(ENCAPSULATIONS) if bits >> n & 1)
        return cls(names, parse_address(reader, depth))

    def to_text(self) -> str:
        """The text form "encap:{vxlan-gpe+lisp,192.0.2.1}"."""
        names = "+".join(name for name in ENCAPSULATIONS if name in self.formats)
        return f"encap:{{{names},{self.address}}}"
