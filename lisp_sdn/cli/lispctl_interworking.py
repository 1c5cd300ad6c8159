"""`lispctl show petr`: where LISP meets the rest of the Internet."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lisp_sdn.cli._context import Session, command
from lisp_sdn.cli._listing import Entry, words
from lisp_sdn.cli._output import console, print_json, state, table, uptime


@click.command()
@command
def petr(session: Session) -> None:
    """Show Proxy-ETRs, Proxy-ITRs with their BGP announcements, and native ports."""
    document = session.client.get("/interworking")
    if session.as_json:
        print_json(document)
        return
    table(
        ("IID", "PETR", "Pri/Wgt", "When", "xTR", "ITR", "State", "RTT"),
        (row for entry in document["petrs"] for row in _petr_rows(entry)),
        "no Proxy-ETR is used",
    )
    out = console()
    out.print()
    table(
        ("Proxy-ITR", "IID", "Port", "State", "Since", "EID-prefix", "Next hop", "Announced"),
        (row for entry in document["proxy_itrs"] for row in _pitr_rows(entry, session.now)),
        "no xTR is a Proxy-ITR",
    )
    out.print()
    table(
        ("xTR", "IID", "Native port", "Up", "In", "Out", "PETR out", "PETR for", "Refused"),
        (_native_row(entry) for entry in document["native_ports"]),
        "no xTR has a native port",
    )


def _petr_rows(entry: Entry) -> Iterator[tuple[object, ...]]:
    head = (
        entry["iid"],
        entry["rloc"],
        f"{entry['priority']}/{entry['weight']}",
        entry["when"],
        entry["xtr"],
    )
    if not entry["users"]:
        yield (*head, "-", "-", "-")
    for user in entry["users"]:
        rtt = user["rtt_seconds"]
        shown = "-" if rtt is None else f"{rtt * 1000:.1f} ms"
        yield (*head, user["xtr"], state(user["state"]), shown)


def _pitr_rows(entry: Entry, now: float) -> Iterator[tuple[object, ...]]:
    health = "up" if entry["healthy"] else entry["reason"]
    head = (
        entry["xtr"],
        entry["iid"],
        entry["port"],
        state(health),
        uptime(entry["since"], now),
    )
    for announcement in entry["announcements"]:
        announced = state("yes" if announcement["announced"] else "no")
        yield (*head, announcement["prefix"], announcement["next_hop"], announced)


def _native_row(entry: Entry) -> tuple[object, ...]:
    up = {True: "yes", False: "no", None: "missing"}[entry["up"]]
    refused = entry["refused"]["packets"] + entry["petr_refused"]["packets"]
    return (
        entry["xtr"],
        entry["iid"],
        entry["port"],
        state(up),
        entry["received"]["packets"],
        entry["sent"]["packets"],
        entry["petr_sent"]["packets"],
        words(entry["proxy_etr"]),
        refused,
    )
