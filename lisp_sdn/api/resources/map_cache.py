"""The map-cache of an xTR: what its switch forwards by."""

from __future__ import annotations

from pydantic import Field

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.api.fields import KeyField, Model, TimeField
from lisp_sdn.api.http import not_found
from lisp_sdn.api.paging import Key, decode_cursor, page_unsorted
from lisp_sdn.api.resources.mappings import ActionName, EidQuery
from lisp_sdn.api.resources.network import LocatorStatusModel
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route
from lisp_sdn.api.selection import EidFilters, Walk
from lisp_sdn.views import MapCacheEntry

TAG = "map-cache"


class MapCacheModel(Model):
    """One map-cache entry. negative: no RLOC, `action` says what becomes of the packets."""

    eid: KeyField
    negative: bool
    complete: bool = Field(description="false while the Map-Request is unanswered")
    via: str
    action: ActionName
    created: TimeField
    expires: TimeField | None
    locators: list[LocatorStatusModel]
    rule: str | None = Field(description="the policy rule that decided")
    packets: int | None
    octets: int | None

    @classmethod
    def of(cls, entry: MapCacheEntry) -> MapCacheModel:
        """From the value."""
        return cls.build(
            eid=entry.eid,
            negative=entry.complete and not entry.locators,
            complete=entry.complete,
            via=entry.via,
            action=entry.action.text,
            created=entry.created,
            expires=entry.expires,
            locators=[LocatorStatusModel.of(status) for status in entry.locators],
            rule=entry.rule,
            packets=entry.packets,
            octets=entry.octets,
        )


class MapCachePage(Model):
    """A page of the map-cache."""

    items: list[MapCacheModel]
    next: str | None


class Cleared(Model):
    """How many entries went."""

    removed: int


def destination(key: EidPrefix | SourceDestPrefix) -> EidPrefix:
    """The destination EID-prefix of a map-cache key."""
    return key.destination if isinstance(key, SourceDestPrefix) else key


def _sort_key(entry: MapCacheEntry) -> Key:
    source = entry.eid.source if isinstance(entry.eid, SourceDestPrefix) else None
    return (*destination(entry.eid).sort_key, str(source or ""))


def list_map_cache(call: Call[EidFilters, None]) -> Reply:
    """A page, by destination EID-prefix."""
    query, walk = call.query, Walk.of(call.query)
    after = decode_cursor(query.after, (int, int, int, int, str)) if query.after else None
    page = page_unsorted(
        call.backend.map_cache(call.xtr().name, call.now),
        _sort_key,
        query.limit,
        after,
        lambda entry: walk.fits(destination(entry.eid)),
    )
    items = [MapCacheModel.of(entry) for entry in page.items]
    return Reply(MapCachePage.build(items=items, next=page.next), next=page.next)


def clear_map_cache(call: Call[NoQuery, None]) -> Reply:
    """All entries; packets that follow are resolved anew."""
    removed, actions = call.backend.clear_map_cache(call.xtr().name, None, call.now)
    return Reply(Cleared(removed=removed), actions=actions)


def delete_entry(call: Call[EidQuery, None]) -> Reply:
    """Exactly this entry."""
    xtr, key = call.xtr(), call.key(call.query.iid)
    removed, actions = call.backend.clear_map_cache(xtr.name, key, call.now)
    if not removed:
        raise not_found("map-cache entry", f"{key} in xTR {xtr.name}")
    return Reply(Cleared(removed=removed), actions=actions)


ROUTES = (
    Route(
        "GET",
        "/xtrs/{name}/map-cache",
        "List the map-cache of an xTR",
        list_map_cache,
        TAG,
        query=EidFilters,
        response=MapCachePage,
    ),
    Route(
        "DELETE",
        "/xtrs/{name}/map-cache",
        "Clear the map-cache of an xTR",
        clear_map_cache,
        TAG,
        response=Cleared,
        changes=True,
    ),
    Route(
        "DELETE",
        "/xtrs/{name}/map-cache/{eid}",
        "Forget one map-cache entry",
        delete_entry,
        TAG,
        query=EidQuery,
        response=Cleared,
        changes=True,
        errors=("bad-eid",),
    ),
)
