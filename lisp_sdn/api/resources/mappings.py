"""The mapping database: list, read, set, change, remove; in and out as JSON lines."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import ConfigDict, Field, model_validator

from lisp_sdn.actions import Action
from lisp_sdn.address import EidPrefix
from lisp_sdn.api.body import merge_patch, read_json, read_object
from lisp_sdn.api.fields import EidField, Iid, Model, Octet, PrefixField, Query, RlocField
from lisp_sdn.api.http import BASE, JSON, JSON_LINES, MERGE_PATCH, Detail, Problem, not_found
from lisp_sdn.api.paging import decode_cursor, page_sorted
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route, to_json_lines
from lisp_sdn.api.selection import EidFilters, Walk
from lisp_sdn.errors import FieldError
from lisp_sdn.model import UNUSABLE_PRIORITY, Act, Locator, Mapping
from lisp_sdn.views import MappingEntry, Origin

TAG = "mappings"
ActionName = Literal[
    "no-action",
    "natively-forward",
    "send-map-request",
    "drop-no-reason",
    "drop-policy-denied",
    "drop-auth-failure",
]


class LocatorModel(Model):
    """One RLOC with its priority and weight (RFC 9301 section 5.4)."""

    # One schema for what comes in and what goes out, although only what comes in has defaults.
    model_config = ConfigDict(json_schema_mode_override="validation")

    rloc: RlocField
    priority: Octet = Field(default=1, description="lower wins; 255: not for unicast")
    weight: Octet = Field(default=100, description="share among equal priorities")
    mpriority: Octet = UNUSABLE_PRIORITY
    mweight: Octet = 0
    reachable: bool = Field(default=True, description="R-bit")

    @classmethod
    def of(cls, locator: Locator) -> LocatorModel:
        """From the value."""
        return cls.build(
            rloc=locator.rloc,
            priority=locator.priority,
            weight=locator.weight,
            mpriority=locator.mpriority,
            mweight=locator.mweight,
            reachable=locator.reachable,
        )

    @property
    def locator(self) -> Locator:
        """As a value."""
        return Locator(**dict(self))


Ttl = Annotated[int, Field(ge=0, le=0xFFFFFFFF, description="minutes")]


class MappingModel(Model):
    """An EID-prefix and its RLOC-set, or the action of a negative one.

    Names and meaning are those of `mappings` in the configuration file.
    """

    eid: EidField
    eid_prefix: PrefixField
    iid: Iid
    locators: tuple[LocatorModel, ...]
    ttl_minutes: Ttl
    action: ActionName
    authoritative: bool
    map_version: Annotated[int, Field(ge=0, le=4095)]

    @classmethod
    def of(cls, mapping: Mapping) -> MappingModel:
        """From the value."""
        return cls.build(**_fields(mapping))


class MappingEntryModel(MappingModel):
    """A mapping in the database. origin: static ones can be changed here, registered ones not."""

    origin: Literal["static", "registered"]
    site: str | None

    @classmethod
    def of_entry(cls, entry: MappingEntry) -> MappingEntryModel:
        """From the value."""
        return cls.build(**_fields(entry.mapping), origin=entry.origin.value, site=entry.site)


def _fields(mapping: Mapping) -> dict[str, Any]:
    return {
        "eid": mapping.eid,
        "eid_prefix": mapping.eid.network,
        "iid": mapping.eid.iid,
        "locators": tuple(LocatorModel.of(locator) for locator in mapping.locators),
        "ttl_minutes": mapping.ttl_minutes,
        "action": mapping.action.text,
        "authoritative": mapping.authoritative,
        "map_version": mapping.map_version,
    }


class MappingBody(Model):
    """A static mapping. What a GET shows may be sent back: the last four are then ignored.

    eid, or eid_prefix and iid: needed in an import, must agree with the path elsewhere.
    """

    eid: EidField | None = None
    eid_prefix: PrefixField | None = None
    iid: Iid | None = None
    locators: tuple[LocatorModel, ...] = Field(default=(), max_length=255)
    ttl_minutes: Ttl = 1440
    action: ActionName = "no-action"
    authoritative: bool | None = None
    map_version: Annotated[int, Field(ge=0, le=4095)] | None = None
    origin: Literal["static", "registered"] | None = None
    site: str | None = None

    @model_validator(mode="after")
    def _check(self) -> MappingBody:
        if self.locators and self.action != "no-action":
            raise ValueError(f"action: {self.action!r} beside locators, expected 'no-action'")
        seen = set()
        for locator in self.locators:
            rloc = locator.rloc
            if getattr(rloc, "is_multicast", False) or getattr(rloc, "is_unspecified", False):
                raise ValueError(f"locators: {rloc} is not a unicast address")
            if rloc in seen:
                raise ValueError(f"locators: {rloc} is written twice")
            seen.add(rloc)
        if self.eid and self.eid_prefix and self.eid.network != self.eid_prefix:
            raise ValueError(f"eid_prefix: {self.eid_prefix}, but eid is {self.eid}")
        if self.eid and self.iid is not None and self.eid.iid != self.iid:
            raise ValueError(f"iid: {self.iid}, but eid is {self.eid}")
        return self

    @property
    def key(self) -> EidPrefix | None:
        """The EID-prefix named in the body."""
        if self.eid is not None or self.eid_prefix is None:
            return self.eid
        return EidPrefix(self.iid or 0, self.eid_prefix)

    def mapping(self, eid: EidPrefix) -> Mapping:
        """As a value, under the key of the path. Raises Problem (422)."""
        if self.key is not None and self.key != eid:
            raise Problem("invalid", f"the body is of {self.key}, the path of {eid}")
        if self.key is None and self.iid not in (None, eid.iid):
            raise Problem("invalid", f"the body is of instance-ID {self.iid}, the path of {eid}")
        try:
            mapping = Mapping(eid, ttl_minutes=self.ttl_minutes, action=Act.from_text(self.action))
            return mapping.with_locators(tuple(entry.locator for entry in self.locators))
        except FieldError as error:
            raise Problem("invalid", str(error)) from None


class MappingPage(Model):
    """A page of the mapping database."""

    items: list[MappingEntryModel]
    next: str | None


class Imported(Model):
    """How many mappings an import set."""

    set: int


class MappingFilters(EidFilters):
    """The query parameters of the list."""

    site: str | None = None
    origin: Literal["static", "registered"] | None = None


class EidQuery(Query):
    """The query parameters of one mapping."""

    iid: Iid | None = Field(default=None, description="when the path names no instance-ID")


def list_mappings(call: Call[MappingFilters, None]) -> Reply:
    """A page, as JSON or JSON lines."""
    query = call.query
    after = decode_cursor(query.after, (int,) * 4) if query.after is not None else None
    walk = Walk.of(query)
    page = page_sorted(
        walk.entries(lambda start: call.backend.mappings(start, call.now), after),
        lambda entry: entry.eid.sort_key,
        query.limit,
        after,
        lambda entry: (
            query.site in (None, entry.site) and query.origin in (None, entry.origin.value)
        ),
    )
    items = [MappingEntryModel.of_entry(entry) for entry in page.items]
    if call.accept == JSON_LINES:
        return Reply(to_json_lines(items), media=JSON_LINES, next=page.next)
    return Reply(MappingPage.build(items=items, next=page.next), next=page.next)


def _current(call: Call[EidQuery, object]) -> tuple[EidPrefix, MappingEntryModel | None]:
    eid = call.eid(call.query.iid)
    entry = call.backend.mapping(eid, call.now)
    return eid, MappingEntryModel.of_entry(entry) if entry else None


def _existing(call: Call[EidQuery, object]) -> tuple[EidPrefix, MappingEntryModel]:
    eid, current = _current(call)
    if current is None:
        raise not_found("mapping", str(eid))
    return eid, current


def get_mapping(call: Call[EidQuery, None]) -> Reply:
    """Exactly this EID-prefix."""
    return Reply(_existing(call)[1])


def put_mapping(call: Call[EidQuery, MappingBody]) -> Reply:
    """Add or replace."""
    eid, current = _current(call)
    call.check_preconditions(current)
    return _store(call, call.body.mapping(eid), created=current is None)


def patch_mapping(call: Call[EidQuery, None]) -> Reply:
    """Change some fields."""
    eid, current = _existing(call)
    call.check_preconditions(current)
    merged = merge_patch(current.model_dump(mode="json"), read_object(call.request.body))
    body = read_json(json.dumps(merged).encode(), MappingBody)
    return _store(call, body.mapping(eid), created=False)


def _store(call: Call[EidQuery, object], mapping: Mapping, *, created: bool) -> Reply:
    actions = call.backend.set_mapping(mapping, call.now)
    entry = call.backend.mapping(mapping.eid, call.now)
    shown = MappingEntryModel.of_entry(entry or MappingEntry(mapping, Origin.STATIC))
    if not created:
        return Reply(shown, actions=actions)
    return Reply(shown, 201, actions=actions, headers={"Location": location(mapping.eid)})


def location(eid: EidPrefix) -> str:
    """Where a mapping is found."""
    return f"{BASE}/mappings/{quote(str(eid), safe='')}"


def delete_mapping(call: Call[EidQuery, None]) -> Reply:
    """Remove a static one."""
    eid, current = _existing(call)
    call.check_preconditions(current)
    if current.origin == "registered":
        raise Problem(
            "conflict",
            f"{eid} is registered by site {current.site}; its ETR withdraws it by a Map-Register "
            "with TTL 0, or a static mapping hides it",
        )
    return Reply(status=204, actions=call.backend.remove_mapping(eid, call.now))


def import_mappings(call: Call[NoQuery, list[tuple[int, MappingBody]]]) -> Reply:
    """Set many at once, all or none."""
    mappings: list[Mapping] = []
    errors: list[Detail] = []
    for number, body in call.body:
        try:
            if body.key is None:
                raise Problem("invalid", "eid, or eid_prefix with iid, is missing")
            mappings.append(body.mapping(body.key))
        except Problem as problem:
            errors.append({"line": number, "detail": problem.detail})
    if errors:
        raise Problem("invalid", "nothing was changed; see errors", errors)
    actions: list[Action] = []
    for mapping in mappings:
        actions += call.backend.set_mapping(mapping, call.now)
    return Reply(Imported(set=len(mappings)), actions=actions)


ROUTES = (
    Route(
        "GET",
        "/mappings",
        "List the mapping database",
        list_mappings,
        TAG,
        query=MappingFilters,
        response=MappingPage,
        line=MappingEntryModel,
        gives=(JSON, JSON_LINES),
    ),
    Route(
        "POST",
        "/mappings",
        "Import static mappings, one JSON document a line; all or none",
        import_mappings,
        TAG,
        body=MappingBody,
        response=Imported,
        takes=(JSON_LINES,),
        changes=True,
    ),
    Route(
        "GET",
        "/mappings/{eid}",
        "Show one mapping",
        get_mapping,
        TAG,
        query=EidQuery,
        response=MappingEntryModel,
        errors=("bad-eid",),
    ),
    Route(
        "PUT",
        "/mappings/{eid}",
        "Add or replace a static mapping",
        put_mapping,
        TAG,
        query=EidQuery,
        body=MappingBody,
        response=MappingEntryModel,
        statuses=(200, 201),
        changes=True,
        conditional=True,
        errors=("bad-eid",),
    ),
    Route(
        "PATCH",
        "/mappings/{eid}",
        "Change some fields (RFC 7396); the result is a static mapping",
        patch_mapping,
        TAG,
        query=EidQuery,
        body=MappingBody,
        raw=True,
        response=MappingEntryModel,
        takes=(MERGE_PATCH,),
        changes=True,
        conditional=True,
        errors=("bad-eid",),
    ),
    Route(
        "DELETE",
        "/mappings/{eid}",
        "Remove a static mapping",
        delete_mapping,
        TAG,
        query=EidQuery,
        statuses=(204,),
        changes=True,
        conditional=True,
        errors=("bad-eid", "conflict"),
    ),
)
