"""The RIB of the ALT against brute force; announcements cover exactly what is registered."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.actions import BgpRoute
from lisp_sdn.address import IPNetwork
from lisp_sdn.alt.announce import Announcer, announced
from lisp_sdn.alt.rib import Rib

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
