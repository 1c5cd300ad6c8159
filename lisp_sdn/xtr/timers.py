"""Named deadlines: schedule, cancel, take what is due."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any

TimerName = tuple[str, Any]
"""What is due, and for whom."""


class Timers:
    """A set of named deadlines; naming one again moves it."""

    def __init__(self) -> None:
        self._when: dict[TimerName, float] = {}
        self._heap: list[tuple[float, int, TimerName]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._when)

    def schedule(self, name: TimerName, when: float) -> None:
        """Let `name` be due at `when` (seconds since the epoch) and at no other time."""
        if self._when.get(name) == when:
            return
        self._when[name] = when
        heapq.heappush(self._heap, (when, next(self._order), name))
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._when):
            self._heap = [item for item in self._heap if self._when.get(item[2]) == item[0]]
            heapq.heapify(self._heap)

    def cancel(self, name: TimerName) -> None:
        """Forget `name`."""
        self._when.pop(name, None)

    def when(self, name: TimerName) -> float | None:
        """The deadline of `name`."""
        return self._when.get(name)

    def next(self) -> float | None:
        """The earliest deadline."""
        while self._heap:
            when, _, name = self._heap[0]
            if self._when.get(name) == when:
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> Iterator[TimerName]:
        """Take what is due, earliest first; what is scheduled meanwhile waits for the next call."""
        ready: list[TimerName] = []
        while (when := self.next()) is not None and when <= now:
            name = heapq.heappop(self._heap)[2]
            del self._when[name]
            ready.append(name)
        yield from ready
