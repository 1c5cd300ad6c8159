"""lig without sockets (RFC 6835): requests, retries, which answer counts."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.cli.lig_query import Query, Question, locator_state, to_json
from lisp_sdn.model import Locator
from lisp_sdn.wire import Ecm, EidRecord, MapReply, MapRequest, decode

LOCAL = Endpoint(ip_address("192.0.2.9"), 40000)
RESOLVER = Endpoint(ip_address("192.0.2.1"), 4342)
ETR = Endpoint(ip_address("198.51.100.7"), 4342)
EID = EidPrefix.from_text("[7] 10.1.2.3")
QUESTION = Question(EID, RESOLVER, LOCAL)
LOCATOR = Locator(ip_address("198.51.100.7"), 1, 100)


def query(question: Question = QUESTION, count: int = 3, interval: float = 2.0) -> Query:
    return Query(question, random.Random(1), count, interval)


def inner(data: bytes | None) -> tuple[Ecm, MapRequest]:
    assert data is not None
    ecm = decode(data)
    assert isinstance(ecm, Ecm)
    request = decode(ecm.payload)
    assert isinstance(request, MapRequest)
    return ecm, request


def reply(nonce: int, *locators: Locator, action: int = 0) -> bytes:
    prefix = EidPrefix.from_text("[7] 10.1.2.0/24")
    return MapReply(nonce, (EidRecord(prefix, locators, 1440, action),)).serialize()


def test_the_request_asks_for_the_eid_and_names_our_address_and_port() -> None:
    ecm, request = inner(query().send(0.0))
    assert request.records[0].eid == EID
    assert len(request.records) == 1
    assert request.itr_rlocs == (LOCAL.address,)
    assert request.source_eid is None
    assert not any((request.probe, request.smr, request.authoritative))
    assert ecm.source == LOCAL
    assert ecm.destination == Endpoint(ip_address("10.1.2.3"), 4342)


def test_source_eid_is_sent_as_given() -> None:
    source = EidPrefix.from_text("[7] 10.9.9.9")
    _, request = inner(query(replace(QUESTION, source=source)).send(0.0))
    assert request.source_eid == source


def test_an_eid_of_the_other_family_goes_inside_our_own() -> None:
    eid = EidPrefix.from_text("2001:db8::1")
    ecm, request = inner(query(replace(QUESTION, eid=eid)).send(0.0))
    assert request.records[0].eid == eid
    assert ecm.destination == Endpoint(RESOLVER.address, 4342)


def test_lg_002_requests_are_interval_apart_and_at_most_count() -> None:
    asking = query(count=3, interval=2.0)
    assert asking.next_timer() is None
    nonces = []
    for now in (10.0, 12.0, 14.0):
        nonces.append(inner(asking.send(now))[1].nonce)
        assert asking.next_timer() == now + 2.0
    assert asking.send(16.0) is None
    assert len(set(nonces)) == 3


def test_an_answer_to_any_of_our_requests_counts_with_its_own_rtt() -> None:
    asking = query()
    _, first = inner(asking.send(10.0))
    inner(asking.send(12.0))
    result = asking.receive(reply(first.nonce, LOCATOR), ETR, 12.5)
    assert result is not None
    assert result.rtt == 2.5
    assert result.requests == 2
    assert result.replier == ETR
    assert not result.negative


def test_what_answers_nothing_of_ours_is_dropped_with_a_reason() -> None:
    asking = query()
    _, request = inner(asking.send(0.0))
    for data in (
        b"",
        b"\x20\x00\x00\x01short",
        reply(request.nonce ^ 1, LOCATOR),
        request.serialize(),
        MapReply(request.nonce, ()).serialize(),
    ):
        assert asking.receive(data, ETR, 0.1) is None
    assert len(asking.dropped) == 5
    assert "MapReply that answers no Map-Request" in asking.dropped[2]
    for _ in range(500):
        asking.receive(b"", ETR, 0.1)
    assert len(asking.dropped) == 100


@pytest.mark.parametrize(
    ("locator", "state"),
    [
        (LOCATOR, "up"),
        (replace(LOCATOR, reachable=False), "down"),
        (replace(LOCATOR, priority=255), "up, no unicast"),
    ],
)
def test_locator_state(locator: Locator, state: str) -> None:
    assert locator_state(locator) == state


def test_json_of_an_answer_and_of_silence() -> None:
    asking = query()
    _, request = inner(asking.send(0.0))
    assert to_json(QUESTION, None, 1) == {
        "eid": "[7] 10.1.2.3/32",
        "source_eid": None,
        "map_resolver": "192.0.2.1:4342",
        "requests": 1,
        "received": False,
    }
    result = asking.receive(reply(request.nonce, LOCATOR), ETR, 0.25)
    shown = to_json(QUESTION, result, 1)
    assert shown["received"] is True
    assert shown["negative"] is False
    assert (shown["replier"], shown["rtt_seconds"]) == ("198.51.100.7:4342", 0.25)
    assert shown["records"] == [
        {
            "eid_prefix": "[7] 10.1.2.0/24",
            "ttl_minutes": 1440,
            "action": "no-action",
            "authoritative": False,
            "map_version": 0,
            "locators": [
                {
                    "rloc": "198.51.100.7",
                    "state": "up",
                    "priority": 1,
                    "weight": 100,
                    "mpriority": 255,
                    "mweight": 0,
                    "local": False,
                }
            ],
        }
    ]


def test_json_of_a_negative_answer_names_the_action() -> None:
    asking = query()
    _, request = inner(asking.send(0.0))
    result = asking.receive(reply(request.nonce, action=1), ETR, 0.25)
    shown = to_json(QUESTION, result, 1)
    assert shown["negative"] is True
    (record,) = shown["records"]  # type: ignore[misc]
    assert record["action"] == "natively-forward"
