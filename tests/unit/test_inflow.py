"""Inbound octets per RLOC, from flow counters."""

from __future__ import annotations

from ipaddress import ip_address

from lisp_sdn.actions import FlowCounter, FlowCounters, ReadCounters
from lisp_sdn.inflow import Inflow
from lisp_sdn.rules import CookieClass, match

NOW = 1_800_000_000.0
RLOC = ip_address("192.0.2.1")
RLOC6 = ip_address("2001:db8::1")


def told(datapath_id: int, **octets: int) -> FlowCounters:
    fields = {"v4": match(tunnel_id=1, tun_ipv4_dst=RLOC), "v6": match(tun_ipv6_dst=RLOC6)}
    flows = tuple(FlowCounter(fields[name], 1, count) for name, count in octets.items())
    return FlowCounters(datapath_id, CookieClass.DECAPSULATION, flows)


def test_it_counts_from_the_first_look_on() -> None:
    inflow = Inflow()
    inflow.take(told(1, v4=1000, v6=50), NOW)
    assert dict(inflow.octets) == {RLOC: 0, RLOC6: 0}
    inflow.take(told(1, v4=1500, v6=50), NOW)
    assert dict(inflow.octets) == {RLOC: 500, RLOC6: 0}


def test_a_flow_installed_anew_begins_at_zero() -> None:
    inflow = Inflow()
    inflow.take(told(1, v4=1000), NOW)
    inflow.take(told(1, v4=200), NOW)
    assert inflow.octets[RLOC] == 200


def test_switches_add_up() -> None:
    inflow = Inflow()
    for octets in (0, 10):
        inflow.take(told(1, v4=octets), NOW)
        inflow.take(told(2, v4=octets * 2), NOW)
    assert inflow.octets[RLOC] == 30


def test_the_last_answer_of_a_round_is_known() -> None:
    inflow = Inflow()
    questions = inflow.ask([2, 1])
    assert questions == [ReadCounters(n, CookieClass.DECAPSULATION) for n in (1, 2)]
    assert not inflow.take(told(1, v4=1), NOW)
    assert inflow.take(told(2, v4=1), NOW)
    assert not inflow.take(told(2, v4=1), NOW)


def test_the_rate_is_of_the_time_between_two_answers_of_the_switch() -> None:
    inflow = Inflow()
    inflow.take(told(1, v4=1000), NOW)
    assert inflow.rates == {}, "nobody knows since when"
    inflow.take(told(1, v4=3000), NOW + 4)
    inflow.take(told(2, v6=0), NOW + 5)
    assert inflow.rates == {RLOC: 500.0}
    inflow.take(told(1, v4=3000), NOW + 8)
    assert inflow.rates == {RLOC: 0.0}
