"""A route through ourselves is no route (RFC 4271 section 9.1.2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from ryu.lib.packet import bgp

from lisp_sdn.apps.bgp_loops import looped

OWN = 64512


class FakePeer:
    """Notes what Ryu's peer would withdraw."""

    local_as = OWN

    def __init__(self) -> None:
        self.withdrawn: list[str] = []

    def _extract_and_handle_bgp4_withdraws(self, prefixes: list[Any]) -> None:
        self.withdrawn += [nlri.prefix for nlri in prefixes]

    def _extract_and_handle_mpbgp_withdraws(self, attribute: Any) -> None:
        assert attribute.route_family == bgp.RF_IPv6_UC
        self.withdrawn += [nlri.prefix for nlri in attribute.withdrawn_routes]


def update(*as_path: int) -> Any:
    """An UPDATE with a prefix of each family, and a withdrawal, as it comes off the wire."""
    made = bgp.BGPUpdate(
        nlri=[bgp.BGPNLRI(addr="10.2.0.0", length=16)],
        withdrawn_routes=[bgp.BGPNLRI(addr="10.9.0.0", length=16)],
        path_attributes=[
            bgp.BGPPathAttributeOrigin(0),
            bgp.BGPPathAttributeAsPath([list(as_path)]),
            bgp.BGPPathAttributeNextHop("10.254.1.2"),
            bgp.BGPPathAttributeMpReachNLRI(
                bgp.RF_IPv6_UC.afi,
                bgp.RF_IPv6_UC.safi,
                "2001:db8::2",
                [bgp.IP6AddrPrefix(addr="2001:db8:2::", length=48)],
            ),
        ],
    )
    return bgp.BGPMessage.parser(made.serialize())[0]


@pytest.mark.parametrize("as_path", [(64520, OWN), (OWN,), (64520, OWN, 64530)])
def test_a_loop_withdraws_what_the_neighbour_told_before(as_path: tuple[int, ...]) -> None:
    peer = FakePeer()
    assert looped(peer, update(*as_path)) is True
    assert peer.withdrawn == ["10.2.0.0/16", "10.9.0.0/16", "2001:db8:2::/48"]


def test_any_other_path_is_left_to_ryu() -> None:
    peer = FakePeer()
    assert looped(peer, update(64520, 64530)) is False
    assert peer.withdrawn == []
