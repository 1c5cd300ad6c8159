"""A listening socket that outlives what goes wrong with single connections.

eventlet's server ends for good with the first error of `accept`: a client that gave up while it
waited, or a moment without file descriptors, would take the whole interface away.
"""

from __future__ import annotations

import errno
import time
from typing import Any

import eventlet

from lisp_sdn.apps.log import LOGGER

PAUSE = 0.1
"""Seconds until the next try."""

QUIET = 60.0
"""Seconds between two log lines about it."""


_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""What does not pass by itself with the next connection."""


class Listener:
    """socket: eventlet's; `accept` raises only when it was closed. name: for the log."""

    def __init__(self, socket: Any, name: str) -> None:
        self._socket = socket
        self._name = name
        self._closed = False
        self._told: float | None = None

    def accept(self) -> tuple[Any, Any]:
        """The next connection and its address."""
        while True:
            try:
                connection, address = self._socket.accept()
                return self.prepare(connection), address
            except OSError as error:
                if self._closed:
                    raise
                if error.errno in _OURS:
                    self._tell(error)
                eventlet.sleep(PAUSE if error.errno in _OURS else 0)

    def prepare(self, connection: Any) -> Any:
        """The connection as it is served. Raises OSError when it cannot be any more."""
        return connection

    def close(self) -> None:
        """Give the port back."""
        self._closed = True
        self._socket.close()

    def _tell(self, error: OSError) -> None:
        now = time.monotonic()
        if self._told is None or now - self._told >= QUIET:
            self._told = now
            LOGGER.warning("%s: a connection was not accepted: %s", self._name, error)

    def __getattr__(self, name: str) -> Any:
        """What a listening socket has beside this."""
        return getattr(self._socket, name)
