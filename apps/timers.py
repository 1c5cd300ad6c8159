"""Wakes the brain when one of its timers is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import eventlet
from eventlet import hubs

from lisp_sdn.actions import Action
from lisp_sdn.apps.dispatch import Dispatcher

LONGEST = 1.0
"""Seconds until the clock is looked at again: timers follow a clock that was set, too."""

SHORTEST = 0.001
"""Seconds between two calls, so that a timer in the past cannot keep out everything else."""


class HasTimers(Protocol):
    """The part of the controller that has timers."""

    def next_timer(self) -> float | None:
        """When the next one is due, seconds since the epoch."""

    def handle_timer(self, now: float) -> list[Action]:
        """Do what is due."""


class Timers:
    """Keeps one eventlet timer at the brain's next one; call `rearm` after every event."""

    def __init__(self, brain: HasTimers, dispatcher: Dispatcher) -> None:
        self._brain = brain
        self._dispatcher = dispatcher
        self._timer: Any = None
        self._wakes_at = 0.0
        self._stopped = False

    def rearm(self) -> None:
        """Look at the brain's next timer again."""
        due = self._brain.next_timer()
        now = self._dispatcher.clock()
        wake = now + LONGEST if due is None else min(due, now + LONGEST)
        if self._timer is not None:
            # Too early is harmless, so a timer is not moved when the brain's own moves away.
            if self._wakes_at <= wake or self._stopped:
                return
            self._timer.cancel()
        if not self._stopped:
            self._wakes_at = wake
            self._schedule(max(wake - now, SHORTEST), self._fire)

    def stop(self) -> None:
        """No further calls."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, delay: float, callback: Callable[[], None]) -> None:
        # The hub's own thread must never wait, so the work is done in a green thread.
        self._timer = hubs.get_hub().schedule_call_global(delay, eventlet.spawn_n, callback)

    def _fire(self) -> None:
        self._timer = None
        if self._stopped:
            return
        due = self._brain.next_timer()
        if due is not None and due <= self._dispatcher.clock():
            self._dispatcher.event(self._brain.handle_timer)
        else:
            self.rearm()
