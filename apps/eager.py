"""A switch's socket that reads all that has come, not what one message still lacks.

Ryu reads an OpenFlow header, then the rest of that message: two system calls, each through
eventlet, for every message. Its loop takes whatever more a read gives, so the socket gives it.
Between two reads every message of the first has been handled, which makes a read a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

READ = 32_768
"""Octets read at once. Ryu copies what is left of them for every message, so more is not faster."""


class EagerSocket:
    """Stands in front of a connection of Ryu. handled: called before each read, may not wait."""

    def __init__(self, sock: Any, handled: Callable[[], None]) -> None:
        self._socket = sock
        self._recv = sock.recv
        self._handled = handled

    def recv(self, size: int) -> bytes:
        """What has come, whatever `size`; waits when nothing has."""
        self._handled()
        data: bytes = self._recv(READ)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
