"""Replay protection of Map-Registers (RFC 9301 section 5.6), by the rule of the site.

`strictly-increasing` is what the RFC says: a nonce that is not greater than the last one of the
(xTR-ID, key) pair is refused. An ETR without an xTR-ID is known by its address, which nobody
proves, and an xTR-ID that the MAC does not cover proves as little (open decision Q-07). So that a
captured Map-Register cannot be replayed under a made-up name, a new name that is not proven must
come from one of the registered RLOCs, or with a nonce above every other nonce under the key.

`not-seen` is for ETRs with random nonces: the last `WINDOW` nonces of a key are refused.
"""

from __future__ import annotations

from lisp_sdn.config import NonceCheck

WINDOW = 4096
"""Nonces per key that `not-seen` remembers."""

MAX_ETRS = 10_000
"""ETRs per site whose nonces are kept; every one has shown a valid key."""

Identity = tuple[int, int] | str
"""What tells two ETRs of a site apart: (Site-ID, xTR-ID), or an address as text."""


class Nonces:
    """The last nonces of one site. rule: how they are judged."""

    __slots__ = ("_highest", "_last", "_seen", "rule")

    def __init__(self, rule: NonceCheck) -> None:
        self.rule = rule
        self._last: dict[tuple[int, Identity], int] = {}
        self._highest: dict[int, int] = {}
        self._seen: dict[int, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def refusal(self, key_id: int, etr: Identity, nonce: int, *, plausible: bool) -> str | None:
        """Why this nonce is refused, in words for an operator; None when it is not.

        etr: who sent it. plausible: the MAC covers who it is, or its address is one of the RLOCs
        that it registers.
        """
        if self.rule is NonceCheck.OFF:
            return None
        if self.rule is NonceCheck.NOT_SEEN:
            if nonce in self._seen.get(key_id, ()):
                return f"nonce {nonce:#x} was used before under Key ID {key_id}"
            return None
        last = self._last.get((key_id, etr))
        if last is None:
            last = self._highest.get(key_id)
            if plausible or last is None:
                return None
        if nonce > last:
            return None
        return f"nonce {nonce:#x} is not greater than the last one, {last:#x}: possible replay"

    def accept(self, key_id: int, etr: Identity, nonce: int) -> tuple[int, Identity] | None:
        """Remember the nonce of an accepted Map-Register.

        Returns the (Key ID, ETR) that is forgotten for it, if there are too many: the one that
        was silent longest.
        """
        self._last.pop((key_id, etr), None)
        self._last[key_id, etr] = nonce
        forgotten = None
        if len(self._last) > MAX_ETRS:
            forgotten = next(iter(self._last))
            del self._last[forgotten]
        if nonce > self._highest.get(key_id, -1):
            self._highest[key_id] = nonce
        if self.rule is NonceCheck.NOT_SEEN:
            seen = self._seen.setdefault(key_id, {})
            seen[nonce] = None
            if len(seen) > WINDOW:
                del seen[next(iter(seen))]
        return forgotten
