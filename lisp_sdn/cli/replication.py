"""What the workers of one Map-Server tell each other, over a stream that keeps order.

Worker 0 alone takes Map-Registers, expires registrations and writes the store. It sends each
change that it stores to the other workers, which answer Map-Requests from their copy. They send
it every datagram that is not theirs to answer:

    worker 0 -> worker k    CHANGES    table, key and value of each change, in order
                            COMPLETE   the state so far is whole: answer from now on
    worker k -> worker 0    DATAGRAM   sockaddr of the sender, octets
                            READY      the sockets are bound

A frame is its length (32 bits, of what follows), its kind (8 bits) and its body, in network order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct

from lisp_sdn.errors import LispError
from lisp_sdn.mapping.store import Change, Table

MAX_FRAME = 16 << 20
"""Octets of one frame; a longer one is a mistake of ours."""

_HEAD = Struct("!IB")
_CHANGE = Struct("!BII")
_DELETED = 0xFFFFFFFF
_TABLES = tuple(Table)
_CODES = {table: code for code, table in enumerate(_TABLES)}


class ReplicationError(LispError):
    """The stream between two workers is not what it must be."""


class Kind(IntEnum):
    """What a frame is."""

    CHANGES = 1
    COMPLETE = 2
    DATAGRAM = 3
    READY = 4


def changes_frame(changes: Iterable[Change]) -> bytes:
    """A frame of changes."""
    parts: list[bytes] = []
    for table, key, value in changes:
        length = _DELETED if value is None else len(value)
        parts += (_CHANGE.pack(_CODES[table], len(key), length), key, value or b"")
    return _frame(Kind.CHANGES, b"".join(parts))


def complete_frame() -> bytes:
    """The frame that ends the first copy of the state."""
    return _frame(Kind.COMPLETE, b"")


def ready_frame() -> bytes:
    """The frame that says that a worker serves."""
    return _frame(Kind.READY, b"")


def datagram_frame(name: bytes, data: bytes) -> bytes:
    """A frame with a datagram and the sockaddr of its sender."""
    return _frame(Kind.DATAGRAM, bytes((len(name),)) + name + data)


def _frame(kind: Kind, body: bytes) -> bytes:
    return _HEAD.pack(len(body) + 1, kind) + body


def read_changes(body: bytes) -> list[Change]:
    """Inverse of `changes_frame`. Raises ReplicationError."""
    found = []
    at, end = 0, len(body)
    while at < end:
        if at + _CHANGE.size > end:
            raise ReplicationError(f"a change is cut off at octet {at} of {end}")
        code, key_length, value_length = _CHANGE.unpack_from(body, at)
        at += _CHANGE.size
        deleted = value_length == _DELETED
        after_key = at + key_length
        after = after_key if deleted else after_key + value_length
        if code >= len(_TABLES) or after > end:
            raise ReplicationError(f"a change at octet {at} of {end} is wrong")
        value = None if deleted else body[after_key:after]
        found.append(Change(_TABLES[code], body[at:after_key], value))
        at = after
    return found


def read_datagram(body: bytes) -> tuple[bytes, bytes]:
    """The sockaddr and the octets of a datagram. Raises ReplicationError."""
    if not body or len(body) < 1 + body[0]:
        raise ReplicationError("a datagram without its sender")
    end = 1 + body[0]
    return body[1:end], body[end:]


class FrameReader:
    """Cuts a stream of octets into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The frames that are complete now. Raises ReplicationError."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _HEAD.size:
                length, kind = _HEAD.unpack_from(buffer, at)
                if not 1 <= length <= MAX_FRAME:
                    raise ReplicationError(f"a frame of {length} octets")
                if len(buffer) - at < 4 + length:
                    break
                body = bytes(buffer[at + _HEAD.size : at + 4 + length])
                at += 4 + length
                try:
                    yield Kind(kind), body
                except ValueError:
                    raise ReplicationError(f"a frame of kind {kind}") from None
        finally:
            del buffer[:at]


class Outbox:
    """Octets that wait to be written to a stream which may be slow. limit: octets kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, frame: bytes) -> bool:
        """Queue a frame; False when it does not fit."""
        if self._size + len(frame) > self.limit:
            return False
        self._parts.append(frame)
        self._size += len(frame)
        return True

    def take(self) -> bytes:
        """Everything that waits."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return data

    def give_back(self, rest: bytes) -> None:
        """Put what could not be written to the front again."""
        if rest:
            self._parts.insert(0, rest)
            self._size += len(rest)


def relevant(changes: Sequence[Change]) -> list[Change]:
    """The changes that decide about answers: nonces stay with worker 0."""
    return [change for change in changes if change.table is not Table.NONCES]
