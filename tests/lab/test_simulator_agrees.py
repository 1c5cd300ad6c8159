"""The simulator of the pipeline against `ovs-appctl ofproto/trace`: random states and packets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NoReturn

import dummy_switch
import pytest
from dummy_switch import TUNNEL, DummySwitch

from lisp_sdn.actions import PacketIn, PortInfo
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Config, load
from lisp_sdn.guard_settings import GuardMode
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import CookieClass, Output, Port, Ruleset, ToController, ToGroup, cookie
from lisp_sdn.wire import EidRecord, MapReply
from lisp_sdn.xtr import Resolve, Xtr, replies
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, Punt
from lisp_sdn.xtr.requests import Admit, Leave, Verify
from lisp_sdn.xtr.simulate import SimulatedSwitch, Trace
from lisp_sdn.xtr.verdicts import SourceReason, SourceVerdict

TEXT = """
mobility: {subnets: [{gateway: 10.3.0.254/24, iid: 2}]}
sites:
  - name: a
    authentication_keys: [{key: k}]
    eid_prefixes:
      - {prefix: 10.1.0.0/16, iid: 1}
      - {prefix: 10.1.0.0/16, iid: 2, accept_more_specifics: true}
      - {prefix: 10.3.0.0/16, iid: 2, accept_more_specifics: true}
      - {prefix: 2001:db8:1::/48, iid: 1}
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}, {rloc: "2001:db8:ffff::1"}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]}
      - {name: p2, iid: 2, gateways: [10.1.0.254/24], allow_mobility: true}
    native_ports:
      - iid: 1
"""
GATE = """\
        proxy_itr: {eid_prefixes: [10.0.0.0/14]}
        proxy_etr: {}
bgp:
  as_number: 64512
  router_id: 192.0.2.1
  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]
