"""`lispctl show ...`: everything that can be looked at."""

from __future__ import annotations

import itertools
from typing import Any

import click

from lisp_sdn.cli._client import segment
from lisp_sdn.cli._context import Session, command, iid_option, limit_option
from lisp_sdn.cli._listing import Entry, listing, locators, pairs, words
from lisp_sdn.cli._map_cache import map_cache_lines
from lisp_sdn.cli._output import (
    at_most,
    console,
    fields,
    print_json,
    print_json_list,
    remaining,
    state,
    table,
    uptime,
)
from lisp_sdn.cli._source_guard import source_guard_lines


@click.group()
def show() -> None:
    """Show sites, registrations, mappings, map-caches, refusals, events, ..."""


@show.command()
@click.argument("name", required=False)
@command
def site(session: Session, name: str | None) -> None:
    """Show the sites, or one with what it registered."""
    if name is None:
        columns = ("Site", "EID-prefixes", "Up", "Last register", "Registrations", "xTRs")
        listing(session, "/sites", columns, _site_row(session), empty="no site is configured")
        return
    document = session.client.get(f"/sites/{segment(name)}")
    registrations = session.client.pages("/registrations", site=name)
    if session.as_json:
        print_json({**document, "registered": list(registrations)})
        return
    fields(_site_fields(document, session.now))
    console().print()
    table(
        ("EID-prefix", "RLOC Pri/Wgt", "ETR", "Up for", "Expires in"),
        (_registration_row(session)(entry) for entry in registrations),
        f"site {name} has registered nothing; see lispctl show refusals",
    )


def _site_row(session: Session) -> Any:
    def row(entry: Entry) -> tuple[object, ...]:
        return (
            entry["name"],
            words([prefix["eid"] for prefix in entry["eid_prefixes"]]),
            state("yes" if entry["registrations"] else "no"),
            uptime(entry["last_registration"], session.now),
            entry["registrations"],
            words(entry["xtrs"]),
        )

    return row


def _site_fields(document: Entry, now: float) -> list[tuple[str, object]]:
    prefixes = [
        entry["eid"] + (", accepts more-specifics" if entry["accept_more_specifics"] else "")
        for entry in document["eid_prefixes"]
    ]
    keys = [f"{key['key_id']} ({key['algorithm']})" for key in document["authentication_keys"]]
    return [
        ("Site", document["name"] + (" (shut down)" if document["shutdown"] else "")),
        ("EID-prefixes", words(prefixes)),
        ("xTRs", words(document["xtrs"])),
        ("Keys", words(keys)),
        ("Allowed RLOCs", words(document["allowed_rlocs"]) if document["allowed_rlocs"] else "any"),
        ("Proxy-reply", document["proxy_reply"]),
        ("Nonce check", document["nonce_check"]),
        ("Last register", uptime(document["last_registration"], now)),
    ]


@show.command()
@click.argument("name", required=False)
@command
def xtr(session: Session, name: str | None) -> None:
    """Show the xTRs, or one with its RLOCs and ports."""
    if name is None:
        columns = ("xTR", "Site", "Datapath", "Connected", "RLOCs", "Map-cache", "Problems")
        listing(session, "/xtrs", columns, _xtr_row(session), empty="no xTR is configured")
        return
    document = session.client.get(f"/xtrs/{segment(name)}")
    if session.as_json:
        print_json(document)
        return
    fields(_xtr_fields(document, session.now))
    out = console()
    out.print()
    table(
        ("RLOC", "State", "Since", "Pri/Wgt", "RTT"),
        (
            (
                entry["rloc"],
                state(entry["state"]),
                uptime(entry["since"], session.now),
                f"{entry['priority']}/{entry['weight']}",
                "-" if entry["rtt_seconds"] is None else f"{entry['rtt_seconds'] * 1000:.1f} ms",
            )
            for entry in document["rlocs"]
        ),
        "no RLOC",
    )
    for problem in document["problems"]:
        out.print(f"! {problem}", style="red", soft_wrap=True)


def _xtr_row(session: Session) -> Any:
    def row(entry: Entry) -> tuple[object, ...]:
        return (
            entry["name"],
            entry["site"],
            entry["datapath_id"],
            uptime(entry["connected_since"], session.now) if entry["connected"] else state("no"),
            words([f"{rloc['rloc']} {rloc['state']}" for rloc in entry["rlocs"]]),
            entry["map_cache_entries"],
            words(entry["problems"]),
        )

    return row


def _xtr_fields(document: Entry, now: float) -> list[tuple[str, object]]:
    ports = [
        f"{port['name']} [{port['iid']}] {', '.join(port['gateways'])}"
        + {True: " up", False: " down", None: " missing"}[port["up"]]
        for port in document["eid_ports"]
    ]
    return [
        ("xTR", document["name"]),
        ("Site", document["site"]),
        ("Datapath", document["datapath_id"]),
        ("Connected", uptime(document["connected_since"], now) if document["connected"] else "no"),
        ("Tunnel port", document["tunnel_port"]),
        ("EID ports", words(ports)),
        ("Registers", words(document["eid_prefixes"])),
        ("Map-Resolvers", words(document["map_resolvers"] or ["embedded"])),
        ("Map-Servers", words(document["map_servers"] or ["embedded"])),
        (
            "Rules",
            f"{document['flows']} flows, {document['groups']} groups, {document['meters']} meters",
        ),
        (
            "Waiting",
            f"{document['pending_resolutions']} resolutions, {document['held_packets']} packets",
        ),
    ]


