"""Packets that wait until the source guard has a verdict about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lisp_sdn.actions import PacketIn
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.verdicts import GuardKey


@dataclass(slots=True)
class Waiting:
    """Packets of one pair. count: with those that went on already and are only counted."""

    iid: int
    count: int = 0
    packets: list[PacketIn] = field(default_factory=list)


class WaitingRoom:
    """pairs: under verification at once. per_pair, total: packets that wait."""

    def __init__(self, outbox: Outbox, pairs: int, per_pair: int, total: int) -> None:
        self._out = outbox
        self._pairs = pairs
        self._per_pair = per_pair
        self._total = total
        self._waiting: dict[GuardKey, Waiting] = {}
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def add(self, key: GuardKey, event: PacketIn, iid: int, *, hold: bool) -> bool:
        """One more packet of a pair; whether the pair is new. hold: the packet has not gone on."""
        waiting = self._waiting.get(key)
        new = waiting is None
        if waiting is None:
            if len(self._waiting) >= self._pairs:
                self._out.drop("source-guard-pending", str(key.source), str(key.origin))
                return False
            waiting = self._waiting[key] = Waiting(iid)
        if not hold:
            waiting.count += 1
        elif len(waiting.packets) >= self._per_pair:
            self._out.drop("held-per-eid", str(key.source), str(key.origin))
        elif self._held >= self._total:
            self._out.drop("held-total", str(key.source), str(key.origin))
        else:
            self._held += 1
            waiting.count += 1
            waiting.packets.append(event)
            self._out.counters["packets-held"] += 1
        return new

    def take(self, key: GuardKey) -> Waiting | None:
        """The packets of a pair; None when it was not under verification."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._held -= len(waiting.packets)
        return waiting

    def empty(self) -> list[PacketIn]:
        """All packets; the room is empty."""
        packets = [event for waiting in self._waiting.values() for event in waiting.packets]
        self._waiting.clear()
        self._held = 0
        return packets

    def clear(self, reason: str) -> None:
        """Drop everything."""
        for key in list(self._waiting):
            waiting = self.take(key)
            for _ in waiting.packets if waiting is not None else ():
                self._out.drop(reason, str(key.source), str(key.origin))
