"""BGP: Ryu's speaker carries out announcements and tells which routes are best (RFC 4271).

Both families go over every session, IPv4 and IPv6 unicast (RFC 4760). There is one speaker in a
process: Ryu keeps it in module variables.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import Any

from ryu.lib import sockopt
from ryu.lib.packet.bgp import RF_IPv4_UC, RF_IPv6_UC
from ryu.services.protocols.bgp.api.base import call
from ryu.services.protocols.bgp.bgpspeaker import BGPSpeaker
from ryu.services.protocols.bgp.info_base.base import Filter
from ryu.services.protocols.bgp.rtconf import neighbors
from ryu.services.protocols.bgp.rtconf.neighbors import ENABLED

from lisp_sdn.actions import (
    Announce,
    BgpRoute,
    BgpSession,
    ShutNeighbour,
    Withdraw,
)
from lisp_sdn.address import Endpoint, IPAddress, IPNetwork
from lisp_sdn.alt_settings import BgpNeighbour, BgpSettings, PrefixFilter, permitted
from lisp_sdn.apps.bgp_loops import refuse_loops
from lisp_sdn.apps.bgp_scopes import Held, Nothing, OneScope
from lisp_sdn.apps.bgp_table import mend
from lisp_sdn.apps.control import ListenError
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.model import BgpScope

_TCP_MD5SIG = 14


def set_tcp_md5(sock: Any, address: str, key: bytes | str) -> None:
    """Ask the kernel for TCP MD5 with one neighbour (RFC 2385); an empty key ends it.

    It takes the place of Ryu's own, which mixes text and octets and so fails on Python 3.
    """
    packed = ipaddress.ip_address(address).packed
    family = struct.pack("=HH", sock.family, 0)
    neighbour = family + (packed if len(packed) == 4 else bytes(4) + packed)
    # struct tcp_md5sig of <linux/tcp.h>: sockaddr_storage, padding, length, padding, key.
    key = bytes(key, "ascii") if isinstance(key, str) else key
    value = struct.pack("=128sHHI80s", neighbour, 0, len(key), 0, key)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, value)


class Password(bytes):
    """A TCP MD5 key that does not show in Ryu's log, which has the arguments of every call."""

    def __repr__(self) -> str:
        return "'**********'"

    __str__ = __repr__


class PrefixesOnly(Filter):
    """A prefix filter of ours as one of Ryu's, for one family: what it does not permit is denied.

    prefix: what Ryu names in its log when something is denied.
    """

    prefix = "configured filter"

    def __init__(self, rules: PrefixFilter, family: Any) -> None:
        super().__init__(Filter.POLICY_DENY)
        self.ROUTE_FAMILY = family
        self._rules = rules

    def evaluate(self, path: Any) -> tuple[int, bool]:
        """(deny, whether the filter denies the path's prefix)."""
        network = ipaddress.ip_network(path.nlri.prefix)
        return self.policy, not permitted(self._rules, network)

    def clone(self) -> PrefixesOnly:
        """Ryu keeps a copy for each neighbour."""
        return PrefixesOnly(self._rules, self.ROUTE_FAMILY)


FAMILIES = (RF_IPv4_UC, RF_IPv6_UC)


def _filters(rules: PrefixFilter) -> list[Filter]:
    return [PrefixesOnly(rules, family) for family in FAMILIES]


class _Speaker(BGPSpeaker):
    """Ryu's tells the router ID of a neighbour that came up; what identifies it is its address."""

    def _notify_peer_up(self, peer: Any) -> None:
        self._peer_up_handler(peer.ip_address, peer.remote_as)


