"""Registrations, nonces and static mappings as the octets that the store keeps.

    key of a registration   site, NUL, place, ETR        value   head, RLOC-records
    key of a nonce          site, NUL, Key ID, ETR       value   8 octets
    key of a static mapping place                        value   head, RLOC-records

place is instance-ID, IP version, address and mask length of the destination prefix, and the same
of the source prefix when the registration is keyed by one. ETR is "x", Site-ID and xTR-ID, or "4"
or "6" and the packed address. Keys sort like EID-prefixes: that makes loading a million fast.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from weakref import WeakValueDictionary

from lisp_sdn.address import MAX_IID, EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.errors import DecodeError, StoreError
from lisp_sdn.mapping.database import Database, Key, Registrar, Registration, RlocSet, code_of_key
from lisp_sdn.mapping.nonces import Identity
from lisp_sdn.model import Act
from lisp_sdn.wire.cursor import Reader
from lisp_sdn.wire.record import parse_locator, serialize_locator

_PLACE = Struct("!IB")
_NONCE = Struct("!Q")
_HEAD = Struct("!IBHBBBddHB")
"""ttl, flags, map-version, action, Key ID, algorithm, registered, changed, port, address length."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A registration as read back: its ETR's address and key are those of the last change."""

    ttl_minutes: int
    flags: int
    map_version: int
    action: Act
    key_id: int
    algorithm: int
    registered: float
    changed: float
    source: Endpoint | None
    rloc_set: RlocSet


def place_octets(key: Key) -> bytes:
    """A key as octets that sort like EID-prefixes."""
    if isinstance(key, SourceDestPrefix):
        return _prefix(key.destination) + _prefix(key.source)
    return _prefix(key)


def _prefix(eid: EidPrefix) -> bytes:
    net = eid.network
    return _PLACE.pack(eid.iid, net.version) + net.network_address.packed + bytes((net.prefixlen,))


def _read_prefix(data: bytes) -> tuple[EidPrefix, bytes]:
    iid, version = _PLACE.unpack_from(data)
    if version not in (4, 6) or iid > MAX_IID:
        raise ValueError(f"instance-ID {iid}, IP version {version}")
    end = _PLACE.size + (4 if version == 4 else 16)
    address = int.from_bytes(data[_PLACE.size : end], "big")
    return EidPrefix.trusted(iid, version, address, data[end]), data[end + 1 :]


def _read_place(data: bytes) -> tuple[Key, bytes]:
    key, rest = _read_prefix(data)
    # What may follow is a source prefix, which begins with the top octet of a 24-bit
    # instance-ID: zero, as no ETR does.
    if rest and rest[0] == 0:
        source, rest = _read_prefix(rest)
        return SourceDestPrefix(source, key), rest
    return key, rest


def _etr(identity: Identity) -> bytes:
    if isinstance(identity, str):
        address = ipaddress.ip_address(identity)
        return str(address.version).encode() + address.packed
    site_id, xtr_id = identity
    return b"x" + site_id.to_bytes(8, "big") + xtr_id.to_bytes(16, "big")


@lru_cache(maxsize=4096)
def _read_etr(data: bytes) -> Identity:
    kind, rest = data[:1], data[1:]
    if (kind, len(rest)) in ((b"4", 4), (b"6", 16)):
        return str(ipaddress.ip_address(rest))
    if kind == b"x" and len(rest) == 24:
        return int.from_bytes(rest[:8], "big"), int.from_bytes(rest[8:], "big")
    raise ValueError(f"ETR {data.hex()}")


def registration_key(site: str, key: Key, identity: Identity) -> bytes:
    """The store's key of a registration."""
    return site.encode() + b"\0" + place_octets(key) + _etr(identity)


def read_registration_key(data: bytes) -> tuple[str, Key, Identity]:
    """Inverse of `registration_key`. Raises StoreError."""
    site, _, rest = data.partition(b"\0")
    try:
        key, etr = _read_place(rest)
        return site.decode(), key, _read_etr(etr)
    except (StructError, IndexError, ValueError) as error:
        raise StoreError(f"registration key {data.hex()}: {error}") from None


