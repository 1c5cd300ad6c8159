"""LCAFs that are lists or pairs of addresses (RFC 8060 sections 4.4, 4.6, 4.9, 4.10 and 5.5)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.address import AnyAddress
from lisp_sdn.wire.afi import NO_ADDRESS, Lcaf, parse_address, register, serialize_address
from lisp_sdn.wire.cursor import Reader, check_uint

_PORTS = Struct("!HH")


@register
@dataclass(frozen=True, slots=True)
class NullBody(Lcaf):
    """An LCAF without a body (RFC 8060 section 3, type 0). Text form "null"."""

    lcaf_type: ClassVar[int] = 0

    def body(self) -> bytes:
        """Nothing."""
        return b""

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Nothing to read; what stands there is skipped."""
        reader.rest()
        return cls()

    def to_text(self) -> str:
        """Always "null"."""
        return "null"


@register
@dataclass(frozen=True, slots=True)
class AfiList(Lcaf):
    """Several addresses in no particular order (RFC 8060 section 4.10, type 1).

    Text form "list:{192.0.2.1,2001:db8::1}". Raises FieldError.
    """

    addresses: tuple[AnyAddress, ...]
    lcaf_type: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The elements."""
        return self.addresses

    def body(self) -> bytes:
        """The elements, each with its AFI."""
        return b"".join(map(serialize_address, self.addresses))

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        addresses = []
        while reader.remaining:
            addresses.append(parse_address(reader, depth))
        return cls(tuple(addresses))

    def to_text(self) -> str:
        """The text form "list:{A,B}"."""
        return f"list:{{{','.join(map(str, self.addresses))}}}"


@register
@dataclass(frozen=True, slots=True)
class NatTraversal(Lcaf):
    """The addresses and ports around a NAT (RFC 8060 section 4.4, type 7).

    ms_port, etr_port: UDP ports, 0..65535. rtrs: RTR RLOCs, may be empty. Text form
    "nat:{ms-port=4342,etr-port=61001,GLOBAL,MS,PRIVATE,RTR...}". Raises FieldError.
    """

    ms_port: int
    etr_port: int
    global_etr: AnyAddress = NO_ADDRESS
    map_server: AnyAddress = NO_ADDRESS
    private_etr: AnyAddress = NO_ADDRESS
    rtrs: tuple[AnyAddress, ...] = ()
    lcaf_type: ClassVar[int] = 7

    def __post_init__(self) -> None:
        check_uint("ms_port", self.ms_port, 16)
        check_uint("etr_port", self.etr_port, 16)
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """Global ETR, Map-Server, private ETR, RTRs."""
        return (self.global_etr, self.map_server, self.private_etr, *self.rtrs)

    def body(self) -> bytes:
        """Ports and addresses."""
        ports = _PORTS.pack(self.ms_port, self.etr_port)
        return ports + b"".join(map(serialize_address, self.inner))

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        ms_port, etr_port = reader.unpack(_PORTS, "nat")
        first = [parse_address(reader, depth) for _ in range(3)]
        rtrs = []
        while reader.remaining:
            rtrs.append(parse_address(reader, depth))
        return cls(ms_port, etr_port, first[0], first[1], first[2], tuple(rtrs))

    def to_text(self) -> str:
        """The text form "nat:{ms-port=...,etr-port=...,GLOBAL,MS,PRIVATE,RTR...}"."""
        ports = f"ms-port={self.ms_port},etr-port={self.etr_port}"
        return f"nat:{{{ports},{','.join(map(str, self.inner))}}}"


@dataclass(frozen=True, slots=True)
class ElpHop:
    """One re-encapsulation hop of an ELP (RFC 8060 section 4.6).

    lookup: L-bit, look the address up first. probe: P-bit, may be RLOC-probed. strict: S-bit,
    must not be skipped.
    """

    address: AnyAddress
    lookup: bool = False
    probe: bool = False
    strict: bool = False

    def to_text(self) -> str:
        """The address, and its flags in parentheses: "192.0.2.1(lps)"."""
        flags = "".join(
            letter
            for letter, flag in zip("lps", (self.lookup, self.probe, self.strict), strict=True)
            if flag
        )
        return f"{self.address}({flags})" if flags else str(self.address)


@register
@dataclass(frozen=True, slots=True)
class ExplicitLocatorPath(Lcaf):
    """A path of re-encapsulating hops (RFC 8060 section 4.6, type 10).

    Text form "elp:{192.0.2.1(lps)->192.0.2.2}". Raises FieldError.
    """

    hops: tuple[ElpHop, ...]
    lcaf_type: ClassVar[int] = 10

    def __post_init__(self) -> None:
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The addresses of the hops."""
        return tuple(hop.address for hop in self.hops)

    def body(self) -> bytes:
        """Per hop: flags, AFI, address."""
        parts = []
        for hop in self.hops:
            parts.append(bytes([0, hop.lookup << 2 | hop.probe << 1 | hop.strict]))
            parts.append(serialize_address(hop.address))
        return b"".join(parts)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        hops = []
        while reader.remaining:
            flags = reader.uint(2, "hop.flags")
            address = parse_address(reader, depth)
            hops.append(ElpHop(address, flags & 4 != 0, flags & 2 != 0, flags & 1 != 0))
        return cls(tuple(hops))

    def to_text(self) -> str:
        """The text form "elp:{A(lps)->B}"."""
        return f"elp:{{{'->'.join(hop.to_text() for hop in self.hops)}}}"


