"""Registrations, refusals, events, counters, flows and resolve over REST."""

from __future__ import annotations

import ipaddress
import json

import pytest
from api_fake import NOW, Client, FakeBackend, eid, filled, problem

from lisp_sdn.api import Api, Request
from lisp_sdn.model import Requester
from lisp_sdn.views import EventEntry, Refusal


@pytest.fixture
def call() -> Client:
    return Client(filled())


def test_a_registration_tells_who_registered_what_and_until_when(call: Client) -> None:
    first, second = call.get("/registrations")["items"]
    assert first["xtr_id"] == "00000000000000000000000000000001"
    assert second["xtr_id"] == "00000000000000000000000000000002"
    del first["locators"]
    assert first == {
        "eid": "[42] 10.1.0.0/24",
        "source": None,
        "site": "east",
        "etr": "192.0.2.1:4342",
        "xtr": None,
        "xtr_id": "00000000000000000000000000000001",
        "site_id": "0000000000000007",
        "key_id": 1,
        "ttl_minutes": 1440,
        "proxy_reply": False,
        "want_map_notify": False,
        "merge": False,
        "registered": "2027-01-15T07:51:40.000Z",
        "refreshed": "2027-01-15T07:59:40.000Z",
        "expires": "2027-01-15T08:02:40.000Z",
    }


def test_a_page_may_end_between_two_etrs_of_one_eid(call: Client) -> None:
    first = call.get("/registrations?limit=1")
    rest = call.get(f"/registrations?limit=1&after={first['next']}")
    assert [p["items"][0]["xtr_id"][-1] for p in (first, rest)] == ["1", "2"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [("site=east", 2), ("site=west", 0), ("within=10.1.0.0/16&iid=42", 2), ("iid=0", 0)],
)
def test_registrations_are_filtered(call: Client, query: str, count: int) -> None:
    assert len(call.get(f"/registrations?{query}")["items"]) == count


def test_refusals_come_newest_first_with_their_reason(call: Client) -> None:
    items = call.get("/refusals")["items"]
    assert [entry["reason"] for entry in items] == ["bad_digest", "truncated"]
    assert items[0] == {
        "where": "map-server",
        "reason": "bad_digest",
        "source": "198.51.100.7:4342",
        "detail": "site east",
        "hint": None,
        "count": 3,
        "first_seen": "2027-01-15T07:59:51.000Z",
        "last_seen": "2027-01-15T07:59:59.000Z",
    }


def test_a_refusal_says_what_its_reason_means() -> None:
    api = Api(filled(), hints={"bad_digest": "another key"})
    response, _ = api.handle(Request("GET", "/lisp/v1/refusals"), NOW)
    assert [item["hint"] for item in json.loads(response.body)["items"]] == ["another key", None]


@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ("where=map-resolver", ["truncated"]),
        ("reason=bad_digest", ["bad_digest"]),
        ("source=198.51.100.8", ["truncated"]),
        ("source=198.51.100.8:4342", ["truncated"]),
        ("source=8", []),
    ],
)
def test_refusals_are_filtered(call: Client, query: str, reasons: list[str]) -> None:
    assert [entry["reason"] for entry in call.get(f"/refusals?{query}")["items"]] == reasons


def test_a_person_finds_an_ipv6_source(call: Client) -> None:
    call.backend.refused = [Refusal("map-server", "x", "[2001:db8::7]:4342", "", 1, NOW, NOW)]
    assert len(call.get("/refusals?source=2001:db8::7")["items"]) == 1


def test_refusals_page(call: Client) -> None:
    first = call.get("/refusals?limit=1")
    rest = call.get(f"/refusals?after={first['next']}")
    assert [entry["reason"] for entry in first["items"] + rest["items"]] == [
        "bad_digest",
        "truncated",
    ]


def test_events_are_read_on_from_where_one_stopped(call: Client) -> None:
    first = call.get("/events?limit=2")
    assert [entry["id"] for entry in first["items"]] == [1, 2]
    assert first["items"][0] == {
        "id": 1,
        "time": "2027-01-15T07:59:51.000Z",
        "kind": "registration.added",
        "subject": "[42] 10.1.0.0/24",
        "data": {"xtr": "xtr-west"},
    }
    rest = call.get(f"/events?after={first['next']}")
    assert ([entry["id"] for entry in rest["items"]], rest["next"]) == ([3], 3)
    nothing = call.get(f"/events?after={rest['next']}")
    assert nothing == {"items": [], "next": 3, "missed": False}


def test_forgotten_events_are_told(call: Client) -> None:
    call.backend.happened = [EventEntry(50, NOW, "a.b", "c")]
    assert call.get("/events?after=10")["missed"] is True
    assert call.get("/events?after=49")["missed"] is False


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("kind=map-cache", [2, 3]),
        ("kind=map-cache.added", [2]),
        ("kind=map", []),
        ("subject=x", []),
    ],
)
def test_events_are_filtered_and_the_cursor_still_moves(
    call: Client, query: str, ids: list[int]
) -> None:
    page = call.get(f"/events?{query}")
    assert [entry["id"] for entry in page["items"]] == ids
    assert page["next"] == 3


