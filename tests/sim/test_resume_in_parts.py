"""A switch that holds much is compared in parts; what happens meanwhile is not lost."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_express_agrees import DESTINATIONS, PHASES, PREFIXES, SOURCES, Step, Twin, calls, prefixes
from xtr_network import TUNNEL

from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.rules import Alike, CookieClass, FlowRule, Ruleset, cookie_class
from lisp_sdn.xtr import reconcile, resume
from lisp_sdn.xtr.pipeline import TableId


def as_told(ruleset: Ruleset) -> Ruleset:
    """As the edges tell it: map-cache flows by what they have in common."""
    kinds: dict[FlowRule, list[int]] = defaultdict(list)
    plain = []
    for rule in ruleset.flows:
        fields = dict(rule.match)
        name = next((name for name in ("ipv4_dst", "ipv6_dst") if name in fields), None)
        if name is None or cookie_class(rule.cookie) is not CookieClass.MAP_CACHE:
            plain.append(rule)
            continue
        value = fields[name]
        address = int(getattr(value, "network_address", value))  # type: ignore[call-overload]
        kinds[Alike(rule, ()).flow(0)].append(address)
    alike = (Alike(Alike(rule, ()).flow(found[0]), tuple(found)) for rule, found in kinds.items())
    return replace(ruleset, flows=frozenset(plain), alike=tuple(alike))


class Parted(Twin):
    """A twin whose switch tells what it holds as the edges do."""

    def __init__(self) -> None:
        super().__init__(express=True)
        self.idle_gone: list[str] = []

    def connect(self) -> None:
        """The connection comes up; the rules are told, and nothing is compared yet."""
        ports = self.site.ports
        self.site.xtr.connected(ports, self.now)
        told = as_told(self.site.switch.ruleset())
        self.carry_out(self.controller.installed(0xA, ports, told, self.now))

    def away(self) -> None:
        self.carry_out(self.controller.switch_disconnected(0xA, self.now))

    def restart(self) -> None:
        """Another controller with the same mappings, which knows nothing else."""
        held = [entry.mapping for entry in self.controller.management.mappings(None, self.now)]
        self.controller = Controller(self.config, store=MemoryStore(), rng=random.Random(9))
        self.site.xtr = self.controller.xtrs["xa"]
        self.carry_out(self.controller.start(self.now))
        for mapping in held:
            if mapping.eid.network.prefixlen > 16 and str(mapping.eid) in PREFIXES:
                actions = self.controller.mapping.set_static(mapping, self.now)
                self.carry_out(self.controller.settle(actions, self.now))

    def part(self) -> bool:
        """Let one part be compared; whether there was one."""
        xtr = self.site.xtr
        if xtr._resumption is None:
            return False
        self.do(self.site, xtr.handle_timer(self.now))
        self._arrive()
        return True

    def compared(self) -> None:
        while self.part():
            pass
        self.advance(5.0)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "AT_ONCE", 0)
    monkeypatch.setattr(resume, "BRIEF_PART", 2)
    monkeypatch.setattr(reconcile, "PART", 2)
    monkeypatch.setattr(reconcile.parts_of, "__defaults__", (2,))


def talked(twin: Twin) -> None:
    for source in ("10.1.0.1", "2001:db8:1::1"):
        for destination in DESTINATIONS:
            twin.say(source, destination)
            twin.advance(0.1)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("how", ["reconnect", "restart"])
def test_nothing_is_sent_to_a_switch_that_is_as_it_should_be(how: str) -> None:
    twin = Parted()
    talked(twin)
    assert twin.taken > 10
    before = twin.site.switch.ruleset()
    if how == "restart":
        twin.restart()
    else:
        twin.away()
    twin.connect()
    twin.compared()
    (told,) = [e for e in twin.controller.management.events(0) if e.kind == "switch.reconciled"][
        -1:
    ]
    assert told.data["changes"] == 0
    assert told.data["installed"] == len(before.flows)
    assert {rule for rule in before.flows if rule.table == 3} <= twin.site.switch.ruleset().flows
    xtr = twin.controller.xtrs["xa"]
    assert xtr.wanted() == twin.site.switch.ruleset()
    assert len(list(xtr._cache.in_brief())) > 10


@pytest.mark.usefixtures("small_parts")
def test_flows_that_went_or_differ_are_put_right() -> None:
    twin = Parted()
    talked(twin)
    twin.away()
    flows = twin.site.switch.flows
    caches = [key for key, rule in flows.items() if rule.notify_removed and rule.table == 3]
    del flows[caches[0]]
    flows[caches[1]] = replace(flows[caches[1]], actions=())
    twin.connect()
    twin.compared()
    assert twin.controller.xtrs["xa"].wanted() == twin.site.switch.ruleset()
    assert caches[0] in flows
    assert flows[caches[1]].actions


meanwhile = st.one_of(
    calls("say", st.sampled_from(SOURCES), st.sampled_from(DESTINATIONS)),
    calls("static", prefixes, st.integers(0, 3), st.sampled_from((1, 60))),
    calls("drop_static", prefixes),
    calls("clear", st.none() | prefixes),
    calls("idle_out_of", prefixes),
    calls("drain", st.booleans()),
    calls("tunnel", st.just(TUNNEL)),
    calls("move", st.sampled_from(SOURCES[:3])),
    calls("part"),
    calls("part"),
    calls("part"),
    calls("away"),
    calls("connect"),
)


@pytest.mark.usefixtures("small_parts")
@settings(
    max_examples=40,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(("away", "restart")), st.lists(meanwhile, max_size=20))
def test_what_happens_meanwhile_is_not_lost(first: str, sequence: list[Step]) -> None:
    twin = Parted()
    talked(twin)
    getattr(twin, first)()
    twin.connect()
    for name, arguments in sequence:
        if name == "connect":
            twin.away()
        getattr(twin, name)(*arguments)
        if name == "away":
            twin.connect()
    twin.compared()
    twin.advance(100.0)
    xtr = twin.controller.xtrs["xa"]
    assert xtr.wanted() == twin.site.switch.ruleset()
    flows = {rule.key: rule for rule in twin.site.switch.ruleset().flows}
    assert xtr._program.installed is not None
    brief = {
        rule.key
        for destination in xtr._cache.destinations()
        for rule in xtr._owners.compile(("cache", destination), xtr._program.number).flows
    }
    assert set(xtr._program.installed.flows) | brief == set(flows)


@pytest.mark.usefixtures("small_parts")
def test_packets_wait_and_none_is_lost() -> None:
    twin = Parted()
    for number in range(100, 103):
        twin.static(f"[1] 10.2.{number}.0/24", 1)
    talked(twin)
    twin.away()
    twin.connect()
    before = len(twin.sent_through_tunnel)
    for number in range(100, 103):
        twin.say("10.1.0.1", "10.2.3.1")  # known to the switch
        twin.say("10.1.0.1", f"10.2.{number}.7")  # not known
        assert twin.part()
    twin.compared()
    packets = [sent.frame[30:34] for sent in twin.sent_through_tunnel[before:]]
    assert [p for p in packets if p[:2] == bytes((10, 2)) and p[2] >= 100] == [
        bytes((10, 2, n, 7)) for n in (100, 101, 102)
    ]
    assert packets.count(bytes((10, 2, 3, 1))) == 3


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("parts", [None, 0, 1, 3])
def test_what_is_forgotten_before_it_was_taken_over_is_forgotten(parts: int | None) -> None:
    """parts: how many are compared when the operator clears the map-cache; None: not connected."""
    twin = Parted()
    talked(twin)
    twin.restart()
    if parts is not None:
        twin.connect()
        for _ in range(parts):
            assert twin.part()
    twin.clear(None)
    if parts is None:
        twin.connect()
    twin.compared()
    xtr = twin.controller.xtrs["xa"]
    assert not list(xtr.map_cache_entries(twin.now))
    left = twin.site.switch.ruleset()
    assert left == xtr.wanted()
    assert not [rule for rule in left.flows if cookie_class(rule.cookie) is CookieClass.MAP_CACHE]


@pytest.mark.usefixtures("small_parts")
def test_what_was_found_stays_while_a_port_changes() -> None:
    twin = Parted()
    talked(twin)
    before = {
        key: rule for key, rule in twin.site.switch.flows.items() if key[0] == TableId.MAP_CACHE
    }
    twin.restart()
    twin.connect()
    for number in range(1, 100):
        twin.tunnel(TUNNEL + number % 2)
        held = twin.site.switch.flows
        assert [key for key in before if key not in held] == []
        if not twin.part():
            break
    twin.compared()
    assert twin.controller.xtrs["xa"].wanted() == twin.site.switch.ruleset()
