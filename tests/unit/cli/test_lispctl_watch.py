"""lispctl watch events: the stream as a person and as a program read it, also across a restart."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest
from lispctl_server import Controller, run, serving

from lisp_sdn.cli import lispctl_watch
from lisp_sdn.cli._client import Client, Refused, Unreachable
from lisp_sdn.cli._context import Session
from lisp_sdn.cli._network import bits
from lisp_sdn.cli._stream import follow, messages
from lisp_sdn.views import EventEntry

from api_fake import NOW, FakeBackend, filled  # isort: skip


class Ended(Exception):
    """Enough was seen."""


@pytest.fixture
def backend() -> FakeBackend:
    return filled()


@pytest.fixture
def controller(backend: FakeBackend) -> Iterator[Controller]:
    with serving(backend) as made:
        yield made


def test_messages() -> None:
    text = [
        "retry: 2000",
        "",
        ": still here",
        "",
        "id: 7-1",
        "data: {}",
        "",
        "event: overflow",
        'data: {"lost": 3}',
        "",
        ": still here",
        "id: 7-9",
        "",
        "data: never ended",
    ]
    assert list(messages(text)) == [
        ("7-1", "message", "{}"),
        ("", "overflow", '{"lost": 3}'),
        ("7-9", "message", ""),
    ]


def test_it_goes_on_where_it_was(controller: Controller, backend: FakeBackend) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        backend.happened.append(
            EventEntry(3 + len(pauses), NOW, "rloc.down", "192.0.2.1", {"xtr": "xtr-east"})
        )
        if len(pauses) == 3:
            raise Ended

    reasons: list[str] = []
    seen: list[int] = []

    def read() -> None:
        for _, event in follow(Client(controller.url), {"after": 1}, reasons.append, pause=pause):
            seen.append(event["id"])

    with pytest.raises(Ended):
        read()
    assert seen == [2, 3, 4, 5]
    assert reasons == ["the controller ended the stream"] * 3
    sent = [{k.lower(): v for k, v in headers.items()} for _, _, headers in controller.seen]
    places = [headers.get("last-event-id", "-none").rpartition("-")[2] for headers in sent]
    assert places == ["none", "3", "4"]


def test_a_mistake_ends_it(controller: Controller) -> None:
    with pytest.raises(Refused):
        next(follow(Client(controller.url), {"colour": "red"}, print))


def test_no_controller_is_told_at_once() -> None:
    with pytest.raises(Unreachable):
        next(follow(Client("http://127.0.0.1:9"), {}, print))
    assert run("--url", "http://127.0.0.1:9", "watch", "events").exit_code == 3


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch, backend: FakeBackend) -> None:
    """Something happens as soon as the first connection ended; the second is the last."""
    turns = iter((False, True))

    def pause(_: float) -> None:
        backend.happened.append(EventEntry(4, NOW, "rloc.down", "192.0.2.1", {"xtr": "xtr-east"}))
        if next(turns):
            raise KeyboardInterrupt

    monkeypatch.setattr(lispctl_watch, "follow", functools.partial(follow, pause=pause))


@pytest.mark.usefixtures("once")
def test_lines_for_people(controller: Controller, backend: FakeBackend) -> None:
    backend.happened.clear()
    backend.happened.append(EventEntry(1, NOW, "site.here", "x"))
    done = controller("watch", "events", "--kind", "rloc", "--xtr", "xtr-east")
    assert "rloc.down  192.0.2.1  xtr=xtr-east" in done.stdout
    assert "site.here" not in done.stdout
    assert done.exit_code == 130
    assert "Aborted" not in done.stderr
    assert "trying again" in done.stderr
    path = controller.seen[0][1]
    assert "kind=rloc" in path
    assert "xtr=xtr-east" in path


@pytest.mark.usefixtures("once")
def test_json_for_programs(controller: Controller, backend: FakeBackend) -> None:
    backend.happened.clear()
    done = controller("--json", "watch", "events")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert lines
    assert {line["kind"] for line in lines} == {"rloc.down"}


def test_the_network_as_a_table(controller: Controller) -> None:
    shown = controller("watch", "network", "--count", "1")
    assert shown.exit_code == 0, shown.output
    head, *rows = shown.stdout.splitlines()
    assert head.split() == ["Site", "RLOC", "State", "Since", "Pri/Wgt", "Offered",
                            "Measured", "Inbound"]  # fmt: skip
    topology = Client(controller.url).get("/topology")
    for site in topology["sites"]:
        for uplink in site["uplinks"]:
            (row,) = (line.split() for line in rows if line.split()[1:2] == [uplink["rloc"]])
            assert row[0] == site["name"]
            assert f"{uplink['priority']}/{uplink['weight']}" in row
    for xtr in topology["xtrs"]:
        if not xtr["connected"]:
            assert f"! xtr {xtr['name']}: its switch is not connected" in rows


def test_the_network_for_a_program(controller: Controller) -> None:
    shown = controller("watch", "network", "--count", "2", "--interval", "0.2", "--json")
    assert shown.exit_code == 0
    first, second = map(json.loads, shown.stdout.splitlines())
    assert first == second == Client(controller.url).get("/topology")


def test_a_controller_that_goes_away_leaves_the_last_picture(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(Client(controller.url))
    looks = lispctl_watch._looks(session, 0.0, 3)
    document, trouble = next(looks)
    assert trouble == ""
    monkeypatch.setattr(session.client, "url", "http://127.0.0.1:9")
    again, trouble = next(looks)
    assert again == document
    assert trouble.startswith("! no answer from http://127.0.0.1:9")
    monkeypatch.setattr(session.client, "url", controller.url)
    assert next(looks) == (document, "")
    assert next(looks, None) is None


@pytest.mark.parametrize(
    ("octets", "told"),
    [(None, None), (0, "0 bit/s"), (100, "800 bit/s"), (1e6, "8 Mbit/s"), (2.5e9, "20 Gbit/s")],
)
def test_rates(octets: float | None, told: str | None) -> None:
    assert bits(octets) == told
