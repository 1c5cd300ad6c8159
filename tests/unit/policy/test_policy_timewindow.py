"""Hours of a week on the wall clock: overnight windows, clock changes, the next change."""

from __future__ import annotations

import itertools
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from lisp_sdn.policy.timewindow import is_open, next_change
from lisp_sdn.policy_settings import TimeWindow

ATHENS = ZoneInfo("Europe/Athens")


def window(**given: object) -> TimeWindow:
    return TimeWindow.model_validate({"zone": "Europe/Athens", **given})


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ATHENS, fold=fold).timestamp()


def test_office_hours_open_and_close_sharp() -> None:
    office = window(days=["mon", "tue"], **{"from": "08:00", "to": "18:00"})
    assert not is_open((office,), at("2026-11-23T07:59:59"))
    assert is_open((office,), at("2026-11-23T08:00:00"))
    assert is_open((office,), at("2026-11-23T17:59:59"))
    assert not is_open((office,), at("2026-11-23T18:00:00"))
    assert not is_open((office,), at("2026-11-25T12:00:00"))


def test_an_overnight_window_belongs_to_the_day_it_starts_on() -> None:
    night = window(days=["fri"], **{"from": "22:00", "to": "06:00"})
    assert not is_open((night,), at("2026-11-27T05:00:00"))
    assert is_open((night,), at("2026-11-27T23:00:00"))
    assert is_open((night,), at("2026-11-28T05:59:59"))
    assert not is_open((night,), at("2026-11-28T06:00:00"))
    assert not is_open((night,), at("2026-11-28T23:00:00"))


def test_the_next_change_crosses_days_and_weeks() -> None:
    night = window(days=["fri"], **{"from": "22:00", "to": "06:00"})
    monday = at("2026-11-23T12:00:00")
    assert next_change((night,), monday) == at("2026-11-27T22:00:00")
    assert next_change((night,), at("2026-11-27T22:00:00")) == at("2026-11-28T06:00:00")
    assert next_change((night,), at("2026-11-28T06:00:00")) == at("2026-12-04T22:00:00")


def test_a_window_that_is_always_open_never_changes() -> None:
    assert next_change((window(),), at("2026-11-23T12:00:00")) is None
    halves = (window(to="12:00"), window(**{"from": "12:00"}))
    assert next_change(halves, at("2026-11-23T11:00:00")) is None


def test_unquoted_yaml_hours_are_minutes() -> None:
    import yaml

    given = yaml.safe_load("{from: 22:00, to: 06:30}")
    assert TimeWindow.model_validate(given).start == 22 * 60
    assert TimeWindow.model_validate(given).end == 6 * 60 + 30
    assert (
        TimeWindow.model_validate(given).model_dump(mode="json", by_alias=True)["from"] == "22:00"
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"from": "25:00"}, "from"),
        ({"from": "8"}, "from"),
        ({"to": "08:61"}, "to"),
        ({"to": 1441}, "to"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"days": ["someday"]}, "days"),
        ({"days": []}, "days"),
    ],
)
def test_a_bad_window_names_the_field(given: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TimeWindow.model_validate(given)
    assert caught.value.errors()[0]["loc"][0] == field


def test_a_window_without_a_span_is_refused() -> None:
    with pytest.raises(ValidationError, match="leave both out for the whole day"):
        window(**{"from": "08:00", "to": "08:00"})


@pytest.mark.parametrize(
    "given",
    [
        {"from": "03:15", "to": "03:45"},
        {"from": "02:30", "to": "03:30"},
        {"from": "03:30", "to": "04:30"},
        {"from": "23:00", "to": "03:30"},
        {"days": ["sun"], "from": "03:10", "to": "03:50"},
        {"days": ["sat"], "from": "12:00", "to": "03:30"},
    ],
)
@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_changes_around_a_clock_change_agree_with_looking_every_minute(
    given: dict[str, object], day: str
) -> None:
    """Athens jumps from 03:00 to 04:00 on 2026-03-29 and back from 04:00 on 2026-10-25."""
    windows = (window(**given),)
    start = at(f"{day}T20:00:00")
    seen = [start + minute * 60 for minute in range(14 * 60)]
    expected = [
        later
        for earlier, later in itertools.pairwise(seen)
        if is_open(windows, earlier) != is_open(windows, later)
    ]
    found, moment = [], next_change(windows, start)
    while moment is not None and moment <= seen[-1]:
        found.append(moment)
        moment = next_change(windows, moment)
    assert found == expected


def test_a_window_lost_to_a_clock_change_comes_back_a_week_later() -> None:
    gap = (window(days=["sun"], **{"from": "03:10", "to": "03:50"}),)
    before = at("2026-03-22T04:00:00")
    assert next_change(gap, before) == at("2026-04-05T03:10:00")
