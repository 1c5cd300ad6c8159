"""Where EIDs are that may roam between sites."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lisp_sdn.api.fields import EidField, Model, TimeField
from lisp_sdn.api.paging import decode_cursor, page_unsorted
from lisp_sdn.api.routing import Call, Reply, Route, find_xtr
from lisp_sdn.api.selection import EidFilters, Walk
from lisp_sdn.views import MobileEid

State = Literal["home", "stretched", "away", "held-down", "duplicate"]


class MobileEidModel(Model):
    """An EID of a subnet whose hosts may roam, and where it was seen last."""

    eid: EidField
    xtr: str = Field(description="the xTR where it is")
    port: str
    mac: str
    state: State = Field(
        description="home: at the only xTR of its subnet; stretched: at one of several; away: "
        "elsewhere; held-down: it moved too often and stays; duplicate: seen at two places"
    )
    homes: list[str] = Field(description="the xTRs of its subnet")
    since: TimeField
    seen: TimeField = Field(description="last ARP, neighbour discovery or new flow")
    moves: int = Field(ge=0)
    held_until: TimeField | None
    newcomer: str | None = Field(description="of a duplicate: xTR, port and MAC address, refused")

    @classmethod
    def of(cls, entry: MobileEid) -> MobileEidModel:
        """From the value."""
        return cls.build(
            eid=entry.eid,
            xtr=entry.xtr,
            port=entry.port,
            mac=entry.mac,
            state=entry.state.value,
            homes=list(entry.homes),
            since=entry.since,
            seen=entry.seen,
            moves=entry.moves,
            held_until=entry.held_until,
            newcomer=entry.newcomer,
        )


class MobileEidPage(Model):
    """A page of mobile EIDs."""

    items: list[MobileEidModel]
    next: str | None


class MobileEidFilters(EidFilters):
    """The query parameters of the list."""

    xtr: str | None = Field(default=None, description="only EIDs that are at this xTR")
    state: State | None = None


def list_mobile_eids(call: Call[MobileEidFilters, None]) -> Reply:
    """A page, by EID."""
    query = call.query
    if query.xtr is not None:
        find_xtr(call.backend, query.xtr)
    walk = Walk.of(query)
    after = decode_cursor(query.after, (int, int, int, int)) if query.after else None
    page = page_unsorted(
        call.backend.mobile_eids(call.now),
        lambda entry: entry.eid.sort_key,
        query.limit,
        after,
        lambda entry: (
            walk.fits(entry.eid)
            and query.xtr in (None, entry.xtr)
            and query.state in (None, entry.state.value)
        ),
    )
    items = [MobileEidModel.of(entry) for entry in page.items]
    return Reply(MobileEidPage.build(items=items, next=page.next), next=page.next)


ROUTES = (
    Route(
        "GET",
        "/mobile-eids",
        "List EIDs that may roam, and where they are",
        list_mobile_eids,
        "mobility",
        query=MobileEidFilters,
        response=MobileEidPage,
    ),
)
