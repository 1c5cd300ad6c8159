"""Where a packet goes, and where it stops."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lisp_sdn.address import EidPrefix
from lisp_sdn.api.fields import AddressField, EidField, Iid, Model, Query, parse_eid
from lisp_sdn.api.http import Problem
from lisp_sdn.api.paging import Key, Paging, decode_cursor, page_unsorted
from lisp_sdn.api.routing import Call, Reply, Route, read_eid
from lisp_sdn.errors import FieldError
from lisp_sdn.trace import Endpoint, Packet, Step, Trace

TAG = "trace"
PROTOCOLS = {"tcp": 6, "udp": 17}


class TraceQuery(Query):
    """The query parameters that describe a packet."""

    source: str = Field(description="source EID", examples=["[42] 10.1.0.5"])
    destination: str = Field(description="destination EID", examples=["[42] 10.2.0.7"])
    iid: Iid | None = Field(default=None, description="when the EIDs name no instance-ID")
    protocol: str = Field(
        default="icmp",
        pattern="^(icmp|tcp|udp|25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$",
        description="icmp (an echo request), tcp, udp, or the number of an IP protocol",
    )
    source_port: int = Field(default=0, ge=0, le=65535, description="of TCP and UDP")
    destination_port: int = Field(default=0, ge=0, le=65535, description="of TCP and UDP")


class TraceStepModel(Model):
    """One stage of the way. suggestion: what to do about it; details: one line each.

    mark: note: the packet goes on, but something is worth knowing.
    """

    step: Literal[
        "source",
        "switch",
        "policy",
        "mapping",
        "map-cache",
        "flow-tables",
        "rloc",
        "etr",
        "delivery",
    ]
    mark: Literal["ok", "note", "stop"]
    text: str
    reason: str | None = Field(description="a stable code; null when all is well")
    suggestion: str | None
    details: list[str]

    @classmethod
    def of(cls, step: Step) -> TraceStepModel:
        """From the value."""
        return cls.build(
            step=step.name.value,
            mark=step.mark.value,
            text=step.text,
            reason=step.reason or None,
            suggestion=step.suggestion or None,
            details=list(step.details),
        )


class TraceModel(Model):
    """The way of a packet, as far as it goes.

    verdict: resolves: it waits for a Map-Request first; handed-over: it leaves natively, or for an
    ETR that is not ours. xtr, etr: our xTRs at both ends; rloc: where it is sent.
    """

    source: EidField
    destination: EidField
    verdict: Literal["delivered", "resolves", "handed-over", "stopped"]
    xtr: str | None
    rloc: AddressField | None
    etr: str | None
    steps: list[TraceStepModel]

    @classmethod
    def of(cls, trace: Trace) -> TraceModel:
        """From the value."""
        return cls.build(
            source=trace.packet.source,
            destination=trace.packet.destination,
            verdict=trace.verdict.value,
            xtr=trace.xtr,
            rloc=trace.rloc,
            etr=trace.etr,
            steps=[TraceStepModel.of(step) for step in trace.steps],
        )


class EndpointModel(Model):
    """An EID that stands for a place. xtr: null where no xTR of ours is.

    known: a host with this EID was seen there; otherwise it is any address of the subnet.
    """

    eid: EidField
    site: str | None
    xtr: str | None
    known: bool

    @classmethod
    def of(cls, endpoint: Endpoint) -> EndpointModel:
        """From the value."""
        return cls.build(
            eid=endpoint.eid, site=endpoint.site, xtr=endpoint.xtr, known=endpoint.known
        )


class EndpointPage(Model):
    """A page of endpoints, by EID."""

    items: list[EndpointModel]
    next: str | None


def _bad(parameter: str, detail: str) -> Problem:
    return Problem("bad-query", detail, [{"parameter": parameter, "detail": detail}])


def _names_iid(text: str) -> bool:
    return text.strip().startswith("[")


def _eids(query: TraceQuery) -> tuple[EidPrefix, EidPrefix]:
    """Both EIDs; one that names no instance-ID is in that of the other."""
    source = read_eid(query.source, query.iid, "source")
    destination = read_eid(query.destination, query.iid, "destination")
    if not _names_iid(query.source) and _names_iid(query.destination):
        source = parse_eid(query.source, destination.iid)
    if _names_iid(query.source) and not _names_iid(query.destination):
        destination = parse_eid(query.destination, source.iid)
    return source, destination


def get_trace(call: Call[TraceQuery, None]) -> Reply:
    """Every step until it arrives or stops."""
    query = call.query
    source, destination = _eids(query)
    number = None if query.protocol == "icmp" else PROTOCOLS.get(query.protocol)
    if number is None and query.protocol != "icmp":
        number = int(query.protocol)
    try:
        packet = Packet(source, destination, number, query.source_port, query.destination_port)
    except FieldError as error:
        raise _bad(error.field, str(error)) from None
    return Reply(TraceModel.of(call.backend.trace(packet, call.now)))


def _key(endpoint: Endpoint) -> Key:
    return (*endpoint.eid.sort_key, endpoint.xtr or "")


def list_endpoints(call: Call[Paging, None]) -> Reply:
    """By EID."""
    query = call.query
    after = decode_cursor(query.after, (int, int, int, int, str)) if query.after else None
    page = page_unsorted(call.backend.endpoints(), _key, query.limit, after)
    items = [EndpointModel.of(endpoint) for endpoint in page.items]
    return Reply(EndpointPage.build(items=items, next=page.next), next=page.next)


ROUTES = (
    Route(
        "GET",
        "/trace",
        "Tell where a packet goes, step by step, and where it stops",
        get_trace,
        TAG,
        query=TraceQuery,
        response=TraceModel,
    ),
    Route(
        "GET",
        "/trace/endpoints",
        "List one EID for each place that packets come from and go to",
        list_endpoints,
        TAG,
        query=Paging,
        response=EndpointPage,
    ),
)
