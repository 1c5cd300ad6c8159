"""What would be answered to whom, without asking in earnest."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pydantic import Field

from lisp_sdn.address import EidPrefix
from lisp_sdn.api.backend import Backend
from lisp_sdn.api.fields import AddressField, EidField, Iid, KeyField, Model, Query, TimeField
from lisp_sdn.api.http import Problem
from lisp_sdn.api.resources.mappings import MappingModel
from lisp_sdn.api.routing import Call, Reply, Route, find_xtr, read_eid
from lisp_sdn.model import Answer, Requester


class WhoAsks(Query):
    """The query parameters that describe a Map-Request."""

    eid: str = Field(description="the EID or EID-prefix asked for", examples=["[42] 10.1.0.5"])
    iid: Iid | None = Field(default=None, description="when `eid` names no instance-ID")
    source: str | None = Field(default=None, description="source EID")
    xtr: str | None = Field(default=None, description="an xTR of ours asks")
    itr_rloc: str | None = Field(default=None, description="ITR-RLOC of the Map-Request")
    xtr_id: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{1,32}$", description="claimed xTR-ID, hexadecimal"
    )
    pitr: bool = Field(default=False, description="the p-bit: a PITR asks")


class RequesterModel(Model):
    """Who asks, as far as a Map-Request shows it."""

    xtr: str | None
    itr_rlocs: list[AddressField]
    source_eid: EidField | None
    pitr: bool

    @classmethod
    def of(cls, requester: Requester) -> RequesterModel:
        """From the value."""
        return cls(
            xtr=requester.xtr,
            itr_rlocs=list(requester.itr_rlocs),
            source_eid=requester.source_eid,
            pitr=requester.pitr,
        )


class AnswerModel(Model):
    """The answer. rule: the policy rule that decided, None: as registered.

    scope: the (source, destination) EIDs for which it holds; None: it does not depend on the
    source EID. valid_until: when a time window changes it.
    """

    eid: EidField
    requester: RequesterModel
    mapping: MappingModel
    scope: KeyField | None
    rule: str | None
    warnings: list[str]
    valid_until: TimeField | None


def read_requester(backend: Backend, query: WhoAsks, eid: EidPrefix) -> Requester:
    """The requester that the parameters describe. Raises Problem (400, 404)."""
    source = None
    if query.source is not None:
        source = read_eid(query.source, None, "source")
        if source.iid == 0 and eid.iid:
            source = EidPrefix(eid.iid, source.network)
        if source.iid != eid.iid:
            detail = f"source: {source} and {eid} are in different instance-IDs"
            raise Problem("bad-query", detail, [{"parameter": "source", "detail": detail}])
    if query.xtr is not None:
        others = [name for name in ("itr_rloc", "xtr_id") if getattr(query, name) is not None]
        if others:
            raise Problem("bad-query", f"xtr and {others[0]} exclude each other")
        return backend.requester(find_xtr(backend, query.xtr).name, source)
    return Requester(
        itr_rlocs=_itr_rlocs(query.itr_rloc),
        source_eid=source,
        xtr_id=int(query.xtr_id, 16) if query.xtr_id is not None else None,
        pitr=query.pitr,
    )


def _itr_rlocs(text: str | None) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    if text is None:
        return ()
    try:
        return (ipaddress.ip_address(text),)
    except ValueError:
        detail = f"{text!r} is not an IPv4 or IPv6 address"
        raise Problem("bad-query", detail, [{"parameter": "itr_rloc", "detail": detail}]) from None


def resolve(call: Call[WhoAsks, None]) -> Reply:
    """The answer, and what decided."""
    eid = read_eid(call.query.eid, call.query.iid, "eid")
    requester = read_requester(call.backend, call.query, eid)
    answer = call.backend.answer(eid, requester, call.now)
    return Reply(
        AnswerModel(
            eid=eid,
            requester=RequesterModel.of(requester),
            mapping=MappingModel.of(answer.mapping),
            scope=answer.scope,
            rule=answer.rule,
            warnings=[*answer.warnings, *_asked_elsewhere(call.backend, eid, answer)],
            valid_until=answer.valid_until,
        )
    )


def _asked_elsewhere(backend: Backend, eid: EidPrefix, answer: Answer) -> Iterator[str]:
    """Before it is answered negatively, the Map-Resolver asks over the ALT."""
    route = backend.alt_route(eid) if answer.mapping.negative else None
    if route is not None:
        yield (
            f"not answered here: the Map-Request goes over the ALT by neighbour {route.neighbour}, "
            f"who has a route for {route.prefix}"
        )


ROUTES = (
    Route(
        "GET",
        "/resolve",
        "Show what a Map-Request would be answered",
        resolve,
        "mappings",
        query=WhoAsks,
        response=AnswerModel,
    ),
)
