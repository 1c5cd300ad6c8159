"""`lispctl show alt` and `show bgp`: the Alternative Topology (RFC 6836)."""

from __future__ import annotations

import click

from lisp_sdn.cli._context import Session, command, limit_option
from lisp_sdn.cli._listing import Entry, words
from lisp_sdn.cli._output import (
    at_most,
    console,
    fields,
    print_json,
    remaining,
    state,
    table,
    uptime,
)


@click.command()
@limit_option
@command
def alt(session: Session, limit: int) -> None:
    """Show what is announced into the ALT, its tunnels and its routes."""
    document = session.client.get("/alt")
    routes = list(at_most(session.client.pages("/alt/routes"), limit))
    if session.as_json:
        print_json({**document, "best_routes": routes})
        return
    out = console()
    if document["iid"] is None:
        out.print("no alt is configured")
        return
    fields(_alt_fields(document, session.now))
    for problem in document["problems"]:
        out.print(f"! {problem}", style="red", soft_wrap=True)
    out.print()
    table(
        ("Tunnel", "Address", "Neighbour", "Remote", "State", "BGP", "Routes", "Map-Requests"),
        (_tunnel_row(entry) for entry in document["tunnels"]),
        "no tunnel: Map-Requests do not travel over the ALT",
    )
    out.print()
    table(
        ("Route", "Neighbour", "Port", "AS path", "Packets"),
        (_route_row(entry) for entry in routes),
        "no routes",
    )


def _alt_fields(document: Entry, now: float) -> list[tuple[str, object]]:
    held = [
        f"{entry['prefix']}, withdrawn in {remaining(entry['until'], now)}"
        for entry in document["held_down"]
    ]
    shown: list[tuple[str, object]] = [
        ("Instance-ID", document["iid"]),
        ("Announced", words(document["announced"])),
        ("Held down", words(held)),
        ("Routes", document["routes"]),
    ]
    if document["datapath_id"] is not None:
        shown.append(("Bridge", document["datapath_id"]))
        shown.append(("Connected", uptime(document["connected_since"], now)))
    shown += [(name, count) for name, count in document["packets"].items()]
    return shown


def _tunnel_row(entry: Entry) -> tuple[object, ...]:
    return (
        entry["port"],
        entry["address"],
        entry["neighbour"],
        entry["remote"],
        state("up" if entry["up"] else "down"),
        state("up" if entry["session_up"] else "down"),
        entry["routes"],
        entry["map_requests"],
    )


def _route_row(entry: Entry) -> tuple[object, ...]:
    path = " ".join(map(str, entry["as_path"])) or "-"
    return (entry["prefix"], entry["neighbour"], entry["port"], path, entry["packets"])


@click.command()
@command
def bgp(session: Session) -> None:
    """Show the BGP speaker and its sessions."""
    document = session.client.get("/bgp")
    if session.as_json:
        print_json(document)
        return
    out = console()
    if document["as_number"] is None:
        out.print("no bgp is configured")
        return
    fields([("AS number", document["as_number"]), ("Router ID", document["router_id"])])
    out.print()
    table(
        ("Neighbour", "AS", "Scope", "State", "Since", "Routes", "Limit", "Hold time", "MD5"),
        (_neighbour_row(entry, session.now) for entry in document["neighbours"]),
        "no neighbours",
    )


def _neighbour_row(entry: Entry, now: float) -> tuple[object, ...]:
    shown = "shut" if entry["shut"] else "up" if entry["up"] else "down"
    return (
        entry["address"],
        entry["as_number"],
        entry["scope"],
        state(shown),
        uptime(entry["since"], now),
        entry["routes"],
        entry["maximum_prefixes"],
        entry["hold_time"],
        "yes" if entry["password"] else "no",
    )
