"""RLOCs of ours that are down or drained, as foreign ITRs learn of them: by the R-bit.

What is registered stays as it is. Whoever is not one of our xTRs, which know it by themselves, is
answered with the R-bit (RFC 9301 section 5.4) of such RLOCs clear; ITRs that hold an answer with
one get an SMR, subscribers a Map-Notify.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from lisp_sdn.actions import Action
from lisp_sdn.address import AnyAddress, IPAddress
from lisp_sdn.mapping.requesters import PrefixKey
from lisp_sdn.model import Answer, Locator

BATCH = 500
"""EID-prefixes that are looked at in one go, so that nothing else waits for long."""

PAUSE = 0.01
"""Seconds between two batches."""


class Reachable:
    """Which RLOCs of ours are down, and which are drained: up, but to be used last."""

    def __init__(self) -> None:
        self.down: frozenset[IPAddress] = frozenset()
        self.drained: frozenset[IPAddress] = frozenset()

    def mark(self, answer: Answer) -> Answer:
        """The answer with the R-bits that hold now.

        A drained RLOC stays reachable in an answer that has no other one.
        """
        if not self.down and not self.drained:
            return answer
        mapping = answer.mapping
        locators = tuple(self._without(item, self.down) for item in mapping.locators)
        drained = tuple(self._without(item, self.drained) for item in locators)
        if any(item.usable for item in drained):
            locators = drained
        if locators == mapping.locators:
            return answer
        return replace(answer, mapping=replace(mapping, locators=locators))

    @staticmethod
    def _without(locator: Locator, rlocs: frozenset[IPAddress]) -> Locator:
        return replace(locator, reachable=False) if locator.rloc in rlocs else locator


class News:
    """Brings a change of RLOCs to those who hold an answer with them, a batch at a time.

    rlocs_of: the registered RLOCs behind an EID-prefix. tell: the holders of answers about it.
    """

    def __init__(
        self,
        rlocs_of: Callable[[PrefixKey], Iterable[AnyAddress]],
        tell: Callable[[PrefixKey, float], list[Action]],
    ) -> None:
        self._rlocs_of = rlocs_of
        self._tell = tell
        self._changed: frozenset[IPAddress] = frozenset()
        self._queue: deque[PrefixKey] = deque()
        self._due: float | None = None

    def spread(
        self, changed: frozenset[IPAddress], held: Iterable[PrefixKey], now: float
    ) -> list[Action]:
        """Begin. held: the EID-prefixes about which anybody was told."""
        self._changed = changed | (self._changed if self._queue else frozenset())
        self._queue = deque(dict.fromkeys(held))
        return self.handle_timer(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` has work to do, epoch seconds."""
        return self._due

    def handle_timer(self, now: float) -> list[Action]:
        """Tell about the next batch."""
        actions: list[Action] = []
        if self._due is not None and self._due > now:
            return actions
        for _ in range(min(BATCH, len(self._queue))):
            prefix = self._queue.popleft()
            if any(rloc in self._changed for rloc in self._rlocs_of(prefix)):
                actions += self._tell(prefix, now)
        self._due = now + PAUSE if self._queue else None
        return actions
