"""The source guard by itself, with a Map-Resolver that is somebody else."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lisp_sdn.actions import PacketIn, PortInfo
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import load
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.xtr import replies, topology
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip
from lisp_sdn.xtr.guard import SourceGuard
from lisp_sdn.xtr.guard_rules import guarding
from lisp_sdn.xtr.guard_table import Entry, Ground, Verdicts
from lisp_sdn.xtr.hosts import Hosts
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.verdicts import GuardKey, SourceReason

CONFIG = load("""
sites:
  - name: a
    authentication_keys: [{key: secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    map_resolvers: [198.51.100.53]
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: p1, iid: 1, gateways: [10.1.0.254/24]}]
source_guard: {mode: enforce}
""")
TUNNEL = 7
SOURCE = EidPrefix.from_text("[1] 10.9.0.1/32")
RLOC = ip_address("203.0.113.66")


class Guarded:
    """A source guard, and what it asks."""

    def __init__(self) -> None:
        settings = CONFIG.xtrs[0]
        mac = "02:00:00:00:00:01"
        ports = (
            PortInfo(1, "p1", mac, up=True),
            PortInfo(TUNNEL, settings.tunnel_port, mac, up=True),
        )
        made = topology.build(settings, CONFIG.limits, ports)
        self.asked: list[EidPrefix] = []
        self.timers = Timers()
        self.guard = SourceGuard(
            guarding(settings, CONFIG),
            Outbox("xa", 0xA),
            self.timers,
            lambda: made,
            Hosts(10),
            4,
            ask=lambda eid, now: self.asked.append(eid),
            glean=lambda eid, rloc, now: None,
            reassert=lambda owner: None,
            embedded=False,
        )

    def packet(self, now: float) -> None:
        mac, host = "02:00:00:00:00:00", ip_address("10.1.0.1")
        source = SOURCE.network.network_address
        frame = replies.ip_frame(mac, mac, 4, replies.ipv4(source, host, 253, b""))
        event = PacketIn(0xA, 1, 0, TUNNEL, frame, tunnel_id=1, tunnel_source=RLOC)
        self.guard.packet(event, parse_ip(parse_ethernet(frame).payload), 1, now)

    def answer(self, rloc: IPAddress, now: float) -> None:
        mapping = Mapping(SOURCE, ttl_minutes=1).with_locators((Locator(rloc, 1, 100),))
        self.guard.answered(SOURCE, [mapping], now)

    def run(self, now: float) -> None:
        for name in self.timers.due(now):
            self.guard.due(name, now)

    def verdict(self) -> SourceReason | None:
        entry = self.guard.verdicts.get(GuardKey(SOURCE, RLOC))
        assert entry is not None
        return entry.reason


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_a_verdict_is_verified_again_when_its_map_reply_is_too_old(guarded: Guarded) -> None:
    guarded.packet(0.0)
    guarded.answer(RLOC, 0.0)
    assert guarded.verdict() is None
    guarded.run(60.0)
    assert guarded.asked == [SOURCE, SOURCE]
    guarded.answer(ip_address("203.0.113.99"), 61.0)
    assert guarded.verdict() is SourceReason.RLOC_MISMATCH


def test_a_switch_that_goes_away_leaves_no_verdict_unverified(guarded: Guarded) -> None:
    """The Map-Request is on its way; its answer counts, whether the switch is there or not."""
    guarded.packet(0.0)
    guarded.answer(RLOC, 0.0)
    guarded.run(60.0)
    guarded.guard.disconnected()
    guarded.answer(ip_address("203.0.113.99"), 61.0)
    assert guarded.verdict() is SourceReason.RLOC_MISMATCH


def test_an_answer_for_packets_that_wait_no_longer_leaves_nothing(guarded: Guarded) -> None:
    guarded.packet(0.0)
    guarded.guard.disconnected()
    guarded.answer(RLOC, 1.0)
    assert len(guarded.guard.verdicts) == 0
    guarded.packet(2.0)
    assert guarded.asked == [SOURCE, SOURCE]


def test_the_verdict_of_the_longest_source_eid_prefix_counts() -> None:
    verdicts = Verdicts(1000, 1000)
    around = EidPrefix.from_text("[1] 10.9.0.0/16")
    other = ip_address("198.51.100.1")
    for number in range(500):
        key = GuardKey(around, ip_address(0xCB007100 + number))
        verdicts.put(Entry(key, None, Ground.DATABASE, 0.0, 0.0))
    inside = Entry(GuardKey(SOURCE, other), None, Ground.DATABASE, 0.0, 0.0)
    verdicts.put(inside)
    found = verdicts.match(SOURCE, ip_address(0xCB007100 + 499))
    assert found is not None
    assert found.key == GuardKey(around, ip_address(0xCB007100 + 499))
    assert verdicts.match(SOURCE, other) is inside
    assert verdicts.match(EidPrefix.from_text("[1] 10.9.0.2/32"), other) is None
