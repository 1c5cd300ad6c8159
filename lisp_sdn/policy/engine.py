"""The policy engine: who asks for what, and when, to the RLOC-set that he gets (RFC 9300 9.).

`evaluate` is a function of the policies, the sites, the conditions and its arguments. What it
found for a mapping it keeps: requesters that the same rules match share one finished answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice

import pytricia

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.model import Answer, Mapping, Requester
from lisp_sdn.policy.conditions import Conditions, Latched, latch
from lisp_sdn.policy.index import SiteIndex, bits
from lisp_sdn.policy.rlocset import Outcome, Shapes, act
from lisp_sdn.policy.sites import Sites, lpm
from lisp_sdn.policy_settings import SitePolicy

MAX_VIEWS = 10_000
"""Mappings whose answers are kept; the oldest goes first."""

MAX_PLACES = 65_536
"""ITR-RLOCs that are remembered per site."""

MAX_ANSWERS = 4096
"""Classes of requesters, and per class scopes of source EIDs, kept for one mapping."""


@dataclass(slots=True)
class _Decision:
    """What one class of requesters gets; compared by identity."""

    answer: Answer
    winner: int


@dataclass(slots=True)
class _Class:
    """The answers of the requesters that the same rules match, the source EID apart.

    candidates: these rules. relevant: those of them that depend on the source EID and can still
    change the answer. changes: when the windows of rules that are or could be candidates open or
    close. scopes: source EID -> Answer, filled as sources ask.
    """

    candidates: int
    changes: dict[int, float]
    without_source: Answer
    relevant: int = 0
    decisions: dict[tuple[int | None, tuple[str, ...]], _Decision] = field(default_factory=dict)
    by_rules: dict[int, _Decision] = field(default_factory=dict)
    scopes: pytricia.PyTricia | None = None


@dataclass(slots=True)
class _Site:
    """The policy of a site with what the conditions and the lookups make of it.

    holding: the rules whose health and load conditions hold. places: packed ITR-RLOC -> the rules
    whose conditions on it hold. shapes: RLOC-sets after a rule.
    """

    index: SiteIndex
    holding: int
    places: dict[bytes, int] = field(default_factory=dict)
    shapes: Shapes = field(default_factory=dict)

    def place(self, requester: Requester, sites: Sites) -> int:
        """`SiteIndex.place`, remembered per ITR-RLOC."""
        if requester.xtr is not None or not requester.itr_rlocs:
            return self.index.place(requester, sites)
        rules = 0
        for rloc in requester.itr_rlocs:
            key = rloc.packed
            known = self.places.get(key)
            if known is None:
                if len(self.places) >= MAX_PLACES:
                    self.places.clear()
                known = self.index.rloc(rloc) & self.index.site(sites.of_rloc(rloc))
                self.places[key] = known
            rules |= known
        return rules


@dataclass(slots=True)
class _View:
    """What is known about one mapping. site: None when no policy is for it."""

    mapping: Mapping
    site: _Site | None
    destination: int
    network: type
    classes: dict[int, _Class] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    parts: dict[EidPrefix, Mapping] = field(default_factory=dict)


@dataclass(slots=True)
class _Period:
    """A span of time in which no window opens or closes."""

    start: float = 0.0
    end: float = 0.0
    open: dict[str, int] = field(default_factory=dict)
    changes: dict[str, dict[int, float]] = field(default_factory=dict)


class PolicyEngine:
    """Answers for the mapping system (`model.AnswerPolicy`)."""

    def __init__(
        self,
        policies: Iterable[SitePolicy] = (),
        sites: Sites | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        self._sites = sites or Sites()
        self._conditions = conditions or Conditions()
        self._latched: Latched = frozenset()
        self._indexes: dict[str, SiteIndex] = {}
        self._by_site: dict[str, _Site] = {}
        self._views: dict[int, _View] = {}
        self._period: _Period | None = None
        self._generation = 0
        self.set_policies(policies)

    # --- state ---------------------------------------------------------------------------

    @property
    def policies(self) -> tuple[SitePolicy, ...]:
        """The policies in force."""
        return tuple(index.policy for index in self._indexes.values())

    @property
    def sites(self) -> Sites:
        """Who is who."""
        return self._sites

    @property
    def conditions(self) -> Conditions:
        """What is known about the network."""
        return self._conditions

    @property
    def latched(self) -> Latched:
        """The load conditions that hold."""
        return self._latched

    def index(self, site: str) -> SiteIndex | None:
        """The compiled policy of a site."""
        return self._indexes.get(site)

    def holding(self, site: str) -> int:
        """The rules of a site whose health and load conditions hold."""
        return self._by_site[site].holding

    def set_policies(self, policies: Iterable[SitePolicy]) -> bool:
        """Put other policies in force; True when one differs. Unchanged sites cost nothing."""
        before = self._indexes
        indexes: dict[str, SiteIndex] = {}
        for policy in policies:
            known = before.get(policy.site)
            same = known is not None and known.policy == policy
            indexes[policy.site] = known if same and known else SiteIndex(policy)
        changed = indexes != before
        self._indexes = indexes
        self._latched = latch(self.policies, self._conditions, self._latched)
        self._forget()
        return changed

    def set_sites(self, sites: Sites) -> bool:
        """Other lookups, for instance after a registration; True when they differ."""
        if sites == self._sites:
            return False
        self._sites = sites
        self._forget()
        return True

    def set_conditions(self, conditions: Conditions) -> bool:
        """Take a new snapshot; True when an answer may have changed."""
        latched = latch(self.policies, conditions, self._latched)
        same = (
            latched == self._latched
            and conditions.up == self._conditions.up
            and conditions.weights == self._conditions.weights
        )
        self._conditions = conditions
        self._latched = latched
        if not same:
            self._forget()
        return not same

    def copy(self) -> PolicyEngine:
        """An engine in the same state, to try something on."""
        twin = PolicyEngine((), self._sites, self._conditions)
        twin._indexes = dict(self._indexes)
        twin._latched = self._latched
        twin._forget()
        return twin

    def _forget(self) -> None:
        self._generation += 1
        self._views.clear()
        self._period = None
        self._by_site = {
            site: _Site(index, index.holding(self._conditions, self._latched))
            for site, index in self._indexes.items()
        }

    # --- answers -------------------------------------------------------------------------

    def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
        """The answer that this requester gets for a registered mapping. now: epoch seconds."""
        period = self._period
        if period is None or not period.start <= now < period.end:
            self._at(now)
        # The view holds the mapping, so its id is not given to another one meanwhile.
        view = self._views.get(id(mapping)) or self._add_view(mapping)
        site = view.site
        if site is None:
            return view.classes[0].without_source
        candidates = (
            view.destination & site.index.asking(requester) & site.place(requester, self._sites)
        )
        group = view.classes.get(candidates)
        if group is None:
            group = self._classify(view, site, candidates)
        source = requester.source_eid
        if not group.relevant or source is None:
            return group.without_source
        network = source.network
        if source.iid != mapping.eid.iid or type(network) is not view.network:
            return group.without_source
        if group.scopes is not None:
            known: Answer | None = group.scopes.get(network.network_address.packed)
            if known is not None:
                return known
        return self._scoped(view, site, group, int(network.network_address))

    def decide(self, mapping: Mapping, matching: int, now: float) -> tuple[int | None, Mapping]:
        """Which of the matching rules decides, and the mapping that it gives: for comparisons."""
        self._at(now)
        view = self._views.get(id(mapping)) or self._add_view(mapping)
        if view.site is None:
            return None, mapping
        winner, answer, _ = self._first(view, view.site.index, matching)
        return winner, answer

    def narrow(self, mapping: Mapping, asked: EidPrefix) -> Mapping:
        """The part of a mapping around `asked` that the same rules are for.

        A rule for an EID-prefix more specific than the registered one decides only for this
        part, so the answer must not claim more. The mapping itself when there is no such rule.
        """
        site = self._sites.owner(mapping.eid)
        index = self._indexes.get(site) if site else None
        if index is None or not index.more_specifics:
            return mapping
        part = index.block_inside(mapping.eid, asked)
        if part == mapping.eid:
            return mapping
        view = self._views.get(id(mapping))
        if view is None or view.mapping is not mapping:
            view = self._add_view(mapping)
        known = view.parts.get(part)
        if known is None:
            if len(view.parts) >= MAX_ANSWERS:
                view.parts.clear()
            known = view.parts[part] = replace(mapping, eid=part)
        return known

    # --- classes of requesters: what lets others keep finished answers -----------------------

    @property
    def generation(self) -> int:
        """Another number after every change but those of the clock, see `next_change`."""
        return self._generation

    def group(self, eid: EidPrefix) -> tuple[str, int, int] | None:
        """Whose rules decide about an EID-prefix; None when nobody's do."""
        site = self._sites.owner(eid)
        return (site, eid.iid, eid.version) if site is not None and site in self._by_site else None

    def requester_class(self, group: tuple[str, int, int], requester: Requester) -> int:
        """Requesters of one class get the same answer for every EID-prefix of the group.

        It is the set of rules whose conditions on the requester, source EID included, hold.
        """
        name, iid, version = group
        site = self._by_site[name]
        rules = site.index.asking(requester) & site.place(requester, self._sites)
        source = requester.source_eid
        if source is None or source.iid != iid or source.version != version:
            return rules & site.index.any_source
        sources = site.index.sources[version]
        return rules & sources.rules(int(source.network.network_address), sources.bits)

    def even(self, eid: EidPrefix) -> bool:
        """Whether no rule tells EID-prefixes inside `eid` apart, nor parts of one.

        Then what a mapping holds beside its EID-prefix decides about the answers for it.
        """
        site = self._sites.owner(eid)
        index = self._indexes.get(site) if site else None
        return index is None or (eid.iid, eid.version) not in index.more_specifics

    def ground(self, eid: EidPrefix) -> int | None:
        """The rules that are for an EID-prefix; None when some are for a part of it only.

        Mappings of one group that agree in this and in all but their EID-prefix get equal answers.
        """
        site = self._sites.owner(eid)
        index = self._indexes.get(site) if site else None
        if index is None:
            return 0
        known = index.more_specifics.get((eid.iid, eid.version))
        network = eid.network
        if known is not None and known.inside(int(network.network_address), network.prefixlen):
            return None
        return index.destination(eid)

    def next_change(self, now: float) -> float | None:
        """When the next time window opens or closes; None when there is none."""
        end = self._at(now).end
        return None if end == float("inf") else end

    def open(self, site: str, now: float) -> int:
        """The rules of a site with an open time window, or without one."""
        return self._at(now).open[site]

    # --- how it is found -----------------------------------------------------------------

    def _at(self, now: float) -> _Period:
        period = self._period
        if period is None or not period.start <= now < period.end:
            period = _Period(start=now, end=float("inf"))
            for site, index in self._indexes.items():
                period.open[site] = index.open(now)
                changes = period.changes[site] = index.changes(now)
                period.end = min([period.end, *changes.values()])
            self._period = period
            self._views.clear()
        return period

    def _add_view(self, mapping: Mapping) -> _View:
        owner = self._sites.owner(mapping.eid)
        site = self._by_site.get(owner) if owner else None
        kind = type(mapping.eid.network)
        if site is None:
            default = _Class(0, {}, Answer(mapping))
            view = _View(mapping, None, 0, kind, classes={0: default})
        else:
            view = _View(mapping, site, site.index.destination(mapping.eid), kind)
        if len(self._views) >= MAX_VIEWS:
            for key in list(islice(self._views, MAX_VIEWS // 10)):
                del self._views[key]
        self._views[id(mapping)] = view
        return view

    def _classify(self, view: _View, site: _Site, candidates: int) -> _Class:
        index = site.index
        name = index.policy.site
        period = self._period
        assert period is not None, "evaluate starts a period"
        active = candidates & period.open[name] & site.holding
        moments = period.changes[name]
        changes = {i: moments[i] for i in bits(candidates & index.timed) if i in moments}
        group = _Class(active, changes, Answer(view.mapping))
        common = self._decide(view, index, group, index.any_source)
        group.without_source = common.answer
        # The winner among the rules for any source matches everywhere: later ones never decide.
        before = (1 << common.winner) - 1
        group.relevant = active & ~index.any_source & before
        if len(view.classes) >= MAX_ANSWERS:
            view.classes.clear()
        view.classes[candidates] = group
        return group

    def _decide(self, view: _View, index: SiteIndex, group: _Class, matching: int) -> _Decision:
        """The first of the matching rules that leaves a usable RLOC, or the registered set."""
        matching &= group.candidates
        known = group.by_rules.get(matching)
        if known is not None:
            return known
        winner, answer, warnings = self._first(view, index, matching)
        key = (winner, warnings)
        known = group.decisions.get(key)
        if known is None:
            last = len(index.rules) if winner is None else winner
            moments = (at for i, at in group.changes.items() if i <= last)
            decided = Answer(
                answer,
                rule=None if winner is None else index.rules[winner].name,
                warnings=warnings,
                valid_until=min(moments, default=None),
            )
            known = group.decisions[key] = _Decision(decided, last)
        group.by_rules[matching] = known
        return known

    def _first(
        self, view: _View, index: SiteIndex, matching: int
    ) -> tuple[int | None, Mapping, tuple[str, ...]]:
        warnings: tuple[str, ...] = ()
        for i in bits(matching):
            outcome = self._outcome(view, index, i)
            warnings += outcome.warnings
            if outcome.mapping is not None:
                return i, outcome.mapping, warnings
        return None, view.mapping, warnings

    def _outcome(self, view: _View, index: SiteIndex, rule: int) -> Outcome:
        known = view.outcomes.get(rule)
        if known is None:
            policy = index.policy
            known = view.outcomes[rule] = act(
                policy.site,
                index.rules[rule],
                view.mapping,
                self._conditions,
                policy.allow_unregistered_rlocs,
                self._by_site[policy.site].shapes,
            )
        return known

    def _scoped(self, view: _View, site: _Site, group: _Class, source: int) -> Answer:
        """The answer for a source EID, with the widest scope that gets the same."""
        eid = view.mapping.eid
        sources = site.index.sources[eid.version]

        def verdict(rules: int) -> _Decision:
            return self._decide(view, site.index, group, rules)

        answer = verdict(sources.rules(source, sources.bits)).answer
        start, length = sources.widest(source, verdict, group.relevant)
        network = view.network((start, length))
        if length:
            answer = replace(answer, scope=SourceDestPrefix(EidPrefix(eid.iid, network), eid))
        if group.scopes is None or len(group.scopes) >= MAX_ANSWERS:
            group.scopes = lpm(eid.version)
            group.by_rules.clear()
        group.scopes.insert(network, answer)
        return answer
