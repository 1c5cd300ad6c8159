"""The express lane ends in the same state as the full path, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_controller import ControlledNetwork
from xtr_network import TUNNEL, Site, eid

from lisp_sdn.actions import Action, ApplyRules, PacketIn, PacketOut, PortInfo
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import Output, Port
from lisp_sdn.xtr.simulate import Trace

CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret-a}]
    eid_prefixes:
      - {prefix: 10.1.0.0/16, iid: 1}
      - {prefix: 2001:db8:1::/48, iid: 1}
  - name: even
    authentication_keys: [{key: secret-b}]
    eid_prefixes:
      - {prefix: 10.2.0.0/16, iid: 1, accept_more_specifics: true}
      - {prefix: 2001:db8:2::/48, iid: 1, accept_more_specifics: true}
  - name: uneven
    authentication_keys: [{key: secret-c}]
    eid_prefixes:
      - {prefix: 10.3.0.0/16, iid: 1, accept_more_specifics: true}
  - name: picky
    authentication_keys: [{key: secret-d}]
    eid_prefixes:
      - {prefix: 10.4.0.0/16, iid: 1, accept_more_specifics: true}
policies:
  - site: picky
    rules:
      - name: denied
        match: {source_eids: [10.1.0.3/32]}
        action: {deny: policy-denied}
  - site: even
    rules:
      - name: second
        match: {itr_rlocs: [192.0.2.0/24]}
        action: {prefer: [203.0.113.2]}
  - site: uneven
    rules:
      - name: one-half
        match: {eid_prefixes: ["[1] 10.3.1.0/25"]}
        action: {prefer: [203.0.113.2]}
      - name: some
        match: {eid_prefixes: ["[1] 10.3.4.0/22"]}
        action: {prefer: [203.0.113.1]}
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}, {rloc: "2001:db8:ffff::1"}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]}
      - {name: p2, iid: 1, gateways: [10.1.0.254/24]}
limits: {map_cache_entries: LIMIT}
"""

SETS = (
    ("203.0.113.1",),
    ("203.0.113.1", "203.0.113.2"),
    ("203.0.113.1", "203.0.113.2", "2001:db8:ffff::9"),
    ("192.0.2.1",),
)
PREFIXES = (
    *(f"[1] 10.2.{number}.0/24" for number in range(12)),
    *(f"[1] 2001:db8:2:{number}::/64" for number in range(1, 5)),
    "[1] 10.2.1.128/25",
    "[1] 10.2.2.7/32",
    *(f"[1] 10.3.{number}.0/24" for number in range(1, 7)),
    "[1] 10.4.1.0/24",
    "[1] 10.4.2.0/24",
    "[1] 10.9.0.0/24",
    "[1] 10.2.0.0/16",
    "[1] 2001:db8:2::/48",
)
SOURCES = ("10.1.0.1", "10.1.0.2", "10.1.0.3", "2001:db8:1::1")
DESTINATIONS = (
    *(f"10.2.{number}.1" for number in range(12)),
    "2001:db8:2:3::1",
    "2001:db8:2:4::1",
    "10.2.1.200",
    "10.2.2.7",
    "10.2.2.8",
    *(f"10.3.{number}.1" for number in range(1, 7)),
    "10.4.1.1",
    "10.4.2.1",
    "10.9.0.1",
    "10.77.0.1",
    "2001:db8:2:1::1",
    "2001:db8:2:2::1",
)


