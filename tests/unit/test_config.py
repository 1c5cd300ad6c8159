"""The configuration file: every mistake at once, each with place, value and expectation."""

from __future__ import annotations

import pytest

from lisp_sdn.config import load
from lisp_sdn.errors import ConfigError, InvalidPolicy
from lisp_sdn.policy.document import parse

BROKEN = """
sites:
  - name: a
    authentication_keys: [{key: hush-hush, key_id: 99999}]
    eid_prefixes: [{prefix: 10.1.0.0/33, iid: 99999999}]
    colour: red
xtrs:
  - name: xa
    site: nosuch
    datapath_id: 0xzz
    rlocs: [{rloc: 300.1.1.1}]
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(text, "lisp.yaml")
    assert all(line.startswith("lisp.yaml: ") for line in str(caught.value).splitlines())
    return dict(caught.value.problems)


def test_every_mistake_at_once() -> None:
    found = problems(BROKEN)
    assert set(found) == {
        "sites[0].authentication_keys[0].key_id",
        "sites[0].eid_prefixes[0].prefix",
        "sites[0].eid_prefixes[0].iid",
        "sites[0].colour",
        "xtrs[0].site",
        "xtrs[0].datapath_id",
        "xtrs[0].rlocs[0].rloc",
    }
    assert found["xtrs[0].site"] == "'nosuch' is not a site; configured: a"
    assert "99999999" in found["sites[0].eid_prefixes[0].iid"]
    assert found["sites[0].colour"].startswith("unknown key, expected one of name, ")
    assert "99999" in found["sites[0].authentication_keys[0].key_id"]


def test_a_list_that_is_really_empty_is_named() -> None:
    text = "xtrs: [{name: xa, datapath_id: 1, rlocs: []}]"
    assert list(problems(text)) == ["xtrs[0].rlocs"]


@pytest.mark.parametrize(
    "keys",
    ["[{key: [hush-hush]}]", "[hush-hush]", "hush-hush", "[{key_id: 1, kee: hush-hush}]"],
)
def test_secrets_stay_out_of_messages(keys: str) -> None:
    text = f"sites: [{{name: a, authentication_keys: {keys}, eid_prefixes: []}}]"
    found = problems(text)
    assert found
    assert "hush" not in str(found)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a: [", "YAML"),
        ("- 1", "(top)"),
        ("sites: 3", "sites"),
        ("{sites: [], sites: []}", "YAML"),
    ],
)
def test_what_is_no_configuration_at_all(text: str, path: str) -> None:
    assert list(problems(text)) == [path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{key: "hush-hush, }', "in line 1, column 7: found unexpected end of stream"),
        ("{key: hush-hush: }", "expected ',' or '}', but got ':' in line 1, column 16"),
        ('{key: "hush-hush\\q"}', "unknown escape character 'q' in line 1, column 18"),
        ("key: *hush-hush", "found undefined alias in line 1, column 6"),
        ("key: !hush-hush a", "a constructor for the tag in line 1, column 6"),
        ("key: !!timestamp hush-hush", "no timestamp, and text that looks like one needs quotes"),
    ],
)
def test_broken_yaml_is_told_by_its_place_and_not_shown(text: str, expected: str) -> None:
    found = problems(text)["YAML"]
    assert expected in found
    assert "hush" not in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 2024-99-99", "no timestamp, "),
        ("a: 0x_", "no int, "),
        ("a: " + "9" * 5000, "no int, "),
        ("a: !!float x", "no float, "),
        ("? [a]\n: b", "a key is a list or a mapping, expected text in line 1, column 3"),
        ("[" * 20_000, "too deep"),
    ],
)
def test_what_only_looks_like_yaml_is_a_mistake_and_no_bug(text: str, expected: str) -> None:
    assert expected in problems(text)["YAML"]
    with pytest.raises(InvalidPolicy, match=expected):
        parse(text)


def test_kinds_have_their_names_in_yaml() -> None:
    assert problems("{sites: 3, rest: 4}") == {
        "sites": "3: expected a list",
        "rest": "4: expected a mapping",
    }


def test_nothing_is_a_configuration() -> None:
    assert load("").sites == ()
