"""The rules that a switch should hold, as data."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

from pydantic import Field

from lisp_sdn.api.fields import Model
from lisp_sdn.api.paging import Key, Paging, decode_cursor, page_unsorted
from lisp_sdn.api.routing import Call, Reply, Route
from lisp_sdn.rules import FieldValue, FlowRule, GroupRule, MeterRule, RuleAction, cookie_class

TAG = "flows"
Value = int | str


class ActionModel(Model):
    """One action. type: its name, for instance set-field; arguments: as OpenFlow names them."""

    type: str
    arguments: dict[str, Value]

    @classmethod
    def of(cls, action: RuleAction) -> ActionModel:
        """From the value."""
        arguments = {item.name: _value(getattr(action, item.name)) for item in fields(action)}
        return cls.build(type=_kebab(type(action).__name__), arguments=arguments)


class FlowModel(Model):
    """One flow. owner: what it is there for; goto: the table that follows."""

    table: int
    priority: int
    match: dict[str, Value] = Field(description="OXM fields; VALUE/MASK when masked")
    actions: list[ActionModel]
    goto: int | None
    metadata: str | None = Field(description="VALUE/MASK written before `goto`, hexadecimal")
    meter: int | None
    cookie: str = Field(pattern="^[0-9a-f]{16}$")
    owner: str | None
    idle_timeout: int
    hard_timeout: int

    @classmethod
    def of(cls, rule: FlowRule) -> FlowModel:
        """From the value."""
        owner = cookie_class(rule.cookie)
        return cls.build(
            table=rule.table,
            priority=rule.priority,
            match={name: _value(value) for name, value in rule.match},
            actions=[ActionModel.of(action) for action in rule.actions],
            goto=rule.goto,
            metadata=None if rule.metadata is None else str(_value(rule.metadata)),
            meter=rule.meter,
            cookie=f"{rule.cookie:016x}",
            owner=None if owner is None else owner.name.lower().replace("_", "-"),
            idle_timeout=rule.idle_timeout,
            hard_timeout=rule.hard_timeout,
        )


class BucketModel(Model):
    """One bucket of a group."""

    actions: list[ActionModel]
    weight: int
    watch_port: int | None


class GroupModel(Model):
    """One group: an RLOC-set."""

    group_id: int
    type: Literal["all", "select", "indirect", "ff"]
    buckets: list[BucketModel]

    @classmethod
    def of(cls, rule: GroupRule) -> GroupModel:
        """From the value."""
        return cls.build(
            group_id=rule.group_id,
            type=rule.type.value,
            buckets=[
                BucketModel.build(
                    actions=[ActionModel.of(action) for action in bucket.actions],
                    weight=bucket.weight,
                    watch_port=bucket.watch_port,
                )
                for bucket in rule.buckets
            ],
        )


class MeterModel(Model):
    """One meter. rate: packets per second; burst: packets."""

    meter_id: int
    rate: int
    burst: int

    @classmethod
    def of(cls, rule: MeterRule) -> MeterModel:
        """From the value."""
        return cls.build(meter_id=rule.meter_id, rate=rule.rate, burst=rule.burst)


class FlowPage(Model):
    """A page of flows, by table, then falling priority."""

    items: list[FlowModel]
    next: str | None


class GroupPage(Model):
    """A page of groups."""

    items: list[GroupModel]
    next: str | None


class MeterPage(Model):
    """A page of meters."""

    items: list[MeterModel]
    next: str | None


class FlowFilters(Paging):
    """The query parameters of the list."""

    table: int | None = Field(default=None, ge=0, le=254)


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _value(value: FieldValue | None) -> Value:
    if isinstance(value, tuple):
        return f"{value[0]:#x}/{value[1]:#x}"
    return int(value) if isinstance(value, int) else str(value)


def _flow_key(rule: FlowRule) -> Key:
    return (rule.table, -rule.priority, str(rule.match))


def list_flows(call: Call[FlowFilters, None]) -> Reply:
    """A page of flows."""
    query = call.query
    page = page_unsorted(
        call.backend.wanted(call.xtr().name).flows,
        _flow_key,
        query.limit,
        decode_cursor(query.after, (int, int, str)) if query.after else None,
        lambda rule: query.table in (None, rule.table),
    )
    items = [FlowModel.of(rule) for rule in page.items]
    return Reply(FlowPage.build(items=items, next=page.next), next=page.next)


def list_groups(call: Call[Paging, None]) -> Reply:
    """A page of groups."""
    page = page_unsorted(
        call.backend.wanted(call.xtr().name).groups,
        lambda rule: (rule.group_id,),
        call.query.limit,
        decode_cursor(call.query.after, (int,)) if call.query.after else None,
    )
    items = [GroupModel.of(rule) for rule in page.items]
    return Reply(GroupPage.build(items=items, next=page.next), next=page.next)


def list_meters(call: Call[Paging, None]) -> Reply:
    """A page of meters."""
    page = page_unsorted(
        call.backend.wanted(call.xtr().name).meters,
        lambda rule: (rule.meter_id,),
        call.query.limit,
        decode_cursor(call.query.after, (int,)) if call.query.after else None,
    )
    items = [MeterModel.of(rule) for rule in page.items]
    return Reply(MeterPage.build(items=items, next=page.next), next=page.next)


ROUTES = (
    Route(
        "GET",
        "/xtrs/{name}/flows",
        "List the flows that a switch should hold",
        list_flows,
        TAG,
        query=FlowFilters,
        response=FlowPage,
    ),
    Route(
        "GET",
        "/xtrs/{name}/groups",
        "List the groups that a switch should hold",
        list_groups,
        TAG,
        query=Paging,
        response=GroupPage,
    ),
    Route(
        "GET",
        "/xtrs/{name}/meters",
        "List the meters that a switch should hold",
        list_meters,
        TAG,
        query=Paging,
        response=MeterPage,
    ),
)
