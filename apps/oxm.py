"""Match fields between `lisp_sdn.rules` and OXM TLVs (OpenFlow 1.3 section 7.2.3), NXM included.

Names, numbers and widths are those of Ryu's table. Octets are built here and not by Ryu's
classes, which take some ten times as long; the tests let Ryu read every one of them.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import cast

from ryu.lib import type_desc
from ryu.ofproto import ofproto_v1_3

from lisp_sdn.address import IPNetwork
from lisp_sdn.errors import BadLength, FieldError, Truncated
from lisp_sdn.rules import FieldValue, Match, normal_value

_HEADER = struct.Struct("!I")
_BASIC = 0x8000
_EXPERIMENTER = 0xFFFF
_OFPMT_OXM = 1
# Tuples of classes: checked some times faster than a union of them.
_ADDRESSES = (IPv4Address, IPv6Address)
_NETWORKS = (IPv4Network, IPv6Network)


class Kind(Enum):
    """How a field's octets are written as a value."""

    NUMBER = auto()
    MAC = auto()
    ADDRESS = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One OXM field. number: class and field, 23 bits. width: octets of the value.

    order: OpenFlow's own fields first, by number, so that what a field requires stands before it.
    """

    name: str
    number: int
    width: int
    kind: Kind

    @property
    def order(self) -> tuple[bool, int]:
        """Where the field stands in a match."""
        return (self.number >> 7 != _BASIC, self.number)

    @property
    def header(self) -> bytes:
        """The TLV header without mask."""
        return _HEADER.pack(self.number << 9 | self.width)

    @property
    def masked_header(self) -> bytes:
        """The TLV header of a value with its mask."""
        return _HEADER.pack(self.number << 9 | 1 << 8 | self.width * 2)


def _kind(descriptor: object) -> Kind:
    if descriptor is type_desc.MacAddr:
        return Kind.MAC
    if descriptor in (type_desc.IPv4Addr, type_desc.IPv6Addr):
        return Kind.ADDRESS
    return Kind.NUMBER


FIELDS: dict[str, Field] = {
    entry.name: Field(entry.name, entry.num, entry.type.size, _kind(entry.type))
    for entry in ofproto_v1_3.oxm_types
    if isinstance(entry.num, int)
}
_OTHER_NAMES = {
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
    "ipv6_label": "ipv6_flabel",
}
"""Fields that exist as NXM and as OXM; the others of these end in "_nxm" in Ryu's table."""


def _name_of(entry: Field) -> str:
    """The name that we use. Open vSwitch reports some fields of its own actions as NXM."""
    return _OTHER_NAMES.get(entry.name, entry.name.removesuffix("_nxm"))


_BY_NUMBER = {
    entry.number: Field(FIELDS[_name_of(entry)].name, entry.number, entry.width, entry.kind)
    for entry in FIELDS.values()
    if _name_of(entry) in FIELDS
}
_HEADERS = {name: (entry.header, entry.masked_header) for name, entry in FIELDS.items()}
_ORDER = {name: entry.order for name, entry in FIELDS.items()}


def field(name: str) -> Field:
    """The field of this name. Raises FieldError."""
    try:
        return FIELDS[name]
    except KeyError:
        raise FieldError("field", name, "an OXM field of OpenFlow 1.3 or Open vSwitch") from None


def field_of_header(header: int) -> Field | None:
    """The field that a 32-bit OXM header names; None when it is not known."""
    return _BY_NUMBER.get(header >> 9)


def encode_field(name: str, value: FieldValue) -> bytes:
    """One TLV, masked when the value is. Raises FieldError."""
    entry = field(name)
    header, masked_header = _HEADERS[name]
    width = entry.width
    try:
        if isinstance(value, int):
            return header + value.to_bytes(width, "big")
        if isinstance(value, str):
            return header + _exactly(width, bytes.fromhex(value.replace(":", "")))
        if isinstance(value, _ADDRESSES):
            return header + _exactly(width, value.packed)
        if isinstance(value, _NETWORKS):
            octets = value.network_address.packed + value.netmask.packed
            return masked_header + _exactly(2 * width, octets)
        number, mask = value
        return masked_header + number.to_bytes(width, "big") + mask.to_bytes(width, "big")
    except (OverflowError, ValueError):
        raise FieldError(name, value, f"a value of {8 * width} bits") from None


