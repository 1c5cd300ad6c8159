"""Map-Request (RFC 9301 section 5.2) with the subscription fields of RFC 9437 section 4."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from lisp_sdn.address import AnyAddress, EidPrefix, ipv4
from lisp_sdn.errors import DecodeError, FieldError
from lisp_sdn.unchecked import unchecked
from lisp_sdn.wire.afi import check_address, parse_address, serialize_address
from lisp_sdn.wire.cursor import Reader, check_uint, within
from lisp_sdn.wire.eid import (
    SourceEid,
    check_source_eid,
    parse_source_eid,
    serialize_source_eid,
)
from lisp_sdn.wire.messages.base import (
    HEAD,
    Message,
    MessageType,
    check_ids,
    check_records,
    parse_ids,
    serialize_ids,
)
from lisp_sdn.wire.record import EidRecord, RequestRecord

_A = 1 << 27
_M = 1 << 26
_P = 1 << 25
_S = 1 << 24
_PITR = 1 << 23
_INVOKED = 1 << 22
_I = 1 << 20
_L = 1 << 14
_D = 1 << 13
_IRC = 0x1F << 8
_FLAGS = _A | _M | _P | _S | _PITR | _INVOKED | _I | _L | _D
_UNUSUAL = _FLAGS | _IRC
_USUAL = Struct("!IQHIHIBBHI")
"""No flags, one ITR-RLOC, one record, IPv4 everywhere: what most ITRs send."""

_prefix = EidPrefix.trusted


@dataclass(frozen=True, slots=True)
class MapRequest(Message):
    """Asks for the mapping of an EID, solicits such a question, or probes an RLOC.

    nonce: 64 bits. source_eid: a host EID-prefix, another address, None for AFI 0. itr_rlocs:
    1..32 addresses, `NO_ADDRESS` for AFI 0. records: at most 255, a sender puts exactly one.
    authoritative: A-bit. probe: P-bit. smr: S-bit. pitr: p-bit. smr_invoked: s-bit.
    local_xtr: L-bit. dont_reply: D-bit. reply_record: the piggybacked mapping (M-bit).
    xtr_id, site_id: 128 and 64 bits, both or neither (I-bit, RFC 9437). Raises FieldError.
    """

    nonce: int
    source_eid: SourceEid
    itr_rlocs: tuple[AnyAddress, ...]
    records: tuple[RequestRecord, ...]
    authoritative: bool = False
    probe: bool = False
    smr: bool = False
    pitr: bool = False
    smr_invoked: bool = False
    local_xtr: bool = False
    dont_reply: bool = False
    reply_record: EidRecord | None = None
    xtr_id: int | None = None
    site_id: int | None = None
    name: ClassVar[str] = "map_request"

    def __post_init__(self) -> None:
        check_uint("nonce", self.nonce, 64)
        check_source_eid(self.source_eid)
        if not 1 <= len(self.itr_rlocs) <= 32:
            raise FieldError("itr_rlocs", len(self.itr_rlocs), "1..32 addresses")
        for rloc in self.itr_rlocs:
            check_address("itr_rlocs", rloc)
        check_records(self.records, RequestRecord)
        if self.reply_record is not None:
            check_records((self.reply_record,), EidRecord)
            check_claim(self.reply_record)
        check_ids(self.xtr_id, self.site_id)

    @classmethod
    def parse(cls, reader: Reader) -> MapRequest:
        """Read a Map-Request. Raises DecodeError."""
        if reader.end - reader.pos == _USUAL.size:
            word, nonce, afi, source, rloc_afi, rloc, n_bit, mask_len, eid_afi, eid = (
                _USUAL.unpack_from(reader.data, reader.pos)
            )
            plain = not word & _UNUSUAL and not n_bit & 0x80 and mask_len <= 32
            if plain and word & 0xFF == afi == rloc_afi == eid_afi == 1:
                reader.pos = reader.end
                return _map_request(
                    nonce,
                    _prefix(0, 4, source, 32),
                    (ipv4(rloc),),
                    (_request_record(_prefix(0, 4, eid, mask_len)),),
                )
        return cls._parse_any(reader)

    @classmethod
    def _parse_any(cls, reader: Reader) -> MapRequest:
        word, nonce = reader.unpack(HEAD, "header")
        source_eid = parse_source_eid(reader)
        rlocs: list[AnyAddress] = []
        records: list[RequestRecord] = []
        try:
            for _ in range((word >> 8 & 0x1F) + 1):
                rlocs.append(parse_address(reader))
        except DecodeError as error:
            raise within(f"itr_rlocs[{len(rlocs)}]", error) from None
        try:
            for _ in range(word & 0xFF):
                records.append(RequestRecord.parse(reader))
        except DecodeError as error:
            raise within(f"records[{len(records)}]", error) from None
        if not word & _FLAGS:
            reader.finish("trailing")
            return _map_request(nonce, source_eid, tuple(rlocs), tuple(records))
        reply_record = None
        if word & _M:
            try:
                reply_record = EidRecord.parse(reader, claim=True)
            except DecodeError as error:
                raise within("reply_record", error) from None
        xtr_id, site_id = parse_ids(reader) if word & _I else (None, None)
        reader.finish("trailing")
        return _map_request(
            nonce,
            source_eid,
            tuple(rlocs),
            tuple(records),
            word & _A != 0,
            word & _P != 0,
            word & _S != 0,
            word & _PITR != 0,
            word & _INVOKED != 0,
            word & _L != 0,
            word & _D != 0,
            reply_record,
            xtr_id,
            site_id,
        )

    def serialize(self) -> bytes:
        """The UDP payload."""
        word = MessageType.MAP_REQUEST << 28
        word |= (len(self.itr_rlocs) - 1) << 8 | len(self.records)
        for flag, bit in (
            (self.authoritative, _A),
            (self.reply_record is not None, _M),
            (self.probe, _P),
            (self.smr, _S),
            (self.pitr, _PITR),
            (self.smr_invoked, _INVOKED),
            (self.xtr_id is not None, _I),
            (self.local_xtr, _L),
            (self.dont_reply, _D),
        ):
            if flag:
                word |= bit
        parts = [HEAD.pack(word, self.nonce), serialize_source_eid(self.source_eid)]
        parts += map(serialize_address, self.itr_rlocs)
        parts += [record.serialize() for record in self.records]
        if self.reply_record is not None:
            parts.append(self.reply_record.serialize())
        parts.append(serialize_ids(self.xtr_id, self.site_id))
        return b"".join(parts)


_map_request = unchecked(MapRequest)
_request_record = unchecked(RequestRecord)


def check_claim(record: EidRecord) -> None:
    """Refuse ACT and p-bit where RFC 9301 section 5.4 wants them sent as 0. Raises FieldError."""
    if record.action:
        raise FieldError("action", record.action, "0 outside Map-Reply and Map-Notify")
    if any(locator.probed for locator in record.locators):
        raise FieldError("locators.probed", True, "the p-bit only in a Map-Reply")
