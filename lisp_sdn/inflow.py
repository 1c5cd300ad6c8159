"""Inbound octets of every RLOC of ours, from the counters of the flows that decapsulate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from lisp_sdn.actions import FlowCounter, FlowCounters, ReadCounters
from lisp_sdn.address import IPAddress
from lisp_sdn.rules import CookieClass, Match


class Inflow:
    """Adds up what the switches tell; a flow that was installed anew begins at zero again.

    octets: inner octets received per RLOC since the controller started. rates: octets a second
    between the last two answers of the RLOC's switch.
    """

    def __init__(self) -> None:
        self.octets: Counter[IPAddress] = Counter()
        self.rates: dict[IPAddress, float] = {}
        self._last: dict[tuple[int, Match], int] = {}
        self._when: dict[int, float] = {}
        self._awaited: set[int] = set()

    def ask(self, datapath_ids: Collection[int]) -> list[ReadCounters]:
        """Questions to these switches; what was not answered since the last time is forgotten."""
        self._awaited = set(datapath_ids)
        return [
            ReadCounters(datapath_id, CookieClass.DECAPSULATION)
            for datapath_id in sorted(self._awaited)
        ]

    def take(self, answer: FlowCounters, now: float) -> bool:
        """Take an answer; True when it was the last one awaited. now: epoch seconds."""
        grown: Counter[IPAddress] = Counter()
        for flow in answer.flows:
            self._add(answer.datapath_id, flow, grown)
        self.octets.update(grown)
        passed = now - self._when.get(answer.datapath_id, now)
        self._when[answer.datapath_id] = now
        if passed > 0:
            self.rates.update({rloc: octets / passed for rloc, octets in grown.items()})
        if answer.datapath_id not in self._awaited:
            return False
        self._awaited.discard(answer.datapath_id)
        return not self._awaited

    def _add(self, datapath_id: int, flow: FlowCounter, grown: Counter[IPAddress]) -> None:
        fields = dict(flow.match)
        rloc = fields.get("tun_ipv4_dst", fields.get("tun_ipv6_dst"))
        if not isinstance(rloc, IPAddress):
            return
        key = (datapath_id, flow.match)
        before = self._last.get(key)
        self._last[key] = flow.octets
        if before is None:
            # Carried before we looked: nobody knows when.
            grown[rloc] += 0
            return
        grown[rloc] += flow.octets - before if flow.octets >= before else flow.octets
