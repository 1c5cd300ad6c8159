"""What an ITR takes of a Map-Reply, and what it refuses (RFC 9301 section 5.4)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lisp_sdn.actions import Dropped
from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.records import records

EID = EidPrefix.from_text("[7] 10.9.0.0/16")
GOOD = Locator(ip_address("192.0.2.1"))


def record(*rlocs: str, act: Act = Act.NO_ACTION) -> EidRecord:
    locators = tuple(Locator(ip_address(rloc)) for rloc in rlocs)
    return EidRecord.from_mapping(Mapping(EID, (), 15, act).with_locators(locators))


@pytest.fixture
def out() -> Outbox:
    return Outbox("x", 1)


def refused(out: Outbox) -> list[tuple[str, str]]:
    return [(a.reason, a.detail) for a in out.take([]) if isinstance(a, Dropped)]


@pytest.mark.parametrize(
    ("rloc", "what"),
    [
        ("224.0.0.5", "multicast"),
        ("239.1.2.3", "multicast"),
        ("ff02::5", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("255.255.255.255", "broadcast"),
    ],
)
def test_rlocs_that_can_be_none_are_left_out(out: Outbox, rloc: str, what: str) -> None:
    ((key, mapping),) = records([record(rloc, "192.0.2.1")], out)
    assert key == EID
    assert mapping.locators == (GOOD,)
    detail = f"[7] 10.9.0.0/16: RLOC {rloc} is {what}"
    assert refused(out) == [("rloc-not-unicast", detail)]


def test_a_record_without_a_good_rloc_is_none_and_no_negative_one(out: Outbox) -> None:
    assert list(records([record("224.0.0.5", "ff02::5")], out)) == []
    assert [reason for reason, _ in refused(out)] == ["rloc-not-unicast"] * 2
    ((_, mapping),) = records([record(act=Act.DROP_NO_REASON)], out)
    assert (mapping.negative, mapping.action) == (True, Act.DROP_NO_REASON)
    assert refused(out) == []


def test_a_pair_of_source_and_destination_keeps_its_source(out: Outbox) -> None:
    pair = SourceDestPrefix(EidPrefix.from_text("[7] 10.1.0.0/24"), EID)
    ((key, mapping),) = records([EidRecord(pair, (GOOD,))], out)
    assert (key, mapping.eid) == (pair, EID)
