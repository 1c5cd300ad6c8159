"""A checked cursor over received bytes, and the small checks that every value shares.

Every read knows the field it reads, so that a refusal names field, offset and reason. A length
field opens a sub-reader over the same bytes: offsets in errors always count from the start of
the message.
"""

from __future__ import annotations

from struct import Struct
from typing import NoReturn

from lisp_sdn.errors import BadLength, BadValue, DecodeError, FieldError, Truncated


class Reader:
    """A position in received bytes that never passes `end`.

    data: the whole message. pos, end: octets from its start. Reads raise Truncated.
    """

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        """Octets left to read."""
        return self.end - self.pos

    def truncated(self, field: str, size: int) -> NoReturn:
        """Raise Truncated for a field of `size` octets at the current position."""
        raise Truncated(field, self.pos, f"{size} octets needed, {self.end - self.pos} left")

    def uint(self, size: int, field: str) -> int:
        """An unsigned integer of `size` octets."""
        return int.from_bytes(self.take(size, field), "big")

    def take(self, size: int, field: str) -> bytes:
        """The next `size` octets."""
        start = self.pos
        stop = start + size
        if stop > self.end:
            self.truncated(field, size)
        self.pos = stop
        return self.data[start:stop]

    def unpack(self, layout: Struct, field: str) -> tuple[int, ...]:
        """The next fields, as `layout` describes them."""
        start = self.pos
        stop = start + layout.size
        if stop > self.end:
            self.truncated(field, layout.size)
        self.pos = stop
        return layout.unpack_from(self.data, start)

    def rest(self) -> bytes:
        """Everything up to the end."""
        start = self.pos
        self.pos = self.end
        return self.data[start : self.end]

    def sub(self, size: int, field: str) -> Reader:
        """A reader over the next `size` octets, which this reader skips.

        Raises BadLength when the length field that gave `size` promises more than there is.
        """
        start = self.pos
        stop = start + size
        if stop > self.end:
            raise BadLength(field, start, f"length {size}, but {self.end - start} octets left")
        self.pos = stop
        return Reader(self.data, start, stop)

    def finish(self, field: str) -> None:
        """Refuse octets that no field describes."""
        if self.pos != self.end:
            raise BadLength(field, self.pos, f"{self.end - self.pos} octets too many")


def within(prefix: str, error: DecodeError) -> DecodeError:
    """The same refusal, its field named from one level further out."""
    return type(error)(f"{prefix}.{error.field}", error.offset, error.detail)


def refused(prefix: str, offset: int, error: FieldError) -> DecodeError:
    """The refusal of received bytes whose value cannot exist."""
    return BadValue(
        f"{prefix}.{error.field}", offset, f"{error.value!r}, expected {error.expected}"
    )


def check_uint(field: str, value: int, bits: int) -> None:
    """Refuse a value that does not fit its field. Raises FieldError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value >> bits:
        raise FieldError(field, value, f"0..{(1 << bits) - 1}")
