"""LISP messages as another implementation would write them: from RFC 9300, 9301, 9305 and 9437.

Nothing in here comes from lisp_sdn: what the lab tests prove with it, they prove about the bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

MAP_REQUEST, MAP_REPLY, MAP_REGISTER, MAP_NOTIFY, MAP_NOTIFY_ACK, ECM = 1, 2, 3, 4, 5, 8
SHA1, SHA256, HKDF = 1, 2, 3
LENGTHS = {SHA1: (12, 20), SHA256: (16, 32), HKDF: (16, 32)}
"""Octets of a MAC by Algorithm ID: truncated, as its name says, and in full."""
SALTS = {
    MAP_REGISTER: b"Map-Register Authentication",
    MAP_NOTIFY: b"Map-Notify Authentication",
    MAP_NOTIFY_ACK: b"Map-Notify-Ack Authentication",
}
NATIVELY_FORWARD = 1


class Rloc(NamedTuple):
    address: str
    priority: int = 1
    weight: int = 100
    local: bool = True
    probed: bool = False
    reachable: bool = True


class Record(NamedTuple):
    """An EID-record. eid: "10.0.0.0/8". ttl: minutes."""

    eid: str
    rlocs: tuple[Rloc, ...] = ()
    ttl: int = 1440
    action: int = 0
    authoritative: bool = False
    iid: int = 0


# --- addresses and records (RFC 9301 section 5.4, RFC 8060 section 4.1) ---


def packed(text: str) -> bytes:
    """AFI and address."""
    address = ipaddress.ip_address(text)
    return struct.pack("!H", 1 if address.version == 4 else 2) + address.packed


def packed_eid(text: str, iid: int) -> bytes:
    inner = packed(text)
    return struct.pack("!HBBBBHI", 16387, 0, 0, 2, 0, 4 + len(inner), iid) + inner if iid else inner


def record(item: Record) -> bytes:
    address, length = item.eid.split("/")
    flags = item.action << 13 | item.authoritative << 12
    data = struct.pack("!IBBHH", item.ttl, len(item.rlocs), int(length), flags, 0)
    data += packed_eid(address, item.iid)
    for rloc in item.rlocs:
        bits = rloc.local << 2 | rloc.probed << 1 | rloc.reachable
        data += struct.pack("!BBBBH", rloc.priority, rloc.weight, 255, 0, bits)
        data += packed(rloc.address)
    return data


def _address(data: bytes, at: int) -> tuple[str, int, int]:
    """Address text, instance-ID and where it ends."""
    (afi,) = struct.unpack_from("!H", data, at)
    if afi == 16387:
        _, _, kind, _, _, iid = struct.unpack_from("!BBBBHI", data, at + 2)
        assert kind == 2, f"LCAF type {kind}"
        text, _, end = _address(data, at + 12)
        return text, iid, end
    if afi == 0:
        return "", 0, at + 2
    length = {1: 4, 2: 16}[afi]
    return str(ipaddress.ip_address(data[at + 2 : at + 2 + length])), 0, at + 2 + length


def _record(data: bytes, at: int) -> tuple[Record, int]:
    ttl, count, length, flags, _ = struct.unpack_from("!IBBHH", data, at)
    text, iid, at = _address(data, at + 10)
    rlocs = []
    for _ in range(count):
        priority, weight, _, _, bits = struct.unpack_from("!BBBBH", data, at)
        rloc, _, at = _address(data, at + 6)
        rlocs.append(Rloc(rloc, priority, weight, bool(bits & 4), bool(bits & 2), bool(bits & 1)))
    eid = f"{text}/{length}"
    return Record(eid, tuple(rlocs), ttl, flags >> 13, bool(flags & 0x1000), iid), at


def _records(data: bytes, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    found = []
    for _ in range(count):
        item, at = _record(data, at)
        found.append(item)
    return tuple(found), at


# --- Map-Register, Map-Notify, Map-Notify-Ack (RFC 9301 sections 5.6 and 5.7) ---


def mac(data: bytes, stop: int, key: bytes) -> bytes:
    """The whole MAC of a message whose Authentication Data may hold anything."""
    algorithm = data[13]
    (length,) = struct.unpack_from("!H", data, 14)
    if algorithm == HKDF:  # KDF(nonce + PSK, salt): extract, then one block of expand
        salt = SALTS[data[0] >> 4]
        extracted = hmac.new(salt, data[4:12] + key, hashlib.sha256).digest()
        key = hmac.new(extracted, b"\x01", hashlib.sha256).digest()
    blank = data[:16] + bytes(length) + data[16 + length : stop]
    return hmac.new(key, blank, hashlib.sha1 if algorithm == SHA1 else hashlib.sha256).digest()


def signed(
    first_word: int,
    nonce: int,
    records: Sequence[Record],
    key: str,
    algorithm: int,
    *,
    key_id: int = 1,
    full: bool = False,
    ids: bytes = b"",
    ids_in_mac: bool = False,
) -> bytes:
    """A Map-Register, Map-Notify or Map-Notify-Ack. ids: xTR-ID and Site-ID, 24 octets."""
    length = LENGTHS[algorithm][full]
    data = struct.pack("!IQBBH", first_word | len(records), nonce, key_id, algorithm, length)
    data += bytes(length) + b"".join(record(item) for item in records)
    stop = len(data)
    data += ids
    digest = mac(data, len(data) if ids_in_mac else stop, key.encode())[:length]
    return data[:16] + digest + data[16 + length :]


def map_register(
    nonce: int,
    records: Sequence[Record],
    key: str,
    algorithm: int = SHA256,
    *,
    proxy: bool = False,
    want_notify: bool = True,
    merge: bool = False,
    use_ttl: bool = False,
    key_id: int = 1,
    full: bool = False,
    ids: bytes = b"",
    ids_in_mac: bool = False,
) -> bytes:
    word = MAP_REGISTER << 28 | proxy << 27 | bool(ids) << 25
    word |= use_ttl << 11 | merge << 10 | want_notify << 8
    return signed(
        word, nonce, records, key, algorithm,
        key_id=key_id, full=full, ids=ids, ids_in_mac=ids_in_mac,
    )  # fmt: skip


class Notify(NamedTuple):
    """A Map-Notify. authentic: the key made its MAC, and it is `length` octets long."""

    nonce: int
    key_id: int
    algorithm: int
    length: int
    authentic: bool
    records: tuple[Record, ...]


def read_notify(data: bytes, key: str) -> Notify:
    word, nonce, key_id, algorithm, length = struct.unpack_from("!IQBBH", data)
    assert word >> 28 == MAP_NOTIFY, data.hex()
    records, end = _records(data, 16 + length, word & 0xFF)
    whole = mac(data, end, key.encode())
    told = data[16 : 16 + length]
    authentic = length in LENGTHS[algorithm] and hmac.compare_digest(told, whole[:length])
    return Notify(nonce, key_id, algorithm, length, authentic, records)


def map_notify_ack(notify: Notify, key: str) -> bytes:
    full = notify.length == LENGTHS[notify.algorithm][1]
    return signed(
        MAP_NOTIFY_ACK << 28, notify.nonce, notify.records, key, notify.algorithm,
        key_id=notify.key_id, full=full,
    )  # fmt: skip


# --- Map-Request, Map-Reply, ECM (RFC 9301 sections 5.2, 5.4 and 5.8) ---


class Request(NamedTuple):
    nonce: int
    source_eid: str
    itr_rlocs: tuple[str, ...]
    eids: tuple[str, ...]
    smr: bool
    smr_invoked: bool
    probe: bool


def map_request(
    nonce: int,
    eid: str,
    itr_rlocs: Sequence[str],
    *,
    source_eid: str = "",
    iid: int = 0,
    smr_invoked: bool = False,
    subscribe: bool = False,
    ids: bytes = b"",
) -> bytes:
    """subscribe: the N-bit of RFC 9437. itr_rlocs: "" is AFI 0, to unsubscribe."""
    address, length = eid.split("/")
    word = MAP_REQUEST << 28 | smr_invoked << 22 | bool(ids) << 20 | len(itr_rlocs) - 1 << 8 | 1
    data = struct.pack("!IQ", word, nonce)
    data += packed_eid(source_eid, iid) if source_eid else b"\0\0"
    data += b"".join(packed(rloc) if rloc else b"\0\0" for rloc in itr_rlocs)
    data += bytes((subscribe << 7, int(length))) + packed_eid(address, iid)
    return data + ids


def read_request(data: bytes) -> Request:
    word, nonce = struct.unpack_from("!IQ", data)
    assert word >> 28 == MAP_REQUEST, data.hex()
    source, _, at = _address(data, 12)
    rlocs = []
    for _ in range((word >> 8 & 0x1F) + 1):
        rloc, _, at = _address(data, at)
        rlocs.append(rloc)
    eids = []
    for _ in range(word & 0xFF):
        length = data[at + 1]
        eid, _, at = _address(data, at + 2)
        eids.append(f"{eid}/{length}")
    flags = bool(word >> 24 & 1), bool(word >> 22 & 1), bool(word >> 25 & 1)
    return Request(nonce, source, tuple(rlocs), tuple(eids), *flags)


class Reply(NamedTuple):
    nonce: int
    records: tuple[Record, ...]


def map_reply(nonce: int, records: Sequence[Record]) -> bytes:
    data = struct.pack("!IQ", MAP_REPLY << 28 | len(records), nonce)
    return data + b"".join(record(item) for item in records)


def read_reply(data: bytes) -> Reply:
    word, nonce = struct.unpack_from("!IQ", data)
    assert word >> 28 == MAP_REPLY, data.hex()
    records, end = _records(data, 12, word & 0xFF)
    assert end == len(data), data.hex()
    return Reply(nonce, records)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(source: tuple[str, int], target: tuple[str, int], payload: bytes) -> bytes:
    """An IP packet with a UDP datagram."""
    src, dst = (ipaddress.ip_address(end[0]) for end in (source, target))
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", source[1], target[1], length, 0) + payload
    pseudo = src.packed + dst.packed + struct.pack("!IHBB", length, 0, 0, 17)
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xFFFF) + payload
    return ip_packet(str(src), str(dst), 17, udp)


def ip_packet(source: str, target: str, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    src, dst = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if src.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl)
        return head + src.packed + dst.packed + payload
    size = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, ttl, protocol, 0) + src.packed + dst.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ecm(request: bytes, source: tuple[str, int], eid: str) -> bytes:
    """An Encapsulated Control Message. source: inner address and port."""
    return struct.pack("!I", ECM << 28) + datagram(source, (eid.split("/")[0], 4342), request)


class Inner(NamedTuple):
    source: tuple[str, int]
    target: tuple[str, int]
    message: bytes


def read_ecm(data: bytes) -> Inner:
    assert data[0] >> 4 == ECM, data.hex()
    ip = data[4:]
    family, at = (socket.AF_INET, 20) if ip[0] >> 4 == 4 else (socket.AF_INET6, 40)
    size = 4 if family == socket.AF_INET else 16
    source, target = (
        socket.inet_ntop(family, ip[at - n * size : at - (n - 1) * size]) for n in (2, 1)
    )
    ports = struct.unpack_from("!HH", ip, at)
    return Inner((source, ports[0]), (target, ports[1]), ip[at + 8 :])


# --- LISP-GPE (RFC 9305 section 3) ---


def gpe(packet: bytes, iid: int = 0) -> bytes:
    """Flags I and P, Next Protocol 1 for IPv4 and 2 for IPv6."""
    kind = 1 if packet[0] >> 4 == 4 else 2
    return struct.pack("!II", 0x0C << 24 | kind, iid << 8) + packet


def read_gpe(data: bytes) -> tuple[int, bytes]:
    """Instance-ID and inner packet; asserts the P-bit and a Next Protocol of the packet's kind."""
    first, second = struct.unpack_from("!II", data)
    assert first >> 24 & 0x04, f"no P-bit: {data[:8].hex()}"
    assert first & 0xFF == {4: 1, 6: 2}[data[8] >> 4], data[:9].hex()
    return second >> 8 if first >> 24 & 0x08 else 0, data[8:]
