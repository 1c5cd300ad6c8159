"""The map-cache as routers print it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.text import Text

from lisp_sdn.cli._output import remaining, state, uptime

_COLUMNS = ("Locator", "Uptime", "State", "Pri/Wgt")


def map_cache_lines(xtr: str, entries: Iterable[dict[str, Any]], now: float) -> Iterator[Text]:
    """A headline and the entries of one xTR. now: epoch seconds."""
    count = 0
    for entry in entries:
        if count == 0:
            yield Text(f"LISP map-cache of xTR {xtr}", style="bold")
        count += 1
        yield from _entry(entry, now)
    if count == 0:
        yield Text(f"LISP map-cache of xTR {xtr}: empty")


def _entry(entry: dict[str, Any], now: float) -> Iterator[Text]:
    complete = "complete" if entry["complete"] else "incomplete"
    line = (
        f"{entry['eid']}, uptime: {uptime(entry['created'], now)}, "
        f"expires: {remaining(entry['expires'], now)}, via {entry['via']}, {complete}"
    )
    yield Text(line, style="yellow" if entry["negative"] or not entry["complete"] else "")
    if entry["negative"]:
        yield Text(f"  Negative cache entry, action: {entry['action']}", style="yellow")
    elif not entry["complete"]:
        yield Text("  Map-Request sent, no Map-Reply yet", style="yellow")
    if entry["rule"] is not None:
        yield Text(f"  Policy rule: {entry['rule']}")
    if entry["locators"]:
        yield from _locators(entry["locators"], now)


def _locators(locators: list[dict[str, Any]], now: float) -> Iterator[Text]:
    width = max(len(_COLUMNS[0]), *(len(entry["rloc"]) for entry in locators))
    yield Text(f"  {_COLUMNS[0]:<{width}}  {_COLUMNS[1]:<9} {_COLUMNS[2]:<12} {_COLUMNS[3]}")
    for entry in locators:
        yield Text.assemble(
            f"  {entry['rloc']:<{width}}  {uptime(entry['since'], now):<9} ",
            state(entry["state"]),
            " " * (12 - len(entry["state"])),
            f" {entry['priority']:>3}/{entry['weight']}",
        )
