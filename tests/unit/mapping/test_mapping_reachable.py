"""RLOCs of ours that are down or drained: what foreign ITRs are told of them."""

from __future__ import annotations

import ipaddress

import pytest
from mapping_helpers import (
    ETR,
    ETR2,
    ITR,
    NOW,
    Etr,
    ecm,
    eid,
    endpoint,
    record,
    replies,
    request,
    sent,
    site,
    system,
)

from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Requester
from lisp_sdn.wire import MapRequest

ONE, TWO = ipaddress.ip_address(ETR), ipaddress.ip_address(ETR2)
NONE: frozenset[ipaddress.IPv4Address | ipaddress.IPv6Address] = frozenset()
OTHERS_ITR = "192.0.2.2"


@pytest.fixture
def ms() -> MapSystem:
    made = system(site(prefixes=["10.1.0.0/16", "10.2.0.0/16"]))
    etr = Etr()
    made.receive(etr.register(record("10.1.0.0/16", ETR, ETR2)), etr.source, NOW)
    made.receive(etr.register(record("10.2.0.0/16", "203.0.113.9")), etr.source, NOW)
    return made


def usable(ms: MapSystem, now: float) -> set[str]:
    (reply,) = replies(ms.receive(ecm(request("10.1.2.3")), endpoint(ITR), now))
    return {str(item.rloc) for item in reply.records[0].locators if item.reachable}


def test_the_r_bit_follows_what_is_down_and_comes_back(ms: MapSystem) -> None:
    assert usable(ms, NOW) == {ETR, ETR2}
    ms.rlocs_changed(frozenset({ONE}), NONE, NOW)
    assert usable(ms, NOW + 10) == {ETR2}
    ms.rlocs_changed(NONE, NONE, NOW + 20)
    assert usable(ms, NOW + 30) == {ETR, ETR2}


def test_a_drained_rloc_is_the_last_resort(ms: MapSystem) -> None:
    ms.rlocs_changed(NONE, frozenset({ONE}), NOW)
    assert usable(ms, NOW + 10) == {ETR2}
    ms.rlocs_changed(frozenset({TWO}), frozenset({ONE}), NOW + 10)
    assert usable(ms, NOW + 20) == {ETR}


def test_only_holders_of_an_answer_with_it_are_solicited(ms: MapSystem) -> None:
    ms.receive(ecm(request("10.1.2.3")), endpoint(ITR), NOW)
    ms.receive(ecm(request("10.2.2.3", itr=(OTHERS_ITR,))), endpoint(OTHERS_ITR), NOW)
    actions = ms.rlocs_changed(frozenset({ONE}), NONE, NOW + 1)
    ((smr, target),) = sent(actions)
    assert isinstance(smr, MapRequest)
    assert smr.smr
    assert str(target.address) == ITR
    assert not sent(ms.rlocs_changed(frozenset({ONE}), NONE, NOW + 2)), "nothing changed"


def test_our_own_xtrs_are_answered_what_is_registered(ms: MapSystem) -> None:
    """They know by themselves what is down, and keep both apart."""
    ms.rlocs_changed(frozenset({ONE}), NONE, NOW)
    answer = ms.answer(eid("10.1.0.0/16"), Requester((TWO,), xtr="left"), NOW)
    assert all(item.reachable for item in answer.mapping.locators)
