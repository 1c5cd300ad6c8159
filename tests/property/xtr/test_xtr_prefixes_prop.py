"""Values by EID-prefix."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix
from lisp_sdn.xtr.prefixes import Prefixes

prefixes = st.tuples(
    st.sampled_from([1, 2]), st.integers(0, 255), st.sampled_from([0, 8, 26, 27, 28, 29, 32])
).map(lambda v: EidPrefix(v[0], ip_network((0x0A000000 | v[1], v[2]), strict=False)))


@given(st.lists(prefixes, max_size=20, unique=True), st.data(), prefixes)
def test_prefixes_are_found_as_by_brute_force(
    stored: list[EidPrefix], data: st.DataObject, asked: EidPrefix
) -> None:
    index: Prefixes[EidPrefix] = Prefixes()
    for eid in stored:
        index.put(eid, eid)
    gone = set(data.draw(st.lists(st.sampled_from(stored), unique=True))) if stored else set()
    for eid in gone:
        index.remove(eid)
    left = [eid for eid in stored if eid not in gone]
    covering = sorted((e for e in left if e.covers(asked)), key=lambda e: -e.prefixlen)
    if asked in left:
        assert list(index.covering(asked)) == covering
    assert set(index.covering(asked)) == set(covering)
    found = index.overlapping(asked)
    assert len(found) == len(set(found))
    assert set(found) == {e for e in left if e.covers(asked) or asked.covers(e)}
    assert index.get(asked) == (asked if asked in left else None)
