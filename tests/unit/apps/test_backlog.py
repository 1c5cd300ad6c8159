"""Who scans waits; who does not, does not wait for him."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address

import eventlet
import pytest

from lisp_sdn.actions import PacketIn
from lisp_sdn.apps import backlog
from lisp_sdn.apps.backlog import Backlog, PortQueue, is_miss, source
from lisp_sdn.rules import CookieClass, cookie
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.pipeline import Punt

MISS = cookie(CookieClass.PIPELINE, Punt.MISS)
TARGET = IPv4Address("10.2.0.1")


def miss(port: int = 1, host: int = 1, number: int = 0, datapath: int = 1) -> PacketIn:
    """A miss of host 10.1.0.HOST."""
    packet = replies.ipv4(IPv4Address(0x0A010000 + host), TARGET, 17, number.to_bytes(4, "big"))
    frame = replies.ip_frame("02:00:5e:00:00:fe", "02:00:00:00:00:01", 4, packet)
    return PacketIn(datapath, 9, MISS, port, frame, 0)


class Recorder:
    """What a backlog did."""

    def __init__(self, per_port: int = 100) -> None:
        self.handled: list[PacketIn] = []
        self.dropped: list[PacketIn] = []
        self.backlog = Backlog(self.handled.append, self.dropped.append, per_port)

    def put(self, *events: PacketIn) -> None:
        for event in events:
            self.backlog.put(event)

    def finish(self) -> None:
        for _ in range(100):
            eventlet.sleep(0)
        assert len(self.backlog) == 0


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_what_is_read_together_waits_until_all_is_read(recorder: Recorder) -> None:
    events = [miss(number=number) for number in range(8)]
    recorder.put(*events)
    assert recorder.handled == []
    eventlet.sleep(0)
    assert recorder.handled == events
    recorder.finish()
    recorder.put(*events)
    recorder.finish()
    assert recorder.handled == events * 2


def test_no_miss_of_a_flow_overtakes_another(recorder: Recorder) -> None:
    events = [miss(number=number) for number in range(50)]
    recorder.put(*events[:30])
    eventlet.sleep(0)
    recorder.put(*events[30:])
    recorder.finish()
    assert recorder.handled == events


def test_ports_take_turns(recorder: Recorder) -> None:
    recorder.put(*(miss(1, number=number) for number in range(80)))
    late = [miss(2, number=1), miss(1, number=99, datapath=2)]
    recorder.put(*late)
    recorder.finish()
    places = [recorder.handled.index(event) for event in late]
    assert max(places) <= 2
    assert len(recorder.handled) == 82


def test_sources_behind_one_port_take_turns(recorder: Recorder) -> None:
    recorder.put(*(miss(1, host=1, number=number) for number in range(80)))
    late = miss(1, host=2)
    recorder.put(late)
    recorder.finish()
    assert recorder.handled.index(late) <= 1


def test_what_does_not_fit_is_taken_from_who_has_most() -> None:
    recorder = Recorder(per_port=10)
    recorder.put(*(miss(1, host=1, number=number) for number in range(30)))
    assert len(recorder.backlog) == 10
    assert len(recorder.dropped) == 20
    others = [miss(1, host=host) for host in range(2, 6)]
    recorder.put(*others)
    assert len(recorder.backlog) == 10
    assert all(event in others or source(event.frame)[-1] == 1 for event in recorder.dropped)
    recorder.finish()
    assert set(others) <= set(recorder.handled)
    # The first packets are the ones that are kept.
    kept = [event for event in recorder.handled if event not in others]
    assert kept[:5] == [miss(1, host=1, number=n) for n in range(5)]


def test_many_sources_cannot_grow_a_queue() -> None:
    queue = PortQueue(16)
    dropped = [queue.put(miss(host=host)) for host in range(200)]
    assert len(queue) == 16
    assert sum(event is not None for event in dropped) == 184


def test_ports_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "PORTS", 4)
    recorder = Recorder()
    recorder.put(*(miss(port) for port in range(10)))
    assert len(recorder.dropped) == 6
    recorder.finish()


def test_other_green_threads_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SLICE", 0.0005)
    turns: Counter[str] = Counter()

    def handle(event: PacketIn) -> None:
        turns["handled"] += 1
        until = backlog.perf_counter() + 0.0002
        while backlog.perf_counter() < until:
            pass

    waiting = Backlog(handle, lambda event: None)
    for number in range(100):
        waiting.put(miss(number=number))
    while len(waiting):
        eventlet.sleep(0)
        turns["others"] += 1
    assert turns["handled"] == 100
    assert turns["others"] >= 20


def test_a_switch_that_is_gone_waits_for_nothing(recorder: Recorder) -> None:
    recorder.put(*(miss(number=number) for number in range(20)))
    recorder.put(*(miss(number=number, datapath=2) for number in range(20)))
    recorder.backlog.forget(1)
    recorder.finish()
    assert Counter(event.datapath_id for event in recorder.handled) == {2: 20}


def test_close_ends_the_worker(recorder: Recorder) -> None:
    recorder.put(*(miss(number=number) for number in range(20)))
    recorder.backlog.close()
    eventlet.sleep(0)
    assert recorder.handled == []
    assert len(recorder.backlog) == 0


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (CookieClass.PIPELINE, Punt.MISS, True),
        (CookieClass.PIPELINE, Punt.LOCAL, True),
        (CookieClass.PIPELINE, Punt.TOO_BIG, True),
        (CookieClass.PIPELINE, Punt.SOURCE, True),
        (CookieClass.PIPELINE, Punt.ARRIVAL, True),
        (CookieClass.PIPELINE, Punt.ARP, False),
        (CookieClass.PIPELINE, Punt.NEIGHBOUR, False),
        (CookieClass.PIPELINE, Punt.GATEWAY, False),
        (CookieClass.PENDING, 42, True),
        (CookieClass.MAP_CACHE, 42, True),
        (CookieClass.UNDERLAY, 0, False),
    ],
)
def test_what_is_a_miss(kind: CookieClass, value: int, expected: bool) -> None:
    assert is_miss(PacketIn(1, 0, cookie(kind, value), 1, b"", 0)) is expected


def test_sources() -> None:
    a, b = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    six = replies.ip_frame("02:00:5e:00:00:fe", "02:00:00:00:00:01", 6, replies.ipv6(a, b, 17, b""))
    assert source(six) == a.packed
    assert source(miss(host=7).frame) == IPv4Address("10.1.0.7").packed
    assert source(b"short") == b"short"


@pytest.mark.filterwarnings("ignore")
def test_a_miss_that_fails_does_not_end_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    handled: list[PacketIn] = []

    def handle(event: PacketIn) -> None:
        if event.in_port == 1:
            raise RuntimeError("a mistake of ours")
        handled.append(event)

    waiting = Backlog(handle, lambda event: None)
    waiting.put(miss(1))
    waiting.put(miss(2))
    eventlet.sleep(0)
    waiting.put(miss(3))
    eventlet.sleep(0)
    eventlet.sleep(0)
    assert [event.in_port for event in handled] == [2, 3]
