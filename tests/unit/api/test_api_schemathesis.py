"""Requests made of the OpenAPI document: no 5xx, nothing that the document does not describe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import schemathesis
from api_fake import NOW, filled
from hypothesis import HealthCheck, settings

from lisp_sdn.api import Api, Request, Response

schemathesis.checks.load_all_checks()


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> bytes:
    """JSON lines are text to the document."""
    return str(value).encode(errors="replace")


# What the tests do not judge or generate:
# A document that fits the schema may still be refused, for instance for an RLOC that is multicast.
EXCLUDED = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The API as a WSGI application, as the edge does it."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    headers = {
        key.removeprefix("HTTP_").replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key == "CONTENT_TYPE"
    }
    request = Request(
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"].encode("latin-1").decode(errors="replace"),
        dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)),
        headers,
        environ["wsgi.input"].read(length),
    )
    response, _ = Api(filled()).handle(request, NOW)
    if request.path.endswith("/openapi.json"):
        # Nor lists that are longer than allowed: they are megabytes.
        spec = re.sub(rb'"maxItems": \d+', b'"title": "short"', response.body)
        response = Response(response.status, response.headers, spec)
    start(f"{response.status} {HTTPStatus(response.status).phrase}", [*response.headers.items()])
    return [response.body]


# The gate's 100 examples would be many for each of the operations; the hunt takes its share too.
EXAMPLES = max(settings.default.max_examples // 30, 3)

schema = schemathesis.openapi.from_wsgi("/lisp/v1/openapi.json", wsgi)
if EXAMPLES < 10:
    # These take seconds each; the hunt does them.
    schema.config.phases.coverage.enabled = False
    schema = schema.exclude(operation_id=["put_policy", "compare_policies"])


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_interface_does_what_it_says(case: schemathesis.Case) -> None:
    case.call_and_validate(excluded_checks=EXCLUDED)
