"""What one event leads to, collected while the parts of an xTR work on it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lisp_sdn.actions import Action, Dropped, Event, PacketOut
from lisp_sdn.rules import RuleAction
from lisp_sdn.xtr.requests import Probe, Register, Report, Resolve, Verify

XtrAction = Action | Resolve | Register | Probe | Verify | Report

Owner = tuple[str, Any]
"""Owns rules: ("set", RLOC-set), ("cache", destination prefix), ("host", key), ("away", key),
("pending", key), ("static", 0), ("guard", key or None)."""


class Outbox:
    """Actions, owners whose rules must be compiled again, and counters that only grow."""

    def __init__(self, name: str, datapath_id: int) -> None:
        self.name = name
        self.datapath_id = datapath_id
        self.connected = False
        self.counters: Counter[str] = Counter()
        self.dirty: dict[Owner, None] = {}
        self._first: list[XtrAction] = []
        self._packets: list[PacketOut] = []

    def take_over(self, old: Outbox) -> None:
        """Go on where another one ends: counters only grow."""
        self.connected = old.connected
        self.counters.update(old.counters)

    def act(self, action: XtrAction) -> None:
        """Any action but a packet-out."""
        self._first.append(action)

    def touch(self, kind: str, key: Any) -> None:
        """The rules of this owner may have changed."""
        self.dirty[kind, key] = None

    def drop(self, reason: str, detail: str = "", source: str = "") -> None:
        """Tell that something was dropped or refused; the ledger counts it."""
        self._first.append(Dropped(f"xtr.{self.name}", reason, detail, source))

    def event(self, kind: str, subject: str, **data: object) -> None:
        """Tell that something worth knowing happened."""
        self._first.append(Event(kind, subject, {"xtr": self.name, **data}))

    def packet(self, frame: bytes, in_port: int, *actions: RuleAction) -> None:
        """Send a frame; after the rules of this event, in the order of the calls."""
        if not self.connected:
            self.drop("switch-disconnected")
            return
        self.counters["packet-outs"] += 1
        self._packets.append(PacketOut(self.datapath_id, frame, int(in_port), actions))

    def take(self, rules: list[Action]) -> list[XtrAction]:
        """Everything collected: rules first, then packets, then the rest."""
        actions: list[XtrAction] = [*rules, *self._packets, *self._first]
        self._first, self._packets = [], []
        return actions
