"""Which Proxy-ITR attracts what, as health changes; and what native ports have carried."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from lisp_sdn.actions import Action, Announce, Event, FlowCounter, FlowCounters, Withdraw
from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config, load
from lisp_sdn.interworking.proxies import Proxies
from lisp_sdn.interworking.traffic import Traffic
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import BgpScope
from lisp_sdn.rlocs import Rlocs
from lisp_sdn.rules import CookieClass
from lisp_sdn.views import Carried
from lisp_sdn.xtr import native, topology

from lisp_sdn.actions import PortInfo  # isort: skip

CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: one
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}, {rloc: 192.0.2.129}, {rloc: "2001:db8:f::1"}]
    native_ports:
      - iid: 1
        proxy_itr: {eid_prefixes: [10.0.0.0/8, "2001:db8:e::/48"], preference: 200}
        proxy_etr: {}
  - name: two
    datapath_id: 0xb
    rlocs: [{rloc: 192.0.2.2}]
    native_ports:
      - {iid: 1, proxy_itr: {eid_prefixes: [10.0.0.0/8], next_hops: [198.18.0.2]}}
bgp:
  as_number: 64512
  router_id: 192.0.2.1
  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]
"""
OLD, NEW = ip_network("10.0.0.0/8"), ip_network("2001:db8:e::/48")
NOW = 1000.0


