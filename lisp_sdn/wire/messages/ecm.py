"""Encapsulated Control Message (RFC 9301 section 5.8) with its inner IP and UDP header."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from lisp_sdn.address import Endpoint, IPAddress, ipv4, ipv6
from lisp_sdn.errors import BadLength, BadValue, DecodeError, FieldError, Unsupported
from lisp_sdn.unchecked import unchecked
from lisp_sdn.wire.cursor import Reader, check_uint, within
from lisp_sdn.wire.messages.base import Message, MessageType
from lisp_sdn.wire.security import EcmSecurity

_S = 0x08
_D = 0x04
_UDP = 17
_DATA_PORT = 4341
_HEAD_LENGTH = 4
_IPV4 = Struct("!BBHHHBBHII")
_USUAL = Struct("!BxxxBxHxxHBBxxIIHHHH")
"""Without Authentication Data and IP options: ECM, IPv4 and UDP header, unread fields left out."""
_IPV6 = Struct("!IHBB16s16s")
_UDP_HEADER = Struct("!HHHH")
_FRAGMENT = 0x3FFF


@dataclass(frozen=True, slots=True)
class Ecm(Message):
    """A control message inside IP and UDP.

    source, destination: the inner endpoints, of one family; neither port is 4341. payload: the
    inner control message, see `lisp_sdn.wire.decode`. security: the LISP-SEC Authentication Data
    behind the S-bit (RFC 9303 section 6.1). ddt: D-bit, the sender wants a Map-Referral.
    hop_limit: inner TTL or Hop Limit, 0..255. The inner UDP checksum is computed when sent; when
    received a wrong one is refused and zero (none computed) accepted. Raises FieldError.
    """

    source: Endpoint
    destination: Endpoint
    payload: bytes
    security: EcmSecurity | None = None
    ddt: bool = False
    hop_limit: int = 32
    name: ClassVar[str] = "ecm"

    def __post_init__(self) -> None:
        if self.source.address.version != self.destination.address.version:
            raise FieldError("destination", str(self.destination), "the family of the source")
        for field in ("source", "destination"):
            port = getattr(self, field).port
            check_uint(f"{field}.port", port, 16)
            if port == _DATA_PORT:
                raise FieldError(f"{field}.port", port, "not the data port")
        if len(self.payload) > 0xFFFF - 28:
            raise FieldError("payload", len(self.payload), "at most 65507 octets")
        check_uint("hop_limit", self.hop_limit, 8)

    @classmethod
    def parse(cls, reader: Reader) -> Ecm:
        """Read an ECM down to the inner payload. Raises DecodeError."""
        data = reader.data
        start = reader.pos
        if reader.end - start >= _USUAL.size:
            flags, first, total, fragment, hops, protocol, src, dst, sport, dport, length, check = (
                _USUAL.unpack_from(data, start)
            )
            if (
                not flags & _S
                and first == 0x45
                and total == reader.end - start - 4
                and length == total - 20
                and protocol == _UDP
                and not fragment & _FRAGMENT
                and sport != _DATA_PORT
                and dport != _DATA_PORT
                and not (check and _wrong(data[start + 16 : reader.end], _UDP + length))
            ):
                reader.pos = reader.end
                return _ecm(
                    _endpoint(ipv4(src), sport),
                    _endpoint(ipv4(dst), dport),
                    data[start + 32 : reader.end],
                    None,
                    flags & _D != 0,
                    hops,
                )
        return cls._parse_any(reader)

    @classmethod
    def _parse_any(cls, reader: Reader) -> Ecm:
        """Authentication Data, IPv6, IP options; and everything that is wrong, to say what."""
        data = reader.data
        flags = reader.take(_HEAD_LENGTH, "header")[0]
        security = None
        if flags & _S:
            try:
                security = EcmSecurity.parse(reader)
            except DecodeError as error:
                raise within("security", error) from None
        start = reader.pos
        if start >= reader.end:
            reader.truncated("inner", 20)
        version = data[start] >> 4
        if version == 4:
            source, destination, pseudo, hops = _parse_ipv4(reader)
        elif version == 6:
            source, destination, pseudo, hops = _parse_ipv6(reader)
        else:
            raise Unsupported("inner.version", start, f"IP version {version}")
        udp = reader.pos
        end = reader.end
        sport, dport, length, checksum = reader.unpack(_UDP_HEADER, "inner.udp")
        if length != end - udp:
            raise BadLength("inner.udp.length", udp + 4, f"{length}, not {end - udp}")
        if sport == _DATA_PORT or dport == _DATA_PORT:
            raise BadValue("inner.udp.port", udp, "4341 is the data port")
        if checksum and _wrong(data[udp:end], pseudo):
            raise BadValue("inner.udp.checksum", udp + 6, f"{checksum:#06x} is wrong")
        return _ecm(
            _endpoint(source, sport),
            _endpoint(destination, dport),
            reader.rest(),
            security,
            flags & _D != 0,
            hops,
        )

    def serialize(self) -> bytes:
        """The UDP payload."""
        flags = MessageType.ECM << 4
        if self.ddt:
            flags |= _D
        auth = b""
        if self.security is not None:
            flags |= _S
            auth = self.security.serialize()
        source, destination = self.source, self.destination
        length = len(self.payload) + 8
        src, dst = int(source.address), int(destination.address)
        pseudo = src + dst + _UDP + length
        ports = source.port + destination.port + length
        checksum = 0xFFFF - (pseudo + ports + _octets_sum(self.payload)) % 0xFFFF
        if source.address.version == 4:
            head = _ipv4_header(src, dst, length + 20, self.hop_limit)
        else:
            head = _IPV6.pack(
                0x60000000,
                length,
                _UDP,
                self.hop_limit,
                source.address.packed,
                destination.address.packed,
            )
        udp = _UDP_HEADER.pack(source.port, destination.port, length, checksum)
        return b"".join((bytes((flags, 0, 0, 0)), auth, head, udp, self.payload))


_ecm = unchecked(Ecm)
_endpoint = unchecked(Endpoint)

_Inner = tuple[IPAddress, IPAddress, int, int]
"""Source, destination, sum over the pseudo-header, hop limit."""


def _parse_ipv4(reader: Reader) -> _Inner:
    start = reader.pos
    first, _, total, _, fragment, hops, protocol, _, src, dst = reader.unpack(_IPV4, "inner.ipv4")
    header = (first & 0xF) * 4
    if header < 20:
        raise BadLength("inner.ipv4.ihl", start, f"{header} octets")
    if total != reader.end - start:
        raise BadLength("inner.ipv4.total_length", start + 2, f"{total}, not {reader.end - start}")
    if header > 20:
        reader.take(header - 20, "inner.ipv4.options")
    if fragment & _FRAGMENT:
        raise Unsupported("inner.ipv4.fragment", start + 6, "a fragment")
    if protocol != _UDP:
        raise Unsupported("inner.ipv4.protocol", start + 9, f"protocol {protocol}")
    return ipv4(src), ipv4(dst), src + dst + _UDP + total - header, hops


def _parse_ipv6(reader: Reader) -> _Inner:
    start = reader.pos
    reader.take(_IPV6.size, "inner.ipv6")
    _, length, protocol, hops, source, destination = _IPV6.unpack_from(reader.data, start)
    if length != reader.remaining:
        raise BadLength("inner.ipv6.payload_length", start + 4, f"{length}, not {reader.remaining}")
    if protocol != _UDP:
        raise Unsupported("inner.ipv6.next_header", start + 6, f"next header {protocol}")
    src, dst = int.from_bytes(source, "big"), int.from_bytes(destination, "big")
    return ipv6(src), ipv6(dst), src + dst + _UDP + length, hops


def _wrong(octets: bytes, rest: int) -> bool:
    return (_octets_sum(octets) + rest) % 0xFFFF != 0


def _octets_sum(octets: bytes) -> int:
    """A number equal to the sum of the 16-bit words, modulo 65535 (RFC 1071).

    2**16 is 1 modulo 65535, so the octets read as one large number are as good as the words.
    """
    value = int.from_bytes(octets, "big")
    return value << 8 if len(octets) & 1 else value


def _ipv4_header(src: int, dst: int, length: int, hops: int) -> bytes:
    words = 0x4500 + length + (hops << 8 | _UDP) + src + dst
    return _IPV4.pack(0x45, 0, length, 0, 0, hops, _UDP, 0xFFFF - words % 0xFFFF, src, dst)
