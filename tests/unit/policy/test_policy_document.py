"""Policies as text: what is refused says which rule, field and value, and how to put it right."""

from __future__ import annotations

import pytest

from lisp_sdn.config import Config, load
from lisp_sdn.errors import ConfigError, InvalidPolicy
from lisp_sdn.policy import etag, to_plain, to_yaml
from lisp_sdn.policy.document import canonical, check, parse

CONFIG = """
sites:
  - name: athens
    authentication_keys: [{key: k}]
    eid_prefixes: [{prefix: 10.1.0.0/16}, {prefix: 10.1.0.0/16, iid: 223}]
    allowed_rlocs: [203.0.113.0/24]
  - {name: partner, authentication_keys: [{key: k}], eid_prefixes: [{prefix: 10.9.0.0/16}]}
"""

FULL = """
policies:
  - site: athens
    rules:
      - name: partner-by-own-link
        note: contract 4711
        match:
          eid_prefixes: ["[223] 10.1.5.0/24"]
          iids: [223]
          itr_rlocs: [192.0.2.0/24]
          sites: [partner]
          source_eids: [10.9.0.0/16]
          xtr_ids: [000102030405060708090a0b0c0d0e0f]
          authenticated: true
          pitr: false
          time: [{days: [mon, fri], from: 22:00, to: 06:00, zone: Europe/Athens}]
          rlocs_up: [203.0.113.1]
          rlocs_down: [203.0.113.2]
          load: [{rloc: 203.0.113.1, rate_above: 800M, until: 600M}]
        action:
          locators: [{rloc: 203.0.113.1, priority: 1, weight: 30}]
          balance: {target: [{rloc: 203.0.113.1, share: 7}, {rloc: 203.0.113.3, share: 3}]}
          prefer: [203.0.113.1]
          drain: [203.0.113.4]
          ttl_minutes: 5
      - {name: nobody, action: {deny: true}}
"""


@pytest.fixture(scope="module")
def config() -> Config:
    return load(CONFIG)


def test_every_field_survives_the_round_trip(config: Config) -> None:
    policies = parse(FULL)
    check(config, policies)
    assert parse(to_yaml(policies)) == policies
    assert parse(canonical(policies)) == policies
    assert load(CONFIG + FULL).policies == policies
    rule = policies[0].rules[0]
    assert rule.match.load[0].threshold == 800e6
    assert to_plain(policies)[0]["rules"][0]["match"]["time"][0]["from"] == "22:00"


def test_the_entity_tag_is_of_the_meaning_and_not_of_the_text() -> None:
    one = parse("[{site: a, rules: []}, {rules: [{name: r, action: {}}], site: b}]")
    other = parse("policies: [{site: b, rules: [{action: {}, name: r}]}, {site: a}]")
    assert etag(one) == etag(other)
    assert etag(one) != etag(parse("[{site: b, rules: [{name: r2, action: {}}]}]"))
    assert etag(one).startswith('"')


def refusals(text: str, config: Config) -> list[tuple[str, str, object, str]]:
    with pytest.raises(InvalidPolicy) as caught:
        check(config, parse(text))
    return [(one.rule, one.field, one.value, one.fix) for one in caught.value.problems]


def rule(body: str) -> str:
    return f"[{{site: athens, rules: [{{name: r1, {body}}}]}}]"


