"""`lig`, the LISP Internet Groper (RFC 6835): ask the mapping system for an EID and show it.

Exit status: 0 the EID has RLOCs, 1 no Map-Reply, 2 wrong use, 3 a negative Map-Reply.
"""

from __future__ import annotations

import ipaddress
import json
import random
import select
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lisp_sdn import config as configuration
from lisp_sdn.address import MAX_IID, EidPrefix, Endpoint, IPAddress
from lisp_sdn.cli.lig_query import (
    CONTROL_PORT,
    COUNTS,
    INTERVALS,
    Query,
    Question,
    Result,
    action_text,
    locator_state,
    to_json,
)
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.errors import ConfigError, FieldError
from lisp_sdn.wire import EidRecord

NO_REPLY = 1
NEGATIVE = 3

_SELF = {"self": 4, "self6": 6}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("eid")
@click.option("--source", metavar="EID", help="Source EID to put into the Map-Request.")
@click.option(
    "--to",
    metavar="MR",
    envvar="LISP_MAP_RESOLVER",
    help="Map-Resolver: ADDRESS, NAME or ADDRESS:PORT ([ADDRESS]:PORT for IPv6).",
)
@click.option(
    "--count", type=click.IntRange(*COUNTS), default=3, show_default=True, help="Map-Requests."
)
@click.option(
    "--interval",
    type=click.FloatRange(*INTERVALS),
    default=2.0,
    show_default=True,
    help="Seconds between two Map-Requests.",
)
@click.option("--iid", type=click.IntRange(0, MAX_IID), default=0, help="Instance-ID of the EID.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="LISP_SDN_CONFIG",
    help="Configuration that names the local xTR, for `lig self` and the default Map-Resolver.",
)
@click.option("--xtr", "xtr_name", metavar="NAME", help="Which xTR of the configuration we are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    eid: str,
    source: str | None,
    to: str | None,
    count: int,
    interval: float,
    iid: int,
    config_path: Path | None,
    xtr_name: str | None,
    as_json: bool,
) -> None:
    """Ask the mapping system for EID: an address, "[IID] ADDRESS", a prefix or a host name.

    `lig self` and `lig self6` ask for the first EID-prefix of our own site, to see whether it is
    registered.
    """
    xtr, config = _local(config_path, xtr_name)
    asking: EidPrefix | None = None
    if eid in _SELF:
        asked = _own_eid(config, xtr, _SELF[eid])
        asking = _eid(source, "source", iid) if source else asked
    else:
        asked = _eid(eid, "eid", iid)
        if source:
            asking = _eid(source, "source", asked.iid)
    if asking is not None and (not asking.is_host or asking.iid != asked.iid):
        raise click.BadParameter(f"{asking}: expected one EID in instance-ID {asked.iid}")
    resolver = _resolver(to, config, xtr)
    console = Console(highlight=False)
    if not as_json:
        console.print(f"Send Map-Request to {resolver.address} for {asked} ...", markup=False)
    try:
        query, result = _ask(asked, asking, resolver, count, interval)
    except OSError as error:
        raise click.ClickException(f"Map-Resolver {resolver}: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(to_json(query.question, result, len(query.sent)), indent=2))
    else:
        _show(console, query, result)
    sys.exit(NO_REPLY if result is None else NEGATIVE if result.negative else 0)


def _local(path: Path | None, name: str | None) -> tuple[XtrSettings | None, Config | None]:
    """Which xTR we are: the one named, or the only one."""
    if path is None:
        if name is not None:
            raise click.UsageError("--xtr needs --config")
        return None, None
    try:
        config = configuration.load(path.read_text(), str(path))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from None
    known = {xtr.name: xtr for xtr in config.xtrs}
    if name is None:
        return (config.xtrs[0] if len(config.xtrs) == 1 else None), config
    if name not in known:
        names = ", ".join(known) or "none"
        raise click.BadParameter(f"{name!r} is no xTR of {path}; configured: {names}")
    return known[name], config


def _own_eid(config: Config | None, xtr: XtrSettings | None, version: int) -> EidPrefix:
    """The first EID-prefix of our site with its host bits 0, as a host EID (RFC 6835 4.1)."""
    if config is None:
        raise click.UsageError("`lig self` needs --config (or LISP_SDN_CONFIG)")
    if xtr is None:
        names = ", ".join(x.name for x in config.xtrs) or "none configured"
        raise click.UsageError(f"`lig self` needs --xtr, one of: {names}")
    for entry in config.registered_prefixes(xtr):
        if entry.prefix.version == version:
            return EidPrefix.host(entry.iid, entry.prefix.network_address)
    raise click.UsageError(f"xTR {xtr.name} registers no IPv{version} EID-prefix")


def _eid(text: str, what: str, iid: int) -> EidPrefix:
    try:
        return EidPrefix.from_text(text, default_iid=iid)
    except FieldError as error:
        if what == "eid" and _is_name(text):
            return EidPrefix.host(iid, _look_up(text))
        raise click.BadParameter(str(error)) from None


def _is_name(text: str) -> bool:
    labels = text.rstrip(".").split(".")
    return not labels[-1].isdigit() and all(
        label and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )


def _look_up(name: str) -> IPAddress:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}") from None
    return ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])


