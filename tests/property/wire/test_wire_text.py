"""Every address and EID has a text form that reads back as itself."""

from __future__ import annotations

import string

import pytest
import wire_strategies as ws
from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.errors import FieldError
from lisp_sdn.wire import OtherEid, SecurityKey
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
