"""The table of routes of Ryu's speaker, put right where it errs (RFC 4271 section 9).

Ryu 4.34, in a change of the best route, sends those who had the old one a withdrawal *behind* the
UPDATE with the new one, or none at all where the new one is not for them. The next hop that one
scope has it tells all neighbours. And it tells of best routes only: what neighbours tell about a
prefix that is ours too stays unknown, though the prefix may be theirs alone a moment later.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from ryu.services.protocols.bgp.info_base.base import Destination, NonVrfPathProcessingMixin
from ryu.services.protocols.bgp.info_base.ipv4 import IPv4Dest
from ryu.services.protocols.bgp.info_base.ipv6 import IPv6Dest
from ryu.services.protocols.bgp.model import OutgoingRoute
from ryu.services.protocols.bgp.peer import Peer
from ryu.services.protocols.bgp.processor import compute_best_path

from lisp_sdn.address import IPNetwork
from lisp_sdn.model import BgpScope

Held = Callable[[IPNetwork], bool]
"""Whether we announce a prefix now."""

Told = Callable[[IPNetwork, Any], None]
"""Takes the best path that neighbours have told for a prefix, None when there is none any more."""

_construct_update = Peer._construct_update


def mend(held: Held, told: Told, scopes: Mapping[str, BgpScope]) -> None:
    """Have Ryu's classes do so, from now on. scopes: of every neighbour, by address."""
    for kind in (IPv4Dest, IPv6Dest):
        kind._process = lambda dest: process(dest, held, told)
    Peer._construct_update = lambda peer, route: construct_update(peer, route, scopes)
    NonVrfPathProcessingMixin._new_best_path = new_best_path
    NonVrfPathProcessingMixin._best_path_lost = best_path_lost


def process(dest: Any, held: Held, told: Told) -> None:
    """Paths came or went: choose anew, and tell when another of the neighbours' paths is best."""
    prefix = ipaddress.ip_network(dest.nlri.prefix)
    _only_what_is_held(dest, held(prefix))
    Destination._process(dest)
    best = None
    for path in dest.known_path_list:
        if path.source is not None:
            best = path if best is None else _better(dest, best, path)
    before, dest._best_of_neighbours = getattr(dest, "_best_of_neighbours", None), best
    if best is not before:
        told(prefix, best)


def _better(dest: Any, one: Any, other: Any) -> Any:
    better, _ = compute_best_path(dest._core_service.asn, one, other)
    return one if better is None else better


def _only_what_is_held(dest: Any, held: bool) -> None:
    """Of several changes to a path of ours at once Ryu forgets the order: the last one counts."""
    new = dest._new_path_list
    own = [path for path in new if path.source is None]
    new[:] = [path for path in new if path.source is not None] + (own[-1:] if held else [])
    if not held:
        known = dest._known_path_list
        known[:] = [path for path in known if path.source is not None]


def new_best_path(dest: Any, path: Any) -> None:
    """Tell the new one to all that it is for, and a withdrawal to those who had another."""
    had = _sent(dest)
    dest._sent_routes = {}
    dest._best_path = path
    manager = dest._core_service.peer_manager
    queued = {peer: peer.messages_queued for peer in manager.iterpeers}
    manager.comm_new_best_to_bgp_peers(path)
    dest._told = {
        peer: path
        for peer, count in queued.items()
        if peer.messages_queued > count and not peer._apply_out_filter(path)[0]
    }
    for peer, old in had.items():
        if peer not in dest._told:
            _withdraw(peer, old)


def best_path_lost(dest: Any) -> None:
    """Send a withdrawal to all who had it."""
    had = _sent(dest)
    dest._best_path, dest._sent_routes, dest._told = None, {}, {}
    for peer, old in had.items():
        _withdraw(peer, old)


def _sent(dest: Any) -> dict[Any, Any]:
    """By neighbour: the path that it has from us, also where the UPDATE has yet to leave."""
    told: dict[Any, Any] = getattr(dest, "_told", {})
    had = {peer: path for peer, path in told.items() if peer.in_established()}
    return had | {peer: route.path for peer, route in dest._sent_routes.items()}


def _withdraw(peer: Any, path: Any) -> None:
    peer.enque_outgoing_msg(OutgoingRoute(path.clone(for_withdrawal=True)))


def construct_update(peer: Any, route: Any, scopes: Mapping[str, BgpScope]) -> Any:
    """An UPDATE; in the ALT the next hop is us (RFC 6836 section 4.3), not that of a Proxy-ITR."""
    path = route.path
    if path.is_local() and path.has_nexthop() and scopes.get(peer.ip_address) is BgpScope.ALT:
        path = path.clone(for_withdrawal=path.is_withdraw)
        path._nexthop = None
        route = OutgoingRoute(path, route.for_route_refresh)
    return _construct_update(peer, route)
