"""What a reason means and what can be done: read from the table that documentation has."""

from __future__ import annotations

import re

PAGE = "operations.md"
"""The page of documentation; it is installed with the package."""

_ROW = re.compile(r"^\| (`[^|]*`) \| ([^|]*) \|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]*)`")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def read_hints(page: str) -> dict[str, str]:
    """Reason -> a sentence. page: docs/operations.md, whose section Reasons has one table."""
    hints = {}
    for names, meaning in _ROW.findall(page.partition("## Reasons")[2]):
        sentence = _LINK.sub(r"\1", meaning).replace("`", "").strip()
        hints.update(dict.fromkeys(_CODE.findall(names), sentence))
    return hints
