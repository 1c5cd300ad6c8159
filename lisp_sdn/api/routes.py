"""Every route of the REST interface."""

from __future__ import annotations

import functools
import json

import lisp_sdn
from lisp_sdn.api.fields import Model
from lisp_sdn.api.http import BASE, PROBLEMS, not_found
from lisp_sdn.api.openapi import document
from lisp_sdn.api.resources import (
    alt,
    configuration,
    flows,
    history,
    interworking,
    map_cache,
    map_requests,
    mappings,
    mobility,
    network,
    policies,
    registrations,
    resolve,
    rlocs,
    source_guard,
    topology,
    trace,
)
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route


class ProblemType(Model):
    """What a problem's `type` means (RFC 9457 section 3.1.1)."""

    type: str
    title: str
    status: int


def get_problem(call: Call[NoQuery, None]) -> Reply:
    """One problem type."""
    name = call.path["problem"]
    if name not in PROBLEMS:
        raise not_found("problem type", name)
    status, title = PROBLEMS[name]
    return Reply(ProblemType(type=f"{BASE}/problems/{name}", title=title, status=int(status)))


def get_openapi(call: Call[NoQuery, None]) -> Reply:
    """The document of every route."""
    return Reply(_openapi())


@functools.cache
def _openapi() -> bytes:
    return json.dumps(document(ROUTES, lisp_sdn.__version__), indent=1).encode()


ROUTES = (
    *network.ROUTES,
    *topology.ROUTES,
    *rlocs.ROUTES,
    *mappings.ROUTES,
    *registrations.ROUTES,
    *resolve.ROUTES,
    *trace.ROUTES,
    *map_cache.ROUTES,
    *source_guard.ROUTES,
    *map_requests.ROUTES,
    *mobility.ROUTES,
    *flows.ROUTES,
    *interworking.ROUTES,
    *alt.ROUTES,
    *policies.ROUTES,
    *history.ROUTES,
    *configuration.ROUTES,
    Route("GET", "/openapi.json", "Show this interface as OpenAPI 3.1", get_openapi, "interface"),
    Route(
        "GET",
        "/problems/{problem}",
        "Tell what a problem type means",
        get_problem,
        "interface",
        response=ProblemType,
    ),
)
