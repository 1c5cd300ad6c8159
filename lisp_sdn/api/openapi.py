"""The OpenAPI 3.1 document, made of the route table and the models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lisp_sdn.api.http import BASE, JSON_LINES, PROBLEM, PROBLEMS, TEXT
from lisp_sdn.api.routing import Route
from lisp_sdn.api.stream import EVENT_STREAM

Schema = dict[str, Any]
_REFERENCE = "#/components/schemas/{model}"

PATH_PARAMETERS: dict[str, Schema] = {
    "name": {
        "description": "name in the configuration",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"},
    },
    "eid": {
        "description": "EID-prefix, percent-encoded: [42] 10.0.0.0/24 is %5B42%5D%2010.0.0.0%2F24",
        "schema": {"type": "string", "minLength": 1},
    },
    "rloc": {
        "description": "RLOC of an xTR in the configuration",
        "schema": {"type": "string", "minLength": 1},
    },
    "problem": {
        "description": "last part of a problem's `type`",
        "schema": {"enum": list(PROBLEMS)},
    },
}

PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "description": "Why a request was refused (RFC 9457).",
    "required": ["type", "title", "status", "detail", "errors"],
    "properties": {
        "type": {"type": "string", "description": "dereferenceable: tells what it means"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "a sentence for the operator"},
        "errors": {
            "type": "array",
            "description": "every single mistake",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string", "description": "JSON pointer into the body"},
                    "parameter": {"type": "string", "description": "query parameter"},
                    "line": {"type": "integer", "description": "line of a JSON-lines body"},
                },
            },
        },
    },
}

_CONDITIONS = (
    ("If-Match", "only when the ETag is still this one"),
    ("If-None-Match", "`*`: only when there is nothing yet"),
)


def document(routes: Iterable[Route], version: str) -> Schema:
    """The whole document. version: of the software."""
    routes = tuple(routes)
    references, schemas = _schemas(routes)
    paths: dict[str, Schema] = {}
    for route in routes:
        operation = _operation(route, references)
        paths.setdefault(BASE + route.template, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lisp_sdn",
            "version": version,
            "description": "The centralized ITR/ETR of a LISP network on Open vSwitch.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # Without tokens in the configuration none is needed.
        "security": [{"token": []}, {}],
    }


Mode = Literal["validation", "serialization"]


def _schemas(routes: tuple[Route, ...]) -> tuple[dict[tuple[type, Mode], Schema], Schema]:
    wanted: dict[tuple[type[BaseModel], Mode], None] = {}
    for route in routes:
        if route.body is not None:
            wanted[route.body, "validation"] = None
        if route.response is not None:
            wanted[route.response, "serialization"] = None
    references, definitions = models_json_schema(list(wanted), ref_template=_REFERENCE)
    schemas = {**definitions["$defs"], "Problem": PROBLEM_SCHEMA}
    for schema in schemas.values():
        for given in schema.get("properties", {}).values():
            if not _fits(given):
                del given["default"]
    return {key: dict(value) for key, value in references.items()}, dict(sorted(schemas.items()))


def _fits(given: Schema) -> bool:
    """Whether a default can be said in JSON: not an empty list that may only be left out."""
    default = given.get("default", "")
    if default == [] and given.get("minItems"):
        return False
    return given.get("type") != "string" or isinstance(default, str)


def _operation(route: Route, references: dict[tuple[type, Mode], Schema]) -> Schema:
    operation: Schema = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *query_parameters(route), *_conditions(route)],
        "responses": _responses(route, references),
    }
    if route.body is not None:
        schema = references[route.body, "validation"]
        operation["requestBody"] = {
            "required": True,
            "content": {
                media: {"schema": _in_media(media, schema, route.body)} for media in route.takes
            },
        }
    return operation


def _in_media(media: str, schema: Schema, line: type[BaseModel] | None) -> Schema:
    """JSON lines are text to OpenAPI; the model of a line goes into the description."""
    if media == TEXT:
        return {"type": "string", "description": "text"}
    if media == EVENT_STREAM:
        return {"type": "string", "description": "server-sent events"}
    if media != JSON_LINES or line is None:
        return schema
    return {"type": "string", "description": f"one {line.__name__} a line"}


def _path_parameters(route: Route) -> Iterable[Schema]:
    for name in route.parameters:
        yield {"name": name, "in": "path", "required": True, **PATH_PARAMETERS[name]}


def query_parameters(route: Route) -> Iterable[Schema]:
    """The query parameters of a route."""
    schema = route.query.model_json_schema()
    for name, given in schema.get("properties", {}).items():
        field = {key: value for key, value in given.items() if key != "title"}
        if field.get("default", "") is None:
            del field["default"]
        choices = [entry for entry in field.pop("anyOf", []) if entry != {"type": "null"}]
        for choice in choices:
            field = {**choice, **field}
        parameter: Schema = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
        }
        if "description" in field:
            parameter["description"] = field.pop("description")
        yield {**parameter, "schema": field}


def _conditions(route: Route) -> Iterable[Schema]:
    if route.conditional:
        for name, description in _CONDITIONS:
            yield {
                "name": name,
                "in": "header",
                "required": False,
                "description": description,
                "schema": {"type": "string"},
            }


def _responses(route: Route, references: dict[tuple[type, Mode], Schema]) -> Schema:
    responses: Schema = {}
    for status in route.statuses:
        response: Schema = {"description": route.summary if status != 201 else "It was new"}
        if status != 204:
            schema = (
                references[route.response, "serialization"]
                if route.response
                else {"type": "object"}
            )
            response["content"] = {
                media: {"schema": _in_media(media, schema, route.line)} for media in route.gives
            }
        responses[str(status)] = response
    for name in problems(route):
        status, title = PROBLEMS[name]
        known = responses.setdefault(str(int(status)), {"description": ""})
        known["description"] = "; ".join(filter(None, (known["description"], title)))
        known["content"] = {PROBLEM: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    return dict(sorted(responses.items()))


def problems(route: Route) -> list[str]:
    """Names of the problems that a route may answer with."""
    names = ["bad-query", "unauthorized", "forbidden", "not-acceptable", "conflict", *route.errors]
    if route.parameters or "xtr" in route.query.model_fields:
        names.append("not-found")
    if route.body is not None:
        names += ["malformed-json", "unsupported-media-type", "too-large", "invalid"]
    if route.conditional:
        names.append("precondition-failed")
    return sorted(dict.fromkeys(names))
