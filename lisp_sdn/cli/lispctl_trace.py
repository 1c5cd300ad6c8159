"""`lispctl trace` and `lispctl connectivity-test`: where packets go, and where they stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click
from rich.text import Text

from lisp_sdn.cli._client import Waiting
from lisp_sdn.cli._context import REFUSED, Failed, Session, command, iid_option
from lisp_sdn.cli._output import console, print_json, table

Entry = dict[str, Any]

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "stop": ("STOP", "bold red")}
_VERDICTS = {
    "delivered": "delivered",
    "resolves": "delivered, the first packet after its Map-Request was answered",
    "handed-over": "leaves our sight: natively, or for an ETR that is not ours",
}


@click.command()
@click.argument("source")
@click.argument("destination")
@click.option(
    "--protocol", default="icmp", show_default=True, help="icmp (an echo), tcp, udp or a number."
)
@click.option("--source-port", type=click.IntRange(0, 65535), help="Of TCP and UDP.")
@click.option("--destination-port", type=click.IntRange(0, 65535), help="Of TCP and UDP.")
@click.option("-v", "--verbose", is_flag=True, help="Also the rules and flows behind each step.")
@iid_option
@command
def trace(
    session: Session, /, source: str, destination: str, verbose: bool, **query: object
) -> None:
    """Tell where a packet from SOURCE to DESTINATION goes, step by step, and where it stops.

    Nothing is sent: the steps are judged by what the controller knows and by the flows that the
    switches should hold. Exit status 1 when it stops.
    """
    document = session.client.get("/trace", source=source, destination=destination, **query)
    if session.as_json:
        print_json(document)
    else:
        out = console()
        for line in _lines(document, verbose):
            out.print(line, soft_wrap=True)
    if document["verdict"] == "stopped":
        raise SystemExit(REFUSED)


def _lines(document: Entry, verbose: bool) -> Iterator[Text]:
    yield Text(f"{document['source']} to {document['destination']}", style="bold")
    for number, step in enumerate(document["steps"], 1):
        word, style = _MARKS[step["mark"]]
        yield Text.assemble(
            f"{number:2}. ", (f"{word:<4}", style), f"  {step['step']:<11}  {step['text']}"
        )
        if verbose:
            yield from (Text(f"                       {line}") for line in step["details"])
        if step["mark"] != "ok" and step["suggestion"]:
            yield Text(f"                       -> {step['suggestion']}", style=style)
    stop = _stop(document)
    if stop is None:
        yield Text(f"result: {_VERDICTS[document['verdict']]}", style="green")
    else:
        yield Text(f"result: stops at {stop['step']}: {stop['reason']}", style="bold red")


def _stop(document: Entry) -> Entry | None:
    """The step at which it stops."""
    return next((step for step in document["steps"] if step["mark"] == "stop"), None)


@click.command("connectivity-test")
@click.option("--from", "origin", metavar="SITE", help="Only from this site.")
@click.option("--to", "target", metavar="SITE", help="Only to this site.")
@click.option("-v", "--verbose", is_flag=True, help="Also the pairs that work.")
@iid_option
@command
def connectivity_test(
    session: Session, origin: str | None, target: str | None, verbose: bool, iid: int | None
) -> None:
    """Trace every pair of sites, in every instance-ID and family, and tell what fails where.

    Each place is stood for by a host that was seen there, or else by an address of its subnet, of
    which it is not expected that a host has it. Exit status 1 when something fails.
    """
    with Waiting("reading the endpoints") as waiting:
        pairs = list(_pairs(session.client.pages("/trace/endpoints", limit=1000), iid))
        pairs = [
            (source, destination)
            for source, destination in pairs
            if origin in (None, _place(source)) and target in (None, _place(destination))
        ]
        results = []
        for number, pair in enumerate(pairs, 1):
            waiting.update(f"pair {number} of {len(pairs)}")
            results.append(_test(session, *pair))
    if not results:
        raise Failed("there is no such pair of sites in one instance-ID and family", REFUSED)
    failed = [entry for entry in results if not entry["passed"]]
    if session.as_json:
        print_json({"pairs": len(results), "failed": len(failed), "results": results})
    else:
        _report(results, failed, verbose)
    if failed:
        raise SystemExit(REFUSED)


def _place(endpoint: Entry) -> str:
    return str(endpoint["site"] or endpoint["xtr"])


def _pairs(endpoints: Iterable[Entry], iid: int | None) -> Iterator[tuple[Entry, Entry]]:
    """Each way between two sites: same instance-ID, same family, from an xTR of ours."""
    places: dict[tuple[int, bool], dict[str, Entry]] = {}
    for endpoint in endpoints:
        eid = endpoint["eid"]
        number = int(eid[1 : eid.index("]")]) if eid.startswith("[") else 0
        if iid is None or iid == number:
            # A host that was seen stands for its place rather than any address.
            found = places.setdefault((number, ":" in eid), {})
            old = found.get(eid)
            if old is None or (endpoint["known"] and not old["known"]):
                found[eid] = endpoint
    for found in places.values():
        for source in found.values():
            for destination in found.values():
                if source["xtr"] is not None and _place(source) != _place(destination):
                    yield source, destination


def _test(session: Session, source: Entry, destination: Entry) -> Entry:
    document = session.client.get("/trace", source=source["eid"], destination=destination["eid"])
    stop = _stop(document)
    # Nobody said that a host has an address that only stands for its subnet.
    arrived = stop is None or (stop["reason"] == "host-unknown" and not destination["known"])
    return {
        "from": _place(source),
        "to": _place(destination),
        "source": document["source"],
        "destination": document["destination"],
        "passed": arrived,
        "verdict": "reached" if arrived and stop else document["verdict"],
        "step": None if arrived or stop is None else stop["step"],
        "reason": None if arrived or stop is None else stop["reason"],
        "text": None if arrived or stop is None else stop["text"],
        "suggestion": None if arrived or stop is None else stop["suggestion"],
    }


def _report(results: list[Entry], failed: list[Entry], verbose: bool) -> None:
    out = console()
    for entry in results if verbose else failed:
        way = f"{entry['from']} to {entry['to']}: {entry['source']} to {entry['destination']}"
        if entry["passed"]:
            out.print(Text.assemble(("ok    ", "green"), f"{way}: {entry['verdict']}"))
            continue
        out.print(Text.assemble(("FAIL  ", "bold red"), way), soft_wrap=True)
        out.print(f"      {entry['step']}: {entry['text']}", soft_wrap=True)
        out.print(f"      -> {entry['suggestion']}", soft_wrap=True)
    if failed:
        counts: dict[tuple[str, str], int] = {}
        for entry in failed:
            key = (entry["step"], entry["reason"])
            counts[key] = counts.get(key, 0) + 1
        table(("Step", "Reason", "Pairs"), [(*key, count) for key, count in counts.items()], "")
    style = "bold red" if failed else "green"
    passed = len(results) - len(failed)
    out.print(f"{len(results)} pairs: {passed} reach each other, {len(failed)} fail", style=style)
