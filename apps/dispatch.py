"""Events to the brain, its actions to the world, in order.

One event is handled from beginning to end without letting another green thread run: nothing here
waits. So actions of two events never mix, and no core needs a lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from lisp_sdn.actions import (
    Action,
    Announce,
    ApplyRules,
    Dropped,
    Event,
    PacketOut,
    ReadCounters,
    ReadRules,
    Reconfigured,
    SendControl,
    ShutNeighbour,
    Withdraw,
)
from lisp_sdn.apps.log import LOGGER, LimitedLog


class Sinks(Protocol):
    """What carries actions out. None of these may wait; what cannot be done is reported."""

    def send_control(self, action: SendControl) -> None:
        """Send a datagram."""

    def apply_rules(self, action: ApplyRules) -> None:
        """Send modifications to a switch."""

    def packet_out(self, action: PacketOut) -> None:
        """Send a frame through a switch."""

    def read_rules(self, action: ReadRules) -> None:
        """Ask a switch what it holds."""

    def read_counters(self, action: ReadCounters) -> None:
        """Ask a switch what its flows have carried."""

    def announce(self, action: Announce) -> None:
        """Announce a prefix in BGP."""

    def withdraw(self, action: Withdraw) -> None:
        """Withdraw a prefix in BGP."""

    def shut_neighbour(self, action: ShutNeighbour) -> None:
        """Close a BGP session for good."""

    def reconfigured(self, action: Reconfigured) -> None:
        """Follow another configuration."""


class Settles(Protocol):
    """The part of the controller that takes what the edges have to report."""

    def settle(self, actions: Iterable[Action], now: float) -> list[Action]:
        """Count and keep drops and events; what is left is for the edges."""


class Dispatcher:
    """Hands events to the brain and carries out what it returns.

    sinks: set before the first event; they report here in their turn. before: called when an event
    is about to be handled. after: called when it is done, to look at timers and at the store.
    """

    sinks: Sinks

    def __init__(self, brain: Settles, *, clock: Callable[[], float] = time.time) -> None:
        self._brain = brain
        self._log = LimitedLog()
        self.clock = clock
        self.before: list[Callable[[], None]] = []
        self.after: list[Callable[[], None]] = []

    def event(self, handler: Callable[..., list[Action]], *arguments: Any) -> None:
        """Call a method of the brain with the arguments and `now`; carry out its actions.

        An exception is a bug of ours: it is logged with its traceback and counted, and the
        controller goes on with the next event.
        """
        self.begin()
        now = self.clock()
        try:
            actions = handler(*arguments, now)
        except Exception as error:
            self.bug(f"{getattr(handler, '__name__', handler)}: {error!r}")
        else:
            self.perform(actions, now)
        self.done()

    def begin(self) -> None:
        """An event is about to be handled, here or by somebody who then calls `perform`."""
        for finish in self.before:
            finish()

    def done(self) -> None:
        """An event was handled, here or by somebody who carried the actions out with `perform`."""
        for look in self.after:
            try:
                look()
            except Exception as error:
                self.bug(f"{getattr(look, '__qualname__', look)}: {error!r}")

    def report(self, *actions: Dropped | Event) -> None:
        """Count, keep and log something that the edges themselves saw."""
        self.begin()
        now = self.clock()
        self.perform(self._brain.settle(actions, now), now)

    def tell(self, event: Event, count: int, now: float) -> None:
        """Log one of `count` events of a kind, which the brain has kept already."""
        self._log.event(event, now, count)

    def perform(self, actions: Iterable[Action], now: float) -> None:
        """Carry out actions in order; one that fails does not keep back the others."""
        for action in actions:
            try:
                self._perform(action, now)
            except Exception as error:
                self.bug(f"{type(action).__name__}: {error!r}")

    def _perform(self, action: Action, now: float) -> None:
        match action:
            case ApplyRules():
                self.sinks.apply_rules(action)
            case PacketOut():
                self.sinks.packet_out(action)
            case SendControl():
                self.sinks.send_control(action)
            case ReadRules():
                self.sinks.read_rules(action)
            case ReadCounters():
                self.sinks.read_counters(action)
            case Announce():
                self.sinks.announce(action)
            case Withdraw():
                self.sinks.withdraw(action)
            case ShutNeighbour():
                self.sinks.shut_neighbour(action)
            case Reconfigured():
                self.sinks.reconfigured(action)
            case Dropped():
                self._log.dropped(action, now)
            case Event():
                self._log.event(action, now)
            case _:
                raise TypeError(f"{action!r} is not for the edges")

    def bug(self, detail: str) -> None:
        """An exception that nobody expected: log it with its traceback, and count it."""
        LOGGER.exception("internal error in %s", detail)
        # settle only counts it; if even that fails, the traceback above must do.
        self._brain.settle([Dropped("controller", "internal_error", detail)], self.clock())
