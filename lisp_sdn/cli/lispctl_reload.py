"""`lispctl reload`: the configuration file, put in force while the controller runs."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from lisp_sdn.cli._context import USAGE, Failed, Session, command, default_who
from lisp_sdn.cli._output import console, print_json


@click.command()
@click.option("--dry-run", is_flag=True, help="Tell what would change; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--who", default=default_who, show_default="USER@HOST", help="Goes into the journal.")
@command
def reload(session: Session, dry_run: bool, yes: bool, who: str) -> None:
    """Put the controller's configuration file in force, after telling what that changes.

    The file is the one on the controller's host that it was started with. With a mistake in it
    nothing changes, and every mistake is told. What needs a restart is told and left as it is.
    """
    found = session.client.get("/configuration/diff")
    changes = found["changes"]
    if not session.as_json:
        _tell(found["source"], changes)
    if dry_run or not changes:
        if session.as_json:
            print_json({**found, "applied": False})
        return
    if not yes:
        if session.as_json or not sys.stdin.isatty():
            raise Failed("nothing was changed: say --yes, or --dry-run to look only", USAGE)
        click.confirm("Put this in force?", abort=True)
    body = json.dumps({"digest": found["digest"], "who": who}).encode()
    done = session.client.send("POST", "/configuration/reload", body).document
    if session.as_json:
        print_json({**done, "applied": True})
        return
    waiting = sum(change["restart"] for change in changes)
    text = f"in force: {len(changes) - waiting} changes"
    if waiting:
        text += f"; {waiting} need a restart of the controller"
    console().print(text, soft_wrap=True)


def _tell(source: str, changes: list[dict[str, Any]]) -> None:
    out = console()
    if not changes:
        out.print(f"{source}: nothing differs from what is in force", soft_wrap=True)
        return
    marks = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}
    for change in changes:
        text = f"{marks[change['kind']]} {change['path']}"
        old, new = change["old"], change["new"]
        if change["kind"] == "changed":
            text += ": changed" if old is None and new is None else f": {old} -> {new}"
        elif change["kind"] == "moved":
            text += f": in another order: {new}"
        elif (new or old) is not None:
            text += f": {new if new is not None else old}"
        if change["restart"]:
            text += "  (needs a restart)"
        out.print(text, soft_wrap=True)
