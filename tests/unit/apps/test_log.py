"""Log lines: parts by name in JSON, one line each, no more than can be read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.apps.log import LOGGER, JsonFormatter, LimitedLog, configure
from lisp_sdn.config import load


class Lines(logging.Handler):
    """Keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def root() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger()
    level = LOGGER.level
    others = [(other, other.formatter) for other in logger.handlers]
    logger.addHandler(handler)
    LOGGER.setLevel("INFO")
    yield handler
    logger.removeHandler(handler)
    for other, formatter in others:
        other.setFormatter(formatter)
    LOGGER.setLevel(level)


def test_the_parts_of_a_refusal_by_name(root: Lines) -> None:
    root.setFormatter(JsonFormatter())
    LimitedLog().dropped(Dropped("map-server", "bad_digest", "site east", "192.0.2.7"), 1.0)
    (line,) = map(json.loads, root.lines)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "lisp_sdn",
        "message": "map-server: dropped bad_digest from 192.0.2.7: site east",
        "where": "map-server",
        "reason": "bad_digest",
        "source": "192.0.2.7",
        "detail": "site east",
    }


def test_an_event_keeps_its_data(root: Lines) -> None:
    root.setFormatter(JsonFormatter())
    LimitedLog().event(Event("rloc.down", "192.0.2.1", {"xtr": "a", "reason": "uplink"}), 1.0)
    (line,) = map(json.loads, root.lines)
    assert (line["kind"], line["subject"], line["level"]) == ("rloc.down", "192.0.2.1", "info")
    assert line["data"] == {"xtr": "a", "reason": "uplink"}


def test_a_peer_that_misbehaves_does_not_fill_the_log(root: Lines) -> None:
    limited = LimitedLog(burst=3, period=10.0)
    for number in range(100):
        limited.dropped(Dropped("x", "noise", source=f"192.0.2.{number}"), 1.0)
    limited.dropped(Dropped("x", "other"), 1.0)
    assert [line for line in root.lines if "noise" in line] == [
        f"x: dropped noise from 192.0.2.{number}" for number in range(3)
    ]
    assert root.lines[-1] == "x: dropped other"
    limited.dropped(Dropped("x", "noise", source="192.0.2.200"), 12.0)
    assert root.lines[-1] == "x: dropped noise from 192.0.2.200 (97 more like the last)"


def test_what_a_peer_sent_cannot_begin_a_line_of_its_own(root: Lines) -> None:
    LimitedLog().dropped(Dropped("x", "why", "a\nERROR forged \x1b[2J"), 1.0)
    assert root.lines == ["x: dropped why: a\\nERROR forged \\x1b[2J"]


def test_level_and_format_by_configuration(root: Lines) -> None:
    configure(load("log: {format: json, level: warning}").log)
    logging.getLogger("ryu").warning("of another %s", "library")
    LimitedLog().event(Event("map-cache.added", "10.0.0.0/8"), 1.0)
    assert [json.loads(line)["message"] for line in root.lines] == ["of another library"]


def test_a_traceback_is_in_the_same_document(root: Lines) -> None:
    root.setFormatter(JsonFormatter())
    try:
        raise ValueError("broken")
    except ValueError:
        LOGGER.exception("internal error in %s", "x")
    (line,) = map(json.loads, root.lines)
    assert "ValueError: broken" in line["traceback"]
