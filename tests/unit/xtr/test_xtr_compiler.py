"""State -> rules."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_interface

import pytest

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.config import Limits
from lisp_sdn.guard_settings import GuardMode, SourceGuardSettings
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import (
    CookieClass,
    DecTtl,
    GroupType,
    Output,
    Port,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
    cookie_class,
    match,
)
from lisp_sdn.xtr import adopt, base_rules, compiler, guard_rules, rlocsets
from lisp_sdn.xtr.cache import Entry, Node
from lisp_sdn.xtr.guard_rules import Guarding
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.pipeline import TableId
from lisp_sdn.xtr.program import merge
from lisp_sdn.xtr.topology import AttachedPort, Topology

PORT = AttachedPort(1, "p1", 7, "02:00:5e:00:00:fe", (ip_interface("10.1.0.254/24"),))
TOPOLOGY = Topology(0xA, 100, (PORT,), (ip_address("192.0.2.1"),), Limits())


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text, default_iid=7)


def active(mapping: Mapping, key: EidPrefix | SourceDestPrefix | None = None) -> Entry:
    return Entry(key or mapping.eid, mapping, 0.0, 0.0, 60.0, active=mapping)


def node(*entries: Entry) -> Node:
    return Node(entries[0].destination, {entry.source: entry for entry in entries})


def rlocs(*texts: str) -> tuple[Locator, ...]:
    return tuple(Locator(ip_address(text)) for text in texts)


def test_a_mapping_becomes_a_flow_and_a_group() -> None:
    entry = active(Mapping(eid("10.2.0.0/16"), rlocs("192.0.2.2")))
    compiled = compiler.destination(node(entry), TOPOLOGY, lambda _: 42)
    (flow,) = compiled.flows
    (rlocs_behind,) = compiler.rloc_sets(node(entry), TOPOLOGY)
    (group,) = compiler.rloc_set(rlocs_behind, TOPOLOGY, lambda _: 42).groups
    assert flow.match == match(
        eth_type=0x800, metadata=(7, 0x1FFFFFF), ipv4_dst=eid("10.2.0.0/16").network
    )
    assert flow.actions == (DecTtl(), SetField("tunnel_id", 7), ToGroup(42))
    assert (flow.table, flow.idle_timeout, flow.notify_removed) == (3, 300, True)
    assert cookie_class(flow.cookie) is CookieClass.MAP_CACHE
    (bucket,) = group.buckets
    assert bucket.actions == (
        SetField("tun_ipv4_src", ip_address("192.0.2.1")),
        SetField("tun_ipv4_dst", ip_address("192.0.2.2")),
        Resubmit(TableId.SIZE),
    )


def test_priorities_put_longer_destinations_and_then_longer_sources_first() -> None:
    def priority(destination: str, source: str | None = None) -> int:
        return compiler.cache_priority(eid(destination), eid(source) if source else None)

    ascending = [
        priority("0.0.0.0/0"),
        priority("0.0.0.0/0", "0.0.0.0/0"),
        priority("0.0.0.0/0", "10.0.0.0/32"),
        priority("10.0.0.0/8"),
        priority("10.0.0.0/8", "10.0.0.0/8"),
        priority("10.0.0.1/32"),
        priority("2001:db8::1/128"),
        priority("2001:db8::1/128", "2001:db8::2/128"),
    ]
    assert ascending == sorted(set(ascending))
    assert ascending[-1] < compiler.PENDING_PRIORITY < base_rules.FROM_TUNNEL_PRIORITY <= 0xFFFF


@pytest.mark.parametrize(
    ("act", "reason", "goto"),
    [
        (Act.NO_ACTION, "no-action", None),
        (Act.NATIVELY_FORWARD, "no-native-path", None),
        (Act.SEND_MAP_REQUEST, None, 4),
        (Act.DROP_NO_REASON, "drop-no-reason", None),
        (Act.DROP_POLICY_DENIED, "drop-policy-denied", None),
        (Act.DROP_AUTH_FAILURE, "drop-auth-failure", None),
    ],
)
def test_negative_mappings(act: Act, reason: str | None, goto: int | None) -> None:
    mapping = Mapping(eid("10.2.0.0/16"), (), 1, act)
    compiled = compiler.destination(node(active(mapping)), TOPOLOGY, lambda _: 1)
    (flow,) = compiled.flows
    assert (flow.actions, flow.goto, compiled.groups) == ((), goto, ())
    assert compiler.drop_reason(mapping, TOPOLOGY) == reason
    # No longer than the record lives.
    assert flow.idle_timeout == 60


@pytest.mark.parametrize(
    ("locators", "reason"),
    [
        ((Locator(ip_address("192.0.2.2"), 255),), "no-usable-rloc"),
        ((Locator(ip_address("192.0.2.2"), reachable=False),), "no-usable-rloc"),
        (rlocs("192.0.2.1"), "own-rloc"),
        (rlocs("2001:db8::2"), "no-source-rloc"),
        (rlocs("192.0.2.2", "2001:db8::2"), None),
    ],
)
def test_rloc_sets_without_a_usable_rloc_drop(
    locators: tuple[Locator, ...], reason: str | None
) -> None:
    mapping = Mapping(eid("10.2.0.0/16"), locators)
    assert compiler.drop_reason(mapping, TOPOLOGY) == reason
    compiled = compiler.destination(node(active(mapping)), TOPOLOGY, lambda _: 1)
    assert bool(compiled.flows[0].actions) == (reason is None)
    assert bool(compiler.rloc_sets(node(active(mapping)), TOPOLOGY)) == (reason is None)


def test_weights() -> None:
    def weights(*pairs: tuple[str, int, int]) -> dict[str, int]:
        found = [Locator(ip_address(text), prio, weight) for text, prio, weight in pairs]
        slots: Counter[str] = Counter()
        for rule in rlocsets.spread_rules(9, rlocsets.normalise(tuple(found)), TOPOLOGY):
            (_, (_, mask)), (_, number) = rule.match
            assert number == 9
            slots[str(rule.actions[1].value)] += rlocsets.SLOTS - mask  # type: ignore[union-attr,operator]
        return dict(slots)

    assert weights(("192.0.2.2", 1, 30), ("192.0.2.3", 1, 70), ("192.0.2.4", 2, 50)) == {
        "192.0.2.2": 19,
        "192.0.2.3": 45,
    }
    # zero beside others carries nothing, all zero is an equal share.
    assert weights(("192.0.2.2", 1, 0), ("192.0.2.3", 1, 70), ("192.0.2.4", 1, 7)) == {
        "192.0.2.3": 58,
        "192.0.2.4": 6,
    }
    assert weights(("192.0.2.2", 1, 0), ("192.0.2.3", 1, 0)) == {"192.0.2.2": 32, "192.0.2.3": 32}


def test_a_single_rloc_needs_no_choice() -> None:
    """SELECT makes Open vSwitch hash and recirculate; one bucket does not need it."""
    group = rlocsets.group(1, rlocsets.normalise(rlocs("192.0.2.2")), TOPOLOGY)
    assert (group.type, len(group.buckets)) == (GroupType.INDIRECT, 1)


def test_one_group_number_for_one_rloc_set_whatever_order_and_flags() -> None:
    one = (
        Locator(ip_address("192.0.2.2"), 1, 50, local=True),
        Locator(ip_address("192.0.2.3"), 1, 50, probed=True),
    )
    other = (Locator(ip_address("192.0.2.3"), 1, 50), Locator(ip_address("192.0.2.2"), 1, 50))
    assert rlocsets.normalise(one) == rlocsets.normalise(other)
    assert 0 < rlocsets.digest(rlocsets.normalise(one)) <= 0x7FFFFFFF
    # A number that changed between versions would make every restart resend every group.
    assert rlocsets.digest(rlocsets.normalise(rlocs("192.0.2.2"))) == 2104661580


def test_a_source_dependent_entry_keeps_others_from_falling_through() -> None:
    mapping = Mapping(eid("10.2.0.0/16"), rlocs("192.0.2.2"))
    scope = SourceDestPrefix(eid("10.1.0.0/25"), mapping.eid)
    compiled = compiler.destination(node(active(mapping, scope)), TOPOLOGY, lambda _: 1)
    scoped, other = compiled.flows
    assert dict(scoped.match)["ipv4_src"] == eid("10.1.0.0/25").network
    assert (other.goto, other.actions) == (4, ())
    assert other.priority < scoped.priority
    both = compiler.destination(
        node(active(mapping, scope), active(mapping)), TOPOLOGY, lambda _: 1
    )
    assert all(flow.goto is None for flow in both.flows)


def test_a_local_eid_has_a_flow_for_every_port_and_one_for_its_own() -> None:
    host = Host(7, ip_address("10.1.0.1"), 1, "02:00:00:00:00:01")
    delivery, hairpin = compiler.local_eid(host, TOPOLOGY).flows
    assert delivery.actions == (
        DecTtl(),
        SetField("eth_src", PORT.mac),
        SetField("eth_dst", host.mac),
        Output(1),
    )
    assert hairpin.actions[-1] == Output(Port.IN_PORT)
    assert hairpin.priority > delivery.priority
    assert (delivery.idle_timeout, hairpin.idle_timeout) == (300, 0)
    elsewhere = Host(8, host.address, 1, host.mac)
    assert compiler.local_eid(elsewhere, TOPOLOGY).flows == ()


def test_pending_destinations_are_metered_or_blocked() -> None:
    (metered,) = compiler.pending(7, ip_address("10.2.0.1"), blocked=False).flows
    (blocked,) = compiler.pending(7, ip_address("10.2.0.1"), blocked=True).flows
    assert (metered.meter, metered.actions) == (3, (ToController(),))
    assert (blocked.meter, blocked.actions) == (None, ())
    assert metered.key == blocked.key


def test_a_switch_without_tunnel_or_ports_still_gets_a_pipeline() -> None:
    bare = Topology(0xA, None, (), (), Limits())
    off = Guarding(GuardMode.OFF, SourceGuardSettings())
    ruleset = merge([base_rules.static(bare), guard_rules.base(bare, off)])
    assert {rule.table for rule in ruleset.flows} == {0, 1, 2, 3, 4, 9}
    assert len(ruleset.meters) == 5


def test_entries_are_read_back_from_their_flows() -> None:
    mappings = [
        Mapping(eid("10.2.0.0/16"), rlocs("192.0.2.2")),
        Mapping(eid("0.0.0.0/0"), rlocs("192.0.2.3")),
        Mapping(eid("10.3.0.1/32"), (), 15, Act.DROP_POLICY_DENIED),
        Mapping(eid("10.4.0.0/16"), (), 15, Act.NATIVELY_FORWARD),
        Mapping(eid("2001:db8::/32"), (), 15, Act.SEND_MAP_REQUEST),
    ]
    scope = SourceDestPrefix(eid("10.1.0.1/32"), eid("10.5.0.0/16"))
    scoped = active(Mapping(scope.destination, rlocs("192.0.2.2")), scope)
    entries = [*(active(mapping) for mapping in mappings), scoped]
    numbers = rlocsets.assign(
        rlocsets.normalise(entry.mapping.locators) for entry in entries if entry.mapping.locators
    )
    number = numbers.__getitem__
    ruleset = merge(
        [
            *(compiler.destination(node(e), TOPOLOGY, number) for e in entries),
            *(compiler.rloc_set(rlocs, TOPOLOGY, number) for rlocs in numbers),
        ]
    )
    found = {entry.key: entry for entry in adopt.entries(ruleset, 100.0, 900.0)}
    assert set(found) == {entry.key for entry in entries}
    for entry in entries:
        again = found[entry.key]
        assert again.mapping.action is entry.mapping.action
        assert [x.rloc for x in again.mapping.locators] == [x.rloc for x in entry.mapping.locators]
        assert again.expires == 1000.0
        kept = compiler.cache_entry(again, TOPOLOGY, number)
        assert kept.flows == compiler.cache_entry(entry, TOPOLOGY, number).flows


def test_hosts_are_read_back_from_their_flows() -> None:
    hosts = [
        Host(7, ip_address("10.1.0.1"), 1, "02:00:00:00:00:01"),
        Host(7, ip_address("2001:db8::1"), 1, "02:00:00:00:00:02"),
    ]
    ruleset = merge(compiler.local_eid(host, TOPOLOGY) for host in hosts)
    assert sorted(adopt.hosts(ruleset), key=str) == sorted(hosts, key=str)
