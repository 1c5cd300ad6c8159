"""The bgp and alt blocks of the configuration: every mistake is named."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from lisp_sdn.alt_settings import PrefixRule, permitted
from lisp_sdn.config import Config, load
from lisp_sdn.errors import ConfigError

BGP = """
bgp:
  as_number: 64512
  router_id: 10.99.0.1
  neighbours:
    - {address: 10.99.0.2, as_number: 64513, password: a-secret}
"""
SITE = """
sites:
  - name: athens
    authentication_keys: [{key: a-test-key}]
    eid_prefixes: [{prefix: 10.1.0.0/17}, {prefix: 10.1.128.0/18}, {prefix: 10.9.0.0/16, iid: 7}]
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return dict(caught.value.problems)


def test_the_password_is_shown_nowhere() -> None:
    config = load(BGP)
    assert config.bgp is not None
    assert config.bgp.neighbours[0].password is not None
    assert "a-secret" not in repr(config) + str(config) + config.model_dump_json()
    found = problems(BGP.replace("a-secret", "2718281828"))
    assert found == {"bgp.neighbours[0].password": "Input should be a valid string"}
    found = problems(BGP.replace("a-secret", "x" * 81))
    assert found == {"bgp.neighbours[0].password": "81 octets, expected 1..80"}


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (
            BGP.replace("as_number: 64513", "as_number: 64512"),
            "bgp.neighbours[0].as_number",
            "64512 is our own, expected another",
        ),
        (
            BGP + "    - {address: 10.99.0.2, as_number: 64514}",
            "bgp.neighbours[1].address",
            "10.99.0.2 is already bgp.neighbours[0]",
        ),
        (
            BGP.replace("address: 10.99.0.2", "address: 224.0.0.1"),
            "bgp.neighbours[0].address",
            "224.0.0.1 cannot be a neighbour, expected a unicast address",
        ),
        (
            BGP.replace("router_id: 10.99.0.1", 'router_id: "2001:db8::1"'),
            "bgp.router_id",
            "2001:db8::1 is not an IPv4 address other than 0.0.0.0",
        ),
        ("alt: {}", "alt", "needs a BGP speaker, expected bgp beside it"),
        (
            BGP.replace("as_number: 64513", "as_number: 3356") + "alt: {}",
            "bgp.neighbours[0].as_number",
            "3356 is not private, expected 64512..65534 or 4200000000..4294967294, "
            "or alt.allow_public_as",
        ),
        (
            SITE + BGP + "alt: {aggregates: [{prefix: 10.1.0.0/16}]}",
            "alt.aggregates[0].prefix",
            "10.1.0.0/16 holds 10.1.192.0/18, which is in no EID-prefix of a site; "
            "set holes: natively-forward if nobody else has it",
        ),
        (
            SITE + BGP + "alt: {aggregates: [{prefix: 10.9.0.0/16}]}",
            "alt.aggregates[0].prefix",
            "10.9.0.0/16 holds no EID-prefix of instance-ID 0",
        ),
        (
            SITE + BGP + "alt: {aggregates: [{prefix: 10.1.128.0/18}, {prefix: 10.1.0.0/16, "
            "holes: natively-forward}]}",
            "alt.aggregates[1].prefix",
            "10.1.0.0/16 overlaps the aggregate 10.1.128.0/18",
        ),
    ],
)
def test_mistakes_are_named(text: str, path: str, message: str) -> None:
    assert problems(text)[path] == message


@pytest.mark.parametrize(
    "alt",
    [
        "alt: {aggregates: [{prefix: 10.1.0.0/16, holes: natively-forward}]}",
        "alt: {aggregates: [{prefix: 10.9.0.0/16}], iid: 7}",
        "alt: {aggregates: [{prefix: 10.1.0.0/17}]}",
    ],
)
def test_what_is_right_is_taken(alt: str) -> None:
    assert isinstance(load(SITE + BGP + alt), Config)


def test_public_as_numbers_are_taken_on_the_operators_word() -> None:
    text = BGP.replace("as_number: 64513", "as_number: 3356")
    assert isinstance(load(text + "alt: {allow_public_as: true}"), Config)
    # Without an ALT it is a session like any other.
    assert isinstance(load(text), Config)


def rule(**fields: Any) -> PrefixRule:
    return PrefixRule.model_validate(fields)


@pytest.mark.parametrize(
    ("network", "taken"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.0/9", False),
        ("10.66.0.0/16", False),
        ("10.66.1.0/24", False),
        ("172.16.0.0/12", True),
        ("172.16.4.0/24", True),
        ("172.16.4.0/25", False),
        ("2001:db8::/32", False),
    ],
)
def test_the_first_line_of_a_filter_decides(network: str, taken: bool) -> None:
    rules = (
        rule(prefix="10.66.0.0/16", action="deny", minimum_length=16),
        rule(prefix="10.0.0.0/8"),
        rule(prefix="172.16.0.0/12", maximum_length=24),
    )
    assert permitted(rules, ipaddress.ip_network(network)) is taken
    assert permitted((), ipaddress.ip_network(network))


@pytest.mark.parametrize("lengths", [{"maximum_length": 7}, {"minimum_length": 33}])
def test_a_filter_line_for_impossible_lengths_is_refused(lengths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"expected some of 8\.\.32"):
        rule(prefix="10.0.0.0/8", **lengths)
