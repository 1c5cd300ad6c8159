"""Actions are carried out in order, and no bug stops the controller."""

from __future__ import annotations

import logging

import pytest
from edge_fakes import FakeBrain, FakeSinks

from lisp_sdn.actions import ApplyRules, Dropped, Event, MappingChanged, PacketOut, ReadRules
from lisp_sdn.actions import SendControl as Send
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.log import BURST, PERIOD, LimitedLog

APPLY, READ = ApplyRules(1, ()), ReadRules(1)
OUT = PacketOut(1, b"frame", 1, ())


@pytest.fixture
def brain() -> FakeBrain:
    return FakeBrain()


@pytest.fixture
def sinks() -> FakeSinks:
    return FakeSinks()


@pytest.fixture
def dispatcher(brain: FakeBrain, sinks: FakeSinks) -> Dispatcher:
    made = Dispatcher(brain, clock=lambda: 100.0)
    made.sinks = sinks
    return made


def test_an_event_reaches_the_brain_with_the_time_and_its_actions_go_out_in_order(
    brain: FakeBrain, sinks: FakeSinks, dispatcher: Dispatcher
) -> None:
    send = Send(b"x", Endpoint(EidPrefix.from_text("10.0.0.1/32").network[0], 4342))
    brain.answers["receive"] = [APPLY, send, OUT, READ, APPLY]
    dispatcher.event(brain.receive, b"data", "source")
    assert brain.calls == [("receive", b"data", "source", 100.0)]
    assert sinks.done == [APPLY, send, OUT, READ, APPLY]


def test_timers_and_store_are_looked_at_after_every_event_even_a_failed_one(
    brain: FakeBrain, dispatcher: Dispatcher
) -> None:
    looks: list[int] = []
    dispatcher.after.append(lambda: looks.append(1))

    def broken(now: float) -> list[object]:
        raise KeyError("x")

    dispatcher.event(brain.start)
    dispatcher.event(broken)
    assert looks == [1, 1]


def test_a_bug_in_looking_at_timers_is_survived(brain: FakeBrain, dispatcher: Dispatcher) -> None:
    looks: list[int] = []
    dispatcher.after += [lambda: looks.append(1 // 0), lambda: looks.append(2)]
    dispatcher.event(brain.start)
    assert looks == [2]
    assert brain.reasons() == ["internal_error"]


def test_a_bug_is_logged_with_traceback_counted_and_survived(
    brain: FakeBrain, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(now: float) -> list[object]:
        raise KeyError("x")

    dispatcher.event(broken)
    assert brain.reasons() == ["internal_error"]
    assert caplog.records[0].exc_info is not None


def test_an_action_that_fails_does_not_keep_back_the_next(
    brain: FakeBrain, sinks: FakeSinks, dispatcher: Dispatcher
) -> None:
    sinks.fail = RuntimeError("no")
    dispatcher.perform([APPLY], 0.0)
    sinks.fail = None
    dispatcher.perform([READ], 0.0)
    assert sinks.done == [READ]
    assert brain.reasons() == ["internal_error"]


def test_an_action_between_cores_is_a_bug_at_the_edge(
    brain: FakeBrain, dispatcher: Dispatcher
) -> None:
    dispatcher.perform([MappingChanged(EidPrefix.from_text("10.0.0.0/8"))], 0.0)
    assert brain.reasons() == ["internal_error"]


def test_what_the_edges_see_is_counted_by_the_brain(
    brain: FakeBrain, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher.report(Dropped("control", "send_enetunreach", "to 192.0.2.1:4342"))
    assert brain.reasons() == ["send_enetunreach"]
    assert "dropped send_enetunreach: to 192.0.2.1:4342" in caplog.text


def test_the_log_says_little_about_much(caplog: pytest.LogCaptureFixture) -> None:
    log = LimitedLog()
    dropped = Dropped("wire", "truncated", "at octet 3", "192.0.2.1:4342")
    for _ in range(1000):
        log.dropped(dropped, 50.0)
    assert len(caplog.records) == BURST
    assert caplog.messages[0] == "wire: dropped truncated from 192.0.2.1:4342: at octet 3"
    log.dropped(dropped, 50.0 + PERIOD)
    assert caplog.messages[-1].endswith(f"({1000 - BURST} more like the last)")


def test_events_are_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    LimitedLog().event(Event("map-cache.added", "10.2.0.0/24", {"iid": 1, "rlocs": 2}), 0.0)
    assert caplog.messages == ["map-cache.added 10.2.0.0/24 iid=1 rlocs=2"]


def test_the_log_remembers_only_so_many_things() -> None:
    log = LimitedLog()
    for number in range(5_000):
        log.dropped(Dropped("wire", f"reason_{number}"), 0.0)
    assert len(log._windows) <= 1_000