class Twin(ControlledNetwork):
    """One xTR. express: its misses take the lane when it lets them."""

    def __init__(self, *, express: bool, limit: int = 1000) -> None:
        super().__init__(CONFIG.replace("LIMIT", str(limit)))
        self.is_express = express
        self.taken = 0
        self.start()
        self.site = self["xa"]
        self.hosts = {
            address: self.site.add(1, address, f"02:00:00:00:01:{number:02x}")
            for number, address in enumerate(SOURCES)
        }
        for prefix in PREFIXES[:16]:
            self.static(prefix, 1)

    def follow(self, site: Site, trace: Trace) -> None:
        punted, trace.punted[:] = list(trace.punted), []
        super().follow(site, trace)
        for punt in punted:
            self.punts += 1
            if not (self.is_express and self._at_once(site, punt)):
                self.carry_out(self.controller.packet_in(punt, self.now))

    def carry_out(self, actions: Iterable[Action]) -> None:
        super().carry_out(actions)
        self.controller.performed(self.now)

    def _at_once(self, site: Site, punt: PacketIn) -> bool:
        lane = self.controller.express.lane(punt.datapath_id, self.now)
        port = lane.port(punt) if lane is not None else None
        found = lane.miss(port, punt.frame, self.now) if lane and port else None
        self.controller.express.end(self.now)
        if found is None:
            return False
        shape, code = found
        self.taken += 1
        number = site.switch.datapath_id
        rules = ApplyRules(number, (shape.change(code),))
        packet = PacketOut(number, punt.frame, punt.in_port, (Output(Port.TABLE),))
        self.carry_out([rules, packet])
        return True

    def static(self, prefix: str, number: int, ttl: int = 60) -> None:
        locators = tuple(Locator(ip_address(rloc)) for rloc in SETS[number])
        mapping = Mapping(eid(prefix), ttl_minutes=ttl).with_locators(locators)
        actions = self.controller.mapping.set_static(mapping, self.now)
        self.carry_out(self.controller.settle(actions, self.now))

    def drop_static(self, prefix: str) -> None:
        try:
            actions = self.controller.mapping.remove_static(eid(prefix), self.now)
        except LookupError:
            return
        self.carry_out(self.controller.settle(actions, self.now))

    def say(self, source: str, destination: str) -> None:
        if (":" in source) == (":" in destination):
            self.send("xa", 1, self.hosts[source].frame(destination))

    def clear(self, prefix: str | None) -> None:
        key = None if prefix is None else eid(prefix)
        _, actions = self.controller.management.clear_map_cache("xa", key, self.now)
        self.carry_out(actions)

    def drain(self, on: bool) -> None:
        act = self.controller.drain if on else self.controller.undrain
        self.carry_out(act(ip_address("192.0.2.1"), self.now))

    def tunnel(self, number: int) -> None:
        port = PortInfo(number, "lisp0", "02:00:00:00:00:01", up=True)
        self.carry_out(self.controller.port_changed(0xA, port, self.now))

    def move(self, source: str) -> None:
        """The host sends from the other port; what follows is for the gateway to say."""
        self.send("xa", 2, self.hosts[source].frame("10.2.0.1"))

    def reconnect(self) -> None:
        self.carry_out(self.controller.switch_disconnected(0xA, self.now))
        self.site.connect()

    def idle_out_of(self, prefix: str) -> None:
        self.idle_out("xa", str(eid(prefix).network).removesuffix("/32"))

    def shown(self) -> dict[str, Any]:
        """Everything that can be seen of it."""
        controller = self.controller
        controller.express.report()
        management, xtr = controller.management, controller.xtrs["xa"]
        exchanges = list(controller.exchanges.of("xa"))
        return {
            "switch": self.site.switch.ruleset(),
            "wanted": xtr.wanted(),
            "map-cache": set(management.map_cache("xa", self.now)),
            "state": xtr.state(),
            "asked": set(xtr.cached_answers()),
            "counters": sorted(
                (c for c in management.counters() if c.name != "xtr-express-set-ups"), key=repr
            ),
            "hits": controller.mapping.report.rule_hits,
            "events": [(e.kind, e.subject, dict(e.data)) for e in management.events(0)],
            "measured": [(d.name, d.buckets) for d in management.distributions()],
            "exchanges": [
                (e.time, e.eids, e.source_eid, e.itr_rlocs, e.answers) for e in exchanges
            ],
        }


Step = tuple[str, tuple[Any, ...]]
"""A method of `Twin` and its arguments."""


def same(express: Twin, full: Twin) -> None:
    one, other = express.shown(), full.shown()
    for what, value in one.items():
        assert value == other[what], what
    assert one["wanted"] == one["switch"]


def play(*steps: Step, limit: int = 1000) -> Twin:
    express, full = (Twin(express=lane, limit=limit) for lane in (True, False))
    for name, arguments in steps:
        for twin in (express, full):
            getattr(twin, name)(*arguments)
            # An EID is not asked for twice in a second (RFC 9301 section 5.3).
            twin.advance(1.0)
        same(express, full)
    return express


