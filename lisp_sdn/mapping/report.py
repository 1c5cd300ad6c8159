"""Counters and refusals: what the mapping system did, and why it did not do something.

Counters are named after draft-ietf-lisp-yang. A refusal is grouped by reason and source and kept
in bounded memory, with a sentence that tells a person what to change.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from lisp_sdn.actions import Dropped
from lisp_sdn.views import Refusal

MAX_REFUSALS = 1024
"""Groups of refusals that are kept; the group that was silent longest goes first."""


class Report:
    """What REST, CLI and metrics show of the mapping system.

    rule_hits: EID-records answered by a policy rule, by site and rule.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.counters: Counter[str] = Counter()
        self.rule_hits: Counter[tuple[str, str]] = Counter()
        self._refusals: OrderedDict[tuple[str, str], Refusal] = OrderedDict()

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] += amount

    def drop(self, reason: str, detail: str, source: object, now: float) -> Dropped:
        """Note that something was dropped or refused; the action that tells it to the edge."""
        text = str(source) if source is not None else ""
        self.counters[f"dropped-{reason}"] += 1
        known = self._refusals.pop((reason, text), None)
        first, count = (known.first_seen, known.count) if known else (now, 0)
        if len(self._refusals) >= MAX_REFUSALS:
            self._refusals.popitem(last=False)
            self.counters["refusals-forgotten"] += 1
        self._refusals[reason, text] = Refusal(
            self.where, reason, text, detail, count + 1, first, now
        )
        return Dropped(self.where, reason, detail, text)

    def refusals(self) -> list[Refusal]:
        """All groups, the newest first."""
        return list(reversed(self._refusals.values()))
