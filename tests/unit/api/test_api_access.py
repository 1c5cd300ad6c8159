"""Access tokens and roles."""

from __future__ import annotations

import pytest
from api_fake import CONFIG, Client, filled, problem

from lisp_sdn.actions import Dropped
from lisp_sdn.api import Api, Request
from lisp_sdn.config import load
from lisp_sdn.errors import ConfigError

TOKENS = """
rest:
  listen: "0.0.0.0:8080"
  tokens:
    - {name: grafana, token: look-look-look-look, role: read-only}
    - {name: ann, token: operate-operate-operate, role: operator}
    - {name: east-team, token: east-east-east-east, role: site, site: east}
"""
LOOK = "Bearer look-look-look-look"
OPERATE = "Bearer operate-operate-operate"
EAST = "Bearer east-east-east-east"
POLICY = {"site": "east", "rules": [{"name": "all", "action": {"ttl_minutes": 5}}]}


@pytest.fixture
def call() -> Client:
    backend = filled()
    backend.settings = load(CONFIG + TOKENS)
    return Client(backend)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic bG9vaw==",
        "Bearer look-look-look-loo\udcff",
    ],
)
def test_without_a_known_token_there_is_nothing(call: Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in ("/status", "/openapi.json", "/nonsense"):
        response = call("GET", path, **headers)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="lisp_sdn"'
        assert problem(response)["type"].endswith("/unauthorized")


def test_a_refused_token_is_seen_with_its_source_and_never_shown(call: Client) -> None:
    call("GET", "/status", Authorization="Bearer wrong-wrong-wrong")
    [noted] = call.backend.noted
    assert noted == Dropped(
        "rest", "unauthorized", "GET /lisp/v1/status: this token is not known", "198.51.100.1"
    )
    assert call.actions == [noted]
    call("GET", "/nonsense", Authorization=LOOK)
    assert len(call.backend.noted) == 1, "other mistakes only concern who made them"


@pytest.mark.parametrize("header", [LOOK, OPERATE, EAST, LOOK.replace("Bearer", "bearer")])
def test_every_role_may_look(call: Client, header: str) -> None:
    assert call("GET", "/status", Authorization=header).status == 200
    assert call("GET", "/xtrs/xtr-west/flows", Authorization=header).status == 200
    body = {"policies": [POLICY]}
    assert call("POST", "/policies/diff", body, Authorization=header).status == 200


CHANGES = [
    ("PUT", "/mappings/[42] 10.1.7.0/24", {}, True),
    ("PUT", "/mappings/10.1.7.0/24?iid=42", {}, True),
    ("PUT", "/mappings/[42] 10.2.7.0/24", {}, False),
    ("PUT", "/mappings/[42] 10.0.0.0/8", {}, False),
    ("PUT", "/mappings/10.1.7.0/24", {}, False),
    ("DELETE", "/mappings/[42] 10.2.0.0/16", None, False),
    ("PUT", "/policies/east?who=a&why=b", POLICY, True),
    ("PUT", "/policies/west?who=a&why=b", {**POLICY, "site": "west"}, False),
    ("DELETE", "/xtrs/xtr-west/map-cache", None, False),
    ("POST", "/policies/rollback", {"version": 1, "who": "a", "why": "b"}, False),
]


@pytest.mark.parametrize(("method", "path", "body", "of_east"), CHANGES)
def test_who_may_change_what(
    call: Client, method: str, path: str, body: object, of_east: bool
) -> None:
    conditions = {"If_None_Match": "*"} if method == "PUT" else {}
    refused = call(method, path, body, Authorization=LOOK, **conditions)
    assert refused.status == 403
    assert problem(refused)["detail"] == "token grafana may only look"
    east = call(method, path, body, Authorization=EAST, **conditions)
    assert (east.status != 403) is of_east
    again = {"If_Match": east.headers["ETag"]} if method == "PUT" and of_east else conditions
    assert call(method, path, body, Authorization=OPERATE, **again).status in (200, 201, 204)


def test_the_history_names_the_token(call: Client) -> None:
    call("PUT", "/policies/east?who=bob&why=b", POLICY, Authorization=EAST, If_None_Match="*")
    assert call.backend.policy.history()[0].who == "bob (token east-team)"


def test_without_tokens_everybody_on_the_loopback_may_do_everything() -> None:
    assert Client(filled())("DELETE", "/xtrs/xtr-west/map-cache").status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_a_web_page_cannot_use_the_browser_of_an_operator(host: str, status: int) -> None:
    assert Client(filled())("GET", "/status", Host=host).status == status


def test_with_a_token_any_name_will_do(call: Client) -> None:
    assert call("GET", "/status", Host="lisp.example", Authorization=LOOK).status == 200


@pytest.mark.parametrize(
    ("rest", "path", "words"),
    [
        ('{listen: "0.0.0.0:8080"}', "rest.tokens", "needs at least one token"),
        ('{listen: "[::]:8080"}', "rest.tokens", "needs at least one token"),
        ("{tokens: [{name: a, token: short-secret}]}", "rest.tokens[0].token", "at least 16"),
        (
            "{tokens: [{name: a, token: long-enough-secret, site: east}]}",
            "rest.tokens[0]",
            "expected a site with role site",
        ),
        (
            "{tokens: [{name: a, token: long-enough-secret, role: site, site: north}]}",
            "rest.tokens[0].site",
            "configured: east, west",
        ),
        (
            "{tokens: [{name: a, token: long-enough-secret}, "
            "{name: b, token: long-enough-secret}]}",
            "rest.tokens[1].token",
            "the same as that of 'a'",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_without_its_secrets(
    rest: str, path: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"{CONFIG}\nrest: {rest}")
    problems = dict(caught.value.problems)
    assert words in problems[path]
    assert "secret" not in str(caught.value)


def test_the_loopback_needs_no_token() -> None:
    assert load('rest: {listen: "[::1]:8080"}').rest.tokens == ()


@pytest.mark.parametrize(
    ("header", "path", "room"),
    [
        ("", "/lisp/v1/policies/east", 0),
        (LOOK, "/lisp/v1/policies/east", 0),
        (LOOK, "/lisp/v1/policies/diff", 1 << 20),
        (EAST, "/lisp/v1/policies/west", 0),
        (EAST, "/lisp/v1/policies/east", 1 << 20),
        (OPERATE, "/lisp/v1/policies/east", 1 << 20),
        (OPERATE, "/lisp/v1/nonsense", 0),
    ],
)
def test_who_may_send_a_body(call: Client, header: str, path: str, room: int) -> None:
    method = "POST" if path.endswith("diff") else "PUT"
    query = {"who": "ann", "why": "test"} if method == "PUT" else {}
    request = Request(method, path, query, {"Authorization": header})
    assert Api(call.backend).body_room(request) == room
