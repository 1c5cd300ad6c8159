"""The one way in: bytes of UDP port 4342 to a message (RFC 9301 section 5.1)."""

from __future__ import annotations

from collections.abc import Callable

from lisp_sdn.errors import DecodeError, FieldError, Truncated
from lisp_sdn.wire.cursor import Reader, refused, within
from lisp_sdn.wire.messages.base import Message, MessageType
from lisp_sdn.wire.messages.ecm import Ecm
from lisp_sdn.wire.messages.info import InfoRequest
from lisp_sdn.wire.messages.other import SharedExtension, UnknownMessage
from lisp_sdn.wire.messages.referral import MapReferral
from lisp_sdn.wire.messages.register import MapNotify, MapNotifyAck, MapRegister
from lisp_sdn.wire.messages.reply import MapReply
from lisp_sdn.wire.messages.request import MapRequest

_CLASSES: dict[int, type[Message]] = {
    MessageType.MAP_REQUEST: MapRequest,
    MessageType.MAP_REPLY: MapReply,
    MessageType.MAP_REGISTER: MapRegister,
    MessageType.MAP_NOTIFY: MapNotify,
    MessageType.MAP_NOTIFY_ACK: MapNotifyAck,
    MessageType.MAP_REFERRAL: MapReferral,
    MessageType.INFO: InfoRequest,
    MessageType.ECM: Ecm,
    MessageType.SHARED_EXTENSION: SharedExtension,
}
_BY_TYPE = tuple(_CLASSES.get(number, UnknownMessage) for number in range(16))
_PARSERS: tuple[Callable[[Reader], Message], ...] = tuple(cls.parse for cls in _BY_TYPE)
_NAMES = tuple(cls.name for cls in _BY_TYPE)


def decode(data: bytes) -> Message:
    """The control message in a UDP payload.

    A type that nobody has assigned gives an `UnknownMessage`; an Info-Reply comes as
    `InfoReply`. Time and memory are linear in the length. Raises DecodeError only.
    """
    if not data:
        raise Truncated("type", 0, "an empty message")
    number = data[0] >> 4
    try:
        return _PARSERS[number](Reader(data))
    except DecodeError as error:
        raise within(_NAMES[number], error) from None
    except FieldError as error:
        raise refused(_NAMES[number], 0, error) from None
