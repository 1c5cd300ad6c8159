"""The routes of the ALT, as the BGP speaker chose them (RFC 6836 section 4)."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence
from socket import AF_INET, AF_INET6

from pytricia import PyTricia
from sortedcontainers import SortedDict

from lisp_sdn.actions import BgpRoute
from lisp_sdn.address import IPNetwork

_BITS = {4: 32, 6: 128}
_FAMILY = {4: AF_INET, 6: AF_INET6}


class _Routes:
    """The routes of one IP version: a trie for the longest match, and in order for neighbours."""

    def __init__(self, version: int) -> None:
        self.bits = _BITS[version]
        self._trie = PyTricia(self.bits, _FAMILY[version])
        self.ordered: SortedDict = SortedDict()

    def get(self, network: IPNetwork) -> BgpRoute | None:
        found: BgpRoute | None = self.ordered.get(_key(network))
        return found

    def put(self, route: BgpRoute) -> None:
        self._trie[route.prefix] = route
        self.ordered[_key(route.prefix)] = route

    def remove(self, network: IPNetwork) -> None:
        del self._trie[network]
        del self.ordered[_key(network)]

    def longest(self, network: IPNetwork) -> BgpRoute | None:
        found: BgpRoute | None = self._trie.get(network)
        return found

    def free_length(self, network: IPNetwork) -> int | None:
        """See `Rib.free_length`."""
        value, length = _key(network)
        keys: Sequence[tuple[int, int]] = self.ordered.keys()
        after: int = self.ordered.bisect_right((value, length))
        widest = 0
        # Only the neighbours in order can share the longest run of leading bits with `network`.
        if after < len(keys):
            following = keys[after][0]
            if following >> self.bits - length == value >> self.bits - length:
                return None
            widest = self._common(value, following) + 1
        if after:
            before, before_length = keys[after - 1]
            # One that covers `network` shares all of its own bits.
            return max(widest, min(self._common(value, before) + 1, before_length))
        return widest

    def _common(self, one: int, other: int) -> int:
        return self.bits - (one ^ other).bit_length()


class Rib:
    """The best route for each prefix."""

    def __init__(self) -> None:
        self._versions = {4: _Routes(4), 6: _Routes(6)}
        self._by_peer: Counter[str] = Counter()
        self._news: set[IPNetwork] = set()

    def __len__(self) -> int:
        return sum(len(routes.ordered) for routes in self._versions.values())

    def __iter__(self) -> Iterator[BgpRoute]:
        """All routes by family, address, mask length."""
        for routes in self._versions.values():
            yield from routes.ordered.values()

    def following(self, start: IPNetwork | None) -> Iterator[BgpRoute]:
        """The routes from `start` on, by family, address, mask length."""
        for version, routes in self._versions.items():
            if start is None or version > start.version:
                yield from routes.ordered.values()
            elif version == start.version:
                for key in routes.ordered.irange(_key(start)):
                    yield routes.ordered[key]

    def from_peer(self, peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
        """How many of the routes came from this neighbour."""
        return self._by_peer[str(peer)]

    def get(self, network: IPNetwork) -> BgpRoute | None:
        """The route with exactly this prefix."""
        return self._versions[network.version].get(network)

    def put(self, route: BgpRoute) -> None:
        """Take the best route for its prefix, in the place of an older one."""
        self.remove(route.prefix)
        self._versions[route.prefix.version].put(route)
        self._by_peer[str(route.peer)] += 1
        self._news.add(route.prefix)

    def remove(self, network: IPNetwork) -> BgpRoute | None:
        """Forget the route with exactly this prefix; returns it."""
        routes = self._versions[network.version]
        known = routes.get(network)
        if known is not None:
            routes.remove(network)
            self._by_peer[str(known.peer)] -= 1
            self._news.add(network)
        return known

    def take_news(self) -> set[IPNetwork]:
        """The prefixes whose route may have changed since the last time."""
        news, self._news = self._news, set()
        return news

    def longest(self, network: IPNetwork) -> BgpRoute | None:
        """The route that a Map-Request for this EID or EID-prefix takes."""
        return self._versions[network.version].longest(network)

    def free_length(self, network: IPNetwork) -> int | None:
        """Length of the widest prefix around `network` that no route is inside of.

        It stays inside the longest route that covers `network`; None when there are routes
        inside `network` itself. It is what limits a negative answer (RFC 9301 section 8.4).
        """
        return self._versions[network.version].free_length(network)


def _key(network: IPNetwork) -> tuple[int, int]:
    return int(network.network_address), network.prefixlen
