"""What a change would do: every class of requesters that gets another answer, by evaluation.

Requesters are infinitely many, but the rules tell apart only finitely many classes of them. One
decision per class is compared. Classes for which no differing rule is a candidate are skipped
together, so a small change to a large policy is looked through quickly.

A request with several ITR-RLOCs gets the earliest rule that one of them reaches. For any such
request the two ITR-RLOCs that decide in the old and in the new policy suffice: larger sets cannot
bring a new difference, and a pair can only where one of the two is decided by another rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Answer, Locator, Mapping, Requester
from lisp_sdn.policy.classes import Enumeration, Option, Pair, Side, both, joined
from lisp_sdn.policy.conditions import Conditions
from lisp_sdn.policy.engine import PolicyEngine
from lisp_sdn.policy.explanation import answer_dict, requester_dict
from lisp_sdn.policy.index import SiteIndex, bits
from lisp_sdn.policy.rlocset import usable
from lisp_sdn.policy.rulechanges import common
from lisp_sdn.policy.sites import Sites
from lisp_sdn.policy_settings import PolicyRule, SitePolicy

MAX_CLASSES = 10_000
"""Classes of requesters that are compared for one EID-prefix; beyond, it counts as changed."""

PLAIN_XTRS = 16
"""xTRs of ours that are tried before the classes of requesters are enumerated."""

MAX_RLOC_SETS = 10_000
"""RLOC-sets for which it is remembered which rules differ."""

MAX_CLASSES_KEPT = 100_000
"""Classes of requesters remembered while many mappings are compared."""


@dataclass(frozen=True, slots=True)
class Change:
    """One class of requesters with another answer for one mapping.

    who: the class in words. requester: one of its members, to evaluate or explain with. mapping:
    the registered one, or the part of it that the differing rules are for.
    """

    mapping: Mapping
    who: str
    requester: Requester
    old: Answer
    new: Answer

    def to_dict(self) -> dict[str, object]:
        """Plain values, as REST gives them."""
        return {
            "eid_prefix": str(self.mapping.eid),
            "who": self.who,
            "requester": requester_dict(self.requester),
            "old": answer_dict(self.old),
            "new": answer_dict(self.new),
        }


def diff(
    old: PolicyEngine,
    new: PolicyEngine,
    mappings: Iterable[Mapping],
    now: float,
    *,
    since: float | None = None,
) -> Iterator[Change]:
    """Every class of requesters that gets another answer for one of the mappings.

    now: epoch seconds. since: the time at which `old` is asked, when it is another one.
    """
    for comparison, mapping in _comparisons(old, new, mappings, now, since):
        yield from comparison.changes(mapping)


def affected(
    old: PolicyEngine,
    new: PolicyEngine,
    mappings: Iterable[Mapping],
    now: float,
    *,
    since: float | None = None,
) -> Iterator[EidPrefix]:
    """The EID-prefixes for which some requester gets another answer: for MappingChanged."""
    for comparison, mapping in _comparisons(old, new, mappings, now, since):
        yield from comparison.changed_parts(mapping)


def _comparisons(
    old: PolicyEngine,
    new: PolicyEngine,
    mappings: Iterable[Mapping],
    now: float,
    since: float | None,
) -> Iterator[tuple[_Comparison, Mapping]]:
    then = now if since is None else since
    known: dict[tuple[str | None, str | None], _Comparison] = {}
    for mapping in mappings:
        owners = (old.sites.owner(mapping.eid), new.sites.owner(mapping.eid))
        if owners not in known:
            known[owners] = _Comparison(old, new, owners, then, now)
        yield known[owners], mapping


_Decided = tuple[int | None, Mapping]
"""The rule that decided, and the mapping that it gives."""


@dataclass(frozen=True, slots=True)
class _Difference:
    """A class of requesters with another answer. labels: place, xTR-ID, ..., source EID."""

    labels: tuple[str, ...]
    requester: Requester
    outcome: tuple[_Decided, _Decided]


class _Comparison:
    """The old and the new policy of one site."""

    def __init__(
        self,
        old: PolicyEngine,
        new: PolicyEngine,
        owners: tuple[str | None, str | None],
        then: float,
        now: float,
    ) -> None:
        # One engine at two times: it would forget everything each time it is asked about the other.
        self._old, self._new = old.copy() if old is new else old, new
        self._then, self._now = then, now
        self._sides = (_side(old, owners[0]), _side(new, owners[1]))
        self._active = (_active(old, owners[0], then), _active(new, owners[1], now))
        self._owners = owners
        self._refined: dict[tuple[Locator, ...], Pair] = {}
        self._known: dict[tuple[Pair, Pair, int, int], Enumeration] = {}

    def changes(self, mapping: Mapping) -> Iterator[Change]:
        """What differs for one mapping."""
        for part in self._parts(mapping):
            yield from self._part_changes(part)

    def changed_parts(self, mapping: Mapping) -> Iterator[EidPrefix]:
        """The parts of one mapping for which something differs."""
        for part in self._parts(mapping):
            if self._plainly(part) or next(self._differences(part), None) is not None:
                yield part.eid

    def _plainly(self, part: Mapping) -> bool:
        """Whether it differs for a class that is found without enumerating them all: most changes
        concern everybody, or xTRs of ours."""
        xtrs = islice(self._new.sites.xtrs, PLAIN_XTRS)
        plain = (replace(xtr.requester, itr_rlocs=tuple(xtr.rlocs)) for xtr in xtrs)
        return any(
            self._old.evaluate(part, asking, self._then).mapping
            != self._new.evaluate(part, asking, self._now).mapping
            for asking in chain((Requester(),), plain)
        )

    def _part_changes(self, part: Mapping) -> Iterator[Change]:
        """Differences that are alike but for the source EID, as one."""
        alike: dict[tuple[object, ...], list[_Difference]] = {}
        for found in self._differences(part):
            alike.setdefault((found.labels[:-1], found.outcome), []).append(found)
        for members in alike.values():
            labels = (*members[0].labels[:-1], joined(found.labels[-1] for found in members))
            requester = members[0].requester
            yield Change(
                part,
                ", ".join(label for label in labels if label) or "every requester",
                requester,
                self._old.evaluate(part, requester, self._then),
                self._new.evaluate(part, requester, self._now),
            )

    def _differences(self, part: Mapping) -> Iterator[_Difference]:
        enumeration = self._enumeration(part)
        compared = 0
        for place, other, rules in enumeration.reached():
            compared += 1
            if compared > MAX_CLASSES:
                yield _unknown(part)
                return
            old, new = self._decide(part, rules)
            if old[1] != new[1]:
                asking = _merged(place.requester, other.requester)
                yield _Difference(place.labels + other.labels, asking, (old, new))
            elif (old[0], new[0]) not in self._aligned:
                compared += len(enumeration.places)
                yield from self._pairs(part, enumeration, place, other)

    def _pairs(
        self, part: Mapping, enumeration: Enumeration, place: Option, other: Option
    ) -> Iterator[_Difference]:
        """Second ITR-RLOCs with which a requester gets another answer, though not with one."""
        if not place.requester.itr_rlocs or place.requester.xtr:
            return
        for second in enumeration.places:
            rlocs = second.requester.itr_rlocs
            if second is place or not rlocs or second.requester.xtr:
                continue
            alone = self._decide(part, both(second.rules, other.rules))
            united = (place.rules[0] | second.rules[0], place.rules[1] | second.rules[1])
            old, new = self._decide(part, both(united, other.rules))
            if old[1] != new[1] and alone[0][1] == alone[1][1]:
                asking = replace(other.requester, itr_rlocs=place.requester.itr_rlocs + rlocs)
                names = sorted((place, second), key=enumeration.places.index)
                label = "both " + " and ".join(name.labels[0] for name in names)
                yield _Difference((label, *other.labels), asking, (old, new))

    def _decide(self, part: Mapping, rules: Pair) -> tuple[_Decided, _Decided]:
        return (
            self._old.decide(part, rules[0], self._then),
            self._new.decide(part, rules[1], self._now),
        )

    def _enumeration(self, part: Mapping) -> Enumeration:
        eid = part.eid
        old, new = (
            side.index.destination(eid) & active
            for side, active in zip(self._sides, self._active, strict=True)
        )
        changed = self._changed_for(part)
        key = ((old, new), changed, eid.iid, eid.version)
        known = self._known.get(key)
        if known is None:
            known = Enumeration(*self._sides, changed, (old, new), eid)
            if sum(one.size for one in self._known.values()) > MAX_CLASSES_KEPT:
                self._known.clear()
            self._known[key] = known
        return known

    def _changed_for(self, part: Mapping) -> Pair:
        """The rules that differ for one RLOC-set: those for others, or with another outcome."""
        known = self._refined.get(part.locators)
        if known is not None:
            return known
        # Where the registered RLOC-set itself stops or starts to be usable, any rule may differ.
        whole = _any_usable(part, self._old) != _any_usable(part, self._new)
        changed = self._active if whole else self._changed
        old, new = changed
        for one, other in self._same_match:
            if (old >> one & 1 or new >> other & 1) and self._same_outcome(part, one, other):
                old &= ~(1 << one)
                new &= ~(1 << other)
        if len(self._refined) >= MAX_RLOC_SETS:
            self._refined.clear()
        self._refined[part.locators] = old, new
        return old, new

    def _same_outcome(self, part: Mapping, one: int, other: int) -> bool:
        old, new = self._decide(part, (1 << one, 1 << other))
        return old[1] == new[1] and (old[0] is None) == (new[0] is None)

    def _parts(self, mapping: Mapping) -> Iterator[Mapping]:
        """The parts of a mapping that both policies treat as one, in the order of addresses."""
        network = mapping.eid.network
        position, last = int(network.network_address), int(network.broadcast_address)
        while position <= last:
            asked = EidPrefix.host(mapping.eid.iid, type(network.network_address)(position))
            old, new = (engine.narrow(mapping, asked) for engine in (self._old, self._new))
            part = old if old.eid.prefixlen >= new.eid.prefixlen else new
            yield part
            position = int(part.eid.network.broadcast_address) + 1

    @cached_property
    def _alignment(self) -> tuple[Pair, set[tuple[int | None, int | None]]]:
        """The rules that differ, and the pairs of rules that stand in the same place.

        Pairs never cross, so where the same pair decides for each of two ITR-RLOCs, one of these
        pairs decides for a request with both. No rule at all is a pair, the last one.
        """
        rules = [list(bits(active)) for active in self._active]
        if self._owners[0] != self._owners[1]:
            return self._active, {(None, None)}
        old, new = (
            [_key(engine, side.index, i) for i in those]
            for engine, side, those in zip((self._old, self._new), self._sides, rules, strict=True)
        )
        same = common(old, new)
        changed = (
            sum(1 << i for place, i in enumerate(rules[0]) if place not in same),
            sum(1 << i for place, i in enumerate(rules[1]) if place not in same.values()),
        )
        names = [
            [side.index.rules[i].name for i in those]
            for side, those in zip(self._sides, rules, strict=True)
        ]
        pairs = {(rules[0][one], rules[1][other]) for one, other in same.items()}
        # Between two rules that are the same, a rule of the same name was changed in its place.
        start = (0, 0)
        for end in (*same.items(), (len(old), len(new))):
            inside = common(names[0][start[0] : end[0]], names[1][start[1] : end[1]])
            pairs |= {
                (rules[0][start[0] + one], rules[1][start[1] + other])
                for one, other in inside.items()
            }
            start = (end[0] + 1, end[1] + 1)
        return changed, {*pairs, (None, None)}

    @property
    def _changed(self) -> Pair:
        return self._alignment[0]

    @property
    def _aligned(self) -> set[tuple[int | None, int | None]]:
        return self._alignment[1]

    @cached_property
    def _same_match(self) -> list[tuple[int, int]]:
        """Rules in the same place that are for the same requesters."""
        found = []
        same_sites = self._old.sites == self._new.sites
        for one, other in self._aligned:
            if one is None or other is None:
                continue
            old, new = (
                side.index.rules[i].match for side, i in zip(self._sides, (one, other), strict=True)
            )
            if old == new and (same_sites or not old.sites):
                found.append((one, other))
        return found


def _unknown(part: Mapping) -> _Difference:
    """In the place of all differences that were not looked for."""
    who = f"requesters that were not compared: more than {MAX_CLASSES} classes"
    return _Difference((who, ""), Requester(), ((None, part), (None, part)))


def _merged(place: Requester, other: Requester) -> Requester:
    """A requester that has the place of one and everything else of the other."""
    return replace(other, itr_rlocs=place.itr_rlocs, xtr=place.xtr)


def _key(engine: PolicyEngine, index: SiteIndex, rule: int) -> object:
    """All that decides whom a rule is for and what it does at this moment, the mapping apart."""
    site, asked = index.policy.site, index.rules[rule]
    weights = engine.conditions.weights.get((site, asked.name), {})
    unregistered = index.policy.allow_unregistered_rlocs
    return (
        asked,
        tuple(sorted((int(rloc), weight) for rloc, weight in weights.items())),
        unregistered and any(asked.action.named()),
        _health(engine.conditions, asked, unregistered),
        _Same(engine.sites) if asked.match.sites else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """Lookups in a key: equal when they are, all with one hash."""

    sites: Sites

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.sites == other.sites

    def __hash__(self) -> int:
        return 0


def _health(conditions: Conditions, rule: PolicyRule, unregistered: bool) -> object:
    """The health that decides whether a rule leaves a usable RLOC.

    None where it leaves one whenever the registered RLOC-set has one.
    """
    action = rule.action
    priorities = any(entry.priority is not None for entry in action.locators)
    if unregistered or priorities or action.prefer or action.hide or action.drain or action.pin:
        return frozenset(rloc for rloc, up in conditions.up.items() if not up)
    return None


def _any_usable(mapping: Mapping, engine: PolicyEngine) -> bool:
    return any(usable(locator, engine.conditions) for locator in mapping.locators)


def _side(engine: PolicyEngine, site: str | None) -> Side:
    index = engine.index(site) if site else None
    return Side(index or SiteIndex(SitePolicy(site=site or "none")), engine.sites)


def _active(engine: PolicyEngine, site: str | None, now: float) -> int:
    if site is None or engine.index(site) is None:
        return 0
    return engine.open(site, now) & engine.holding(site)
