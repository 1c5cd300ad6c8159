"""A look into the Map-Requests that nearly everybody sends, without building objects.

A Map-Server that answers from its tables needs a handful of fields. `peek_map_request` finds them
in a Map-Request of the common shape, alone or in an ECM, several times faster than `decode`, and
returns None for anything else: then `decode` says what it is. What it returns is what `decode`
would have said; tests/property holds the two together on every kind of input.

The common shape: one record with an IPv4 or IPv6 EID, alone or in an Instance-ID LCAF; Source EID
likewise or AFI 0; IPv4 and IPv6 ITR-RLOCs, at least one of them; none of the bits A, M, P, S, I, D
and N; the ECM without Authentication Data, D-bit, IP options and fragments, its UDP checksum right
or zero.
"""

from __future__ import annotations

from struct import Struct

Peeked = tuple[bytes, int, int, bytes, int, bytes, int, bytes, bytes, int, bool]
"""nonce: 8 octets. iid. afi: 1 or 2, of the EID. eid: packed, host bits cleared. mask_len: bits.
source_eid: packed, b"" for AFI 0. source_iid. itr_rloc: packed, the first one that is no AFI 0.
itr_rlocs: all of them as received, AFIs included. port: inner UDP source port, 0 without an ECM.
pitr: the p-bit. In this order."""

_ECM_V4 = Struct("!BxxxBxHxxHxBxxxxxxxxxxHHHH")
_ECM_V6 = Struct("!BxxxBxxxHBxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxHHHH")
_USUAL = Struct("!BxxxBxHxxHxBxxxxxxxxxxHHHHI8sH4sH4sBBH4s")
"""All of an ECM with IPv4 everywhere, one ITR-RLOC and no instance-ID: 64 octets."""
_HEAD = Struct("!I8sH")
_AFI = Struct("!H")
_IID = Struct("!BxHIH")
"""From the type octet of an Instance-ID LCAF to the inner AFI."""
_RECORD = Struct("!BBH")

_MAP_REQUEST = 0x10
_ECM = 0x80
_ECM_SECURITY_OR_DDT = 0x0C
_TYPE_AND_UNUSUAL = 0xFF102000
"""Type; A, M, P, S; I; D. The bits p, s and L do not change what is asked."""
_COUNTS = 0x1FFF
"""IRC and Record Count."""
_PITR = 1 << 23
_LCAF = 16387
_MAX_IID = 0xFFFFFF
_DATA_PORT = 4341
_SIZES = {1: 4, 2: 16}
_LCAF_LENGTHS = {1: 10, 2: 22}


def peek_map_request(data: bytes) -> Peeked | None:
    """The fields of a Map-Request of the common shape; None for everything else. Never raises."""
    size = len(data)
    if size == 64:
        (
            flags,
            head,
            total,
            fragment,
            protocol,
            port,
            to,
            length,
            checksum,
            word,
            nonce,
            source_afi,
            source_eid,
            rloc_afi,
            rloc,
            reserved,
            mask_len,
            afi,
            eid,
        ) = _USUAL.unpack_from(data)
        if (
            flags & 0xFC == _ECM
            and head == 0x45
            and total == 60
            and length == 40
            and protocol == 17
            and not fragment & 0x3FFF
            and word & (_TYPE_AND_UNUSUAL | _COUNTS) == 0x10000001
            and source_afi == rloc_afi == afi == 1
            and mask_len == 32
            and not reserved & 0x80
            and port != _DATA_PORT
            and to != _DATA_PORT
            and not (checksum and (int.from_bytes(data[16:], "big") + 57) % 0xFFFF)
        ):
            pitr = word & _PITR != 0
            return nonce, 0, 1, eid, 32, source_eid, 0, rloc, data[50:56], port, pitr
    if size < 24:
        return None
    first = data[0]
    port = 0
    at = 0
    if first & 0xF0 == _ECM:
        version = data[4] >> 4
        if version == 4:
            if size < 52:
                return None
            flags, head, total, fragment, protocol, port, to, length, checksum = (
                _ECM_V4.unpack_from(data)
            )
            if head != 0x45 or total != size - 4 or fragment & 0x3FFF:
                return None
            at, addresses = 32, 16
        elif version == 6:
            if size < 72:
                return None
            flags, head, total, protocol, port, to, length, checksum = _ECM_V6.unpack_from(data)
            if total != size - 44:
                return None
            at, addresses = 52, 12
        else:
            return None
        if (
            flags & _ECM_SECURITY_OR_DDT
            or protocol != 17
            or length != size - at + 8
            or port == _DATA_PORT
            or to == _DATA_PORT
        ):
            return None
        if checksum:
            # Addresses, UDP header and payload are neighbours; see ecm._octets_sum.
            words = int.from_bytes(data[addresses:], "big")
            if size & 1:
                words <<= 8
            if (words + 17 + length) % 0xFFFF:
                return None
    return _peek_request(data, at, size, port)


def _peek_request(data: bytes, at: int, size: int, port: int) -> Peeked | None:
    word, nonce, afi = _HEAD.unpack_from(data, at)
    if word & _TYPE_AND_UNUSUAL != 0x10000000 or word & 0xFF != 1:
        return None
    at += 14
    source_iid = 0
    if afi == _LCAF:
        if at + 16 > size:
            return None
        number, length, source_iid, afi = _IID.unpack_from(data, at + 2)
        if number != 2 or source_iid > _MAX_IID or length != _LCAF_LENGTHS.get(afi):
            return None
        at += 12
    if afi:
        width = _SIZES.get(afi)
        if width is None:
            return None
        source_eid = data[at : at + width]
        at += width
    else:
        source_eid = b""

    first_rloc = b""
    start = at
    for _ in range((word >> 8 & 0x1F) + 1):
        if at + 2 > size:
            return None
        (afi,) = _AFI.unpack_from(data, at)
        at += 2
        if afi:
            width = _SIZES.get(afi)
            if width is None:
                return None
            if not first_rloc:
                first_rloc = data[at : at + width]
            at += width
    if not first_rloc:
        return None
    rlocs = data[start:at]

    if at + 4 > size:
        return None
    reserved, mask_len, afi = _RECORD.unpack_from(data, at)
    if reserved & 0x80:
        return None
    at += 4
    iid = 0
    if afi == _LCAF:
        if at + 16 > size:
            return None
        number, length, iid, afi = _IID.unpack_from(data, at + 2)
        if number != 2 or iid > _MAX_IID or length != _LCAF_LENGTHS.get(afi):
            return None
        at += 12
    width = _SIZES.get(afi)
    if width is None or at + width != size:
        return None
    eid = data[at:]
    spare = width * 8 - mask_len
    if spare:
        if spare < 0:
            return None
        eid = (int.from_bytes(eid, "big") >> spare << spare).to_bytes(width, "big")
    pitr = word & _PITR != 0
    return nonce, iid, afi, eid, mask_len, source_eid, source_iid, first_rloc, rlocs, port, pitr
