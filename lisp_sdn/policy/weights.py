"""The weights of balance rules over a restart: a loop goes on where it was, not from its target.

A loop needs minutes to find the weights that meet its target; without this, every restart would
send the traffic back to where it began.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

from lisp_sdn.address import IPAddress
from lisp_sdn.policy.book import PolicyStore
from lisp_sdn.policy.conditions import BalancedWeights

KIND = "balanced-weights"
"""Kind of the stored documents: one per rule, by (site, rule)."""


class WeightStore:
    """store: None keeps nothing. Its methods raise StoreError."""

    def __init__(self, store: PolicyStore | None) -> None:
        self._store = store
        self._kept: dict[tuple[str, str], Mapping[IPAddress, int]] = {}

    def load(self) -> BalancedWeights:
        """What was saved last, per (site, rule); what cannot be read is left out."""
        found: dict[tuple[str, str], Mapping[IPAddress, int]] = {}
        for document in self._store.document_list(KIND) if self._store else ():
            try:
                site, rule = json.loads(document.name)
                weights = json.loads(document.body)
                found[site, rule] = {
                    ipaddress.ip_address(rloc): int(weight) for rloc, weight in weights.items()
                }
            except (ValueError, TypeError, AttributeError):
                continue
        self._kept = dict(found)
        return found

    def save(self, weights: BalancedWeights, now: float) -> None:
        """Keep these and no others; writes what differs from the last time."""
        if self._store is None:
            return
        for key in self._kept.keys() - weights.keys():
            self._store.document_delete(KIND, json.dumps(key))
            del self._kept[key]
        for key, of_rule in weights.items():
            if self._kept.get(key) != of_rule:
                body = json.dumps({str(rloc): weight for rloc, weight in of_rule.items()})
                self._store.document_put(KIND, json.dumps(key), body, now)
                self._kept[key] = dict(of_rule)
