"""The source guard of an xTR: who may send for which source EID, as verified so far."""

from __future__ import annotations

from pydantic import Field

from lisp_sdn.api.fields import EidField, Model, TimeField
from lisp_sdn.api.paging import Key, decode_cursor, page_unsorted
from lisp_sdn.api.routing import Call, Reply, Route
from lisp_sdn.api.selection import EidFilters, Walk
from lisp_sdn.guard_settings import GuardMode
from lisp_sdn.views import SourceVerdictEntry

TAG = "source-guard"


class VerdictFilters(EidFilters):
    """The query parameters of the list of verdicts."""

    refused: bool | None = Field(
        default=None, description="only refused ones, or only allowed ones"
    )


class SourceVerdictModel(Model):
    """A verdict about source EIDs and where they come from.

    refused: by `reason`; in mode count their packets pass nevertheless.
    """

    eid: EidField
    rloc: str | None = Field(description="the outer source RLOC")
    port: str | None = Field(description="the EID-facing port, of packets from there")
    refused: bool
    reason: str | None
    via: str = Field(description="database, map-reply, port, adopted or gleaned")
    since: TimeField
    expires: TimeField | None
    packets: int = Field(description="refused ones, those in the switch as last reported")

    @classmethod
    def of(cls, entry: SourceVerdictEntry) -> SourceVerdictModel:
        """From the value."""
        return cls.build(
            eid=entry.eid,
            rloc=None if entry.rloc is None else str(entry.rloc),
            port=entry.port,
            refused=entry.reason is not None,
            reason=entry.reason,
            via=entry.via,
            since=entry.since,
            expires=entry.expires,
            packets=entry.packets,
        )


class SourceVerdictPage(Model):
    """A page of the verdicts of an xTR. mode: off, count or enforce."""

    mode: GuardMode
    items: list[SourceVerdictModel]
    next: str | None


def _sort_key(entry: SourceVerdictEntry) -> Key:
    return (*entry.eid.sort_key, entry.port or str(entry.rloc))


def list_verdicts(call: Call[VerdictFilters, None]) -> Reply:
    """A page, by source EID-prefix."""
    query, walk = call.query, Walk.of(call.query)
    after = decode_cursor(query.after, (int, int, int, int, str)) if query.after else None
    found = call.backend.source_guard(call.xtr().name, call.now)
    page = page_unsorted(
        found.verdicts,
        _sort_key,
        query.limit,
        after,
        lambda entry: walk.fits(entry.eid) and query.refused in (None, entry.reason is not None),
    )
    items = [SourceVerdictModel.of(entry) for entry in page.items]
    return Reply(
        SourceVerdictPage.build(mode=found.mode, items=items, next=page.next), next=page.next
    )


ROUTES = (
    Route(
        "GET",
        "/xtrs/{name}/source-guard",
        "List the verdicts of the source guard of an xTR",
        list_verdicts,
        TAG,
        query=VerdictFilters,
        response=SourceVerdictPage,
    ),
)
