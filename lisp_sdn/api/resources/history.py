"""What happened: refusals with their reasons, events, counters."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from lisp_sdn.api.fields import Model, Query, TimeField
from lisp_sdn.api.http import JSON, TEXT
from lisp_sdn.api.metrics import CONTENT_TYPE, exposition
from lisp_sdn.api.paging import MAX_LIMIT, Key, Paging, decode_cursor, page_unsorted
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route, to_json
from lisp_sdn.api.stream import EVENT_STREAM, EventFilter, Follow, place
from lisp_sdn.settings import Name
from lisp_sdn.views import EventEntry, Refusal

TAG = "history"


class RefusalModel(Model):
    """Drops and refusals of one kind from one source. detail: the newest.

    hint: what the reason means, where documentation tells it.
    """

    where: str
    reason: str
    source: str
    detail: str
    hint: str | None
    count: int
    first_seen: TimeField
    last_seen: TimeField


class RefusalPage(Model):
    """A page of refusals, the newest first."""

    items: list[RefusalModel]
    next: str | None


class RefusalFilters(Paging):
    """The query parameters of the list."""

    where: str | None = Field(default=None, description="component, for instance map-server")
    reason: str | None = None
    source: str | None = Field(default=None, description="address, with or without the port")


class EventModel(Model):
    """Something worth knowing. kind: dotted, for instance map-cache.added."""

    id: int
    time: TimeField
    kind: str
    subject: str
    data: dict[str, Any]


class EventPage(Model):
    """Kept events, the oldest first. next: send it as `after`, now or later, to read on.

    missed: events between `after` and the first one kept are forgotten.
    """

    items: list[EventModel]
    next: int
    missed: bool


class EventFilters(Query):
    """The query parameters of the list."""

    after: int = Field(default=0, ge=0, description="only events with a higher id")
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT)
    kind: str | None = Field(
        default=None, description="this kind, or all that begin with it and a dot"
    )
    subject: str | None = None
    site: Name | None = Field(
        default=None, description="that concern this site, one of its xTRs or of its EIDs"
    )
    xtr: Name | None = Field(default=None, description="that concern this xTR")


class CounterModel(Model):
    """One counter with its labels, named as in metrics."""

    name: str
    labels: dict[str, str]
    value: float


class CounterList(Model):
    """Every counter, by name and labels."""

    items: list[CounterModel]


def list_refusals(call: Call[RefusalFilters, None]) -> Reply:
    """A page, the newest first."""
    query = call.query
    after = decode_cursor(query.after, (int, str, str, str)) if query.after else None
    page = page_unsorted(
        call.backend.refusals(),
        _newest_first,
        query.limit,
        after,
        lambda entry: (
            query.where in (None, entry.where)
            and query.reason in (None, entry.reason)
            and _from(entry.source, query.source)
        ),
    )
    items = [
        RefusalModel(
            where=entry.where,
            reason=entry.reason,
            source=entry.source,
            detail=entry.detail,
            hint=call.hints.get(entry.reason),
            count=entry.count,
            first_seen=entry.first_seen,
            last_seen=entry.last_seen,
        )
        for entry in page.items
    ]
    return Reply(RefusalPage(items=items, next=page.next), next=page.next)


def _newest_first(entry: Refusal) -> Key:
    return (-int(entry.last_seen * 1000), entry.where, entry.reason, entry.source)


def _from(source: str, wanted: str | None) -> bool:
    if wanted is None or source == wanted:
        return True
    host, colon, _ = source.rpartition(":")
    return bool(colon) and host.strip("[]") == wanted


def list_events(call: Call[EventFilters, None]) -> Reply:
    """A page, the oldest first; or, as server-sent events, what happens from now on."""
    query = call.query
    wanted = EventFilter(
        call.backend.config,
        kind=query.kind,
        subject=query.subject,
        site=query.site,
        xtr=query.xtr,
    )
    if call.accept == EVENT_STREAM:
        return _follow(call, wanted)
    first: EventEntry | None = None
    items: list[EventModel] = []
    last = query.after
    for entry in call.backend.events(query.after):
        first = first or entry
        if len(items) == query.limit:
            break
        last = entry.id
        if wanted.fits(entry):
            items.append(_event(entry))
    missed = first is not None and query.after > 0 and first.id > query.after + 1
    return Reply(EventPage(items=items, next=last, missed=missed))


def _follow(call: Call[EventFilters, None], wanted: EventFilter) -> Reply:
    status = call.backend.status(call.now)
    given = call.request.header("Last-Event-ID") or call.request.query.get("after")
    follow = Follow(
        call.backend.events,
        lambda entry: to_json(_event(entry)),
        wanted,
        epoch=status.started,
        after=place(given, status.started, status.last_event),
    )
    # Proxies that would collect a whole answer first are told not to.
    return Reply(media=EVENT_STREAM, headers={"X-Accel-Buffering": "no"}, follow=follow)


def _event(entry: EventEntry) -> EventModel:
    return EventModel(
        id=entry.id,
        time=entry.time,
        kind=entry.kind,
        subject=entry.subject,
        data=dict(entry.data),
    )


def list_counters(call: Call[NoQuery, None]) -> Reply:
    """All of them."""
    counters = sorted(call.backend.counters(), key=lambda c: (c.name, c.labels))
    items = [
        CounterModel(name=counter.name, labels=dict(counter.labels), value=counter.value)
        for counter in counters
    ]
    return Reply(CounterList(items=items))


def get_metrics(call: Call[NoQuery, None]) -> Reply:
    """Everything there is to measure."""
    body = exposition(call.backend, call.now, call.metrics)
    return Reply(body, media=CONTENT_TYPE)


ROUTES = (
    Route(
        "GET",
        "/refusals",
        "List what was dropped or refused, and why",
        list_refusals,
        TAG,
        query=RefusalFilters,
        response=RefusalPage,
    ),
    Route(
        "GET",
        "/events",
        "List what happened; with Accept: text/event-stream follow what happens",
        list_events,
        TAG,
        query=EventFilters,
        response=EventPage,
        gives=(JSON, EVENT_STREAM),
        errors=("too-many-streams",),
    ),
    Route("GET", "/counters", "List every counter", list_counters, TAG, response=CounterList),
    Route(
        "GET",
        "/metrics",
        "Show every metric for Prometheus; the same at /metrics",
        get_metrics,
        TAG,
        gives=(TEXT,),
    ),
)
