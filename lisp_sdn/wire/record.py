"""EID-records and RLOC-records, shared by five messages (RFC 9301 section 5.4)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct
from typing import Self

from lisp_sdn.address import AnyAddress, EidPrefix, ipv4
from lisp_sdn.errors import DecodeError, FieldError
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.unchecked import unchecked
from lisp_sdn.wire.afi import check_address, parse_address, serialize_address
from lisp_sdn.wire.cursor import Reader, check_uint, within
from lisp_sdn.wire.eid import Eid, check_eid, eid_mask_len, parse_eid, serialize_eid

_RECORD = Struct("!IBBHH")
_LOCATOR = Struct("!BBBBH")
_LOCATOR_V4 = Struct("!BBBBHHI")
_REQUEST_RECORD = Struct("!BB")

_L_BIT = 0x0004
_P_BIT = 0x0002
_R_BIT = 0x0001
_A_BIT = 0x1000
_N_BIT = 0x80


_locator = unchecked(Locator)


def parse_locator(reader: Reader, *, probed: bool = True) -> Locator:
    """Read an RLOC-record. probed: whether the p-bit means something in this message."""
    start = reader.pos
    if start + 12 <= reader.end and reader.data[start + 6 : start + 8] == b"\0\x01":
        priority, weight, mpriority, mweight, flags, _, value = _LOCATOR_V4.unpack_from(
            reader.data, start
        )
        reader.pos = start + 12
        rloc: AnyAddress = ipv4(value)
    else:
        priority, weight, mpriority, mweight, flags = reader.unpack(_LOCATOR, "locator")
        rloc = parse_address(reader)
    return _locator(
        rloc,
        priority,
        weight,
        mpriority,
        mweight,
        flags & _L_BIT != 0,
        probed and flags & _P_BIT != 0,
        flags & _R_BIT != 0,
    )


def serialize_locator(locator: Locator) -> bytes:
    """The RLOC-record of a locator."""
    flags = _R_BIT if locator.reachable else 0
    if locator.local:
        flags |= _L_BIT
    if locator.probed:
        flags |= _P_BIT
    rloc = locator.rloc
    if isinstance(rloc, IPv4Address):
        return _LOCATOR_V4.pack(
            locator.priority,
            locator.weight,
            locator.mpriority,
            locator.mweight,
            flags,
            1,
            int(rloc),
        )
    head = _LOCATOR.pack(
        locator.priority, locator.weight, locator.mpriority, locator.mweight, flags
    )
    return head + serialize_address(rloc)


@dataclass(frozen=True, slots=True)
class EidRecord:
    """An EID and its RLOC-set, or what to do without one (RFC 9301 section 5.4).

    locators: at most 255. ttl_minutes: 0..2**32-1. action: the ACT field 0..7, only without
    locators. map_version: 0..4095, 0 = none. Raises FieldError.
    """

    eid: Eid
    locators: tuple[Locator, ...] = ()
    ttl_minutes: int = 1440
    action: int = 0
    authoritative: bool = False
    map_version: int = 0

    def __post_init__(self) -> None:
        check_eid("eid", self.eid)
        check_uint("ttl_minutes", self.ttl_minutes, 32)
        check_uint("action", self.action, 3)
        check_uint("map_version", self.map_version, 12)
        if len(self.locators) > 255:
            raise FieldError("locators", len(self.locators), "at most 255 locators")
        if self.locators and self.action:
            raise FieldError("action", self.action, "0 beside locators")
        for locator in self.locators:
            check_address("locators.rloc", locator.rloc)

    @classmethod
    def parse(cls, reader: Reader, *, claim: bool = False) -> EidRecord:
        """Read an EID-record and its RLOC-records. Raises DecodeError.

        claim: the record states one's own mapping (Map-Register, the record in a Map-Request);
        there the ACT and p bits are ignored (RFC 9301 section 5.4).
        """
        ttl, count, mask_len, flags, version = reader.unpack(_RECORD, "record")
        eid = parse_eid(reader, mask_len)
        action = 0 if claim or count else flags >> 13
        locators: list[Locator] = []
        try:
            for _ in range(count):
                locators.append(parse_locator(reader, probed=not claim))
        except DecodeError as error:
            raise within(f"locators[{len(locators)}]", error) from None
        return _eid_record(eid, tuple(locators), ttl, action, flags & _A_BIT != 0, version & 0xFFF)

    def serialize(self) -> bytes:
        """The EID-record with its RLOC-records."""
        eid = self.eid
        flags = self.action << 13
        if self.authoritative:
            flags |= _A_BIT
        parts = [
            _RECORD.pack(
                self.ttl_minutes, len(self.locators), eid_mask_len(eid), flags, self.map_version
            ),
            serialize_eid(eid),
        ]
        parts += map(serialize_locator, self.locators)
        return b"".join(parts)

    @classmethod
    def from_mapping(cls, mapping: Mapping) -> Self:
        """The record that states a mapping."""
        return cls(
            mapping.eid,
            mapping.locators,
            mapping.ttl_minutes,
            int(mapping.action),
            mapping.authoritative,
            mapping.map_version,
        )

    @property
    def mapping(self) -> Mapping:
        """The mapping that the record states.

        An unassigned ACT value (6, 7) counts as No-Action: nothing may be forwarded on its
        word. Raises FieldError when the EID is not an EID-prefix.
        """
        if not isinstance(self.eid, EidPrefix):
            raise FieldError("eid", str(self.eid), "an IPv4 or IPv6 EID-prefix")
        action = Act(self.action) if self.action in set(Act) else Act.NO_ACTION
        return Mapping(
            self.eid,
            self.locators,
            self.ttl_minutes,
            action,
            self.authoritative,
            self.map_version,
        )


_eid_record = unchecked(EidRecord)


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The EID that a Map-Request asks for (RFC 9301 section 5.2).

    subscribe: the N-bit of RFC 9437 section 4. Raises FieldError.
    """

    eid: Eid
    subscribe: bool = False

    def __post_init__(self) -> None:
        check_eid("eid", self.eid)

    @classmethod
    def parse(cls, reader: Reader) -> RequestRecord:
        """Read one record. Raises DecodeError."""
        start = reader.pos
        if start + 2 > reader.end:
            reader.truncated("record", 2)
        reader.pos = start + 2
        data = reader.data
        return _request_record(parse_eid(reader, data[start + 1]), data[start] & _N_BIT != 0)

    def serialize(self) -> bytes:
        """Reserved octet with the N-bit, EID mask-len, EID."""
        reserved = _N_BIT if self.subscribe else 0
        return _REQUEST_RECORD.pack(reserved, eid_mask_len(self.eid)) + serialize_eid(self.eid)


_request_record = unchecked(RequestRecord)


def parse_records(reader: Reader, count: int, *, claim: bool = False) -> tuple[EidRecord, ...]:
    """Read `count` EID-records. Raises DecodeError."""
    records: list[EidRecord] = []
    try:
        for _ in range(count):
            records.append(EidRecord.parse(reader, claim=claim))
    except DecodeError as error:
        raise within(f"records[{len(records)}]", error) from None
    return tuple(records)
