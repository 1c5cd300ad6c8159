"""Why a requester gets what he gets."""

from __future__ import annotations

import ipaddress
import json

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Locator, Mapping, Requester
from lisp_sdn.policy import Conditions, PolicyEngine, RlocLoad, Sites, Verdict, explain
from lisp_sdn.policy_settings import SitePolicy

A, B = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2))
EID = EidPrefix.from_text("10.1.0.0/24")
MAPPING = Mapping(EID).with_locators((Locator(A), Locator(B)))
NOON = 1_700_481_600.0
SITES = Sites(
    {EidPrefix.from_text("10.1.0.0/16"): "athens"},
    {ipaddress.ip_network("192.0.2.0/24"): "partner"},
)
RULES = [
    {"name": "night", "match": {"time": [{"from": "22:00", "to": "06:00"}]}, "action": {}},
    {
        "name": "server",
        "match": {"eid_prefixes": ["10.1.0.5/32"]},
        "action": {"pin": [str(A)]},
    },
    {"name": "hidden", "action": {"hide": [str(A), str(B)]}},
    {
        "name": "partner",
        "note": "contract 4711",
        "match": {"sites": ["partner"], "source_eids": ["10.9.0.0/16"]},
        "action": {"pin": [str(B)], "ttl_minutes": 5},
    },
    {"name": "closed", "action": {"deny": True}},
]
REQUESTER = Requester((ipaddress.ip_address("192.0.2.9"),), EidPrefix.from_text("10.9.1.1/32"))


def engine(rules: list[dict[str, object]] = RULES) -> PolicyEngine:
    return PolicyEngine((SitePolicy.model_validate({"site": "athens", "rules": rules}),), SITES)


def test_the_chain_has_every_rule_with_its_verdict() -> None:
    found = explain(engine(), MAPPING, REQUESTER, NOON)
    assert [(step.rule, step.verdict) for step in found.steps] == [
        ("night", Verdict.NO_MATCH),
        ("server", Verdict.NO_MATCH),
        ("hidden", Verdict.FELL_THROUGH),
        ("partner", Verdict.DECIDED),
        ("closed", Verdict.NOT_REACHED),
    ]
    details = {step.rule: step.detail for step in found.steps}
    assert details["night"] == (
        "time 1700481600 is not in mon,tue,wed,thu,fri,sat,sun 22:00-06:00 UTC"
    )
    assert "10.1.0.5/32 is only a part of the registered 10.1.0.0/24" in details["server"]
    assert "would leave no usable RLOC" in details["hidden"]
    assert "an earlier rule decided" in details["closed"]
    assert found.answer.rule == "partner"


def test_the_text_is_what_a_person_needs() -> None:
    text = explain(engine(), MAPPING, REQUESTER, NOON).to_text()
    for line in (
        "EID-prefix 10.1.0.0/24 of site athens at 2023-11-20 12:00:00 UTC",
        "asked by ITR-RLOC 192.0.2.9, source EID 10.9.1.1/32",
        "   4. partner: decided",
        "        yes ITR-RLOC 192.0.2.9 of site partner is of site partner",
        "        yes source EID 10.9.1.1/32 is in 10.9.0.0/16",
        "decided by rule partner",
        "warning: rule hidden would leave no usable RLOC for 10.1.0.0/24: fell through",
        "    203.0.113.2                             up    1/100",
        "    TTL 5 min",
        "holds for source EIDs in 10.9.0.0/16",
        "holds until 2023-11-20 22:00:00 UTC",
    ):
        assert line in text.splitlines()


def test_the_plain_values_are_json() -> None:
    plain = explain(engine(), MAPPING, REQUESTER, NOON).to_dict()
    again = json.loads(json.dumps(plain))
    assert again["answer"]["rule"] == "partner"
    assert again["answer"]["source_eids"] == "10.9.0.0/16"
    assert again["answer"]["locators"] == [
        {"rloc": "203.0.113.2", "priority": 1, "weight": 100, "reachable": True}
    ]
    assert again["registered"]["locators"][0]["rloc"] == "203.0.113.1"
    assert again["rules"][3]["reasons"][1] == {
        "field": "source EID",
        "expected": "in 10.9.0.0/16",
        "found": "10.9.1.1/32",
        "holds": True,
    }
    assert again["rules"][3]["note"] == "contract 4711"


def test_health_and_load_say_what_was_known() -> None:
    used = engine(
        [
            {
                "name": "overflow",
                "match": {
                    "rlocs_up": [str(B)],
                    "rlocs_down": [str(A)],
                    "load": [
                        {"rloc": str(A), "share_above": 0.8},
                        {"rloc": str(B), "rate_below": "1M"},
                    ],
                },
                "action": {"prefer": [str(B)]},
            }
        ]
    )
    used.set_conditions(Conditions(up={A: False}, load={A: RlocLoad(5e6, 0.9)}))
    [step] = explain(used, MAPPING, REQUESTER, NOON).steps
    assert [reason.to_text() for reason in step.reasons] == [
        "RLOC 203.0.113.2 without report (counts as up) is up",
        "RLOC 203.0.113.1 down is down",
        "load of 203.0.113.1 90.0% is above 80.0% (until 72.0%)",
        "load of 203.0.113.2 not measured is not below 1.000 Mbit/s (until 1.100 Mbit/s)",
    ]
    assert step.verdict is Verdict.NO_MATCH


def test_who_asks_is_told_in_full() -> None:
    asking = Requester(xtr="x1", xtr_id=10, pitr=True)
    rules = [
        {
            "name": "r",
            "match": {"xtr_ids": ["0a"], "authenticated": True, "pitr": True, "iids": [0]},
            "action": {},
        }
    ]
    found = explain(engine(rules), MAPPING, asking, NOON)
    assert "xTR x1, ITR-RLOC (none), source EID (none), xTR-ID 0000" in found.to_text()
    assert "(not proven), PITR" in found.to_text()
    assert found.steps[0].detail == "authenticated false is not true"


def test_without_a_site_or_a_policy() -> None:
    stray = Mapping(EidPrefix.from_text("172.16.0.0/16"))
    found = explain(engine(), stray, REQUESTER, NOON)
    assert (found.steps, found.detail) == ((), "no site owns this EID-prefix")
    assert "no-action, TTL 1440 min" in found.to_text()
    found = explain(PolicyEngine((), SITES), MAPPING, REQUESTER, NOON)
    assert found.detail == "site athens has no policy"
    assert "decided by the registered RLOC-set (site athens has no policy)" in found.to_text()
