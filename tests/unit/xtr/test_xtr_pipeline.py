"""The pipeline as data: what it allows, what it refuses, how it reads."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from lisp_sdn.errors import FieldError
from lisp_sdn.rules import (
    Bucket,
    CookieClass,
    DecTtl,
    FlowRule,
    GroupRule,
    GroupType,
    Match,
    Output,
    RuleAction,
    ToGroup,
    cookie,
    match,
)
from lisp_sdn.xtr.pipeline import TABLES, TableId, check, check_group, to_markdown


def test_tables_are_numbered_in_order_and_go_forward_only() -> None:
    assert [table.number for table in TABLES] == list(range(10))
    for table in TABLES:
        assert all(target > table.number for target in table.goto)


@pytest.mark.parametrize(
    ("table", "matching", "actions", "goto", "named"),
    [
        (10, (), (), None, "table"),
        (3, match(in_port=1), (), None, "table 3 match"),
        (3, match(ipv4_dst=ip_network("10.0.0.0/8")), (), None, "eth_type beside ipv4_dst"),
        (
            3,
            match(eth_type=0x86DD, ipv4_dst=IPv4Address("10.0.0.1")),
            (),
            None,
            "eth_type beside ipv4_dst",
        ),
        (2, match(eth_type=0x800, icmpv4_type=8), (), None, "ip_proto beside icmpv4_type"),
        (2, match(nw_ttl=1), (), None, "eth_type beside nw_ttl"),
        (1, (), (Output(1),), None, "table 1 action"),
        (4, (), (ToGroup(1),), None, "table 4 action"),
        (3, (), (), 2, "table 3 goto"),
        (0, (), (DecTtl(),), None, "table 0 action"),
    ],
)
def test_rules_outside_of_the_pipeline_are_refused(
    table: int, matching: Match, actions: tuple[RuleAction, ...], goto: int | None, named: str
) -> None:
    with pytest.raises(FieldError) as error:
        check(FlowRule(table, 1, matching, actions, goto))
    assert named in str(error.value)


def test_foreign_cookies_and_priorities_are_refused() -> None:
    with pytest.raises(FieldError, match="cookie"):
        check(FlowRule(0, 1, (), cookie=0x1234))
    with pytest.raises(FieldError, match="priority"):
        check(FlowRule(0, 0x10000, (), cookie=cookie(CookieClass.PIPELINE)))


def test_a_good_rule_comes_back() -> None:
    rule = FlowRule(4, 1, match(in_port=1), goto=9, cookie=cookie(CookieClass.PIPELINE))
    assert check(rule) is rule


def test_groups_encapsulate_and_have_buckets() -> None:
    with pytest.raises(FieldError, match="buckets"):
        check_group(GroupRule(1, GroupType.SELECT, ()))
    with pytest.raises(FieldError, match="DecTtl"):
        check_group(GroupRule(1, GroupType.SELECT, (Bucket((DecTtl(),), 1),)))


def test_the_table_for_the_documentation_names_every_table() -> None:
    lines = to_markdown().splitlines()
    assert len(lines) == 2 + len(TABLES)
    assert len({line.count("|") for line in lines}) == 1
    for table, line in zip(TABLES, lines[2:], strict=True):
        assert line.startswith(f"| {int(table.number)} ")
        assert TableId(table.number).name.lower().replace("_", " ") in line


def test_the_documentation_shows_this_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "architecture.md"
    assert to_markdown() in page.read_text()
