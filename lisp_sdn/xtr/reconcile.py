"""Wanted minus installed, as ordered changes.

Meters and groups come before the flows that use them; what is deleted goes last, flows before
groups before meters, so that no packet meets a flow without its group. A rule that changes is
replaced in place, never deleted and added.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Any

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


def normalise(rule: FlowRule) -> FlowRule:
    """The rule in the one form in which it can be compared."""
    matching = match(**dict(rule.match))
    return rule if matching == rule.match else replace(rule, match=matching)


class Installed:
    """What the switch holds of ours, as last read and as changed by us since."""

    def __init__(self, ruleset: Ruleset | None = None) -> None:
        ruleset = ruleset or Ruleset()
        ours = (rule for rule in ruleset.flows if rule.cookie & COOKIE_MASK == COOKIE_MAGIC)
        self.flows: dict[FlowKey, FlowRule] = {rule.key: rule for rule in ours}
        self.groups: dict[int, GroupRule] = {rule.group_id: rule for rule in ruleset.groups}
        self.meters: dict[int, MeterRule] = {rule.meter_id: rule for rule in ruleset.meters}

    def respell(self, known: Container[FlowKey]) -> None:
        """Normalise the flows whose keys are not known: some may only be spelled otherwise."""
        for key in [key for key in self.flows if key not in known]:
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
    wanted = {rule.key: rule for rule in flows}
    wanted_groups = {rule.group_id: rule for rule in groups}
    wanted_meters = {rule.meter_id: rule for rule in meters}
    state.respell(wanted)
    return state.change(
        sorted(wanted.values(), key=_flow_order),
        wanted_groups.values(),
        wanted_meters.values(),
        [key for key in state.flows if key not in wanted],
        sorted(set(state.groups) - set(wanted_groups)),
        sorted(set(state.meters) - set(wanted_meters)),
    )


def reconcile(wanted: Ruleset, installed: Ruleset) -> list[RuleChange]:
    """What to send so that a switch that holds `installed` comes to hold `wanted`.

    Flows with a foreign cookie are not touched.
    """
    return changes_to(Installed(installed), wanted.flows, wanted.groups, wanted.meters)


def _flow_order(rule: FlowRule) -> tuple[int, int]:
    # Later tables first: a packet that enters finds everything that it may be sent on to.
    return (-rule.table, -rule.priority)
