"""One end of the Alternative Topology: what we announce, and which routes we were told.

Sans-I/O: BGP itself is spoken by the edge, which tells of best routes and sessions and carries
out `Announce`, `Withdraw` and `ShutNeighbour`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from lisp_sdn.actions import (
    Action,
    Announce,
    BgpRoute,
    BgpSession,
    Dropped,
    Event,
    MappingChanged,
    ShutNeighbour,
    Withdraw,
)
from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.alt.announce import Announcer, Role, sort_key
from lisp_sdn.alt.rib import Rib
from lisp_sdn.alt_settings import AltSettings, BgpNeighbour, permitted
from lisp_sdn.config import Config
from lisp_sdn.model import BgpScope

WHERE = "alt"

Change = tuple[frozenset[IPNetwork], frozenset[IPNetwork]]


class Alt:
    """The ALT of a controller. Without `bgp` in the configuration it never does anything.

    registered: whether there is a registration or static mapping inside of an EID-prefix.
    """

    def __init__(self, config: Config, registered: Callable[[EidPrefix], bool]) -> None:
        neighbours = config.bgp.neighbours if config.bgp is not None else ()
        self._neighbours: dict[IPAddress, BgpNeighbour] = {n.address: n for n in neighbours}
        settings = config.alt if config.alt is not None else AltSettings()
        self.iid = settings.iid
        owned = config.owned_prefixes() if config.alt is not None else ()
        self._announcer = Announcer(
            [eid.network for eid in owned if eid.iid == self.iid],
            [entry.prefix for entry in settings.aggregates],
            settings.hold_down,
            lambda network: registered(EidPrefix(self.iid, network)),
        )
        self._follows = config.alt is not None
        self.rib = Rib()
        self.sessions: dict[IPAddress, bool] = dict.fromkeys(self._neighbours, False)
        self.since: dict[IPAddress, float] = {}
        self.shut: set[IPAddress] = set()
        self.counters: Counter[str] = Counter()

    @property
    def announced(self) -> tuple[IPNetwork, ...]:
        """What BGP announces of ours now, in order."""
        return tuple(sorted(self._announcer.announced, key=sort_key))

    @property
    def held_down(self) -> dict[IPNetwork, float]:
        """EID-prefixes announced without a registration, and until when (epoch seconds)."""
        return self._announcer.held_down

    @property
    def unreachable(self) -> list[IPAddress]:
        """ALT-Routers to whom there is no BGP session, though there should be one."""
        return [
            address
            for address, neighbour in self._neighbours.items()
            if neighbour.scope is BgpScope.ALT
            and not self.sessions[address]
            and address not in self.shut
        ]

    # --- what we announce ---

    def start(self, now: float) -> list[Action]:
        """Announce what the recovered registrations ask for."""
        return self._apply(self._announcer.start()) if self._follows else []

    def reconfigure(self, config: Config) -> list[Action]:
        """Go on with the `alt` and the EID-prefixes of this configuration; `bgp` stays."""
        before = (self._follows, self.iid)
        actions = self._all_routes()
        settings = config.alt if config.alt is not None else AltSettings()
        self._follows, self.iid = config.alt is not None, settings.iid
        owned = config.owned_prefixes() if config.alt is not None else ()
        change = self._announcer.reconfigure(
            [eid.network for eid in owned if eid.iid == self.iid],
            [entry.prefix for entry in settings.aggregates],
            settings.hold_down,
        )
        if before == (self._follows, self.iid):
            return self._apply(change)
        return [*self._apply(change), *actions, *self._all_routes()]

    def _all_routes(self) -> list[Action]:
        """Negative answers around every route may be for another prefix now."""
        return [action for route in self.rib for action in self._answers_differ(route.prefix)]

    def mapping_changed(self, eid: EidPrefix, now: float) -> list[Action]:
        """Registrations around this EID-prefix may have come or gone."""
        if not self._follows or eid.iid != self.iid:
            return []
        return self._apply(self._announcer.changed(eid.network, now))

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called, epoch seconds."""
        return self._announcer.next_timer()

    def handle_timer(self, now: float) -> list[Action]:
        """End hold-downs."""
        return self._apply(self._announcer.handle_timer(now))

    def _apply(self, change: Change) -> list[Action]:
        announce, withdraw = change
        actions: list[Action] = []
        # First what is new, so that an EID never is without a route while prefixes are merged.
        for network in sorted(announce, key=sort_key):
            actions += [Announce(network), Event("alt.announced", str(network))]
        for network in sorted(withdraw, key=sort_key):
            actions += [Withdraw(network), Event("alt.withdrawn", str(network))]
        return actions

    # --- what we are told ---

    def route(self, route: BgpRoute, now: float) -> list[Action]:
        """The speaker chose another best route for a prefix."""
        neighbour = self._neighbours.get(route.peer)
        if neighbour is None:
            return [self._refused("bgp-unknown-neighbour", route)]
        if neighbour.scope is not BgpScope.ALT:
            # The speaker takes nothing from it; the ALT and the underlay never mix.
            return [self._refused("bgp-not-alt", route)]
        if route.peer in self.shut:
            return [self._refused("bgp-neighbour-shut", route)]
        self.counters["bgp-routes-in"] += 1
        if not permitted(neighbour.prefixes_in, route.prefix):
            # The speaker filters as well; should it let one through, we still do not use it.
            return [
                self._refused("bgp-prefix-filtered", route),
                *self.route_gone(route.prefix, now),
            ]
        known = self.rib.get(route.prefix)
        more = known is None or known.peer != route.peer
        if more and self.rib.from_peer(route.peer) >= neighbour.maximum_prefixes:
            return self._too_many(neighbour, route)
        new = self.rib.get(route.prefix) is None
        self.rib.put(route)
        return self._answers_differ(route.prefix) if new else []

    def route_gone(self, prefix: IPNetwork, now: float) -> list[Action]:
        """The speaker has no route for a prefix any more.

        What xTRs have learned by it stays good until its TTL: the ALT finds mappings, no packet
        of a host travels over it. Negative answers may be for less than they could be.
        """
        if self.rib.remove(prefix) is not None:
            self.counters["bgp-withdrawals-in"] += 1
        return []

    def _answers_differ(self, prefix: IPNetwork) -> list[Action]:
        """A negative answer is for another prefix now."""
        return [MappingChanged(EidPrefix(self.iid, prefix))] if self._follows else []

    # --- what follows from both ---

    def take_news(self) -> set[IPNetwork]:
        """The prefixes whose role or route may have changed since the last time."""
        return self._announcer.take_news() | self.rib.take_news()

    def prefixes(self) -> frozenset[IPNetwork]:
        """Every prefix of which anything is known."""
        return self._announcer.prefixes() | {route.prefix for route in self.rib}

    def decide(self, prefix: IPNetwork) -> BgpRoute | Role:
        """What becomes of Map-Requests for which this is the longest prefix known.

        A route of somebody else counts where we have that prefix and nobody registers it here: a
        site may be the customer of two Map-Servers.
        """
        role = self._announcer.role(prefix)
        return role if role is Role.ANNOUNCED else self.rib.get(prefix) or role

    def longest(self, host: IPNetwork) -> BgpRoute | Role:
        """The same for an EID, by longest match."""
        route = self.rib.longest(host)
        own = self._announcer.longest(host)
        if own is None or (route is not None and route.prefix.prefixlen > own.prefixlen):
            return Role.NONE if route is None else route
        return self.decide(own)

    # --- negative answers ---

    def free_length(self, eid: EidPrefix) -> int:
        """Length of the widest prefix around `eid` that holds no route of the ALT.

        It stays inside the route that covers `eid` (RFC 9301 section 8.4).
        """
        if not self._follows or eid.iid != self.iid:
            return 0
        length = self.rib.free_length(eid.network)
        return eid.prefixlen if length is None else length

    def session(self, session: BgpSession, now: float) -> list[Action]:
        """A BGP session came up or went down."""
        if session.peer not in self.sessions:
            return []
        self.sessions[session.peer] = session.up
        self.since[session.peer] = now
        kind = "bgp.session-up" if session.up else "bgp.session-down"
        data = {"as_number": self._neighbours[session.peer].as_number}
        return [Event(kind, str(session.peer), data)]

    def _too_many(self, neighbour: BgpNeighbour, route: BgpRoute) -> list[Action]:
        """As BGP routers do: the session is closed and stays so until somebody looks at it."""
        address = neighbour.address
        self.shut.add(address)
        for prefix in [known.prefix for known in self.rib if known.peer == address]:
            self.rib.remove(prefix)
        limit = {"maximum_prefixes": neighbour.maximum_prefixes}
        return [
            self._refused("bgp-maximum-prefixes", route),
            Event("bgp.neighbour-shut", str(address), limit),
            ShutNeighbour(address),
        ]

    def _refused(self, reason: str, route: BgpRoute) -> Dropped:
        self.counters[reason] += 1
        return Dropped(WHERE, reason, str(route.prefix), str(route.peer))
