"""How a topology runs by hand: a plain reason when it cannot, nothing left behind at its end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import labrun
from lispnet import LispNet, exit_on_sigterm

from lisp_sdn.errors import ConfigError


def run(work: Callable[[], None]) -> int:
    """The exit status of `work`: 0 when all went well, else a plain reason on stderr and 1."""
    exit_on_sigterm()
    reason = labrun.unavailable()
    if reason:
        print(f"This needs more than the machine has: {reason}", file=sys.stderr)
        return 1
    try:
        work()
    except (labrun.LabError, ConfigError, RuntimeError, OSError) as error:
        print(f"\nFailed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything is removed.", file=sys.stderr)
        return 130
    return 0


EXPORTED = ("OVS_RUNDIR", "OVS_DBDIR", "FRR")
"""What of a node's own environment its shell at the prompt needs."""


def command_line(net: LispNet) -> None:
    """Mininet's prompt: in every node's shell are our commands, and those of its own daemons."""
    from mininet.cli import CLI
    from mininet.log import setLogLevel

    commands = Path(sys.executable).parent
    for node in net.nameToNode.values():
        known = node.environment()
        words = [f"{name}={shlex.quote(known[name])}" for name in EXPORTED if name in known]
        node.cmd(" ".join(["export", f"PATH={commands}:$PATH", *words]))
    setLogLevel("info")
    CLI(net)
