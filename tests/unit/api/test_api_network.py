"""Status, sites, xTRs and map-caches over REST."""

from __future__ import annotations

import json

import pytest
from api_fake import Client, filled, problem

from lisp_sdn.actions import Event


@pytest.fixture
def call() -> Client:
    return Client(filled())


def test_status_counts_and_tells_what_to_mend(call: Client) -> None:
    assert call.get("/status") == {
        "started": "2027-01-15T07:58:20.000Z",
        "sites": 2,
        "xtrs": 2,
        "xtrs_connected": 1,
        "mappings": 3,
        "registrations": 2,
        "map_cache_entries": 4,
        "pending_resolutions": 0,
        "held_packets": 0,
        "last_event": 3,
        "listen_control": ["0.0.0.0:4342", "[::]:4342"],
        "listen_rest": "127.0.0.1:8080",
        "problems": [
            "xTR xtr-east: tunnel port lisp0 is missing",
            "xTR xtr-west: the switch is not connected",
        ],
        "unreachable": ["RLOC 203.0.113.9 does not answer RLOC-probes of xTR xtr-west"],
    }


def test_a_site_shows_settings_and_state(call: Client) -> None:
    site = call.get("/sites/east")
    assert site["eid_prefixes"] == [
        {
            "eid": "[42] 10.1.0.0/16",
            "accept_more_specifics": True,
            "max_more_specifics": 10000,
            "unregistered_action": "natively-forward",
        }
    ]
    assert site["xtrs"] == ["xtr-east"]
    assert site["registrations"] == 2
    assert site["last_registration"] == "2027-01-15T07:59:40.000Z"
    assert call.get("/sites/west")["last_registration"] is None


def test_lists_page_by_name(call: Client) -> None:
    first = call.get("/sites?limit=1")
    assert [entry["name"] for entry in first["items"]] == ["east"]
    second = call.get(f"/sites?limit=1&after={first['next']}")
    assert ([entry["name"] for entry in second["items"]], second["next"]) == (["west"], None)
    assert [entry["name"] for entry in call.get("/xtrs")["items"]] == ["xtr-east", "xtr-west"]


def test_an_xtr_shows_settings_and_state(call: Client) -> None:
    xtr = call.get("/xtrs/xtr-east")
    assert xtr["datapath_id"] == "0000000000000001"
    assert xtr["connected"] is True
    assert xtr["problems"] == ["tunnel port lisp0 is missing"]
    assert xtr["rlocs"] == [
        {
            "rloc": "192.0.2.1",
            "priority": 1,
            "weight": 100,
            "state": "up",
            "since": "2027-01-15T07:59:10.000Z",
            "rtt_seconds": 0.004,
        }
    ]
    [port] = xtr["eid_ports"]
    assert (port["name"], port["number"], port["up"]) == ("eth1", 3, True)
    assert xtr["eid_prefixes"] == ["[42] 10.1.0.0/16"]


def test_an_xtr_that_was_never_seen_shows_its_configured_rlocs(call: Client) -> None:
    xtr = call.get("/xtrs/xtr-west")
    assert xtr["connected"] is False
    assert [(entry["rloc"], entry["state"]) for entry in xtr["rlocs"]] == [("192.0.2.2", "unknown")]


@pytest.mark.parametrize(
    ("path", "known"),
    [("/sites/north", "east, west"), ("/xtrs/x", "xtr-east"), ("/xtrs/x/map-cache", "xtr-west")],
)
def test_an_unknown_name_is_a_404_that_tells_the_known_ones(
    call: Client, path: str, known: str
) -> None:
    response = call("GET", path)
    assert response.status == 404
    assert known in problem(response)["detail"]


def test_the_map_cache_is_shown_by_destination(call: Client) -> None:
    items = call.get("/xtrs/xtr-west/map-cache")["items"]
    assert [(entry["eid"], entry["negative"], entry["complete"]) for entry in items] == [
        ("[42] 10.1.0.0/24", False, True),
        ("srcdst:[42] 10.2.7.0/24|[42] 10.1.0.0/24", False, True),
        ("[42] 10.8.0.1/32", False, False),
        ("[42] 10.9.0.0/16", True, True),
    ]
    assert items[0]["rule"] == "partner"
    assert items[0]["locators"][1]["state"] == "down"
    assert items[3]["action"] == "natively-forward"
    assert items[3]["expires"] == "2027-01-15T08:14:57.000Z"


def test_the_map_cache_pages_and_filters(call: Client) -> None:
    first = call.get("/xtrs/xtr-west/map-cache?limit=1")
    rest = call.get(f"/xtrs/xtr-west/map-cache?after={first['next']}")
    assert [entry["eid"] for entry in first["items"] + rest["items"]] == [
        entry["eid"] for entry in call.get("/xtrs/xtr-west/map-cache")["items"]
    ]
    covering = call.get("/xtrs/xtr-west/map-cache?covering=10.9.1.1&iid=42")
    assert [entry["eid"] for entry in covering["items"]] == ["[42] 10.9.0.0/16"]


def test_clearing_the_map_cache(call: Client) -> None:
    one = call("DELETE", "/xtrs/xtr-west/map-cache/10.9.0.0%2F16?iid=42")
    assert json.loads(one.body) == {"removed": 1}
    assert call.actions == [Event("map-cache.removed", "[42] 10.9.0.0/16")]
    pair = "srcdst:[42] 10.2.7.0/24|[42] 10.1.0.0/24"
    assert json.loads(call("DELETE", f"/xtrs/xtr-west/map-cache/{pair}").body) == {"removed": 1}
    assert call("DELETE", "/xtrs/xtr-west/map-cache/[42] 10.9.0.0/16").status == 404
    assert json.loads(call("DELETE", "/xtrs/xtr-west/map-cache").body) == {"removed": 2}
    assert call.get("/xtrs/xtr-west/map-cache")["items"] == []


@pytest.mark.parametrize("bad", ["srcdst:10.0.0.0/8", "10.0.0.1/8", "srcdst:[1] ::/0|[2] ::/0"])
def test_a_bad_key_is_a_400(call: Client, bad: str) -> None:
    assert call("DELETE", f"/xtrs/xtr-west/map-cache/{bad}").status == 400
