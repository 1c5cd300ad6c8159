"""RLOC-probes: a core with a clock that tests move, and ETRs that answer or do not."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Limits, Reachability
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.views import LocatorState
from lisp_sdn.wire import EidRecord, MapReply
from lisp_sdn.xtr.damping import Damping
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.reachability import Prober
from lisp_sdn.xtr.requests import Probe
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

ONE, TWO = ip_address("203.0.113.1"), ip_address("203.0.113.2")
OWN = (ip_address("192.0.2.1"), ip_address("192.0.2.129"))
EID = EidPrefix.from_text("[7] 10.2.0.0/16")
SETTINGS = Reachability()
NONE: frozenset[IPAddress] = frozenset()


class Lab:
    """answering: RTT of the RLOCs that answer. late: how late every timer is."""

    def __init__(self, settings: Reachability = SETTINGS, ours: frozenset[IPAddress] = NONE):
        self.now = 1000.0
        self.late = 0.0
        self.answering: dict[IPAddress, float] = {ONE: 0.01, TWO: 0.02}
        self.targets: dict[IPAddress, EidPrefix] = {ONE: EID, TWO: EID}
        self.probes: list[tuple[float, Probe]] = []
        self.drops: list[str] = []
        self.events: list[Event] = []
        self._coming: list[tuple[float, MapReply]] = []
        self.timers = Timers()
        self.out = Outbox("xa", 1)
        topology = Topology(1, 100, (), OWN, Limits())
        rng = random.Random(5)
        self.prober = Prober(
            settings, 1000, self.out, self.timers, lambda: topology, rng, lambda: self.targets
        )
        self.prober.enable(True, ours, NONE, self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            timer = self.timers.next()
            when = [] if timer is None else [timer + self.late]
            when += [at for at, _ in self._coming]
            if not when or min(when) > end:
                break
            self.now = max(self.now, min(when))
            for at, reply in [item for item in self._coming if item[0] <= self.now]:
                self._coming.remove((at, reply))
                self.prober.answer(reply, self.now)
            for kind, key in self.timers.due(self.now - self.late):
                if kind == "probe":
                    self.prober.due(key, self.now)
                else:
                    self.prober.scan(self.now)
            self._carry()
        self.now = end

    def _carry(self) -> None:
        for action in self.out.take([]):
            if isinstance(action, Probe):
                self.probes.append((self.now, action))
                rtt = self.answering.get(action.destination)
                if rtt is not None:
                    nonce = action.request.nonce
                    self._coming.append((self.now + rtt, reply(nonce, action.destination)))
            elif isinstance(action, Dropped):
                self.drops.append(action.reason)
            elif isinstance(action, Event):
                self.events.append(action)

    def tell(self, message: MapReply) -> None:
        self.prober.answer(message, self.now)
        self._carry()

    def state(self, rloc: IPAddress) -> LocatorState:
        target = self.prober[rloc]
        assert target is not None
        return target.state


def reply(nonce: int, rloc: IPAddress, *, authoritative: bool = True) -> MapReply:
    locators = (Locator(rloc, probed=True), Locator(ip_address("203.0.113.77")))
    mapping = replace(Mapping(EID).with_locators(locators), authoritative=authoritative)
    return MapReply(nonce, (EidRecord.from_mapping(mapping),), probe=True)


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_probes_go_to_every_rloc_in_use_with_jitter(lab: Lab) -> None:
    lab.run(60)
    for rloc, rtt in lab.answering.items():
        times = [at for at, probe in lab.probes if probe.destination == rloc]
        gaps = [b - a - rtt for a, b in itertools.pairwise(times)]
        assert 0.37 < min(gaps) < 0.43
        assert 0.57 < max(gaps) < 0.63
        assert lab.state(rloc) is LocatorState.UP
    target = lab.prober[TWO]
    assert target is not None
    assert target.rtt == pytest.approx(0.02)
    (request,) = {replace(p.request, nonce=0) for _, p in lab.probes}
    assert (request.probe, request.itr_rlocs, request.records[0].eid) == (True, (OWN[0],), EID)


def test_silence_is_found_in_less_than_a_second(lab: Lab) -> None:
    lab.run(5)
    del lab.answering[ONE]
    began = lab.now
    while lab.prober.down == NONE:
        lab.run(0.01)
    assert lab.prober.down == {ONE}
    assert lab.now - began < 1.0
    # Also by the other RLOC of ours: maybe only a way back is broken.
    assert {p.source for _, p in lab.probes[-4:] if p.destination == ONE} == set(OWN)
    assert [(e.kind, e.subject) for e in lab.events] == [("rloc.unreachable", str(ONE))]


def test_it_is_trusted_again_after_a_while_and_later_each_time(lab: Lab) -> None:
    waits = []
    for _ in range(3):
        lab.answering[ONE] = 0.01
        lab.run(5)
        del lab.answering[ONE]
        lab.run(3)
        assert lab.prober.down == {ONE}
        lab.answering[ONE] = 0.01
        began = lab.now
        while lab.prober.down:
            lab.run(0.05)
        waits.append(lab.now - began)
    assert 1 <= waits[0] < 2.5
    assert 2 <= waits[1] < 3.5
    assert 4 <= waits[2] < 5.5


def test_an_rloc_that_never_answered_is_used_and_told_of_once_when_it_is_ours() -> None:
    lab = Lab(ours=frozenset((TWO,)))
    lab.answering.clear()
    lab.run(5)
    assert (lab.state(ONE), lab.state(TWO)) == (LocatorState.UNKNOWN, LocatorState.UNKNOWN)
    assert [(event.kind, event.subject) for event in lab.events] == [("rloc.silent", str(TWO))]


def test_a_slow_path_is_not_a_dead_one(lab: Lab) -> None:
    lab.answering[ONE] = 0.6
    lab.run(30)
    assert lab.state(ONE) is LocatorState.UP
    target = lab.prober[ONE]
    assert target is not None
    assert target.rtt == pytest.approx(0.6)


def test_a_controller_that_was_held_up_condemns_nobody(lab: Lab) -> None:
    lab.run(5)
    lab.late = 0.3
    lab.answering = {ONE: 0.35, TWO: 0.35}
    lab.run(10)
    assert lab.prober.down == NONE


def test_nothing_is_known_of_an_rloc_whose_switch_is_away(lab: Lab) -> None:
    lab.run(5)
    lab.prober.enable(True, frozenset((ONE,)), frozenset((TWO,)), lab.now)
    lab.answering.clear()
    before = sum(p.destination == TWO for _, p in lab.probes)
    lab.run(5)
    assert lab.prober.down == {ONE}
    assert sum(p.destination == TWO for _, p in lab.probes) <= before + 1


def test_an_rloc_that_is_used_no_longer_is_forgotten(lab: Lab) -> None:
    lab.run(5)
    del lab.answering[ONE]
    lab.run(3)
    del lab.targets[ONE]
    lab.run(2)
    assert lab.prober.down == NONE
    assert lab.prober[ONE] is None
    count = len(lab.probes)
    lab.run(10)
    assert all(p.destination == TWO for _, p in lab.probes[count:])


def test_what_does_not_count_as_an_answer(lab: Lab) -> None:
    lab.answering.clear()
    lab.run(0.6)
    (_, probe) = next(item for item in lab.probes if item[1].destination == ONE)
    nonce = probe.request.nonce
    lab.tell(reply(nonce ^ 1, ONE))
    lab.tell(reply(nonce, ONE, authoritative=False))
    assert lab.drops == ["unknown-nonce", "probe-not-authoritative"]
    assert lab.state(ONE) is LocatorState.UNKNOWN


def test_the_p_bit_says_which_rloc_answered(lab: Lab) -> None:
    lab.answering.clear()
    lab.run(0.6)
    (_, probe) = next(item for item in lab.probes if item[1].destination == ONE)
    lab.tell(reply(probe.request.nonce, TWO))
    assert (lab.state(ONE), lab.state(TWO)) == (LocatorState.UNKNOWN, LocatorState.UP)


def test_many_rlocs_share_the_rate() -> None:
    lab = Lab()
    lab.prober._rate = 20
    lab.targets = {ip_address(f"203.0.113.{n}"): EID for n in range(1, 101)}
    lab.answering = dict.fromkeys(lab.targets, 0.001)
    lab.run(10)
    count = len(lab.probes)
    lab.run(50)
    assert 18 < (len(lab.probes) - count) / 50 < 22


def test_damping_forgets() -> None:
    damping = Damping(1.0, 8.0)
    waits = []
    for at in (0, 5, 10, 15, 20, 500):
        damping.failed(float(at))
        waits.append(damping.wait)
    assert waits == [1, 2, 4, 8, 8, 1]
