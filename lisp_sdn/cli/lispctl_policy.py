"""`lispctl policy ...`: read, try, apply, explain and take back ingress policies."""

from __future__ import annotations

import json
import re
import sys
from http import HTTPStatus
from typing import Any

import click

from lisp_sdn.cli._client import Refused, segment
from lisp_sdn.cli._context import (
    REFUSED,
    Failed,
    Session,
    command,
    default_who,
    iid_option,
    limit_option,
)
from lisp_sdn.cli._listing import Entry, listing, locators
from lisp_sdn.cli._output import console, print_json, print_json_list, table, uptime
from lisp_sdn.errors import InvalidPolicy

_ETAG = re.compile(r'^# etag (\S+) ("[^"]*")\s*$', re.MULTILINE)
"""How `show` notes the version that it printed, for `apply` to compare with."""


_who = click.option(
    "--who", default=default_who, show_default="USER@HOST", help="Goes into the history."
)
_why = click.option("--why", required=True, metavar="TEXT", help="Goes into the history.")


@click.group()
def policy() -> None:
    """Read, try, apply, explain and take back ingress policies."""


@policy.command()
@click.argument("site", required=False)
@command
def show(session: Session, site: str | None) -> None:
    """Print the policies, or that of SITE, as YAML that `diff` and `apply` read."""
    from lisp_sdn.policy.document import from_plain, to_yaml

    if site is None:
        found = session.client.get("/policies")["items"]
    else:
        found = [session.client.get(f"/policies/{segment(site)}")]
    if session.as_json:
        print_json(found if site is None else found[0])
        return
    for entry in found:
        sys.stdout.write(f"# etag {entry['site']} {_etag(session, entry['site'])}\n")
    sys.stdout.write(to_yaml(from_plain(found)))


def _etag(session: Session, site: str) -> str | None:
    """The ETag of a site's policy, None without one."""
    try:
        return session.client.send("GET", f"/policies/{segment(site)}").headers.get("ETag")
    except Refused as error:
        if error.status == 404 and "policy of site" in str(error):
            return None
        raise


@policy.command()
@click.option("--to", "eid", required=True, metavar="EID", help="The EID asked for.")
@click.option("--from", "source", metavar="EID", help="Source EID of the packet.")
@click.option("--itr", "itr_rloc", metavar="RLOC", help="As an ITR with this RLOC would ask.")
@click.option("--xtr", metavar="NAME", help="As this xTR of ours would ask.")
@click.option("--xtr-id", metavar="HEX", help="With this xTR-ID, claimed.")
@click.option("--pitr", is_flag=True, help="As a PITR would ask.")
@click.option("--at", metavar="TIME", help="At this RFC 3339 time instead of now.")
@iid_option
@command
def explain(session: Session, /, pitr: bool, **query: object) -> None:
    """Tell why a requester gets his answer: every rule, condition by condition."""
    document = session.client.get("/policies/explain", pitr=pitr or None, **query)
    if session.as_json:
        print_json(document)
        return
    console().print(document["text"], soft_wrap=True)


@policy.command()
@click.argument("file", type=click.File(encoding="utf-8"))
@limit_option
@command
def diff(session: Session, file: Any, limit: int) -> None:
    """Tell what the policies in FILE would change; nothing is changed."""
    body = json.dumps({"policies": _parse(file.read(), file.name)}).encode()
    query = {"limit": limit if 1 <= limit <= 1000 else 1000}
    document = session.client.send("POST", "/policies/diff", body, query=query).document
    if session.as_json:
        print_json(document)
        return
    out = console()
    for rule in document["rules"]:
        out.print(f"rule {rule['site']}/{rule['rule']}: {rule['kind']}", soft_wrap=True)
    table(
        ("EID-prefix", "Who", "Now", "Then", "By rule"),
        (
            (
                change["eid"],
                change["who"],
                locators(change["old"]["mapping"]),
                locators(change["new"]["mapping"]),
                change["new"]["rule"],
            )
            for change in document["changes"]
        ),
        "nobody would get another answer",
    )
    for flow in document["flows"]:
        out.print(f"xTR {flow['xtr']}: the flows of {flow['eid']} would change", soft_wrap=True)
    if document["more"]:
        out.print(f"more than {query['limit']} classes of requesters change; see --limit")


