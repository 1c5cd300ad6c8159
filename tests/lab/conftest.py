"""Real Open vSwitch in network namespaces; one network for the whole session, nodes from mininet/.

Every test finds the controller running and both xTRs connected, whatever the one before it did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "mininet"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import labrun


@pytest.fixture(scope="session")
def _lab_possible(cannot_run: Callable[[str], NoReturn]) -> None:
    """Skip, or fail where CI=true, when this machine cannot run a lab."""
    reason = labrun.unavailable()
    if reason:
        cannot_run(reason)


@pytest.fixture(scope="session")
def session_lab(_lab_possible: None) -> Iterator[Any]:
    """The two-site network, built once."""
    from two_sites_lab import Lab

    with Lab() as lab:
        yield lab


@pytest.fixture
def lab(session_lab: Any) -> Any:
    """The two-site network with a running controller and connected xTRs."""
    session_lab.ensure_running()
    return session_lab
