"""A brain that notes what it is told, and a Ryu datapath without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from lisp_sdn.actions import Action

LOCAL = 0xFFFFFFFE


class FakeBrain:
    """Every event is noted in `calls`; `answers` has the actions to return by method name."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, list[Action]] = {}
        self.settled: list[Action] = []
        self.timer: float | None = None

    def __getattr__(self, name: str) -> Callable[..., list[Action]]:
        def handler(*arguments: Any) -> list[Action]:
            self.calls.append((name, *arguments))
            return self.answers.get(name, [])

        handler.__name__ = name
        return handler

    def settle(self, actions: Iterable[Action], now: float) -> list[Action]:
        new = list(actions)
        self.settled += new
        return new

    def next_timer(self) -> float | None:
        return self.timer

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of a method."""
        return [call[1:] for call in self.calls if call[0] == name]

    def reasons(self) -> list[str]:
        """Reasons of the drops, kinds of the events, in order."""
        return [getattr(entry, "reason", getattr(entry, "kind", "")) for entry in self.settled]


class FakeSinks:
    """Notes actions in order; `fail` raises instead."""

    def __init__(self) -> None:
        self.done: list[Action] = []
        self.fail: Exception | None = None

    def _do(self, action: Action) -> None:
        if self.fail is not None:
            raise self.fail
        self.done.append(action)

    send_control = apply_rules = packet_out = read_rules = read_counters = _do
    announce = withdraw = shut_neighbour = _do


def port(number: int, name: str) -> SimpleNamespace:
    """A port as Ryu keeps it."""
    mac = f"02:00:00:00:00:{number & 0xFF:02x}"
    return SimpleNamespace(port_no=number, name=name.encode(), hw_addr=mac, config=0, state=0)


class FakeDatapath:
    """What Ryu's Datapath is to us: an id, ports, `send` and `close`."""

    def __init__(self, datapath_id: int | None = 0xA1) -> None:
        self.id = datapath_id
        self.state = "main"
        self.address = ("192.0.2.9", 40000)
        self.ports = {2: port(2, "lisp0"), 1: port(1, "p1")}
        self.sent: list[bytes] = []
        self.is_closed = False
        self.socket = SimpleNamespace(recv=lambda size: b"")

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def close(self) -> None:
        self.is_closed = True

    def messages(self) -> list[tuple[int, int, bytes]]:
        """Everything sent, as (type, xid, whole message)."""
        data, found = b"".join(self.sent), []
        while data:
            length = int.from_bytes(data[2:4], "big")
            found.append((data[1], int.from_bytes(data[4:8], "big"), data[:length]))
            data = data[length:]
        return found
