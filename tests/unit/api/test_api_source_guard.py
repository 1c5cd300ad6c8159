"""`GET /xtrs/{name}/source-guard`."""

from __future__ import annotations

import json
from typing import Any

from api_fake import Client, filled


def shown(query: str = "", xtr: str = "xtr-west") -> Any:
    response = Client(filled())("GET", f"/xtrs/{xtr}/source-guard{query}")
    assert response.status == 200
    return json.loads(response.body)


def test_verdicts_in_the_order_of_their_eids() -> None:
    body = shown()
    assert body["mode"] == "enforce"
    allowed, refused, port = body["items"]
    assert (allowed["eid"], allowed["rloc"], allowed["refused"]) == (
        "[42] 10.2.0.0/24",
        "192.0.2.1",
        False,
    )
    assert allowed["expires"] is not None
    assert (refused["reason"], refused["packets"]) == ("source-rloc-mismatch", 17)
    assert (port["rloc"], port["port"], port["via"]) == (None, "p1", "port")


def test_the_refused_ones_alone_and_page_by_page() -> None:
    first = shown("?refused=true&limit=1")
    assert [item["eid"] for item in first["items"]] == ["[42] 10.3.0.0/24"]
    second = shown(f"?refused=true&limit=1&after={first['next']}")
    assert [item["eid"] for item in second["items"]] == ["[42] 10.9.9.9/32"]
    assert [item["refused"] for item in shown("?refused=false")["items"]] == [False]
    assert len(shown("?within=10.9.0.0/16&iid=42")["items"]) == 1


def test_an_xtr_without_a_guard() -> None:
    body = shown(xtr="xtr-east")
    assert (body["mode"], body["items"], body["next"]) == ("off", [], None)
