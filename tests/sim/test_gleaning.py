"""Gleaning (RFC 9300 section 9): provisional map-cache entries, and what verifies them."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest
import yaml
from xtr_network import CONFIG, TUNNEL, Network, Site

from lisp_sdn.actions import FlowRemoved
from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import cookie_class, match
from lisp_sdn.wire import EidRecord, MapReply
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.cache import Via
from lisp_sdn.xtr.requests import Probe
from lisp_sdn.xtr.simulate import Trace
from lisp_sdn.xtr.xtr import Xtr

FOREIGN = "203.0.113.66"
SOURCE = "10.9.0.1"


def gleaning(enabled: bool = True, **more: Any) -> Network:
    """xa, whose Map-Resolver is somebody else: a Map-Request takes its time."""
    document = yaml.safe_load(CONFIG)
    document["xtrs"][0]["map_resolvers"] = ["198.51.100.53"]
    document["gleaning"] = {"enabled": enabled, **more}
    network = Network(yaml.safe_dump(document))
    network.mapping.silent = True
    network.start()
    host = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network.send("xa", 1, host.frame("10.1.0.254"))
    network.resolved.add(("xa", ip_address(FOREIGN)))
    network.mapping.requests.clear()
    return network


def arrive(network: Network, source: str = SOURCE, rloc: str = FOREIGN) -> Trace:
    packet = replies.ipv4(ip_address(source), ip_address("10.1.0.1"), 253, b"hello")
    zero = "00:00:00:00:00:00"
    site = network["xa"]
    trace = site.switch.receive(
        TUNNEL,
        replies.ip_frame(zero, zero, 4, packet),
        tunnel_id=1,
        tunnel_source=ip_address(rloc),
        tunnel_destination=ip_address("192.0.2.1"),
    )
    network.follow(site, trace)
    network.advance(0.1)
    return trace


def entry(network: Network, text: str = f"[1] {SOURCE}/32") -> Any:
    return network["xa"].xtr._cache.get(EidPrefix.from_text(text))


def answer(network: Network, *mappings: Mapping) -> None:
    """The Map-Reply to the newest Map-Request."""
    request = network.mapping.requests[-1]
    records = tuple(EidRecord.from_mapping(mapping) for mapping in mappings)
    site = network["xa"]
    network.do(site, site.xtr.receive(MapReply(request.nonce, records), None, network.now))
    network.advance(0.1)


def reply(network: Network) -> list[str | None]:
    """Our host sends to the foreign EID: the outer destinations that it takes."""
    before = len(network.sent_through_tunnel)
    host = network["xa"].hosts[1][0]
    network.send("xa", 1, host.frame(SOURCE))
    sent = network.sent_through_tunnel[before:]
    return [str(item.tunnel_destination) for item in sent if b"hello" not in item.frame]


def test_off_by_default_nothing_is_gleaned() -> None:
    network = gleaning(enabled=False)
    assert network.config.gleaning.enabled is False
    assert [punt for punt in arrive(network).punted if punt.table == 1] == []
    assert entry(network) is None
    assert network.mapping.requests == []


def test_a_new_sender_can_be_answered_before_its_mapping_is_known() -> None:
    network = gleaning()
    trace = arrive(network)
    # The packet itself does not wait.
    assert len(network["xa"].hosts[1][0].received) == 1
    assert trace.ended == ""
    gleaned = entry(network)
    assert gleaned.via is Via.GLEANED
    assert gleaned.mapping.locators == (Locator(ip_address(FOREIGN), 1, 0),)
    (request,) = network.mapping.requests
    assert str(request.records[0].eid) == f"[1] {SOURCE}/32"
    assert reply(network) == [FOREIGN]


def test_without_a_map_reply_it_is_used_for_three_seconds() -> None:
    network = gleaning()
    arrive(network)
    network.advance(2.8)
    assert reply(network) == [FOREIGN]
    network.advance(0.2)
    assert entry(network) is None
    assert reply(network) == []
    flows = [r for r in network["xa"].switch.flows.values() if SOURCE in str(r.match)]
    assert [rule for rule in flows if rule.hard_timeout] == []


def test_the_switch_ends_it_by_itself() -> None:
    network = gleaning()
    arrive(network)
    (rule,) = [r for r in network["xa"].switch.flows.values() if r.hard_timeout]
    assert rule.hard_timeout == 4


def test_what_is_answered_takes_its_place() -> None:
    network = gleaning()
    arrive(network)
    mapping = Mapping(EidPrefix.from_text("[1] 10.9.0.0/16")).with_locators(
        (Locator(ip_address("203.0.113.1"), 1, 50), Locator(ip_address(FOREIGN), 2, 50))
    )
    network.resolved.add(("xa", ip_address("203.0.113.1")))
    answer(network, mapping)
    assert entry(network) is None
    verified = entry(network, "[1] 10.9.0.0/16")
    assert verified.via is Via.MAP_REPLY
    assert verified.expires - network.now > 3600
    assert reply(network) == ["203.0.113.1"]
    # Gleaning is over for the whole EID-prefix.
    requests = len(network.mapping.requests)
    arrive(network, "10.9.0.2")
    assert entry(network, "[1] 10.9.0.2/32") is None
    assert len(network.mapping.requests) == requests


def test_a_negative_answer_ends_it_at_once() -> None:
    network = gleaning()
    arrive(network)
    assert reply(network) == [FOREIGN]
    hole = Mapping(EidPrefix.from_text("[1] 10.9.0.0/16"), (), 15, Act.NATIVELY_FORWARD)
    answer(network, hole)
    assert entry(network) is None
    assert reply(network) == []
    arrive(network, "10.9.0.2")
    assert entry(network, "[1] 10.9.0.2/32") is None


@pytest.mark.parametrize(
    ("source", "rloc", "reason"),
    [
        (SOURCE, "192.0.2.1", "gleaned-rloc"),
        (SOURCE, "224.0.0.5", "gleaned-rloc"),
        ("10.1.0.77", FOREIGN, "gleaned-local-eid"),
    ],
)
def test_what_is_not_gleaned(source: str, rloc: str, reason: str) -> None:
    network = gleaning()
    arrive(network, source, rloc)
    assert entry(network, f"[1] {source}/32") is None
    assert network.drops[-1].reason == reason


def test_gleaned_entries_are_bounded() -> None:
    network = gleaning(entries=3)
    for last in range(1, 7):
        arrive(network, f"10.9.0.{last}")
    assert sum(e.via is Via.GLEANED for e in network["xa"].xtr._cache) == 3
    assert network.drops[-1].reason == "gleaned-entries"
    network.advance(5.0)
    arrive(network, "10.9.0.9")
    assert entry(network, "[1] 10.9.0.9/32").via is Via.GLEANED


def test_a_restarted_controller_does_not_take_it_over() -> None:
    network = gleaning()
    arrive(network)
    site: Site = network["xa"]
    assert any(rule.hard_timeout for rule in site.switch.flows.values())
    site.xtr = Xtr(site.settings, network.config, random.Random(3))
    site.connect()
    assert entry(network) is None
    assert not any(rule.hard_timeout for rule in site.switch.flows.values())


def test_a_flow_that_ended_by_itself_is_not_sent_again() -> None:
    network = gleaning()
    arrive(network)
    site = network["xa"]
    (rule,) = [r for r in site.switch.flows.values() if r.hard_timeout]
    network.now += 4.0
    del site.switch.flows[rule.key]
    removed = FlowRemoved(site.switch.datapath_id, rule.key, rule.cookie, False, 1, 100, 4.0)
    network.do(site, site.xtr.flow_removed(removed, network.now))
    network.advance(0.1)
    assert entry(network) is None
    assert rule.key not in site.switch.flows
    assert cookie_class(rule.cookie) is not None


def test_the_gleaned_rloc_does_not_verify_itself() -> None:
    """Whoever sent the packet would answer an RLOC-probe as well."""
    network = gleaning()
    arrive(network)
    assert probed(network, FOREIGN, "[1] 10.9.0.1/32", FOREIGN) == 1
    assert entry(network).via is Via.GLEANED


def probed(network: Network, rloc: str, eid: str, answer_rloc: str) -> int:
    """Have an RLOC probed and answered with a mapping; how many probes there were."""
    xtr = network["xa"].xtr
    actions = xtr.probing(True, frozenset(), frozenset(), network.now)
    probes: list[Probe] = []
    for step in range(30):
        actions += xtr.handle_timer(network.now + step * 0.05)
        probes += [a for a in actions if isinstance(a, Probe) and str(a.destination) == rloc]
        actions = []
        if probes:
            break
    locator = Locator(ip_address(answer_rloc), 1, 77, probed=True)
    mapping = Mapping(EidPrefix.from_text(eid), (locator,), authoritative=True)
    message = MapReply(probes[0].request.nonce, (EidRecord.from_mapping(mapping),), probe=True)
    network.now += 0.05 * step + 0.01
    network.do(network["xa"], xtr.receive(message, None, network.now))
    return len(probes)


def test_the_answer_to_a_probe_refreshes_the_mapping() -> None:
    """RFC 9301 section 7.1; of a cached EID-prefix, told by an ETR of others."""
    network = gleaning(enabled=False)
    host = network["xa"].hosts[1][0]
    network.send("xa", 1, host.frame(SOURCE))
    mapping = Mapping(EidPrefix.from_text("[1] 10.9.0.0/16")).with_locators(
        (Locator(ip_address(FOREIGN), 1, 50),)
    )
    answer(network, mapping)
    assert entry(network, "[1] 10.9.0.0/16").mapping.locators[0].weight == 50
    probed(network, FOREIGN, "[1] 10.9.0.0/16", FOREIGN)
    assert entry(network, "[1] 10.9.0.0/16").mapping.locators[0].weight == 77
    # What is not cached is not taken from there.
    probed(network, FOREIGN, "[1] 10.10.0.0/16", FOREIGN)
    assert entry(network, "[1] 10.10.0.0/16") is None


def test_what_is_addressed_to_another_rloc_is_not_decapsulated() -> None:
    """RFC 9300 section 4.2: it ends at the drop of the tunnel port, which counts it."""
    network = gleaning(enabled=False)
    packet = replies.ipv4(ip_address(SOURCE), ip_address("10.1.0.1"), 253, b"x")
    frame = replies.ip_frame("00:00:00:00:00:00", "00:00:00:00:00:00", 4, packet)
    for destination, ended in (("192.0.2.9", "dropped in table 0"), ("192.0.2.1", "")):
        trace = network["xa"].switch.receive(
            TUNNEL,
            frame,
            tunnel_id=1,
            tunnel_source=ip_address(FOREIGN),
            tunnel_destination=ip_address(destination),
        )
        assert trace.ended == ended
        if ended:
            assert trace.rules[-1].match == match(in_port=TUNNEL)
