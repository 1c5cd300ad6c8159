"""The express lane at the edge: the octets are those of the full path."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import eventlet
from edge_fakes import FakeDatapath, port

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import EidPrefix
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.eager import READ, EagerSocket
from lisp_sdn.apps.express import ExpressEdge
from lisp_sdn.apps.switches import Switches
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import Ruleset
from lisp_sdn.xtr.replies import ip_frame, ipv4, ipv6

DPID = 0xA1
MISS_COOKIE = 0x4C53010000000006
CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret-a}]
    eid_prefixes: [{prefix: 10.1.0.0/24, iid: 7}, {prefix: "2001:db8:1::/64", iid: 7}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa1
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: p1, iid: 7, gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]}]
"""


class Edge:
    """A controller and one connected switch; sent: messages as (type, octets after the xid)."""

    def __init__(self, *, express: bool) -> None:
        self.now = 1_000_000.0
        self.brain = Controller(load(CONFIG), store=MemoryStore(), rng=random.Random(1))
        dispatcher = self.dispatcher = Dispatcher(self.brain, clock=lambda: self.now)
        self.edge = ExpressEdge(self.brain.express, dispatcher)
        self.switches = Switches(self.brain, dispatcher, express=self.edge if express else None)
        ignore = lambda action: None  # noqa: E731
        dispatcher.sinks = SimpleNamespace(  # type: ignore[assignment]
            apply_rules=self.switches.apply_rules,
            packet_out=self.switches.packet_out,
            read_rules=ignore,
            read_counters=ignore,
        )
        self.datapath = FakeDatapath(DPID)
        self.datapath.ports = {2: port(2, "lisp0"), 1: port(1, "p1")}
        dispatcher.event(self.brain.start)
        self.switches.up(self.datapath)
        ports = tuple(
            PortInfo(number, name, "02:00:00:00:00:01", up=True)
            for number, name in ((2, "lisp0"), (1, "p1"))
        )
        dispatcher.event(self.brain.installed, DPID, ports, Ruleset())
        locators = (Locator(ip_address("203.0.113.1")), Locator(ip_address("203.0.113.2"), 2))
        for number in range(4):
            for prefix in (f"[7] 10.2.{number}.0/24", f"[7] 10.3.0.{number}/32"):
                self._static(prefix, locators)
            self._static(f"[7] 2001:db8:2:{number}::/64", locators)

    def _static(self, prefix: str, locators: tuple[Locator, ...]) -> None:
        mapping = Mapping(EidPrefix.from_text(prefix), locators)
        self.brain.settle(self.brain.mapping.set_static(mapping, self.now), self.now)

    def miss(self, frame: bytes, cookie: int = MISS_COOKIE) -> list[tuple[int, bytes]]:
        """A packet-in as Open vSwitch sends it; returns what the switch is told."""
        self.now += 2.0
        self.dispatcher.event(self.brain.handle_timer)
        self._sent()
        match = struct.pack("!HHIIIQ", 1, 24, 0x80000004, 1, 0x80000408, 7)
        body = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 4, cookie) + match + b"\0\0" + frame
        data = struct.pack("!BBHI", 4, 10, 8 + len(body), 0) + body
        assert self.switches.message(self.datapath, 10, 0, bytearray(data))
        self.edge.handled()
        return self._sent()

    def _sent(self) -> list[tuple[int, bytes]]:
        for _ in range(4):
            eventlet.sleep(0)
        found = [(kind, data[8:]) for kind, _, data in self.datapath.messages()]
        self.datapath.sent.clear()
        return found


def frame(source: str, destination: str) -> bytes:
    one, other = ip_address(source), ip_address(destination)
    make: Any = ipv4 if one.version == 4 else ipv6
    mac = "02:00:00:00:01:04" if one.version == 4 else "02:00:00:00:01:06"
    return ip_frame("02:00:5e:00:00:fe", mac, one.version, make(one, other, 17, b"payload!"))


PACKETS = [
    *(("10.1.0.1", f"10.2.{number}.9") for number in range(4)),
    *(("10.1.0.1", f"10.3.0.{number}") for number in range(4)),
    *(("2001:db8:1::1", f"2001:db8:2:{number}::9") for number in range(4)),
]


def test_the_octets_are_those_of_the_full_path() -> None:
    fast, full = Edge(express=True), Edge(express=False)
    for source, destination in PACKETS:
        told = fast.miss(frame(source, destination))
        assert told == full.miss(frame(source, destination)), destination
    # All but the first packet of each sender.
    assert [kind for kind, _ in told] == [14, 13]
    assert len(list(fast.brain.xtrs["xa"]._cache.in_brief())) == len(PACKETS) - 2


def test_a_packet_in_that_is_no_plain_miss_goes_the_usual_way() -> None:
    edge = Edge(express=True)
    edge.miss(frame("10.1.0.1", "10.2.0.1"))
    assert edge.miss(frame("10.1.0.1", "10.2.1.1"))
    before = edge.brain.xtrs["xa"]._out.counters["packet-ins"]
    assert not edge.miss(frame("10.1.0.1", "10.2.2.1"), cookie=0x1234)
    cut = frame("10.1.0.1", "10.2.2.1")[:30]
    assert not edge.miss(cut)
    assert edge.brain.xtrs["xa"]._out.counters["packet-ins"] == before + 2
    assert {drop.reason for drop in edge.brain.ledger.refusals()} >= {"truncated"}


def test_what_was_added_is_told() -> None:
    edge = Edge(express=True)
    for source, destination in PACKETS[:4]:
        edge.miss(frame(source, destination))
    kinds = [
        event.subject for event in edge.brain.ledger.events(0) if event.kind == "map-cache.added"
    ]
    assert kinds == [f"[7] 10.2.{number}.0/24" for number in range(4)]
    assert edge.brain.ledger.last_event == list(edge.brain.ledger.events(0))[-1].id


def test_a_refused_flow_is_named() -> None:
    edge = Edge(express=True)
    edge.miss(frame("10.1.0.1", "10.2.0.1"))
    edge.miss(frame("10.1.0.1", "10.2.1.1"))
    switch = edge.switches._switches[DPID]
    edge.switches.error(edge.datapath, 5, 1, switch._xid - 1)
    (refusal,) = [item for item in edge.brain.ledger.refusals() if item.where == "openflow"]
    assert "10.2.1.0/24" in refusal.detail
    edge.switches.down(edge.datapath)


def test_an_exception_in_the_lane_leaves_the_packet_to_the_full_path() -> None:
    edge = Edge(express=True)
    edge.miss(frame("10.1.0.1", "10.2.0.1"))
    lane = edge.brain.xtrs["xa"].express

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    lane.miss = fails  # type: ignore[method-assign, assignment]
    assert [kind for kind, _ in edge.miss(frame("10.1.0.1", "10.2.1.1"))] == [14, 13]
    lane.end = fails  # type: ignore[method-assign, assignment]
    assert [kind for kind, _ in edge.miss(frame("10.1.0.1", "10.2.2.1"))] == [14, 13]
    assert "internal_error" in {drop.reason for drop in edge.brain.ledger.refusals()}


def test_an_eager_socket_reads_all_that_has_come() -> None:
    asked: list[int] = []

    def recv(size: int) -> bytes:
        asked.append(size)
        return b"octets"

    sock = EagerSocket(SimpleNamespace(recv=recv, name="it"), lambda: asked.append(0))
    assert sock.recv(8) == b"octets"
    assert asked == [0, READ]
    assert sock.name == "it"
