"""The event stream over HTTP: keeps connections open and wakes them. What goes: `api.stream`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import eventlet
import eventlet.event
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from lisp_sdn.actions import Dropped
from lisp_sdn.api.http import Problem
from lisp_sdn.api.stream import HEARTBEAT_INTERVAL, Follow


class EventStreams:
    """Every client that follows the events.

    limit: clients at once. newest: id of the newest event. report: takes what must be counted.
    interval: seconds without an event until a heartbeat.
    """

    def __init__(
        self,
        limit: int,
        newest: Callable[[], int],
        report: Callable[[Dropped], None],
        *,
        interval: float = HEARTBEAT_INTERVAL,
    ) -> None:
        self.limit = limit
        self._newest = newest
        self._report = report
        self._interval = interval
        self._seen = 0
        self._open = 0
        self._lost = 0
        self._ended = False
        self._news = eventlet.event.Event()

    def look(self) -> None:
        """After every event of the controller: is there something to tell?"""
        newest = self._newest()
        if newest != self._seen:
            self._seen = newest
            self._wake()

    def close(self) -> None:
        """End every stream."""
        self._ended = True
        self._wake()

    def open(self, follow: Follow, source: str) -> Iterator[bytes]:
        """The pieces to send, without end. source: the client. Raises Problem (503)."""
        if self._open >= self.limit:
            detail = f"{self._open} clients follow the events; limits.event_streams: {self.limit}"
            self._report(Dropped("events", "too-many-streams", detail, source))
            raise Problem("too-many-streams", detail, headers={"Retry-After": "10"})
        return _Stream(self, follow, source)

    def collect(self) -> Iterator[Metric]:
        """For the metrics."""
        yield GaugeMetricFamily(
            "lisp_event_streams", "Clients that follow the events", value=self._open
        )
        yield CounterMetricFamily(
            "lisp_event_streams_lost",
            "Events that were forgotten before a client that follows them had read them",
            value=self._lost,
        )

    # --- of one stream ---

    def pieces(self, follow: Follow, source: str) -> Iterator[bytes]:
        """What one client gets; ends when the controller does."""
        yield follow.begin()
        lost = 0
        while not self._ended:
            # Before looking: what happens while the piece is being sent wakes us, too.
            news = self._news
            piece = follow.take()
            if follow.lost != lost:
                self._lose(follow.lost - lost, source)
                lost = follow.lost
            if piece:
                yield piece
            if follow.behind:
                eventlet.sleep(0)
            elif not self._wait(news):
                yield follow.heartbeat()

    def opened(self) -> None:
        """A stream began."""
        self._open += 1

    def closed(self) -> None:
        """A stream ended."""
        self._open -= 1

    def _wait(self, news: eventlet.event.Event) -> bool:
        """Until there may be news; False when there were none for the interval."""
        with eventlet.Timeout(self._interval, False):
            news.wait()
            return True
        return False

    def _wake(self) -> None:
        news, self._news = self._news, eventlet.event.Event()
        news.send(None)

    def _lose(self, count: int, source: str) -> None:
        self._lost += count
        detail = f"{count} events were forgotten before it read them"
        self._report(Dropped("events", "client-too-slow", detail, source))


class _Stream:
    """An iterator that notices its end, also when it was never begun."""

    def __init__(self, streams: EventStreams, follow: Follow, source: str) -> None:
        self._streams = streams
        self._pieces = streams.pieces(follow, source)
        self._is_open = True
        streams.opened()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """Called by the server (PEP 3333) at the end, whoever ended it."""
        if self._is_open:
            self._is_open = False
            self._streams.closed()
