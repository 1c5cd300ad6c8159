"""What a change would do, before it is made."""

from __future__ import annotations

import ipaddress
import json

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Locator, Mapping, Requester
from lisp_sdn.policy import (
    Conditions,
    KnownXtr,
    PolicyEngine,
    RuleChange,
    Sites,
    affected,
    diff,
    rule_changes,
)
from lisp_sdn.policy_settings import SitePolicy

A, B = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2))
EIDS = [EidPrefix.from_text(text) for text in ("10.1.0.0/24", "10.1.1.0/24", "10.2.0.0/24")]
MAPPINGS = [Mapping(eid).with_locators((Locator(A), Locator(B))) for eid in EIDS]
NOON = 1_700_481_600.0
SITES = Sites(
    {EidPrefix.from_text("10.1.0.0/16"): "home", EidPrefix.from_text("10.2.0.0/16"): "other"},
    {ipaddress.ip_network("192.0.2.0/24"): "partner"},
    (KnownXtr("x1", "partner", (ipaddress.ip_address("198.51.100.9"),)),),
)

PARTNER = {"name": "partner", "match": {"sites": ["partner"]}, "action": {"pin": [str(A)]}}
NIGHT = {
    "name": "night",
    "match": {"time": [{"from": "22:00", "to": "06:00"}]},
    "action": {"pin": [str(B)]},
}
REST = {"name": "rest", "action": {"prefer": [str(B)]}}


def policy(*rules: dict[str, object], site: str = "home") -> SitePolicy:
    return SitePolicy.model_validate({"site": site, "rules": list(rules)})


def engine(*rules: dict[str, object]) -> PolicyEngine:
    return PolicyEngine((policy(*rules),), SITES)


def test_only_the_partner_gets_another_answer() -> None:
    changes = list(diff(engine(REST), engine(PARTNER, REST), MAPPINGS, NOON))
    assert {(str(change.mapping.eid), change.who) for change in changes} == {
        ("10.1.0.0/24", "ITR-RLOC in 192.0.2.0/24 (site partner)"),
        ("10.1.1.0/24", "ITR-RLOC in 192.0.2.0/24 (site partner)"),
        ("10.1.0.0/24", "xTR x1"),
        ("10.1.1.0/24", "xTR x1"),
    }
    assert {(change.old.rule, change.new.rule) for change in changes} == {("rest", "partner")}
    plain = json.loads(json.dumps(changes[0].to_dict()))
    assert plain["old"]["locators"][0]["priority"] == 3
    assert plain["new"]["rule"] == "partner"


def test_everybody() -> None:
    [change] = diff(engine(), engine(REST), MAPPINGS[:1], NOON)
    assert change.who == "every requester"


def test_no_change_at_all() -> None:
    assert list(diff(engine(PARTNER, REST), engine(PARTNER, REST), MAPPINGS, NOON)) == []
    # Another order of rules that nobody can tell.
    other = {**PARTNER, "name": "pitr", "match": {"sites": ["partner"], "pitr": True}}
    old, new = engine(PARTNER, other), engine(other, PARTNER)
    assert list(diff(old, new, MAPPINGS, NOON)) == []


def test_a_requester_that_needs_two_rlocs_to_differ() -> None:
    one = {"name": "one", "match": {"itr_rlocs": ["192.0.2.0/25"]}, "action": {"pin": [str(A)]}}
    two = {"name": "two", "match": {"itr_rlocs": ["192.0.2.128/25"]}, "action": {"pin": [str(B)]}}
    [change] = diff(engine(one, two), engine(two, one), MAPPINGS[:1], NOON)
    assert change.who == "both ITR-RLOC in 192.0.2.0/25 and ITR-RLOC in 192.0.2.128/25"
    assert len(change.requester.itr_rlocs) == 2
    assert (change.old.rule, change.new.rule) == ("one", "two")


def test_classes_by_source_xtr_id_authentication_and_pitr() -> None:
    rule = {
        "name": "r",
        "match": {
            "source_eids": ["10.9.0.0/16"],
            "xtr_ids": [5],
            "authenticated": True,
            "pitr": False,
        },
        "action": {"deny": True},
    }
    [change] = diff(engine(), engine(rule), MAPPINGS[:1], NOON)
    assert change.who == (
        "xTR-ID 00000000000000000000000000000005, authenticated, ITR, source EID in 10.9.0.0/16"
    )
    assert change.requester == Requester(
        source_eid=EidPrefix.from_text("10.9.0.0/32"), xtr_id=5, authenticated=True
    )


def test_a_rule_for_a_part_of_a_mapping_changes_only_this_part() -> None:
    rule = {"name": "r", "match": {"eid_prefixes": ["10.1.0.64/26"]}, "action": {"pin": [str(A)]}}
    assert list(affected(engine(), engine(rule), MAPPINGS, NOON)) == [
        EidPrefix.from_text("10.1.0.64/26")
    ]


