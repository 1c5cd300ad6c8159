"""Server-sent events as a client reads them (HTML Standard section 9.2), with coming back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lisp_sdn.cli._client import Client, Unreachable

RETRY = 2.0
"""Seconds until coming back to a controller that went away."""


def messages(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(id, event, data) of every message; data is "" for one that only moves the id.

    Of several data lines the last counts: a controller sends one.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields or "id" in fields:
                yield fields.get("id", ""), fields.get("event", "message"), fields.get("data", "")
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def follow(
    client: Client,
    query: dict[str, object],
    away: Callable[[str], None],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, Any]]:
    """(event, document) of what happens from now on, until the program ends.

    away: told why, when a connection that once was there is gone; it is tried again and goes on
    where it was. Raises Refused, and Unreachable when there is no first connection.
    """
    last: str | None = None
    connected = False
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            lines = client.lines("/events", query=query, headers=headers)
            for name, event, data in messages(lines):
                connected = True
                last = name or last
                if data:
                    yield event, json.loads(data)
            reason = "the controller ended the stream"
        except Unreachable as error:
            if not connected:
                raise
            reason = str(error)
        away(reason)
        pause(RETRY)
