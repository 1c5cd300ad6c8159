"""`lispctl xtr ...`: set up and maintain our xTRs."""

from __future__ import annotations

import click

from lisp_sdn.cli._client import segment
from lisp_sdn.cli._context import Session, command
from lisp_sdn.cli._output import console, print_json
from lisp_sdn.cli.lispctl_adopt import adopt


@click.group()
def xtr() -> None:
    """Set up the switches of our xTRs; take their RLOCs out of use, and put them back."""


def _change(session: Session, method: str, rloc: str, text: str) -> None:
    document = session.client.send(method, f"/rlocs/{segment(rloc)}/drain").document
    if session.as_json:
        print_json(document)
        return
    console().print(f"{document['rloc']} of {document['xtr']}: {text}", soft_wrap=True)


@xtr.command()
@click.argument("rloc")
@command
def drain(session: Session, rloc: str) -> None:
    """Let traffic leave RLOC while it is up, so that it can be taken down without loss.

    It carries traffic only where no other RLOC is left, until `undrain`, also after a restart of
    the controller.
    """
    _change(session, "PUT", rloc, "drained; traffic uses other RLOCs")


@xtr.command()
@click.argument("rloc")
@command
def undrain(session: Session, rloc: str) -> None:
    """Let traffic come back to RLOC."""
    _change(session, "DELETE", rloc, "in use again")


xtr.add_command(adopt)
