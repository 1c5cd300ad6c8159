"""What REST and CLI need of the controller, and nothing more.

`lisp_sdn.management.Management` implements `Backend`; tests implement it with a fake. Values are
those of `lisp_sdn.views`, on the ground floor, so that no part imports from here.

A name or EID that does not exist is answered with None; the caller turns it into a 404. A change
that cannot be made raises `LispError` with a sentence for the operator, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from lisp_sdn.actions import Action, Dropped
from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork, SourceDestPrefix
from lisp_sdn.alt_views import AltRoute, AltState, BgpState
from lisp_sdn.config import Config
from lisp_sdn.config.changes import ConfigChange
from lisp_sdn.model import Answer, Mapping, Requester
from lisp_sdn.policy import BalanceStatus, Change, Explanation, PolicyVersion, RuleChange
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.reloading import Candidate
from lisp_sdn.rules import Ruleset
from lisp_sdn.trace import Endpoint, Packet, Trace
from lisp_sdn.views import (
    Counter,
    Distribution,
    EventEntry,
    Exchange,
    FlowChange,
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

if TYPE_CHECKING:
    from lisp_sdn.management import Management
    from lisp_sdn.policing import Policing

    def _conforms(management: Management) -> Backend:
        """Fails the type check when the two drift apart."""
        return management

    def _policing_conforms(policing: Policing) -> PolicyBackend:
        """Likewise."""
        return policing


class PolicyBackend(Protocol):
    """Ingress policies. `lisp_sdn.policing.Policing` implements it. now, at: epoch seconds."""

    @property
    def policies(self) -> tuple[SitePolicy, ...]:
        """The policies in force."""

    def history(self) -> tuple[PolicyVersion, ...]:
        """Every version that is kept, newest first."""

    def apply(
        self, policies: Iterable[SitePolicy], *, who: str, why: str, now: float
    ) -> tuple[PolicyVersion, list[Action]]:
        """Put policies of some sites in force; one without rules removes the site's.

        Raises InvalidPolicy, StoreError; then nothing changed.
        """

    def rollback(
        self, version: int, *, who: str, why: str, now: float
    ) -> tuple[PolicyVersion, list[Action]]:
        """Put all policies of an earlier version in force. Raises also FieldError."""

    def explain(self, eid: EidPrefix, requester: Requester, at: float) -> Explanation | None:
        """Why a requester gets his answer; None when nothing is registered for the EID."""

    def compare(
        self, policies: Iterable[SitePolicy], now: float
    ) -> tuple[tuple[RuleChange, ...], Iterator[Change]]:
        """Which rules and whose answers `apply` would change; lazy. Raises InvalidPolicy."""

    @property
    def balance_status(self) -> tuple[BalanceStatus, ...]:
        """What every closed loop is doing."""

    def flow_changes(self, policies: Iterable[SitePolicy], now: float) -> Iterator[FlowChange]:
        """Which map-cache flows of our switches `apply` would change. Raises InvalidPolicy."""


class ConfigurationBackend(Protocol):
    """The configuration file. `lisp_sdn.reloading.Reloading` implements it. now: epoch seconds."""

    @property
    def waiting(self) -> tuple[ConfigChange, ...]:
        """What the file said when it was put in force, and needs a restart."""

    @property
    def reloaded(self) -> float | None:
        """When it was put in force while the controller ran."""

    def candidate(self) -> Candidate:
        """Read and judge it; nothing is changed. Raises ConfigError."""

    def reload(
        self, now: float, *, who: str, digest: str | None = None
    ) -> tuple[Candidate, list[Action]]:
        """Put it in force. Raises ConfigError, StaleConfiguration, StoreError."""


class Backend(Protocol):
    """The controller as REST and CLI see it. now: epoch seconds."""

    @property
    def configuration(self) -> ConfigurationBackend:
        """The configuration file."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    def status(self, now: float) -> Status:
        """The controller as a whole."""

    def site_state(self, name: str, now: float) -> SiteState:
        """The state of a configured site."""

    def xtr_state(self, name: str, now: float) -> XtrState:
        """The state of a configured xTR."""

    # --- mapping database ---

    def mappings(self, start: EidPrefix | None, now: float) -> Iterator[MappingEntry]:
        """The mapping database in the order of `EidPrefix.sort_key`, a static entry hiding a
        registered one with the same EID-prefix.

        start: begin with the first that is not below this one, None with the first of all.
        Lazy, and quick to start anywhere: a caller takes a page of a million and stops.
        """

    def mapping(self, eid: EidPrefix, now: float) -> MappingEntry | None:
        """The entry with exactly this EID-prefix; a static one hides a registered one."""

    def set_mapping(self, mapping: Mapping, now: float) -> list[Action]:
        """Add or replace a static mapping."""

    def remove_mapping(self, eid: EidPrefix, now: float) -> list[Action]:
        """Remove a static mapping; the caller has seen that it exists."""

    def registrations(self, start: EidPrefix | None, now: float) -> Iterator[RegistrationEntry]:
        """Live registrations, as `mappings`; those of one EID-prefix in any order."""

    def requester(self, xtr: str, source: EidPrefix | None) -> Requester:
        """As whom a configured xTR asks for a packet from this source EID."""

    def answer(self, eid: EidPrefix, requester: Requester, now: float) -> Answer:
        """What this requester would be answered for this EID. Changes and counts nothing."""

    @property
    def policy(self) -> PolicyBackend:
        """The ingress policies."""

    # --- switches ---

    def map_cache(self, xtr: str, now: float) -> Iterable[MapCacheEntry]:
        """The map-cache of a configured xTR, in any order."""

    def source_guard(self, xtr: str, now: float) -> SourceGuardState:
        """The source guard of a configured xTR."""

    def clear_map_cache(
        self, xtr: str, eid: EidPrefix | SourceDestPrefix | None, now: float
    ) -> tuple[int, list[Action]]:
        """Forget the entry with exactly this key, or all. Returns how many went."""

    def mobile_eids(self, now: float) -> Iterable[MobileEid]:
        """Where EIDs are that may roam, in any order."""

    def drain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic leave an RLOC of ours while it is up."""

    def undrain(self, rloc: IPAddress, now: float) -> list[Action]:
        """Let traffic come back to an RLOC of ours."""

    def wanted(self, xtr: str) -> Ruleset:
        """The rules that the switch of a configured xTR should hold."""

    def exchanges(self, xtr: str) -> Iterable[Exchange]:
        """The newest Map-Requests of a configured xTR, oldest first."""

    # --- the way of a packet ---

    def trace(self, packet: Packet, now: float) -> Trace:
        """Where a packet goes, and where it stops. Changes, sends and counts nothing."""

    def endpoints(self) -> Iterable[Endpoint]:
        """An EID for each place that packets come from and go to, in any order."""

    # --- what happened ---

    def note(self, dropped: Dropped, now: float) -> list[Action]:
        """Count and keep a refusal of the interface itself."""

    def refusals(self) -> Iterable[Refusal]:
        """Drops and refusals, grouped and bounded, in any order."""

    def events(self, after: int) -> Iterable[EventEntry]:
        """Kept events with an id above `after`, oldest first."""

    def counters(self) -> Iterable[Counter]:
        """Every counter."""

    def gauges(self) -> dict[str, int]:
        """How much there is of what in the mapping system, by name."""

    def distributions(self) -> Iterable[Distribution]:
        """Every histogram."""

    def petrs(self) -> Iterable[PetrState]:
        """The Proxy-ETRs that ITRs of ours use."""

    def proxy_itrs(self) -> Iterable[ProxyItrState]:
        """Proxy-ITRs of ours and what BGP announces for them."""

    def native_ports(self) -> Iterable[NativePortState]:
        """Native ports of our xTRs, Proxy-ETRs among them."""

    def alt(self) -> AltState:
        """The Alternative Topology."""

    def alt_routes(self, start: IPNetwork | None) -> Iterator[AltRoute]:
        """Its best routes from `start` on, by family, address, mask length. Lazy."""

    def alt_route(self, eid: EidPrefix) -> AltRoute | None:
        """By which a Map-Request for an EID travels; None where it does not go there."""

    def bgp(self) -> BgpState:
        """The BGP speaker and its sessions."""

    def inbound(self) -> Iterable[Inbound]:
        """What came in by every RLOC of every xTR of ours."""
