"""What is remembered of Map-Requests: bounded, by xTR, with the answer."""

from __future__ import annotations

from ipaddress import IPv4Address

from lisp_sdn.address import EidPrefix
from lisp_sdn.exchanges import Exchanges
from lisp_sdn.model import Act, Mapping
from lisp_sdn.wire import EidRecord, MapReply, MapRequest, RequestRecord

NOW = 1_800_000_000.0
ASKED = EidPrefix.from_text("[42] 10.2.0.1/32")
SOURCE = EidPrefix.from_text("[42] 10.1.0.1/32")
RLOC = IPv4Address("192.0.2.1")
ANSWER = Mapping(
    EidPrefix.from_text("[42] 10.0.0.0/9"), ttl_minutes=15, action=Act.NATIVELY_FORWARD
)


def request(nonce: int) -> MapRequest:
    return MapRequest(nonce, SOURCE, (RLOC,), (RequestRecord(ASKED),))


def reply(nonce: int) -> MapReply:
    return MapReply(nonce, (EidRecord.from_mapping(ANSWER),))


def test_question_and_answer_belong_together() -> None:
    kept = Exchanges()
    kept.note("left", request(1), reply(1), NOW)
    kept.note("right", request(2), None, NOW + 1)
    (left,) = kept.of("left")
    assert (left.time, left.nonce, left.eids) == (NOW, 1, (ASKED,))
    assert (left.source_eid, left.itr_rlocs, left.answers) == (SOURCE, (RLOC,), (ANSWER,))
    (right,) = kept.of("right")
    assert right.answers is None


def test_a_later_reply_is_added_and_a_strange_one_is_not() -> None:
    kept = Exchanges()
    kept.note("left", request(1), None, NOW)
    kept.answered(reply(99))
    kept.answered(reply(1))
    assert [exchange.answers for exchange in kept.of("left")] == [(ANSWER,)]


def test_the_oldest_go_first() -> None:
    kept = Exchanges(limit=3)
    for nonce in range(5):
        kept.note("left", request(nonce), None, NOW + nonce)
    assert [exchange.nonce for exchange in kept.of("left")] == [2, 3, 4]
