"""Which nonces are refused, and how many are remembered."""

from __future__ import annotations

import pytest

from lisp_sdn.config import NonceCheck
from lisp_sdn.mapping import nonces
from lisp_sdn.mapping.nonces import Nonces

STRICT = NonceCheck.STRICTLY_INCREASING


def test_a_name_that_nobody_proves_must_be_plausible_or_above_all_others() -> None:
    seen = Nonces(STRICT)
    seen.accept(1, "192.0.2.1", 100)
    seen.accept(1, (7, 8), 50)
    assert seen.refusal(1, "192.0.2.2", 5, plausible=True) is None
    assert seen.refusal(1, "192.0.2.2", 100, plausible=False)
    assert seen.refusal(1, "192.0.2.2", 101, plausible=False) is None
    # Another key starts anew, a known name is judged by its own last nonce.
    assert seen.refusal(2, "192.0.2.2", 1, plausible=False) is None
    assert seen.refusal(1, (7, 8), 51, plausible=False) is None
    assert seen.refusal(1, (7, 8), 50, plausible=True)


def test_a_refusal_names_both_nonces() -> None:
    seen = Nonces(STRICT)
    seen.accept(1, "192.0.2.1", 0x64)
    refusal = seen.refusal(1, "192.0.2.1", 0x63, plausible=True)
    assert refusal == "nonce 0x63 is not greater than the last one, 0x64: possible replay"


def test_the_etr_that_was_silent_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "MAX_ETRS", 3)
    seen = Nonces(STRICT)
    for n in range(3):
        assert seen.accept(1, f"192.0.2.{n}", 10 + n) is None
    seen.accept(1, "192.0.2.0", 20)
    assert seen.accept(1, "192.0.2.9", 30) == (1, "192.0.2.1")
    assert len(seen) == 3
    assert seen.refusal(1, "192.0.2.1", 12, plausible=False)


def test_the_window_of_random_nonces_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "WINDOW", 5)
    seen = Nonces(NonceCheck.NOT_SEEN)
    for n in range(10):
        seen.accept(1, "192.0.2.1", n)
    refused = [bool(seen.refusal(1, "198.18.0.1", n, plausible=True)) for n in range(10)]
    assert refused == [False] * 5 + [True] * 5
