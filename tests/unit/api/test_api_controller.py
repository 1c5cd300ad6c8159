"""The API before the real controller: what it shows of a network whose switches are away."""

from __future__ import annotations

import random

import pytest
from api_fake import CONFIG, NOW, Client

from lisp_sdn.actions import Event
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore


@pytest.fixture
def call() -> Client:
    controller = Controller(load(CONFIG), store=MemoryStore(), rng=random.Random(1))
    controller.start(NOW)
    return Client(controller.management)  # type: ignore[arg-type]


def test_our_own_xtrs_register_and_are_shown(call: Client) -> None:
    status = call.get("/status")
    assert (status["registrations"], status["xtrs_connected"]) == (2, 0)
    assert any("xtr-east" in problem for problem in status["problems"])
    found = {entry["eid"]: entry["site"] for entry in call.get("/registrations")["items"]}
    assert found == {"[42] 10.1.0.0/16": "east", "[42] 10.2.0.0/16": "west"}
    assert call.get("/sites/east")["registrations"] == 1
    assert [entry["origin"] for entry in call.get("/mappings")["items"]] == ["registered"] * 2


def test_a_static_mapping_lives_and_dies(call: Client) -> None:
    path = "/mappings/[7] 10.0.0.0/8"
    assert call("PUT", path, {"locators": [{"rloc": "192.0.2.9"}]}).status == 201
    assert "mapping.set" in [a.kind for a in call.actions if isinstance(a, Event)]
    answer = call.get("/resolve?eid=[7] 10.1.2.3&itr_rloc=203.0.113.1")
    assert answer["mapping"]["locators"][0]["rloc"] == "192.0.2.9"
    assert [e["eid"] for e in call.get("/mappings?iid=7")["items"]] == ["[7] 10.0.0.0/8"]
    assert call("DELETE", path).status == 204
    assert call.get("/resolve?eid=[7] 10.1.2.3&itr_rloc=203.0.113.1")["mapping"]["locators"] == []
    assert call("GET", path).status == 404


def test_a_registered_mapping_is_hidden_but_not_deleted(call: Client) -> None:
    path = "/mappings/[42] 10.1.0.0/16"
    assert call("DELETE", path).status == 409
    assert call("PUT", path, {"action": "drop-no-reason"}).status == 200
    assert call.get(path)["origin"] == "static"
    assert call("DELETE", path).status == 204
    assert call.get(path)["origin"] == "registered"


def test_a_policy_decides_the_next_answer(call: Client) -> None:
    asked = "/resolve?eid=[42] 10.1.0.5&source=10.2.0.1&xtr=xtr-west"
    assert call.get(asked)["rule"] is None
    policy = {
        "site": "east",
        "rules": [
            {"name": "no-west", "match": {"sites": ["west"]}, "action": {"deny": "policy-denied"}}
        ],
    }
    put = call("PUT", "/policies/east?who=ann&why=test", policy, If_None_Match="*")
    assert put.status == 201
    answer = call.get(asked)
    assert (answer["rule"], answer["mapping"]["action"]) == ("no-west", "drop-policy-denied")
    kinds = [entry["kind"] for entry in call.get("/events?kind=policy")["items"]]
    assert kinds == ["policy.changed"]


def test_every_list_can_be_read(call: Client) -> None:
    for path in ("refusals", "events", "counters", "policies", "policies/history", "sites", "xtrs"):
        assert "items" in call.get(f"/{path}"), path
    for part in ("map-cache", "map-requests", "flows", "groups", "meters"):
        assert "items" in call.get(f"/xtrs/xtr-east/{part}"), part
    assert call("DELETE", "/xtrs/xtr-east/map-cache").body == b'{"removed":0}'


def test_refused_access_shows_among_the_refusals() -> None:
    tokens = "rest: {tokens: [{name: ann, token: long-enough-secret, role: operator}]}"
    controller = Controller(load(CONFIG + tokens), store=MemoryStore(), rng=random.Random(1))
    controller.start(NOW)
    call = Client(controller.management)  # type: ignore[arg-type]
    assert call("GET", "/status").status == 401
    [refusal] = call.backend.refusals()
    assert (refusal.where, refusal.reason, refusal.source) == (
        "rest",
        "unauthorized",
        "198.51.100.1",
    )