class World:
    """Two Proxy-ITRs and what is wrong with their switches."""

    def __init__(self) -> None:
        self.config: Config = load(CONFIG)
        self.rlocs = Rlocs(self.config, MemoryStore())
        self.trouble: dict[str, str | None] = {
            "one": "switch-not-connected",
            "two": "switch-not-connected",
        }
        self.proxies = Proxies(self.config, self.rlocs, lambda name, iid: self.trouble[name])
        self.now = NOW
        self.hop: dict[str, str] = {}
        self.events: list[str] = []
        self.take(self.proxies.start(NOW))

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Announce):
                assert action.scope is BgpScope.UNDERLAY
                self.hop[str(action.prefix)] = str(action.next_hop)
            elif isinstance(action, Withdraw):
                assert action.scope is BgpScope.UNDERLAY
                del self.hop[str(action.prefix)]
            else:
                assert isinstance(action, Event)
                self.events.append(action.kind)

    def look(self, **trouble: str | None) -> None:
        self.trouble.update(trouble)
        self.take(self.proxies.look(self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        timer = self.proxies.next_timer()
        if timer is not None and timer <= self.now:
            self.take(self.proxies.look(self.now))

    def down(self, *rlocs: str) -> None:
        self.rlocs.down = frozenset(addresses(rlocs))
        self.look()

    def drained(self, *rlocs: str) -> None:
        self.rlocs.drained = frozenset(addresses(rlocs))
        self.look()


def addresses(texts: tuple[str, ...]) -> list[IPAddress]:
    return [ip_address(text) for text in texts]


@pytest.fixture
def world() -> World:
    made = World()
    assert made.hop == {}
    made.look(one=None, two=None)
    return made


def test_the_preferred_one_is_the_next_hop(world: World) -> None:
    assert world.hop == {"10.0.0.0/8": "192.0.2.1", "2001:db8:e::/48": "2001:db8:f::1"}
    one, two = world.proxies.states()
    assert [entry.announced for entry in one.announcements] == [True, True]
    assert (two.healthy, [entry.announced for entry in two.announcements]) == (True, [False])
    assert world.proxies.counts() == {("one", 1): 2, ("two", 1): 0}


@pytest.mark.parametrize(
    "reason", ["switch-not-connected", "no-native-port", "native-port-down", "no-tunnel-port"]
)
def test_when_it_fails_the_other_takes_over_and_what_only_it_had_goes(
    world: World, reason: str
) -> None:
    world.look(one=reason)
    assert world.hop == {"10.0.0.0/8": "198.18.0.2"}
    one, _ = world.proxies.states()
    assert (one.healthy, one.reason, one.since) == (False, reason, NOW)
    world.look(two=reason)
    assert world.hop == {}
    assert world.events.count("proxy-itr.down") == 2


def test_it_comes_back_after_a_while_and_later_each_time(world: World) -> None:
    for wait in (3.0, 6.0, 12.0):
        world.look(one="native-port-down")
        world.look(one=None)
        world.wait(wait - 0.5)
        assert world.hop["10.0.0.0/8"] == "198.18.0.2"
        assert next(world.proxies.states()).reason == "held-down"
        world.wait(0.5)
        assert world.hop["10.0.0.0/8"] == "192.0.2.1"


def test_one_that_fails_again_meanwhile_stays_away(world: World) -> None:
    world.look(one="native-port-down")
    world.look(one=None)
    world.wait(2.0)
    world.look(one="native-port-down")
    world.wait(2.0)
    assert world.hop == {"10.0.0.0/8": "198.18.0.2"}
    assert world.proxies.next_timer() is None


def test_the_next_hop_is_an_rloc_that_is_up(world: World) -> None:
    world.down("192.0.2.1")
    assert world.hop["10.0.0.0/8"] == "192.0.2.129"
    world.down("192.0.2.1", "2001:db8:f::1")
    assert world.hop == {"10.0.0.0/8": "192.0.2.129"}
    world.down("192.0.2.1", "2001:db8:f::1", "192.0.2.129")
    assert world.hop == {"10.0.0.0/8": "198.18.0.2"}
    assert next(world.proxies.states()).reason == "rlocs-down"


def test_an_operator_drains_it(world: World) -> None:
    world.drained("192.0.2.1")
    assert world.hop["10.0.0.0/8"] == "192.0.2.129"
    world.drained("192.0.2.1", "192.0.2.129", "2001:db8:f::1")
    assert world.hop == {"10.0.0.0/8": "198.18.0.2"}
    assert next(world.proxies.states()).reason == "rlocs-drained"


def test_nothing_is_said_twice(world: World) -> None:
    events = len(world.events)
    world.look()
    world.look(two=None)
    assert len(world.events) == events


def test_another_configuration_goes_on_where_it_was(world: World) -> None:
    world.look(two="native-port-down")
    events = len(world.events)
    text = CONFIG.replace("[10.0.0.0/8, ", "[10.0.0.0/9, ")
    world.proxies.configure(load(text), NOW)
    world.look()
    assert world.hop == {"10.0.0.0/9": "192.0.2.1", "2001:db8:e::/48": "2001:db8:f::1"}
    assert world.events[events:] == ["proxy-itr.announced", "proxy-itr.withdrawn"]
    one, two = world.proxies.states()
    assert (one.healthy, two.reason) == (True, "native-port-down")
    start = CONFIG.index("        proxy_itr")
    without = CONFIG[:start] + CONFIG[CONFIG.index("        proxy_etr") :]
    world.proxies.configure(load(without), NOW)
    world.look()
    assert world.hop == {}
    assert [state.xtr for state in world.proxies.states()] == ["two"]


# --- traffic ---------------------------------------------------------------------------------


def test_the_counters_of_flows_become_those_of_ways() -> None:
    config = load(CONFIG)
    settings = config.xtrs[0]
    ports = [PortInfo(100, "lisp0", "02:00:00:00:00:01", True)]
    ports += [PortInfo(200, "native0", "02:00:00:00:00:02", True)]
    here = topology.build(settings, config.limits, ports, roles=native.roles(config, settings))
    traffic = Traffic(config)
    flows = [
        flow for flow in native.flows(here) if flow.cookie >> 40 & 0xFF == CookieClass.INTERWORKING
    ]

    def look(packets: int) -> None:
        counted = (FlowCounter(flow.match, packets, packets * 100) for flow in flows)
        traffic.take(FlowCounters(0xA, CookieClass.INTERWORKING, tuple(counted)), here)

    look(5)
    assert traffic.of("one", 1, "native-in") == Carried()
    look(7)
    # Both families come in by the port; a new flow starts from zero.
    assert traffic.of("one", 1, "native-in") == Carried(4, 400)
    assert traffic.of("one", 1, "native-out") == Carried(2, 200)
    assert traffic.of("one", 1, "petr-out") == Carried(2, 200)
    assert traffic.of("one", 1, "native-refused") == Carried(2, 200)
    # From another source, to an EID-prefix of ours, to one that we announce.
    assert traffic.of("one", 1, "petr-refused") == Carried(6, 600)
    look(1)
    assert traffic.of("one", 1, "native-out") == Carried(3, 300)
    names = {(c.name, dict(c.labels)["way"]) for c in traffic.counters()}
    assert ("interworking-packets", "petr-refused") in names


def test_only_switches_with_native_ports_are_asked() -> None:
    traffic = Traffic(load(CONFIG))
    traffic.start(NOW)
    assert traffic.next_timer() == NOW + 5
    assert [question.datapath_id for question in traffic.ask([0xA, 0xC], NOW + 5)] == [0xA]
    assert traffic.next_timer() == NOW + 10