"""
CONFIG = load(TEXT)
CONFIGS = (CONFIG, load(TEXT + GATE))
NATIVE = 3
PORTS = tuple(
    PortInfo(number, name, "02:00:00:00:00:01", True)
    for number, name in ((TUNNEL, "lisp0"), (1, "p1"), (2, "p2"), (NATIVE, "native0"))
)
GATEWAY_MAC, HOST_MAC = "02:00:5e:00:00:fe", "02:00:00:00:0a:01"
V4 = [
    ip_address(text)
    for text in (
        "10.1.0.1", "10.1.0.2", "10.1.0.254", "10.1.0.77", "10.1.9.9", "10.2.0.1", "10.2.0.2",
        "10.2.3.4", "10.3.0.1", "10.200.0.1", "224.0.0.5", "127.0.0.1", "169.254.1.1",
        "255.255.255.255", "8.8.8.8",
    )
]  # fmt: skip
V6 = [
    ip_address(text)
    for text in (
        "2001:db8:1::1", "2001:db8:1::fe", "2001:db8:1::77", "2001:db8:2::1", "2001:db8:3::1",
        "fe80::1", "ff02::5", "::1",
    )
]  # fmt: skip
RLOCS = [ip_address(text) for text in ("192.0.2.2", "192.0.2.3", "2001:db8:ffff::2", "192.0.2.1")]


@pytest.fixture(scope="module")
def switch(cannot_run: Callable[[str], NoReturn]) -> Iterator[DummySwitch]:
    reason = dummy_switch.missing()
    if reason:
        cannot_run(reason)
    with DummySwitch() as made:
        yield made


def random_mapping(rng: random.Random, eid: EidPrefix) -> Mapping:
    """A prefix around an EID with some answer."""
    shift = rng.choice([0, 4, 8, 16])
    prefix = EidPrefix(eid.iid, eid.network.supernet(shift))
    if rng.random() < 0.3:
        return Mapping(prefix, (), 15, rng.choice(list(Act)))
    chosen = rng.sample(RLOCS, rng.randint(1, 3))
    locators = tuple(
        Locator(rloc, rng.choice([1, 1, 2, 255]), rng.choice([0, 30, 70])) for rloc in chosen
    )
    return Mapping(prefix).with_locators(locators)


def random_state(rng: random.Random, config: Config = CONFIG) -> Ruleset:
    """What an xTR wants after some packets, answers and hosts."""
    xtr = Xtr(config.xtrs[0], config, rng)
    xtr.connected(PORTS, 0.0)
    xtr.installed(PORTS, Ruleset(), 0.0)
    for _ in range(rng.randint(0, 12)):
        port, version = rng.choice([(1, 4), (1, 6), (2, 4)])
        addresses = [a for a in (V4 if version == 4 else V6) if not a.is_link_local]
        frame = packet(rng, rng.choice(addresses[:2]), rng.choice(addresses), 64)
        punt = cookie(CookieClass.PIPELINE, rng.choice([Punt.MISS, Punt.LOCAL]))
        event = PacketIn(0xA, 4, punt, port, frame, CONFIG.xtrs[0].eid_ports[port - 1].iid)
        for action in xtr.packet_in(event, 0.0):
            if isinstance(action, Resolve) and rng.random() < 0.8:
                eid = action.request.records[0].eid
                assert isinstance(eid, EidPrefix)
                record = EidRecord.from_mapping(random_mapping(rng, eid))
                xtr.receive(MapReply(action.request.nonce, (record,)), None, 0.0)
    if rng.random() < 0.7:
        move_about(rng, xtr)
    xtr.handle_timer(0.5)
    return xtr.wanted()


def move_about(rng: random.Random, xtr: Xtr) -> None:
    """A host at home and one that came are at port 2; the EID of another is elsewhere now."""
    for address, kept in ((V4[0], rng.random() < 0.5), (V4[8], True)):
        xtr.carry_out(Admit("xa", "p2", Host(2, address, 2, HOST_MAC, kept)), 0.0)
    for action in xtr.carry_out(Leave("xa", (2, V4[1]), away=True), 0.0):
        if isinstance(action, Resolve):
            mapping = Mapping(EidPrefix.host(2, V4[1])).with_locators(
                (Locator(rng.choice(RLOCS[:3]), 1, 100),)
            )
            record = EidRecord.from_mapping(mapping)
            xtr.receive(MapReply(action.request.nonce, (record,)), None, 0.0)


def packet(
    rng: random.Random, source: IPAddress, target: IPAddress, ttl: int, octets: int = 8
) -> bytes:
    """An IP packet to the gateway. octets: of data behind its UDP or ICMP header."""
    udp = bytes.fromhex("00090009") + (8 + octets).to_bytes(2, "big") + bytes(2 + octets)
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        protocol, data = rng.choice([(17, udp), (1, replies.icmp(8, 0, bytes(octets)))])
        body = replies.ipv4(source, target, protocol, data, ttl=ttl)
    else:
        assert isinstance(source, IPv6Address)
        assert isinstance(target, IPv6Address)
        echo = replies.icmpv6(source, target, 128, 0, bytes(octets))
        protocol, data = rng.choice([(17, udp), (58, echo)])
        body = replies.ipv6(source, target, protocol, data, hop_limit=ttl)
    mac = GATEWAY_MAC if rng.random() < 0.9 else "02:00:00:00:00:77"
    return replies.ip_frame(mac, HOST_MAC, source.version, body)


def random_frame(rng: random.Random) -> bytes:
    """Any frame that the pipeline tells apart."""
    kind = rng.random()
    if kind < 0.08:
        target = rng.choice(V4[:4])
        assert isinstance(target, IPv4Address)
        return replies.arp_request(HOST_MAC, IPv4Address("10.1.0.1"), target)
    if kind < 0.16:
        asker, target6 = rng.choice([V6[0], V6[5]]), rng.choice(V6[:3])
        assert isinstance(asker, IPv6Address)
        assert isinstance(target6, IPv6Address)
        return replies.neighbour_solicitation(HOST_MAC, asker, target6)
    if kind < 0.2:
        return replies.neighbour_advertisement(
            HOST_MAC, IPv6Address("2001:db8:1::1"), IPv6Address("2001:db8:1::fe"), GATEWAY_MAC
        )
    addresses = V4 if rng.random() < 0.7 else V6
    ttl = rng.choice([0, 1, 2, 64, 64, 64])
    octets = rng.choice([8, 8, 1400, 1500])
    return packet(rng, rng.choice(addresses), rng.choice(addresses), ttl, octets)


def ways(trace: Trace) -> list[str]:
    """The ways out of the rules that a packet met, in the words of ofproto/trace."""
    found = []
    for rule in trace.rules:
        for action in rule.actions:
            if isinstance(action, ToController) and action.meter is None:
                found.append(f"CONTROLLER:{action.max_len}")
            elif isinstance(action, ToGroup):
                found.append(f"group:{action.group_id}")
            elif isinstance(action, Output):
                found.append("IN_PORT" if action.port == Port.IN_PORT else f"output:{action.port}")
    return found


@pytest.mark.parametrize("seed", range(8))
def test_every_packet_takes_the_same_way(switch: DummySwitch, seed: int) -> None:
    rng = random.Random(seed)
    ruleset = random_state(rng, CONFIGS[seed % 2])
    switch.program(ruleset)
    simulated = SimulatedSwitch(1, ruleset)
    tables = set()
    for _ in range(60):
        in_port = rng.choice([1, 1, 2, 2, NATIVE, TUNNEL])
        frame = random_frame(rng)
        iid, outer = rng.choice([1, 2, 9]), rng.choice(["192.0.2.1", "192.0.2.1", "192.0.2.9"])
        if in_port == TUNNEL:
            metadata = f"in_port={TUNNEL},tun_id={iid},tun_src=192.0.2.2,tun_dst={outer}"
            trace = simulated.receive(
                TUNNEL,
                frame,
                tunnel_id=iid,
                tunnel_source=ip_address("192.0.2.2"),
                tunnel_destination=ip_address(outer),
            )
        else:
            metadata = f"in_port={in_port}"
            trace = simulated.receive(in_port, frame)
        met, out, text = switch.trace(metadata, frame)
        assert [(rule.table, rule.priority) for rule in trace.rules] == met, text
        assert [way for way in ways(trace) if not way.startswith("output")] == [
            way for way in out if not way.startswith("output")
        ], text
        tables.update(table for table, _ in met)
    assert tables >= {0, 1, 2, 3, 4}


def test_large_packets_take_the_same_way(switch: DummySwitch) -> None:
    """One octet decides, for IPv4 and IPv6 RLOCs, a group and slots."""
    rng = random.Random(3)
    sets = {"10.2.0.1": RLOCS[:1], "10.3.0.1": RLOCS[2:3], "10.200.0.1": RLOCS[:3]}
    xtr = Xtr(CONFIG.xtrs[0], CONFIG, rng)
    xtr.connected(PORTS, 0.0)
    xtr.installed(PORTS, Ruleset(), 0.0)
    miss = cookie(CookieClass.PIPELINE, Punt.MISS)
    for target, rlocs in sets.items():
        frame = packet(rng, V4[0], ip_address(target), 64)
        for action in xtr.packet_in(PacketIn(0xA, 4, miss, 1, frame, 1), 0.0):
            if isinstance(action, Resolve):
                mapping = Mapping(EidPrefix(1, ip_network(target))).with_locators(
                    tuple(Locator(rloc, 1, 50) for rloc in rlocs)
                )
                record = EidRecord.from_mapping(mapping)
                xtr.receive(MapReply(action.request.nonce, (record,)), None, 0.0)
    xtr.handle_timer(0.5)
    ruleset = xtr.wanted()
    switch.program(ruleset)
    simulated = SimulatedSwitch(1, ruleset)
    seen = set()
    for target in sets:
        for size in (100, 1444, 1445, 1464, 1465):
            frame = packet(rng, V4[0], ip_address(target), 64, size - 28)
            trace = simulated.receive(1, frame)
            met, out, text = switch.trace("in_port=1", frame)
            if target == "10.200.0.1":
                # Which slot, and so which RLOC, is each hash's own matter.
                assert [table for table, _ in met] == [rule.table for rule in trace.rules], text
                continue
            assert [(rule.table, rule.priority) for rule in trace.rules] == met, text
            assert ways(trace) == out, text
            seen.add((target, size, out[-1]))
    to_tunnel, to_controller = f"output:{TUNNEL}", "CONTROLLER:65535"
    assert {(t, s) for t, s, way in seen if way == to_controller} == {
        ("10.2.0.1", 1465), ("10.3.0.1", 1445), ("10.3.0.1", 1464), ("10.3.0.1", 1465),
    }  # fmt: skip
    assert sum(way == to_tunnel for _, _, way in seen) == 6


def test_the_switch_answers_arp_as_the_simulator_does(switch: DummySwitch) -> None:
    ruleset = random_state(random.Random(1))
    switch.program(ruleset)
    frame = replies.arp_request(HOST_MAC, IPv4Address("10.1.0.1"), IPv4Address("10.1.0.254"))
    _, _, text = switch.trace("in_port=1", frame)
    final = next(line for line in text.splitlines() if line.startswith("Final flow"))
    for part in (
        f"dl_src={GATEWAY_MAC}",
        f"dl_dst={HOST_MAC}",
        "arp_op=2",
        "arp_spa=10.1.0.254",
        "arp_tpa=10.1.0.1",
        f"arp_sha={GATEWAY_MAC}",
        f"arp_tha={HOST_MAC}",
    ):
        assert part in final


def guarded_state(rng: random.Random, mode: GuardMode) -> Ruleset:
    """What an xTR wants whose source guard has judged some sources."""
    settings = CONFIG.source_guard.model_copy(update={"mode": mode})
    config = CONFIG.model_copy(update={"source_guard": settings})
    xtr = Xtr(config.xtrs[0], config, rng)
    xtr.connected(PORTS, 0.0)
    xtr.installed(PORTS, Ruleset(), 0.0)
    own = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8:ffff::1")}
    punt = cookie(CookieClass.PIPELINE, Punt.SOURCE)
    for _ in range(16):
        source = rng.choice([*V4[:10], *V6[:5]])
        frame = packet(rng, source, V4[0] if source.version == 4 else V6[0], 64)
        if rng.random() < 0.3:
            port, iid = rng.choice([(1, 1), (2, 2)])
            xtr.packet_in(PacketIn(0xA, 1, punt, port, frame, iid), 0.0)
            continue
        rloc, iid = rng.choice(RLOCS), rng.choice([1, 2])
        event = PacketIn(
            0xA, 1, punt, TUNNEL, frame, FROM_TUNNEL | iid, iid, rloc, own[rloc.version]
        )
        for action in xtr.packet_in(event, 0.0):
            if isinstance(action, Verify):
                scope = EidPrefix(iid, action.eid.network.supernet(rng.choice([0, 8, 16, 32])))
                verdict = SourceVerdict(scope, rng.choice([None, None, *SourceReason]))
                xtr.judged(action, verdict, 0.0)
    return xtr.wanted()


@pytest.mark.parametrize("mode", [GuardMode.COUNT, GuardMode.ENFORCE])
def test_the_source_guard_takes_the_same_way(switch: DummySwitch, mode: GuardMode) -> None:
    rng = random.Random(str(mode))
    ruleset = guarded_state(rng, mode)
    switch.program(ruleset)
    simulated = SimulatedSwitch(1, ruleset)
    met_in_guard = set()
    for _ in range(80):
        source = rng.choice([*V4[:10], *V6[:5]])
        frame = packet(rng, source, rng.choice(V4[:8] if source.version == 4 else V6[:5]), 64)
        in_port = rng.choice([1, 2, TUNNEL, TUNNEL, TUNNEL])
        if in_port == TUNNEL:
            rloc, iid = rng.choice(RLOCS), rng.choice([1, 2])
            own = "192.0.2.1" if rloc.version == 4 else "2001:db8:ffff::1"
            tun = "tun" if rloc.version == 4 else "tun_ipv6"
            metadata = f"in_port={TUNNEL},tun_id={iid},{tun}_src={rloc},{tun}_dst={own}"
            trace = simulated.receive(
                TUNNEL,
                frame,
                tunnel_id=iid,
                tunnel_source=rloc,
                tunnel_destination=ip_address(own),
            )
        else:
            metadata = f"in_port={in_port}"
            trace = simulated.receive(in_port, frame)
        met, out, text = switch.trace(metadata, frame)
        assert [(rule.table, rule.priority) for rule in trace.rules] == met, text
        assert [way for way in ways(trace) if not way.startswith("output")] == [
            way for way in out if not way.startswith("output")
        ], text
        met_in_guard.update(priority for table, priority in met if table == 1)
    # Subnets and hosts of ports, the rest of them; verdicts; RLOCs that are known, and others.
    assert {350, 400, 100} <= met_in_guard
    assert any(200 <= priority < 330 for priority in met_in_guard)


def test_packets_of_hosts_that_roam_take_the_same_way(switch: DummySwitch) -> None:
    """From and to a host at home, one that came, and an EID that is elsewhere; known or not."""
    xtr = Xtr(CONFIG.xtrs[0], CONFIG, random.Random(5))
    xtr.connected(PORTS, 0.0)
    xtr.installed(PORTS, Ruleset(), 0.0)
    move_about(random.Random(5), xtr)
    xtr.handle_timer(0.5)
    ruleset = xtr.wanted()
    switch.program(ruleset)
    simulated = SimulatedSwitch(1, ruleset)
    met_rules = set()
    for source, target in itertools.product((V4[0], V4[1], V4[3], V4[8]), (*V4[:4], V4[8])):
        for mac in (GATEWAY_MAC, "02:00:00:00:00:77"):
            assert isinstance(source, IPv4Address)
            assert isinstance(target, IPv4Address)
            body = replies.ipv4(source, target, 253, bytes(8))
            frame = replies.ip_frame(mac, HOST_MAC, 4, body)
            trace = simulated.receive(2, frame)
            met, _, text = switch.trace("in_port=2", frame)
            assert [(rule.table, rule.priority) for rule in trace.rules] == met, text
            met_rules.update(met)
        outer = [ip_address(text) for text in ("192.0.2.2", "192.0.2.1")]
        trace = simulated.receive(
            TUNNEL, frame, tunnel_id=2, tunnel_source=outer[0], tunnel_destination=outer[1]
        )
        metadata = f"in_port={TUNNEL},tun_id=2,tun_src={outer[0]},tun_dst={outer[1]}"
        met, _, text = switch.trace(metadata, frame)
        assert [(rule.table, rule.priority) for rule in trace.rules] == met, text
        met_rules.update(met)
    # Taken whatever MAC address it is for, known at its port, not known there, sent on.
    assert met_rules >= {(0, 395), (1, 600), (1, 474), (2, 250)}
