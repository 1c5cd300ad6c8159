"""What all tests share: reproducible property tests, and what a test does that cannot run here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import hypothesis
import pytest

import lisp_sdn_runtime  # noqa: F401  Ryu can be imported also where the project is not installed

# The gate tries the same examples in every run; the hunt (make fuzz) tries new ones, and more.
hypothesis.settings.register_profile(
    "gate", derandomize=True, deadline=None, database=None, max_examples=50
)
hypothesis.settings.register_profile("hunt", deadline=None, max_examples=2_000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


def cannot_run_here(reason: str) -> NoReturn:
    """End a test that this machine cannot run: a failure where CI=true, else a skip.

    reason: what is missing, for instance "needs root".
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, so this must run, but: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cannot_run() -> Callable[[str], NoReturn]:
    """`cannot_run_here`, for tests."""
    return cannot_run_here