def test_another_sites_policy_is_not_mixed_up() -> None:
    old = PolicyEngine((policy(REST), policy(REST, site="other")), SITES)
    new = PolicyEngine((policy(REST),), SITES)
    assert list(affected(old, new, MAPPINGS, NOON)) == [EIDS[2]]


def test_time_and_conditions_are_changes_too() -> None:
    used = engine(NIGHT)
    at_ten = NOON + 10 * 3600
    assert list(affected(used, used, MAPPINGS, NOON, since=NOON - 60)) == []
    assert list(affected(used, used, MAPPINGS, at_ten, since=at_ten - 1)) == EIDS[:2]

    down = {"name": "down", "match": {"rlocs_down": [str(A)]}, "action": {"pin": [str(B)]}}
    old = engine(down)
    new = old.copy()
    new.set_conditions(Conditions(up={A: False}))
    assert list(affected(old, new, MAPPINGS, NOON)) == EIDS[:2]

    balance = {"target": [{"rloc": str(A), "share": 1}, {"rloc": str(B), "share": 1}]}
    old = engine({"name": "split", "action": {"balance": balance}})
    new = old.copy()
    new.set_conditions(Conditions(weights={("home", "split"): {A: 60, B: 40}}))
    assert list(affected(old, new, MAPPINGS, NOON)) == EIDS[:2]


def test_a_pinned_rloc_that_goes_down_is_found_without_a_condition_on_it() -> None:
    old = engine({"name": "pin", "action": {"pin": [str(A)]}})
    new = old.copy()
    new.set_conditions(Conditions(up={A: False}))
    assert list(affected(old, new, MAPPINGS, NOON)) == EIDS[:2]


def test_a_rule_that_restricts_nothing_loses_its_effect_when_every_rloc_is_down() -> None:
    old = engine({"name": "w", "action": {"locators": [{"rloc": str(A), "weight": 9}]}})
    new = old.copy()
    new.set_conditions(Conditions(up={A: False}))
    assert list(affected(old, new, MAPPINGS, NOON)) == []
    new.set_conditions(Conditions(up={A: False, B: False}))
    assert list(affected(old, new, MAPPINGS, NOON)) == EIDS[:2]


def test_too_many_classes_count_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lisp_sdn.policy.compare.MAX_CLASSES", 2)

    def rules(weight: int) -> list[dict[str, object]]:
        low = {"name": "low", "action": {"locators": [{"rloc": str(A), "weight": weight}]}}
        high = [
            {
                "name": f"r{n}",
                "match": {"itr_rlocs": [f"100.64.{n}.0/24"]},
                "action": {"pin": [str(A)]},
            }
            for n in range(9)
        ]
        return [*high, low]

    changes = list(diff(engine(*rules(1)), engine(*rules(2)), MAPPINGS[:1], NOON))
    assert "not compared: more than 2 classes" in changes[-1].who
    assert list(affected(engine(*rules(1)), engine(*rules(2)), MAPPINGS[:1], NOON)) == EIDS[:1]


def test_rule_changes() -> None:
    changed = {**REST, "action": {"prefer": [str(A)]}}
    assert rule_changes((policy(PARTNER, REST),), (policy(NIGHT, changed),)) == (
        RuleChange("home", "partner", "removed"),
        RuleChange("home", "night", "added"),
        RuleChange("home", "rest", "changed"),
    )
    moved = rule_changes((policy(PARTNER, NIGHT, REST),), (policy(REST, PARTNER, NIGHT),))
    assert moved == (RuleChange("home", "rest", "moved"),)
    assert rule_changes((policy(REST),), (policy(REST),)) == ()
    allowed = policy(REST).model_copy(update={"allow_unregistered_rlocs": True})
    assert rule_changes((policy(REST),), (allowed,)) == (
        RuleChange("home", "allow_unregistered_rlocs", "changed"),
    )


def test_one_changed_rule_among_many_is_looked_through_quickly() -> None:
    def rules(weight: int) -> list[dict[str, object]]:
        return [
            {
                "name": f"r{n}",
                "match": (
                    {"itr_rlocs": [f"100.{n // 256}.{n % 256}.0/24"]}
                    if n % 2
                    else {"source_eids": [f"10.{128 + n // 256}.{n % 256}.0/24"]}
                ),
                "action": {
                    "locators": [{"rloc": str(A), "weight": weight if n == 501 else n % 256}]
                },
            }
            for n in range(600)
        ]

    old, new = engine(*rules(1)), engine(*rules(2))
    mappings = [
        Mapping(EidPrefix.from_text(f"10.1.{n}.0/24"), MAPPINGS[0].locators) for n in range(20)
    ]
    changes = list(diff(old, new, mappings, NOON))
    assert {change.mapping.eid for change in changes} == {mapping.eid for mapping in mappings}
    assert all("100.1.245.0/24" in change.who for change in changes)
    assert len(changes) == len(mappings)
