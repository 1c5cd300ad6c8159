"""`lispctl xtr adopt`: make an Open vSwitch the xTR that the configuration says it is."""

from __future__ import annotations

import sys
from typing import Any

import click

from lisp_sdn.cli._client import Waiting, segment
from lisp_sdn.cli._context import REFUSED, USAGE, Failed, Session, command
from lisp_sdn.cli._output import console, print_json
from lisp_sdn.cli._ovsdb import Database, OvsdbError
from lisp_sdn.ovsdb import plan
from lisp_sdn.ovsdb.plan import Plan, Wanted
from lisp_sdn.ovsdb.snapshot import Snapshot


@click.command()
@click.argument("name")
@click.option("--ovsdb", "target", metavar="TARGET", help="Its database; else xtrs[].ovsdb.")
@click.option(
    "--controller",
    "controllers",
    multiple=True,
    metavar="tcp:ADDRESS:6653",
    help="Where the switch reaches this controller; else as it is.",
)
@click.option("--bridge", help="Its overlay bridge, else the one with its datapath id, or br0.")
@click.option("--mtu", type=click.IntRange(576, 65535), help="Of the underlay bridge's own port.")
@click.option("--add-uplinks", is_flag=True, help="Put missing uplinks into the underlay bridge.")
@click.option("--take-over", is_flag=True, help="Also change what somebody else seems to own.")
@click.option("--dry-run", is_flag=True, help="Tell what would change; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command
def adopt(
    session: Session,
    name: str,
    target: str | None,
    controllers: tuple[str, ...],
    bridge: str | None,
    mtu: int | None,
    add_uplinks: bool,
    take_over: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Set up the Open vSwitch of xTR NAME through its database, in one transaction.

    The overlay bridge with its EID-facing ports and the tunnel port, the underlay bridge, and the
    controller of both. What is right already is left alone: on an adopted switch there is nothing
    to do. Bridges, ports and controllers of somebody else are named, and nothing is done, until
    --take-over. The addresses of the RLOCs are the system's to set.
    """
    document = session.client.get(f"/xtrs/{segment(name)}")
    target = target or document["ovsdb"]
    if target is None:
        raise Failed(f"xTR {name} has no ovsdb in the configuration: say --ovsdb", USAGE)
    wanted = _wanted(document, controllers, bridge, mtu)
    try:
        database = Database(target)
        found = plan.make(wanted, database.read(), take_over=take_over, add_uplinks=add_uplinks)
        if not session.as_json:
            _tell(name, found)
        if found.refused:
            if session.as_json:
                print_json(_document(found, applied=False))
            raise Failed("nothing was changed: " + "; ".join(found.refused), REFUSED)
        if dry_run or not found.needed:
            if session.as_json:
                print_json(_document(found, applied=False))
            return
        if not yes:
            if session.as_json or not sys.stdin.isatty():
                raise Failed("nothing was changed: say --yes, or --dry-run to look only", USAGE)
            click.confirm("Do this?", abort=True)
        database.transact(found.operations)
        with Waiting("waiting for ovs-vswitchd"):
            problems = _problems(wanted, database.settle())
    except OvsdbError as error:
        raise Failed(str(error), REFUSED) from None
    if session.as_json:
        print_json({**_document(found, applied=True), "problems": problems})
    else:
        out = console()
        out.print(f"xTR {name}: adopted", soft_wrap=True)
        for problem in problems:
            out.print(f"! {problem}", style="red", soft_wrap=True)
    if problems:
        raise Failed(f"xTR {name}: its switch could not do all of it", REFUSED)


def _wanted(
    document: dict[str, Any], controllers: tuple[str, ...], bridge: str | None, mtu: int | None
) -> Wanted:
    number = document["underlay_datapath_id"]
    underlay = None if number is None else (document["underlay_bridge"], int(number, 16))
    return Wanted(
        document["name"],
        int(document["datapath_id"], 16),
        document["tunnel_port"],
        tuple(port["name"] for port in document["eid_ports"]),
        tuple(document["native_ports"]),
        bridge,
        underlay,
        tuple(document["uplinks"]),
        controllers,
        mtu,
    )


def _document(found: Plan, *, applied: bool) -> dict[str, Any]:
    return {"steps": found.steps, "refused": found.refused, "applied": applied}


def _tell(name: str, found: Plan) -> None:
    out = console()
    for step in found.steps:
        out.print(step, soft_wrap=True)
    if not found.steps and not found.refused:
        out.print(f"xTR {name}: its switch is set up already", soft_wrap=True)


def _problems(wanted: Wanted, now: Snapshot | None) -> list[str]:
    """What ovs-vswitchd itself could not do."""
    if now is None:
        return ["ovs-vswitchd has not done it yet; is it running?"]
    names = {wanted.tunnel_port, *wanted.eid_ports, *wanted.internal, *wanted.uplinks}
    return [
        f"port {interface.name}: {interface.error}"
        for bridge in now.bridges
        for port in bridge.ports
        for interface in port.interfaces
        if port.name in names and interface.error
    ]
