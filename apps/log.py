"""Log lines about what the cores report, few enough to read whatever the network does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from lisp_sdn.actions import Dropped, Event

LOGGER = logging.getLogger("lisp_sdn")
"""The edges' logger; ryu-manager's options choose where it goes."""

BURST = 10
PERIOD = 10.0
MAX_KEYS = 1_000


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    suppressed: int = 0


class LimitedLog:
    """Writes at most `burst` lines about one thing in `period` seconds, and counts the rest.

    What was left out is told with the next line about the same thing, and every one of them is
    in the counters and the event stream all the same.
    """

    def __init__(self, *, burst: int = BURST, period: float = PERIOD) -> None:
        self._burst = burst
        self._period = period
        self._windows: dict[tuple[str, str], _Window] = {}

    def dropped(self, dropped: Dropped, now: float) -> None:
        """One line for a drop or refusal, by component and reason."""
        more = self._admit((dropped.where, dropped.reason), now)
        if more is None:
            return
        source = f" from {dropped.source}" if dropped.source else ""
        detail = f": {dropped.detail}" if dropped.detail else ""
        LOGGER.warning("%s: dropped %s%s%s%s", dropped.where, dropped.reason, source, detail, more)

    def event(self, event: Event, now: float) -> None:
        """One line for an event, by kind."""
        more = self._admit(("event", event.kind), now)
        if more is not None:
            LOGGER.info("%s %s%s%s", event.kind, event.subject, _pairs(event.data), more)

    def _admit(self, key: tuple[str, str], now: float) -> str | None:
        """What to add to the line; None to leave it out."""
        window = self._windows.get(key)
        if window is None or not 0 <= now - window.began < self._period:
            suppressed = window.suppressed if window else 0
            if window is None and len(self._windows) >= MAX_KEYS:
                self._windows.clear()
            self._windows[key] = _Window(now, 1)
            return f" ({suppressed} more like the last)" if suppressed else ""
        if window.lines >= self._burst:
            window.suppressed += 1
            return None
        window.lines += 1
        return ""


def _pairs(data: Mapping[str, object]) -> str:
    return "".join(f" {key}={value}" for key, value in data.items())
