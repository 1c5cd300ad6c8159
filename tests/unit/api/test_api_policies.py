"""Policies over REST, with the real engine and book."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_fake import Client, eid, filled, locator, problem

from lisp_sdn.actions import Event, MappingChanged
from lisp_sdn.model import Mapping
from lisp_sdn.views import MappingEntry, Origin

EAST = {
    "site": "east",
    "rules": [
        {
            "name": "partner",
            "match": {"sites": ["west"]},
            "action": {"prefer": ["192.0.2.9"]},
            "note": "by its own link",
        },
        {"name": "night", "match": {"time": [{"from": "22:00", "to": "06:00"}]}, "action": {}},
    ],
}
WHO = "who=ann&why=a test"
PUT = f"/policies/east?{WHO}"


@pytest.fixture
def call() -> Client:
    backend = filled()
    mapping = Mapping(eid("[42] 10.1.0.0/24"), (locator("192.0.2.1"), locator("192.0.2.9", 2)))
    backend.add(MappingEntry(mapping, Origin.REGISTERED, "east"))
    return Client(backend)


def put(call: Client, policy: dict[str, Any], **headers: str) -> Any:
    return call("PUT", PUT, policy, **(headers or {"If_None_Match": "*"}))


def test_a_policy_is_put_shown_and_put_back(call: Client) -> None:
    response = put(call, EAST)
    assert response.status == 201
    assert json.loads(response.body) == EAST
    shown = call("GET", "/policies/east")
    assert (shown.body, shown.headers["ETag"]) == (response.body, response.headers["ETag"])
    assert call.get("/policies") == {"items": [EAST]}
    again = put(call, json.loads(shown.body), If_Match=shown.headers["ETag"])
    assert again.status == 200


def test_a_change_takes_effect_at_once_and_is_told(call: Client) -> None:
    put(call, EAST)
    assert MappingChanged(eid("[42] 10.1.0.0/24")) in call.actions
    assert call.backend.told == [eid("[42] 10.1.0.0/24")]
    [event] = [action for action in call.actions if isinstance(action, Event)]
    assert event.kind == "policy.changed"
    assert event.data["who"] == "ann"
    found = call.get("/policies/explain?eid=[42] 10.1.0.5&xtr=xtr-west")
    assert found["answer"]["rule"] == "partner"


def test_what_changes_for_nobody_is_told_to_nobody(call: Client) -> None:
    put(call, {"site": "east", "rules": [{"name": "same", "action": {}}]})
    assert call.backend.told == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_change_needs_a_condition(call: Client, method: str) -> None:
    put(call, EAST)
    response = call(method, PUT, EAST if method == "PUT" else None)
    assert response.status == 428
    assert "If-Match" in problem(response)["detail"]


def test_two_operators_do_not_overwrite_each_other(call: Client) -> None:
    seen = put(call, EAST).headers["ETag"]
    other = {"site": "east", "rules": EAST["rules"][:1]}
    assert put(call, other, If_Match=seen).status == 200
    late = put(call, EAST, If_Match=seen)
    assert late.status == 412
    assert call.get("/policies/east") == other
    assert put(call, EAST, If_None_Match="*").status == 412


def test_another_site_is_no_conflict(call: Client) -> None:
    seen = put(call, EAST).headers["ETag"]
    west = {"site": "west", "rules": [{"name": "all", "action": {"ttl_minutes": 5}}]}
    assert call("PUT", f"/policies/west?{WHO}", west, If_None_Match="*").status == 201
    assert put(call, EAST, If_Match=seen).status == 200


def test_delete_gives_everybody_the_registered_set_again(call: Client) -> None:
    tag = put(call, EAST).headers["ETag"]
    assert call("DELETE", PUT, If_Match=tag).status == 204
    assert call("GET", "/policies/east").status == 404
    assert call("DELETE", PUT, If_Match=tag).status == 404
    answer = call.get("/policies/explain?eid=[42] 10.1.0.5&xtr=xtr-west")["answer"]
    assert answer["rule"] is None


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"site": "west"}, "the path is of 'east'"),
        ({"site": "east", "rules": [{"name": "a"}]}, "#/rules/0/action"),
        ({"site": "east", "rules": [{"name": "a b", "action": {}}]}, "#/rules/0/name"),
        ({"site": "east", "rules": [{"name": "a", "action": {"explode": 1}}]}, "unknown name"),
        (
            {"site": "east", "rules": [{"name": "a", "match": {"sites": ["x"]}, "action": {}}]},
            "'x' is not a site; configured: east, west",
        ),
        (
            {
                "site": "east",
                "rules": [{"name": "a", "match": {"iids": [7]}, "action": {}}],
            },
            "7 is no instance-ID of site east",
        ),
    ],
)
def test_an_invalid_policy_changes_nothing(call: Client, policy: Any, words: str) -> None:
    response = put(call, policy)
    assert response.status == 422
    assert words in json.dumps(problem(response))
    assert call.get("/policies") == {"items": []}
    assert call.actions == []


@pytest.mark.parametrize("query", ["", "who=ann", "why=x", "who= &why=x"])
def test_a_change_says_who_and_why(call: Client, query: str) -> None:
    assert call("PUT", f"/policies/east?{query}", EAST, If_None_Match="*").status == 400


def test_a_site_that_is_not_configured_is_a_404(call: Client) -> None:
    assert call("GET", "/policies/north").status == 404
    assert call("PUT", f"/policies/north?{WHO}", EAST, If_None_Match="*").status == 404


def test_explain_tells_every_rule_and_condition(call: Client) -> None:
    put(call, EAST)
    path = "/policies/explain?eid=[42] 10.1.0.5&source=10.2.0.1&itr_rloc=192.0.2.2"
    found = call.get(f"{path}&at=2027-01-15T12:00:00Z")
    assert [(step["rule"], step["verdict"]) for step in found["rules"]] == [
        ("partner", "decided"),
        ("night", "no-match"),
    ]
    assert found["rules"][0]["note"] == "by its own link"
    assert found["rules"][0]["reasons"][0]["holds"] is True
    assert found["at"] == "2027-01-15T12:00:00.000Z"
    assert found["site"] == "east"
    assert found["registered"]["locators"][0]["rloc"] == "192.0.2.1"
    preferred = min(found["answer"]["mapping"]["locators"], key=lambda entry: entry["priority"])
    assert preferred["rloc"] == "192.0.2.9"
    assert "decided by rule partner" in found["text"]
    stranger = call.get("/policies/explain?eid=[42] 10.1.0.5&itr_rloc=203.0.113.1")
    assert stranger["rules"][0]["verdict"] == "no-match"


def test_explain_of_the_night(call: Client) -> None:
    put(call, EAST)
    found = call.get(
        "/policies/explain?eid=[42] 10.1.0.5&itr_rloc=203.0.113.1&at=2027-01-15T23:00:00Z"
    )
    assert found["answer"]["rule"] == "night"
    assert found["answer"]["valid_until"] == "2027-01-16T06:00:00.000Z"


@pytest.mark.parametrize(
    ("query", "status"),
    [("eid=[42] 10.99.0.1", 404), ("eid=[42] 10.1.0.5&at=noon", 400), ("", 400)],
)
def test_explain_refuses_with_a_reason(call: Client, query: str, status: int) -> None:
    response = call("GET", f"/policies/explain?{query}")
    assert response.status == status
    problem(response)


def test_diff_tells_who_would_get_what_and_changes_nothing(call: Client) -> None:
    before = call.get("/policies")
    response = call("POST", "/policies/diff", {"policies": [EAST]})
    assert response.status == 200
    found = json.loads(response.body)
    assert found["rules"] == [
        {"site": "east", "rule": "partner", "kind": "added"},
        {"site": "east", "rule": "night", "kind": "added"},
    ]
    [change, *_] = found["changes"]
    assert change["eid"] == "[42] 10.1.0.0/24"
    assert change["old"]["rule"] is None
    assert change["new"]["rule"] == "partner"
    assert change["who"]
    assert [(flow["xtr"], flow["eid"]) for flow in found["flows"]] == [
        ("xtr-west", "[42] 10.1.0.0/24"),
        ("xtr-west", "srcdst:[42] 10.2.7.0/24|[42] 10.1.0.0/24"),
    ]
    assert found["flows"][0]["datapath_id"] == "0000000000000002"
    assert found["flows"][0]["new"]["rule"] == "partner"
    assert call.get("/policies") == before
    assert call.actions == []
    assert call.backend.told == []


def test_diff_is_bounded(call: Client) -> None:
    found = json.loads(call("POST", "/policies/diff?limit=1", {"policies": [EAST]}).body)
    assert len(found["changes"]) == 1
    assert found["more"] is True


def test_diff_judges_the_candidate(call: Client) -> None:
    bad = {"site": "east", "rules": [{"name": "a", "match": {"sites": ["x"]}, "action": {}}]}
    response = call("POST", "/policies/diff", {"policies": [bad]})
    assert response.status == 422
    assert call("POST", "/policies/diff", {"policies": []}).status == 422


def test_history_and_rollback(call: Client) -> None:
    tag = put(call, EAST).headers["ETag"]
    call("DELETE", PUT, If_Match=tag)
    versions = call.get("/policies/history")["items"]
    assert [(entry["version"], entry["what"]) for entry in versions] == [
        (3, "apply"),
        (2, "apply"),
        (1, "configuration"),
    ]
    assert versions[1] == {
        "version": 2,
        "at": "2027-01-15T08:00:00.000Z",
        "who": "ann",
        "what": "apply",
        "why": "a test",
        "changes": [
            {"site": "east", "rule": "partner", "kind": "added"},
            {"site": "east", "rule": "night", "kind": "added"},
        ],
    }
    back = call("POST", "/policies/rollback", {"version": 2, "who": "bob", "why": "regret"})
    assert json.loads(back.body)["what"] == "rollback to 2"
    assert MappingChanged(eid("[42] 10.1.0.0/24")) in call.actions
    assert call.get("/policies/east") == EAST
    first = call.get("/policies/history?limit=3")
    rest = call.get(f"/policies/history?after={first['next']}")
    assert [entry["version"] for entry in first["items"] + rest["items"]] == [4, 3, 2, 1]


def test_a_version_that_is_not_kept_is_refused(call: Client) -> None:
    body = {"version": 9, "who": "bob", "why": "regret"}
    response = call("POST", "/policies/rollback", body)
    assert response.status == 422
    assert "one that is kept: 1..1" in problem(response)["detail"]


def test_the_history_outlives_the_process(call: Client) -> None:
    put(call, EAST)
    call.backend.journal.flush()
    kept = call.backend.journal.document_list("policy")
    assert len(kept) == 2


def test_a_large_site_is_told_by_its_prefixes(
    call: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lisp_sdn.policing.MAX_COMPARED", 0)
    put(call, EAST)
    assert call.backend.told == [eid("[42] 10.1.0.0/16")]


def test_the_closed_loops_are_shown(call: Client) -> None:
    assert call.get("/policies/balance") == {"items": []}
    target = [{"rloc": "192.0.2.1", "share": 70}, {"rloc": "192.0.2.9", "share": 30}]
    rule = {"name": "split", "action": {"balance": {"target": target}}}
    put(call, {"site": "east", "rules": [rule]})
    [loop] = call.get("/policies/balance")["items"]
    assert (loop["site"], loop["rule"], loop["state"]) == ("east", "split", "measuring")
    assert loop["locators"] == [
        {"rloc": "192.0.2.1", "weight": 70, "share": None, "target": 0.7},
        {"rloc": "192.0.2.9", "weight": 30, "share": None, "target": 0.3},
    ]
