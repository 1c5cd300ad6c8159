"""How lispctl prints: tables and text for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDE = 500
"""Columns when the output is not a terminal: a program reads it, and nothing is cut."""


def console() -> Console:
    """The console of stdout. Markup is off: "[42]" is an instance-ID."""
    found = Console(markup=False, highlight=False, emoji=False)
    if found.is_terminal:
        return found
    return Console(markup=False, highlight=False, emoji=False, width=WIDE)


def print_json(document: object) -> None:
    """One document."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_json_list(items: Iterable[object]) -> None:
    """A JSON array, one element a line; a million elements need no more memory than one."""
    count = 0
    for count, item in enumerate(items, 1):
        sys.stdout.write(("[\n " if count == 1 else ",\n ") + json.dumps(item))
    # Only now: when the first answer is a refusal, nothing was printed.
    sys.stdout.write("\n]\n" if count else "[\n]\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, or the sentence that there is nothing."""
    console().print(grid(columns, rows, empty))


def grid(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    empty: str,
    whole: Container[str] = (),
) -> RenderableType:
    """A table, or the sentence that there is nothing. Numbers are set to the right.

    whole: columns that are not folded when it gets narrow.
    """
    shown = list(rows)
    if not shown:
        return Text(empty)
    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in shown)
        side: Literal["left", "right"] = "right" if numeric else "left"
        made.add_column(name, justify=side, overflow="fold", no_wrap=name in whole)
    for row in shown:
        made.add_row(*(cell if isinstance(cell, Text) else Text(text(cell)) for cell in row))
    return made


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Name and value, one pair a line."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value if isinstance(value, Text) else text(value))
    console().print(made)


def at_most(items: Iterator[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
    """The first entries, and a word on stderr when there are more. limit: 0 for all."""
    if limit == 0:
        yield from items
        return
    yield from islice(items, limit)
    if next(items, None) is not None:
        sys.stderr.write(f"more than {limit} entries; see --limit\n")


def text(value: object) -> str:
    """A value as a person reads it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text(entry) for entry in value) or "-"
    return str(value)


def state(name: str) -> Text:
    """An RLOC or switch state in its colour."""
    colours = {"up": "green", "yes": "green", "connected": "green", "unknown": "yellow"}
    return Text(name, style=colours.get(name, "red"))


def seconds_since(time: str | None, now: float) -> float | None:
    """Seconds from an RFC 3339 time until now."""
    return None if time is None else now - datetime.fromisoformat(time).timestamp()


def duration(seconds: float | None, missing: str = "never") -> str:
    """As routers print it: 11:47:25, 3d04h, 2w3d."""
    if seconds is None:
        return missing
    whole = max(int(seconds), 0)
    days, rest = divmod(whole, 86400)
    if days >= 7:
        return f"{days // 7}w{days % 7}d"
    if days:
        return f"{days}d{rest // 3600:02}h"
    return f"{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"


def uptime(time: str | None, now: float) -> str:
    """How long ago."""
    return duration(seconds_since(time, now), "-")


def remaining(time: str | None, now: float) -> str:
    """How long until."""
    passed = seconds_since(time, now)
    return duration(None if passed is None else -passed)
