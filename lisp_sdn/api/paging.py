"""Long lists in pages: memory and work of one request are bounded, whatever the list's length.

A cursor names the last entry of a page by its sort key, so that a list that changes between two
pages neither repeats nor skips what stayed.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import Field

from lisp_sdn.api.fields import Query
from lisp_sdn.api.http import Problem

T = TypeVar("T")
Key = tuple[int | str, ...]

MAX_LIMIT = 1000
MAX_SCAN = 20_000
"""Entries looked at for one page. A filter that fits few may end a page early, with a cursor."""


class Paging(Query):
    """The query parameters of every list."""

    limit: int = Field(default=100, ge=1, le=MAX_LIMIT, description="entries in one page")
    after: str | None = Field(
        default=None, max_length=4096, description="the cursor `next` of the page before"
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries, and the cursor of what follows: None at the end."""

    items: list[T]
    next: str | None


def encode_cursor(key: Key) -> str:
    """A cursor that is safe in a URL."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(text: str, like: tuple[type, ...]) -> Key:
    """Inverse of `encode_cursor`. like: the types of the key's parts. Raises Problem (400)."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError):
        raise _bad_cursor(text) from None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(like):
        raise _bad_cursor(text)
    return tuple(parts)


def _bad_cursor(text: str) -> Problem:
    detail = f"after: {text!r} is not a cursor; expected the `next` of a page before"
    return Problem("bad-query", detail, [{"parameter": "after", "detail": detail}])


def page_sorted(
    entries: Iterable[T],
    key: Callable[[T], Key],
    limit: int,
    after: Key | None,
    keep: Callable[[T], bool] = lambda entry: True,
) -> Page[T]:
    """A page of entries that come in the order of `key`, begun at or before the cursor."""
    items: list[T] = []
    last: Key | None = None
    for scanned, entry in enumerate(entries):
        entry_key = key(entry)
        if after is not None and entry_key <= after:
            continue
        if last is not None and (len(items) == limit or scanned >= MAX_SCAN):
            return Page(items, encode_cursor(last))
        if keep(entry):
            items.append(entry)
        last = entry_key
    return Page(items, None)


def page_unsorted(
    entries: Iterable[T],
    key: Callable[[T], Key],
    limit: int,
    after: Key | None,
    keep: Callable[[T], bool] = lambda entry: True,
) -> Page[T]:
    """A page of a bounded collection in any order; memory of one page, time of the whole."""
    fitting = (entry for entry in entries if (after is None or key(entry) > after) and keep(entry))
    items = heapq.nsmallest(limit + 1, fitting, key=key)
    more = len(items) > limit
    return Page(items[:limit], encode_cursor(key(items[limit - 1])) if more else None)
