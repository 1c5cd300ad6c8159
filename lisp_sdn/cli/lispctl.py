"""`lispctl`: look into a running controller and change what can be changed while it runs.

Exit status: 0 done, 1 refused or not found, 2 wrong use, 3 the controller cannot be reached,
130 interrupted.
"""

from __future__ import annotations

import io
import itertools
import json
import ssl
import sys
import tarfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
from click.shell_completion import get_completion_class

import lisp_sdn
from lisp_sdn.cli._client import Client, Waiting, segment
from lisp_sdn.cli._context import REFUSED, USAGE, Failed, Session, command
from lisp_sdn.cli._output import console, fields, print_json, seconds_since, uptime
from lisp_sdn.cli.lispctl_alt import alt, bgp
from lisp_sdn.cli.lispctl_change import clear, mapping, resolve
from lisp_sdn.cli.lispctl_history import read_events
from lisp_sdn.cli.lispctl_interworking import petr
from lisp_sdn.cli.lispctl_mobility import mobile_eids
from lisp_sdn.cli.lispctl_policy import policy
from lisp_sdn.cli.lispctl_reload import reload
from lisp_sdn.cli.lispctl_show import show
from lisp_sdn.cli.lispctl_topology import topology
from lisp_sdn.cli.lispctl_trace import connectivity_test, trace
from lisp_sdn.cli.lispctl_watch import watch
from lisp_sdn.cli.lispctl_xtr import xtr
from lisp_sdn.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8080"

_PEM = click.Path(exists=True, dir_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    envvar="LISPCTL_URL",
    default=DEFAULT_URL,
    show_default=True,
    help="Where the controller listens (LISPCTL_URL).",
)
@click.option(
    "--token", envvar="LISPCTL_TOKEN", metavar="TOKEN", help="Access token (LISPCTL_TOKEN)."
)
@click.option(
    "--ca",
    envvar="LISPCTL_CA",
    type=_PEM,
    help="Authority to trust instead of the system's, for https (LISPCTL_CA).",
)
@click.option(
    "--certificate",
    envvar="LISPCTL_CERTIFICATE",
    type=_PEM,
    help="Client certificate with its key, one file, for https (LISPCTL_CERTIFICATE).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, before or after the command.")
