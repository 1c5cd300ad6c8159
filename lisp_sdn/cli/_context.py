"""What every lispctl command shares: the options, the client, exit statuses."""

from __future__ import annotations

import functools
import getpass
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from lisp_sdn.cli._client import Client, Refused, Unreachable

P = ParamSpec("P")
R = TypeVar("R")

OK, REFUSED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass
class Session:
    """The global options of one run."""

    client: Client
    as_json: bool = False

    @property
    def now(self) -> float:
        """The controller's clock as last told, so that clocks that differ do not matter."""
        return self.client.now or time.time()


class Failed(click.ClickException):
    """Ends the command with a message on stderr and its own exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]


def command(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """A leaf command: takes the session, knows --json in its place, turns errors into statuses."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_obj
    @functools.wraps(function)
    def run(session: Session, /, *args: Any, as_json: bool, **kwargs: Any) -> R:
        session.as_json = session.as_json or as_json
        try:
            return function(session, *args, **kwargs)
        except Refused as error:
            raise Failed("\n".join(error.lines()), REFUSED) from None
        except Unreachable as error:
            raise Failed(str(error), UNREACHABLE) from None
        except FileExistsError as error:
            raise Failed(f"{error.filename} exists already", USAGE) from None
        except KeyboardInterrupt:
            # How `watch` ends: nothing to complain about.
            raise SystemExit(INTERRUPTED) from None

    return run  # type: ignore[return-value]


def default_who() -> str:
    """Who makes a change, for the history: USER@HOST."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return "lispctl"


iid_option = click.option(
    "--iid", type=click.IntRange(0, 0xFFFFFF), help="Instance-ID, when the EID names none."
)
limit_option = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Entries to print at most; 0 for all.",
)