@dataclass(frozen=True, slots=True)
class ReplicationEntry:
    """One RTR or ETR of a replication list (RFC 8060 section 4.9). level: 0..255.

    Raises FieldError.
    """

    address: AnyAddress
    level: int

    def __post_init__(self) -> None:
        check_uint("level", self.level, 8)


@register
@dataclass(frozen=True, slots=True)
class ReplicationList(Lcaf):
    """Where to replicate multicast packets to (RFC 8060 section 4.9, type 13).

    Text form "rle:{192.0.2.1@0,192.0.2.2@128}". Raises FieldError.
    """

    entries: tuple[ReplicationEntry, ...]
    lcaf_type: ClassVar[int] = 13

    def __post_init__(self) -> None:
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """The addresses of the entries."""
        return tuple(entry.address for entry in self.entries)

    def body(self) -> bytes:
        """Per entry: reserved, level, AFI, address."""
        return b"".join(
            entry.level.to_bytes(4, "big") + serialize_address(entry.address)
            for entry in self.entries
        )

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        entries = []
        while reader.remaining:
            level = reader.uint(4, "entry.level") & 0xFF
            entries.append(ReplicationEntry(parse_address(reader, depth), level))
        return cls(tuple(entries))

    def to_text(self) -> str:
        """The text form "rle:{A@LEVEL,B@LEVEL}"."""
        return f"rle:{{{','.join(f'{e.address}@{e.level}' for e in self.entries)}}}"


@register
@dataclass(frozen=True, slots=True)
class KeyValue(Lcaf):
    """An address and an attribute of it (RFC 8060 section 5.5, type 15, not registered).

    Text form "kv:{KEY,VALUE}". Raises FieldError.
    """

    key: AnyAddress
    value: AnyAddress
    lcaf_type: ClassVar[int] = 15

    def __post_init__(self) -> None:
        self.check_shape()

    @property
    def inner(self) -> tuple[AnyAddress, ...]:
        """Key and value."""
        return (self.key, self.value)

    def body(self) -> bytes:
        """Both addresses, each with its AFI."""
        return serialize_address(self.key) + serialize_address(self.value)

    @classmethod
    def parse_body(cls, reader: Reader, rsvd2: int, depth: int) -> Self:
        """Read a body; `reader` ends where the Length field says."""
        return cls(parse_address(reader, depth), parse_address(reader, depth))

    def to_text(self) -> str:
        """The text form "kv:{KEY,VALUE}"."""
        return f"kv:{{{self.key},{self.value}}}"
