"""What all control messages share: the type numbers and the base class."""

from __future__ import annotations

from abc import abstractmethod
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Self

from lisp_sdn.errors import FieldError
from lisp_sdn.wire.cursor import Reader, check_uint

HEAD = Struct("!IQ")
"""The first word, then the nonce."""


class MessageType(IntEnum):
    """LISP packet types (RFC 9301 section 5.1, RFC 8111, RFC 9304)."""

    MAP_REQUEST = 1
    MAP_REPLY = 2
    MAP_REGISTER = 3
    MAP_NOTIFY = 4
    MAP_NOTIFY_ACK = 5
    MAP_REFERRAL = 6
    INFO = 7
    ECM = 8
    SHARED_EXTENSION = 15


class Message:
    """Base of every control message."""

    __slots__ = ()
    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def parse(cls, reader: Reader) -> Self:
        """Read one message, its type already known. Raises DecodeError."""

    @abstractmethod
    def serialize(self) -> bytes:
        """The UDP payload."""


def check_records(records: tuple[object, ...], kind: type) -> None:
    """Refuse more records than the Record Count can say, and other things than records."""
    if len(records) > 255:
        raise FieldError("records", len(records), "at most 255 records")
    for record in records:
        if not isinstance(record, kind):
            raise FieldError("records", record, kind.__name__)


def check_ids(xtr_id: int | None, site_id: int | None) -> None:
    """Refuse an xTR-ID without Site-ID and the reverse, and values that do not fit."""
    if (xtr_id is None) != (site_id is None):
        raise FieldError("site_id", site_id, "xtr_id and site_id together, or neither")
    if xtr_id is not None and site_id is not None:
        check_uint("xtr_id", xtr_id, 128)
        check_uint("site_id", site_id, 64)


def serialize_ids(xtr_id: int | None, site_id: int | None) -> bytes:
    """The 24 octets that the I-bit announces."""
    if xtr_id is None or site_id is None:
        return b""
    return xtr_id.to_bytes(16, "big") + site_id.to_bytes(8, "big")


def parse_ids(reader: Reader) -> tuple[int, int]:
    """Read xTR-ID and Site-ID. Raises DecodeError."""
    return reader.uint(16, "xtr_id"), reader.uint(8, "site_id")
