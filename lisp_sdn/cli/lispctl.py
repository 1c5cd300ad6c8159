"""`lispctl`: look into a running controller and change what can be changed while it runs.

Exit status: 0 done, 1 refused or not found, 2 wrong use, 3 the controller cannot be reached.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
from click.shell_completion import get_completion_class

import lisp_sdn
from lisp_sdn.cli._client import Client
from lisp_sdn.cli._context import REFUSED, USAGE, Failed, Session, command
from lisp_sdn.cli._output import console, fields, print_json, uptime
from lisp_sdn.cli.lispctl_change import clear, mapping, resolve
from lisp_sdn.cli.lispctl_policy import policy
from lisp_sdn.cli.lispctl_show import show
from lisp_sdn.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8080"


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
@click.option("--json", "as_json", is_flag=True, help="Print JSON, before or after the command.")
@click.version_option(lisp_sdn.__version__, prog_name="lispctl")
@click.pass_context
def main(context: click.Context, url: str, token: str | None, as_json: bool) -> None:
    """Look into a running LISP controller, and change what can be changed while it runs.

    Exit status: 0 done, 1 refused or not found, 2 wrong use, 3 the controller cannot be reached.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username:
        raise click.BadParameter(f"{url!r}, expected http://ADDRESS:PORT", param_hint="--url")
    context.obj = Session(Client(url, token), as_json)


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
    for problem in document["problems"]:
        out.print(f"! {problem}", style="red", soft_wrap=True)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes lispctl commands: eval "$(lispctl completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "lispctl", "_LISPCTL_COMPLETE").source())


for _command in (show, mapping, policy, clear, resolve):
    main.add_command(_command)

if __name__ == "__main__":
    main()
