"""EIDs in records: EID-prefixes, source/destination pairs and everything else.

The mask length stands in the record, before the address (RFC 9301 sections 5.2 and 5.4), and
counts the bits of the inner prefix; the instance-ID is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from lisp_sdn.address import MAX_IID, AnyAddress, EidPrefix, SourceDestPrefix
from lisp_sdn.errors import BadValue, FieldError, Unsupported
from lisp_sdn.wire.afi import (
    AFI_IPV4,
    AFI_IPV6,
    NO_ADDRESS,
    MacAddress,
    NoAddress,
    OpaqueLcaf,
    WireAddress,
    guarded,
    parse_address,
    serialize_address,
)
from lisp_sdn.wire.cursor import Reader, check_uint
from lisp_sdn.wire.lcaf import InstanceId, SourceDestKey, VendorSpecific

_V4 = Struct("!HI")
_IID_V4 = Struct("!HBBBBHIHI")
_IID_HEAD = Struct("!HBBBBHIH")
_IID_LENGTHS = {AFI_IPV4: 10, AFI_IPV6: 22}
_trusted = EidPrefix.trusted


@dataclass(frozen=True, slots=True)
class OtherEid:
    """An EID that is no IP prefix: a MAC address, a name, an LCAF (RFC 8060 section 4).

    mask_len: 0..255 as in the record; 0..48 for a MAC address. An address that has its own EID
    type (`EidPrefix`, `SourceDestPrefix`) and one that nobody understands are refused.
    Raises FieldError.
    """

    address: WireAddress
    mask_len: int

    def __post_init__(self) -> None:
        if not isinstance(self.address, WireAddress):
            raise FieldError("address", self.address, "an address of lisp_sdn.wire")
        if isinstance(self.address, OpaqueLcaf | VendorSpecific):
            raise FieldError("address", str(self.address), "an address that can be an EID")
        if _ip_eid(self.address, self.mask_len) is not None:
            raise FieldError("address", str(self.address), "EidPrefix or SourceDestPrefix instead")
        check_uint("mask_len", self.mask_len, 8)
        if isinstance(self.address, MacAddress) and self.mask_len > 48:
            raise FieldError("mask_len", self.mask_len, "0..48")

    def to_text(self) -> str:
        """The address and its mask length."""
        return f"{guarded(self.address)}/{self.mask_len}"

    def __str__(self) -> str:
        return self.to_text()


Eid = EidPrefix | SourceDestPrefix | OtherEid
SourceEid = EidPrefix | WireAddress | None
"""The Source EID of a Map-Request: a host EID, another address, None for AFI 0."""


def parse_eid(reader: Reader, mask_len: int) -> Eid:
    """Read an AFI and an EID. Raises DecodeError; Unsupported for an EID nobody understands."""
    data = reader.data
    start = reader.pos
    afi = data[start : start + 2]
    after = start + 6
    if afi == b"\0\x01" and after <= reader.end and mask_len <= 32:
        reader.pos = after
        return _trusted(0, 4, int.from_bytes(data[start + 2 : after], "big"), mask_len)
    if afi == b"\0\x02" and start + 18 <= reader.end and mask_len <= 128:
        reader.pos = start + 18
        return _trusted(0, 6, int.from_bytes(data[start + 2 : start + 18], "big"), mask_len)
    if afi == b"\x40\x03":
        prefix = _parse_iid_prefix(reader, mask_len)
        if prefix is not None:
            return prefix
    address = parse_address(reader)
    if isinstance(address, IPv4Address | IPv6Address):
        raise BadValue("mask_len", start, f"{mask_len}, expected 0..{address.max_prefixlen}")
    if isinstance(address, OpaqueLcaf | VendorSpecific):
        raise Unsupported("eid", start, f"{address} as an EID")
    assert isinstance(address, WireAddress)
    try:
        return _ip_eid(address, mask_len) or OtherEid(address, mask_len)
    except FieldError as error:
        raise BadValue("eid", start, str(error)) from None


def _parse_iid_prefix(reader: Reader, mask_len: int | None) -> EidPrefix | None:
    """The usual Instance-ID LCAF around an IP address, at once; None, nothing read, for others.

    mask_len: None for all bits.
    """
    start = reader.pos
    body = start + _IID_HEAD.size
    if body > reader.end:
        return None
    _, _, _, number, _, length, iid, afi = _IID_HEAD.unpack_from(reader.data, start)
    if number != 2 or iid > MAX_IID or _IID_LENGTHS.get(afi) != length:
        return None
    size = length - 6
    stop = body + size
    bits = size * 8
    if mask_len is None:
        mask_len = bits
    if stop > reader.end or mask_len > bits:
        return None
    reader.pos = stop
    value = int.from_bytes(reader.data[body:stop], "big")
    return _trusted(iid, 4 if afi == AFI_IPV4 else 6, value, mask_len)


def _ip_eid(address: AnyAddress, mask_len: int) -> EidPrefix | SourceDestPrefix | None:
    """The IP form of an EID, None if it has none. Raises FieldError for a wrong mask length."""
    iid = 0
    if isinstance(address, InstanceId) and address.iid <= MAX_IID:
        iid, address = address.iid, address.address
        if isinstance(address, InstanceId):
            return None
    if isinstance(address, IPv4Address | IPv6Address):
        return _prefix(iid, address, mask_len)
    if isinstance(address, SourceDestKey):
        return _pair(iid, address)
    return None


def _pair(iid: int, key: SourceDestKey) -> SourceDestPrefix | None:
    source, destination = key.source, key.destination
    if isinstance(source, InstanceId) and isinstance(destination, InstanceId):
        if iid or source.iid != destination.iid or source.iid > MAX_IID:
            return None
        iid, source, destination = source.iid, source.address, destination.address
    if not isinstance(source, IPv4Address | IPv6Address):
        return None
    if not isinstance(destination, IPv4Address | IPv6Address):
        return None
    return SourceDestPrefix(
        _prefix(iid, source, key.source_mask_len),
        _prefix(iid, destination, key.destination_mask_len),
    )


def _prefix(iid: int, address: IPv4Address | IPv6Address, mask_len: int) -> EidPrefix:
    if not 0 <= mask_len <= address.max_prefixlen:
        raise FieldError("mask_len", mask_len, f"0..{address.max_prefixlen}")
    return _trusted(iid, address.version, int(address), mask_len)


def eid_mask_len(eid: Eid) -> int:
    """The EID mask-len of a record: for a pair that of the destination."""
    if isinstance(eid, EidPrefix):
        return eid.network.prefixlen
    if isinstance(eid, SourceDestPrefix):
        return eid.destination.prefixlen
    return eid.mask_len


def serialize_eid(eid: Eid) -> bytes:
    """The AFI and the address of an EID; instance-ID 0 goes as a plain AFI."""
    if isinstance(eid, EidPrefix):
        network = eid.network.network_address
        iid = eid.iid
        if isinstance(network, IPv4Address):
            if iid:
                return _IID_V4.pack(16387, 0, 0, 2, 0, 10, iid, 1, int(network))
            return _V4.pack(1, int(network))
        head = _IID_HEAD.pack(16387, 0, 0, 2, 0, 22, iid, 2) if iid else b"\0\x02"
        return head + network.packed
    if isinstance(eid, SourceDestPrefix):
        return _pair_address(eid).serialize()
    return eid.address.serialize()


def _pair_address(eid: SourceDestPrefix) -> WireAddress:
    # RFC 8060 does not say where the instance-ID of a pair goes; the pair is one EID, so it is
    # inside one Instance-ID LCAF. Two inner ones with equal numbers are read the same way.
    source, destination = eid.source.network, eid.destination.network
    key = SourceDestKey(
        source.network_address,
        source.prefixlen,
        destination.network_address,
        destination.prefixlen,
    )
    return InstanceId(eid.source.iid, key) if eid.source.iid else key


_EID_TYPES = (EidPrefix, SourceDestPrefix, OtherEid)


def check_eid(field: str, eid: object) -> None:
    """Refuse what is no EID. Raises FieldError."""
    if not isinstance(eid, _EID_TYPES):
        raise FieldError(field, eid, "an EidPrefix, SourceDestPrefix or OtherEid")


def parse_source_eid(reader: Reader) -> SourceEid:
    """Read the Source EID of a Map-Request. Raises DecodeError."""
    data = reader.data
    start = reader.pos
    after = start + 6
    afi = data[start : start + 2]
    if afi == b"\0\x01" and after <= reader.end:
        reader.pos = after
        return _trusted(0, 4, int.from_bytes(data[start + 2 : after], "big"), 32)
    if afi == b"\x40\x03":
        prefix = _parse_iid_prefix(reader, None)
        if prefix is not None:
            return prefix
    address = parse_address(reader)
    if isinstance(address, NoAddress):
        return None
    if isinstance(address, IPv6Address):
        return _trusted(0, 6, int(address), 128)
    if isinstance(address, InstanceId) and address.iid <= MAX_IID:
        inner = address.address
        if isinstance(inner, IPv4Address | IPv6Address):
            return _trusted(address.iid, inner.version, int(inner), inner.max_prefixlen)
    if isinstance(address, OpaqueLcaf | VendorSpecific):
        raise Unsupported("source_eid", start, f"{address} as an EID")
    assert isinstance(address, WireAddress)
    return address


def serialize_source_eid(eid: SourceEid) -> bytes:
    """The AFI and the address of a Source EID, AFI 0 for None."""
    if eid is None:
        return serialize_address(NO_ADDRESS)
    return serialize_eid(eid) if isinstance(eid, EidPrefix) else eid.serialize()


def check_source_eid(eid: object) -> None:
    """Refuse what cannot stand as a Source EID, which has no mask length. Raises FieldError."""
    if eid is None or (isinstance(eid, EidPrefix) and eid.is_host):
        return
    if isinstance(eid, WireAddress) and not isinstance(eid, OpaqueLcaf | VendorSpecific):
        plain = isinstance(eid, NoAddress) or (
            isinstance(eid, InstanceId)
            and eid.iid <= MAX_IID
            and isinstance(eid.address, IPv4Address | IPv6Address)
        )
        if not plain:
            return
    raise FieldError("source_eid", eid, "None, a host EidPrefix or another address")