def nonce_key(site: str, key_id: int, identity: Identity) -> bytes:
    """The store's key of a nonce."""
    return site.encode() + b"\0" + bytes((key_id,)) + _etr(identity)


def read_nonce(data: bytes, value: bytes) -> tuple[str, int, Identity, int]:
    """Site, Key ID, ETR and nonce. Raises StoreError."""
    site, _, rest = data.partition(b"\0")
    try:
        return site.decode(), rest[0], _read_etr(rest[1:]), _NONCE.unpack(value)[0]
    except (StructError, IndexError, ValueError) as error:
        raise StoreError(f"nonce {data.hex()}: {error}") from None


def nonce_value(nonce: int) -> bytes:
    """A nonce as octets."""
    return _NONCE.pack(nonce)


def records_of(rloc_set: RlocSet) -> bytes:
    """The RLOC-records of an RLOC-set, serialized once."""
    records = rloc_set.records
    if records is None:
        records = rloc_set.records = b"".join(map(serialize_locator, rloc_set.locators))
    return records


def registration_value(entry: Registration, registrar: Registrar) -> bytes:
    """A registration as octets. registrar: as it is with the Map-Register that is stored."""
    source = registrar.source
    address = source.address.packed if source else b""
    head = _HEAD.pack(
        entry.ttl_minutes,
        entry.flags,
        entry.map_version,
        entry.action,
        registrar.key_id,
        registrar.algorithm,
        entry.registered,
        entry.changed,
        source.port if source else 0,
        len(address),
    )
    return head + address + records_of(entry.rloc_set)


@lru_cache(maxsize=4096)
def _endpoint(address: bytes, port: int) -> Endpoint:
    return Endpoint(ipaddress.ip_address(address), port)


class RegistrationReader:
    """Reads values back; an RLOC-set that many share is decoded once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rloc_sets: WeakValueDictionary[bytes, RlocSet] = WeakValueDictionary()

    def read(self, value: bytes) -> Stored:
        """Inverse of `registration_value`. Raises StoreError."""
        try:
            ttl, flags, version, action, key_id, algorithm, registered, changed, port, length = (
                _HEAD.unpack_from(value)
            )
            end = _HEAD.size + length
            source = _endpoint(value[_HEAD.size : end], port) if length else None
            rloc_set = self._rloc_set(value[end:])
            return Stored(
                ttl, flags, version, Act(action), key_id, algorithm,
                registered, changed, source, rloc_set,
            )  # fmt: skip
        except (StructError, ValueError, DecodeError) as error:
            raise StoreError(f"registration {value.hex()}: {error}") from None

    def _rloc_set(self, records: bytes) -> RlocSet:
        known = self._rloc_sets.get(records)
        if known is None:
            reader = Reader(records)
            locators = []
            while reader.remaining:
                locators.append(parse_locator(reader))
            known = self._rloc_sets[records] = self._database.intern(locators)
        return known


def restored(key: Key, stored: Stored, registrar: Registrar) -> Registration:
    """The registration as it was; refreshed when it last changed."""
    entry = Registration(
        code_of_key(key),
        registrar,
        stored.rloc_set,
        stored.ttl_minutes,
        stored.flags,
        stored.changed,
        stored.map_version,
        stored.action,
    )
    entry.registered = stored.registered
    return entry


def static_key(key: Key) -> bytes:
    """The store's key of a static mapping."""
    return place_octets(key)


def read_static_key(data: bytes) -> Key:
    """Inverse of `static_key`. Raises StoreError."""
    try:
        key, rest = _read_place(data)
        if rest:
            raise ValueError("octets behind the key")
        return key
    except (StructError, IndexError) as error:
        raise StoreError(f"static mapping key {data.hex()}: {error}") from None
