"""A list of the REST interface as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lisp_sdn.cli._client import Waiting
from lisp_sdn.cli._context import Session
from lisp_sdn.cli._output import at_most, print_json_list, table, text

Entry = Mapping[str, Any]


def listing(
    session: Session,
    path: str,
    columns: Sequence[str],
    row: Callable[[Entry], Sequence[object]],
    *,
    empty: str,
    limit: int = 0,
    query: Mapping[str, object] | None = None,
) -> None:
    """Print a list. limit: entries at most, 0 for all; empty: the sentence for none."""
    items = at_most(session.client.pages(path, **(query or {})), limit)
    if session.as_json:
        print_json_list(items)
        return
    with Waiting("reading") as waiting:
        rows = []
        for item in items:
            rows.append(row(item))
            if len(rows) % 1000 == 0:
                waiting.update(f"reading: {len(rows)} entries")
    table(columns, rows, empty)


def locators(entry: Entry) -> str:
    """An RLOC-set in one cell, or the action of a negative mapping."""
    if not entry["locators"]:
        return f"negative: {entry['action']}"
    return "\n".join(
        f"{item['rloc']} {item['priority']}/{item['weight']}" for item in entry["locators"]
    )


def pairs(data: Mapping[str, Any]) -> str:
    """Data of an event or labels of a counter in one cell."""
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in data.items()
    )


def words(value: object) -> str:
    """A list in one cell, one entry a line."""
    return "\n".join(map(text, value)) or "-" if isinstance(value, list) else text(value)
