"""The bgp and alt blocks of the configuration: every mistake is named."""

from __future__ import annotations

import ipaddress
import json
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


TUNNEL = {
    "port": "gre-x",
    "host_port": "alt-x",
    "address": "10.99.0.1",
    "neighbour": "10.99.0.2",
    "local": "192.0.2.1",
    "remote": "192.0.2.2",
}


def bridge(*tunnels: dict[str, str], datapath_id: str = "a0") -> str:
    """An alt block with these tunnels."""
    return f"alt: {{bridge: {{datapath_id: {datapath_id}, tunnels: {json.dumps(tunnels)}}}}}"


def test_a_tunnel_to_every_neighbour_is_taken() -> None:
    loaded = load(BGP + bridge(TUNNEL))
    assert loaded.alt is not None
    assert loaded.alt.bridge is not None
    assert loaded.alt.bridge.datapath_id == 0xA0
    assert loaded.alt.bridge.tunnels[0].port == "gre-x"


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"neighbour": "10.99.0.9"}, "neighbour", "10.99.0.9 is no bgp.neighbours[] with scope"),
        ({"address": "2001:db8::1"}, "address", "2001:db8::1 is not of the family of 10.99.0.2"),
        ({"address": "10.99.0.2"}, "neighbour", "10.99.0.2 is already alt.bridge.tunnels[0].addr"),
        ({"host_port": "gre-x"}, "host_port", "gre-x is already alt.bridge.tunnels[0].port"),
        ({"remote": "2001:db8::2"}, "remote", "2001:db8::2 is not an IPv4 address"),
    ],
)
def test_a_mistake_of_a_tunnel_is_named(changes: dict[str, str], key: str, message: str) -> None:
    found = problems(BGP + bridge({**TUNNEL, **changes}))
    assert found[f"alt.bridge.tunnels[0].{key}"].startswith(message), found


def test_every_alt_router_needs_a_tunnel_and_routers_of_the_underlay_none() -> None:
    text = BGP + "    - {address: 10.99.0.6, as_number: 64514}\n"
    text += "    - {address: 192.0.2.9, as_number: 65010, scope: underlay}\n"
    assert problems(text + bridge(TUNNEL)) == {
        "bgp.neighbours[1].address": "10.99.0.6 has no tunnel in alt.bridge.tunnels"
    }


def test_the_datapath_id_of_the_alt_bridge_is_its_own() -> None:
    xtr = """
xtrs:
  - {name: athens, datapath_id: a0, rlocs: [{rloc: 198.51.100.1}]}
"""
    found = problems(BGP + xtr + bridge(TUNNEL))
    assert found == {"alt.bridge.datapath_id": "00000000000000a0 is already xtrs[0].datapath_id"}
