"""The event stream over a real socket: many clients, slow ones, those that leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import eventlet
import pytest
from edge_fakes import FakeBrain, FakeSinks
from eventlet.green import socket

from lisp_sdn.actions import Action, Dropped, Event
from lisp_sdn.api.http import Request, Response
from lisp_sdn.api.stream import EVENT_STREAM, EventFilter, Follow
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.events import EventStreams
from lisp_sdn.apps.rest import RestServer
from lisp_sdn.config import Config
from lisp_sdn.ledger import Ledger
from lisp_sdn.rest_settings import RestSettings

LOOPBACK = RestSettings(listen="127.0.0.1:0")
DEADLINE = 10.0


class Fixture:
    """A server whose every path is the event stream."""

    def __init__(self, limit: int = 64, max_events: int = 1000, interval: float = 15.0) -> None:
        self.ledger = Ledger(max_events=max_events)
        self.reported: list[Dropped] = []
        dispatcher = Dispatcher(FakeBrain())
        dispatcher.sinks = FakeSinks()
        self.streams = EventStreams(
            limit, lambda: self.ledger.last_event, self.reported.append, interval=interval
        )
        self.server = RestServer(LOOPBACK, self.handle, dispatcher, self.streams)
        self.server.start()
        self.sockets: list[socket.socket] = []

    def handle(self, request: Request, now: float) -> tuple[Response, list[Action]]:
        after = int(request.header("Last-Event-ID") or 0)
        follow = Follow(
            self.ledger.events,
            lambda entry: json.dumps(entry.subject).encode(),
            EventFilter(Config()),
            epoch=0,
            after=after,
        )
        return Response(200, {"Content-Type": EVENT_STREAM}, follow=follow), []

    def connect(self, after: int = 0) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.server.endpoint.port), DEADLINE)
        made.sendall(b"GET /e HTTP/1.1\r\nHost: x\r\nLast-Event-ID: %d\r\n\r\n" % after)
        self.sockets.append(made)
        return made

    def happen(self, *subjects: str) -> None:
        for subject in subjects:
            self.ledger.note_event(Event("k", subject), 0.0)
        self.streams.look()

    def gauges(self) -> dict[str, float]:
        return {sample.name: sample.value for m in self.streams.collect() for sample in m.samples}

    def close(self) -> None:
        self.streams.close()
        self.server.close()
        for made in self.sockets:
            made.close()


def read_until(client: socket.socket, words: bytes) -> bytes:
    data = b""
    while words not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


def until(condition: Any) -> None:
    with eventlet.Timeout(DEADLINE):
        while not condition():
            eventlet.sleep(0.01)


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    made = Fixture()
    yield made
    made.close()


def test_many_clients_get_what_happens_at_once(fixture: Fixture) -> None:
    clients = [fixture.connect() for _ in range(50)]
    for client in clients:
        head = read_until(client, b"retry: 2000\n\n")
        assert b"200 OK" in head
        assert b"text/event-stream" in head
    fixture.happen("first", "second")
    for client in clients:
        data = read_until(client, b'"second"')
        assert data.index(b'data: "first"') < data.index(b'data: "second"')
    assert fixture.gauges()["lisp_event_streams"] == 50


def test_a_client_goes_on_where_it_was(fixture: Fixture) -> None:
    fixture.happen("a", "b", "c")
    data = read_until(fixture.connect(after=2), b'"c"')
    assert b'"b"' not in data


def test_a_client_that_left_is_noticed_and_gives_its_place_back() -> None:
    fixture = Fixture(interval=0.02)
    client = fixture.connect()
    read_until(client, b": still here")
    client.close()
    until(lambda: fixture.gauges()["lisp_event_streams"] == 0)
    fixture.close()


def test_one_client_too_many_is_told_so() -> None:
    fixture = Fixture(limit=1)
    read_until(fixture.connect(), b"retry")
    refused = read_until(fixture.connect(), b"limits.event_streams: 1")
    assert b"503 Service Unavailable" in refused
    assert b"Retry-After: 10" in refused
    assert [dropped.reason for dropped in fixture.reported] == ["too-many-streams"]
    fixture.close()


def test_a_client_that_does_not_read_loses_events_and_keeps_back_nobody() -> None:
    fixture = Fixture(max_events=50)
    slow, quick = fixture.connect(), fixture.connect()
    read_until(slow, b"retry")
    read_until(quick, b"retry")
    # More than the sockets between us hold, so that the slow client's thread waits for it.
    big = "x" * 50_000
    for number in range(600):
        fixture.happen(f"{number} {big}")
        read_until(quick, b'"%d ' % number)
    assert all(dropped.source for dropped in fixture.reported)
    data = read_until(slow, b'"599 ')
    assert b"event: overflow" in data
    until(lambda: fixture.gauges()["lisp_event_streams_lost_total"] > 0)
    assert {dropped.reason for dropped in fixture.reported} == {"client-too-slow"}
    lost = sum(
        json.loads(line.removeprefix(b"data: "))["lost"]
        for line in data.splitlines()
        if line.startswith(b'data: {"lost"')
    )
    assert fixture.gauges()["lisp_event_streams_lost_total"] == lost
    fixture.close()


def test_streams_end_with_the_controller(fixture: Fixture) -> None:
    client = fixture.connect()
    read_until(client, b"retry")
    fixture.streams.close()
    assert read_until(client, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
    until(lambda: fixture.gauges()["lisp_event_streams"] == 0)
