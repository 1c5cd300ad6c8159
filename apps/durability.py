"""Writes what the brain appended to its store, in a thread, and tells it what is durable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import eventlet
from eventlet import tpool

from lisp_sdn.actions import Action, Dropped
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.log import LOGGER
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.store import Store

RETRY = 1.0
"""Seconds until a failed write is tried again."""


class HasStore(Protocol):
    """The part of the controller that keeps things."""

    @property
    def store(self) -> Store:
        """Where."""

    def durable(self, now: float) -> list[Action]:
        """The store has flushed."""


class Durability:
    """Flushes after events that appended something; many events share one write."""

    def __init__(self, brain: HasStore, dispatcher: Dispatcher) -> None:
        self._brain = brain
        self._dispatcher = dispatcher
        self._writing = False
        self._stopped = False
        self._flush = _in_a_thread()

    def look(self) -> None:
        """Call after every event."""
        if self._brain.store.pending and not self._writing and not self._stopped:
            self._writing = True
            eventlet.spawn_n(self._write)

    def close(self) -> None:
        """Write what is left and let go of the files. Raises StoreError."""
        self._stopped = True
        if self._writing:
            # The thread holds the store; it ends with this batch.
            with eventlet.Timeout(5, False):
                while self._writing:
                    eventlet.sleep(0.01)
        self._brain.store.close()

    def _write(self) -> None:
        store = self._brain.store
        try:
            while store.durable_seq < store.seq and not self._stopped:
                try:
                    self._flush(store)
                except StoreError as error:
                    self._dispatcher.report(Dropped("store", "write_failed", str(error)))
                    eventlet.sleep(RETRY)
                else:
                    self._dispatcher.event(self._brain.durable)
        finally:
            self._writing = False


def _in_a_thread() -> Callable[[Store], Any]:
    """Flush in a thread, so that waiting for the disk stops nobody; here, where that cannot be."""
    try:
        tpool.setup()
    except OSError as error:
        # eventlet's threads report by a connection over the loopback interface.
        LOGGER.warning("store: writing will block, no threads without loopback: %s", error)
        return lambda store: store.flush()
    return lambda store: tpool.execute(store.flush)
