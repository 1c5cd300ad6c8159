"""Routes whose AS path has our own AS number are not used (RFC 4271 section 9.1.2.1).

Ryu 4.34 finds them, writes to its log that it ignores them, and uses them all the same: what is to
say so returns None. Ignoring would not do either: such a route takes the place of the one that the
neighbour told before, which leads here by now. So it is taken as a withdrawal.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ryu.lib.packet.bgp import (
    BGP_ATTR_TYPE_AS_PATH,
    BGP_ATTR_TYPE_MP_REACH_NLRI,
    BGP_ATTR_TYPE_MP_UNREACH_NLRI,
)
from ryu.services.protocols.bgp.peer import Peer


def refuse_loops() -> None:
    """Have Ryu's peers do so, from now on."""
    Peer._is_looped_path_attrs = looped


def looped(peer: Any, update: Any) -> bool:
    """Whether an UPDATE is a loop, and then is dealt with. In the place of a method of Ryu's."""
    attributes = update.pathattr_map
    path = attributes.get(BGP_ATTR_TYPE_AS_PATH)
    if path is None or not path.has_local_as(peer.local_as):
        return False
    # An empty list would be an End-of-RIB.
    for prefixes in (update.nlri, update.withdrawn_routes):
        if prefixes:
            peer._extract_and_handle_bgp4_withdraws(prefixes)
    reached = attributes.get(BGP_ATTR_TYPE_MP_REACH_NLRI)
    if reached is not None and reached.nlri:
        peer._extract_and_handle_mpbgp_withdraws(
            SimpleNamespace(route_family=reached.route_family, withdrawn_routes=reached.nlri)
        )
    gone = attributes.get(BGP_ATTR_TYPE_MP_UNREACH_NLRI)
    if gone is not None and gone.withdrawn_routes:
        peer._extract_and_handle_mpbgp_withdraws(gone)
    return True
