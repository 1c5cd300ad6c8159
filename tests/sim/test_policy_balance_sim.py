"""The closed loop against a network in memory: flows hashed to RLOCs by weight, like OVS."""

from __future__ import annotations

import bisect
import ipaddress
import itertools
import random
from collections.abc import Callable

import pytest

from lisp_sdn.address import IPAddress
from lisp_sdn.policy import Balancer, BalanceState
from lisp_sdn.policy_settings import Balance

A, B, C = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2, 3))


class Flows:
    """Flows with a fixed hash each; a flow goes where its hash falls among the weights."""

    def __init__(self, count: int, rng: random.Random, *, heavy: bool = False) -> None:
        self._rng = rng
        self._flows = [
            (rng.random(), rng.paretovariate(1.3) if heavy else 1.0) for _ in range(count)
        ]
        self._index()

    def _index(self) -> None:
        self._flows.sort()
        self._hashes = [position for position, _ in self._flows]
        self._sums = [0.0, *itertools.accumulate(rate for _, rate in self._flows)]

    def add(self, position: float, rate: float) -> None:
        self._flows.append((position, rate))
        self._index()

    def churn(self, count: int) -> None:
        """Some flows end, as many begin."""
        for _ in range(count):
            self._flows[self._rng.randrange(len(self._flows))] = (self._rng.random(), 1.0)
        self._index()

    def load(self, weights: dict[IPAddress, int]) -> dict[IPAddress, float]:
        total = sum(weights.values())
        load: dict[IPAddress, float] = {}
        position, before = 0, 0.0
        for rloc in sorted(weights, key=int):
            position += weights[rloc]
            upto = self._sums[bisect.bisect(self._hashes, position / total)]
            load[rloc], before = upto - before, upto
        return load


class Site:
    """A balanced site whose ITRs follow its weights after `lag` seconds."""

    def __init__(self, settings: Balance, start: dict[IPAddress, int], lag: float = 0.0) -> None:
        self.balancer = Balancer(settings, start)
        self.seen = [(0.0, dict(self.balancer.weights))]
        self.lag = lag
        self.octets = dict.fromkeys(start, 0)
        self.changes: list[tuple[float, dict[IPAddress, int]]] = []

    def followed(self, now: float) -> dict[IPAddress, int]:
        return [weights for at, weights in self.seen if at + self.lag <= now or at == 0.0][-1]

    def pass_second(self, load: dict[IPAddress, float], now: float) -> None:
        for rloc, rate in load.items():
            self.octets[rloc] += int(rate * 10_000)
        changed = self.balancer.observe(self.octets, now)
        if changed:
            self.seen.append((now, changed))
            self.changes.append((now, changed))


def run(
    site: Site, offered: Callable[[float], Flows], seconds: int, start: int = 0
) -> dict[IPAddress, float]:
    for second in range(start, start + seconds):
        site.pass_second(offered(float(second)).load(site.followed(float(second))), float(second))
    load = offered(float(start + seconds)).load(site.followed(float(start + seconds)))
    total = sum(load.values())
    return {rloc: rate / total for rloc, rate in load.items()}


def reversals(site: Site, rloc: IPAddress) -> int:
    """How often the weight of an RLOC changed its direction: oscillation shows here."""
    weights = [site.seen[0][1][rloc], *(weights[rloc] for _, weights in site.changes)]
    moves = [later - earlier for earlier, later in itertools.pairwise(weights)]
    moves = [move for move in moves if move]
    return sum(one * two < 0 for one, two in itertools.pairwise(moves))


def settings(**more: object) -> Balance:
    return Balance.model_validate(
        {"target": [{"rloc": A, "share": 70}, {"rloc": B, "share": 30}], **more}
    )


@pytest.mark.parametrize("lag", [0.0, 2.0, 15.0])
def test_a_wrong_start_ends_at_70_to_30_and_stays(lag: float) -> None:
    flows = Flows(1000, random.Random(1))
    site = Site(settings(), {A: 10, B: 90}, lag)
    shares = run(site, lambda now: flows, 600)
    assert shares[A] == pytest.approx(0.7, abs=0.05)
    assert site.balancer.state is BalanceState.ON_TARGET
    assert site.changes[-1][0] < 300
    assert reversals(site, A) <= (0 if lag <= 2 else 2)
    steps = [weights[A] for _, weights in site.changes]
    assert all(abs(b - a) <= 20 for a, b in zip([10, *steps], steps, strict=False))