def test_counters_are_named_and_labelled(call: Client) -> None:
    assert call.get("/counters")["items"] == [
        {"name": "dropped", "labels": {"reason": "bad_digest", "where": "map-server"}, "value": 3},
        {"name": "map_registers_in", "labels": {}, "value": 12},
    ]


def test_flows_are_data(call: Client) -> None:
    table0, flow = call.get("/xtrs/xtr-west/flows")["items"]
    assert (table0["table"], table0["match"], table0["actions"]) == (0, {}, [])
    assert flow["match"] == {
        "eth_type": 0x0800,
        "ipv4_dst": "10.1.0.0/24",
        "metadata": "0x2a/0xffff",
    }
    assert flow["actions"] == [
        {"type": "set-field", "arguments": {"field": "tunnel_id", "value": 42}},
        {"type": "to-group", "arguments": {"group_id": 5}},
    ]
    assert flow["owner"] == "map-cache"
    assert flow["cookie"] == "4c5303000000004d"
    assert len(call.get("/xtrs/xtr-west/flows?table=3")["items"]) == 1


def test_flows_page(call: Client) -> None:
    first = call.get("/xtrs/xtr-west/flows?limit=1")
    rest = call.get(f"/xtrs/xtr-west/flows?limit=1&after={first['next']}")
    assert [p["items"][0]["table"] for p in (first, rest)] == [0, 3]


def test_groups_and_meters_are_data(call: Client) -> None:
    [group] = call.get("/xtrs/xtr-west/groups")["items"]
    assert (group["group_id"], group["type"]) == (5, "select")
    assert group["buckets"] == [
        {
            "actions": [{"type": "output", "arguments": {"port": 4}}],
            "weight": 100,
            "watch_port": None,
        }
    ]
    assert call.get("/xtrs/xtr-west/meters")["items"] == [
        {"meter_id": 1, "rate": 2000, "burst": 200}
    ]


def test_resolve_shows_the_answer_and_what_decided(call: Client) -> None:
    answer = call.get("/resolve?eid=[42] 10.2.0.5&source=10.1.0.1&itr_rloc=192.0.2.1&xtr_id=Ff")
    assert answer["eid"] == "[42] 10.2.0.5/32"
    assert answer["mapping"]["eid"] == "[42] 10.2.0.0/16"
    assert answer["rule"] == "partner"
    assert answer["requester"]["source_eid"] == "[42] 10.1.0.1/32"
    assert call.backend.asked == [
        (
            eid("[42] 10.2.0.5"),
            Requester((ipaddress.ip_address("192.0.2.1"),), eid("[42] 10.1.0.1"), 255, pitr=False),
        )
    ]


def test_resolve_as_an_xtr_of_ours(call: Client) -> None:
    answer = call.get("/resolve?eid=10.77.0.1&iid=42&xtr=xtr-east")
    assert answer["mapping"]["action"] == "natively-forward"
    assert answer["requester"]["xtr"] == "xtr-east"
    assert answer["requester"]["itr_rlocs"] == ["192.0.2.1"]
    assert call.backend.asked[0][1].authenticated


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "eid"),
        ("eid=10.0.0.1/8", 400, "host bits"),
        ("eid=10.0.0.1&source=nonsense", 400, "nonsense"),
        ("eid=[1] 10.0.0.1&source=[2] 10.0.0.1", 400, "different instance-IDs"),
        ("eid=10.0.0.1&itr_rloc=x", 400, "'x' is not an IPv4 or IPv6 address"),
        ("eid=10.0.0.1&xtr=north", 404, "xtr-east"),
        ("eid=10.0.0.1&xtr=xtr-east&itr_rloc=192.0.2.1", 400, "exclude each other"),
        ("eid=10.0.0.1&xtr_id=xyz", 400, "xtr_id"),
    ],
)
def test_a_bad_question_is_refused(call: Client, query: str, status: int, words: str) -> None:
    response = call("GET", f"/resolve?{query}")
    assert response.status == status
    document = problem(response)
    assert words in str(document)


def test_lists_of_nothing_are_empty() -> None:
    call = Client(FakeBackend())
    for path in ("registrations", "refusals", "counters", "xtrs/xtr-east/flows", "mappings"):
        assert call.get(f"/{path}")["items"] == []


def test_map_requests_are_told_with_their_answers(call: Client) -> None:
    answered, waiting = call.get("/xtrs/xtr-west/map-requests")["items"]
    assert answered["nonce"] == "0000000000000abc"
    assert answered["eids"] == ["[42] 10.1.0.5/32"]
    assert answered["source_eid"] == "[42] 10.2.0.7/32"
    assert answered["itr_rlocs"] == ["192.0.2.2"]
    assert [mapping["eid"] for mapping in answered["answers"]] == ["[42] 10.1.0.0/24"]
    assert answered["answers"][0]["locators"][0]["rloc"] == "192.0.2.1"
    assert waiting["answers"] is None
    assert call.get("/xtrs/xtr-east/map-requests")["items"] == []
    assert problem(call("GET", "/xtrs/nobody/map-requests"))["status"] == 404
