"""What the running system remembers of itself: drops by reason, refusals, events. All bounded."""

from __future__ import annotations

from collections import Counter as Tally
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Protocol

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.views import Counter, EventEntry, Refusal

MAX_REFUSALS = 2_000
"""Kinds of refusal kept; the one seen longest ago goes first."""

MAX_EVENTS = 10_000
"""Events kept; the oldest go first."""

REFUSAL_EVENTS = 5
REFUSAL_PERIOD = 60.0
"""Of one component and reason, at most so many refusals become events in so many seconds: anybody
can cause refusals, and the other events must not drown in them. All of them are counted."""


class EventSource(Protocol):
    """Something that can tell what happened."""

    def event(self) -> Event:
        """The event."""


_Later = tuple[int, float, EventSource]
"""Id and time of an event, and what can tell it."""


class Ledger:
    """Counts every `Dropped`, groups refusals and keeps the newest events.

    max_refusals, max_events: entries kept; what goes is counted as "ledger" in `counters`.
    """

    def __init__(self, *, max_refusals: int = MAX_REFUSALS, max_events: int = MAX_EVENTS) -> None:
        self._max_refusals = max_refusals
        self._dropped: Tally[tuple[str, str]] = Tally()
        self._kinds: Tally[str] = Tally()
        self._refusals: OrderedDict[tuple[str, str, str], Refusal] = OrderedDict()
        self._events: deque[EventEntry | _Later] = deque(maxlen=max_events)
        self._forgotten: Tally[str] = Tally()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        self.last_event = 0

    def note_dropped(self, dropped: Dropped, now: float) -> None:
        """Count a drop and keep it among the refusals."""
        self._dropped[dropped.where, dropped.reason] += 1
        key = (dropped.where, dropped.reason, dropped.source)
        known = self._refusals.get(key)
        if known is None:
            if len(self._refusals) >= self._max_refusals:
                self._refusals.popitem(last=False)
                self._forgotten["refusal"] += 1
            self._refusals[key] = Refusal(
                dropped.where, dropped.reason, dropped.source, dropped.detail, 1, now, now
            )
            self._tell(dropped, now)
            return
        self._refusals[key] = replace(
            known, detail=dropped.detail, count=known.count + 1, last_seen=now
        )
        self._refusals.move_to_end(key)

    def _tell(self, dropped: Dropped, now: float) -> None:
        """A refusal of a new kind, or from a new source, is an event, too."""
        name = (dropped.where, dropped.reason)
        began, count = self._told.get(name, (now, 0))
        if not 0 <= now - began < REFUSAL_PERIOD:
            began, count = now, 0
        if count < REFUSAL_EVENTS:
            self._told[name] = (began, count + 1)
            data: dict[str, object] = {"where": dropped.where, "reason": dropped.reason}
            if dropped.detail:
                data["detail"] = dropped.detail
            room, _, xtr = dropped.where.partition(".")
            if room == "xtr" and xtr:
                data["xtr"] = xtr
            self.note_event(Event("refusal", dropped.source, data), now)

    def note_event(self, event: Event, now: float) -> EventEntry:
        """Give an event its id and keep it."""
        self.last_event += 1
        self._kinds[event.kind] += 1
        if len(self._events) == self._events.maxlen:
            self._forgotten["event"] += 1
        entry = EventEntry(self.last_event, now, event.kind, event.subject, event.data)
        self._events.append(entry)
        return entry

    def note_later(self, kind: str, sources: Sequence[EventSource], now: float) -> None:
        """Keep an event of each source; it is made when somebody reads it."""
        self._kinds[kind] += len(sources)
        forgotten = len(self._events) + len(sources) - (self._events.maxlen or 0)
        if forgotten > 0:
            self._forgotten["event"] += forgotten
        for source in sources:
            self.last_event += 1
            self._events.append((self.last_event, now, source))

    def refusals(self) -> Iterable[Refusal]:
        """Newest last."""
        return tuple(self._refusals.values())

    def events(self, after: int) -> Iterable[EventEntry]:
        """Kept events with an id above `after`, oldest first."""
        newest = takewhile(lambda entry: _id(entry) > after, reversed(self._events))
        return tuple(_entry(kept) for kept in newest)[::-1]

    def counters(self) -> Iterator[Counter]:
        """Drops by component and reason, events by kind, and what the bounds made us forget."""
        for (where, reason), count in sorted(self._dropped.items()):
            yield Counter("dropped", count, (("reason", reason), ("where", where)))
        for kind, count in sorted(self._kinds.items()):
            yield Counter("events", count, (("kind", kind),))
        for what, count in sorted(self._forgotten.items()):
            yield Counter("ledger-forgotten", count, (("what", what),))


def _id(kept: EventEntry | _Later) -> int:
    return kept[0] if isinstance(kept, tuple) else kept.id


def _entry(kept: EventEntry | _Later) -> EventEntry:
    if not isinstance(kept, tuple):
        return kept
    number, now, source = kept
    event = source.event()
    return EventEntry(number, now, event.kind, event.subject, event.data)
