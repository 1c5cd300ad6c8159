"""`lispctl show mobile-eids`: where EIDs are that may roam."""

from __future__ import annotations

import click

from lisp_sdn.cli._context import Session, command, iid_option, limit_option
from lisp_sdn.cli._listing import Entry, listing
from lisp_sdn.cli._output import remaining, state, uptime
from lisp_sdn.cli.lispctl_show import show

STATES = ("home", "stretched", "away", "held-down", "duplicate")


@show.command("mobile-eids")
@click.option("--xtr", metavar="NAME", help="Only those that are at this xTR.")
@click.option("--state", type=click.Choice(STATES), help="Only these.")
@click.option("--within", metavar="EID-PREFIX", help="Only inside of this EID-prefix.")
@click.option("--covering", metavar="EID", help="Only this EID.")
@iid_option
@limit_option
@command
def mobile_eids(session: Session, /, limit: int, **query: object) -> None:
    """Show where EIDs are that may roam, since when, and how often they moved."""

    def row(entry: Entry) -> tuple[object, ...]:
        return (
            entry["eid"],
            entry["xtr"],
            entry["port"],
            entry["mac"],
            state(entry["state"]),
            uptime(entry["since"], session.now),
            uptime(entry["seen"], session.now),
            entry["moves"],
            _note(entry, session.now),
        )

    listing(
        session,
        "/mobile-eids",
        ("EID", "xTR", "Port", "MAC address", "State", "Since", "Seen", "Moves", "Note"),
        row,
        empty="no EID was seen on a port that allows mobility",
        limit=limit,
        query=query,
    )


def _note(entry: Entry, now: float) -> str:
    if entry["newcomer"] is not None:
        return f"also at {entry['newcomer']}"
    if entry["held_until"] is not None:
        return f"may move in {remaining(entry['held_until'], now)}"
    return "-"