@click.version_option(lisp_sdn.__version__, prog_name="lispctl")
@click.pass_context
def main(
    context: click.Context,
    url: str,
    token: str | None,
    ca: str | None,
    certificate: str | None,
    as_json: bool,
) -> None:
    """Look into a running LISP controller, and change what can be changed while it runs.

    Exit status: 0 done, 1 refused or not found, 2 wrong use, 3 the controller cannot be reached,
    130 interrupted.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username:
        raise click.BadParameter(f"{url!r}, expected http://ADDRESS:PORT", param_hint="--url")
    tls = _tls(ca, certificate) if parts.scheme == "https" else None
    context.obj = Session(Client(url, token, tls), as_json)


def _tls(ca: str | None, certificate: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise click.BadParameter(f"{ca}: {error}", param_hint="--ca") from None
    if certificate is not None:
        try:
            context.load_cert_chain(certificate)
        except (OSError, ssl.SSLError) as error:
            raise click.BadParameter(
                f"{certificate}: {error}", param_hint="--certificate"
            ) from None
    return context


@main.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@command
def check(session: Session, file: Path) -> None:
    """Check a configuration FILE ("-": standard input) without a controller.

    Every mistake is printed with file, key path, value and what was expected.
    """
    # Here and not above: pydantic takes longer to import than any other command to run.
    from lisp_sdn import config as configuration

    name = "standard input" if str(file) == "-" else str(file)
    try:
        config = configuration.load(_read(file, name), name)
    except ConfigError as error:
        if session.as_json:
            problems = [{"path": path, "message": message} for path, message in error.problems]
            print_json({"file": name, "correct": False, "problems": problems})
        else:
            sys.stderr.write(f"{error}\n")
        count = len(error.problems)
        raise Failed(f"{name}: {count} problem{'s' * (count != 1)}", REFUSED) from None
    if session.as_json:
        print_json({"file": name, "correct": True, "problems": []})
        return
    parts = ", ".join(
        f"{len(getattr(config, part))} {part}" for part in ("sites", "xtrs", "mappings", "policies")
    )
    console().print(f"{name}: correct: {parts}", soft_wrap=True)


def _read(file: Path, name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode()
    except OSError as error:
        raise Failed(f"{name}: {error.strerror}", USAGE) from None
    except UnicodeDecodeError as error:
        raise ConfigError(name, [("(top)", f"octet {error.start} is not UTF-8")]) from None


@main.command()
@command
def status(session: Session) -> None:
    """Show the controller: what it holds, and what needs mending."""
    document = session.client.get("/status")
    if session.as_json:
        print_json(document)
        return
    fields(
        [
            ("Up for", uptime(document["started"], session.now)),
            ("Listens", ", ".join([*document["listen_control"], document["listen_rest"]])),
            ("Sites", document["sites"]),
            ("xTRs", f"{document['xtrs_connected']} of {document['xtrs']} connected"),
            ("Mappings", f"{document['mappings']}, {document['registrations']} registrations"),
            ("Map-cache", f"{document['map_cache_entries']} entries"),
            (
                "Waiting",
                f"{document['pending_resolutions']} resolutions, "
                f"{document['held_packets']} held packets",
            ),
        ]
    )
    out = console()
    for problem in [*document["problems"], *document["unreachable"]]:
        out.print(f"! {problem}", style="red", soft_wrap=True)
    _recently_refused(session)


RECENT = 600.0
"""Seconds that a refusal is news for `lispctl status`."""


def _recently_refused(session: Session) -> None:
    newest = session.client.get("/refusals", limit=3)["items"]
    recent = [
        f"{entry['reason']} ({entry['where']}, {entry['count']} in all)"
        for entry in newest
        if (seconds_since(entry["last_seen"], session.now) or 0) < RECENT
    ]
    if recent:
        told = ", ".join(recent)
        console().print(f"! refused lately, see lispctl show refusals: {told}", soft_wrap=True)


DUMPED = (
    "/status",
    "/topology",
    "/sites",
    "/xtrs",
    "/mappings",
    "/registrations",
    "/mobile-eids",
    "/policies",
    "/policies/history",
    "/policies/balance",
    "/interworking",
    "/alt",
    "/alt/routes",
    "/bgp",
    "/configuration",
    "/trace/endpoints",
    "/refusals",
    "/counters",
)
DUMPED_OF_XTR = ("map-cache", "map-requests", "source-guard", "flows", "groups", "meters")
DUMP_LIMIT = 100_000
"""Entries of one list in an archive."""


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@command
def sysdump(session: Session, file: Path | None) -> None:
    """Collect everything that the controller shows into one archive, for a bug report.

    It holds no keys and no tokens, because the REST interface shows none; it holds addresses.
    """
    client = session.client
    file = file or Path(time.strftime("lisp-sysdump-%Y%m%d-%H%M%S.tar.gz"))
    xtrs = [entry["name"] for entry in client.pages("/xtrs")]
    paths = [*DUMPED, *(f"/xtrs/{segment(x)}/{part}" for x in xtrs for part in DUMPED_OF_XTR)]
    with Waiting("collecting") as waiting, tarfile.open(file, "x:gz") as archive:
        for path in paths:
            waiting.update(f"collecting {path}")
            _add(archive, path, _dump(client, path))
        _add(archive, "/events", list(read_events(session, 0, {}, follow=False)))
    if session.as_json:
        print_json({"file": str(file), "files": len(paths) + 1})
        return
    console().print(f"{file}: {len(paths) + 1} files", soft_wrap=True)


def _dump(client: Client, path: str) -> object:
    document = client.get(path)
    if "next" not in document:
        return document
    return list(itertools.islice(client.pages(path, limit=1000), DUMP_LIMIT))


def _add(archive: tarfile.TarFile, path: str, document: object) -> None:
    data = json.dumps(document, indent=1).encode()
    info = tarfile.TarInfo(f"lisp-sysdump/{path.strip('/').replace('/', '-')}.json")
    info.size, info.mtime = len(data), int(time.time())
    archive.addfile(info, io.BytesIO(data))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes lispctl commands: eval "$(lispctl completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "lispctl", "_LISPCTL_COMPLETE").source())


show.add_command(mobile_eids)
for _command in (
    show,
    watch,
    mapping,
    policy,
    xtr,
    reload,
    clear,
    resolve,
    trace,
    connectivity_test,
):
    main.add_command(_command)
show.add_command(petr)
show.add_command(topology)
show.add_command(alt)
show.add_command(bgp)

if __name__ == "__main__":
    main()
