"""The event stream: who gets what, from where on, and what is said when events were missed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_fake import NOW, SETTINGS, Client, FakeBackend, filled, problem

from lisp_sdn.actions import Event
from lisp_sdn.api.stream import BATCH, HEARTBEAT, EventFilter, Follow, place
from lisp_sdn.ledger import Ledger
from lisp_sdn.views import EventEntry

STREAM = "text/event-stream"


def encode(entry: EventEntry) -> bytes:
    return json.dumps({"id": entry.id, "subject": entry.subject}).encode()


def follow(ledger: Ledger, after: int = 0, **wanted: str) -> Follow:
    return Follow(ledger.events, encode, EventFilter(SETTINGS, **wanted), epoch=1000.5, after=after)


def parse(data: bytes) -> list[dict[str, Any]]:
    """Messages as a browser reads them: field -> value, data as JSON."""
    messages = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        if fields:
            messages.append(fields)
    return messages


def note(ledger: Ledger, *subjects: str, kind: str = "k", **data: object) -> None:
    for subject in subjects:
        ledger.note_event(Event(kind, subject, data), NOW)


def test_events_come_once_and_in_order_with_their_ids() -> None:
    ledger = Ledger()
    note(ledger, "a", "b")
    client = follow(ledger)
    assert parse(client.begin()) == [{"retry": "2000"}]
    assert parse(client.take()) == [
        {"id": "1000-1", "data": {"id": 1, "subject": "a"}},
        {"id": "1000-2", "data": {"id": 2, "subject": "b"}},
    ]
    assert client.take() == b""
    note(ledger, "c")
    assert [m["data"]["subject"] for m in parse(client.take())] == ["c"]


def test_a_slow_client_is_told_how_many_it_missed() -> None:
    ledger = Ledger(max_events=3)
    note(ledger, "0")
    client = follow(ledger)
    client.take()
    note(ledger, *map(str, range(1, 11)))
    first, *rest = parse(client.take())
    assert first == {"event": "overflow", "data": {"lost": 7}}
    assert [m["data"]["subject"] for m in rest] == ["8", "9", "10"]
    assert client.lost == 7
    assert client.take() == b""


def test_a_long_backlog_comes_in_pieces() -> None:
    ledger = Ledger()
    note(ledger, *map(str, range(BATCH + 1)))
    client = follow(ledger)
    assert len(parse(client.take())) == BATCH
    assert client.behind
    assert len(parse(client.take())) == 1
    assert not client.behind


def test_a_heartbeat_moves_the_place_of_a_client_that_wants_little() -> None:
    ledger = Ledger()
    client = follow(ledger, kind="rloc")
    assert client.heartbeat() == HEARTBEAT
    note(ledger, "a", "b")
    assert client.take() == b""
    assert parse(client.heartbeat()) == [{"id": "1000-2"}]
    assert client.heartbeat() == HEARTBEAT


@pytest.mark.parametrize(
    ("given", "after"),
    [
        (None, 20),
        ("", 20),
        ("nonsense", 20),
        ("1000-7", 7),
        ("7", 7),
        ("0", 0),
        # Of a controller that ran before: all that is kept is new.
        ("999-7", 0),
        ("1000-21", 0),
        ("1000-" + "9" * 40, 20),
        ("1000-\u0663", 20),
    ],
)
def test_where_a_client_goes_on(given: str | None, after: int) -> None:
    assert place(given, 1000.9, 20) == after


def test_filters() -> None:
    ledger = Ledger()
    note(ledger, "[42] 10.1.0.0/24", kind="map-cache.added", xtr="xtr-west")
    note(ledger, "[42] 10.1.7.0/24", kind="map-cache-like")
    note(ledger, "[42] 10.2.0.0/24", kind="registration.refused", site="west")
    note(ledger, "12", kind="policy.changed", sites=["east"])
    note(ledger, "192.0.2.1", kind="rloc.down", xtr="xtr-east")

    def ids(**wanted: str) -> list[int]:
        return [message["data"]["id"] for message in parse(follow(ledger, **wanted).take())]

    assert ids() == [1, 2, 3, 4, 5]
    assert ids(kind="map-cache") == [1]
    assert ids(kind="map-cache.added") == [1]
    assert ids(xtr="xtr-east") == [5]
    assert ids(subject="12") == [4]
    assert ids(site="east") == [1, 2, 4, 5]
    assert ids(site="west") == [1, 3]
    assert ids(site="west", kind="registration") == [3]
    assert ids(site="nowhere") == []


@pytest.fixture
def backend() -> FakeBackend:
    return filled()


def test_the_same_path_with_another_accept(backend: FakeBackend) -> None:
    client = Client(backend)
    response = client("GET", "/events?kind=map-cache", Accept=STREAM, Last_Event_ID="1")
    assert (response.status, response.headers["Content-Type"]) == (200, STREAM)
    assert response.body == b""
    assert response.follow is not None
    messages = parse(response.follow.take())
    assert [message["data"]["kind"] for message in messages] == [
        "map-cache.added",
        "map-cache.removed",
    ]
    # The very documents of the list.
    listed = client.get("/events?kind=map-cache&after=1")["items"]
    assert [message["data"] for message in messages] == listed


def test_without_a_place_only_what_comes(backend: FakeBackend) -> None:
    response = Client(backend)("GET", "/events", Accept=STREAM)
    assert response.follow is not None
    assert response.follow.take() == b""
    backend.happened.append(EventEntry(4, NOW, "rloc.down", "192.0.2.1"))
    assert len(parse(response.follow.take())) == 1


def test_after_says_the_place_as_well(backend: FakeBackend) -> None:
    response = Client(backend)("GET", "/events?after=0", Accept=STREAM)
    assert response.follow is not None
    assert len(parse(response.follow.take())) == 3


def test_a_mistake_is_a_problem_and_no_stream(backend: FakeBackend) -> None:
    response = Client(backend)("GET", "/events?colour=red", Accept=STREAM)
    assert response.follow is None
    assert problem(response)["status"] == 400


def test_head_tells_the_type_only(backend: FakeBackend) -> None:
    response = Client(backend)("HEAD", "/events", Accept=STREAM)
    assert (response.status, response.follow) == (200, None)


def test_the_list_has_the_same_filters(backend: FakeBackend) -> None:
    client = Client(backend)
    assert [e["id"] for e in client.get("/events?xtr=xtr-west")["items"]] == [1, 2, 3]
    assert client.get("/events?xtr=xtr-east")["items"] == []
    assert [e["id"] for e in client.get("/events?site=east")["items"]] == [1, 2, 3]