def _exactly(width: int, octets: bytes) -> bytes:
    if len(octets) != width:
        raise ValueError
    return octets


def encode_match(match: Match) -> bytes:
    """An `ofp_match`, padded to 8 octets. Raises FieldError."""
    fields = sorted(match, key=_position)
    body = b"".join([encode_field(name, value) for name, value in fields])
    length = 4 + len(body)
    return struct.pack("!HH", _OFPMT_OXM, length) + body + bytes(-length % 8)


def _position(item: tuple[str, FieldValue]) -> tuple[bool, int]:
    return _ORDER[field(item[0]).name]


def decode_match(data: bytes, offset: int) -> tuple[Match, int]:
    """The `ofp_match` at `offset`, and the offset behind its padding.

    A field that Ryu's table does not know is named "oxm_" and the hexadecimal header. Raises
    DecodeError.
    """
    length = match_length(data, offset)
    end = offset + length
    offset += 4
    found: list[tuple[str, FieldValue]] = []
    while offset < end:
        name, value, offset = decode_field(data, offset)
        found.append((name, value))
    found.sort()
    return tuple(found), end + -length % 8


def match_length(data: bytes, offset: int) -> int:
    """Octets of the `ofp_match` at `offset`, without its padding. Raises DecodeError."""
    if offset + 4 > len(data):
        raise Truncated("match", offset, "no room for its header")
    kind, length = cast("tuple[int, int]", struct.unpack_from("!HH", data, offset))
    if kind != _OFPMT_OXM or length < 4 or offset + length > len(data):
        raise BadLength("match", offset, f"type {kind}, length {length}")
    return length


def decode_field(data: bytes, offset: int) -> tuple[str, FieldValue, int]:
    """The TLV at `offset`: name, value, and the offset behind it. Raises DecodeError."""
    if offset + 4 > len(data):
        raise Truncated("oxm", offset, "no room for its header")
    header: int = _HEADER.unpack_from(data, offset)[0]
    length = header & 0xFF
    end = offset + 4 + length
    if end > len(data):
        raise Truncated("oxm", offset, f"length {length} with {len(data) - offset - 4} left")
    masked = bool(header >> 8 & 1)
    width = length >> 1 if masked else length
    entry = _BY_NUMBER.get(header >> 9)
    start = offset + 4
    if entry is None or entry.width != width or header >> 16 == _EXPERIMENTER:
        return f"oxm_{header:08x}", int.from_bytes(data[start:end], "big"), end
    value = data[start : start + width]
    if not masked:
        return entry.name, _unmasked(entry.kind, value), end
    return entry.name, _masked(entry.kind, value, data[start + width : end]), end


def _unmasked(kind: Kind, octets: bytes) -> FieldValue:
    if kind is Kind.NUMBER:
        return int.from_bytes(octets, "big")
    if kind is Kind.MAC:
        return bytes(octets).hex(":")
    return ipaddress.ip_address(bytes(octets))


def _masked(kind: Kind, octets: bytes, mask: bytes) -> FieldValue:
    if kind is Kind.ADDRESS:
        network = _network(bytes(octets), int.from_bytes(mask, "big"))
        if network is not None:
            return normal_value(network)
    return (int.from_bytes(octets, "big"), int.from_bytes(mask, "big"))


def _network(octets: bytes, mask: int) -> IPNetwork | None:
    """The network of an address and a mask; None when the mask has holes."""
    bits = 8 * len(octets)
    holes = ~mask & ((1 << bits) - 1)
    if holes & (holes + 1):
        return None
    prefixlen = bits - holes.bit_length()
    return ipaddress.ip_network((octets, prefixlen), strict=False)
