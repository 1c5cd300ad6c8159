"""Through loss, reordering, repetition, crashes: everybody ends with the registered truth."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

sys.path.insert(0, str(Path(__file__).parent))

from mapping_network import Etr, Network

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Locator

OWN = [
    ["10.0.0.0/24", "10.0.0.0/26", "10.0.0.7/32"],
    ["10.0.0.64/26", "10.0.0.128/26", "10.0.0.9/32"],
    ["10.0.0.192/27", "10.0.0.130/32"],
    ["10.0.0.192/27", "10.0.0.130/32"],
]
"""EID-prefixes of each ETR; the last two share theirs with the merge bit."""

HOSTS = [
    EidPrefix.from_text(f"10.0.{n}") for n in ("0.1", "0.7", "0.9", "0.70", "0.130", "0.200", "1.1")
]
SHORT_TIMES = st.sampled_from([0.0, 0.05, 0.2, 1.0, 5.0])
RLOC_SETS = st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True)


class MappingSystemMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.net = Network(seed)

    def _etr(self, number: int) -> Etr:
        return self.net.etrs[number]

    @rule(number=st.integers(0, 3), which=st.integers(0, 2), rlocs=RLOC_SETS, seconds=SHORT_TIMES)
    def register(self, number: int, which: int, rlocs: list[int], seconds: float) -> None:
        own = OWN[number]
        locators = tuple(
            Locator(ipaddress.ip_address(f"203.0.{number}.{n}")) for n in sorted(rlocs)
        )
        self._etr(number).set(EidPrefix.from_text(own[which % len(own)]), locators)
        self.net.run(seconds)

    @rule(numbers=st.lists(st.integers(0, 3), min_size=1, max_size=4), seconds=SHORT_TIMES)
    def register_and_crash(self, numbers: list[int], seconds: float) -> None:
        for number in numbers:
            self.register(number, number, [1 + len(numbers) % 3], seconds)
        self.net.crash()

    @rule(number=st.integers(0, 3), which=st.integers(0, 2), seconds=SHORT_TIMES)
    def withdraw(self, number: int, which: int, seconds: float) -> None:
        own = OWN[number]
        self._etr(number).withdraw(EidPrefix.from_text(own[which % len(own)]))
        self.net.run(seconds)

    @rule(number=st.integers(0, 3))
    def etr_fails_or_returns(self, number: int) -> None:
        etr = self._etr(number)
        etr.up = not etr.up
        etr.waiting = None
        etr.due, etr.backoff = self.net.now, 1.0
        etr.promised.clear()
        etr.released.clear()

    @rule(number=st.integers(0, 1), host=st.sampled_from(HOSTS))
    def ask(self, number: int, host: EidPrefix) -> None:
        self.net.itrs[number].ask(host)

    @rule()
    def map_server_crashes(self) -> None:
        self.net.crash()

    @rule(
        loss=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        repeat=st.sampled_from([0.0, 0.3]),
        delay=st.sampled_from([0.0, 0.5, 5.0]),
    )
    def weather(self, loss: float, repeat: float, delay: float) -> None:
        self.net.loss, self.net.repeat, self.net.delay = loss, repeat, delay

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 40.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.net.run(seconds)

    @invariant()
    def what_a_map_notify_promised_is_kept(self) -> None:
        """Also after a crash: what was acknowledged is in the store."""
        for etr in self.net.etrs if hasattr(self, "net") else ():
            if not etr.up or self.net.now > etr.due:
                continue
            mine = {
                e.eid: {x.rloc for x in e.mapping.locators}
                for e in self.net.ms.inventory.registrations(None)
                if e.xtr_id == int(etr.address)
            }
            for eid, locators in etr.promised.items():
                assert mine.get(eid) == {x.rloc for x in locators}
            assert not etr.released & set(mine)

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        net = self.net
        net.loss = net.repeat = net.delay = 0.0
        # Longer than every backoff, registration and TTL (15 minutes, of a negative answer).
        net.run(1000.0)
        assert net.registered() == net.truth()
        for itr in net.itrs:
            for host in HOSTS:
                itr.ask(host)
        net.run(30.0)
        for itr in net.itrs:
            assert not itr.asking
            for host in HOSTS:
                found = itr.look_up(host)
                assert found is not None
                assert found.locators == net.true_answer(host), str(host)


MappingSystemMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True
)
TestMappingSystem = MappingSystemMachine.TestCase


def test_a_change_reaches_an_itr_long_before_its_ttl() -> None:
    net = Network(1)
    net.loss, net.delay, net.repeat = 0.2, 0.3, 0.2
    etr, itr = net.etrs[0], net.itrs[0]
    eid, host = EidPrefix.from_text("10.0.0.0/26"), HOSTS[0]
    for n in range(10):
        locators = (Locator(ipaddress.ip_address(f"203.0.0.{n + 1}")),)
        etr.set(eid, locators)
        net.run(1.0)
        itr.ask(host)
        net.run(15.0)
        found = itr.look_up(host)
        assert found is not None
        assert found.locators == locators, n
