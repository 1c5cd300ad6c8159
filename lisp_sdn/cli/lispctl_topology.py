"""`lispctl show topology`: every uplink of every site, with its part of the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from lisp_sdn.cli._context import Session, command
from lisp_sdn.cli._output import console, print_json, state, table

_UNITS = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")


@click.command()
@click.argument("site", required=False)
@command
def topology(session: Session, site: str | None) -> None:
    """Show the uplinks of all sites, or of one: state, policy and measured part, traffic."""
    document = session.client.get("/topology")
    if site is not None:
        document = _of_site(document, site)
    if session.as_json:
        print_json(document)
        return
    columns = ("Site", "RLOC", "State", "xTR", "Policy", "Measured", "Inbound")
    table(columns, _rows(document), "no site is configured" if site is None else "no RLOC known")
    if document["more"]:
        console().print("Map-caches are large; of each a part was looked at.")


def _of_site(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = [item for item in document["sites"] if item["name"] == name]
    if not found:
        known = ", ".join(item["name"] for item in document["sites"][:20]) or "none"
        raise click.BadParameter(f"{name!r} is not a site; configured: {known}", param_hint="SITE")
    xtrs = [item for item in document["xtrs"] if item["site"] == name]
    names = {item["name"] for item in xtrs}
    links = [item for item in document["links"] if item["site"] == name or item["xtr"] in names]
    return {**document, "sites": found, "xtrs": xtrs, "links": links}


def _rows(document: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for site in document["sites"]:
        for uplink in site["uplinks"]:
            told = uplink["offered"] if uplink["told"] is None else uplink["told"]
            yield (
                site["name"],
                uplink["rloc"],
                state(uplink["state"]),
                uplink["xtr"],
                percent(told),
                percent(uplink["measured"]),
                rate(uplink["octets_per_second"]),
            )


def percent(share: float | None) -> str:
    """A part of 0..1."""
    return "-" if share is None else f"{share * 100:.0f} %"


def rate(octets: float | None) -> str:
    """Octets a second as bits a second."""
    if octets is None:
        return "-"
    value, unit = octets * 8, 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 100 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"
