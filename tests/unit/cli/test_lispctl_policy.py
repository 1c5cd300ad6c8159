"""`lispctl policy` against the API over loopback HTTP, with the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lispctl_server import Controller, serving

from lisp_sdn.model import Mapping
from lisp_sdn.views import MappingEntry, Origin

from api_fake import eid, filled, locator  # isort: skip

EAST = """
policies:
  - site: east
    rules:
      - name: partner
        match: {sites: [west]}
        action: {prefer: [192.0.2.9]}
      - name: office
        match: {time: [{from: 08:00, to: 22:00}]}
        action: {ttl_minutes: 5}
"""
WHY = ("--why", "a test", "--who", "ann")


@pytest.fixture
def ctl() -> Iterator[Controller]:
    backend = filled()
    mapping = Mapping(eid("[42] 10.1.0.0/24"), (locator("192.0.2.1"), locator("192.0.2.9", 2)))
    backend.add(MappingEntry(mapping, Origin.REGISTERED, "east"))
    with serving(backend) as controller:
        yield controller


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "east.yaml"
    path.write_text(EAST)
    return str(path)


def test_show_edit_apply(ctl: Controller, file: str, tmp_path: Path) -> None:
    assert ctl("policy", "apply", file, *WHY).stdout == "applied the policy of east\n"
    shown = ctl("policy", "show", "east").stdout
    assert shown.startswith('# etag east "')
    assert "from: 08:00" in shown.replace("'", "")
    edited = tmp_path / "edited.yaml"
    edited.write_text(shown.replace("ttl_minutes: 5", "ttl_minutes: 7"))
    assert ctl("policy", "apply", str(edited), *WHY).exit_code == 0
    assert "ttl_minutes: 7" in ctl("policy", "show").stdout
    rules = json.loads(ctl("policy", "show", "east", "--json").stdout)["rules"]
    assert rules[1]["action"] == {"ttl_minutes": 7}


def test_a_file_from_an_older_version_is_not_applied(ctl: Controller, file: str) -> None:
    ctl("policy", "apply", file, *WHY)
    shown = ctl("policy", "show", "east").stdout
    changed = shown.replace("ttl_minutes: 5", "ttl_minutes: 7")
    assert ctl("policy", "apply", "-", *WHY, input=changed).exit_code == 0
    late = ctl("policy", "apply", "-", *WHY, input=shown)
    assert late.exit_code == 1
    assert "site east has a policy that this file was not made from" in late.stderr
    assert "lispctl policy show east" in late.stderr
    assert "--force" in late.stderr
    assert "ttl_minutes: 7" in ctl("policy", "show").stdout
    assert ctl("policy", "apply", file, *WHY).exit_code == 1, "no version, but there is a policy"
    assert ctl("policy", "apply", file, *WHY, "--force").exit_code == 0


def test_apply_wants_a_reason(ctl: Controller, file: str) -> None:
    result = ctl("policy", "apply", file)
    assert result.exit_code == 2
    assert "--why" in result.stderr


def test_a_wrong_file_names_rule_field_value_and_fix(ctl: Controller) -> None:
    bad = "policies: [{site: east, rules: [{name: a, match: {sites: [x]}, action: {}}]}]"
    refused = ctl("policy", "apply", "-", *WHY, input=bad)
    assert refused.exit_code == 1
    assert "rule east/a: match.sites[0]: 'x'" in refused.stderr
    assert "configured: east, west" in refused.stderr
    local = ctl("policy", "diff", "-", input="policies: [{site: east, rules: [{name: a b}]}]")
    assert local.exit_code == 1
    assert "'a b'" in local.stderr
    assert ctl.seen[-1][0] == "POST", "what is wrong by itself is not even sent"
    assert len(ctl.seen) == 1


def test_diff_tells_who_gets_what(ctl: Controller, file: str) -> None:
    result = ctl("policy", "diff", file)
    assert result.exit_code == 0
    assert "rule east/partner: added" in result.stdout
    assert "192.0.2.9 1/100" in result.stdout
    assert "xTR xtr-west: the flows of [42] 10.1.0.0/24 would change\n" in result.stdout
    document = json.loads(ctl("policy", "diff", file, "--json").stdout)
    assert document["changes"][0]["eid"] == "[42] 10.1.0.0/24"
    assert ctl("policy", "show", "--json").stdout.strip() == "[]"
    ctl("policy", "apply", file, *WHY)
    assert "nobody would get another answer" in ctl("policy", "diff", file).stdout
    assert "more than 1" in ctl("policy", "diff", "-", "--limit", "1", input=NOTHING).stdout


NOTHING = "policies: [{site: east, rules: []}]"


def test_explain_prints_the_rule_chain(ctl: Controller, file: str) -> None:
    ctl("policy", "apply", file, *WHY)
    asked = ("policy", "explain", "--to", "[42] 10.1.0.5", "--from", "10.2.0.1")
    result = ctl(*asked, "--xtr", "xtr-west")
    assert result.exit_code == 0
    assert "1. partner: decided" in result.stdout
    assert "decided by rule partner" in result.stdout
    night = ctl(*asked, "--itr", "203.0.113.1", "--at", "2027-01-15T23:00:00Z", "--json")
    document = json.loads(night.stdout)
    assert document["answer"]["rule"] is None
    assert document["at"] == "2027-01-15T23:00:00.000Z"
    assert ctl("policy", "explain", "--to", "10.99.0.1").exit_code == 1


def test_history_and_rollback(ctl: Controller, file: str) -> None:
    ctl("policy", "apply", file, *WHY)
    assert ctl("policy", "delete", "east", *WHY).stdout == "deleted the policy of east\n"
    shown = ctl("policy", "history").stdout
    assert "east/partner removed" in shown
    back = ctl("policy", "rollback", "2", "--why", "regret")
    assert back.stdout == "version 4: rollback to 2\n"
    entries = json.loads(ctl("policy", "history", "--json").stdout)
    assert [entry["version"] for entry in entries] == [4, 3, 2, 1]
    assert (entries[1]["who"], entries[1]["why"]) == ("ann", "a test")
    assert "@" in entries[0]["who"]
    assert ctl("policy", "rollback", "99", "--why", "x").exit_code == 1


def test_delete_of_nothing_is_status_1(ctl: Controller) -> None:
    assert ctl("policy", "delete", "east", *WHY).exit_code == 1
    assert ctl("policy", "show", "north").exit_code == 1


def test_balance_shows_weights_shares_and_targets(ctl: Controller) -> None:
    assert ctl("policy", "balance").stdout == "no rule balances\n"
    text = """
    - site: east
      rules:
        - name: split
          action:
            balance: {target: [{rloc: 192.0.2.1, share: 70}, {rloc: 192.0.2.9, share: 30}]}
    """
    assert ctl("policy", "apply", "-", *WHY, input=text).exit_code == 0
    lines = [line.split() for line in ctl("policy", "balance").stdout.splitlines()]
    assert lines[1] == ["east/split", "measuring", "192.0.2.1", "70", "-", "70%"]
    assert json.loads(ctl("policy", "balance", "--json").stdout)[0]["rule"] == "split"
