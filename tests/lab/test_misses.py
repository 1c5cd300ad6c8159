"""Destinations without a mapping cost one Map-Request, whatever the traffic to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from labrun import poll
from two_sites_lab import H2, flood, show

from lisp_sdn.config import Limits

PACKETS = 10_000
HANDFUL = 10


@pytest.mark.parametrize("target", ["10.99.0.1", "2001:db8:99::1"])
def test_an_unmapped_destination_costs_one_map_request(lab: Any, target: str) -> None:
    lab.flush("left")
    assert lab.map_cache("left") == []
    before = lab.counted("map-requests-out", 'xtr="left"')
    with lab.openflow("left") as openflow:
        assert lab.h1.ping(target, 5, 0.1).received == 0
        flood(lab.h1, target, PACKETS)
        poll("one negative entry", lambda: [e for e in lab.map_cache("left") if e["negative"]], 5)
    cache = lab.map_cache("left")
    assert len(cache) == 1, show(cache)
    assert cache[0]["negative"], show(cache)
    assert cache[0]["action"] == "natively-forward", show(cache)
    assert cache[0]["expires"], show(cache)
    assert openflow.packet_ins(target) <= HANDFUL
    assert lab.counted("map-requests-out", 'xtr="left"') - before == 1, show(lab.counters())


def test_a_flood_to_a_new_destination_is_metered_until_the_answer(lab: Any) -> None:
    """The flood itself is the first packet: its first milliseconds pass the miss meter's burst."""
    target = "10.98.0.1"
    limits = Limits()
    lab.flush("left")
    with lab.openflow("left") as openflow:
        seconds = flood(lab.h1, target, PACKETS)
        poll("the negative entry", lambda: lab.map_cache("left"), 5)
    metered = limits.miss_burst + limits.miss_rate * seconds
    assert 1 <= openflow.packet_ins(target) <= metered + HANDFUL
    with lab.openflow("left") as openflow:
        flood(lab.h1, target, PACKETS)
    assert openflow.packet_ins(target) <= HANDFUL


def test_a_negative_entry_is_as_wide_as_the_answer_allows(lab: Any) -> None:
    """Other unmapped destinations nearby need no further Map-Request; mapped ones still work."""
    lab.flush("left")
    assert lab.h1.ping("10.99.0.1", 1).received == 0
    entry = poll("the negative entry", lambda: lab.map_cache("left"), 5)[0]
    with lab.openflow("left") as openflow:
        assert lab.h1.ping("10.99.0.2", 2, 0.1).received == 0
    assert openflow.packet_ins("10.99.0.2") == 0, f"{entry['eid']} should cover 10.99.0.2"
    assert lab.h1.ping(H2, 3, 0.1).received == 3


def test_a_new_mapping_replaces_a_negative_answer_at_once(lab: Any) -> None:
    """PUT a static mapping under a negative entry; DELETE it again."""
    lab.flush("left")
    assert lab.h1.ping("10.97.0.1", 1).received == 0
    poll("the negative entry", lambda: lab.map_cache("left"), 5)
    path = "/lisp/v1/mappings/" + quote("[42] 10.97.0.0/24", safe="")
    body = {"locators": [{"rloc": "203.0.113.1"}]}
    lab.h2.do("ip", "addr", "replace", "10.97.0.1/32", "dev", "lo")
    try:
        assert lab.net.ctl.rest("PUT", path, body).status == 201
        with lab.underlay(bpf="udp port 4341") as wire:
            lab.h1.ping("10.97.0.1", 3, 0.1)
        assert wire.count("lisp-data && ip.dst == 10.97.0.1") == 3
    finally:
        assert lab.net.ctl.rest("DELETE", path).status == 204
        lab.h2.do("ip", "addr", "del", "10.97.0.1/32", "dev", "lo")
    with lab.underlay(bpf="udp port 4341") as wire:
        lab.h1.ping("10.97.0.1", 2, 0.1)
    assert wire.count("lisp-data && ip.dst == 10.97.0.1") == 0


def test_a_drop_mapping_drops(lab: Any) -> None:
    path = "/lisp/v1/mappings/" + quote("[42] 10.96.0.0/24", safe="")
    assert lab.net.ctl.rest("PUT", path, {"action": "drop-policy-denied"}).status == 201
    try:
        lab.flush("left")
        assert lab.h1.ping("10.96.0.1", 1).received == 0
        entry = lab.entry("left", "[42] 10.96.0.0/24")
        assert (entry["negative"], entry["action"]) == (True, "drop-policy-denied"), show(entry)
    finally:
        lab.net.ctl.rest("DELETE", path)
