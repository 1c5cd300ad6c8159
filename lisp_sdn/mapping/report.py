"""Counters of the mapping system, and the refusals that it tells to the edges.

Counters are named after draft-ietf-lisp-yang. Who keeps refusals, grouped and bounded, is
`lisp_sdn.ledger`, from the `Dropped` actions of all parts.
"""

from __future__ import annotations

from collections import Counter

from lisp_sdn.actions import Dropped


class Report:
    """What REST, CLI and metrics show of the mapping system.

    rule_hits: EID-records answered by a policy rule, by site and rule.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.counters: Counter[str] = Counter()
        self.rule_hits: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] += amount

    def drop(self, reason: str, detail: str, source: object) -> Dropped:
        """Count that something was dropped or refused; detail tells a person what to change."""
        self.counters[f"dropped-{reason}"] += 1
        return Dropped(self.where, reason, detail, str(source) if source is not None else "")
