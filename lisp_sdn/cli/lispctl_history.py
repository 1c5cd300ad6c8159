"""`lispctl show refusals`, `events`, `counters`: what happened, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click

from lisp_sdn.cli._context import Session, command, limit_option
from lisp_sdn.cli._listing import Entry, listing, pairs
from lisp_sdn.cli._output import console, print_json_list, table, uptime
from lisp_sdn.cli.lispctl_show import show

POLL = 1.0
"""Seconds between two looks when following events."""


@show.command()
@click.option("--where", metavar="COMPONENT", help="Only from this component.")
@click.option("--reason", help="Only with this reason.")
@click.option("--source", metavar="ADDRESS", help="Only from this source.")
@limit_option
@command
def refusals(session: Session, /, limit: int, **query: object) -> None:
    """Show what was dropped or refused, and why: look here when something does not work."""
    hints: dict[str, str] = {}

    def row(entry: Entry) -> tuple[object, ...]:
        if entry["hint"]:
            hints.setdefault(entry["reason"], entry["hint"])
        return (
            uptime(entry["last_seen"], session.now),
            entry["count"],
            entry["where"],
            entry["reason"],
            entry["source"],
            entry["detail"],
        )

    columns = ("Last", "Count", "Where", "Reason", "Source", "Detail")
    empty = "nothing was refused"
    listing(session, "/refusals", columns, row, empty=empty, limit=limit, query=query)
    out = console()
    if hints:
        out.print()
    for reason, hint in hints.items():
        out.print(f"{reason}: {hint}", soft_wrap=True)


@show.command()
@click.option("--kind", help="Only this kind, for instance map-cache or map-cache.added.")
@click.option("--subject", help="Only about this EID, xTR, ...")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only with a higher id.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until interrupted.")
@command
def events(
    session: Session, kind: str | None, subject: str | None, after: int, follow: bool
) -> None:
    """Show what happened, the newest last."""
    items = read_events(session, after, {"kind": kind, "subject": subject}, follow=follow)
    if follow:
        for entry in items:
            line = json.dumps(entry) if session.as_json else "  ".join(map(str, _event_row(entry)))
            console().print(line, soft_wrap=True)
    elif session.as_json:
        print_json_list(items)
    else:
        rows = map(_event_row, items)
        table(("Id", "Time", "Kind", "Subject", "Data"), rows, "nothing happened yet")


def _event_row(entry: Entry) -> tuple[object, ...]:
    return (entry["id"], entry["time"], entry["kind"], entry["subject"], pairs(entry["data"]))


def read_events(
    session: Session, after: int, query: dict[str, object], *, follow: bool
) -> Iterator[Entry]:
    """Kept events and, when following, what happens from then on."""
    while True:
        page = session.client.get("/events", after=after, limit=1000, **query)
        yield from page["items"]
        if page["next"] == after:
            if not follow:
                return
            time.sleep(POLL)
        after = page["next"]


@show.command()
@command
def counters(session: Session) -> None:
    """Show every counter."""
    items = session.client.get("/counters")["items"]
    if session.as_json:
        print_json_list(items)
        return
    rows = ((entry["name"], pairs(entry["labels"]), entry["value"]) for entry in items)
    table(("Counter", "Labels", "Value"), rows, "nothing was counted")
