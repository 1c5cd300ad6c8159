"""Entries expire, are refreshed, change without a gap, and depend on the source where they must."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from xtr_network import CONFIG, Network, eid

from lisp_sdn.actions import ApplyRules
from lisp_sdn.address import SourceDestPrefix
from lisp_sdn.model import Act, Answer, Locator, Mapping
from lisp_sdn.rules import CookieClass, GroupRule, Verb, cookie_class
from lisp_sdn.wire import EidRecord, MapRequest, RequestRecord
from lisp_sdn.xtr.requests import Resolve

MAC = "02:00:00:00:0a:01"
B4, B6 = ip_address("192.0.2.2"), ip_address("2001:db8:ffff::2")


@pytest.fixture
def net() -> Network:
    network = Network()
    network.start()
    return network


def register(
    net: Network, text: str, *rlocs: str, ttl: int = 1440, act: Act = Act.NO_ACTION
) -> None:
    locators = tuple(Locator(ip_address(rloc)) for rloc in rlocs)
    mapping = Mapping(eid(text), (), ttl, act).with_locators(locators)
    net.mapping.register([EidRecord.from_mapping(mapping)])


def changed(net: Network, text: str) -> None:
    for site in net.sites.values():
        net.do(site, site.xtr.mapping_changed(eid(text), net.now))


def cached(net: Network, site: str = "xa") -> list[str]:
    return sorted(str(row.eid) for row in net[site].xtr.map_cache_entries(net.now))


def destinations(net: Network) -> set[str]:
    return {str(s.tunnel_destination) for s in net.sent_through_tunnel if s.tunnel_id != 0xFFFFFF}


def cache_flows(net: Network, site: str = "xa") -> int:
    rules = net[site].switch.flows.values()
    return sum(cookie_class(rule.cookie) is CookieClass.MAP_CACHE for rule in rules)


def test_an_entry_in_use_is_refreshed_before_it_expires(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2", ttl=10)
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    net.advance(0.1)
    punts, asked = net.punts, len(net.mapping.requests)
    for _ in range(60):
        net.advance(60.0)
        net.send("xa", 1, a.frame("10.9.0.1"))
        assert cache_flows(net) == 1
    assert net.punts == punts
    assert 6 <= len(net.mapping.requests) - asked <= 8
    assert str(net.mapping.requests[-1].records[0].eid) == "[1] 10.9.0.0/16"


def test_an_idle_entry_leaves_switch_and_cache_together(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.send("xa", 1, a.frame("10.2.0.1"))
    net.advance(0.1)
    assert cached(net) == ["[1] 10.2.0.0/16"]
    net.idle_out("xa", "10.2.0.0")
    assert cached(net) == []
    assert not net["xa"].switch.groups
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()
    asked = len(net.mapping.requests)
    net.advance(86400.0)
    assert len(net.mapping.requests) == asked


def test_an_entry_that_nobody_refreshes_expires(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2", ttl=1)
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    net.mapping.silent = True
    net.advance(59.0)
    assert cache_flows(net) == 1
    net.advance(2.0)
    assert (cached(net), cache_flows(net)) == ([], 0)


def test_ttl_zero_removes_the_entry_at_once(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2")
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    net.advance(0.1)
    register(net, "[1] 10.9.0.0/16", "192.0.2.2", ttl=0)
    changed(net, "[1] 10.9.0.0/16")
    assert (cached(net), cache_flows(net)) == ([], 0)


def test_unlimited_ttl_is_a_day(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2", ttl=0xFFFFFFFF)
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    (row,) = net["xa"].xtr.map_cache_entries(net.now)
    assert row.expires == net.now + 86400


def test_a_changed_mapping_takes_effect_at_once_and_without_a_gap(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2")
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    net.advance(1.0)
    register(net, "[1] 10.9.0.0/16", "192.0.2.77")
    asked = len(net.mapping.requests)
    actions = net["xa"].xtr.mapping_changed(eid("[1] 10.9.0.0/16"), net.now)
    assert sum(isinstance(action, Resolve) for action in actions) == 1
    net.do(net["xa"], actions)
    assert len(net.mapping.requests) == asked + 1
    # The next hop of the new RLOC is not known yet: traffic stays where it is.
    net.sent_through_tunnel.clear()
    net.send("xa", 1, a.frame("10.9.0.1"))
    assert destinations(net) == {"192.0.2.2"}
    net.advance(0.03)
    net.sent_through_tunnel.clear()
    net.send("xa", 1, a.frame("10.9.0.1"))
    assert destinations(net) == {"192.0.2.77"}
    assert len(net["xa"].switch.groups) == 1


def test_changes_are_ordered_so_that_no_flow_lacks_its_group(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2")
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    net.advance(1.0)
    register(net, "[1] 10.9.0.0/16", "2001:db8:ffff::2")
    seen: list[tuple[str, str]] = []
    xtr = net["xa"].xtr
    for action in xtr.mapping_changed(eid("[1] 10.9.0.0/16"), net.now):
        assert isinstance(action, Resolve)
        reply = net.mapping.resolve(action.request)
        assert reply is not None
        for answer in xtr.receive(reply, None, net.now):
            for change in answer.changes if isinstance(answer, ApplyRules) else ():
                kind = "group" if isinstance(change.rule, GroupRule) else "flow"
                seen.append((change.verb, kind))
    assert seen == [(Verb.ADD, "group"), (Verb.ADD, "flow"), (Verb.DELETE, "group")]


def test_a_new_prefix_inside_a_negative_entry_is_found_by_the_next_packet(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.200.0.1"))
    assert cached(net) == ["[1] 10.128.0.0/9"]
    register(net, "[1] 10.200.0.0/16", "192.0.2.2")
    changed(net, "[1] 10.200.0.0/16")
    assert cached(net) == []
    net.send("xa", 1, a.frame("10.200.0.1"))
    net.advance(0.1)
    assert cached(net) == ["[1] 10.200.0.0/16"]


def test_a_new_more_specific_prefix_is_added_beside_the_less_specific(net: Network) -> None:
    register(net, "[1] 10.9.0.0/16", "192.0.2.2")
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.1.1"))
    net.advance(0.1)
    register(net, "[1] 10.9.1.0/24", "192.0.2.77", ttl=5)
    changed(net, "[1] 10.9.1.0/24")
    end = net.now + 5 * 60
    net.advance(0.1)
    assert cached(net) == ["[1] 10.9.0.0/16", "[1] 10.9.1.0/24"]
    rows = {str(row.eid): row.expires for row in net["xa"].xtr.map_cache_entries(net.now)}
    assert rows["[1] 10.9.1.0/24"] == end
    assert (rows["[1] 10.9.0.0/16"] or 0) > end + 3600
    net.sent_through_tunnel.clear()
    net.send("xa", 1, a.frame("10.9.1.1"))
    assert destinations(net) == {"192.0.2.77"}
    net.sent_through_tunnel.clear()
    net.send("xa", 1, a.frame("10.9.2.1"))
    assert destinations(net) == {"192.0.2.2"}


def test_a_less_specific_answer_replaces_what_it_covers(net: Network) -> None:
    register(net, "[1] 10.9.0.0/25", "192.0.2.2")
    register(net, "[1] 10.9.0.128/25", "192.0.2.2")
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.0.1"))
    net.send("xa", 1, a.frame("10.9.0.129"))
    net.advance(0.1)
    assert len(cached(net)) == 2
    for half in ("[1] 10.9.0.0/25", "[1] 10.9.0.128/25"):
        del net.mapping.mappings[eid(half)]
    register(net, "[1] 10.9.0.0/24", "192.0.2.2")
    changed(net, "[1] 10.9.0.0/24")
    assert cached(net) == ["[1] 10.9.0.0/24"]


def test_a_less_specific_entry_lives_no_longer_than_a_negative_one_inside(net: Network) -> None:
    register(net, "[1] 10.9.1.0/24", ttl=15, act=Act.DROP_NO_REASON)
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.9.1.1"))
    end = net.now + 15 * 60
    hole = net.mapping.mappings.pop(eid("[1] 10.9.1.0/24"))
    register(net, "[1] 10.9.0.0/16", "192.0.2.2")
    net.advance(10.0)
    net.send("xa", 1, a.frame("10.9.2.1"))
    net.mapping.mappings[hole.eid] = hole
    rows = {str(row.eid): row.expires for row in net["xa"].xtr.map_cache_entries(net.now)}
    assert rows == {"[1] 10.9.1.0/24": end, "[1] 10.9.0.0/16": end}


def test_a_solicited_map_request_asks_again_once_in_three_seconds(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net["xb"].add(1, "10.2.0.1", "02:00:00:00:0b:01")
    net.send("xa", 1, a.frame("10.2.0.1"))
    net.advance(5.0)
    asked = len(net.mapping.requests)
    smr = MapRequest(
        7, eid("[1] 10.2.0.1/32"), (B4,), (RequestRecord(eid("[1] 10.1.0.0/16")),), smr=True
    )
    for _ in range(20):
        net.do(net["xa"], net["xa"].xtr.receive(smr, None, net.now))
        net.advance(0.1)
    assert len(net.mapping.requests) == asked + 1
    request = net.mapping.requests[-1]
    assert (request.smr, request.smr_invoked) == (False, True)
    assert not any(earlier.smr_invoked for earlier in net.mapping.requests[:-1])
    assert net.reasons() == {"smr-rate"}
    net.do(net["xb"], net["xb"].xtr.receive(smr, None, net.now))
    assert "smr-not-cached" in net.reasons()
    assert len(net.mapping.requests) == asked + 1


def test_the_cache_is_bounded_and_evicts_the_least_recently_used() -> None:
    net = Network(CONFIG + "limits: {map_cache_entries: 3}\n")
    net.start()
    for number in range(5):
        register(net, f"[1] 10.9.{number}.0/24", "192.0.2.2")
    a = net["xa"].add(1, "10.1.0.1", MAC)
    for number in range(5):
        net.send("xa", 1, a.frame(f"10.9.{number}.1"))
        net.advance(0.1)
    assert cached(net) == [f"[1] 10.9.{number}.0/24" for number in (2, 3, 4)]
    assert cache_flows(net) == 3
    counters = {counter.name: counter.value for counter in net["xa"].xtr.counters()}
    assert counters["xtr-map-cache-evictions"] == 2


def test_forget_lets_the_next_packet_ask_at_once(net: Network) -> None:
    a = net["xa"].add(1, "10.1.0.1", MAC)
    net.send("xa", 1, a.frame("10.2.0.1"))
    net.advance(0.1)
    for key in (eid("[1] 10.2.0.0/16"), None):
        asked = len(net.mapping.requests)
        count, actions = net["xa"].xtr.forget(key)
        net.do(net["xa"], actions)
        assert (count, cached(net), cache_flows(net)) == (1, [], 0)
        net.send("xa", 1, a.frame("10.2.0.1"))
        assert len(net.mapping.requests) == asked + 1
    assert net["xa"].xtr.forget(eid("[1] 10.99.0.0/16"))[0] == 0


# --- answers that depend on the source EID ---


def answer_by_source(net: Network, actions: list[object]) -> None:
    """A mapping system whose policy sends 10.1.0.0/25 to one RLOC and the others to another."""
    xtr = net["xa"].xtr
    for action in actions:
        if not isinstance(action, Resolve):
            net.do(net["xa"], [action])
            continue
        source = action.request.source_eid
        low = source is not None and eid("[1] 10.1.0.0/25").covers(source)  # type: ignore[arg-type]
        mapping = Mapping(eid("[1] 10.2.0.0/16"), (Locator(B4 if low else B6),))
        scope = eid("[1] 10.1.0.0/25") if low else eid("[1] 10.1.0.128/25")
        answer = Answer(mapping, SourceDestPrefix(scope, mapping.eid))
        answer_by_source(net, xtr.receive_answer(answer, action.request.nonce, net.now))


def test_an_answer_for_some_sources_is_not_used_for_others(net: Network) -> None:
    register(net, "[1] 10.0.0.0/8", "192.0.2.66")
    del net.mapping.mappings[eid("[1] 10.2.0.0/16")]
    low = net["xa"].add(1, "10.1.0.1", MAC)
    high = net["xa"].add(1, "10.1.0.200", "02:00:00:00:0a:02")
    # A less-specific entry without a source is cached first; it must not catch the others.
    net.send("xa", 1, low.frame("10.77.0.1"))
    net.advance(0.1)
    assert cached(net)[0] == "[1] 10.0.0.0/8"
    answer_by_source(net, net["xa"].xtr.mapping_changed(eid("[1] 10.2.0.0/16"), net.now))
    for host in (high,):
        (punt,) = net["xa"].switch.receive(1, host.frame("10.2.0.1")).punted
        answer_by_source(net, net["xa"].xtr.packet_in(punt, net.now))
        net.advance(0.1)
    assert "srcdst:[1] 10.1.0.0/25|[1] 10.2.0.0/16" in cached(net)
    for host, rloc in ((low, "192.0.2.2"), (high, "2001:db8:ffff::2")):
        net.sent_through_tunnel.clear()
        trace = net["xa"].switch.receive(1, host.frame("10.2.0.9"))
        assert not trace.punted
        assert {str(sent.tunnel_destination) for sent in trace.sent} == {rloc}
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()


def test_packets_of_another_source_held_meanwhile_are_asked_for_themselves(net: Network) -> None:
    low = net["xa"].add(1, "10.1.0.1", MAC)
    high = net["xa"].add(1, "10.1.0.200", "02:00:00:00:0a:02")
    xtr, switch = net["xa"].xtr, net["xa"].switch
    held = [switch.receive(1, host.frame("10.2.0.1")).punted[0] for host in (low, high, low)]
    first = [action for punt in held for action in xtr.packet_in(punt, net.now)]
    assert sum(isinstance(action, Resolve) for action in first) == 1
    answer_by_source(net, first)
    net.advance(0.1)
    # The second source's question is another one and need not wait.
    assert {str(row.eid) for row in xtr.map_cache_entries(net.now)} == {
        "srcdst:[1] 10.1.0.0/25|[1] 10.2.0.0/16",
        "srcdst:[1] 10.1.0.128/25|[1] 10.2.0.0/16",
    }
    assert xtr.state().held_packets == 0


def test_an_answer_for_every_source_replaces_those_for_some(net: Network) -> None:
    low = net["xa"].add(1, "10.1.0.1", MAC)
    (punt,) = net["xa"].switch.receive(1, low.frame("10.2.0.1")).punted
    answer_by_source(net, net["xa"].xtr.packet_in(punt, net.now))
    net.advance(0.1)
    changed(net, "[1] 10.2.0.0/16")
    net.advance(0.1)
    assert cached(net) == ["[1] 10.2.0.0/16"]
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()
