"""What a change would do: every class of requesters that gets another answer, by evaluation.

Requesters are infinitely many, but the rules tell apart only finitely many classes of them. One
representative per class is evaluated with both engines. Classes for which no differing rule is a
candidate are skipped together, so a small change to a large policy is looked through quickly.

A request with several ITR-RLOCs gets the earliest rule that one of them reaches, so for any such
request the two ITR-RLOCs that decide in the old and in the new policy suffice: pairs are looked
at, larger sets cannot bring a new difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Answer, Mapping, Requester
from lisp_sdn.policy.classes import Enumeration, Pair, RequesterClass, Side
from lisp_sdn.policy.engine import PolicyEngine
from lisp_sdn.policy.explain import answer_dict, requester_dict
from lisp_sdn.policy.index import SiteIndex, bits
from lisp_sdn.policy_settings import PolicyRule, SitePolicy

MAX_CLASSES_KEPT = 10_000
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


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule that differs. kind: "added", "removed", "changed" or "moved"."""

    site: str
    rule: str
    kind: str

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {"site": self.site, "rule": self.rule, "kind": self.kind}


def rule_changes(old: Iterable[SitePolicy], new: Iterable[SitePolicy]) -> tuple[RuleChange, ...]:
    """Which rules differ, whether or not anybody's answer does."""
    before = {policy.site: policy for policy in old}
    after = {policy.site: policy for policy in new}
    changes: list[RuleChange] = []
    for site in sorted(before.keys() | after.keys()):
        was = before.get(site, SitePolicy(site=site)).rules
        now = after.get(site, SitePolicy(site=site)).rules
        changes += _site_changes(site, was, now)
    return tuple(changes)


def _site_changes(
    site: str, old: tuple[PolicyRule, ...], new: tuple[PolicyRule, ...]
) -> Iterator[RuleChange]:
    before = {rule.name: rule for rule in old}
    after = {rule.name: rule for rule in new}
    kept_old, kept_new = _common([rule.name for rule in old], [rule.name for rule in new])
    stayed = {old[i].name for i in bits(kept_old)} & {new[i].name for i in bits(kept_new)}
    for name in before:
        if name not in after:
            yield RuleChange(site, name, "removed")
    for name, rule in after.items():
        if name not in before:
            yield RuleChange(site, name, "added")
        elif before[name] != rule:
            yield RuleChange(site, name, "changed")
        elif name not in stayed:
            yield RuleChange(site, name, "moved")


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
    then = now if since is None else since
    comparisons: dict[tuple[str | None, str | None], _Comparison] = {}
    for mapping in mappings:
        owners = (old.sites.owner(mapping.eid), new.sites.owner(mapping.eid))
        if owners not in comparisons:
            comparisons[owners] = _Comparison(old, new, owners, then, now)
        yield from comparisons[owners].changes(mapping)


def affected(
    old: PolicyEngine,
    new: PolicyEngine,
    mappings: Iterable[Mapping],
    now: float,
    *,
    since: float | None = None,
) -> Iterator[EidPrefix]:
    """The EID-prefixes for which some requester gets another answer: for MappingChanged."""
    for mapping in mappings:
        seen: set[EidPrefix] = set()
        for change in diff(old, new, (mapping,), now, since=since):
            if change.mapping.eid not in seen:
                seen.add(change.mapping.eid)
                yield change.mapping.eid


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
        self._old, self._new = old, new
        self._then, self._now = then, now
        self._sides = (_side(old, owners[0]), _side(new, owners[1]))
        self._active = (_active(old, owners[0], then), _active(new, owners[1], now))
        self._changed = self._find_changed(owners)
        self._classes: dict[tuple[Pair, int, int], list[RequesterClass]] = {}
        self._kept = 0

    def changes(self, mapping: Mapping) -> Iterator[Change]:
        """What differs for one mapping."""
        for part in self._parts(mapping):
            for found in self._reached(part.eid):
                answers = self._answers(part, found.requester)
                if not _differ(answers) or any(
                    _differ(self._answers(part, one)) for one in found.parts
                ):
                    continue
                yield Change(part, found.who, found.requester, *answers)

    def _answers(self, mapping: Mapping, requester: Requester) -> tuple[Answer, Answer]:
        return (
            self._old.evaluate(mapping, requester, self._then),
            self._new.evaluate(mapping, requester, self._now),
        )

    def _reached(self, eid: EidPrefix) -> list[RequesterClass]:
        old, new = (
            side.index.destination(eid) & active
            for side, active in zip(self._sides, self._active, strict=True)
        )
        key = ((old, new), eid.iid, eid.version)
        known = self._classes.get(key)
        if known is None:
            enumeration = Enumeration(*self._sides, self._changed, eid.version)
            known = list(enumeration.classes((old, new), eid))
            self._kept += len(known)
            if self._kept > MAX_CLASSES_KEPT:
                self._classes.clear()
                self._kept = len(known)
            self._classes[key] = known
        return known

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

    def _find_changed(self, owners: tuple[str | None, str | None]) -> Pair:
        old, new = (side.index for side in self._sides)
        everything = (old.every, new.every)
        same_surroundings = (
            owners[0] == owners[1]
            and self._old.sites == self._new.sites
            and self._old.conditions.up == self._new.conditions.up
            and old.policy.allow_unregistered_rlocs == new.policy.allow_unregistered_rlocs
        )
        if not same_surroundings:
            return everything
        keys = [
            [_key(engine, side.index, i) for i in bits(active)]
            for engine, side, active in zip(
                (self._old, self._new), self._sides, self._active, strict=True
            )
        ]
        kept = _common(*keys)
        positions = [list(bits(active)) for active in self._active]
        changed = [
            sum(1 << i for place, i in enumerate(where) if not common >> place & 1)
            for where, common in zip(positions, kept, strict=True)
        ]
        return changed[0], changed[1]


def _differ(answers: tuple[Answer, Answer]) -> bool:
    return answers[0].mapping != answers[1].mapping


def _key(engine: PolicyEngine, index: SiteIndex, rule: int) -> object:
    """What a rule does at this moment."""
    weights = engine.conditions.weights.get((index.policy.site, index.rules[rule].name), {})
    return index.rules[rule], tuple(sorted((int(rloc), w) for rloc, w in weights.items()))


def _side(engine: PolicyEngine, site: str | None) -> Side:
    index = engine.index(site) if site else None
    return Side(index or SiteIndex(SitePolicy(site=site or "none")), engine.sites)


def _active(engine: PolicyEngine, site: str | None, now: float) -> int:
    if site is None or engine.index(site) is None:
        return 0
    return engine.open(site, now) & engine.holding(site)


def _common(old: Sequence[object], new: Sequence[object]) -> Pair:
    """The positions of both sequences that a longest common subsequence keeps, as masks."""
    kept_old = kept_new = 0
    for one, other, size in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        kept_old |= ((1 << size) - 1) << one
        kept_new |= ((1 << size) - 1) << other
    return kept_old, kept_new