class Bgp:
    """The BGP speaker. brain: a `Controller`. speaker: makes Ryu's."""

    def __init__(
        self,
        settings: BgpSettings,
        brain: Any,
        dispatcher: Dispatcher,
        speaker: Callable[..., Any] = _Speaker,
    ) -> None:
        self._settings = settings
        self._brain = brain
        self._dispatcher = dispatcher
        self._make = speaker
        self._speaker: Any = None
        self._held = Held()
        self._scopes = {str(entry.address): entry.scope for entry in settings.neighbours}
        check_port(settings.listen)

    def start(self) -> None:
        """Listen, and connect to every neighbour; before anything is announced."""
        settings = self._settings
        sockopt.set_tcp_md5sig = set_tcp_md5
        refuse_loops()
        mend(self._held.has, self._best_path, self._scopes)
        self._speaker = self._make(
            settings.as_number,
            str(settings.router_id),
            bgp_server_hosts=(str(settings.listen.address),),
            bgp_server_port=settings.listen.port,
            peer_up_handler=lambda address, _: self._session(address, up=True),
            peer_down_handler=lambda address, _: self._session(address, up=False),
        )
        for neighbour in settings.neighbours:
            self._add(neighbour)

    def close(self) -> None:
        """End all sessions; the neighbours forget what we announced."""
        if self._speaker is not None:
            self._speaker.shutdown()
            self._speaker = None

    def _add(self, neighbour: BgpNeighbour) -> None:
        address, secret = str(neighbour.address), neighbour.password
        # `neighbor_add` has no argument for it and takes this, as it is at the time of the call.
        neighbors.DEFAULT_HOLD_TIME = neighbour.hold_time
        self._speaker.neighbor_add(
            address,
            neighbour.as_number,
            remote_port=neighbour.port,
            enable_ipv4=True,
            enable_ipv6=True,
            enable_four_octet_as_number=True,
            password=None if secret is None else Password(secret.get_secret_value().encode()),
            # RFC 6836 section 4.3: the next hop is always the ALT-Router at the tunnel's end.
            is_next_hop_self=True,
        )
        listened = neighbour.scope is BgpScope.ALT
        heard = _filters(neighbour.prefixes_in) if listened else [Nothing(f) for f in FAMILIES]
        self._speaker.in_filter_set(address, heard)
        scope = [OneScope(neighbour.scope, self._held, self._scopes, f) for f in FAMILIES]
        self._speaker.out_filter_set(address, [*scope, *_filters(neighbour.prefixes_out)])

    # --- actions ---

    def announce(self, action: Announce) -> None:
        """To the neighbours of its scope, also to those whose session comes up later."""
        self._speaker.prefix_add(str(action.prefix), self._held.add(action))

    def withdraw(self, action: Withdraw) -> None:
        """From the neighbours of its scope."""
        remains, next_hop = self._held.remove(action)
        self._speaker.prefix_del(str(action.prefix))
        if remains:
            self._speaker.prefix_add(str(action.prefix), next_hop)

    def shut_neighbour(self, action: ShutNeighbour) -> None:
        """Close the session and do not open it again."""
        call("neighbor.update", ip_address=str(action.address), changes={ENABLED: False})

    # --- what Ryu tells ---

    def _best_path(self, prefix: IPNetwork, path: Any) -> None:
        if path is None:
            self._dispatcher.event(self._brain.bgp_route_gone, prefix)
            return
        peer, next_hop = _address(path.source.ip_address), _address(path.nexthop)
        route = BgpRoute(prefix, next_hop, peer, _as_path(path))
        self._dispatcher.event(self._brain.bgp_route, route)

    def _session(self, address: str, *, up: bool) -> None:
        session = BgpSession(_address(address), up)
        self._dispatcher.event(self._brain.bgp_session, session)


def check_port(endpoint: Endpoint) -> None:
    """Ryu only logs it when it cannot listen. Raises ListenError."""
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(endpoint.address), endpoint.port))
        except OSError as error:
            raise ListenError(f"BGP: cannot listen on TCP {endpoint}: {error.strerror}") from None


def _address(text: str) -> IPAddress:
    """An IPv6 next hop of a session over IPv4 is IPv4-mapped."""
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _as_path(path: Any) -> tuple[int, ...]:
    """AS numbers of all segments in order, those of an AS_SET in no particular one."""
    attribute = path.get_pattr(2)  # AS_PATH
    segments = () if attribute is None else attribute.path_seg_list
    return tuple(number for segment in segments for number in segment)
