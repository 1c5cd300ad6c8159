"""The closed loop, decision by decision."""

from __future__ import annotations

import ipaddress
import json

import pytest

from lisp_sdn.address import IPAddress
from lisp_sdn.policy import Balancer, Balancers, BalanceState, LoadMeter
from lisp_sdn.policy_settings import Balance, SitePolicy

A, B, C = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2, 3))
TARGET = [{"rloc": str(A), "share": 70}, {"rloc": str(B), "share": 30}]


def balancer(weights: dict[IPAddress, int] | None = None, **more: object) -> Balancer:
    return Balancer(Balance.model_validate({"target": TARGET, **more}), weights)


def feed(loop: Balancer, share: float, start: float = 0.0, rate: int = 1_000_000) -> object:
    """One window in which A carries `share` of the traffic."""
    loop.observe({A: 0, B: 0}, start)
    return loop.observe({A: int(rate * share), B: int(rate * (1 - share))}, start + 10)


def test_it_starts_at_the_target_or_where_it_was() -> None:
    assert balancer().weights == {A: 70, B: 30}
    assert balancer({A: 20, B: 80}).weights == {A: 20, B: 80}
    assert balancer({A: 20, C: 80}).weights == {A: 70, B: 30}


def test_a_step_corrects_half_of_the_deviation() -> None:
    loop = balancer({A: 50, B: 50})
    assert feed(loop, 0.5) == {A: 60, B: 40}
    assert loop.state is BalanceState.SETTLING
    assert loop.deviation == pytest.approx(0.2)


def test_the_largest_step_and_the_floor() -> None:
    assert feed(balancer({A: 10, B: 90}), 0.1) == {A: 30, B: 70}
    assert feed(balancer({A: 10, B: 90}, max_step=5), 0.1) == {A: 15, B: 85}
    loop = balancer({A: 97, B: 3}, floor=3)
    assert feed(loop, 0.2) == {A: 97, B: 3} or loop.weights == {A: 97, B: 3}


def test_within_the_hysteresis_nothing_moves() -> None:
    loop = balancer()
    assert feed(loop, 0.74) is None
    assert loop.state is BalanceState.ON_TARGET
    assert feed(balancer(), 0.76) is not None


def test_nothing_is_measured_while_it_settles() -> None:
    loop = balancer({A: 50, B: 50}, settle=5.0)
    feed(loop, 0.5)
    assert loop.observe({A: 10_000_000, B: 0}, 12.0) is None
    assert loop.state is BalanceState.SETTLING
    # The window begins anew after that: what passed meanwhile counts for nothing.
    assert loop.observe({A: 10_000_000, B: 0}, 16.0) is None
    assert loop.observe({A: 10_700_000, B: 300_000}, 26.0) is None
    assert loop.state is BalanceState.ON_TARGET


def test_too_little_traffic_decides_nothing() -> None:
    loop = balancer({A: 50, B: 50}, min_rate="1M")
    assert feed(loop, 0.5, rate=1_000_000) is None
    assert loop.state is BalanceState.IDLE
    assert feed(balancer({A: 50, B: 50}, min_rate=0), 0.5, rate=0) is None


def test_frozen_weights_stay() -> None:
    loop = balancer({A: 50, B: 50}, freeze=True)
    assert feed(loop, 0.1) is None
    assert loop.weights == {A: 50, B: 50}
    assert loop.state is BalanceState.FROZEN


def test_a_counter_that_began_anew_starts_a_new_window() -> None:
    loop = balancer({A: 50, B: 50})
    loop.observe({A: 5_000_000, B: 0}, 0.0)
    assert loop.observe({A: 1000, B: 10}, 10.0) is None
    assert loop.observe({A: 501_000, B: 500_010}, 20.0) == {A: 60, B: 40}


def test_an_rloc_that_is_down_keeps_its_weight_and_the_rest_is_shared() -> None:
    target = [*TARGET, {"rloc": str(C), "share": 100}]
    loop = Balancer(Balance.model_validate({"target": target}), {A: 25, B: 25, C: 50})
    loop.observe({A: 0, B: 0, C: 0}, 0.0, down=[C])
    moved = loop.observe({A: 500_000, B: 500_000, C: 0}, 10.0, down=[C])
    assert moved == {A: 30, B: 20, C: 50}
    assert loop.observe({A: 0, B: 0, C: 0}, 20.0, down=[B, C]) is None
    assert loop.state is BalanceState.DEGRADED


def split(**balance: object) -> SitePolicy:
    rule = {"name": "split", "action": {"balance": {"target": TARGET, **balance}}}
    return SitePolicy.model_validate(
        {"site": "home", "rules": [rule, {"name": "rest", "action": {}}]}
    )


def test_balancers_follow_the_policies() -> None:
    loops = Balancers()
    assert not loops.active
    assert loops.interval is None
    loops.configure((split(),))
    assert loops.active
    assert loops.interval == 5.0
    assert loops.weights == {("home", "split"): {A: 70, B: 30}}
    assert loops.observe({A: 0, B: 0}, 0.0) is None
    assert loops.observe({A: 500_000, B: 500_000}, 10.0) == {("home", "split"): {A: 80, B: 20}}
    loops.configure((split(),))
    assert loops.weights[("home", "split")] == {A: 80, B: 20}
    loops.configure((split(freeze=True),))
    assert loops.weights[("home", "split")] == {A: 80, B: 20}
    [status] = loops.status()
    plain = json.loads(json.dumps(status.to_dict()))
    assert (plain["state"], plain["weights"]) == ("frozen", {"203.0.113.1": 80, "203.0.113.2": 20})
    loops.configure(())
    assert loops.weights == {}


def test_balancers_start_from_stored_weights() -> None:
    loops = Balancers((split(),), {("home", "split"): {A: 40, B: 60}})
    assert loops.weights == {("home", "split"): {A: 40, B: 60}}


def test_the_load_meter_averages_and_forgets() -> None:
    meter = LoadMeter(span=10.0)
    assert meter.observe({A: 0, B: 0}, 0.0) == {}
    loads = meter.observe({A: 3000, B: 1000}, 1.0)
    assert (loads[A].rate, loads[A].share) == (24_000.0, 0.75)
    loads = meter.observe({A: 3000, B: 2000}, 2.0)
    assert loads[A].rate == pytest.approx(21_600.0)
    assert meter.observe({A: 3000, B: 2000}, 2.0) == loads
    # A counter that went back adds nothing; an RLOC that is gone is forgotten.
    assert meter.observe({A: 10}, 3.0) == {A: loads[A].__class__(21_600.0, 1.0)}
    for second in range(4, 40):
        loads = meter.observe({A: 10}, float(second))
    assert loads[A].rate < 1000
    assert LoadMeter().observe({}, 1.0) == {}
