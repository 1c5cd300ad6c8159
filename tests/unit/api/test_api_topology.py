"""The network at a glance."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from api_fake import NOW, FakeBackend, eid, locator

from lisp_sdn.api import Api, Request
from lisp_sdn.api.resources import topology
from lisp_sdn.api.resources.topology import shares
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.trace import Endpoint
from lisp_sdn.views import (
    Inbound,
    LocatorState,
    LocatorStatus,
    MapCacheEntry,
    MappingEntry,
    Origin,
    XtrState,
)

EAST, WEST = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def backend() -> FakeBackend:
    made = FakeBackend()
    west = Mapping(eid("[42] 10.2.0.0/16"), (locator(WEST, 1, 30), locator("192.0.2.9", 1, 10)))
    made.add(MappingEntry(west, Origin.REGISTERED, "west"))
    return made


def ask(backend: FakeBackend) -> dict[str, Any]:
    response, actions = Api(backend).handle(Request("GET", "/lisp/v1/topology"), NOW)
    assert (response.status, actions) == (200, [])
    return dict(json.loads(response.body))


def site(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in document["sites"] if item["name"] == name)


def entry(key: str, *statuses: LocatorStatus, **more: Any) -> MapCacheEntry:
    return MapCacheEntry(eid(key), NOW - 5, statuses, **more)


def up(rloc: str, weight: int = 100, priority: int = 1, **more: Any) -> LocatorStatus:
    return LocatorStatus(locator(rloc, priority, weight), LocatorState.UP, **more)


def test_shares_follow_the_weights_of_the_lowest_priority() -> None:
    a, b, c = locator("192.0.2.1", 1, 30), locator("192.0.2.2", 1, 10), locator("192.0.2.3", 2)
    assert shares([a, b, c]) == {a.rloc: 0.75, b.rloc: 0.25}


def test_weights_of_zero_are_equal_parts_and_the_unusable_get_none() -> None:
    a, b = locator("192.0.2.1", 1, 0), locator("192.0.2.2", 1, 0)
    gone = Locator(ipaddress.ip_address("192.0.2.3"), reachable=False)
    assert shares([a, b, gone, locator("192.0.2.4", 255)]) == {a.rloc: 0.5, b.rloc: 0.5}
    assert shares([gone]) == {}


def test_a_site_shows_its_own_uplinks_and_those_of_other_routers(backend: FakeBackend) -> None:
    uplinks = site(ask(backend), "west")["uplinks"]
    assert [(u["rloc"], u["xtr"], u["offered"]) for u in uplinks] == [
        (WEST, "xtr-west", 0.75),
        ("192.0.2.9", None, 0.25),
    ]
    assert site(ask(backend), "east")["uplinks"][0]["offered"] is None, "nothing registered"


def test_links_tell_who_sends_to_whom_by_what(backend: FakeBackend) -> None:
    backend.caches["xtr-east"] = [
        entry("[42] 10.2.0.0/16", up(WEST, 30, rtt=0.002), up("192.0.2.9", 10)),
        entry("[42] 10.2.7.0/24", up(WEST)),
        entry("[42] 10.99.0.0/16", action=Act.NATIVELY_FORWARD),
        entry("[42] 10.2.9.9/32", complete=False),
    ]
    document = ask(backend)
    link, foreign = document["links"]
    assert (link["xtr"], link["site"], link["entries"], link["pending"]) == (
        "xtr-east",
        "west",
        2,
        1,
    )
    assert [(p["rloc"], p["share"], p["rtt_seconds"]) for p in link["paths"]] == [
        (WEST, 0.875, 0.002),
        ("192.0.2.9", 0.125, None),
    ]
    assert (foreign["site"], foreign["negative"], foreign["paths"]) == (None, 1, [])
    uplinks = site(document, "west")["uplinks"]
    assert [u["told"] for u in uplinks] == [0.875, 0.125]
    assert uplinks[1]["state"] == "up", "as the xTR that probes it sees it"


def test_an_rloc_that_is_down_gets_no_part(backend: FakeBackend) -> None:
    down = LocatorStatus(locator(WEST), LocatorState.UNREACHABLE)
    drained = LocatorStatus(locator("192.0.2.8"), LocatorState.DRAINED)
    backend.caches["xtr-east"] = [entry("[42] 10.2.0.0/16", down, drained)]
    (link,) = ask(backend)["links"]
    assert [(p["state"], p["share"]) for p in link["paths"]] == [
        ("unreachable", 0.0),
        ("drained", 1.0),
    ]


def test_measured_parts_are_those_of_the_rates(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    west = ipaddress.ip_address(WEST)
    came = [Inbound("xtr-west", west, "west", 5000, 1, 30, 250.04)]
    monkeypatch.setattr(backend, "inbound", lambda: came)
    uplink = site(ask(backend), "west")["uplinks"][0]
    assert (uplink["measured"], uplink["octets"], uplink["octets_per_second"]) == (1.0, 5000, 250.0)
    came[0] = Inbound("xtr-west", west, "west", 5000, 1, 30, 0.0)
    assert site(ask(backend), "west")["uplinks"][0]["measured"] is None, "nothing comes in"


def test_an_eid_to_trace_is_one_that_was_seen(backend: FakeBackend) -> None:
    backend.places = [
        Endpoint(eid("[42] 10.1.0.2/32"), "east", "xtr-east", False),
        Endpoint(eid("[42] 10.1.0.7/32"), "east", "xtr-east", True),
    ]
    document = ask(backend)
    assert site(document, "east")["eid_prefixes"] == [
        {"eid": "[42] 10.1.0.0/16", "endpoint": "[42] 10.1.0.7/32"}
    ]
    assert site(document, "west")["eid_prefixes"][0]["endpoint"] is None


def test_xtrs_show_what_is_wrong_with_them(backend: FakeBackend) -> None:
    backend.states["xtr-east"] = XtrState(None, ("no tunnel port",), map_cache_entries=3)
    east, west = ask(backend)["xtrs"]
    assert (east["connected"], east["problems"], east["map_cache_entries"]) == (
        False,
        ["no tunnel port"],
        3,
    )
    assert west["problems"] == []


def test_large_map_caches_are_looked_at_in_part(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "MAX_ENTRIES", 50)
    backend.caches["xtr-east"] = [entry(f"[42] 10.2.{n}.0/24", up(WEST)) for n in range(25)]
    assert not ask(backend)["more"]
    backend.caches["xtr-east"] += [entry("[42] 10.2.200.0/24", up(WEST))]
    document = ask(backend)
    assert document["more"]
    assert document["links"][0]["entries"] == 25
