"""An edge ALT-Router (RFC 6836 section 2): BGP, the ALT bridge, and the Map-Resolver's way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from lisp_sdn.actions import (
    Action,
    BgpRoute,
    BgpSession,
    Dropped,
    FlowCounters,
    ReadRules,
)
from lisp_sdn.address import EidPrefix, IPNetwork
from lisp_sdn.alt.alt import Alt
from lisp_sdn.alt_router.bridge import WHERE, Bridge
from lisp_sdn.alt_router.datagrams import AltDatagram, to_send
from lisp_sdn.alt_settings import AltBridge
from lisp_sdn.config import Config
from lisp_sdn.mapping.chain import Kind, Outcome, Query
from lisp_sdn.mapping.limits import RepeatLimiter, TokenBucket

REPEAT_WINDOW = 0.5
"""Seconds in which a Map-Request with the same nonce and EID is sent once."""

MAX_REPEATS = 100_000


class AltRouter:
    """Joins what BGP knows (`alt`) with the switch that forwards (`bridge`, if there is one).

    It is a link of the Map-Resolver's chain: what we have not and a route covers is asked over
    the ALT. registered: whether there is a registration or static mapping inside of a prefix.
    """

    name = WHERE

    def __init__(self, config: Config, registered: Callable[[EidPrefix], bool]) -> None:
        self.alt = Alt(config, registered)
        settings = config.alt.bridge if config.alt is not None else None
        self.bridge = None if settings is None else Bridge(settings, self.alt)
        rate = _rate(settings)
        self._rate = TokenBucket(rate, rate)
        self._sent = RepeatLimiter(1, REPEAT_WINDOW, MAX_REPEATS)
        self._arrived = RepeatLimiter(1, REPEAT_WINDOW, MAX_REPEATS)
        self.counters: Counter[str] = self.alt.counters

    # --- events ------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Announce what the recovered registrations ask for."""
        return self._followed(self.alt.start(now), now)

    def reconfigure(self, config: Config, present: Collection[int], now: float) -> list[Action]:
        """Go on with another configuration. present: datapath ids of connected switches."""
        actions = self.alt.reconfigure(config)
        settings = config.alt.bridge if config.alt is not None else None
        rate = _rate(settings)
        if rate != self._rate.rate:
            self._rate = TokenBucket(rate, rate, now)
        old = self.bridge
        if old is not None and settings is not None and old.datapath_id == settings.datapath_id:
            actions = [*old.reconfigure(settings), *actions]
        elif settings != (old.settings if old is not None else None):
            if old is not None:
                actions += old.retire()
            self.bridge = None if settings is None else Bridge(settings, self.alt)
            if settings is not None and settings.datapath_id in present:
                actions.append(ReadRules(settings.datapath_id))
        return self._followed(actions, now)

    def mapping_changed(self, eid: EidPrefix, now: float) -> list[Action]:
        """Registrations around this EID-prefix may have come or gone."""
        return self._followed(self.alt.mapping_changed(eid, now), now)

    def route(self, route: BgpRoute, now: float) -> list[Action]:
        """The speaker chose another best route for a prefix."""
        return self._followed(self.alt.route(route, now), now)

    def route_gone(self, prefix: IPNetwork, now: float) -> list[Action]:
        """The speaker has no route for a prefix any more."""
        return self._followed(self.alt.route_gone(prefix, now), now)

    def session(self, session: BgpSession, now: float) -> list[Action]:
        """A BGP session came up or went down."""
        return self._followed(self.alt.session(session, now), now)

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called, epoch seconds."""
        bridge = self.bridge.next_timer() if self.bridge is not None else None
        timers = (self.alt.next_timer(), bridge)
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """End hold-downs, and look at what the flows have carried."""
        actions = self._followed(self.alt.handle_timer(now), now)
        return actions + (self.bridge.handle_timer(now) if self.bridge is not None else [])

    def switch(self, datapath_id: int) -> Bridge | None:
        """The ALT bridge, if that is its datapath id."""
        bridge = self.bridge
        return bridge if bridge is not None and bridge.datapath_id == datapath_id else None

    def counted(self, event: FlowCounters) -> None:
        """What the flows of the ALT bridge have carried."""
        bridge = self.switch(event.datapath_id)
        if bridge is not None:
            bridge.counters(event)

    def _followed(self, actions: list[Action], now: float) -> list[Action]:
        """Flows first: a Map-Request that is sent because of a change goes the new way."""
        news = self.alt.take_news()
        if self.bridge is None or not news:
            return actions
        return [*self.bridge.follow(news, now), *actions]

    # --- a link of the Map-Resolver's chain --------------------------------------------------

    def arrived(self, datagram: AltDatagram, now: float) -> None:
        """A Map-Request came over the ALT; whatever becomes of it, it does not go there again."""
        self._arrived.take((datagram.request.nonce, datagram.eid), now)

    def ask(self, query: Query, now: float) -> Outcome | None:
        """Send the Map-Request to the BGP next hop (RFC 9301 section 8.4); None without a route.

        The ETR, or its Map-Server, answers the ITR directly. Where there is a route and no way to
        send, nobody answers either, and the ITR asks again: what a transient failure is worth.
        """
        request = query.request
        if self.bridge is None or request is None or query.eid.iid != self.alt.iid:
            return None
        address = query.eid.network.network_address
        route = self.alt.longest(EidPrefix.host(query.eid.iid, address).network)
        if not isinstance(route, BgpRoute):
            return None
        thing = (request.nonce, query.eid)
        if self._arrived.known(thing, now):
            return None
        if not self.bridge.up(route.peer):
            return _unsent("alt-tunnel-down", f"{query.eid}: no tunnel to {route.peer}")
        if not self._sent.take(thing, now):
            return _unsent("alt-repeated", f"{query.eid}: nonce {request.nonce:#018x}")
        if not self._rate.take(now):
            limit = "alt.bridge.map_requests_per_second is exceeded"
            return _unsent("alt-rate-limited", f"{query.eid}: {limit}")
        packet = to_send(query)
        if packet is None:
            return _unsent("alt-no-source", f"{query.eid}: no ITR-RLOC of its address family")
        self.counters["map-requests-sent"] += 1
        return Outcome(Kind.FORWARDED, actions=(self.bridge.send(*packet),))

    def free_length(self, eid: EidPrefix) -> int:
        """Length of the widest prefix around `eid` that holds no route of the ALT."""
        return self.alt.free_length(eid)


def _rate(settings: AltBridge | None) -> float:
    return settings.map_requests_per_second if settings is not None else 1


def _unsent(reason: str, detail: str) -> Outcome:
    return Outcome(Kind.FORWARDED, actions=(Dropped(WHERE, reason, detail),))