def calls(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*arguments))


prefixes = st.sampled_from(PREFIXES)
says = calls("say", st.sampled_from(SOURCES), st.sampled_from(DESTINATIONS))
changes = st.one_of(
    calls("static", prefixes, st.integers(0, len(SETS) - 1), st.sampled_from((1, 60))),
    calls("drop_static", prefixes),
    calls("clear", st.none() | prefixes),
    calls("idle_out_of", prefixes),
    calls("drain", st.booleans()),
    calls("tunnel", st.sampled_from((TUNNEL, TUNNEL + 1))),
    calls("move", st.sampled_from(SOURCES[:3])),
    calls("advance", st.sampled_from((50.0, 700.0, 4000.0))),
    calls("reconnect"),
)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Making a failing sequence shorter takes minutes: ask for it with Phase.shrink."""

few = st.lists(says | changes, max_size=5)
steps = st.builds(
    lambda *parts: [step for part in parts for step in part],
    st.lists(says, min_size=3, max_size=6),
    *(few, st.lists(says, min_size=2, max_size=5)) * 3,
)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(steps)
def test_the_lane_ends_in_the_same_state_as_the_full_path(sequence: list[Step]) -> None:
    play(*sequence)


@settings(max_examples=15, deadline=None, phases=PHASES)
@given(steps)
def test_so_it_does_when_the_map_cache_is_full(sequence: list[Step]) -> None:
    play(*sequence, limit=3)


def say(source: str, destination: str) -> Step:
    return ("say", (source, destination))


def test_what_is_usual_takes_the_lane() -> None:
    twin = play(say("10.1.0.1", "10.2.0.1"), say("10.1.0.1", "10.2.1.1"))
    assert twin.taken == 1
    (sent, again) = twin.sent_through_tunnel[-2:]
    assert sent.tunnel_destination == again.tunnel_destination == ip_address("203.0.113.2")


def test_ipv6_takes_the_lane_too() -> None:
    sender = "2001:db8:1::1"
    assert play(say(sender, "2001:db8:2:3::1"), say(sender, "2001:db8:2:4::1")).taken == 1


def test_so_do_eid_prefixes_that_rules_tell_apart() -> None:
    known = [("static", (f"[1] 10.3.{number}.0/24", 1)) for number in (2, 3, 4, 5)]
    asked = [say("10.1.0.1", f"10.3.{number}.1") for number in (2, 4, 3, 5)]
    twin = play(*known, *asked)
    assert twin.taken == 2
    assert twin.sent_through_tunnel[-1].tunnel_destination == ip_address("203.0.113.1")
    cached = {str(e.eid): e.locators for e in twin.controller.management.map_cache("xa", twin.now)}
    priorities = {eid: {item.locator.priority for item in cached[eid]} for eid in cached}
    assert priorities["[1] 10.3.3.0/24"] == {1}
    assert priorities["[1] 10.3.5.0/24"] == {1, 3}


UNUSUAL = {
    "who asks by which source EID matters": say("10.1.0.1", "10.4.1.1"),
    "a rule is for a part of it": say("10.1.0.1", "10.3.1.1"),
    "not registered": say("10.1.0.1", "10.77.0.1"),
    "a sender that was not seen yet": say("10.1.0.2", "10.2.3.1"),
    "the first one of its RLOC-set": say("10.1.0.1", "10.2.4.1"),
    "more-specifics inside": say("10.1.0.1", "10.2.5.1"),
}


@pytest.mark.parametrize("why", UNUSUAL)
def test_the_lane_is_closed_to_what_is_unusual(why: str) -> None:
    known = [
        ("static", ("[1] 10.3.1.0/24", 1)),
        ("static", ("[1] 10.4.1.0/24", 1)),
        ("static", ("[1] 10.2.4.0/24", 2)),
        ("static", ("[1] 10.2.5.128/25", 1)),
        say("10.1.0.1", "10.2.0.1"),
        say("10.1.0.1", "10.2.1.1"),
    ]
    assert play(*known, UNUSUAL[why]).taken == 1
