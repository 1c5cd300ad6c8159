"""The engine against the definition: answers, scopes, validity, diff."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from policy_cases import (
    ITR_RLOCS,
    OTHER_SITES,
    SITES,
    SOURCE_BLOCK,
    by_hand,
    conditions,
    mappings,
    policies,
    requesters,
    times,
)

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Answer, Mapping, Requester
from lisp_sdn.policy import Conditions, PolicyEngine, affected, diff, explain
from lisp_sdn.policy.explanation import Verdict
from lisp_sdn.policy_settings import SitePolicy


def plain(answer: Answer) -> Answer:
    return replace(answer, scope=None, valid_until=None)


@given(policies(), conditions, mappings, st.lists(requesters, min_size=1, max_size=4), times)
def test_the_index_decides_as_the_definition_does(
    policy: SitePolicy, state: Conditions, mapping: Mapping, asking: list[Requester], now: float
) -> None:
    engine = PolicyEngine((policy,), SITES)
    engine.set_conditions(state)
    seen: dict[object, Answer] = {}
    for requester in (*asking, *asking):  # the second time from what is kept
        answer = engine.evaluate(mapping, requester, now)
        assert plain(answer) == by_hand(engine, mapping, requester, now)
        explanation = explain(engine, mapping, requester, now)
        kind = engine.requester_class(engine.group(mapping.eid), requester)
        assert seen.setdefault(kind, plain(answer)) == plain(answer)
        decided = [step.rule for step in explanation.steps if step.verdict is Verdict.DECIDED]
        assert decided == ([answer.rule] if answer.rule else [])


@given(policies(), mappings, requesters, times, st.integers(0, 15))
def test_the_scope_is_the_widest_with_one_answer(
    policy: SitePolicy, mapping: Mapping, requester: Requester, now: float, host: int
) -> None:
    engine = PolicyEngine((policy,), SITES)
    iid = mapping.eid.iid
    requester = replace(requester, source_eid=EidPrefix.host(iid, SOURCE_BLOCK[host]))

    def answers(network: ipaddress.IPv4Network) -> list[Answer]:
        # Outside of the block no rule names anything; one neighbour stands for all of it.
        hosts = (*SOURCE_BLOCK, SOURCE_BLOCK[0] - 1, SOURCE_BLOCK[-1] + 1)
        inside = [address for address in hosts if address in network]
        return [
            by_hand(engine, mapping, replace(requester, source_eid=EidPrefix.host(iid, one)), now)
            for one in inside
        ]

    answer = engine.evaluate(mapping, requester, now)
    if answer.scope is None:
        assert all(other == plain(answer) for other in answers(ipaddress.ip_network("0.0.0.0/0")))
        return
    network = answer.scope.source.network
    assert answer.scope.destination == mapping.eid
    assert SOURCE_BLOCK[host] in network
    assert all(other == plain(answer) for other in answers(network))
    assert any(other != plain(answer) for other in answers(network.supernet()))


@given(policies(), mappings, requesters, times)
def test_an_answer_holds_until_it_says(
    policy: SitePolicy, mapping: Mapping, requester: Requester, now: float
) -> None:
    engine = PolicyEngine((policy,), SITES)
    answer = engine.evaluate(mapping, requester, now)
    week = [now + quarter * 900 for quarter in range(0, 7 * 96, 11)]
    end = answer.valid_until if answer.valid_until is not None else float("inf")
    assert end > now
    for moment in week:
        if moment < end:
            assert plain(answer) == by_hand(engine, mapping, requester, moment)


@given(
    policies(4),
    policies(4),
    st.tuples(conditions, conditions),
    st.sampled_from(["policy", "conditions", "sites", "all"]),
    mappings,
    st.lists(requesters, min_size=3, max_size=8),
    times,
)
def test_whoever_gets_another_answer_is_in_the_diff(
    old: SitePolicy,
    new: SitePolicy,
    states: tuple[Conditions, Conditions],
    what: str,
    mapping: Mapping,
    asking: list[Requester],
    now: float,
) -> None:
    before, after = PolicyEngine((old,), SITES), PolicyEngine((new,), SITES)
    if what in ("conditions", "sites"):
        after = before.copy()
    if what in ("sites", "all"):
        after.set_sites(OTHER_SITES)
    if what in ("conditions", "all"):
        before.set_conditions(states[0])
        after.set_conditions(states[1])
    changes = list(diff(before, after, (mapping,), now))
    for change in changes:
        one, other = (
            by_hand(engine, change.mapping, change.requester, now) for engine in (before, after)
        )
        assert (one.mapping, other.mapping) == (change.old.mapping, change.new.mapping)
        assert one.mapping != other.mapping
    told = set(affected(before, after, (mapping,), now))
    assert told == {change.mapping.eid for change in changes}
    for requester in asking:
        for eid in _ends(mapping.eid):
            part = before.narrow(mapping, eid)
            other = after.narrow(mapping, eid)
            part = part if part.eid.prefixlen >= other.eid.prefixlen else other
            one, two = (by_hand(engine, part, requester, now) for engine in (before, after))
            if one.mapping != two.mapping:
                assert part.eid in told


def _ends(eid: EidPrefix) -> list[EidPrefix]:
    network = eid.network
    return [EidPrefix.host(eid.iid, network[n]) for n in (0, network.num_addresses // 2 - 1, -1)]


@given(policies(5), st.data(), mappings, requesters, times)
def test_a_changed_rule_is_found(
    policy: SitePolicy, data: st.DataObject, mapping: Mapping, requester: Requester, now: float
) -> None:
    """Small edits of one policy, where most branches are skipped together."""
    rules = list(policy.rules)
    edit = data.draw(st.sampled_from(["drop", "swap", "act", "none"]))
    if rules and edit == "drop":
        rules.pop(data.draw(st.integers(0, len(rules) - 1)))
    elif len(rules) > 1 and edit == "swap":
        rules[0], rules[-1] = rules[-1], rules[0]
    elif rules and edit == "act":
        place = data.draw(st.integers(0, len(rules) - 1))
        other = data.draw(st.sampled_from(rules))
        rules[place] = rules[place].model_copy(update={"action": other.action})
    before = PolicyEngine((policy,), SITES)
    after = PolicyEngine((policy.model_copy(update={"rules": tuple(rules)}),), SITES)
    told = set(affected(before, after, (mapping,), now))
    if edit == "none":
        assert not told
    for rlocs in ((), *((rloc,) for rloc in ITR_RLOCS), tuple(ITR_RLOCS)):
        asking = replace(requester, itr_rlocs=rlocs, xtr=None)
        part = before.narrow(mapping, EidPrefix.host(mapping.eid.iid, mapping.eid.network[0]))
        one, two = (by_hand(engine, part, asking, now) for engine in (before, after))
        if one.mapping != two.mapping:
            assert any(eid.covers(part.eid) or part.eid.covers(eid) for eid in told)
