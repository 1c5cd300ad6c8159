"""Where EIDs are that may roam, over REST and with lispctl."""

from __future__ import annotations

import json

import pytest
from api_fake import Client, filled, problem


@pytest.fixture
def call() -> Client:
    return Client(filled())


def eids(call: Client, query: str = "") -> list[str]:
    response = call("GET", f"/mobile-eids{query}")
    assert response.status == 200, response.body
    return [entry["eid"] for entry in json.loads(response.body)["items"]]


def test_the_list_is_in_order_and_complete(call: Client) -> None:
    items = json.loads(call("GET", "/mobile-eids").body)["items"]
    assert [entry["eid"] for entry in items] == [f"[42] 10.1.0.{n}/32" for n in (5, 6, 7)]
    held, duplicate, away = items
    assert (held["state"], held["moves"], held["newcomer"]) == ("held-down", 3, None)
    assert held["held_until"] is not None
    assert duplicate["newcomer"] == "xtr-east eth1 02:00:00:00:66:66"
    assert (away["xtr"], away["port"], away["homes"]) == ("xtr-west", "eth1", ["xtr-east"])


def test_filters(call: Client) -> None:
    assert eids(call, "?state=away") == ["[42] 10.1.0.7/32"]
    assert eids(call, "?covering=10.1.0.6&iid=42") == ["[42] 10.1.0.6/32"]
    assert eids(call, "?within=10.1.0.4/31&iid=42") == ["[42] 10.1.0.5/32"]
    assert eids(call, "?xtr=xtr-east") == []
    assert eids(call, "?iid=7") == []


def test_pages(call: Client) -> None:
    first = json.loads(call("GET", "/mobile-eids?limit=2").body)
    assert len(first["items"]) == 2
    assert eids(call, f"?limit=2&after={first['next']}") == ["[42] 10.1.0.7/32"]


def test_an_xtr_that_does_not_exist(call: Client) -> None:
    assert problem(call("GET", "/mobile-eids?xtr=nowhere"))["status"] == 404
