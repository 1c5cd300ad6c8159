"""Prefix tables and negative prefixes against brute force over every prefix length."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix
from lisp_sdn.mapping.holes import free_length
from lisp_sdn.prefixtable import PrefixTable, code_of

EidSet = frozenset[EidPrefix]


@dataclass
class Value:
    code: int


def table_of(prefixes: EidSet, iid: int, version: int) -> PrefixTable[Value]:
    table: PrefixTable[Value] = PrefixTable(iid, version)
    for prefix in prefixes:
        if (prefix.iid, prefix.version) == (iid, version):
            table.put(Value(code_of(prefix.network)))
    return table


@st.composite
def prefixes(draw: st.DrawFn, version: int = 4) -> EidPrefix:
    """Prefixes crowded into few bits, at both ends of the address, so that they nest and touch."""
    bits = 32 if version == 4 else 128
    high, low = draw(st.integers(0, 31)), draw(st.integers(0, 15))
    value = high << (bits - 5) | low
    length = draw(st.sampled_from([0, 1, 2, 3, 4, 5, bits - 4, bits - 2, bits - 1, bits]))
    iid = draw(st.sampled_from([0, 0, 0, 7]))
    return EidPrefix.trusted(iid, version, value, length)


def widest(query: EidPrefix, known: EidSet) -> EidPrefix | None:
    """Brute force: the shortest length at which nothing known is inside, within what covers."""
    others = [p for p in known if not p.covers(query)]
    floor = max((p.prefixlen for p in known if p.covers(query)), default=0)
    for length in range(floor, query.prefixlen + 1):
        candidate = EidPrefix.trusted(
            query.iid, query.version, int(query.network.network_address), length
        )
        if not any(candidate.covers(other) for other in others):
            return candidate
    return None


def found(query: EidPrefix, *tables: PrefixTable[Value]) -> EidPrefix | None:
    length = free_length(code_of(query.network), tables)
    if length is None:
        return None
    return EidPrefix.trusted(query.iid, query.version, int(query.network.network_address), length)


def text(*texts: str) -> EidSet:
    return frozenset(EidPrefix.from_text(item) for item in texts)


@pytest.mark.parametrize(
    ("known", "query", "expected"),
    [
        ((), "10.3.4.5", "0.0.0.0/0"),
        (("10.1.0.0/16",), "10.3.4.5", "10.2.0.0/15"),
        (("2001:db8:4ff::/48",), "2001:db8:500::1", "2001:db8:500::/40"),
        (("0.0.0.0/1",), "128.0.0.1", "128.0.0.0/1"),
        (("128.0.0.1/32",), "128.0.0.0", "128.0.0.0/32"),
        (("128.0.0.1/32",), "128.0.0.2", "128.0.0.2/31"),
        (("10.0.0.0/24", "10.0.2.0/24"), "10.0.1.7", "10.0.1.0/24"),
        (("10.0.0.0/8", "10.1.0.0/16"), "10.2.0.0", "10.2.0.0/15"),
        (("[5] 10.1.0.0/16",), "10.3.4.5", "0.0.0.0/0"),
        (("255.255.255.255/32",), "255.255.255.254", "255.255.255.254/32"),
        (("0.0.0.0/32",), "0.0.0.1", "0.0.0.1/32"),
        (("0.0.0.0/0",), "10.0.0.1", "0.0.0.0/0"),
    ],
)
def test_negative_prefix_examples(known: tuple[str, ...], query: str, expected: str) -> None:
    eid = EidPrefix.from_text(query)
    tables = table_of(text(*known), eid.iid, eid.version)
    assert found(eid, tables) == EidPrefix.from_text(expected)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.frozensets(prefixes(), max_size=8), prefixes())
@example(text("0.0.0.0/0"), EidPrefix.from_text("0.0.0.0/0"))
def test_negative_prefix_is_the_widest_ipv4(known: EidSet, query: EidPrefix) -> None:
    assert found(query, table_of(known, query.iid, 4)) == widest(
        query, frozenset(p for p in known if p.iid == query.iid)
    )


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.frozensets(prefixes(6), max_size=8), st.frozensets(prefixes(6), max_size=4), prefixes(6))
def test_negative_prefix_over_two_tables_ipv6(one: EidSet, two: EidSet, query: EidPrefix) -> None:
    known = frozenset(p for p in one | two if p.iid == query.iid)
    tables = table_of(one, query.iid, 6), table_of(two, query.iid, 6)
    assert found(query, *tables) == widest(query, known)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(prefixes().filter(lambda p: p.iid == 0), max_size=12),
    st.lists(prefixes().filter(lambda p: p.iid == 0), max_size=6),
    prefixes().filter(lambda p: p.iid == 0),
)
def test_table_is_a_map_with_longest_match(
    added: list[EidPrefix], removed: list[EidPrefix], query: EidPrefix
) -> None:
    table: PrefixTable[Value] = PrefixTable(0, 4)
    known: dict[EidPrefix, Value] = {}
    for prefix in added:
        known[prefix] = Value(code_of(prefix.network))
        table.put(known[prefix])
    for prefix in removed:
        if prefix in known:
            del known[prefix]
            table.remove(code_of(prefix.network))
        else:
            with pytest.raises(KeyError):
                table.remove(code_of(prefix.network))
    covering = sorted((p for p in known if p.covers(query)), key=lambda p: -p.prefixlen)
    code = code_of(query.network)
    assert len(table) == len(known)
    assert table.longest(code) is (known[covering[0]] if covering else None)
    assert table.get(code) is known.get(query)
    assert list(table.covering(code)) == [known[p] for p in covering]
    inside = sorted(p for p in known if query.covers(p) and p != query)
    assert [table.eid(found) for found in table.codes_inside(code)] == inside
    after = sorted(p for p in known if p.sort_key >= query.sort_key)
    assert [table.eid(found) for found in table.codes_from(code)] == after
    if query.is_host:
        packed = ipaddress.ip_address(query.network.network_address).packed
        assert table.find_packed(packed) is table.longest(code)
