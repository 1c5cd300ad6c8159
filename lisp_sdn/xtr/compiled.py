"""What the compiler hands out, and how it makes a flow."""

from __future__ import annotations

from dataclasses import dataclass

from lisp_sdn.rules import CookieClass, FlowRule, GroupRule, Match, MeterRule, RuleAction, cookie
from lisp_sdn.xtr.frames import ETH_IPV4, ETH_IPV6
from lisp_sdn.xtr.pipeline import ORIGIN_MASK, TableId, check


@dataclass(frozen=True, slots=True)
class Compiled:
    """The rules of one owner. kept_groups: adopted from the switch as they are."""

    flows: tuple[FlowRule, ...] = ()
    groups: tuple[GroupRule, ...] = ()
    kept_groups: tuple[GroupRule, ...] = ()
    meters: tuple[MeterRule, ...] = ()


def eth_type(version: int) -> int:
    """The EtherType of an IP version."""
    return ETH_IPV4 if version == 4 else ETH_IPV6


def flow(
    table: TableId,
    priority: int,
    matching: Match,
    *actions: RuleAction,
    goto: TableId | None = None,
    metadata: int | None = None,
    meter: int | None = None,
    kind: CookieClass = CookieClass.PIPELINE,
    value: int = 0,
    idle_timeout: int = 0,
    notify_removed: bool = False,
) -> FlowRule:
    """A rule that the pipeline allows. metadata: written before `goto`. Raises FieldError."""
    return check(
        FlowRule(
            int(table),
            priority,
            matching,
            actions,
            None if goto is None else int(goto),
            None if metadata is None else (metadata, ORIGIN_MASK),
            None if meter is None else int(meter),
            cookie(kind, value),
            idle_timeout,
            0,
            notify_removed,
        )
    )
