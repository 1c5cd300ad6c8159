"""`lispctl show ...`: everything that can be looked at."""

from __future__ import annotations

import itertools

import click

from lisp_sdn.cli._client import segment
from lisp_sdn.cli._context import Session, command, iid_option, limit_option
from lisp_sdn.cli._map_cache import map_cache_lines
from lisp_sdn.cli._output import at_most, console, print_json_list


@click.group()
def show() -> None:
    """Show sites, registrations, mappings, map-caches, refusals, events, ..."""


@show.command("map-cache")
@click.argument("eid", required=False)
@click.option("--xtr", metavar="NAME", help="Only of this xTR.")
@iid_option
@limit_option
@command
def map_cache(
    session: Session, eid: str | None, xtr: str | None, iid: int | None, limit: int
) -> None:
    """Show what the switches forward by; with EID, the entries that cover it."""
    client = session.client
    names = [xtr] if xtr else [entry["name"] for entry in client.pages("/xtrs")]
    query = {"covering": eid, "iid": iid}
    if session.as_json:
        lists = (
            ({"xtr": name, **entry} for entry in client.pages(_path(name), **query))
            for name in names
        )
        print_json_list(itertools.chain.from_iterable(lists))
        return
    out = console()
    for name in names:
        entries = at_most(client.pages(_path(name), **query), limit)
        first = next(entries, None)
        found = itertools.chain([first], entries) if first else ()
        for line in map_cache_lines(name, found, session.now):
            out.print(line, soft_wrap=True)


def _path(xtr: str) -> str:
    return f"/xtrs/{segment(xtr)}/map-cache"
