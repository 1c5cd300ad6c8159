"""Routing, negotiation, problems and conditional requests, whatever the resource."""

from __future__ import annotations

import json

import pytest
from api_fake import NOW, Client, filled, problem

from lisp_sdn.api import Api, Request
from lisp_sdn.api.http import Problem, choose_media, etag
from lisp_sdn.errors import LispError


@pytest.fixture
def call() -> Client:
    return Client(filled())


def test_an_unknown_path_is_a_404_problem(call: Client) -> None:
    response = call("GET", "/nonsense")
    assert response.status == 404
    assert problem(response)["type"] == "/lisp/v1/problems/not-found"
    assert "/lisp/v1/nonsense" in problem(response)["detail"]


def test_a_wrong_method_is_a_405_that_says_what_is_allowed(call: Client) -> None:
    response = call("POST", "/status", {})
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert call("BREW", "/mappings/10.0.0.0/8").status == 405


def test_options_tells_the_methods(call: Client) -> None:
    response = call("OPTIONS", "/mappings/10.0.0.0/8")
    assert response.status == 204
    assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


def test_head_is_get_without_a_body(call: Client) -> None:
    got, head = call("GET", "/status"), call("HEAD", "/status")
    assert head.status == 200
    assert head.body == b""
    assert head.headers == got.headers


def test_percent_encoded_and_decoded_paths_are_the_same(call: Client) -> None:
    encoded = call("GET", "/mappings/%5B42%5D%2010.2.0.0%2F16")
    assert encoded.status == 200
    assert call("GET", "/mappings/[42] 10.2.0.0/16").body == encoded.body
    assert call("GET", "/mappings/10.2.0.0/16?iid=42").body == encoded.body


@pytest.mark.parametrize(
    ("body", "headers", "status", "name"),
    [
        (b"{", {}, 400, "malformed-json"),
        (b'{"ttl_minutes": 1, "ttl_minutes": 2}', {}, 400, "malformed-json"),
        (b'{"ttl_minutes": NaN}', {}, 400, "malformed-json"),
        (b"\xff\xfe\x00", {}, 400, "malformed-json"),
        (b"[" * 100_000, {}, 400, "malformed-json"),
        (b"[]", {}, 422, "invalid"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "unsupported-media-type"),
        (b"{}", {"Content_Type": ""}, 415, "unsupported-media-type"),
        (b" " * (1 << 20) + b"{}", {}, 413, "too-large"),
        (b"{}", {"Accept": "text/html"}, 406, "not-acceptable"),
    ],
)
def test_bad_bodies_are_refused_and_change_nothing(
    call: Client, body: bytes, headers: dict[str, str], status: int, name: str
) -> None:
    before = dict(call.backend.database)
    response = call("PUT", "/mappings/10.0.0.0/8", body, **headers)
    assert response.status == status
    assert problem(response)["type"].endswith(f"/{name}")
    assert call.backend.database == before
    assert call.actions == []


def test_an_unknown_query_parameter_is_named(call: Client) -> None:
    response = call("GET", "/mappings?limt=5&limit=0")
    assert response.status == 400
    errors = {entry["parameter"]: entry["detail"] for entry in problem(response)["errors"]}
    assert errors["limt"] == "unknown name"
    assert "'0'" in errors["limit"]
    assert "limit" in problem(response)["detail"]


def test_if_none_match_on_get_is_a_304(call: Client) -> None:
    first = call("GET", "/mappings/[42] 10.2.0.0/16")
    again = call("GET", "/mappings/[42] 10.2.0.0/16", If_None_Match=first.headers["ETag"])
    assert again.status == 304
    assert again.body == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    assert call("GET", "/mappings/[42] 10.2.0.0/16", If_None_Match='"x"').status == 200


def test_a_strong_etag_follows_the_body() -> None:
    assert etag(b"a") == etag(b"a") != etag(b"b")
    assert etag(b"a").startswith('"')


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "a/json"),
        ("*/*", "a/json"),
        ("a/lines", "a/lines"),
        ("a/json;q=0.1, a/lines", "a/lines"),
        ("a/lines;q=0, */*", "a/json"),
        ("text/html, a/*;q=0.1", "a/json"),
        ("a/lines;q=nonsense, a/json;q=0.1", "a/json"),
    ],
)
def test_accept_is_honoured(accept: str | None, chosen: str) -> None:
    assert choose_media(accept, ("a/json", "a/lines")) == chosen


def test_accept_with_nothing_offered_is_a_406() -> None:
    with pytest.raises(Problem) as caught:
        choose_media("text/html", ("a/json",))
    assert caught.value.status == 406


def test_the_answer_carries_the_time_it_was_made_at(call: Client) -> None:
    assert call("GET", "/status").headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


def test_a_refusal_of_the_controller_is_a_409_with_its_sentence() -> None:
    class Refusing:
        def status(self, now: float) -> None:
            raise LispError("the store is full")

        config = filled().config

    response, actions = Api(Refusing()).handle(Request("GET", "/lisp/v1/status"), NOW)  # type: ignore[arg-type]
    assert response.status == 409
    assert problem(response)["detail"] == "the store is full"
    assert actions == []


def test_secrets_are_in_no_answer(call: Client) -> None:
    for path in ("/status", "/sites", "/sites/east", "/xtrs"):
        assert b"very-secret" not in call("GET", path).body
    assert json.loads(call("GET", "/sites/east").body)["authentication_keys"] == [
        {"key_id": 1, "algorithm": "hmac-sha256-128+hkdf-sha256"}
    ]