def _resolver(to: str | None, config: Config | None, xtr: XtrSettings | None) -> Endpoint:
    """The Map-Resolver: as told, else of our xTR, else the one embedded in the controller."""
    if to is not None:
        return _endpoint(to)
    if xtr is not None and xtr.map_resolvers:
        return Endpoint(xtr.map_resolvers[0], CONTROL_PORT)
    if config is not None and config.control.listen:
        listen = config.control.listen[0]
        if not listen.address.is_unspecified:
            return listen
        loopback = "127.0.0.1" if listen.address.version == 4 else "::1"
        return Endpoint(ipaddress.ip_address(loopback), listen.port)
    raise click.UsageError("no Map-Resolver: give --to, LISP_MAP_RESOLVER or --config")


def _endpoint(text: str) -> Endpoint:
    host, port = text, CONTROL_PORT
    if text.startswith("[") or text.count(":") == 1:
        host, _, number = text.rpartition(":") if not text.endswith("]") else (text, "", "")
        host = host.removeprefix("[").removesuffix("]")
        if number:
            if not number.isdecimal() or not 0 < int(number) < 65536:
                raise click.BadParameter(f"{text!r}: port {number!r}, expected 1..65535")
            port = int(number)
    try:
        return Endpoint(ipaddress.ip_address(host), port)
    except ValueError:
        if not _is_name(host):
            raise click.BadParameter(f"{text!r}: expected ADDRESS, NAME or ADDRESS:PORT") from None
        return Endpoint(_look_up(host), port)


def _ask(
    eid: EidPrefix, source: EidPrefix | None, resolver: Endpoint, count: int, interval: float
) -> tuple[Query, Result | None]:
    """Send and wait. Raises OSError."""
    family = socket.AF_INET if resolver.address.version == 4 else socket.AF_INET6
    target = (str(resolver.address), resolver.port)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        local = Endpoint(_local_address(family, target), sock.getsockname()[1])
        query = Query(
            Question(eid, resolver, local, source), random.SystemRandom(), count, interval
        )
        while (data := query.send(time.monotonic())) is not None:
            sock.sendto(data, target)
            result = _wait(sock, query)
            if result is not None:
                return query, result
    return query, None


def _local_address(family: int, target: tuple[str, int]) -> IPAddress:
    """The address that the routing table sends from: the ITR-RLOC of our Map-Request."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        return ipaddress.ip_address(str(probe.getsockname()[0]).partition("%")[0])


def _wait(sock: socket.socket, query: Query) -> Result | None:
    """Wait for the answer until the next timer. An ETR answers from another address than asked."""
    deadline = query.next_timer() or 0.0
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return None
        data, source = sock.recvfrom(65535)
        address = ipaddress.ip_address(str(source[0]).partition("%")[0])
        result = query.receive(data, Endpoint(address, source[1]), time.monotonic())
        if result is not None:
            return result
    return None


def _show(console: Console, query: Query, result: Result | None) -> None:
    for why in query.dropped:
        console.print(f"Ignored: {why}", markup=False)
    if result is None:
        plural = "" if len(query.sent) == 1 else "s"
        console.print(f"No Map-Reply after {len(query.sent)} Map-Request{plural}.")
        return
    console.print(
        f"Received Map-Reply from {result.replier.address} with rtt {result.rtt:.6f} secs\n"
    )
    console.print(f"Mapping entry for EID {query.question.eid}:", markup=False)
    for record in result.reply.records:
        _show_record(console, record)


def _show_record(console: Console, record: EidRecord) -> None:
    how = ", auth" if record.authoritative else ""
    version = f", version {record.map_version}" if record.map_version else ""
    expires = timedelta(minutes=min(record.ttl_minutes, 999_999_999))
    console.print(f"{record.eid}, expires: {expires}, via Map-Reply{how}{version}", markup=False)
    if not record.locators:
        console.print(f"  Negative: no RLOC, action {action_text(record.action)}")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="none")
    for column in ("  Locator", "State", "Priority/Weight"):
        table.add_column(column, overflow="fold")
    for locator in record.locators:
        table.add_row(
            f"  {locator.rloc}", locator_state(locator), f"{locator.priority}/{locator.weight}"
        )
    console.print(table)
