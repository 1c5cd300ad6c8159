"""LCAFs that qualify an EID: instance-ID, multicast (S,G), source/destination key."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.address import AnyAddress
from lisp_sdn.errors import FieldError
from lisp_sdn.wire.afi import Lcaf, guarded, parse_address, register, serialize_address
from lisp_sdn.wire.cursor import Reader, check_uint

_MULTICAST = Struct("!IHBB")
_SOURCE_DEST = Struct("!HBB")


def _check_mask(field: str, mask_len: int, address: AnyAddress) -> None:
    check_uint(field, mask_len, 8)
    if isinstance(address, IPv4Address | IPv6Address) and mask_len > address.max_prefixlen:
        raise FieldError(field, mask_len, f"0..{address.max_prefixlen}")


@register
@dataclass(frozen=True, slots=True)
class InstanceId(Lcaf):
    """An address in an instance (RFC 8060 section 4.1, type 2).

    iid: 0..2**32-1 (24 bits fit the data header). mask_len: IID mask-len, 0..32; it counts only
    for an instance-ID range, where the address is AFI 0. Text form "[223] 10.0.0.1".
    Raises FieldError.
    """

    iid: int
    address: AnyAddress
    mask_len: int = 0
    lcaf_type: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_uint("iid", self.iid, 32)
        check_uint("mask_len", self.mask_len, 8)
        if self.mask_len > 32:
            raise FieldError("mask_len", self.mask_len, "0..32")
        self.check_shape()

    @property
    def rsvd2(self) -> int:
        """The IID mask-len."""
        return self.mask_len

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The address in the instance."""
        return (self.address,)

    def body(self) -> bytes:
        """Instance ID, AFI, address."""
        return self.iid.to_bytes(4, "big") + serialize_address(self.address)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        return cls(reader.uint(4, "iid"), parse_address(reader, depth), rsvd2)

    def to_text(self) -> str:
        """The text form "[223] 10.0.0.1", or "[223/24] ..." with an IID mask-len."""
        mask = f"/{self.mask_len}" if self.mask_len else ""
        return f"[{self.iid}{mask}] {self.address}"


@register
@dataclass(frozen=True, slots=True)
class MulticastInfo(Lcaf):
    """A multicast (S,G) or (*,G) entry in an instance (RFC 8060 section 4.5, type 9).

    iid: 0..2**32-1. source_mask_len, group_mask_len: bits. Text form
    "mcast:{iid=1001,198.51.100.7/32,232.1.1.1/32}". Raises FieldError.
    """

    iid: int
    source: AnyAddress
    source_mask_len: int
    group: AnyAddress
    group_mask_len: int
    lcaf_type: ClassVar[int] = 9

    def __post_init__(self) -> None:
        check_uint("iid", self.iid, 32)
        self.check_shape()
        _check_mask("source_mask_len", self.source_mask_len, self.source)
        _check_mask("group_mask_len", self.group_mask_len, self.group)

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """Source and group."""
        return (self.source, self.group)

    def body(self) -> bytes:
        """Instance ID, mask lengths, source, group."""
        head = _MULTICAST.pack(self.iid, 0, self.source_mask_len, self.group_mask_len)
        return head + serialize_address(self.source) + serialize_address(self.group)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        iid, _, source_len, group_len = reader.unpack(_MULTICAST, "multicast")
        source = parse_address(reader, depth)
        return cls(iid, source, source_len, parse_address(reader, depth), group_len)

    def to_text(self) -> str:
        """The text form "mcast:{iid=1001,SOURCE/LEN,GROUP/LEN}"."""
        source = f"{self.source}/{self.source_mask_len}"
        return f"mcast:{{iid={self.iid},{source},{self.group}/{self.group_mask_len}}}"


@register
@dataclass(frozen=True, slots=True)
class SourceDestKey(Lcaf):
    """A (source, destination) pair (RFC 8060 section 4.8, type 12).

    As an EID of IP prefixes it is `lisp_sdn.address.SourceDestPrefix`; this class is for the rest.
    source_mask_len, destination_mask_len: bits. Text form "srcdst:A|B". Raises FieldError.
    """

    source: AnyAddress
    source_mask_len: int
    destination: AnyAddress
    destination_mask_len: int
    lcaf_type: ClassVar[int] = 12

    def __post_init__(self) -> None:
        self.check_shape()
        _check_mask("source_mask_len", self.source_mask_len, self.source)
        _check_mask("destination_mask_len", self.destination_mask_len, self.destination)

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """Source and destination."""
        return (self.source, self.destination)

    def body(self) -> bytes:
        """Mask lengths, source, destination."""
        head = _SOURCE_DEST.pack(0, self.source_mask_len, self.destination_mask_len)
        return head + serialize_address(self.source) + serialize_address(self.destination)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        _, source_len, destination_len = reader.unpack(_SOURCE_DEST, "source_dest")
        source = parse_address(reader, depth)
        return cls(source, source_len, parse_address(reader, depth), destination_len)

    def to_text(self) -> str:
        """The text form "srcdst:A/LEN|B/LEN"."""
        source = f"{guarded(self.source)}/{self.source_mask_len}"
        return f"srcdst:{source}|{guarded(self.destination)}/{self.destination_mask_len}"
