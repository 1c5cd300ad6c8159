"""RLOCs go down and come back: RLOC-sets follow, however many EIDs are behind them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest
from xtr_network import Network, eid

from lisp_sdn.actions import ApplyRules, Dropped
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import RuleChange
from lisp_sdn.views import LocatorState
from lisp_sdn.wire import EidRecord, MapReply, MapRequest
from lisp_sdn.xtr.outbox import XtrAction

ONE, TWO, THREE = (ip_address(f"203.0.113.{n}") for n in (1, 2, 3))
NONE: frozenset[IPAddress] = frozenset()
CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret-a}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}, {rloc: 192.0.2.129}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.1.0.254/24]}
"""


class Sites(Network):
    """One xTR of ours; everything else is behind the locators that are given."""

    def __init__(self, *locators: Locator) -> None:
        super().__init__(CONFIG)
        self.locators = locators
        self.hosts = 254
        self.start()
        self.host = self["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
        self.mapping.resolve = self.answer  # type: ignore[method-assign]

    def answer(self, request: MapRequest) -> MapReply:
        """A /24 with its hosts, by default 255 EID-prefixes of one RLOC-set."""
        asked = request.records[0].eid
        assert isinstance(asked, EidPrefix)
        net = int(asked.network.network_address) >> 8 << 8
        eids = [EidPrefix.trusted(1, 4, net, 24)]
        eids += [EidPrefix.trusted(1, 4, net + n, 32) for n in range(1, self.hosts + 1)]
        records = (EidRecord.from_mapping(Mapping(e).with_locators(self.locators)) for e in eids)
        return MapReply(request.nonce, tuple(records))

    def cache(self, networks: int) -> None:
        for number in range(networks):
            self.send("xa", 1, self.host.frame(f"10.2.{number}.1"))
            self.advance(0.1)

    def change(self, down: Iterable[IPAddress] = (), drained: Iterable[IPAddress] = ()) -> int:
        """Returns how many rules were sent."""
        xtr = self["xa"].xtr
        actions = xtr.rlocs_changed(frozenset(down), frozenset(drained), self.now)
        self.do(self["xa"], actions)
        return len(_changes(actions))

    def ways(self, flows: int = 200) -> dict[int, IPAddress]:
        """Where each of so many transport flows goes; those that are dropped are left out."""
        found: dict[int, IPAddress] = {}
        for number in range(flows):
            trace = self["xa"].switch.receive(1, self.host.frame(f"10.2.0.{number % 250 + 1}"))
            for sent in trace.sent:
                assert sent.tunnel_destination is not None
                found[number] = sent.tunnel_destination
        return found


def _changes(actions: Iterable[XtrAction]) -> list[RuleChange]:
    return [change for a in actions if isinstance(a, ApplyRules) for change in a.changes]


@pytest.fixture(scope="module")
def crowd() -> Sites:
    """More than 10,000 map-cache entries behind a primary and a backup."""
    made = Sites(Locator(ONE, 1), Locator(TWO, 2))
    made.cache(40)
    assert made["xa"].xtr.state().map_cache_entries > 10_000
    return made


def test_one_group_mod_moves_ten_thousand_eids(crowd: Sites) -> None:
    assert set(crowd.ways(20).values()) == {ONE}
    assert crowd.change(down=[ONE]) == 1
    assert set(crowd.ways(20).values()) == {TWO}
    assert crowd.change() == 1
    assert set(crowd.ways(20).values()) == {ONE}


def test_another_rloc_of_ours_is_the_source_when_ours_lost_its_uplink(crowd: Sites) -> None:
    assert crowd.change(down=[ip_address("192.0.2.1")]) == 1
    (sent,) = crowd["xa"].switch.receive(1, crowd.host.frame("10.2.0.1")).sent
    assert (str(sent.tunnel_source), sent.tunnel_destination) == ("192.0.2.129", ONE)
    assert crowd.change(down=map(ip_address, ("192.0.2.1", "192.0.2.129"))) == 1
    assert not crowd.ways(5)
    crowd.change()


def test_nothing_left_drops_with_a_reason(crowd: Sites) -> None:
    assert crowd.change(down=[ONE, TWO]) == 1
    assert not crowd.ways(20)
    assert crowd["xa"].switch.ruleset() == crowd["xa"].xtr.wanted()
    entry = next(iter(crowd["xa"].xtr.map_cache_entries(crowd.now)))
    assert {item.state for item in entry.locators} == {LocatorState.UNREACHABLE}
    crowd.drops.clear()
    crowd.send("xa", 1, crowd.host.frame("10.2.200.1"))
    crowd.advance(1.0)
    assert [drop.reason for drop in crowd.drops] == ["rlocs-unreachable"]
    crowd.change()


def test_only_the_flows_of_the_dead_rloc_move() -> None:
    net = Sites(Locator(ONE, 1, 30), Locator(TWO, 1, 70), Locator(THREE, 1, 50))
    net.cache(1)
    before = net.ways()
    assert set(before.values()) == {ONE, TWO, THREE}
    assert net.change(down=[TWO]) <= 20
    during = net.ways()
    assert set(during.values()) == {ONE, THREE}
    assert all(during[n] == way for n, way in before.items() if way != TWO)
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()
    net.change()
    assert net.ways() == before


def test_a_drained_rloc_is_the_last_resort() -> None:
    net = Sites(Locator(ONE, 1), Locator(TWO, 1), Locator(THREE, 2))
    net.cache(1)
    net.change(drained=[ONE])
    assert set(net.ways().values()) == {TWO}
    net.change(drained=[ONE], down=[TWO])
    assert set(net.ways().values()) == {THREE}
    net.change(drained=[ONE], down=[TWO, THREE])
    assert set(net.ways().values()) == {ONE}
    states = {
        str(item.locator.rloc): item.state
        for entry in net["xa"].xtr.map_cache_entries(net.now)
        for item in entry.locators
    }
    assert states[str(ONE)] is LocatorState.DRAINED


def test_a_new_mapping_meets_what_is_known_to_be_down() -> None:
    net = Sites(Locator(ONE, 1), Locator(TWO, 2))
    net.change(down=[ONE])
    net.cache(1)
    assert set(net.ways(10).values()) == {TWO}
    assert not [drop for drop in net.drops if isinstance(drop, Dropped)]


def test_a_restarted_controller_finds_the_set_whose_rlocs_are_all_down() -> None:
    net = Sites(Locator(ONE, 1), Locator(TWO, 1))
    net.hosts = 2
    net.cache(1)
    net.change(down=[ONE, TWO])
    assert eid("[1] 10.2.0.0/24") in {e.eid for e in net["xa"].xtr.map_cache_entries(net.now)}
    net["xa"].restart_controller()
    net["xa"].connect()
    net.advance(2.0)
    assert net["xa"].switch.ruleset() == net["xa"].xtr.wanted()
    assert set(net.ways().values()) == {ONE, TWO}
