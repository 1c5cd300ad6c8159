"""The engine: what it is asked with, what state it holds, how far its answers go."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.config import load
from lisp_sdn.model import Act, AnswerPolicy, Locator, Mapping, Requester
from lisp_sdn.policy import Conditions, KnownXtr, PolicyEngine, RlocLoad, Sites
from lisp_sdn.policy_settings import SitePolicy

A, B = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2))
EID = EidPrefix.from_text("10.1.0.0/24")
MAPPING = Mapping(EID).with_locators((Locator(A), Locator(B)))
NOON = 1_700_481_600.0  # Monday 2023-11-20 12:00 UTC
SITES = Sites(
    {EidPrefix.from_text("10.1.0.0/16"): "home", EidPrefix.from_text("10.2.0.0/16"): "other"},
    {ipaddress.ip_network("192.0.2.0/24"): "partner"},
    (KnownXtr("x1", "partner", (ipaddress.ip_address("198.51.100.9"),)),),
)


def policy(*rules: dict[str, object], **more: object) -> SitePolicy:
    named = [{"name": f"r{number}", **rule} for number, rule in enumerate(rules)]
    return SitePolicy.model_validate({"site": "home", "rules": named, **more})


def engine(*rules: dict[str, object], **more: object) -> PolicyEngine:
    return PolicyEngine((policy(*rules, **more),), SITES)


def asking(rloc: str = "198.51.100.1", source: str | None = None, **more: object) -> Requester:
    eid = EidPrefix.from_text(source) if source else None
    return Requester((ipaddress.ip_address(rloc),), eid, **more)  # type: ignore[arg-type]


def test_it_is_an_answer_policy_of_the_mapping_system() -> None:
    used: AnswerPolicy = engine()
    answer = used.evaluate(MAPPING, asking(), NOON)
    assert (answer.mapping, answer.rule, answer.scope, answer.warnings) == (MAPPING, None, None, ())


def test_the_first_match_wins() -> None:
    used = engine(
        {"match": {"itr_rlocs": ["192.0.2.0/24"]}, "action": {"pin": [A]}},
        {"action": {"pin": [B]}},
        {"action": {"deny": True}},
    )
    assert used.evaluate(MAPPING, asking("192.0.2.7"), NOON).rule == "r0"
    assert used.evaluate(MAPPING, asking("198.51.100.7"), NOON).rule == "r1"


def test_a_policy_is_for_its_site_only() -> None:
    used = engine({"action": {"deny": True}})
    elsewhere = Mapping(EidPrefix.from_text("10.2.3.0/24"), MAPPING.locators)
    nowhere = Mapping(EidPrefix.from_text("10.0.0.0/8"), MAPPING.locators)
    assert used.evaluate(MAPPING, asking(), NOON).mapping.action is Act.DROP_POLICY_DENIED
    assert used.evaluate(elsewhere, asking(), NOON).mapping is elsewhere
    assert used.evaluate(nowhere, asking(), NOON).mapping is nowhere


@pytest.mark.parametrize(
    ("requester", "rule"),
    [
        (asking("192.0.2.1"), "r0"),
        (asking("198.51.100.9", xtr="x1"), "r0"),
        (asking("198.51.100.9"), None),
        (asking("192.0.2.1", xtr="stranger"), None),
    ],
)
def test_the_requesters_site_comes_from_our_xtr_or_the_rloc(
    requester: Requester, rule: str | None
) -> None:
    used = engine({"match": {"sites": ["partner"]}, "action": {"pin": [A]}})
    assert used.evaluate(MAPPING, requester, NOON).rule == rule


def test_site_and_prefix_must_hold_for_the_same_rloc() -> None:
    used = engine(
        {"match": {"sites": ["partner"], "itr_rlocs": ["198.51.100.0/24"]}, "action": {"pin": [A]}}
    )
    two = tuple(map(ipaddress.ip_address, ("192.0.2.1", "198.51.100.1")))
    assert used.evaluate(MAPPING, Requester(two), NOON).rule is None


def test_xtr_id_authentication_and_pitr() -> None:
    used = engine(
        {"match": {"xtr_ids": ["0x2a"], "authenticated": True}, "action": {"pin": [A]}},
        {"match": {"pitr": True}, "action": {"pin": [B]}},
    )
    assert used.evaluate(MAPPING, asking(xtr_id=42, authenticated=True), NOON).rule == "r0"
    assert used.evaluate(MAPPING, asking(xtr_id=42), NOON).rule is None
    assert used.evaluate(MAPPING, asking(xtr_id=42, pitr=True), NOON).rule == "r1"


def test_the_source_eid_counts_only_in_the_instance_id_and_family_asked_for() -> None:
    used = engine({"match": {"source_eids": ["10.9.0.0/16"]}, "action": {"pin": [A]}})
    assert used.evaluate(MAPPING, asking(source="10.9.1.1/32"), NOON).rule == "r0"
    for source in ("[5] 10.9.1.1/32", "2001:db8::1/128", None):
        answer = used.evaluate(MAPPING, asking(source=source), NOON)
        assert (answer.rule, answer.scope) == (None, None)


def test_scopes() -> None:
    used = engine(
        {"match": {"source_eids": ["10.9.0.0/25", "10.9.0.128/25"]}, "action": {"pin": [A]}},
        {"match": {"itr_rlocs": ["192.0.2.0/24"]}, "action": {"pin": [B]}},
        {"match": {"source_eids": ["10.8.0.0/16"]}, "action": {"deny": True}},
    )

    def scope(rloc: str, source: str) -> str | None:
        answer = used.evaluate(MAPPING, asking(rloc, source), NOON)
        if answer.scope is None:
            return None
        assert answer.scope.destination == EID
        return str(answer.scope.source)

    assert scope("198.51.100.1", "10.9.0.5/32") == "10.9.0.0/24"
    assert scope("198.51.100.1", "10.8.3.4/32") == "10.8.0.0/16"
    assert scope("198.51.100.1", "10.9.1.1/32") == "10.9.1.0/24"
    assert scope("198.51.100.1", "192.168.0.1/32") == "128.0.0.0/1"
    # For the partner the third rule is never reached, so 10.8.0.0/16 is nothing special.
    assert scope("192.0.2.1", "10.8.3.4/32") == "10.8.0.0/16"


def test_a_rule_that_is_never_reached_does_not_narrow_the_scope() -> None:
    used = engine(
        {"match": {"itr_rlocs": ["192.0.2.0/24"]}, "action": {"pin": [B]}},
        {"match": {"source_eids": ["10.8.0.0/16"]}, "action": {"deny": True}},
    )
    answer = used.evaluate(MAPPING, asking("192.0.2.1", "10.8.3.4/32"), NOON)
    assert (answer.rule, answer.scope) == ("r0", None)


def test_falling_through_warns_and_asks_the_next_rule() -> None:
    used = engine({"action": {"hide": [A, B]}}, {"action": {"pin": [B]}})
    answer = used.evaluate(MAPPING, asking(), NOON)
    assert answer.rule == "r1"
    assert "rule r0 would leave no usable RLOC" in answer.warnings[0]
    last = engine({"action": {"hide": [A, B]}}).evaluate(MAPPING, asking(), NOON)
    assert (last.mapping, last.rule) == (MAPPING, None)


def test_time_windows_bound_the_answer_and_its_ttl() -> None:
    used = engine(
        {"match": {"time": [{"from": "08:00", "to": "12:30"}]}, "action": {"pin": [A]}},
        {"action": {"pin": [B]}},
    )
    day = used.evaluate(MAPPING, asking(), NOON)
    assert (day.rule, day.valid_until) == ("r0", NOON + 1800)
    assert day.ttl_minutes(NOON + 60) == 29
    assert day.ttl_minutes(NOON + 1799) == 1
    assert used.next_change(NOON) == NOON + 1800
    later = used.evaluate(MAPPING, asking(), NOON + 1800)
    assert (later.rule, later.valid_until) == ("r1", NOON + 20 * 3600)
    # Asking about the past again gives the past's answer.
    assert used.evaluate(MAPPING, asking(), NOON) == day


def test_a_window_of_a_rule_that_cannot_apply_bounds_nothing() -> None:
    window = [{"from": "08:00", "to": "12:30"}]
    used = engine(
        {"match": {"time": window, "itr_rlocs": ["192.0.2.0/24"]}, "action": {"pin": [A]}},
        {"action": {"pin": [B]}},
        {"match": {"time": window}, "action": {"deny": True}},
    )
    assert used.evaluate(MAPPING, asking("198.51.100.1"), NOON).valid_until is None
    assert used.evaluate(MAPPING, asking("192.0.2.1"), NOON).valid_until == NOON + 1800
    assert used.evaluate(MAPPING, asking(), NOON).ttl_minutes(NOON) == 1440


def test_health_conditions_follow_the_snapshot() -> None:
    used = engine({"match": {"rlocs_down": [A]}, "action": {"pin": [B], "ttl_minutes": 1}})
    assert used.evaluate(MAPPING, asking(), NOON).rule is None
    assert used.set_conditions(Conditions(up={A: False}))
    assert used.evaluate(MAPPING, asking(), NOON).rule == "r0"
    assert not used.set_conditions(Conditions(up={A: False}))
    assert used.set_conditions(Conditions(up={A: True}))
    assert used.evaluate(MAPPING, asking(), NOON).rule is None


def test_a_load_condition_holds_until_its_release() -> None:
    load = [{"rloc": str(A), "rate_above": "800M", "until": "600M"}]
    used = engine({"match": {"load": load}, "action": {"prefer": [B]}})

    def rule(rate: float | None) -> str | None:
        measured = {} if rate is None else {A: RlocLoad(rate, 0.5)}
        used.set_conditions(Conditions(load=measured))
        return used.evaluate(MAPPING, asking(), NOON).rule

    seen = [rule(rate) for rate in (500e6, 700e6, 801e6, 700e6, 601e6, 599e6, 700e6, None)]
    assert seen == [None, None, "r0", "r0", "r0", None, None, None]


def test_a_share_condition_below() -> None:
    load = [{"rloc": str(A), "share_below": 0.2}]
    used = engine({"match": {"load": load}, "action": {"prefer": [A]}})
    rules = []
    for share in (0.3, 0.19, 0.21, 0.23):
        used.set_conditions(Conditions(load={A: RlocLoad(1.0, share)}))
        rules.append(used.evaluate(MAPPING, asking(), NOON).rule)
    assert rules == [None, "r0", "r0", None]


def test_measurements_that_switch_no_rule_change_no_answer() -> None:
    used = engine({"action": {"pin": [A]}})
    assert not used.set_conditions(Conditions(load={A: RlocLoad(5.0, 0.5)}))


def test_narrow_gives_the_part_that_one_set_of_rules_is_for() -> None:
    used = engine({"match": {"eid_prefixes": ["10.1.0.64/26"]}, "action": {"pin": [A]}})
    host = EidPrefix.from_text

    part = used.narrow(MAPPING, host("10.1.0.70/32"))
    assert part.eid == host("10.1.0.64/26")
    assert used.evaluate(part, asking(), NOON).rule == "r0"
    part = used.narrow(MAPPING, host("10.1.0.71/32"))
    assert used.narrow(MAPPING, host("10.1.0.72/32")) is part
    other = used.narrow(MAPPING, host("10.1.0.200/32"))
    assert other.eid == host("10.1.0.128/25")
    assert used.evaluate(other, asking(), NOON).rule is None
    assert used.narrow(MAPPING, host("10.1.0.3/32")).eid == host("10.1.0.0/26")
    # As a whole the mapping is not what the rule is for.
    assert used.evaluate(MAPPING, asking(), NOON).rule is None


def test_narrow_leaves_other_mappings_alone() -> None:
    used = engine({"match": {"eid_prefixes": ["10.1.7.0/26", "10.1.0.0/16"]}, "action": {}})
    assert used.narrow(MAPPING, EidPrefix.from_text("10.1.0.70/32")) is MAPPING
    assert engine().narrow(MAPPING, EidPrefix.from_text("10.1.0.70/32")) is MAPPING


def test_policies_and_sites_change_in_place() -> None:
    used = engine({"action": {"pin": [A]}})
    first = used.evaluate(MAPPING, asking(), NOON)
    assert not used.set_policies(used.policies)
    assert used.set_policies((policy({"action": {"pin": [B]}}),))
    assert used.evaluate(MAPPING, asking(), NOON).mapping != first.mapping
    assert not used.set_sites(SITES)
    assert used.set_sites(replace(SITES, eids={}))
    assert used.evaluate(MAPPING, asking(), NOON).mapping is MAPPING


def test_the_generation_tells_what_next_change_does_not() -> None:
    used = engine({"match": {"rlocs_down": [A]}, "action": {"pin": [B]}})
    seen = [used.generation]
    for change in (
        lambda: used.set_conditions(Conditions(up={A: False})),
        lambda: used.set_sites(replace(SITES, xtrs=())),
        lambda: used.set_policies(()),
    ):
        change()
        seen.append(used.generation)
    assert len(set(seen)) == len(seen)
    used.set_conditions(Conditions(up={A: False}, load={A: RlocLoad(1.0, 1.0)}))
    used.evaluate(MAPPING, asking(), NOON)
    assert used.generation == seen[-1]


def test_groups_are_sites_with_rules() -> None:
    used = engine({"match": {"source_eids": ["10.9.0.0/16"]}, "action": {"pin": [A]}})
    home = used.group(EID)
    assert home == used.group(EidPrefix.from_text("10.1.77.0/24"))
    assert used.group(EidPrefix.from_text("10.2.0.0/24")) is None
    assert home != used.group(replace(EID, iid=3))
    one, other, far = (
        asking(source=text) for text in ("10.9.0.1/32", "10.9.7.1/32", "10.8.0.1/32")
    )
    assert used.requester_class(home, one) == used.requester_class(home, other)
    assert used.requester_class(home, one) != used.requester_class(home, far)


def test_a_copy_leaves_the_original_alone() -> None:
    used = engine({"match": {"rlocs_down": [A]}, "action": {"pin": [B]}})
    used.set_conditions(Conditions(up={A: False}))
    twin = used.copy()
    assert twin.evaluate(MAPPING, asking(), NOON) == used.evaluate(MAPPING, asking(), NOON)
    twin.set_policies(())
    twin.set_conditions(Conditions())
    assert twin.evaluate(MAPPING, asking(), NOON).rule is None
    assert used.evaluate(MAPPING, asking(), NOON).rule == "r0"


def test_what_is_kept_is_bounded_and_never_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lisp_sdn.policy.engine.MAX_VIEWS", 100)
    used = engine({"match": {"eid_prefixes": ["10.1.0.0/17"]}, "action": {"pin": [A]}})
    start = ipaddress.ip_address("10.1.127.0")
    for number in range(700):
        eid = EidPrefix.host(0, start + number)
        inside = number < 256
        answer = used.evaluate(Mapping(eid, MAPPING.locators), asking(), NOON)
        assert answer.rule == ("r0" if inside else None)
    assert len(used._views) <= 100


CONFIG = """
sites:
  - {name: home, authentication_keys: [{key: k}], eid_prefixes: [{prefix: 10.1.0.0/16}]}
  - name: partner
    authentication_keys: [{key: k}]
    allowed_rlocs: [192.0.2.0/24, 0.0.0.0/0]
xtrs:
  - {name: x1, site: home, datapath_id: 1, rlocs: [{rloc: 203.0.113.1}]}
"""


def test_sites_from_the_configuration() -> None:
    sites = Sites.from_config(load(CONFIG), {ipaddress.ip_address("100.64.0.9"): "partner"})
    assert sites.owner(EidPrefix.from_text("10.1.5.0/24")) == "home"
    assert sites.owner(EidPrefix.from_text("[3] 10.1.5.0/24")) is None
    assert sites.of_rloc(ipaddress.ip_address("192.0.2.9")) == "partner"
    assert sites.of_rloc(ipaddress.ip_address("203.0.113.1")) == "home"
    assert sites.of_rloc(ipaddress.ip_address("100.64.0.9")) == "partner"
    assert sites.of_rloc(ipaddress.ip_address("8.8.8.8")) is None
    assert sites.of_xtr("x1") == "home"
    assert sites.xtrs[0].requester == Requester((A,), xtr="x1", authenticated=True)
