"""What REST and CLI see of the controller: the implementation of `lisp_sdn.api.backend.Backend`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Protocol

from lisp_sdn.actions import Action, Dropped
from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork, SourceDestPrefix
from lisp_sdn.alt_router import show
from lisp_sdn.alt_router.router import AltRouter
from lisp_sdn.alt_views import AltRoute, AltState, BgpState
from lisp_sdn.answering import AnyAction
from lisp_sdn.config import Config
from lisp_sdn.exchanges import Exchanges
from lisp_sdn.inflow import Inflow
from lisp_sdn.interworking.interworking import Interworking
from lisp_sdn.ledger import Ledger
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.measures import Measures
from lisp_sdn.mobility import Mobility
from lisp_sdn.model import Answer, Mapping, Requester
from lisp_sdn.policing import Policing
from lisp_sdn.registering import Registering
from lisp_sdn.reloading import Reloading
from lisp_sdn.rules import Ruleset
from lisp_sdn.senders import Senders
from lisp_sdn.trace import Endpoint, Packet, Trace, Tracer
from lisp_sdn.unreachable import unreachable
from lisp_sdn.views import (
    Counter,
    Distribution,
    EventEntry,
    Exchange,
    Inbound,
    MapCacheEntry,
    MappingEntry,
    MobileEid,
    NativePortState,
    PetrState,
    ProxyItrState,
    Refusal,
    RegistrationEntry,
    SiteState,
    SourceGuardState,
    Status,
    XtrState,
)
from lisp_sdn.xtr.requests import Verify
from lisp_sdn.xtr.show import source_guard as guard_state
from lisp_sdn.xtr.verdicts import SourceVerdict
from lisp_sdn.xtr.xtr import Xtr


class Running(Protocol):
    """The controller, as far as it is read and changed from here."""

    alt_router: AltRouter
    config: Config
    ledger: Ledger
    inflow: Inflow
    interworking: Interworking
    measures: Measures
    exchanges: Exchanges
    mapping: MapSystem
    mobility: Mobility
    policing: Policing
    registering: Registering
    senders: Senders
    reloading: Reloading
    started: float | None
    xtrs: dict[str, Xtr]

    def requester(self, xtr: str, source: EidPrefix | None) -> Requester:
        """As whom an xTR of ours asks."""

    def drain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic leave an RLOC of ours."""

    def undrain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic come back to it."""

    def settle(self, actions: Iterable[AnyAction], now: float) -> list[Action]:
        """Carry out what one core asks of another."""


class Management:
    """Reads the cores, and changes them through the controller. now: epoch seconds."""

    def __init__(self, controller: Running) -> None:
        self._controller = controller
        self._mapping = controller.mapping
        self._inventory = controller.mapping.inventory
        self._ledger = controller.ledger

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._controller.config

    def status(self, now: float) -> Status:
        """The controller as a whole."""
        return Status(
            started=self._controller.started or now,
            mappings=self._inventory.registrations_now + self._inventory.static_now,
            registrations=self._inventory.registrations_now,
            last_event=self._ledger.last_event,
            problems=tuple(self._problems()),
            unreachable=unreachable(self._controller.xtrs.values()),
        )

    @property
    def configuration(self) -> Reloading:
        """The configuration file."""
        return self._controller.reloading

    def _problems(self) -> Iterator[str]:
        waiting = ", ".join(change.path for change in self._controller.reloading.waiting)
        if waiting:
            yield f"configuration: in force only after a restart of the controller: {waiting}"
        for name, xtr in self._controller.xtrs.items():
            if xtr.connected_since is None:
                yield f"xtr {name}: its switch is not connected"
            for problem in chain(xtr.problems(), self._controller.registering.problems(name)):
                yield f"xtr {name}: {problem}"
        for problem in show.problems(self._controller.alt_router):
            yield f"alt: {problem}"
        yield from self._controller.interworking.problems(self._controller.alt_router.alt.sessions)

    def site_state(self, name: str, now: float) -> SiteState:
        """The state of a configured site."""
        return self._inventory.site_state(name)

    def xtr_state(self, name: str, now: float) -> XtrState:
        """The state of a configured xTR."""
        return self._controller.xtrs[name].state()

    @property
    def policy(self) -> Policing:
        """The ingress policies."""
        return self._controller.policing

    # --- mapping database ---

    def mappings(self, start: EidPrefix | None, now: float) -> Iterator[MappingEntry]:
        """The mapping database from `start` on, in order. Lazy."""
        return self._inventory.mappings(start)

    def mapping(self, eid: EidPrefix, now: float) -> MappingEntry | None:
        """The entry with exactly this EID-prefix."""
        return self._inventory.mapping(eid)

    def set_mapping(self, mapping: Mapping, now: float) -> list[Action]:
        """Add or replace a static mapping."""
        return self._controller.settle(self._mapping.set_static(mapping, now), now)

    def remove_mapping(self, eid: EidPrefix, now: float) -> list[Action]:
        """Remove a static mapping."""
        return self._controller.settle(self._mapping.remove_static(eid, now), now)

    def judge(self, xtr: str, source: EidPrefix, rloc: IPAddress) -> SourceVerdict | None:
        """What the source guard of an xTR would find out about a source EID and RLOC."""
        core = self._controller.xtrs[xtr]
        if not core.guard.guarding.checks or core.settings.map_resolvers:
            return None
        return self._controller.senders.judge(Verify(xtr, source, rloc))

    def source_guard(self, xtr: str, now: float) -> SourceGuardState:
        """Who may send for which source EID at an xTR, as verified so far."""
        return guard_state(self._controller.xtrs[xtr].guard)

    def registrations(self, start: EidPrefix | None, now: float) -> Iterator[RegistrationEntry]:
        """Live registrations from `start` on, in order. Lazy."""
        name_of = self._controller.registering.name_of
        for entry in self._inventory.registrations(start):
            name = name_of(entry.xtr_id, entry.site_id)
            yield entry if name is None else replace(entry, xtr=name)

    def requester(self, xtr: str, source: EidPrefix | None) -> Requester:
        """As whom a configured xTR asks for a packet from this source EID."""
        return self._controller.requester(xtr, source)

    def answer(self, eid: EidPrefix, requester: Requester, now: float) -> Answer:
        """What this requester would be answered for this EID."""
        return self._mapping.answer(eid, requester, now)

    # --- switches ---

    def map_cache(self, xtr: str, now: float) -> Iterable[MapCacheEntry]:
        """The map-cache of a configured xTR."""
        return self._controller.xtrs[xtr].map_cache_entries(now)

    def clear_map_cache(
        self, xtr: str, eid: EidPrefix | SourceDestPrefix | None, now: float
    ) -> tuple[int, list[Action]]:
        """Forget the entry with exactly this key, or all. Returns how many went."""
        count, actions = self._controller.xtrs[xtr].forget(eid)
        return count, self._controller.settle(actions, now)

    def mobile_eids(self, now: float) -> Iterator[MobileEid]:
        """Where EIDs are that may roam."""
        return self._controller.mobility.eids(now)

    def drain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic leave an RLOC of ours while it is up."""
        return self._controller.drain(rloc, now)

    def undrain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic come back to an RLOC of ours."""
        return self._controller.undrain(rloc, now)

    def wanted(self, xtr: str) -> Ruleset:
        """The rules that the switch of a configured xTR should hold."""
        return self._controller.xtrs[xtr].wanted()

    def exchanges(self, xtr: str) -> Iterable[Exchange]:
        """The newest Map-Requests of a configured xTR, oldest first."""
        return self._controller.exchanges.of(xtr)

    # --- the way of a packet ---

    def trace(self, packet: Packet, now: float) -> Trace:
        """Where a packet goes, and where it stops."""
        return Tracer(self, self._controller.xtrs).trace(packet, now)

    def endpoints(self) -> Iterable[Endpoint]:
        """An EID for each place that packets come from and go to."""
        return Tracer(self, self._controller.xtrs).endpoints()

    # --- what happened ---

    def note(self, dropped: Dropped, now: float) -> list[Action]:
        """Count and keep a refusal of the interface itself."""
        return self._controller.settle([dropped], now)

    def refusals(self) -> Iterable[Refusal]:
        """Drops and refusals, grouped and bounded."""
        return self._ledger.refusals()

    def events(self, after: int) -> Iterable[EventEntry]:
        """Kept events with an id above `after`, oldest first."""
        return self._ledger.events(after)

    def counters(self) -> Iterable[Counter]:
        """Every counter."""
        cores = (xtr.counters() for xtr in self._controller.xtrs.values())
        measured = self._controller.measures.counters()
        native = self._controller.interworking.counters()
        moved = self._controller.mobility.counters()
        alt = show.counters(self._controller.alt_router, self.config)
        beside = chain(native, moved, alt)
        return chain(self._ledger.counters(), self._inventory.counters(), measured, beside, *cores)

    def gauges(self) -> dict[str, int]:
        """How much there is of what in the mapping system, by name."""
        return self._mapping.gauges()

    def distributions(self) -> Iterable[Distribution]:
        """Every histogram."""
        return self._controller.measures.distributions()

    def petrs(self) -> Iterable[PetrState]:
        """The Proxy-ETRs that ITRs of ours use."""
        return self._controller.interworking.petrs()

    def proxy_itrs(self) -> Iterable[ProxyItrState]:
        """Proxy-ITRs of ours and what BGP announces for them."""
        return self._controller.interworking.proxy_itrs()

    def native_ports(self) -> Iterable[NativePortState]:
        """Native ports of our xTRs, Proxy-ETRs among them."""
        return self._controller.interworking.native_ports()

    def alt(self) -> AltState:
        """The Alternative Topology."""
        return show.alt_state(self._controller.alt_router, self.config)

    def alt_routes(self, start: IPNetwork | None) -> Iterator[AltRoute]:
        """Its best routes from `start` on, in order. Lazy."""
        return show.alt_routes(self._controller.alt_router, start)

    def alt_route(self, eid: EidPrefix) -> AltRoute | None:
        """By which a Map-Request for an EID travels; None where it does not go there."""
        return show.alt_route(self._controller.alt_router, eid)

    def bgp(self) -> BgpState:
        """The BGP speaker and its sessions."""
        return show.bgp_state(self._controller.alt_router, self.config)

    def inbound(self) -> Iterator[Inbound]:
        """What came in by every RLOC of every xTR of ours."""
        inflow = self._controller.inflow
        for xtr in self._controller.config.xtrs:
            for entry in xtr.rlocs:
                yield Inbound(
                    xtr.name,
                    entry.rloc,
                    xtr.site,
                    inflow.octets.get(entry.rloc, 0),
                    entry.priority,
                    entry.weight,
                    inflow.rates.get(entry.rloc),
                )