@pytest.mark.parametrize(
    ("body", "field", "value", "fix"),
    [
        ("action: {pin: [203.0.113.300]}", "action.pin[0]", "203.0.113.300", "not an IPv4 or IPv6"),
        ("action: {weights: 3}", "action.weights", 3, "unknown key"),
        (
            "action: {locators: [{rloc: 203.0.113.1, priority: 256}]}",
            "action.locators[0].priority",
            256,
            "less than or equal to 255",
        ),
        ("action: {ttl_minutes: 0}", "action.ttl_minutes", 0, "greater than or equal to 1"),
        ("action: {deny: maybe}", "action.deny", "maybe", "'policy-denied' or 'temporarily'"),
        ("action: {deny: true, pin: [203.0.113.1]}", "action", "...", "beside deny"),
        (
            "action: {hide: [203.0.113.1], prefer: [203.0.113.1]}",
            "action",
            "...",
            "hide: 203.0.113.1 is in prefer too",
        ),
        ("action: {pin: [203.0.113.1, 203.0.113.1]}", "action", "...", "listed twice"),
        ("action: {pin: []}", "action.pin", [], "an empty list"),
        ("match: {pitr: true}", "action", None, "Field required"),
        (
            "action: {}, match: {itr_rlocs: [192.0.2.1/24]}",
            "match.itr_rlocs[0]",
            "192.0.2.1/24",
            "has host bits set",
        ),
        (
            "action: {}, match: {eid_prefixes: ['[99999999] 10.0.0.0/8']}",
            "match.eid_prefixes[0]",
            "[99999999] 10.0.0.0/8",
            "0..16777215",
        ),
        (
            "action: {}, match: {time: [{from: 08:00, to: 26:00}]}",
            "match.time[0].to",
            1560,
            "expected HH:MM in 00:00..24:00",
        ),
        (
            "action: {}, match: {load: [{rloc: 203.0.113.1, rate_above: fast}]}",
            "match.load[0].rate_above",
            "fast",
            "expected bit/s such as 800M",
        ),
        (
            "action: {}, match: {load: [{rloc: 203.0.113.1, rate_above: 8M, share_below: 0.1}]}",
            "match.load[0]",
            "...",
            "expected one of share_above",
        ),
        (
            "action: {}, match: {load: [{rloc: 203.0.113.1, rate_above: 8M, until: 9M}]}",
            "match.load[0]",
            "...",
            "expected a value below 8e+06",
        ),
        ("action: {}, match: {xtr_ids: [zz]}", "match.xtr_ids[0]", "zz", "32 hex digits"),
        (
            "action: {}, match: {rlocs_up: [203.0.113.1], rlocs_down: [203.0.113.1]}",
            "match",
            "...",
            "the rule never matches",
        ),
        ("action: {pin: [198.51.100.1]}", "action.pin[0]", "198.51.100.1", "allowed_rlocs"),
        (
            "action: {}, match: {sites: [nowhere]}",
            "match.sites[0]",
            "nowhere",
            "configured: athens, partner",
        ),
        (
            "action: {}, match: {eid_prefixes: [10.77.0.0/16]}",
            "match.eid_prefixes[0]",
            "10.77.0.0/16",
            "holds no EID of site athens",
        ),
        ("action: {}, match: {iids: [4]}", "match.iids[0]", 4, "no instance-ID of site athens"),
        (
            "action: {balance: {target: [{rloc: 203.0.113.1, share: 1}]}}",
            "action.balance",
            "...",
            "target: 1 RLOCs, expected at least 2",
        ),
    ],
)
def test_a_mistake_names_rule_field_value_and_fix(
    config: Config, body: str, field: str, value: object, fix: str
) -> None:
    [(name, found, given, message)] = refusals(rule(body), config)
    assert (name, found) == ("athens/r1", field)
    assert given == value
    assert fix in message


def test_every_mistake_is_named_at_once(config: Config) -> None:
    text = """
- site: athens
  rules:
    - {name: one, action: {ttl_minutes: 0}}
    - {name: two, match: {pitr: perhaps}, action: {}}
- site: sparta
"""
    assert [one[:2] for one in refusals(text, config)] == [
        ("athens/one", "action.ttl_minutes"),
        ("athens/two", "match.pitr"),
    ]
    assert refusals("[{site: sparta}]", config) == [
        ("sparta", "site", "sparta", "'sparta' is not a site; configured: athens, partner")
    ]


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("{{", "expected"),
        ("just text", "expected a list of site policies"),
        ("[{site: athens, site: athens}]", "written twice"),
        ("[{site: athens}, {site: athens}]", "is already policies[0]"),
        (
            "[{site: athens, rules: [{name: r, action: {}}, {name: r, action: {}}]}]",
            "is already rules[0]",
        ),
    ],
)
def test_documents_that_are_none(config: Config, text: str, fix: str) -> None:
    [(_, _, _, message)] = refusals(text, config)
    assert fix in message


def test_allow_unregistered_rlocs_lifts_the_check(config: Config) -> None:
    text = rule("action: {pin: [198.51.100.1]}").replace(
        "site:", "allow_unregistered_rlocs: true, site:"
    )
    check(config, parse(text))


def test_what_is_registered_counts_where_the_configuration_does_not_say(config: Config) -> None:
    import ipaddress

    known = {ipaddress.ip_address("198.51.100.7")}
    text = "[{site: partner, rules: [{name: r, action: {pin: [198.51.100.8]}}]}]"
    check(config, parse(text))
    check(config, parse(text), lambda site: ())
    with pytest.raises(InvalidPolicy, match=r"not registered by site partner; name one of 198"):
        check(config, parse(text), lambda site: known)


def test_the_configuration_file_names_the_key_path() -> None:
    bad = "policies: [{site: athens, rules: [{name: r, action: {hide: [198.51.100.1]}}]}]"
    with pytest.raises(
        ConfigError, match=r"policies\[0\].rules\[0\].action.hide\[0\]: 198.51.100.1"
    ):
        load(CONFIG + bad)