@policy.command()
@click.argument("file", type=click.File(encoding="utf-8"))
@_why
@_who
@click.option("--force", is_flag=True, help="Also over a change that FILE was not made from.")
@command
def apply(session: Session, file: Any, why: str, who: str, force: bool) -> None:
    """Put the policies in FILE in force; those of sites that it does not name stay.

    A file that `show` printed names the version that it was made from: when somebody has changed
    the policy since, nothing is applied. So is a policy for a site that has one already, when the
    file names no version. A policy without rules removes that of its site.
    """
    text = file.read()
    seen = dict(_ETAG.findall(text))
    policies = _parse(text, file.name)
    candidate = json.dumps({"policies": policies}).encode()
    session.client.send("POST", "/policies/diff", candidate, query={"limit": 1})
    for entry in policies:
        site = entry["site"]
        tag = _etag(session, site) if force else seen.get(site)
        try:
            session.client.send(
                "PUT",
                f"/policies/{segment(site)}",
                json.dumps(entry).encode(),
                query={"who": who, "why": why},
                headers={"If-Match": tag} if tag else {"If-None-Match": "*"},
            )
        except Refused as error:
            raise _not_made_from(site, error) from None
        if not session.as_json:
            console().print(f"applied the policy of {site}", soft_wrap=True)
    if session.as_json:
        print_json({"applied": [entry["site"] for entry in policies]})


def _not_made_from(site: str, error: Refused) -> Exception:
    """What to do about a policy that is not the one that a file was made from."""
    if error.status != HTTPStatus.PRECONDITION_FAILED:
        return error
    return Failed(
        f"site {site} has a policy that this file was not made from\n"
        f"  lispctl policy show {site}    prints it, with the version to start from\n"
        "  --force                       replaces it",
        REFUSED,
    )


@policy.command()
@click.argument("site")
@_why
@_who
@command
def delete(session: Session, site: str, why: str, who: str) -> None:
    """Remove the policy of SITE: everybody gets the registered RLOC-set."""
    tag = _etag(session, site)
    session.client.send(
        "DELETE",
        f"/policies/{segment(site)}",
        query={"who": who, "why": why},
        headers={"If-Match": tag} if tag else {"If-Match": "*"},
    )
    if session.as_json:
        print_json({"deleted": site})
        return
    console().print(f"deleted the policy of {site}", soft_wrap=True)


@policy.command()
@command
def balance(session: Session) -> None:
    """Show how the weights of `balance` rules follow the measured load."""
    items = session.client.get("/policies/balance")["items"]
    if session.as_json:
        print_json_list(items)
        return
    rows = [
        (
            f"{entry['site']}/{entry['rule']}",
            entry["state"],
            rloc["rloc"],
            rloc["weight"],
            "-" if rloc["share"] is None else f"{rloc['share']:.0%}",
            f"{rloc['target']:.0%}",
        )
        for entry in items
        for rloc in entry["locators"]
    ]
    table(("Rule", "State", "RLOC", "Weight", "Share", "Target"), rows, "no rule balances")


@policy.command()
@limit_option
@command
def history(session: Session, limit: int) -> None:
    """Show who changed the policies, when and why, the newest first."""
    listing(
        session,
        "/policies/history",
        ("Version", "Ago", "Who", "What", "Why", "Rules"),
        lambda entry: (
            entry["version"],
            uptime(entry["at"], session.now),
            entry["who"],
            entry["what"],
            entry["why"],
            _rules(entry),
        ),
        empty="no version",
        limit=limit,
    )


def _rules(entry: Entry) -> str:
    return "\n".join(f"{rule['site']}/{rule['rule']} {rule['kind']}" for rule in entry["changes"])


@policy.command()
@click.argument("version", type=click.IntRange(min=1))
@_why
@_who
@command
def rollback(session: Session, version: int, why: str, who: str) -> None:
    """Put the policies of VERSION in force again, as a new version."""
    body = json.dumps({"version": version, "who": who, "why": why}).encode()
    document = session.client.send("POST", "/policies/rollback", body).document
    if session.as_json:
        print_json(document)
        return
    console().print(f"version {document['version']}: {document['what']}", soft_wrap=True)


def _parse(text: str, name: str) -> list[dict[str, Any]]:
    """Policies as plain values, for the REST interface. Raises Failed."""
    # Here and not above: pydantic takes longer to import than any other command to run.
    from lisp_sdn.policy.document import parse, to_plain

    try:
        return to_plain(parse(text))
    except InvalidPolicy as error:
        lines = [f"{name}: {problem}" for problem in error.problems]
        raise Failed("\n".join(lines), REFUSED) from None
