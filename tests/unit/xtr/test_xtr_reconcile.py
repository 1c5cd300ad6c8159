"""Wanted minus installed, in an order that never lets a packet meet half a rule."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from lisp_sdn.rules import (
    Bucket,
    CookieClass,
    FlowRule,
    GroupRule,
    GroupType,
    MeterRule,
    Output,
    RuleChange,
    Ruleset,
    ToController,
    ToGroup,
    Verb,
    cookie,
    match,
)
from lisp_sdn.xtr.reconcile import normalise, reconcile
from lisp_sdn.xtr.simulate import SimulatedSwitch

OURS = cookie(CookieClass.PIPELINE)
GROUP = GroupRule(5, GroupType.SELECT, (Bucket((Output(1),), 1),))
METER = MeterRule(1, 100, 10)
FLOW = FlowRule(3, 10, match(metadata=1), (ToGroup(5),), cookie=OURS)
METERED = FlowRule(4, 10, match(in_port=1), (ToController(),), meter=1, cookie=OURS)
FULL = Ruleset(frozenset((FLOW, METERED)), frozenset((GROUP,)), frozenset((METER,)))


def shape(changes: list[RuleChange]) -> list[tuple[str, type]]:
    return [(change.verb.value, type(change.rule)) for change in changes]


def test_nothing_to_do() -> None:
    assert reconcile(FULL, FULL) == []


def test_additions_begin_with_what_flows_refer_to() -> None:
    changes = reconcile(FULL, Ruleset())
    assert shape(changes) == [
        ("add", MeterRule),
        ("add", GroupRule),
        ("add", FlowRule),
        ("add", FlowRule),
    ]
    # Later tables first.
    assert [change.rule.table for change in changes[2:]] == [4, 3]  # type: ignore[union-attr]
    switch = SimulatedSwitch()
    switch.apply(changes)
    assert switch.ruleset() == FULL


def test_deletions_end_with_it() -> None:
    changes = reconcile(Ruleset(), FULL)
    assert shape(changes) == [
        ("delete", FlowRule),
        ("delete", FlowRule),
        ("delete", GroupRule),
        ("delete", MeterRule),
    ]


def test_a_changed_rule_is_replaced_in_place() -> None:
    flow = replace(FLOW, actions=(Output(9),))
    group = replace(GROUP, buckets=(Bucket((Output(2),), 7),))
    meter = replace(METER, rate=5)
    other = Ruleset(frozenset((flow, METERED)), frozenset((group,)), frozenset((meter,)))
    assert reconcile(other, FULL) == [
        RuleChange(Verb.MODIFY, meter),
        RuleChange(Verb.MODIFY, group),
        RuleChange(Verb.ADD, flow),
    ]


def test_an_addition_comes_before_a_deletion() -> None:
    moved = GroupRule(6, GroupType.SELECT, (Bucket((Output(2),), 1),))
    flow = replace(FLOW, actions=(ToGroup(6),))
    wanted = Ruleset(frozenset((flow, METERED)), frozenset((moved,)), frozenset((METER,)))
    assert reconcile(wanted, FULL) == [
        RuleChange(Verb.ADD, moved),
        RuleChange(Verb.ADD, flow),
        RuleChange(Verb.DELETE, GROUP),
    ]


def test_foreign_flows_stay() -> None:
    foreign = FlowRule(0, 1, match(in_port=9), cookie=0xDEADBEEF)
    assert reconcile(FULL, replace(FULL, flows=FULL.flows | {foreign})) == []
    assert reconcile(Ruleset(), Ruleset(frozenset((foreign,)))) == []


def test_another_spelling_of_the_same_match_is_the_same_rule() -> None:
    wanted = FlowRule(3, 1, match(eth_type=0x800, ipv4_dst=ip_network("10.0.0.1/32")), cookie=OURS)
    spelled = replace(wanted, match=(("ipv4_dst", ip_network("10.0.0.1/32")), ("eth_type", 0x800)))
    assert normalise(spelled) == wanted
    assert reconcile(Ruleset(frozenset((wanted,))), Ruleset(frozenset((spelled,)))) == []
