"""Ryu's table of routes with neighbours in memory: who is told what, and what the core hears."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ryu.lib.packet import bgp
from ryu.services.protocols.bgp.info_base.base import Destination, NonVrfPathProcessingMixin
from ryu.services.protocols.bgp.info_base.ipv4 import IPv4Dest, Ipv4Path, Ipv4Table
from ryu.services.protocols.bgp.model import OutgoingRoute
from ryu.services.protocols.bgp.peer import Peer

from lisp_sdn.address import IPNetwork
from lisp_sdn.apps import bgp_table
from lisp_sdn.model import BgpScope

NET = ipaddress.ip_network("10.2.0.0/16")
NLRI = bgp.IPAddrPrefix(16, "10.2.0.0")
OWN = 64512


class Neighbour:
    """What the table asks of one of Ryu's peers, and what would be sent to it."""

    version_num = 1
    is_local = False

    def __init__(self, number: int) -> None:
        self.ip_address = f"10.254.{number}.2"
        self.remote_as = 64520 + number
        self.messages_queued = 0
        self.sent: list[Any] = []
        self.deaf = False
        self.protocol = SimpleNamespace(recv_open_msg=SimpleNamespace(bgp_identifier=number))

    def in_established(self) -> bool:
        return True

    def _apply_out_filter(self, path: Any) -> tuple[bool, None]:
        return self.deaf, None

    def enque_outgoing_msg(self, route: Any) -> None:
        self.messages_queued += 1
        self.sent.append(route.path)

    @property
    def has(self) -> Any:
        """The path that it has from us after all UPDATEs; None without one."""
        last = self.sent[-1] if self.sent else None
        return None if last is None or last.is_withdraw else last


class World:
    """One destination of Ryu's IPv4 table, its neighbours, and what the core was told."""

    def __init__(self) -> None:
        self.peers = [Neighbour(number) for number in (1, 2, 3)]
        self.held = False
        self.told: list[Any] = []
        manager = SimpleNamespace(iterpeers=self.peers, comm_new_best_to_bgp_peers=self._tell)
        core = SimpleNamespace(
            asn=OWN,
            peer_manager=manager,
            _signal_bus=SimpleNamespace(best_path_changed=lambda *_: None),
        )
        self.dest: Any = Ipv4Table(core, None)._get_or_create_dest(NLRI)

    def _tell(self, path: Any) -> None:
        """As Ryu's peers: not to the source, nor with what a filter denies."""
        for peer in self.peers:
            if peer is not path.source:
                peer.messages_queued += 1
                if not peer.deaf:
                    peer.sent.append(path)

    def path(self, peer: Neighbour | None, length: int = 1) -> Any:
        attributes = {bgp.BGP_ATTR_TYPE_ORIGIN: bgp.BGPPathAttributeOrigin(0)}
        numbers = [] if peer is None else [[peer.remote_as] * length]
        attributes[bgp.BGP_ATTR_TYPE_AS_PATH] = bgp.BGPPathAttributeAsPath(numbers)
        hop = "0.0.0.0" if peer is None else peer.ip_address
        return Ipv4Path(peer, NLRI, 1, pattrs=attributes, nexthop=hop)

    def hears(self, peer: Neighbour, length: int) -> Any:
        made = self.path(peer, length)
        self.dest.add_new_path(made)
        self.dest.process()
        return made

    def loses(self, peer: Neighbour | None) -> None:
        self.dest.add_withdraw(self.path(peer).clone(for_withdrawal=True))
        self.dest.process()

    def announce(self) -> Any:
        self.held = True
        made = self.path(None)
        self.dest.add_new_path(made)
        return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for owner, names in (
        (IPv4Dest, ("_process",)),
        (NonVrfPathProcessingMixin, ("_new_best_path", "_best_path_lost")),
        (Peer, ("_construct_update",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))
    made = World()

    def told(prefix: IPNetwork, path: Any) -> None:
        assert prefix == NET
        made.told.append(path)

    bgp_table.mend(lambda _: made.held, told, {})
    yield made
    assert Destination._process is not IPv4Dest._process


def test_a_better_path_takes_the_place_of_the_old_one_at_every_neighbour(world: World) -> None:
    one, two, three = world.peers
    worse = world.hears(one, 3)
    assert (two.has, three.has) == (worse, worse)
    better = world.hears(two, 1)
    # An UPDATE replaces; only the source of the new one has nothing from us any more.
    assert (one.has, two.has, three.has) == (better, None, better)
    assert [path.is_withdraw for path in three.sent] == [False, False]


def test_where_the_next_best_path_is_from_a_neighbour_it_hears_a_withdrawal(world: World) -> None:
    one, two, three = world.peers
    best = world.hears(one, 1)
    second = world.hears(two, 2)
    assert (two.has, three.has) == (best, best)
    world.loses(one)
    assert (one.has, two.has, three.has) == (second, None, second)


def test_a_neighbour_that_must_not_hear_the_new_path_loses_the_old_one(world: World) -> None:
    one, two, three = world.peers
    world.hears(one, 1)
    two.deaf = True
    mine = world.announce()
    world.dest.process()
    assert (one.has, two.has, three.has) == (mine, None, mine)


def test_what_neighbours_tell_is_known_behind_a_path_of_our_own(world: World) -> None:
    one, two, _ = world.peers
    first = world.hears(one, 1)
    world.announce()
    world.dest.process()
    assert world.told == [first]
    # Ryu tells none of these: ours is best all the time.
    world.hears(two, 2)
    world.loses(one)
    assert world.told[1].source is two
    world.loses(two)
    assert world.told[2] is None
    world.held = False
    world.loses(None)
    assert len(world.told) == 3
    assert all(peer.has is None for peer in world.peers)


def test_an_announcement_and_its_withdrawal_at_once_leave_nothing(world: World) -> None:
    made = world.announce()
    world.held = False
    world.dest.add_withdraw(made.clone(for_withdrawal=True))
    world.dest.process()
    assert world.dest.best_path is None
    assert all(peer.has is None for peer in world.peers)


def test_of_two_announcements_at_once_the_last_one_counts(world: World) -> None:
    world.announce()
    last = world.announce()
    world.dest.process()
    assert world.dest.known_path_list == [last]
    world.held = False
    world.loses(None)
    assert world.dest.known_path_list == []


@pytest.mark.parametrize(
    ("scope", "kept"), [(BgpScope.ALT, None), (BgpScope.UNDERLAY, "192.0.2.1")]
)
def test_the_next_hop_of_a_proxy_itr_is_for_the_underlay(
    monkeypatch: pytest.MonkeyPatch, world: World, scope: BgpScope, kept: str | None
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(bgp_table, "_construct_update", lambda _, route: seen.append(route.path))
    origin = {bgp.BGP_ATTR_TYPE_ORIGIN: bgp.BGPPathAttributeOrigin(0)}
    path = Ipv4Path(None, NLRI, 1, pattrs=origin, nexthop="192.0.2.1")
    peer = world.peers[0]
    bgp_table.construct_update(peer, OutgoingRoute(path), {peer.ip_address: scope})
    assert [made.nexthop for made in seen] == [kept]
    assert path.nexthop == "192.0.2.1"
