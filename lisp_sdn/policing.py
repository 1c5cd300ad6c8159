"""Policies as REST and CLI change them: judge, put in force, tell everybody whom it concerns.

The implementation of `lisp_sdn.api.backend.PolicyBackend`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Protocol

from lisp_sdn.actions import Action, Dropped, Event
from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.config import Config
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.faces import Concerns, Face
from lisp_sdn.model import Mapping as EidMapping
from lisp_sdn.model import Requester
from lisp_sdn.policy import (
    Balancers,
    BalanceStatus,
    Change,
    Conditions,
    Explanation,
    LoadMeter,
    PolicyBook,
    PolicyEngine,
    PolicyVersion,
    RlocLoad,
    RuleChange,
    Sites,
    affected,
    diff,
    explain,
    rule_changes,
)
from lisp_sdn.policy.concern import Asked, Concern
from lisp_sdn.policy.weights import WeightStore
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.views import CachedAnswer, FlowChange, MappingEntry

MAX_COMPARED = 2_000
"""Mappings of a site that are compared one by one when its policy changes. Of a larger site every
EID-prefix counts as changed: asking again costs less than comparing."""

LOAD_INTERVAL = 2.0
"""Seconds between two looks at the inbound load that conditions of rules ask for."""

Listing = Callable[[EidPrefix | None], Iterator[MappingEntry]]
Cached = Callable[[], Iterable[CachedAnswer]]
Settle = Callable[[Iterable[Action], float], list[Action]]


class Changed(Protocol):
    """Tells our xTRs and foreign ITRs that an answer may differ."""

    def __call__(
        self, eid: EidPrefix, now: float, *, part: bool, inside: bool, concerns: Concerns
    ) -> list[Action]:
        """part: of a registered EID-prefix. inside: in it, too. concerns: which foreign ITRs."""


class Policing:
    """Joins the book, which keeps the versions, to the engine, which decides.

    mappings: the mapping database in order, from an EID-prefix on. changed: tells our xTRs and
    foreign ITRs that an answer may differ. settle: counts and keeps events. cached: what our xTRs
    hold. asks: as whom an xTR of ours asks for a packet from a source EID. weights: keeps those of
    balance rules.
    """

    def __init__(
        self,
        config: Config,
        book: PolicyBook,
        engine: PolicyEngine,
        *,
        mappings: Listing,
        changed: Changed,
        settle: Settle,
        cached: Cached,
        asks: Callable[[str, EidPrefix | None], Requester],
        weights: WeightStore | None = None,
    ) -> None:
        self._config = config
        self._book = book
        self._engine = engine
        self._mappings = mappings
        self._changed = changed
        self._settle = settle
        self._cached = cached
        self._asks = asks
        self._kept = weights or WeightStore(None)
        self._balancers = Balancers(engine.policies)
        self._meters: dict[str, LoadMeter] = {}
        self._looked: float | None = None
        self._window: float | None = None

    def start(self, now: float) -> list[Action]:
        """Put in force what the book recovers. Raises StoreError."""
        self._engine.set_policies(self._book.start(now))
        self._balancers = Balancers((), self._kept.load())
        self._follow(now)
        unreadable = [Event("policy.unreadable", text) for text in self._book.unreadable]
        return self._settle(unreadable, now)

    def judge(self, config: Config) -> None:
        """Whether `reconfigure` would take it. Raises InvalidPolicy."""
        self._book.judge_configuration(config)

    def reconfigure(self, config: Config, now: float) -> list[Action]:
        """Go on with the sites, xTRs and policies of another configuration.

        Raises InvalidPolicy, StoreError; then nothing changed.
        """
        before, known = self._engine.copy(), self._book.version
        self._book.configure(config, now)
        self._config = config
        self._engine.set_sites(Sites.from_config(config))
        if self._book.version != known:
            return self._take_effect(self._book.history()[0], now)
        return self._tell(before, self._sites(), now, now)

    @property
    def policies(self) -> tuple[SitePolicy, ...]:
        """The policies in force."""
        return self._book.policies

    def parse(self, text: str) -> tuple[SitePolicy, ...]:
        """Read a candidate and judge it as `apply` would. Raises InvalidPolicy."""
        return self._book.parse(text)

    def history(self) -> tuple[PolicyVersion, ...]:
        """Every version that is kept, newest first."""
        return self._book.history()

    def apply(
        self, policies: Iterable[SitePolicy], *, who: str, why: str, now: float
    ) -> tuple[PolicyVersion, list[Action]]:
        """Put policies of some sites in force. Raises InvalidPolicy, FieldError, StoreError."""
        version = self._book.apply(policies, if_match="*", who=who, why=why, now=now)
        return version, self._take_effect(version, now)

    def rollback(
        self, version: int, *, who: str, why: str, now: float
    ) -> tuple[PolicyVersion, list[Action]]:
        """Put an earlier version in force again. Raises as `apply` does."""
        found = self._book.rollback(version, who=who, why=why, now=now)
        return found, self._take_effect(found, now)

    def explain(self, eid: EidPrefix, requester: Requester, at: float) -> Explanation | None:
        """Why a requester gets his answer; None when nothing is registered for the EID."""
        mapping = self._registered(eid)
        if mapping is None:
            return None
        return explain(self._engine, self._engine.narrow(mapping, eid), requester, at)

    def compare(
        self, policies: Iterable[SitePolicy], now: float
    ) -> tuple[tuple[RuleChange, ...], Iterator[Change]]:
        """What would change, without changing anything. Raises InvalidPolicy."""
        wanted = tuple(policies)
        self._book.judge(wanted)
        merged = self._book.merged(wanted)
        candidate = self._engine.copy()
        candidate.set_policies(merged)
        rules = rule_changes(self._book.policies, merged)
        sites = {change.site for change in rules} | {policy.site for policy in wanted}
        return rules, diff(self._engine, candidate, self._of_sites(sites), now)

    def flow_changes(self, policies: Iterable[SitePolicy], now: float) -> Iterator[FlowChange]:
        """The map-cache flows of our switches that would change. Raises InvalidPolicy."""
        wanted = tuple(policies)
        self._book.judge(wanted)
        candidate = self._engine.copy()
        candidate.set_policies(self._book.merged(wanted))
        numbers = {xtr.name: xtr.datapath_id for xtr in self._config.xtrs}
        for held in self._cached():
            mapping = self._registered(held.destination)
            if mapping is None:
                continue
            source = held.eid.source if isinstance(held.eid, SourceDestPrefix) else held.asked
            requester = self._asks(held.xtr, source)
            old, new = (
                engine.evaluate(engine.narrow(mapping, held.destination), requester, now)
                for engine in (self._engine, candidate)
            )
            if (old.mapping, old.scope) != (new.mapping, new.scope):
                yield FlowChange(held.xtr, numbers[held.xtr], held.eid, old, new)

    # --- conditions: load, health, time ---

    @property
    def balance_status(self) -> tuple[BalanceStatus, ...]:
        """What every closed loop is doing."""
        return self._balancers.status()

    @property
    def interval(self) -> float | None:
        """Seconds between two looks at the inbound load; None while no rule asks for it."""
        if self._balancers.active:
            return self._balancers.interval
        rules = (rule for policy in self._book.policies for rule in policy.rules)
        return LOAD_INTERVAL if any(rule.match.load for rule in rules) else None

    def load(self, octets: Mapping[IPAddress, int], now: float) -> list[Action]:
        """Take the inbound octet counters of all RLOCs of ours."""
        conditions = self._engine.conditions
        down = [rloc for rloc, up in conditions.up.items() if not up]
        weights = self._balancers.observe(octets, now, down)
        actions: list[Action] = []
        if weights is not None:
            for status in self._balancers.status():
                data = {"weights": {str(k): v for k, v in status.weights.items()}}
                actions += self._settle(
                    [Event("policy.balanced", f"{status.site}/{status.rule}", data)], now
                )
            actions += self._settle(self._keep(now), now)
        changed = replace(conditions, load=self._loads(octets, now))
        if weights is not None:
            changed = replace(changed, weights=weights)
        return actions + self._condition(changed, now)

    def health(self, down: frozenset[IPAddress], now: float) -> list[Action]:
        """Which RLOCs of ours cannot be reached now; all others can."""
        conditions = self._engine.conditions
        known = {rloc for rloc, up in conditions.up.items() if not up}
        if known == down:
            return []
        up = {rloc: rloc not in down for rloc in conditions.up.keys() | down}
        return self._condition(replace(conditions, up=up), now)

    def next_timer(self) -> float | None:
        """When a time window opens or closes; None without one."""
        return self._window

    def handle_timer(self, now: float) -> list[Action]:
        """A time window has opened or closed: ask for the answers again."""
        since, actions = self._looked, list[Action]()
        if since is not None:
            actions = self._tell(self._engine, self._sites(), now, since)
        self._follow(now)
        return actions

    def _follow(self, now: float) -> None:
        self._balancers.configure(self._engine.policies)
        # A loop whose target was changed goes on from the weights that it had: so do the answers.
        weights = self._balancers.weights
        if weights != self._engine.conditions.weights:
            self._engine.set_conditions(replace(self._engine.conditions, weights=weights))
        self._looked, self._window = now, self._engine.next_change(now)

    def _keep(self, now: float) -> list[Action]:
        """Weights that cannot be kept are in force all the same, until a restart."""
        try:
            self._kept.save(self._balancers.weights, now)
        except StoreError as error:
            return [Dropped("policy", "write_failed", str(error))]
        return []

    def _sites(self) -> list[str]:
        return sorted(policy.site for policy in self._engine.policies)

    def _loads(self, octets: Mapping[IPAddress, int], now: float) -> dict[IPAddress, RlocLoad]:
        by_site: dict[str, dict[IPAddress, int]] = {}
        for rloc, count in octets.items():
            site = self._engine.sites.of_rloc(rloc)
            if site is not None:
                by_site.setdefault(site, {})[rloc] = count
        loads: dict[IPAddress, RlocLoad] = {}
        for site, counts in by_site.items():
            loads.update(self._meters.setdefault(site, LoadMeter()).observe(counts, now))
        return loads

    def _condition(self, conditions: Conditions, now: float) -> list[Action]:
        before = self._engine.copy()
        if not self._engine.set_conditions(conditions):
            return []
        return self._tell(before, self._sites(), now, now)

    def _take_effect(self, version: PolicyVersion, now: float) -> list[Action]:
        before = self._engine.copy()
        self._engine.set_policies(self._book.policies)
        self._follow(now)
        sites = sorted({change.site for change in version.changes})
        data = {"who": version.who, "why": version.why, "what": version.what, "sites": sites}
        changed: list[Action] = [Event("policy.changed", str(version.version), data)]
        actions = self._settle([*changed, *self._keep(now)], now)
        return actions + self._tell(before, sites, now, now)

    def _tell(
        self, before: PolicyEngine, sites: Iterable[str], now: float, since: float
    ) -> list[Action]:
        """Tell everybody whose answer differs from what `before` gave at the time `since`."""
        concern = Concern(before, since, self._engine, now, self._registered)
        actions: list[Action] = []
        for site in sites:
            mappings = list(islice(self._of_sites({site}), MAX_COMPARED + 1))
            if len(mappings) > MAX_COMPARED:
                actions += self._tell_all(site, now)
                continue
            for eid in affected(before, self._engine, mappings, now, since=since):
                part, asked = concern.of(eid)
                actions += self._changed(
                    eid, now, part=part, inside=False, concerns=_of_face(asked)
                )
        return actions

    def _tell_all(self, site: str, now: float) -> list[Action]:
        settings = self._config.site(site)
        actions: list[Action] = []
        for entry in settings.eid_prefixes if settings else ():
            actions += self._changed(
                entry.eid, now, part=False, inside=True, concerns=lambda face: True
            )
        return actions

    def _of_sites(self, names: Iterable[str]) -> Iterator[EidMapping]:
        """The mappings inside of the EID-prefixes of sites, each once."""
        wanted = set(names)
        owned = sorted(
            entry.eid
            for site in self._config.sites
            if site.name in wanted
            for entry in site.eid_prefixes
        )
        end: EidPrefix | None = None
        for prefix in owned:
            if end is not None and end.covers(prefix):
                continue
            end = prefix
            for entry in self._mappings(prefix):
                if not prefix.covers(entry.eid):
                    break
                yield entry.mapping

    def _registered(self, eid: EidPrefix) -> EidMapping | None:
        """The most specific mapping that covers an EID."""
        for length in range(eid.prefixlen, -1, -1):
            wider = EidPrefix(eid.iid, eid.network.supernet(new_prefix=length))
            found = next(self._mappings(wider), None)
            if found is not None and found.eid == wider:
                return found.mapping
        return None


def _of_face(asked: Asked) -> Concerns:
    def concerns(face: Face) -> bool:
        return asked(face.requesters, face.sources)

    return concerns
