"""`lispctl watch`: what happens, as it happens, and the network as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from lisp_sdn.cli._client import Unreachable
from lisp_sdn.cli._context import Session, command
from lisp_sdn.cli._listing import pairs
from lisp_sdn.cli._network import network
from lisp_sdn.cli._output import console
from lisp_sdn.cli._stream import follow


@click.group()
def watch() -> None:
    """Watch what happens, until interrupted."""


@watch.command("events")
@click.option("--kind", help="Only this kind, for instance rloc, or map-cache.added.")
@click.option("--subject", help="Only about this EID, RLOC, ...")
@click.option("--site", metavar="NAME", help="Only what concerns this site.")
@click.option("--xtr", metavar="NAME", help="Only what concerns this xTR.")
@command
def watch_events(session: Session, /, **query: object) -> None:
    """Watch registrations, mappings, policies, map-caches, RLOCs and refusals change."""
    for event, entry in follow(session.client, query, _away):
        if event == "overflow":
            click.echo(f"{entry['lost']} events came faster than they were read", err=True)
        elif session.as_json:
            console().print(json.dumps(entry), soft_wrap=True, markup=False, highlight=False)
        else:
            row = (entry["time"], entry["kind"], entry["subject"], pairs(entry["data"]))
            console().print("  ".join(row), soft_wrap=True, markup=False)


def _away(reason: str) -> None:
    click.echo(f"{reason}; trying again", err=True)


@watch.command("network")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--count", type=click.IntRange(min=1), help="Looks; without it until interrupted.")
@command
def watch_network(session: Session, interval: float, count: int | None) -> None:
    """Watch the uplinks of every site and who sends to whom, as a live table.

    Offered is the part of the flows that an uplink gets from a requester of whom nothing is known;
    Measured the part of the octets that came in by it.
    """
    looks = _looks(session, interval, count)
    out = console()
    if session.as_json:
        for document, _ in looks:
            out.print(json.dumps(document), soft_wrap=True)
    elif not out.is_terminal:
        for document, _ in looks:
            out.print(network(document, session.now))
    else:
        with Live(console=out, screen=count is None, auto_refresh=False) as live:
            for document, trouble in looks:
                shown = network(document, session.now)
                live.update(Group(shown, Text(trouble, style="red")), refresh=True)


def _looks(session: Session, interval: float, count: int | None) -> Iterator[tuple[Any, str]]:
    """The network again and again, with why the last one is old if it is.

    Raises Unreachable when the controller does not answer the first time.
    """
    document, trouble = session.client.get("/topology"), ""
    while True:
        yield document, trouble
        if count is not None:
            count -= 1
            if not count:
                return
        time.sleep(interval)
        try:
            document, trouble = session.client.get("/topology"), ""
        except Unreachable as error:
            trouble = f"! {error}; this is how it was"
