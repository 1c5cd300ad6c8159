"""The network at a glance as tables: uplinks with what comes in by them, and who sends to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lisp_sdn.cli._output import grid, state, uptime

Topology = dict[str, Any]

UPLINKS = ("Site", "RLOC", "State", "Since", "Pri/Wgt", "Offered", "Measured", "Inbound")
LINKS = ("xTR", "To site", "Map-cache", "Waiting", "By RLOC")


def network(document: Topology, now: float) -> Group:
    """Everything that `GET /topology` tells. now: the controller's clock, epoch seconds."""
    parts: list[RenderableType] = [
        grid(UPLINKS, uplinks(document, now), "no site has an RLOC", whole=("RLOC",))
    ]
    parts += [Text(), grid(LINKS, links(document), "nobody sends to anybody")]
    parts += [Text(f"! {line}", style="red") for line in problems(document)]
    return Group(*parts)


def uplinks(document: Topology, now: float) -> Iterator[tuple[object, ...]]:
    """One row for each RLOC of each site."""
    for site in document["sites"]:
        for uplink in site["uplinks"]:
            yield (
                site["name"],
                uplink["rloc"],
                state(uplink["state"]),
                uptime(uplink["since"], now),
                f"{uplink['priority']}/{uplink['weight']}",
                percent(uplink["offered"]),
                percent(uplink["measured"]),
                bits(uplink["octets_per_second"]),
            )


def links(document: Topology) -> Iterator[tuple[object, ...]]:
    """One row for each xTR and site that it sends to."""
    for link in document["links"]:
        paths = Text(", ").join(_path(path) for path in link["paths"])
        yield (
            link["xtr"],
            link["site"] or "no site",
            f"{link['entries']}" + (f" ({link['negative']} negative)" if link["negative"] else ""),
            link["pending"] or "",
            paths,
        )


def problems(document: Topology) -> Iterator[str]:
    """What is wrong, one sentence each."""
    for xtr in document["xtrs"]:
        if not xtr["connected"]:
            yield f"xtr {xtr['name']}: its switch is not connected"
        yield from (f"xtr {xtr['name']}: {problem}" for problem in xtr["problems"])


def _path(path: dict[str, Any]) -> Text:
    rtt = path["rtt_seconds"]
    told = f"{path['rloc']} {percent(path['share'])}"
    told += f" {1000 * rtt:.1f} ms" if rtt is not None else ""
    return Text.assemble(told, " ", state(path["state"])) if path["state"] != "up" else Text(told)


def percent(part: float | None) -> str | None:
    """A part, 0..1."""
    return None if part is None else f"{100 * part:.0f}%"


def bits(octets: float | None) -> str | None:
    """A rate in octets per second, as bit/s."""
    if octets is None:
        return None
    rate = 8 * octets
    for unit in ("", "k", "M"):
        if rate < 1000:
            return f"{rate:.3g} {unit}bit/s"
        rate /= 1000
    return f"{rate:.3g} Gbit/s"
