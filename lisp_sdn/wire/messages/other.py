"""Shared Extension messages (RFC 9304) and types that nobody has assigned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from lisp_sdn.errors import FieldError
from lisp_sdn.wire.cursor import Reader, check_uint
from lisp_sdn.wire.messages.base import Message, MessageType


@dataclass(frozen=True, slots=True)
class SharedExtension(Message):
    """A message of the shared type 15 (RFC 9304 section 3); no sub-type is understood here.

    sub_type: 12 bits. data: everything behind the first 16 bits. Raises FieldError.
    """

    sub_type: int
    data: bytes
    name: ClassVar[str] = "shared_extension"

    def __post_init__(self) -> None:
        check_uint("sub_type", self.sub_type, 12)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a Shared Extension message. Raises DecodeError."""
        return cls(reader.uint(2, "sub_type") & 0xFFF, reader.rest())

    def serialize(self) -> bytes:
        """The octets as received."""
        word = MessageType.SHARED_EXTENSION << 12 | self.sub_type
        return word.to_bytes(2, "big") + self.data


@dataclass(frozen=True, slots=True)
class UnknownMessage(Message):
    """A message of an unassigned type: kept as it came, to be dropped by who receives it.

    data: the whole message, not empty; its type has no class of its own. Raises FieldError.
    """

    data: bytes
    name: ClassVar[str] = "unknown"

    def __post_init__(self) -> None:
        if not self.data or self.data[0] >> 4 in set(MessageType):
            raise FieldError("data", self.data[:4], "a message of an unassigned type")

    @property
    def type_number(self) -> int:
        """The 4-bit type."""
        return self.data[0] >> 4

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Take the rest as it is."""
        return cls(reader.rest())

    def serialize(self) -> bytes:
        """The octets as received."""
        return self.data
