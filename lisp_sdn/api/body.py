"""Request bodies to models: sizes, media types, JSON, JSON lines; every mistake named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lisp_sdn.api.http import MAX_ERRORS, Detail, Problem, Request, media_type
from lisp_sdn.api.routing import Route

M = TypeVar("M", bound=BaseModel)

MAX_LINES = 10_000
"""Lines of one JSON-lines body: bounds the time that one request keeps others waiting."""


def check_size(body: bytes, limit: int) -> None:
    """Raises Problem (413)."""
    if len(body) > limit:
        raise Problem("too-large", f"{len(body)} octets, at most {limit} here")


def check_media(request: Request, route: Route) -> str:
    """The media type of the body. Raises Problem (415)."""
    given = request.header("Content-Type") or ""
    media = media_type(given)
    if media not in route.takes:
        raise Problem(
            "unsupported-media-type",
            f"Content-Type: {given or 'missing'}; expected {' or '.join(route.takes)}",
            headers={"Accept": ", ".join(route.takes)},
        )
    return media


def read_json(body: bytes, model: type[M]) -> M:
    """A JSON body as a model. Raises Problem (400, 422)."""
    _parse(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Problem("invalid", "the body is not as expected", details(error)) from None


def read_lines(body: bytes, model: type[M]) -> list[tuple[int, M]]:
    """Every line of a JSON-lines body with its number; empty lines are skipped.

    All mistakes of all lines are told at once, and nothing is taken. Raises Problem.
    """
    rows: list[tuple[int, M]] = []
    errors: list[Detail] = []
    lines = body.splitlines()
    if len(lines) > MAX_LINES:
        raise Problem("too-large", f"{len(lines)} lines, at most {MAX_LINES} in one request")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append((number, read_json(line, model)))
        except Problem as problem:
            errors += _on_line(number, problem)
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        raise Problem("invalid", "nothing was changed; see errors", errors)
    return rows


def _on_line(number: int, problem: Problem) -> Iterable[Detail]:
    for entry in problem.errors or ({"detail": problem.detail},):
        yield {**entry, "line": number}


def read_query(query: Mapping[str, str], model: type[M]) -> M:
    """The query parameters as a model. Raises Problem (400)."""
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        errors: list[Detail] = [
            {"parameter": str(item["loc"][0]), "detail": _sentence(item)}
            for item in error.errors()[:MAX_ERRORS]
        ]
        names = ", ".join(model.model_fields) or "none"
        raise Problem("bad-query", f"parameters here: {names}", errors) from None


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON body that must be an object. Raises Problem (400, 422)."""
    value = _parse(body)
    if not isinstance(value, dict):
        raise Problem("invalid", f"{type(value).__name__}, expected an object")
    return value


def details(error: ValidationError) -> list[Detail]:
    """The mistakes that pydantic found, with JSON pointers (RFC 6901)."""
    return [
        {"pointer": _pointer(item["loc"]), "detail": _sentence(item)}
        for item in error.errors()[:MAX_ERRORS]
    ]


def _pointer(location: tuple[int | str, ...]) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in location)
    return "#" + "".join(f"/{part}" for part in parts)


def _sentence(item: Any) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    if item["type"] == "extra_forbidden":
        return "unknown name"
    if isinstance(given, str | int | float) and repr(given) not in message:
        return f"{repr(given)[:200]}: {message}"
    return message


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise Problem("malformed-json", "nested too deeply") from None
    except ValueError as error:
        raise Problem("malformed-json", str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is written twice in one object")
    return seen


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