def test_a_load_step_is_followed_without_oscillation() -> None:
    rng = random.Random(2)
    before, after = Flows(200, rng), Flows(2000, rng)
    site = Site(settings(), {A: 70, B: 30})
    shares = run(site, lambda now: before if now < 300 else after, 900)
    assert shares[A] == pytest.approx(0.7, abs=0.05)
    assert reversals(site, A) <= 1
    assert len(site.changes) <= 6


@pytest.mark.parametrize("seed", range(12))
def test_the_granularity_of_hashing_does_not_shake_it(seed: int) -> None:
    """A few dozen flows, some heavy: no weight gives exactly 70:30, so it must leave it be."""
    flows = Flows(40, random.Random(seed), heavy=True)
    site = Site(settings(), {A: 50, B: 50})
    run(site, lambda now: flows, 1200)
    assert not [at for at, _ in site.changes if at > 600]
    assert site.balancer.state in (BalanceState.ON_TARGET, BalanceState.AS_NEAR_AS_FLOWS_ALLOW)
    possible = [
        abs(load[A] / (load[A] + load[B]) - 0.7)
        for load in (flows.load({A: weight, B: 100 - weight}) for weight in range(2, 99))
    ]
    assert site.balancer.deviation <= max(0.05, 2 * min(possible))
    assert len(site.changes) <= 25


def test_a_loop_at_rest_wakes_when_the_traffic_changes() -> None:
    heavy = Flows(40, random.Random(3))
    heavy.add(0.8, 60.0)  # more than half of all traffic, and where it goes decides everything
    even = Flows(1000, random.Random(3))
    site = Site(settings(), {A: 50, B: 50})
    run(site, lambda now: heavy, 600)
    assert site.balancer.state is BalanceState.AS_NEAR_AS_FLOWS_ALLOW
    shares = run(site, lambda now: even, 600, 600)
    assert site.balancer.state is BalanceState.ON_TARGET
    assert shares[A] == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_flows_that_come_and_go_keep_the_mean_split(seed: int) -> None:
    rng = random.Random(seed)
    flows = Flows(300, rng, heavy=False)
    site = Site(settings(), {A: 20, B: 80})

    def offered(now: float) -> Flows:
        flows.churn(10)
        return flows

    run(site, offered, 300)
    shares = [run(site, offered, 10, start)[A] for start in range(300, 900, 10)]
    assert sum(shares) / len(shares) == pytest.approx(0.7, abs=0.05)
    assert max(abs(share - 0.7) for share in shares) < 0.15


def test_two_sites_on_one_congested_uplink_both_come_to_rest() -> None:
    """RLOC A of both sites shares an uplink: what one takes there, the other does not get."""
    rng = random.Random(5)
    flows = [Flows(800, rng), Flows(600, rng)]
    sites = [Site(settings(), {A: 50, B: 50}), Site(settings(), {A: 95, B: 5})]
    capacity = 900.0
    for second in range(1200):
        loads = [
            flow.load(site.followed(float(second))) for flow, site in zip(flows, sites, strict=True)
        ]
        shared = sum(load[A] for load in loads)
        squeeze = min(1.0, capacity / shared)
        for site, load in zip(sites, loads, strict=True):
            site.pass_second({A: load[A] * squeeze, B: load[B]}, float(second))
    for site in sites:
        assert site.balancer.shares[A] == pytest.approx(0.7, abs=0.06)
        assert not [at for at, _ in site.changes if at > 600]
        assert reversals(site, A) <= 2


def test_three_rlocs_reach_their_shares() -> None:
    target = [{"rloc": A, "share": 5}, {"rloc": B, "share": 3}, {"rloc": C, "share": 2}]
    flows = Flows(3000, random.Random(6))
    site = Site(Balance.model_validate({"target": target}), {A: 5, B: 5, C: 90})
    shares = run(site, lambda now: flows, 600)
    assert shares[A] == pytest.approx(0.5, abs=0.06)
    assert shares[B] == pytest.approx(0.3, abs=0.06)
    assert shares[C] == pytest.approx(0.2, abs=0.06)
