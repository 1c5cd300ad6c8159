"""Negative prefixes: the widest one that contains no known EID (RFC 9301 section 8.4).

"Known" is what any table of an instance-ID and family holds: registered, configured, static, and
keyed by source EID. Prefixes of another instance-ID or family never matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Neighbours(Protocol):
    """What is needed of a table; see `table.PrefixTable.free_length`."""

    def free_length(self, code: int) -> int | None:
        """Length of the widest prefix around `code` that nothing here is inside of."""


def free_length(code: int, tables: Iterable[Neighbours], floor: int = 0) -> int | None:
    """Length of the widest prefix around `code` that no known prefix is inside of.

    It stays inside every known prefix that covers `code`, and is at least `floor` bits long. None
    when something known is inside `code` itself. O(log n) in the number of known prefixes.
    """
    widest = floor
    for table in tables:
        length = table.free_length(code)
        if length is None:
            return None
        widest = max(widest, length)
    return widest
