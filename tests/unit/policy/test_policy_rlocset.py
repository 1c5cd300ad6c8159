"""Acting on a whole RLOC-set."""

from __future__ import annotations

import ipaddress

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.policy import Conditions
from lisp_sdn.policy.rlocset import Outcome, act, target_weights
from lisp_sdn.policy_settings import PolicyRule

A, B, C, D = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2, 3, 4))
EID = EidPrefix.from_text("10.1.0.0/24")
MAPPING = Mapping(EID, ttl_minutes=60).with_locators(
    (Locator(A, 1, 50), Locator(B, 1, 50), Locator(C, 2, 100))
)


def apply(
    action: dict[str, object],
    mapping: Mapping = MAPPING,
    conditions: Conditions | None = None,
    unregistered: bool = False,
) -> Outcome:
    rule = PolicyRule.model_validate({"name": "rule", "action": action})
    return act("home", rule, mapping, conditions or Conditions(), unregistered)


def shape(outcome: Outcome) -> dict[str, str]:
    assert outcome.mapping is not None
    return {str(loc.rloc)[-1]: f"{loc.priority}/{loc.weight}" for loc in outcome.mapping.locators}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({}, {"1": "1/50", "2": "1/50", "3": "2/100"}),
        (
            {"locators": [{"rloc": A, "weight": 30}, {"rloc": B, "priority": 3, "weight": 70}]},
            {"1": "1/30", "2": "3/70", "3": "2/100"},
        ),
        ({"prefer": [B]}, {"1": "3/50", "2": "1/50", "3": "4/100"}),
        ({"prefer": [B, C]}, {"1": "3/50", "2": "1/50", "3": "1/100"}),
        ({"hide": [A]}, {"2": "1/50", "3": "2/100"}),
        ({"pin": [C]}, {"3": "2/100"}),
        ({"drain": [A]}, {"1": "255/50", "2": "1/50", "3": "2/100"}),
        ({"prefer": [C], "hide": [A], "drain": [B]}, {"2": "255/50", "3": "1/100"}),
        ({"pin": [B], "locators": [{"rloc": B, "weight": 9}]}, {"2": "1/9"}),
        (
            {"balance": {"target": [{"rloc": A, "share": 7}, {"rloc": B, "share": 3}]}},
            {"1": "1/70", "2": "1/30", "3": "2/100"},
        ),
    ],
)
def test_actions(action: dict[str, object], expected: dict[str, str]) -> None:
    outcome = apply(action)
    assert shape(outcome) == expected
    assert outcome.warnings == ()


def test_locators_stay_sorted_and_everything_else_stays_as_registered() -> None:
    mapping = Mapping(EID, ttl_minutes=60, authoritative=True, map_version=7).with_locators(
        (Locator(C), Locator(A, probed=True, local=True))
    )
    outcome = apply({"prefer": [C]}, mapping).mapping
    assert outcome is not None
    assert [locator.rloc for locator in outcome.locators] == [A, C]
    assert (outcome.authoritative, outcome.map_version, outcome.ttl_minutes) == (True, 7, 60)
    assert outcome.locators[0].probed
    assert outcome.locators[0].local


def test_ttl() -> None:
    outcome = apply({"ttl_minutes": 5})
    assert outcome.mapping is not None
    assert outcome.mapping.ttl_minutes == 5


@pytest.mark.parametrize(
    ("action", "act_", "ttl"),
    [
        ({"deny": True}, Act.DROP_POLICY_DENIED, 15),
        ({"deny": "policy-denied", "ttl_minutes": 2}, Act.DROP_POLICY_DENIED, 2),
        ({"deny": "temporarily"}, Act.SEND_MAP_REQUEST, 1),
    ],
)
def test_deny(action: dict[str, object], act_: Act, ttl: int) -> None:
    outcome = apply(action)
    assert outcome.mapping == Mapping(EID, (), ttl, act_)


@pytest.mark.parametrize(
    "action",
    [
        {"hide": [A, B, C]},
        {"drain": [A, B, C]},
        {"pin": [D]},
        {"locators": [{"rloc": rloc, "priority": 255} for rloc in (A, B, C)]},
        {"pin": [A], "locators": [{"rloc": A, "priority": 255}]},
    ],
)
def test_a_rule_without_a_usable_rloc_falls_through_with_a_warning(
    action: dict[str, object],
) -> None:
    outcome = apply(action)
    assert outcome.mapping is None
    assert "rule rule would leave no usable RLOC for 10.1.0.0/24" in outcome.warnings[-1]


def test_a_pinned_rloc_that_is_down_falls_through() -> None:
    outcome = apply({"pin": [A]}, conditions=Conditions(up={A: False}))
    assert outcome.mapping is None
    assert outcome.warnings
    unreachable = MAPPING.with_locators((Locator(A, reachable=False), Locator(B)))
    assert apply({"pin": [A]}, unreachable).mapping is None


def test_nothing_to_choose_from_is_not_the_rules_fault() -> None:
    outcome = apply({"hide": [A]}, Mapping(EID, action=Act.NATIVELY_FORWARD))
    assert outcome == Outcome(None, outcome.reason, ())
    assert "no registered RLOC is usable" in outcome.reason
    assert apply({"deny": True}, Mapping(EID)).mapping == Mapping(
        EID, (), 15, Act.DROP_POLICY_DENIED
    )


def test_an_unregistered_rloc_is_left_out_with_a_warning() -> None:
    outcome = apply({"locators": [{"rloc": D, "priority": 0}, {"rloc": A, "weight": 1}]})
    assert shape(outcome) == {"1": "1/1", "2": "1/50", "3": "2/100"}
    assert outcome.warnings == (
        "rule rule: locators: 203.0.113.4 is not registered for 10.1.0.0/24, left out",
    )
    assert apply({"hide": [D]}).warnings == ()


def test_preferring_only_an_unregistered_rloc_changes_no_priority() -> None:
    outcome = apply({"prefer": [D]})
    assert shape(outcome) == {"1": "1/50", "2": "1/50", "3": "2/100"}
    assert len(outcome.warnings) == 1


def test_a_site_can_allow_unregistered_rlocs() -> None:
    outcome = apply({"locators": [{"rloc": D, "priority": 1, "weight": 9}]}, unregistered=True)
    assert shape(outcome)["4"] == "1/9"
    assert shape(apply({"pin": [D]}, unregistered=True)) == {"4": "1/100"}
    assert shape(apply({"hide": [D]}, unregistered=True)) == {
        "1": "1/50",
        "2": "1/50",
        "3": "2/100",
    }


def test_balanced_weights_come_from_the_conditions() -> None:
    action = {"balance": {"target": [{"rloc": A, "share": 7}, {"rloc": B, "share": 3}]}}
    conditions = Conditions(weights={("home", "rule"): {A: 11, B: 89}})
    assert shape(apply(action, conditions=conditions)) == {"1": "1/11", "2": "1/89", "3": "2/100"}


def test_target_weights_sum_up() -> None:
    assert target_weights({A: 1 / 3, B: 1 / 3, C: 1 / 3}) == {A: 34, B: 33, C: 33}
    assert target_weights({A: 0.999, B: 0.001}) == {A: 100, B: 0}
