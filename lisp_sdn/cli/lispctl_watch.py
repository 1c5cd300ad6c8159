"""`lispctl watch`: what happens, as it happens."""

from __future__ import annotations

import json

import click

from lisp_sdn.cli._context import Session, command
from lisp_sdn.cli._listing import pairs
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
