"""Every address and EID has a text form that reads back as itself."""

from __future__ import annotations

import string

import pytest
import wire_strategies as ws
from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.errors import FieldError
from lisp_sdn.wire import DistinguishedName, MacAddress, OtherEid, SecurityKey
from lisp_sdn.wire.text import (
    address_from_text,
    address_to_text,
    eid_from_text,
    eid_to_text,
)


def hides_keys(address):
    """A security key inside of another address prints without its keys, on purpose."""
    return not isinstance(address, SecurityKey) and "hidden" in str(address)


LCAFS = ws.lcafs(ws.simple)


@pytest.mark.parametrize("name", LCAFS)
def test_every_lcaf_reads_back(name):
    @ws.some
    @given(LCAFS[name])
    def check(address):
        assert address_from_text(address_to_text(address)) == address

    check()


@given(ws.addresses.filter(lambda a: not hides_keys(a)))
def test_every_address_reads_back(address):
    assert address_from_text(address_to_text(address)) == address
    assert address_from_text(f"  {address_to_text(address)} ") == address


@ws.some
@given(ws.eids.filter(lambda e: not isinstance(e, OtherEid) or "hidden" not in str(e)))
def test_every_eid_reads_back(eid):
    assert eid_from_text(eid_to_text(eid)) == eid


@given(ws.prefixes())
def test_eid_prefix_reads_back_with_and_without_family(prefix):
    assert EidPrefix.from_text(prefix.to_text()) == prefix
    iid = f"[{prefix.iid}] "
    assert EidPrefix.from_text(f"{iid}ipv{prefix.version}:{prefix.network}") == prefix


@given(ws.pairs())
def test_source_dest_reads_back(pair):
    assert SourceDestPrefix.from_text(pair.to_text()) == pair


FRAGMENTS = "{ } [1] -> | , @ / = elp: srcdst: list: rle: 10.0.0.1 ::1 mac: dn: iid= geo: key:"
FRAGMENTS += " lcaf: type= (l) as:"


@given(st.text(string.printable) | st.lists(st.sampled_from(FRAGMENTS.split())).map("".join))
def test_other_texts_raise_field_error_only(text):
    for read in (address_from_text, eid_from_text):
        try:
            value = read(text)
        except FieldError:
            continue
        assert read(str(value)) == value


@pytest.mark.parametrize("text", ["{" * 10_000 + "}" * 10_000, "[1] " * 10_000 + "::1"])
def test_deep_texts_are_refused(text):
    with pytest.raises(FieldError):
        address_from_text(text)


@pytest.mark.parametrize(
    ("text", "eid"),
    [
        ("ipv4:10.0.0.0/24", EidPrefix.from_text("10.0.0.0/24")),
        ("[223] 10.0.0.0/24", EidPrefix.from_text("10.0.0.0/24", default_iid=223)),
        ("[223] ipv6:2001:db8::/32", EidPrefix.from_text("[223] 2001:db8::/32")),
        ("srcdst:10.0.0.0/8|[0] ::/0", SourceDestPrefix.from_text("srcdst:10.0.0.0/8|::/0")),
        ("mac:02-00-00-00-00-01", OtherEid(MacAddress(b"\2\0\0\0\0\1"), 48)),
        ("mac:02:00:00:00:00:01/24", OtherEid(MacAddress(b"\2\0\0\0\0\1"), 24)),
        ("dn:router-1", OtherEid(DistinguishedName("router-1"), 0)),
    ],
)
def test_texts_that_people_write(text, eid):
    assert eid_from_text(text) == eid


@pytest.mark.parametrize("text", ["2001:db8::1/32", "10.0.0.1/24", "[5] 10.0.0.1/24"])
def test_host_bits_are_named_not_dropped(text):
    with pytest.raises(FieldError, match="host bits"):
        eid_from_text(text)


def test_elp():
    path = address_from_text("elp:{192.0.2.1(ps)->ipv6:2001:db8::1}")
    assert str(path) == "elp:{192.0.2.1(ps)->2001:db8::1}"
    assert path.hops[0].strict
    assert path.hops[0].probe
    assert not path.hops[0].lookup
