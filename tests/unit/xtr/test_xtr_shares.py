"""A host that asks for everything leaves some to the others."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.xtr.shares import Shares


def host(number: int) -> IPv4Address:
    return IPv4Address(0x0A010000 + number)


def fill(shares: Shares, *who: tuple[int, IPv4Address]) -> int:
    """Take places until there is none; how many were taken."""
    taken = 0
    for port, source in who:
        if shares.admits(port, source):
            shares.add(port, source)
            taken += 1
    return taken


def test_one_source_leaves_places_to_others_behind_its_port() -> None:
    shares = Shares(1024)
    assert fill(shares, *[(1, host(1))] * 2000) == 768
    assert shares.admits(1, host(2))
    assert shares.admits(2, host(3))


def test_many_sources_of_one_port_leave_places_to_other_ports() -> None:
    shares = Shares(1024)
    assert fill(shares, *[(1, host(n)) for n in range(5000)]) == 896
    assert not shares.admits(1, host(9999))
    assert fill(shares, *[(2, host(1))] * 500) == 64


@pytest.mark.parametrize("limit", [1, 7, 63])
def test_few_places_are_for_whoever_comes_first(limit: int) -> None:
    shares = Shares(limit)
    assert fill(shares, *[(1, host(1))] * 200) == limit
    assert not shares.admits(2, host(2))


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), max_size=400))
def test_never_more_than_the_limit_and_everything_can_be_given_back(
    limit: int, wanted: list[tuple[int, int]]
) -> None:
    shares = Shares(limit)
    taken = []
    for port, number in wanted:
        if shares.admits(port, host(number)):
            shares.add(port, host(number))
            taken.append((port, host(number)))
        assert len(shares) <= limit
    for port, source in taken:
        shares.remove(port, source)
    assert len(shares) == 0
    assert fill(shares, *[(1, host(1))] * limit) >= limit - limit // 4
