"""The mapping database over REST."""

from __future__ import annotations

import ipaddress
import json
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from api_fake import Client, FakeBackend, eid, filled, locator, problem

from lisp_sdn.actions import MappingChanged
from lisp_sdn.address import EidPrefix
from lisp_sdn.api.body import MAX_LINES
from lisp_sdn.model import Act, Mapping
from lisp_sdn.views import MappingEntry, Origin

LINES = "application/x-ndjson"


@pytest.fixture
def call() -> Client:
    return Client(filled())


def test_a_mapping_is_shown_in_the_words_of_the_configuration(call: Client) -> None:
    assert call.get("/mappings/[42] 10.2.0.0/16") == {
        "eid": "[42] 10.2.0.0/16",
        "eid_prefix": "10.2.0.0/16",
        "iid": 42,
        "locators": [
            {
                "rloc": "192.0.2.2",
                "priority": 2,
                "weight": 30,
                "mpriority": 255,
                "mweight": 0,
                "reachable": True,
            }
        ],
        "ttl_minutes": 1440,
        "action": "no-action",
        "authoritative": False,
        "map_version": 0,
        "origin": "static",
        "site": None,
    }


def test_put_adds_then_replaces(call: Client) -> None:
    body = {"locators": [{"rloc": "198.51.100.1"}], "ttl_minutes": 5}
    added = call("PUT", "/mappings/[7] 10.0.0.0/8", body)
    assert added.status == 201
    assert added.headers["Location"] == "/lisp/v1/mappings/%5B7%5D%2010.0.0.0%2F8"
    assert MappingChanged(eid("[7] 10.0.0.0/8")) in call.actions
    stored = call.backend.database[eid("[7] 10.0.0.0/8")].mapping
    assert stored == Mapping(eid("[7] 10.0.0.0/8"), (locator("198.51.100.1"),), ttl_minutes=5)
    replaced = call("PUT", "/mappings/[7] 10.0.0.0/8", {"action": "drop-no-reason"})
    assert replaced.status == 200
    assert call.backend.database[eid("[7] 10.0.0.0/8")].mapping.action is Act.DROP_NO_REASON


def test_what_get_shows_may_be_put_back(call: Client) -> None:
    shown = call("GET", "/mappings/[42] 10.2.0.0/16")
    put = call("PUT", "/mappings/[42] 10.2.0.0/16", json.loads(shown.body))
    assert put.status == 200
    assert put.body == shown.body
    assert put.headers["ETag"] == shown.headers["ETag"]


