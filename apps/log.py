"""Log lines: one for each thing worth knowing, few enough to read whatever the network does.

As text for people, or as JSON, one document a line, with the same message and its parts by name.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.config import LogSettings

LOGGER = logging.getLogger("lisp_sdn")
"""The edges' logger; ryu-manager's options choose where it goes."""

BURST = 10
PERIOD = 10.0
MAX_KEYS = 1_000


def configure(settings: LogSettings) -> None:
    """Set level and format. The format is that of all that ryu-manager writes, Ryu's own lines too:

    what reads the log must not meet two.
    """
    LOGGER.setLevel(settings.level.upper())
    for handler in logging.getLogger().handlers:
        json_now = isinstance(handler.formatter, JsonFormatter)
        if settings.format == "json" and not json_now:
            handler.setFormatter(JsonFormatter(handler.formatter))
        elif settings.format == "text" and isinstance(handler.formatter, JsonFormatter):
            handler.setFormatter(handler.formatter.text)


class JsonFormatter(logging.Formatter):
    """One JSON document a line: time (RFC 3339, UTC), level, logger, message, and its parts.

    text: the formatter that it stands in for.
    """

    def __init__(self, text: logging.Formatter | None = None) -> None:
        super().__init__()
        self.text = text

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        time = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        parts = getattr(record, "parts", None)
        if isinstance(parts, Mapping):
            line.update(parts)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    suppressed: int = 0


class LimitedLog:
    """Writes at most `burst` lines about one thing in `period` seconds, and counts the rest.

    What was left out is told with the next line about the same thing, and every one of them is
    in the counters and the event stream all the same.
    """

    def __init__(self, *, burst: int = BURST, period: float = PERIOD) -> None:
        self._burst = burst
        self._period = period
        self._windows: dict[tuple[str, str], _Window] = {}

    def dropped(self, dropped: Dropped, now: float) -> None:
        """One line for a drop or refusal, by component and reason."""
        more = self._admit((dropped.where, dropped.reason), now)
        if more is None:
            return
        source = f" from {dropped.source}" if dropped.source else ""
        detail = f": {dropped.detail}" if dropped.detail else ""
        parts = {
            "where": dropped.where,
            "reason": dropped.reason,
            "source": dropped.source,
            "detail": dropped.detail,
        }
        text = _line(f"{dropped.where}: dropped {dropped.reason}{source}{detail}")
        _write(logging.WARNING, text, parts, more)

    def event(self, event: Event, now: float, count: int = 1) -> None:
        """One line for an event, by kind. count: it stands for so many."""
        more = self._admit(("event", event.kind), now, count)
        if more is not None:
            parts = {"kind": event.kind, "subject": event.subject, "data": dict(event.data)}
            text = _line(f"{event.kind} {event.subject}{_pairs(event.data)}")
            _write(logging.INFO, text, parts, more)

    def _admit(self, key: tuple[str, str], now: float, count: int = 1) -> int | None:
        """How many were left out since the last line; None to leave this one out.

        count: one line for so many.
        """
        window = self._windows.get(key)
        if window is None or not 0 <= now - window.began < self._period:
            suppressed = window.suppressed if window else 0
            if window is None and len(self._windows) >= MAX_KEYS:
                self._windows.clear()
            self._windows[key] = _Window(now, 1, count - 1)
            return suppressed
        if window.lines >= self._burst:
            window.suppressed += count
            return None
        window.suppressed += count - 1
        window.lines += 1
        return 0


def _write(level: int, text: str, parts: Mapping[str, object], suppressed: int) -> None:
    more = f" ({suppressed} more like the last)" if suppressed else ""
    given = {key: value for key, value in parts.items() if value not in ("", {})}
    if suppressed:
        given["suppressed"] = suppressed
    LOGGER.log(level, "%s%s", text, more, extra={"parts": given})


def _line(text: str) -> str:
    """In one line, whatever a peer had us quote."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _pairs(data: Mapping[str, object]) -> str:
    return "".join(f" {key}={value}" for key, value in data.items())
