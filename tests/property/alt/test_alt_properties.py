"""The RIB of the ALT against brute force; announcements cover exactly what is registered."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.actions import ApplyRules, BgpRoute, PortInfo
from lisp_sdn.address import EidPrefix, IPNetwork
from lisp_sdn.alt.announce import Announcer, Role, announced
from lisp_sdn.alt.rib import Rib
from lisp_sdn.alt_router.router import AltRouter
from lisp_sdn.config import Config
from lisp_sdn.rules import Ruleset
from lisp_sdn.xtr.simulate import SimulatedSwitch

PEERS = [ipaddress.ip_address("10.99.0.2"), ipaddress.ip_address("10.99.0.6")]


@st.composite
def networks(draw: st.DrawFn) -> IPNetwork:
    """Crowded into few bits at both ends of the address, so that they nest and touch."""
    bits = draw(st.sampled_from([32, 128]))
    value = draw(st.integers(0, 7)) << (bits - 3) | draw(st.integers(0, 7))
    length = draw(st.sampled_from([0, 1, 2, 3, bits - 3, bits - 1, bits]))
    value = value >> (bits - length) << (bits - length)
    address = (ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address)(value)
    return ipaddress.ip_network((address, length))


def inside(one: IPNetwork, other: IPNetwork) -> bool:
    return (
        one.version == other.version
        and one.prefixlen >= other.prefixlen
        and one.network_address in other
    )


@given(st.lists(st.tuples(networks(), st.booleans(), st.sampled_from(PEERS))), networks())
def test_longest_match_and_holes_are_those_of_brute_force(
    changes: list[tuple[IPNetwork, bool, ipaddress.IPv4Address]], asked: IPNetwork
) -> None:
    rib, model = Rib(), {}
    for network, comes, peer in changes:
        if comes:
            rib.put(BgpRoute(network, peer, peer))
            model[network] = peer
        else:
            gone = rib.remove(network)
            assert (gone.peer if gone else None) == model.pop(network, None)
    assert {route.prefix: route.peer for route in rib} == model
    assert len(rib) == len(model)
    for peer in PEERS:
        assert rib.from_peer(peer) == list(model.values()).count(peer)
    covering = [network for network in model if inside(asked, network)]
    found = rib.longest(asked)
    longest = max(covering, key=lambda network: network.prefixlen, default=None)
    assert (found.prefix if found else None) == longest
    assert rib.free_length(asked) == widest_hole(asked, set(model), longest)


def widest_hole(asked: IPNetwork, known: set[IPNetwork], longest: IPNetwork | None) -> int | None:
    """The first length at which nothing known is inside, beside what covers all of it."""
    for length in range(longest.prefixlen if longest else 0, asked.prefixlen + 1):
        hole = asked.supernet(new_prefix=length)
        if not any(inside(network, hole) and network != longest for network in known):
            return length
    return None


@given(st.frozensets(networks()), st.frozensets(networks(), max_size=2))
def test_every_eid_is_announced_that_should_be_and_no_other(
    live: frozenset[IPNetwork], aggregates: frozenset[IPNetwork]
) -> None:
    result = announced(live, aggregates)
    assert aggregates <= result
    for network in live | aggregates:
        assert any(inside(network, covering) for covering in result)
    # Crowded into three bits at either end: these addresses meet every case.
    for bits, make in ((32, ipaddress.IPv4Address), (128, ipaddress.IPv6Address)):
        for high in range(8):
            for low in range(8):
                host = ipaddress.ip_network(make(high << (bits - 3) | low))
                wanted = any(inside(host, network) for network in live | aggregates)
                assert any(inside(host, network) for network in result) == wanted


@given(st.frozensets(networks()), st.lists(st.tuples(networks(), st.booleans())))
def test_announcements_follow_registrations_wherever_they_overlap(
    owned: frozenset[IPNetwork], changes: list[tuple[IPNetwork, bool]]
) -> None:
    registered: set[IPNetwork] = set()

    def holds(network: IPNetwork) -> bool:
        return any(inside(found, network) for found in registered)

    announcer = Announcer(owned, (), 0.0, holds)
    in_bgp = set(announcer.start()[0])
    for network, comes in changes:
        (registered.add if comes else registered.discard)(network)
        for announce, withdraw in (announcer.changed(network, 1.0), announcer.handle_timer(1.0)):
            assert not announce & in_bgp
            assert withdraw <= in_bgp
            in_bgp = in_bgp - withdraw | announce
        assert in_bgp == announced([found for found in owned if holds(found)], ())


@given(st.lists(networks()), st.lists(networks(), max_size=2), st.data(), networks())
def test_the_longest_prefix_of_ours_is_that_of_brute_force(
    owned: list[IPNetwork], aggregates: list[IPNetwork], data: st.DataObject, asked: IPNetwork
) -> None:
    live = {network for network in owned if data.draw(st.booleans())}
    announcer = Announcer(owned, aggregates, 0, live.__contains__)
    announcer.start()
    host = ipaddress.ip_network(asked.network_address)
    around = [network for network in announcer.prefixes() if inside(host, network)]
    expected = max(around, key=lambda network: network.prefixlen, default=None)
    assert announcer.longest(host) == expected


SITES = [ipaddress.ip_network(text) for text in ("10.0.0.0/9", "10.128.0.0/9", "10.64.0.0/16")]
ELSEWHERE = [*SITES, *map(ipaddress.ip_network, ("10.0.0.0/8", "10.64.1.0/24", "0.0.0.0/0"))]
CONFIG = Config.model_validate(
    {
        "sites": [
            {
                "name": "athens",
                "authentication_keys": [{"key": "a-test-key"}],
                "eid_prefixes": [{"prefix": str(network)} for network in SITES],
            }
        ],
        "bgp": {
            "as_number": 64512,
            "router_id": "10.99.0.1",
            "neighbours": [
                {"address": str(peer), "as_number": 64513 + n} for n, peer in enumerate(PEERS)
            ],
        },
        "alt": {
            "hold_down": 1,
            "bridge": {
                "datapath_id": "a0",
                "tunnels": [
                    {
                        "port": f"gre{n}",
                        "host_port": f"alt{n}",
                        "address": str(peer - 1),
                        "neighbour": str(peer),
                    }
                    for n, peer in enumerate(PEERS)
                ],
            },
        },
    }
)
PORTS = [PortInfo(n + 1, f"gre{n}", "02:00:00:00:00:01", True) for n in range(2)]
PORTS += [PortInfo(n + 101, f"alt{n}", "02:00:00:00:00:02", True) for n in range(2)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("route"), st.sampled_from(ELSEWHERE), st.sampled_from(PEERS)),
            st.tuples(st.just("gone"), st.sampled_from(ELSEWHERE), st.none()),
            st.tuples(st.just("register"), st.sampled_from(SITES), st.none()),
            st.tuples(st.just("expire"), st.sampled_from(SITES), st.none()),
            st.tuples(st.just("port"), st.sampled_from(PORTS), st.booleans()),
        ),
        max_size=20,
    )
)
def test_what_the_bridge_is_sent_piecemeal_is_what_it_should_hold(
    events: list[tuple[str, Any, Any]],
) -> None:
    """And an EID goes by its flows where the router would send it by longest match."""
    live: set[IPNetwork] = set()
    router = AltRouter(CONFIG, lambda eid: eid.network in live)
    bridge = router.bridge
    assert bridge is not None
    switch = SimulatedSwitch(0xA0)
    now = 1_700_000_000.0
    router.start(now)
    for action in bridge.installed(tuple(PORTS), Ruleset(), now):
        assert isinstance(action, ApplyRules)
        switch.apply(action.changes)
    for kind, what, which in events:
        now += 2
        actions = router.handle_timer(now)
        if kind == "route":
            actions += router.route(BgpRoute(what, which, which), now)
        elif kind == "gone":
            actions += router.route_gone(what, now)
        elif kind == "port":
            # Another port gets the number of one that was removed.
            port = what if which else PortInfo(what.number, "other", what.mac, True)
            actions += bridge.port_changed(port, now)
        else:
            (live.add if kind == "register" else live.discard)(what)
            actions += router.mapping_changed(EidPrefix(0, what), now)
        for action in actions:
            if isinstance(action, ApplyRules):
                switch.apply(action.changes)
        assert switch.ruleset() == bridge.wanted()
    for address in ("10.1.0.1", "10.64.1.1", "10.200.0.1", "192.0.2.1"):
        host = ipaddress.ip_network(address)
        fields = {"eth_type": 0x0800, "ipv4_dst": host.network_address, "in_port": 1}
        flow = switch.lookup(1, fields)
        assert flow is not None
        decided = router.alt.longest(host)
        if isinstance(decided, BgpRoute):
            assert flow.metadata == (PEERS.index(decided.peer) + 1, 0xFFFF)
        else:
            assert bool(flow.actions) is (decided is not Role.NONE)
