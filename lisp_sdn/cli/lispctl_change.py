"""`lispctl mapping ...`, `clear ...`, `resolve`: change and ask."""

from __future__ import annotations

import ipaddress
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from lisp_sdn.cli._client import Waiting, segment
from lisp_sdn.cli._context import REFUSED, Session, command, iid_option
from lisp_sdn.cli._listing import locators
from lisp_sdn.cli._output import console, fields, print_json
from lisp_sdn.errors import LispError

CHUNK = 1000
"""Lines of an import that go into one request."""

ACTIONS = ("natively-forward", "send-map-request", "drop-no-reason", "drop-policy-denied")


@click.group()
def mapping() -> None:
    """Set, delete, import and export static mappings."""


def _rloc(context: click.Context, parameter: click.Parameter, values: Any) -> list[dict[str, Any]]:
    return [_parse_rloc(value) for value in values]


def _parse_rloc(text: str) -> dict[str, Any]:
    """Parse "RLOC" or "RLOC,PRIORITY/WEIGHT"."""
    address, comma, numbers = text.partition(",")
    try:
        shown: dict[str, Any] = {"rloc": str(ipaddress.ip_address(address))}
        if comma:
            priority, weight = numbers.split("/")
            shown |= {"priority": int(priority), "weight": int(weight)}
    except ValueError:
        raise click.BadParameter(f"{text!r}, expected RLOC or RLOC,PRIORITY/WEIGHT") from None
    return shown


@mapping.command("set")
@click.argument("eid")
@click.option(
    "--rloc",
    "rlocs",
    multiple=True,
    callback=_rloc,
    metavar="RLOC[,PRI/WGT]",
    help="An RLOC, as often as needed.",
)
@click.option("--action", type=click.Choice(ACTIONS), help="What to do instead of encapsulating.")
@click.option("--ttl-minutes", type=click.IntRange(0, 0xFFFFFFFF), default=1440, show_default=True)
@click.option("--new", is_flag=True, help="Refuse when the EID-prefix has a mapping already.")
@click.option("--if-match", metavar="ETAG", help="Refuse when it was changed since.")
@iid_option
@command
def set_mapping(
    session: Session,
    eid: str,
    rlocs: list[dict[str, Any]],
    action: str | None,
    ttl_minutes: int,
    new: bool,
    if_match: str | None,
    iid: int | None,
) -> None:
    """Add or replace the static mapping of EID, for instance "[42] 10.0.0.0/24"."""
    if bool(rlocs) == bool(action):
        raise click.UsageError("expected --rloc, or --action for a mapping without RLOCs")
    body = {"locators": rlocs, "action": action or "no-action", "ttl_minutes": ttl_minutes}
    answer = session.client.send(
        "PUT",
        f"/mappings/{segment(eid)}",
        json.dumps(body).encode(),
        query={"iid": iid},
        headers={
            **({"If-None-Match": "*"} if new else {}),
            **({"If-Match": if_match} if if_match else {}),
        },
    )
    if session.as_json:
        print_json({**answer.document, "etag": answer.headers.get("ETag")})
        return
    verb = "added" if answer.status == 201 else "replaced"
    console().print(f"{verb} {answer.document['eid']}", soft_wrap=True)


@mapping.command("delete")
@click.argument("eid")
@click.option("--if-match", metavar="ETAG", help="Refuse when it was changed since.")
@iid_option
@command
def delete_mapping(session: Session, eid: str, if_match: str | None, iid: int | None) -> None:
    """Delete the static mapping of EID."""
    session.client.send(
        "DELETE",
        f"/mappings/{segment(eid)}",
        query={"iid": iid},
        headers={"If-Match": if_match} if if_match else {},
    )
    if session.as_json:
        print_json({"deleted": eid})
        return
    console().print(f"deleted {eid}", soft_wrap=True)


@mapping.command("export")
@click.option("--within", metavar="EID-PREFIX", help="Only inside of this EID-prefix.")
@click.option("--origin", type=click.Choice(["static", "registered"]), default="static")
@iid_option
@command
def export_mappings(session: Session, /, **query: object) -> None:
    """Print mappings as JSON lines, which `import` reads."""
    for entry in session.client.pages("/mappings", limit=1000, **query):
        sys.stdout.write(json.dumps(entry) + "\n")


@mapping.command("import")
@click.argument("file", type=click.File("rb"))
@command
def import_mappings(session: Session, file: Any) -> None:
    """Set the mappings of a JSON-lines FILE ("-": standard input), a thousand at a time."""
    done = first = 0
    with Waiting("importing") as waiting:
        for lines in _chunks(file):
            try:
                answer = session.client.send(
                    "POST", "/mappings", b"".join(lines), media="application/x-ndjson"
                )
            except LispError:
                if first:
                    sys.stderr.write(f"lines 1 to {first} are set; line numbers count from there\n")
                raise
            first += len(lines)
            done += answer.document["set"]
            waiting.update(f"importing: {done} mappings set")
    if session.as_json:
        print_json({"set": done})
        return
    console().print(f"{done} mappings set")


def _chunks(file: Iterator[bytes]) -> Iterator[list[bytes]]:
    while lines := list(itertools.islice(file, CHUNK)):
        yield lines


@click.group()
def clear() -> None:
    """Make the controller forget what it can learn again."""


@clear.command("map-cache")
@click.argument("xtr")
@click.argument("eid", required=False)
@iid_option
@command
def clear_map_cache(session: Session, xtr: str, eid: str | None, iid: int | None) -> None:
    """Clear the map-cache of XTR, or its entry for exactly EID."""
    path = f"/xtrs/{segment(xtr)}/map-cache" + (f"/{segment(eid)}" if eid else "")
    document = session.client.send("DELETE", path, query={"iid": iid if eid else None}).document
    if session.as_json:
        print_json(document)
        return
    count = document["removed"]
    console().print(f"{count} entr{'y' if count == 1 else 'ies'} cleared")


@click.command()
@click.argument("eid")
@click.option("--from", "source", metavar="EID", help="Source EID of the packet.")
@click.option("--xtr", metavar="NAME", help="As this xTR of ours would ask.")
@click.option("--itr-rloc", metavar="RLOC", help="As an ITR with this RLOC would ask.")
@iid_option
@command
def resolve(session: Session, /, eid: str, **query: object) -> None:
    """Show what a Map-Request for EID would be answered, and what decided.

    Exit status 1 when the answer is negative.
    """
    document = session.client.get("/resolve", eid=eid, **query)
    if session.as_json:
        print_json(document)
    else:
        answer = document["mapping"]
        fields(
            [
                ("EID", document["eid"]),
                ("EID-prefix", answer["eid"]),
                ("RLOC Pri/Wgt", locators(answer)),
                ("TTL", f"{answer['ttl_minutes']} minutes"),
                ("Decided by", _decided_by(document)),
                ("Only for", document["scope"]),
                ("Warnings", document["warnings"]),
            ]
        )
    if not document["mapping"]["locators"]:
        raise SystemExit(REFUSED)


def _decided_by(document: Any) -> str:
    if document["rule"]:
        return f"policy rule {document['rule']}"
    return "the registered RLOC-set" if document["mapping"]["locators"] else "no RLOC-set is known"
