"""The brain is woken when it asked for it, and what it appended is written."""

from __future__ import annotations

from collections.abc import Callable

import eventlet
import pytest
from edge_fakes import FakeBrain, FakeSinks

from lisp_sdn.apps import durability, timers
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.durability import Durability
from lisp_sdn.apps.timers import Timers
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.store import Change, MemoryStore, Table

CHANGE = Change(Table.NONCES, b"key", b"value")


@pytest.fixture
def brain() -> FakeBrain:
    return FakeBrain()


@pytest.fixture
def dispatcher(brain: FakeBrain) -> Dispatcher:
    made = Dispatcher(brain)
    made.sinks = FakeSinks()
    return made


def until(condition: Callable[[], bool]) -> None:
    with eventlet.Timeout(5):
        while not condition():
            eventlet.sleep(0.001)


def test_a_timer_fires_when_it_is_due_and_not_before(
    brain: FakeBrain, dispatcher: Dispatcher
) -> None:
    clock = Timers(brain, dispatcher)
    dispatcher.after.append(clock.rearm)
    start = dispatcher.clock()
    brain.timer = start + 0.05
    clock.rearm()
    until(lambda: bool(brain.named("handle_timer")))
    brain.timer = None
    ((now,),) = brain.named("handle_timer")[:1]
    assert now >= start + 0.05
    clock.stop()


def test_a_timer_that_moves_nearer_is_heeded(brain: FakeBrain, dispatcher: Dispatcher) -> None:
    clock = Timers(brain, dispatcher)
    dispatcher.after.append(clock.rearm)
    brain.timer = dispatcher.clock() + 3600
    clock.rearm()
    brain.timer = dispatcher.clock() + 0.02
    dispatcher.event(brain.receive, b"")
    with eventlet.Timeout(timers.LONGEST / 2):
        while not brain.named("handle_timer"):
            eventlet.sleep(0.001)
    clock.stop()


def test_a_timer_in_the_past_lets_others_have_their_turn(
    brain: FakeBrain, dispatcher: Dispatcher
) -> None:
    clock = Timers(brain, dispatcher)
    dispatcher.after.append(clock.rearm)
    brain.timer = 0.0
    clock.rearm()
    until(lambda: len(brain.named("handle_timer")) >= 3)
    clock.stop()
    eventlet.sleep(0.01)
    count = len(brain.named("handle_timer"))
    eventlet.sleep(0.01)
    assert len(brain.named("handle_timer")) == count


def test_the_clock_is_looked_at_again_when_it_was_set_forward(
    brain: FakeBrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "LONGEST", 0.02)
    now = [1000.0]
    dispatcher = Dispatcher(brain, clock=lambda: now[0])
    dispatcher.sinks = FakeSinks()
    clock = Timers(brain, dispatcher)
    dispatcher.after.append(clock.rearm)
    brain.timer = 5000.0
    clock.rearm()
    now[0] = 5000.5
    until(lambda: bool(brain.named("handle_timer")))
    clock.stop()


def test_what_is_appended_gets_durable_and_the_brain_is_told(
    brain: FakeBrain, dispatcher: Dispatcher
) -> None:
    store = brain.__dict__["store"] = MemoryStore()
    writer = Durability(brain, dispatcher)
    dispatcher.after.append(writer.look)
    dispatcher.event(brain.receive, b"")
    eventlet.sleep(0.01)
    assert brain.named("durable") == []
    store.append([CHANGE])
    store.append([CHANGE])
    dispatcher.event(brain.receive, b"")
    until(lambda: bool(brain.named("durable")))
    assert store.durable_seq == store.seq
    writer.close()


def test_a_write_that_fails_is_counted_and_tried_again(
    brain: FakeBrain, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability, "RETRY", 0.01)
    store = brain.__dict__["store"] = MemoryStore()
    flush, failures = store.flush, [StoreError("disk full")]

    def failing_once() -> int:
        if failures:
            raise failures.pop()
        return flush()

    monkeypatch.setattr(store, "flush", failing_once)
    writer = Durability(brain, dispatcher)
    store.append([CHANGE])
    writer.look()
    until(lambda: bool(brain.named("durable")))
    assert brain.reasons() == ["write_failed"]
    writer.close()


def test_without_loopback_it_writes_all_the_same(
    brain: FakeBrain, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_loopback() -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(durability.tpool, "setup", no_loopback)
    store = brain.__dict__["store"] = MemoryStore()
    writer = Durability(brain, dispatcher)
    store.append([CHANGE])
    writer.look()
    until(lambda: bool(brain.named("durable")))
    assert store.durable_seq == store.seq
    writer.close()
