"""Time windows of a rule: whether one is open, and when that changes (zoneinfo, wall clock).

A window is a set of wall-clock times. Where the clock jumps forward, times that do not exist open
nothing; where it falls back, a time that comes twice is open twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from lisp_sdn.policy_settings import DAYS, MINUTES_PER_DAY, TimeWindow

HORIZON_DAYS = 16
"""A window that opens on one day of the week can miss one occurrence to a clock change; two weeks
and the days around them hold every other change."""


def is_open(windows: Iterable[TimeWindow], now: float) -> bool:
    """Whether any of the windows is open. now: epoch seconds."""
    return any(_is_open(window, now) for window in windows)


def _is_open(window: TimeWindow, now: float) -> bool:
    local = datetime.fromtimestamp(now, ZoneInfo(window.zone))
    # Seconds, not minutes: the window closes at `end` sharp.
    second = local.hour * 3600 + local.minute * 60 + local.second
    start, end = window.start * 60, window.end * 60
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    if start < end:
        return today in window.days and start <= second < end
    return (today in window.days and second >= start) or (yesterday in window.days and second < end)


def next_change(windows: tuple[TimeWindow, ...], now: float) -> float | None:
    """The first epoch after `now` at which `is_open` differs from now; None for never."""
    state = is_open(windows, now)
    for moment in sorted(_candidates(windows, now)):
        if is_open(windows, moment) != state:
            return moment
    return None


def _candidates(windows: tuple[TimeWindow, ...], now: float) -> set[float]:
    """Every epoch after `now` at which a window could open or close."""
    found: set[float] = set()
    for window in windows:
        zone = ZoneInfo(window.zone)
        first = datetime.fromtimestamp(now, zone).date() - timedelta(days=1)
        for offset in range(HORIZON_DAYS + 1):
            day = first + timedelta(days=offset)
            for minutes in (window.start, window.end):
                found.update(_epochs(day, minutes, zone))
        found.update(_clock_changes(zone, now))
    return {moment for moment in found if moment > now}


def _epochs(day: date, minutes: int, zone: ZoneInfo) -> tuple[float, float]:
    """A wall-clock time as epochs: two of them where the clock falls back."""
    day += timedelta(days=minutes // MINUTES_PER_DAY)
    clock = time(minutes % MINUTES_PER_DAY // 60, minutes % 60)
    local = datetime.combine(day, clock, zone)
    return local.timestamp(), local.replace(fold=1).timestamp()


def _clock_changes(zone: ZoneInfo, now: float) -> Iterable[float]:
    """The epochs within the horizon at which the zone's offset from UTC changes."""
    for day in range(HORIZON_DAYS):
        low, high = int(now) + day * 86400, int(now) + (day + 1) * 86400
        if _offset(zone, low) == _offset(zone, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, middle) == _offset(zone, low):
                low = middle
            else:
                high = middle
        yield float(high)


def _offset(zone: ZoneInfo, moment: int) -> timedelta | None:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
