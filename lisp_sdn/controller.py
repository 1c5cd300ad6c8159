"""The composition root: owns the cores and passes messages between them, without I/O.

An event comes in with `now` (seconds since the epoch); every core's actions are settled until
only those of `lisp_sdn.actions` are left for the edges. Tests and simulations join several
controllers in memory.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from itertools import chain

from lisp_sdn.actions import (
    Action,
    BgpRoute,
    BgpSession,
    Dropped,
    Event,
    FlowCounters,
    FlowRemoved,
    MappingChanged,
    PacketIn,
    PortInfo,
    Reconfigured,
    SendControl,
    SwitchConnected,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, IPNetwork
from lisp_sdn.alt_router.bridge import Bridge
from lisp_sdn.alt_router.datagrams import AltDatagram
from lisp_sdn.alt_router.router import AltRouter
from lisp_sdn.answering import LISP_CONTROL_PORT, Answering, AnyAction
from lisp_sdn.asking import Asking, xtr_id
from lisp_sdn.config import Config, SiteSettings
from lisp_sdn.config.changes import effective
from lisp_sdn.exchanges import Exchanges
from lisp_sdn.express import ExpressLanes
from lisp_sdn.fleet import Fleet
from lisp_sdn.inflow import Inflow
from lisp_sdn.interworking.interworking import Interworking
from lisp_sdn.ledger import Ledger
from lisp_sdn.management import Management
from lisp_sdn.mapping.faces import Concerns
from lisp_sdn.mapping.fastpath import FastPath, Found
from lisp_sdn.mapping.store import Store
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.measures import Measures
from lisp_sdn.mobility import Mobility
from lisp_sdn.policing import Policing
from lisp_sdn.policy import PolicyBook, PolicyEngine, Sites
from lisp_sdn.policy.weights import WeightStore
from lisp_sdn.registering import Registering
from lisp_sdn.reloading import Reloading
from lisp_sdn.rlocs import Rlocs
from lisp_sdn.rules import CookieClass, Ruleset
from lisp_sdn.senders import Senders
from lisp_sdn.wire import (
    MessageType,
)
from lisp_sdn.xtr.requests import (
    Admit,
    Ask,
    Elsewhere,
    Forgotten,
    HostRoute,
    Leave,
    Probe,
    Register,
    Resolve,
    Sighted,
    Sought,
    Verify,
)
from lisp_sdn.xtr.underlay import ControlFrame, RlocChanged, Underlay
from lisp_sdn.xtr.xtr import Xtr

LOAD_IDLE = 1.0
"""Seconds until it is looked again whether a policy wants the inbound load."""

LOAD_WATCH = 10.0
"""Seconds between two looks at the inbound load when no policy wants it: for the metrics."""


def site_id(site: SiteSettings) -> int:
    """The 64-bit Site-ID of a site: a digest of its name, so that it survives reordering."""
    return int.from_bytes(blake2b(site.name.encode(), digest_size=8).digest(), "big")


class Controller:
    """The whole brain.

    store: keeps registrations, nonces and policies. rng: `random.SystemRandom` in production.
    """

    def __init__(self, config: Config, *, store: Store, rng: random.Random) -> None:
        self.config = config
        self.store = store
        self.ledger = Ledger()
        self.exchanges = Exchanges()
        self.started: float | None = None
        self.policy = PolicyEngine(config.policies, Sites.from_config(config))
        self.alt_router = AltRouter(config, lambda eid: self.mapping.inventory.holds(eid))
        self.alt = self.alt_router.alt
        self.mapping = MapSystem(
            config, store=store, policy=self.policy, rng=rng, sources=(self.alt_router,)
        )
        fleet = self.fleet = Fleet(config, rng)
        self.xtrs, self._by_datapath = fleet.xtrs, fleet.by_datapath
        self._underlays, self._underlay_of = fleet.underlays, fleet.underlay_of
        self._by_rloc = fleet.by_rloc
        self.rlocs = Rlocs(config, store)
        self.senders = Senders(config, self.mapping, lambda: self.policing.policies)
        self.fast = FastPath(self.mapping, own=fleet.packed_rlocs)
        self.registering = Registering(
            config, lambda xtr, site: (xtr_id(self.xtrs[xtr]), site_id(site))
        )
        self.asking = Asking(self.mapping, self.exchanges, self.xtrs, self._underlay_of)
        self.requester = self.asking.requester
        self.answering = Answering(
            self.mapping, self.exchanges, self.xtrs, self._by_rloc, self._underlay_of
        )
        self.interworking = Interworking(config, self.rlocs, self.xtrs)
        self.mobility = Mobility(config, lambda xtr: self.xtrs[xtr].connected_since is not None)
        self.inflow = Inflow()
        self._load_timer: float | None = None
        self._load_asked = 0.0
        self.measures = Measures({name: x.settings.datapath_id for name, x in self.xtrs.items()})
        self.express = ExpressLanes(
            self.xtrs,
            self.mapping,
            self.requester,
            self.ledger,
            self.exchanges,
            self.measures,
        )
        self.policing = Policing(
            config,
            PolicyBook(config, store),
            self.policy,
            mappings=self.mapping.inventory.mappings,
            changed=self._answer_changed,
            settle=self._settle,
            cached=lambda: chain.from_iterable(x.cached_answers() for x in self.xtrs.values()),
            asks=self.requester,
            weights=WeightStore(store),
        )
        self.reloading = Reloading(self)
        self.management = Management(self)

    # --- events ---

    def start(self, now: float) -> list[Action]:
        """Recover the registrations and register the EID-prefixes of our own xTRs."""
        self.started = now
        self._load_timer = now
        actions: list[AnyAction] = [*self.policing.start(now), *self.mapping.start(now)]
        actions += self.alt_router.start(now)
        self.rlocs.start()
        actions += self._rlocs_changed(now)
        for xtr in self.xtrs.values():
            actions += xtr.rlocs_known(self._by_rloc, now)
            actions += xtr.start(now)
        return self._settle([*actions, *self.interworking.start(now)], now)

    def reconfigure(self, config: Config, now: float) -> list[Action]:
        """Go on under another configuration; what it leaves as it is notices nothing.

        What needs a restart stays as it is, see `config.changes`. Raises InvalidPolicy, StoreError;
        then nothing has changed. The caller has checked that the configuration fits together.
        """
        before = self.config
        config = effective(before, config)
        if config == before:
            return []
        done = self.policing.reconfigure(config, now)
        actions: list[AnyAction] = []
        done += self._settle(self.mobility.leave(config), now)
        for register in self.fleet.withdrawn(before, config):
            actions += self._register(register, now)
        self.config = config
        actions += self.mapping.reconfigure(config, now)
        self.registering.configure(config)
        actions += self.alt_router.reconfigure(config, self.fleet.present, now)
        actions += self.fleet.reconfigure(before, config, now)
        self.rlocs.configure(config)
        self.interworking.configure(config, now)
        self.senders.configure(config)
        for xtr in self.xtrs.values():
            actions += xtr.judge_again(now)
        self.fast.configure(self.fleet.packed_rlocs)
        self.express.configure()
        self.measures.configure({n: x.settings.datapath_id for n, x in self.xtrs.items()})
        for xtr in self.xtrs.values():
            actions += xtr.rlocs_known(self._by_rloc, now)
        actions += self.mobility.come(now)
        actions += [*self._rlocs_changed(now), *self._probing(now), Reconfigured(config)]
        return done + self._settle(actions, now)

    def receive(self, data: bytes, source: Endpoint, now: float) -> list[Action]:
        """A datagram on UDP port 4342 (RFC 9301 section 5)."""
        if data and data[0] >> 4 == MessageType.MAP_REPLY:
            return self._settle(self.asking.replied(data, source, now), now)
        if self.registering.expects_answers and data and data[0] >> 4 == MessageType.MAP_NOTIFY:
            return self._settle(self.registering.notified(data, source, now), now)
        return self._settle(self.fast.receive(data, source, now), now)

    def quick(self, data: bytes, version: int, now: float) -> Found | None:
        """The Map-Reply to a usual Map-Request, see `mapping.fastpath`; None: call `receive`.

        version: IP version that the datagram came by.
        """
        self.fast.begin(now)
        return self.fast.answer(data, version, now)

    def switch_connected(self, event: SwitchConnected, now: float) -> list[Action]:
        """A switch finished its handshake."""
        self.fleet.present.add(event.datapath_id)
        bridge = self._underlays.get(event.datapath_id) or self.alt_router.switch(event.datapath_id)
        if bridge is not None:
            return self._settle(bridge.switch_connected(event.ports, now), now)
        xtr = self._by_datapath.get(event.datapath_id)
        if xtr is None:
            return self._settle([_unknown_switch(event.datapath_id)], now)
        return self._settle(xtr.connected(event.ports, now), now)

    def switch_disconnected(self, datapath_id: int, now: float) -> list[Action]:
        """The OpenFlow connection ended; the switch goes on forwarding."""
        self.fleet.present.discard(datapath_id)
        switch = self._switch(datapath_id)
        actions = switch.disconnected(now) if switch else []
        return self._settle([*actions, *self._probing(now), *self.interworking.look(now)], now)

    def installed(
        self, datapath_id: int, ports: tuple[PortInfo, ...], ruleset: Ruleset, now: float
    ) -> list[Action]:
        """The answer to `ReadRules`: what the switch holds of ours."""
        switch = self._switch(datapath_id)
        actions = switch.installed(ports, ruleset, now) if switch else []
        return self._settle([*actions, *self._probing(now), *self.interworking.connected(now)], now)

    def packet_in(self, event: PacketIn, now: float) -> list[Action]:
        """A packet that a flow sent to the controller."""
        switch = self._switch(event.datapath_id)
        if switch is None:
            return self._settle([_unknown_switch(event.datapath_id)], now)
        return self._settle(switch.packet_in(event, now), now)

    def flow_removed(self, event: FlowRemoved, now: float) -> list[Action]:
        """A flow left the switch."""
        xtr = self._by_datapath.get(event.datapath_id)
        return self._settle(xtr.flow_removed(event, now) if xtr else [], now)

    def port_changed(self, datapath_id: int, port: PortInfo, now: float) -> list[Action]:
        """A port came, went, or changed its link state."""
        switch = self._switch(datapath_id)
        actions: list[AnyAction] = [*switch.port_changed(port, now)] if switch else []
        xtr = self._by_datapath.get(datapath_id)
        if xtr is not None:
            name = xtr.settings.name
            actions += self.mobility.port(name, port.name, up=port.up, now=now)
        return self._settle([*actions, *self.interworking.look(now)], now)

    def switch_checked(
        self, datapath_id: int, problems: tuple[str, ...], now: float
    ) -> list[Action]:
        """What the edges found wrong with a switch's database; () when nothing is."""
        switch = self._by_datapath.get(datapath_id) or self.alt_router.switch(datapath_id)
        return self._settle(switch.checked(problems, now) if switch else [], now)

    def counters(self, event: FlowCounters, now: float) -> list[Action]:
        """The answer to `ReadCounters`: the inbound load, which ingress policy may follow."""
        if event.kind is CookieClass.INTERWORKING:
            self.interworking.counted(event)
        elif event.kind is CookieClass.ALT:
            self.alt_router.counted(event)
        elif event.kind is CookieClass.SOURCE_GUARD:
            guarded = self._by_datapath.get(event.datapath_id)
            return self._settle(guarded.counted(event.flows, now) if guarded else [], now)
        elif self.inflow.take(event, now) and self.policing.interval is not None:
            return self._settle(self.policing.load(self.inflow.octets, now), now)
        return []

    def switch_measured(
        self, datapath_id: int, seconds: float, lookups: dict[int, int], now: float
    ) -> list[Action]:
        """A switch told after so many seconds how many packets each of its tables has seen."""
        self.measures.switch(datapath_id, seconds, lookups)
        return []

    def performed(self, now: float) -> None:
        """The actions of an event went out: flows of resolved misses are on their way."""
        for name, xtr in self.xtrs.items():
            for began in xtr.take_resolved():
                self.measures.resolved(name, now - began)

    def durable(self, now: float) -> list[Action]:
        """The store has flushed: let the Map-Notifies go that waited for it."""
        return self._settle(self.mapping.durable(self.store.durable_seq, now), now)

    def bgp_route(self, route: BgpRoute, now: float) -> list[Action]:
        """The BGP speaker chose another best route for a prefix."""
        return self._settle(self.alt_router.route(route, now), now)

    def bgp_route_gone(self, prefix: IPNetwork, now: float) -> list[Action]:
        """The BGP speaker has no route for a prefix any more."""
        return self._settle(self.alt_router.route_gone(prefix, now), now)

    def bgp_session(self, session: BgpSession, now: float) -> list[Action]:
        """A BGP session came up or went down."""
        return self._settle(self.alt_router.session(session, now), now)

    def next_timer(self) -> float | None:
        """When `handle_timer` must be called, seconds since the epoch; None for never."""
        timers = [
            self.mapping.next_timer(),
            self.policing.next_timer(),
            self.rlocs.next_timer(),
            self.registering.next_timer(),
            self.mobility.next_timer(),
            self._load_timer,
            self.alt_router.next_timer(),
            self.interworking.next_timer(),
            *(xtr.next_timer() for xtr in self.xtrs.values()),
        ]
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """Do what is due."""
        self.express.report()
        actions: list[AnyAction] = [*self.fast.report(now)]
        if _is_due(self.mapping.next_timer(), now):
            actions += self.mapping.handle_timer(now)
        if _is_due(self.policing.next_timer(), now):
            actions += self.policing.handle_timer(now)
        if _is_due(self.alt_router.next_timer(), now):
            actions += self.alt_router.handle_timer(now)
        if _is_due(self.interworking.next_timer(), now):
            actions += self.interworking.handle_timer(now)
        if _is_due(self._load_timer, now):
            actions += self._ask_load(now)
        if _is_due(self.registering.next_timer(), now):
            actions += self.registering.handle_timer(now)
        if _is_due(self.mobility.next_timer(), now):
            actions += self.mobility.handle_timer(now)
        if _is_due(self.rlocs.next_timer(), now):
            actions += [*self.rlocs.handle_timer(now), *self._rlocs_changed(now)]
        for xtr in self.xtrs.values():
            if _is_due(xtr.next_timer(), now):
                actions += xtr.handle_timer(now)
        return self._settle(actions, now)

    def settle(self, actions: Iterable[AnyAction], now: float) -> list[Action]:
        """Carry out what one core asks of another; what is left is for the edges."""
        return self._settle(actions, now)

    def _ask_load(self, now: float) -> list[AnyAction]:
        """Look at the inbound load as often as the policies in force want."""
        interval = self.policing.interval
        self._load_timer = now + (LOAD_IDLE if interval is None else interval)
        if interval is None and 0 <= now - self._load_asked < LOAD_WATCH:
            return []
        self._load_asked = now
        connected = (xtr for xtr in self.xtrs.values() if xtr.connected_since is not None)
        return [*self.inflow.ask([xtr.settings.datapath_id for xtr in connected])]

    def _switch(self, datapath_id: int) -> Xtr | Underlay | Bridge | None:
        return (
            self._by_datapath.get(datapath_id)
            or self._underlays.get(datapath_id)
            or self.alt_router.switch(datapath_id)
        )

    # --- between the cores ---

    def _answer_changed(
        self, eid: EidPrefix, now: float, *, part: bool, inside: bool, concerns: Concerns
    ) -> list[Action]:
        actions = self.mapping.answer_changed(
            eid, now, shape=part, inside=inside, concerns=concerns
        )
        return self._settle(actions, now)

    def _settle(self, actions: Iterable[AnyAction | AltDatagram], now: float) -> list[Action]:
        settled: list[Action] = []
        todo: deque[AnyAction | AltDatagram] = deque(actions)
        while todo:
            action = todo.popleft()
            match action:
                case Resolve():
                    todo.extendleft(reversed(self.asking.resolve(action, now)))
                case Probe():
                    todo.extendleft(reversed(self.asking.probe(action, now)))
                case Register():
                    todo.extendleft(reversed(self._register(action, now)))
                case Verify():
                    xtr = self.xtrs[action.xtr]
                    verdict = self.senders.judge(action)
                    todo.extendleft(reversed(xtr.judged(action, verdict, now)))
                case MappingChanged():
                    self.fast.changed(action.eid)
                    todo.extend(self.alt_router.mapping_changed(action.eid, now))
                    for xtr in self.xtrs.values():
                        todo.extend(xtr.mapping_changed(action.eid, now))
                case AltDatagram():
                    self.alt_router.arrived(action, now)
                    received = self.fast.receive(action.message, action.source, now)
                    todo.extendleft(reversed(received))
                case Sighted() | Forgotten() | Elsewhere() | Sought():
                    todo.extendleft(reversed(self.mobility.report(action, now)))
                case Admit() | Leave() | Ask() | HostRoute():
                    todo.extendleft(reversed(self.xtrs[action.xtr].carry_out(action, now)))
                case ControlFrame():
                    todo.extendleft(reversed(self.answering.frame(action, now)))
                case RlocChanged():
                    self.rlocs.link(action.rloc, up=action.up, now=now)
                    todo.extendleft(reversed(self._rlocs_changed(now)))
                case SendControl() if action.destination.address in self._by_rloc:
                    todo.extendleft(reversed(self.answering.deliver(action, now)))
                case Dropped():
                    self.ledger.note_dropped(action, now)
                    settled.append(action)
                case Event():
                    self.ledger.note_event(action, now)
                    settled.append(action)
                case _:
                    settled.append(action)
        return settled

    def drain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic leave an RLOC of ours while it is up. Raises KeyError, StoreError."""
        return self._settle([*self.rlocs.drain(rloc, now), *self._rlocs_changed(now)], now)

    def undrain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic come back to a drained RLOC. Raises KeyError, StoreError."""
        return self._settle([*self.rlocs.undrain(rloc, now), *self._rlocs_changed(now)], now)

    def _probing(self, now: float) -> list[AnyAction]:
        """Who can send RLOC-probes, and which RLOCs of ours answer them."""
        connected = {name for name, item in self._underlay_of.items() if item.connected}
        own = {rloc: xtr.settings.name in connected for rloc, xtr in self._by_rloc.items()}
        answering = frozenset(rloc for rloc, answers in own.items() if answers)
        actions: list[AnyAction] = []
        for name, xtr in self.xtrs.items():
            actions += xtr.probing(name in connected, answering, frozenset(own) - answering, now)
        return actions

    def _rlocs_changed(self, now: float) -> list[AnyAction]:
        """Tell everybody which RLOCs of ours are down or drained: our xTRs first."""
        down, drained = self.rlocs.down, self.rlocs.drained
        actions: list[AnyAction] = []
        for xtr in self.xtrs.values():
            actions += xtr.rlocs_changed(down, drained, now)
        self.fast.forget()
        actions += self.mapping.rlocs_changed(down, drained, now)
        return [*actions, *self.policing.health(down, now), *self.interworking.look(now)]

    def _register(self, action: Register, now: float) -> list[AnyAction]:
        """Sign the Map-Register of an ETR of ours and bring it to its Map-Servers."""
        settings = self.xtrs[action.xtr].settings
        if self.registering.site(action.xtr, action.site) is None:
            return []
        if settings.map_servers:
            return [*self.registering.send(action, now)]
        data = self.registering.message(action, now)
        source = Endpoint(settings.rlocs[0].rloc, LISP_CONTROL_PORT)
        return [*self.mapping.receive(data, source, now)]


def _is_due(timer: float | None, now: float) -> bool:
    return timer is not None and timer <= now


def _unknown_switch(datapath_id: int) -> Dropped:
    return Dropped(
        "controller",
        "switch-not-configured",
        "no xTR has this datapath_id",
        f"{datapath_id:016x}",
    )
