"""Live registrations at the Map-Server (RFC 9301 section 5.6)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lisp_sdn.api.fields import EidField, Model, Octet, SiteIdField, TimeField, XtrIdField
from lisp_sdn.api.paging import Key, decode_cursor, page_sorted
from lisp_sdn.api.resources.mappings import LocatorModel, Ttl
from lisp_sdn.api.routing import Call, Reply, Route
from lisp_sdn.api.selection import EidFilters, Walk
from lisp_sdn.views import RegistrationEntry


class RegistrationModel(Model):
    """What one ETR registered for one EID-prefix. etr: where the Map-Register came from.

    source: the source EIDs that it is for; None for all.
    """

    eid: EidField
    source: EidField | None
    site: str
    etr: str | None
    xtr: str | None
    xtr_id: XtrIdField | None
    site_id: SiteIdField | None
    key_id: Octet | None
    locators: list[LocatorModel]
    ttl_minutes: Ttl
    proxy_reply: bool
    want_map_notify: bool
    merge: bool
    registered: TimeField
    refreshed: TimeField
    expires: TimeField

    @classmethod
    def of(cls, entry: RegistrationEntry) -> RegistrationModel:
        """From the value."""
        return cls.build(
            eid=entry.eid,
            source=entry.source,
            site=entry.site,
            etr=str(entry.etr) if entry.etr else None,
            xtr=entry.xtr,
            xtr_id=entry.xtr_id,
            site_id=entry.site_id,
            key_id=entry.key_id,
            locators=[LocatorModel.of(locator) for locator in entry.mapping.locators],
            ttl_minutes=entry.mapping.ttl_minutes,
            proxy_reply=entry.proxy_reply,
            want_map_notify=entry.want_map_notify,
            merge=entry.merge,
            registered=entry.registered,
            refreshed=entry.refreshed,
            expires=entry.expires,
        )


class RegistrationPage(Model):
    """A page of registrations."""

    items: list[RegistrationModel]
    next: str | None


class RegistrationFilters(EidFilters):
    """The query parameters of the list."""

    site: str | None = None


def _key(entry: RegistrationEntry) -> Key:
    """Unique: an ETR is known by its xTR-ID, or without one by its address."""
    xtr_id = "" if entry.xtr_id is None else f"{entry.xtr_id:032x}"
    etr = f"{xtr_id}/{entry.etr or ''}/{entry.xtr or ''}"
    return (*entry.eid.sort_key, f"{entry.source or ''}/{etr}")


def list_registrations(call: Call[RegistrationFilters, None]) -> Reply:
    """A page, by EID-prefix."""
    query = call.query
    after = decode_cursor(query.after, (int, int, int, int, str)) if query.after else None
    entries = Walk.of(query).entries(
        lambda start: call.backend.registrations(start, call.now), after
    )
    page = page_sorted(
        in_order_of_etr(entries),
        _key,
        query.limit,
        after,
        lambda entry: query.site in (None, entry.site),
    )
    items = [RegistrationModel.of(entry) for entry in page.items]
    return Reply(RegistrationPage.build(items=items, next=page.next), next=page.next)


def in_order_of_etr(entries: Iterator[RegistrationEntry]) -> Iterator[RegistrationEntry]:
    """Those of one EID-prefix sorted, so that a cursor may stand between them."""
    for _, same in itertools.groupby(entries, key=lambda entry: entry.eid):
        yield from sorted(same, key=_key)


ROUTES = (
    Route(
        "GET",
        "/registrations",
        "List live registrations",
        list_registrations,
        "registrations",
        query=RegistrationFilters,
        response=RegistrationPage,
    ),
)
