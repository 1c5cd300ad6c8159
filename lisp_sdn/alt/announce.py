"""Which EID-prefixes BGP announces into the ALT (RFC 6836 sections 4.2 and 5, RFC 9301 8.2)."""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from netaddr import cidr_merge

from lisp_sdn.address import IPNetwork


def announced(live: Iterable[IPNetwork], aggregates: Iterable[IPNetwork]) -> frozenset[IPNetwork]:
    """What to announce for the EID-prefixes in `live`.

    Aggregates are discard routes: always there, and nothing inside of them is announced beside
    them. What is left is merged where the result covers exactly the same EIDs.
    """
    always = frozenset(aggregates)
    merged: set[IPNetwork] = set(always)
    for version in (4, 6):
        covers = [network for network in always if network.version == version]
        rest = [
            str(network)
            for network in live
            if network.version == version and not any(_covers(cover, network) for cover in covers)
        ]
        merged.update(ipaddress.ip_network(str(network)) for network in cidr_merge(rest))
    return frozenset(merged)


def _covers(cover: IPNetwork, network: IPNetwork) -> bool:
    return cover.prefixlen <= network.prefixlen and network.network_address in cover


class Role(StrEnum):
    """What a prefix is to a Map-Server. SILENT: ours, and nobody registers it now."""

    ANNOUNCED = "announced"
    SILENT = "silent"
    NONE = "none"


class Announcer:
    """Follows which EID-prefixes have registrations, and says what changes in BGP.

    owned: the EID-prefixes that we are authoritative for. registered: whether there is a
    registration or static mapping inside of one of them. hold_down: seconds for which an
    EID-prefix stays announced after the last of them has gone, so that BGP does not follow
    sites that come and go (RFC 6836 section 4.2: the topology remains relatively static).
    """

    def __init__(
        self,
        owned: Iterable[IPNetwork],
        aggregates: Iterable[IPNetwork],
        hold_down: float,
        registered: Callable[[IPNetwork], bool],
    ) -> None:
        self._registered = registered
        self._live: set[IPNetwork] = set()
        self._until: dict[IPNetwork, float] = {}
        self._news: set[IPNetwork] = set()
        self.announced: frozenset[IPNetwork] = frozenset()
        self._own(owned, aggregates, hold_down)

    def _own(
        self, owned: Iterable[IPNetwork], aggregates: Iterable[IPNetwork], hold_down: float
    ) -> None:
        self._owned = sorted(set(owned), key=sort_key)
        self._keys = [sort_key(network) for network in self._owned]
        self._by_key = dict(zip(self._keys, self._owned, strict=True))
        self._lengths = sorted({network.prefixlen for network in self._owned})
        self._aggregates = frozenset(aggregates)
        self._hold_down = hold_down
        self._index()

    def reconfigure(
        self, owned: Iterable[IPNetwork], aggregates: Iterable[IPNetwork], hold_down: float
    ) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        """Go on with other EID-prefixes; hold-downs of those that stay go on as they are.

        Returns (to announce, to withdraw).
        """
        before = self.prefixes()
        self._own(owned, aggregates, hold_down)
        self._news |= before | self.prefixes()
        mine = set(self._owned)
        self._until = {net: until for net, until in self._until.items() if net in mine}
        live = {network for network in self._owned if self._registered(network)}
        self._live = live | self._until.keys()
        return self._settle()

    @property
    def held_down(self) -> dict[IPNetwork, float]:
        """EID-prefixes that are announced without a registration, and until when (epoch)."""
        return dict(self._until)

    def role(self, network: IPNetwork) -> Role:
        """What exactly this prefix is to us."""
        if network in self._live or network in self.announced:
            return Role.ANNOUNCED
        known = sort_key(network) in self._by_key or network in self._aggregates
        return Role.SILENT if known else Role.NONE

    def longest(self, host: IPNetwork) -> IPNetwork | None:
        """The longest prefix around `host` that has a role."""
        version, value, own = sort_key(host)
        for length in self._role_lengths:
            if length <= own:
                shift = host.max_prefixlen - length
                network = self._with_role.get((version, value >> shift << shift, length))
                if network is not None:
                    return network
        return None

    def take_news(self) -> set[IPNetwork]:
        """The prefixes whose role may have changed since the last time."""
        news, self._news = self._news, set()
        return news

    def prefixes(self) -> frozenset[IPNetwork]:
        """Every prefix that has a role."""
        return frozenset(self._owned) | self._aggregates | self.announced

    def start(self) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        """Look at every EID-prefix. Returns (to announce, to withdraw)."""
        self._live = {network for network in self._owned if self._registered(network)}
        self._news |= self.prefixes()
        return self._settle()

    def changed(
        self, part: IPNetwork, now: float
    ) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        """Registrations around `part` may have come or gone. now: epoch seconds."""
        news = [self._look(network, now) for network in self._overlapping(part)]
        return self._settle() if any(news) else (frozenset(), frozenset())

    def _overlapping(self, part: IPNetwork) -> Iterator[IPNetwork]:
        """Our EID-prefixes that cover `part`, and those inside of it."""
        version, value, own = sort_key(part)
        for length in self._lengths[: bisect_left(self._lengths, own)]:
            shift = part.max_prefixlen - length
            network = self._by_key.get((version, value >> shift << shift, length))
            if network is not None:
                yield network
        last = (version, int(part.broadcast_address), part.max_prefixlen)
        first = bisect_left(self._keys, (version, value, own))
        yield from self._owned[first : bisect_right(self._keys, last)]

    def _look(self, network: IPNetwork, now: float) -> bool:
        """Whether it has to be announced and is not."""
        if self._registered(network):
            self._until.pop(network, None)
            if network in self._live:
                return False
            self._live.add(network)
            self._news.add(network)
            return True
        if network in self._live:
            self._until.setdefault(network, now + self._hold_down)
        return False

    def next_timer(self) -> float | None:
        """When a hold-down ends, epoch seconds."""
        return min(self._until.values(), default=None)

    def handle_timer(self, now: float) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        """Withdraw what is held down no longer."""
        due = [network for network, until in self._until.items() if until <= now]
        for network in due:
            del self._until[network]
            self._live.discard(network)
            self._news.add(network)
        return self._settle() if due else (frozenset(), frozenset())

    def _settle(self) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        before, self.announced = self.announced, announced(self._live, self._aggregates)
        self._news |= self.announced ^ before
        self._index()
        return self.announced - before, before - self.announced

    def _index(self) -> None:
        self._with_role = {sort_key(network): network for network in self.prefixes()}
        self._role_lengths = sorted({length for *_, length in self._with_role}, reverse=True)


def sort_key(network: IPNetwork) -> tuple[int, int, int]:
    """Order of prefixes: family, address, mask length."""
    return (network.version, int(network.network_address), network.prefixlen)
