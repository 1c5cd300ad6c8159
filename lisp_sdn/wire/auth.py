"""Authentication Data of Map-Register, Map-Notify and Map-Notify-Ack (RFC 9301 section 5.6).

The MAC is computed over the bytes as sent and received, with the Authentication Data set to 0.
Deployed routers send it in full (20 and 32 octets), the algorithm names say truncated (12 and
16): the Authentication Data Length decides, and nothing shorter is accepted.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum, IntEnum
from struct import Struct
from typing import TypeVar

from lisp_sdn.errors import BadDigest, DecodeError, FieldError, UnknownKey
from lisp_sdn.wire.cursor import Reader, check_uint
from lisp_sdn.wire.messages.base import MessageType
from lisp_sdn.wire.messages.register import MapNotify, MapRegister

_AUTH = Struct("!BBH")
_KEY_ID_OFFSET = 12
_AUTH_OFFSET = 16
_IDS_LENGTH = 24


class Algorithm(IntEnum):
    """Algorithm IDs (RFC 9301 section 12.5)."""

    NONE = 0
    HMAC_SHA_1_96_NONE = 1
    HMAC_SHA_256_128_NONE = 2
    HMAC_SHA256_128_HKDF_SHA256 = 3


class MacScope(Enum):
    """Which octets a MAC covers when xTR-ID and Site-ID follow the records.

    RFC 9301 section 5.6 step 5 ends it at the last RLOC-record and elsewhere speaks of the whole
    register. Ids that the MAC does not cover prove nothing about the sender.
    """

    RECORDS = "records"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class _Mac:
    digest: str
    truncated: int
    full: int
    derived: bool


_MACS: dict[int, _Mac] = {
    Algorithm.HMAC_SHA_1_96_NONE: _Mac("sha1", 12, 20, False),
    Algorithm.HMAC_SHA_256_128_NONE: _Mac("sha256", 16, 32, False),
    Algorithm.HMAC_SHA256_128_HKDF_SHA256: _Mac("sha256", 16, 32, True),
}
_SALTS = {
    MessageType.MAP_REGISTER: b"Map-Register Authentication",
    MessageType.MAP_NOTIFY: b"Map-Notify Authentication",
    MessageType.MAP_NOTIFY_ACK: b"Map-Notify-Ack Authentication",
}

Authenticated = MapRegister | MapNotify
A = TypeVar("A", MapRegister, MapNotify)


def message_key(data: bytes, key: bytes) -> bytes:
    """HKDF-SHA256 of nonce and pre-shared key, salted by the message type, 32 octets.

    RFC 9301 section 5.6 step 4 and RFC 5869; info is empty.
    """
    salt = _SALTS[MessageType(data[0] >> 4)]
    pseudo_random = hmac.digest(salt, data[4:12] + key, "sha256")
    return hmac.digest(pseudo_random, b"\x01", "sha256")


def sign(
    message: Authenticated,
    key_id: int,
    key: bytes,
    algorithm: int,
    *,
    full_length: bool = False,
    scope: MacScope = MacScope.RECORDS,
) -> bytes:
    """The message as bytes, with Key ID, Algorithm ID and Authentication Data filled in.

    key: the pre-shared key behind key_id. algorithm: an `Algorithm`; NONE sends no
    Authentication Data. full_length: send the MAC in full. Raises FieldError.
    """
    check_uint("key_id", key_id, 8)
    mac = _MACS.get(algorithm)
    if mac is None and algorithm != Algorithm.NONE:
        raise FieldError("algorithm", algorithm, "0..3")
    length = (mac.full if full_length else mac.truncated) if mac else 0
    plain = message.serialize()
    head = plain[:_KEY_ID_OFFSET] + _AUTH.pack(key_id, algorithm, length)
    tail = plain[_AUTH_OFFSET + len(message.auth_data) :]
    data = head + bytes(length) + tail
    if mac is None:
        return data
    stop = len(data)
    if scope is MacScope.RECORDS and isinstance(message, MapRegister):
        stop -= _IDS_LENGTH if message.xtr_id is not None else 0
    return head + _compute(mac, data, stop, length, key) + tail


def signed(message: A, key_id: int, key: bytes, algorithm: int, *, full_length: bool = False) -> A:
    """Like `sign`, but the message itself, its auth_data filled in."""
    data = sign(message, key_id, key, algorithm, full_length=full_length)
    return type(message).parse(Reader(data))


def verify(data: bytes, message: Authenticated, key: bytes, algorithm: int) -> MacScope:
    """Check the MAC over the bytes received; what it covers is returned.

    data: the UDP payload that `message` was decoded from. key: the pre-shared key behind
    message.key_id. algorithm: the one that the site allows. With `Algorithm.NONE` nothing is
    checked, so only a caller that allows it may ask for it.
    Raises UnknownKey for another algorithm, BadDigest for a MAC that does not match.
    """
    if message.algorithm != algorithm:
        raise UnknownKey(f"algorithm {message.algorithm}, expected {algorithm}")
    if algorithm == Algorithm.NONE:
        return MacScope.RECORDS
    mac = _MACS.get(algorithm)
    if mac is None:
        raise UnknownKey(f"algorithm {algorithm} is unknown")
    length = len(message.auth_data)
    if length not in (mac.truncated, mac.full):
        raise BadDigest(
            f"Authentication Data of {length} octets, expected {mac.truncated} or {mac.full}"
        )
    end = _records_end(data, message)
    if hmac.compare_digest(_compute(mac, data, end, length, key), message.auth_data):
        return MacScope.RECORDS
    whole = len(data)
    if whole != end and hmac.compare_digest(
        _compute(mac, data, whole, length, key), message.auth_data
    ):
        return MacScope.MESSAGE
    raise BadDigest("the Authentication Data does not match")


def _compute(mac: _Mac, data: bytes, stop: int, length: int, key: bytes) -> bytes:
    covered = data[:_AUTH_OFFSET] + bytes(length) + data[_AUTH_OFFSET + length : stop]
    secret = message_key(data, key) if mac.derived else key
    return hmac.digest(secret, covered, mac.digest)[:length]


def _records_end(data: bytes, message: Authenticated) -> int:
    """Where the last RLOC-record ends: a notify may carry octets that nobody reads."""
    if isinstance(message, MapRegister):
        return len(data) - (_IDS_LENGTH if message.xtr_id is not None else 0)
    reader = Reader(data)
    try:
        type(message).parse(reader)
    except DecodeError:
        raise BadDigest("the bytes are not those of the message") from None
    return reader.pos
