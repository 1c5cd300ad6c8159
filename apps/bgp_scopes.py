"""Who hears what: the ALT and the underlay never learn of each other through us.

Ryu's speaker has one table for all neighbours, so it would pass routes of the ALT on to a router
of the underlay, where no EID-prefix belongs (RFC 6836 section 4), and the other way round. A
neighbour of the underlay hears the EID-prefixes of our Proxy-ITRs (RFC 6832 section 5.1) alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from ryu.services.protocols.bgp.info_base.base import Filter

from lisp_sdn.actions import Announce, Withdraw
from lisp_sdn.address import IPNetwork
from lisp_sdn.model import BgpScope


class Held:
    """What we announce now, and to whom: of one prefix there is one path, whatever its scopes."""

    def __init__(self) -> None:
        self._by_prefix: dict[IPNetwork, dict[BgpScope, Announce]] = {}
        self._ever: set[tuple[IPNetwork, BgpScope]] = set()

    def add(self, action: Announce) -> str | None:
        """Note an announcement. Returns the next hop of the prefix, None for our own address."""
        scopes = self._by_prefix.setdefault(action.prefix, {})
        scopes[action.scope] = action
        self._ever.add((action.prefix, action.scope))
        return self._next_hop(scopes)

    def remove(self, action: Withdraw) -> tuple[bool, str | None]:
        """Note a withdrawal. Returns whether the other scope still has the prefix, and by what."""
        scopes = self._by_prefix.get(action.prefix, {})
        scopes.pop(action.scope, None)
        if scopes:
            return True, self._next_hop(scopes)
        self._by_prefix.pop(action.prefix, None)
        return False, None

    def has(self, prefix: IPNetwork) -> bool:
        """Whether we announce this prefix, to whomever."""
        return prefix in self._by_prefix

    def heard(self, prefix: IPNetwork, scope: BgpScope, *, withdrawal: bool) -> bool:
        """Whether neighbours of this scope hear that we have, or have no longer, this prefix."""
        if withdrawal:
            # Ryu filters withdrawals too, and sends them when ours is long noted.
            return (prefix, scope) in self._ever
        return scope in self._by_prefix.get(prefix, ())

    @staticmethod
    def _next_hop(scopes: Mapping[BgpScope, Announce]) -> str | None:
        hops = [action.next_hop for action in scopes.values() if action.next_hop is not None]
        return str(hops[0]) if hops else None


class OneScope(Filter):
    """Denies what a neighbour of this scope must not hear, for one family.

    peers: the scope of every neighbour, by address. prefix: what Ryu names in its log.
    """

    prefix = "other scope"

    def __init__(
        self, scope: BgpScope, held: Held, peers: Mapping[str, BgpScope], family: Any
    ) -> None:
        super().__init__(Filter.POLICY_DENY)
        self.ROUTE_FAMILY = family
        self._scope = scope
        self._held = held
        self._peers = peers

    def evaluate(self, path: Any) -> tuple[int, bool]:
        """(deny, whether the filter denies the path)."""
        if path.source is None:
            prefix = ipaddress.ip_network(path.nlri.prefix)
            return self.policy, not self._held.heard(
                prefix, self._scope, withdrawal=path.is_withdraw
            )
        known = self._peers.get(path.source.ip_address)
        return self.policy, not (self._scope is BgpScope.ALT is known)

    def clone(self) -> OneScope:
        """Ryu keeps a copy for each neighbour."""
        return OneScope(self._scope, self._held, self._peers, self.ROUTE_FAMILY)


class Nothing(Filter):
    """Denies everything, of one family."""

    prefix = "not listened to"

    def __init__(self, family: Any) -> None:
        super().__init__(Filter.POLICY_DENY)
        self.ROUTE_FAMILY = family

    def evaluate(self, path: Any) -> tuple[int, bool]:
        """(deny, always)."""
        return self.policy, True

    def clone(self) -> Nothing:
        """Ryu keeps a copy for each neighbour."""
        return Nothing(self.ROUTE_FAMILY)
