"""Which rules differ between two policies, by name and place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lisp_sdn.policy_settings import PolicyRule, SitePolicy


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule that differs. kind: "added", "removed", "changed" or "moved".

    rule: its name, or the name of the setting of the site that differs.
    """

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
        empty = SitePolicy(site=site)
        was, now = before.get(site, empty), after.get(site, empty)
        if was.allow_unregistered_rlocs != now.allow_unregistered_rlocs:
            changes.append(RuleChange(site, "allow_unregistered_rlocs", "changed"))
        changes += _site_changes(site, was.rules, now.rules)
    return tuple(changes)


def _site_changes(
    site: str, old: tuple[PolicyRule, ...], new: tuple[PolicyRule, ...]
) -> Iterator[RuleChange]:
    before = {rule.name: rule for rule in old}
    after = {rule.name: rule for rule in new}
    kept = common([rule.name for rule in old], [rule.name for rule in new])
    stayed = {old[place].name for place in kept}
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


def common(old: Sequence[object], new: Sequence[object]) -> dict[int, int]:
    """Positions in both sequences of what they have in common, in order."""
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {one + n: other + n for one, other, size in blocks for n in range(size)}