_within = click.option("--within", metavar="EID-PREFIX", help="Only inside of this EID-prefix.")
_covering = click.option("--covering", metavar="EID", help="Only what contains this EID.")
_site = click.option("--site", "site_name", metavar="NAME", help="Only of this site.")


@show.command()
@_site
@_within
@_covering
@iid_option
@limit_option
@command
def registrations(session: Session, /, limit: int, site_name: str | None, **query: object) -> None:
    """Show what is registered at the Map-Server, by whom."""
    listing(
        session,
        "/registrations",
        ("EID-prefix", "RLOC Pri/Wgt", "ETR", "Up for", "Expires in", "Site"),
        lambda entry: (*_registration_row(session)(entry), entry["site"]),
        empty="nothing is registered; see lispctl show refusals",
        limit=limit,
        query={**query, "site": site_name},
    )


def _registration_row(session: Session) -> Any:
    def row(entry: Entry) -> tuple[object, ...]:
        rlocs = [f"{e['rloc']} {e['priority']}/{e['weight']}" for e in entry["locators"]]
        return (
            entry["eid"],
            words(rlocs),
            entry["xtr"] or entry["etr"],
            uptime(entry["registered"], session.now),
            remaining(entry["expires"], session.now),
        )

    return row


@show.command()
@_site
@_within
@_covering
@click.option("--origin", type=click.Choice(["static", "registered"]), help="Only these.")
@iid_option
@limit_option
@command
def mappings(session: Session, /, limit: int, site_name: str | None, **query: object) -> None:
    """Show the mapping database."""
    listing(
        session,
        "/mappings",
        ("EID-prefix", "RLOC Pri/Wgt", "TTL min", "Origin", "Site"),
        lambda entry: (
            entry["eid"],
            locators(entry),
            entry["ttl_minutes"],
            entry["origin"],
            entry["site"],
        ),
        empty="no mapping",
        limit=limit,
        query={**query, "site": site_name},
    )


@show.command("map-requests")
@click.argument("xtr_name", metavar="XTR")
@command
def map_requests(session: Session, xtr_name: str) -> None:
    """Show the newest Map-Requests of an xTR and what they were answered."""
    items = session.client.get(f"/xtrs/{segment(xtr_name)}/map-requests")["items"]
    if session.as_json:
        print_json_list(items)
        return
    rows = (
        (
            uptime(entry["time"], session.now),
            words(entry["eids"]),
            entry["source_eid"],
            words(entry["itr_rlocs"]),
            _answers(entry["answers"]),
        )
        for entry in items
    )
    table(("Ago", "EID", "Source EID", "ITR-RLOC", "Map-Reply"), rows, "no Map-Request yet")


def _answers(answers: list[Entry] | None) -> str:
    if answers is None:
        return "none yet"
    return "\n".join(f"{answer['eid']} {locators(answer)}" for answer in answers)


@show.command()
@click.argument("xtr_name", metavar="XTR")
@click.option("--table", "table_id", type=click.IntRange(0, 254), help="Only this table.")
@limit_option
@command
def flows(session: Session, xtr_name: str, table_id: int | None, limit: int) -> None:
    """Show the flows that the switch of an xTR should hold."""
    listing(
        session,
        f"/xtrs/{segment(xtr_name)}/flows",
        ("Table", "Priority", "Match", "Actions", "For"),
        lambda entry: (
            entry["table"],
            entry["priority"],
            pairs(entry["match"]),
            _actions(entry),
            entry["owner"],
        ),
        empty="no flow",
        limit=limit,
        query={"table": table_id},
    )


def _actions(entry: Entry) -> str:
    shown = [f"meter:{entry['meter']}"] if entry["meter"] is not None else []
    for action in entry["actions"]:
        arguments = ",".join(f"{key}={value}" for key, value in action["arguments"].items())
        shown.append(f"{action['type']}({arguments})")
    if entry["metadata"] is not None:
        shown.append(f"metadata:{entry['metadata']}")
    if entry["goto"] is not None:
        shown.append(f"goto:{entry['goto']}")
    return " ".join(shown) or "drop"


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
    if not names:
        out.print("no xTR is configured")
    for name in names:
        entries = at_most(client.pages(_path(name), **query), limit)
        first = next(entries, None)
        found = itertools.chain([first], entries) if first else ()
        for line in map_cache_lines(name, found, session.now):
            out.print(line, soft_wrap=True)


@show.command("source-guard")
@click.option("--xtr", metavar="NAME", help="Only of this xTR.")
@click.option("--refused", is_flag=True, help="Only sources that are refused.")
@iid_option
@limit_option
@command
def source_guard(
    session: Session, xtr: str | None, refused: bool, iid: int | None, limit: int
) -> None:
    """Show who may send for which source EID, and who is refused."""
    client = session.client
    names = [xtr] if xtr else [entry["name"] for entry in client.pages("/xtrs")]
    query = {"iid": iid, "refused": "true" if refused else None}
    paths = {name: f"/xtrs/{segment(name)}/source-guard" for name in names}
    if session.as_json:
        lists = (
            ({"xtr": name, **entry} for entry in client.pages(path, **query))
            for name, path in paths.items()
        )
        print_json_list(itertools.chain.from_iterable(lists))
        return
    out = console()
    if not names:
        out.print("no xTR is configured")
    for name, path in paths.items():
        mode = client.get(path, limit=1)["mode"]
        entries = at_most(client.pages(path, **query), limit)
        for line in source_guard_lines(name, mode, entries, session.now):
            out.print(line, soft_wrap=True)


def _path(xtr: str) -> str:
    return f"/xtrs/{segment(xtr)}/map-cache"
