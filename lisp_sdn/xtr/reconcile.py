"""Wanted minus installed, as ordered changes.

Meters and groups come before the flows that use them; what is deleted goes last, flows before
groups before meters, so that no packet meets a flow without its group. A rule that changes is
replaced in place, never deleted and added.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from lisp_sdn.rules import (
    COOKIE_MAGIC,
    COOKIE_MASK,
    FlowRule,
    GroupRule,
    Match,
    MeterRule,
    RuleChange,
    Ruleset,
    Verb,
    match,
)

FlowKey = tuple[int, int, Match]

T = TypeVar("T")

PART = 500
"""Rules that are compiled, compared or sent before something else gets its turn."""


def normalise(rule: FlowRule) -> FlowRule:
    """The rule in the one form in which it can be compared."""
    matching = match(**dict(rule.match))
    return rule if matching == rule.match else replace(rule, match=matching)


class Installed:
    """What the switch holds of ours, as last read and as changed by us since."""

    def __init__(self, ruleset: Ruleset | None = None) -> None:
        self.flows: dict[FlowKey, FlowRule] = {}
        self.groups: dict[int, GroupRule] = {}
        self.meters: dict[int, MeterRule] = {}
        if ruleset is not None:
            self.note(ruleset.flows, ruleset.groups, ruleset.meters)

    def note(
        self,
        flows: Iterable[FlowRule],
        groups: Iterable[GroupRule] = (),
        meters: Iterable[MeterRule] = (),
    ) -> None:
        """The switch holds these as well."""
        for rule in flows:
            if rule.cookie & COOKIE_MASK == COOKIE_MAGIC:
                self.flows[rule.key] = rule
        self.groups.update({rule.group_id: rule for rule in groups})
        self.meters.update({rule.meter_id: rule for rule in meters})

    def respell(self, known: Container[FlowKey], keys: Iterable[FlowKey]) -> None:
        """Normalise flows whose keys are not known: some may only be spelled otherwise."""
        for key in [key for key in keys if key in self.flows and key not in known]:
            rule = normalise(self.flows.pop(key))
            self.flows[rule.key] = rule

    def ruleset(self) -> Ruleset:
        """All of it."""
        return Ruleset(
            frozenset(self.flows.values()),
            frozenset(self.groups.values()),
            frozenset(self.meters.values()),
        )

    def change(
        self,
        flows: Iterable[FlowRule],
        groups: Iterable[GroupRule],
        meters: Iterable[MeterRule],
        gone_flows: Iterable[FlowKey] = (),
        gone_groups: Iterable[int] = (),
        gone_meters: Iterable[int] = (),
    ) -> list[RuleChange]:
        """The ordered changes that bring these rules in and those out; notes them as done."""
        changes: list[RuleChange] = []
        for meter in sorted(meters, key=lambda rule: rule.meter_id):
            _put_meter(changes, self.meters, meter)
        for group in sorted(groups, key=lambda rule: rule.group_id):
            _put_group(changes, self.groups, group)
        for flow in flows:
            if self.flows.get(flow.key) != flow:
                # An add with the same table, priority and match replaces the flow without a gap,
                # also when it left by idle timeout a moment ago; a modify would then do nothing.
                changes.append(RuleChange(Verb.ADD, flow))
                self.flows[flow.key] = flow
        changes.extend(_take(self.flows, gone_flows))
        changes.extend(_take(self.groups, gone_groups))
        changes.extend(_take(self.meters, gone_meters))
        return changes


def _put_meter(changes: list[RuleChange], installed: dict[int, MeterRule], rule: MeterRule) -> None:
    old = installed.get(rule.meter_id)
    if old != rule:
        changes.append(RuleChange(Verb.MODIFY if old else Verb.ADD, rule))
        installed[rule.meter_id] = rule


def _put_group(changes: list[RuleChange], installed: dict[int, GroupRule], rule: GroupRule) -> None:
    old = installed.get(rule.group_id)
    if old != rule:
        changes.append(RuleChange(Verb.MODIFY if old else Verb.ADD, rule))
        installed[rule.group_id] = rule


def _take(installed: dict[Any, Any], keys: Iterable[object]) -> list[RuleChange]:
    gone = [installed.pop(key) for key in list(keys) if key in installed]
    return [RuleChange(Verb.DELETE, rule) for rule in gone]


def changes_to(
    state: Installed,
    flows: Iterable[FlowRule],
    groups: Iterable[GroupRule],
    meters: Iterable[MeterRule],
) -> list[RuleChange]:
    """The changes that bring a switch to exactly these rules; `state` then holds them."""
    return [change for part in changes_in_parts(state, flows, groups, meters) for change in part]


def changes_in_parts(
    state: Installed,
    flows: Iterable[FlowRule],
    groups: Iterable[GroupRule],
    meters: Iterable[MeterRule],
    wanted_since: Callable[[FlowKey], bool] = lambda key: False,
) -> Iterator[list[RuleChange]]:
    """As `changes_to`, a part at a time; some are empty.

    wanted_since: tells of a flow that is not among these whether it is wanted meanwhile.
    """
    wanted: dict[FlowKey, FlowRule] = {}
    order: dict[tuple[int, int], list[FlowRule]] = {}
    for part in parts_of(flows):
        for rule in part:
            wanted[rule.key] = rule
        yield []
    for rules in parts_of(wanted.values()):
        for rule in rules:
            order.setdefault(_flow_order(rule), []).append(rule)
        yield []
    for keys in parts_of(list(state.flows)):
        state.respell(wanted, keys)
        yield []
    wanted_groups = {rule.group_id: rule for rule in groups}
    wanted_meters = {rule.meter_id: rule for rule in meters}
    yield state.change((), wanted_groups.values(), wanted_meters.values())
    for place in sorted(order):
        for rules in parts_of(order[place]):
            yield state.change(rules, (), ())
    for keys in parts_of(list(state.flows)):
        gone = [key for key in keys if key not in wanted and not wanted_since(key)]
        yield state.change((), (), (), gone)
    yield state.change(
        (),
        (),
        (),
        (),
        sorted(set(state.groups) - set(wanted_groups)),
        sorted(set(state.meters) - set(wanted_meters)),
    )


def parts_of(items: Iterable[T], size: int = PART) -> Iterator[list[T]]:
    """What many are, some at a time."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def reconcile(wanted: Ruleset, installed: Ruleset) -> list[RuleChange]:
    """What to send so that a switch that holds `installed` comes to hold `wanted`.

    Flows with a foreign cookie are not touched.
    """
    return changes_to(Installed(installed), wanted.flows, wanted.groups, wanted.meters)


def _flow_order(rule: FlowRule) -> tuple[int, int]:
    # Later tables first: a packet that enters finds everything that it may be sent on to.
    return (-rule.table, -rule.priority)