def test_locators_are_kept_in_the_order_of_rfc_9301(call: Client) -> None:
    body = {"locators": [{"rloc": "2001:db8::1"}, {"rloc": "192.0.2.9"}, {"rloc": "192.0.2.1"}]}
    shown = json.loads(call("PUT", "/mappings/10.0.0.0/8", body).body)
    assert [entry["rloc"] for entry in shown["locators"]] == [
        "192.0.2.1",
        "192.0.2.9",
        "2001:db8::1",
    ]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"locators": [{"rloc": "nonsense"}]}, "#/locators/0/rloc", "'nonsense'"),
        ({"locators": [{"rloc": "192.0.2.1", "weight": 256}]}, "#/locators/0/weight", "256"),
        ({"locators": [{"rloc": "192.0.2.1", "priority": "1"}]}, "#/locators/0/priority", "'1'"),
        ({"locators": [{"rloc": 5}]}, "#/locators/0/rloc", "5"),
        ({"ttl": 5}, "#/ttl", "unknown name"),
        ({"action": "explode"}, "#/action", "'drop-no-reason'"),
        ({"locators": [{"rloc": "224.0.0.1"}]}, "#", "224.0.0.1 is not a unicast address"),
        ({"locators": [{"rloc": "192.0.2.1"}] * 2}, "#", "192.0.2.1 is written twice"),
        (
            {"locators": [{"rloc": "192.0.2.1"}], "action": "drop-no-reason"},
            "#",
            "expected 'no-action'",
        ),
        ({"eid_prefix": "10.0.0.1/8"}, "#/eid_prefix", "has host bits set"),
        ({"eid": "10.0.0.0/8", "iid": 9}, "#", "but eid is 10.0.0.0/8"),
    ],
)
def test_a_wrong_body_names_the_field_and_the_value(
    call: Client, body: dict[str, Any], pointer: str, words: str
) -> None:
    response = call("PUT", "/mappings/10.0.0.0/8", body)
    assert response.status == 422
    [error] = problem(response)["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]
    assert eid("10.0.0.0/8") not in call.backend.database


@pytest.mark.parametrize("body", [{"eid": "10.0.0.0/9"}, {"iid": 5}, {"eid_prefix": "11.0.0.0/8"}])
def test_a_body_of_another_eid_is_refused(call: Client, body: dict[str, Any]) -> None:
    response = call("PUT", "/mappings/10.0.0.0/8", body)
    assert response.status == 422
    assert "10.0.0.0/8" in problem(response)["detail"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("bad", ["10.0.0.1/8", "nonsense", "[99999999] 10.0.0.0/8", "10.0.0.0/33"])
def test_a_bad_eid_is_refused_and_named(call: Client, method: str, bad: str) -> None:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    response = call(method, f"/mappings/{bad}", {}, Content_Type=kind)
    assert response.status == 400
    assert problem(response)["type"].endswith("/bad-eid")


def test_the_iid_of_path_and_query_must_agree(call: Client) -> None:
    assert call("GET", "/mappings/[42] 10.2.0.0/16?iid=42").status == 200
    assert "iid: 7" in problem(call("GET", "/mappings/[42] 10.2.0.0/16?iid=7"))["detail"]
    assert call("GET", "/mappings/10.2.0.0/16?iid=16777216").status == 400


def test_delete_removes_a_static_mapping_once(call: Client) -> None:
    response = call("DELETE", "/mappings/[42] 10.2.0.0/16")
    assert (response.status, response.body) == (204, b"")
    assert call.actions == [MappingChanged(eid("[42] 10.2.0.0/16"))]
    assert call("DELETE", "/mappings/[42] 10.2.0.0/16").status == 404


def test_a_registered_mapping_cannot_be_deleted(call: Client) -> None:
    response = call("DELETE", "/mappings/[42] 10.1.0.0/24")
    assert response.status == 409
    assert "registered by site east" in problem(response)["detail"]


@pytest.mark.parametrize(("method", "body"), [("PUT", {}), ("DELETE", None), ("PATCH", {})])
def test_two_operators_do_not_overwrite_each_other(call: Client, method: str, body: Any) -> None:
    path, kind = "/mappings/[42] 10.2.0.0/16", "application/json"
    if method == "PATCH":
        kind = "application/merge-patch+json"
    seen = call("GET", path).headers["ETag"]
    assert call("PUT", path, {"ttl_minutes": 9}, If_Match=seen).status == 200
    late = call(method, path, body, If_Match=seen, Content_Type=kind)
    assert late.status == 412
    assert call.get(path)["ttl_minutes"] == 9
    fresh = late.headers["ETag"]
    assert call(method, path, body, If_Match=f'"x", {fresh}', Content_Type=kind).status in (
        200,
        204,
    )


def test_if_none_match_star_only_creates(call: Client) -> None:
    assert call("PUT", "/mappings/10.0.0.0/8", {}, If_None_Match="*").status == 201
    assert call("PUT", "/mappings/10.0.0.0/8", {}, If_None_Match="*").status == 412
    assert call("PUT", "/mappings/11.0.0.0/8", {}, If_Match="*").status == 412


def test_patch_changes_some_fields(call: Client) -> None:
    path = "/mappings/[42] 10.2.0.0/16"
    patch = {"ttl_minutes": 30, "authoritative": None}
    response = call("PATCH", path, patch, Content_Type="application/merge-patch+json")
    assert response.status == 200
    shown = call.get(path)
    assert shown["ttl_minutes"] == 30
    assert shown["locators"][0]["weight"] == 30
    bad = call("PATCH", path, {"ttl_minutes": -1}, Content_Type="application/merge-patch+json")
    assert bad.status == 422
    assert call("PATCH", path, {}).status == 415


# --- lists -------------------------------------------------------------------------------


def many(count: int) -> FakeBackend:
    backend = FakeBackend()
    backend.add(
        *(
            MappingEntry(
                Mapping(EidPrefix(0, ipaddress.IPv4Network(((10 << 24) + n * 256, 24)))),
                Origin.STATIC,
                "east" if n == count - 1 else "west",
            )
            for n in range(count)
        )
    )
    return backend


def walk(call: Client, path: str) -> list[dict[str, Any]]:
    """Every page, following the cursors."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = call.get(path + after)
        found += page["items"]
        if page["next"] is None:
            return found
        after = ("&" if "?" in path else "?") + f"after={page['next']}"


def test_pages_join_to_the_whole_list_in_order() -> None:
    call = Client(many(250))
    found = walk(call, "/mappings?limit=100")
    assert len(found) == 250
    assert all(eid(a["eid"]) < eid(b["eid"]) for a, b in pairwise(found))
    assert call.backend.steps < 250 + 3 * 2, "a page does not walk the pages before it"


def test_a_page_is_stable_while_the_list_changes() -> None:
    call = Client(many(10))
    first = call.get("/mappings?limit=5")
    call("DELETE", f"/mappings/{first['items'][4]['eid']}")
    call("PUT", "/mappings/9.0.0.0/8", {})
    second = call.get(f"/mappings?limit=5&after={first['next']}")
    assert second["items"][0]["eid"] == "10.0.5.0/24"


def test_the_link_header_leads_to_the_next_page() -> None:
    call = Client(many(3))
    response = call("GET", "/mappings?limit=2&within=10.0.0.0/8")
    url, rel = response.headers["Link"].split("; ")
    parts = urlsplit(url.strip("<>"))
    assert rel == 'rel="next"'
    assert parts.path == "/lisp/v1/mappings"
    query = {key: value[0] for key, value in parse_qs(parts.query).items()}
    assert query["after"] == json.loads(response.body)["next"]
    assert (query["limit"], query["within"]) == ("2", "10.0.0.0/8")


def test_one_request_looks_at_a_bounded_part_whatever_the_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lisp_sdn.api.paging.MAX_SCAN", 200)
    call = Client(many(500))
    page = call.get("/mappings?site=east")
    assert page["items"] == []
    assert page["next"] is not None
    assert call.backend.steps <= 202
    assert len(walk(call, "/mappings?site=east")) == 1


@pytest.mark.parametrize("cursor", ["nonsense", "W10", "WzEsMiwzXQ", "%%%", "WzEsNCwyNTUsMjRd"])
def test_a_cursor_that_is_none_is_a_400(call: Client, cursor: str) -> None:
    response = call("GET", f"/mappings?after={cursor}")
    assert response.status == 400
    assert problem(response)["type"].endswith("/bad-query")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["2001:db8::/32", "[42] 10.1.0.0/24", "[42] 10.2.0.0/16"]),
        ("iid=42", ["[42] 10.1.0.0/24", "[42] 10.2.0.0/16"]),
        ("iid=7", []),
        ("within=10.1.0.0/16&iid=42", ["[42] 10.1.0.0/24"]),
        ("within=[42] 10.0.0.0/8", ["[42] 10.1.0.0/24", "[42] 10.2.0.0/16"]),
        ("within=::/0", ["2001:db8::/32"]),
        ("covering=10.1.0.5&iid=42", ["[42] 10.1.0.0/24"]),
        ("covering=10.0.0.0/8&iid=42", []),
        ("covering=2001:db8::1", ["2001:db8::/32"]),
        ("site=east", ["[42] 10.1.0.0/24"]),
        ("origin=static", ["2001:db8::/32", "[42] 10.2.0.0/16"]),
    ],
)
def test_filters(call: Client, query: str, expected: list[str]) -> None:
    assert [entry["eid"] for entry in call.get(f"/mappings?{query}")["items"]] == expected


def test_covering_costs_one_look_up_for_each_length() -> None:
    call = Client(many(5000))
    assert len(call.get("/mappings?covering=10.0.200.1")["items"]) == 1
    assert call.backend.steps <= 33 * 2


def test_within_and_covering_exclude_each_other(call: Client) -> None:
    assert call("GET", "/mappings?within=10.0.0.0/8&covering=10.0.0.0/8").status == 400
    response = call("GET", "/mappings?within=10.0.0.1/8")
    assert problem(response)["errors"][0]["parameter"] == "within"


# --- JSON lines --------------------------------------------------------------------------


def test_an_export_can_be_imported(call: Client) -> None:
    exported = call("GET", "/mappings?origin=static", Accept=LINES)
    assert exported.headers["Content-Type"] == LINES
    assert len(exported.body.splitlines()) == 2
    other = Client(FakeBackend())
    response = other("POST", "/mappings", exported.body, Content_Type=LINES)
    assert json.loads(response.body) == {"set": 2}
    assert len([a for a in other.actions if isinstance(a, MappingChanged)]) == 2
    assert other("GET", "/mappings", Accept=LINES).body == exported.body
    assert other.backend.database == {
        key: entry for key, entry in call.backend.database.items() if entry.origin is Origin.STATIC
    }


def test_an_import_with_mistakes_names_every_line_and_changes_nothing(call: Client) -> None:
    before = dict(call.backend.database)
    body = b"\n".join(
        [
            b'{"eid": "10.0.0.0/8"}',
            b"nonsense",
            b"",
            b'{"eid": "10.0.0.1/8"}',
            b'{"eid_prefix": "10.0.0.0/8", "iid": 3, "ttl_minutes": -1}',
        ]
    )
    response = call("POST", "/mappings", body, Content_Type=LINES)
    assert response.status == 422
    assert [entry["line"] for entry in problem(response)["errors"]] == [2, 4, 5]
    missing = call("POST", "/mappings", b'{"ttl_minutes": 5}', Content_Type=LINES)
    assert problem(missing)["errors"] == [
        {"line": 1, "detail": "eid, or eid_prefix with iid, is missing"}
    ]
    assert call.backend.database == before


def test_an_import_is_bounded(call: Client) -> None:
    body = b'{"eid": "10.0.0.0/8"}\n' * (MAX_LINES + 1)
    assert call("POST", "/mappings", body, Content_Type=LINES).status == 413
    flood = b"x\n" * MAX_LINES
    response = call("POST", "/mappings", flood, Content_Type=LINES)
    assert len(problem(response)["errors"]) == 100
