"""`GET /alt`, `/alt/routes` and `/bgp`."""

from __future__ import annotations

import json
from typing import Any

from api_fake import Client, filled


def shown(path: str) -> Any:
    response = Client(filled())("GET", path)
    assert response.status == 200, response.body
    return json.loads(response.body)


def test_the_alt_with_its_tunnels_and_what_is_announced() -> None:
    body = shown("/alt")
    assert (body["iid"], body["datapath_id"]) == (42, "00000000000000a0")
    assert body["announced"] == ["10.1.0.0/16"]
    (held,) = body["held_down"]
    assert held["prefix"] == "10.1.0.0/16"
    (tunnel,) = body["tunnels"]
    assert (tunnel["port"], tunnel["neighbour"], tunnel["up"]) == ("gre1", "10.99.0.2", True)
    assert (tunnel["local"], tunnel["remote"]) == (None, "192.0.2.7")
    assert body["problems"] == ["the bridge has no port gre2"]
    assert body["packets"] == {"map-requests-out": 5, "alt-no-route": 1}


def test_routes_come_in_pages() -> None:
    first = shown("/alt/routes?limit=1")
    (route,) = first["items"]
    assert (route["prefix"], route["as_path"], route["port"]) == (
        "10.2.0.0/16",
        [64513, 64514],
        "gre1",
    )
    second = shown(f"/alt/routes?limit=1&after={first['next']}")
    assert [item["prefix"] for item in second["items"]] == ["2001:db8:2::/48"]
    assert second["next"] is None


def test_a_cursor_that_names_no_prefix_begins_at_the_begin() -> None:
    from lisp_sdn.api.paging import encode_cursor

    assert len(shown(f"/alt/routes?after={encode_cursor((3, 1, 1))}")["items"]) == 2
    assert Client(filled())("GET", "/alt/routes?after=nonsense").status == 400


def test_bgp_sessions() -> None:
    body = shown("/bgp")
    assert (body["as_number"], body["router_id"]) == (64512, "10.99.0.1")
    alt, underlay = body["neighbours"]
    assert (alt["up"], alt["scope"], alt["password"], alt["routes"]) == (True, "alt", True, 2)
    assert (underlay["shut"], underlay["scope"], underlay["since"]) == (True, "underlay", None)
