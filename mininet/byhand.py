"""How a topology runs by hand: a plain reason when it cannot, nothing left behind at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable

import labrun
from lispnet import exit_on_sigterm

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
