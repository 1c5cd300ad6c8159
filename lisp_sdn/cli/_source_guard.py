"""The verdicts of a source guard as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.text import Text

from lisp_sdn.cli._output import uptime


def source_guard_lines(
    xtr: str, mode: str, entries: Iterable[dict[str, Any]], now: float
) -> Iterator[Text]:
    """A headline and the verdicts of one xTR. now: epoch seconds."""
    listed = list(entries)
    noun = "verdict" if len(listed) == 1 else "verdicts"
    yield Text(f"Source guard of xTR {xtr}, mode {mode}: {len(listed) or 'no'} {noun}", "bold")
    origins = [entry["port"] or entry["rloc"] for entry in listed]
    eids = max((len(entry["eid"]) for entry in listed), default=0)
    width = max(map(len, origins), default=0)
    for entry, origin in zip(listed, origins, strict=True):
        verdict = entry["reason"] or "allowed"
        count = f", {entry['packets']} packets" if entry["refused"] else ""
        yield Text(
            f"  {entry['eid']:<{eids}}  from {origin:<{width}}  {verdict}, "
            f"via {entry['via']}, {uptime(entry['since'], now)}{count}",
            style="red" if entry["refused"] else "",
        )
