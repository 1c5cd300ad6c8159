"""Requests and responses as values, problem documents (RFC 9457), ETags and media types (RFC 9110).

Nothing here touches a socket: the edge turns its own request into `Request` and sends `Response`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypedDict

from lisp_sdn.api.stream import Follow
from lisp_sdn.errors import LispError

JSON = "application/json"
JSON_LINES = "application/x-ndjson"
MERGE_PATCH = "application/merge-patch+json"
PROBLEM = "application/problem+json"
TEXT = "text/plain"

BASE = "/lisp/v1"
"""Every path begins with this."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path: percent-encoded or decoded, both are understood; without the query.

    headers: names in any case. source: the client's address, for refusals; "" when not known.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    source: str = ""

    def header(self, name: str) -> str | None:
        """The value of a header, None without one. name: in any case."""
        wanted = name.lower()
        return next((v for k, v in self.headers.items() if k.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Response:
    """One response, complete but for Content-Length, which the edge adds.

    follow: instead of a body, events without end.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    follow: Follow | None = None


class Detail(TypedDict, total=False):
    """One mistake in a request. pointer: JSON pointer as a fragment; parameter: of the query."""

    detail: str
    pointer: str
    parameter: str
    line: int


PROBLEMS: dict[str, tuple[HTTPStatus, str]] = {
    "malformed-json": (HTTPStatus.BAD_REQUEST, "The body is not JSON"),
    "bad-query": (HTTPStatus.BAD_REQUEST, "A query parameter is unknown or has a wrong value"),
    "bad-eid": (HTTPStatus.BAD_REQUEST, "An EID is not [IID] ADDRESS/LENGTH without host bits"),
    "unauthorized": (HTTPStatus.UNAUTHORIZED, "The request needs a token"),
    "forbidden": (HTTPStatus.FORBIDDEN, "The token does not allow this"),
    "not-found": (HTTPStatus.NOT_FOUND, "There is no such thing"),
    "method-not-allowed": (HTTPStatus.METHOD_NOT_ALLOWED, "The path does not take this method"),
    "not-acceptable": (HTTPStatus.NOT_ACCEPTABLE, "No acceptable media type"),
    "conflict": (HTTPStatus.CONFLICT, "The state does not allow this"),
    "precondition-failed": (HTTPStatus.PRECONDITION_FAILED, "It was changed by somebody else"),
    "too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large"),
    "unsupported-media-type": (
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The media type of the body is not understood here",
    ),
    "invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "The body is JSON, but not what is expected"),
    "precondition-required": (
        HTTPStatus.PRECONDITION_REQUIRED,
        "If-Match is needed, so that two operators do not overwrite each other",
    ),
    "too-many-streams": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "As many clients follow the events as limits.event_streams allows",
    ),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "A mistake in the controller; see its log"),
}
"""Every problem type: name, status and title. The type URI is BASE/problems/NAME."""

MAX_ERRORS = 100
"""At most this many entries in `errors`: an answer stays small whatever was sent."""


class Problem(LispError):
    """A request that is answered with a problem document (RFC 9457)."""

    def __init__(
        self,
        name: str,
        detail: str,
        errors: Sequence[Detail] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.errors = tuple(errors[:MAX_ERRORS])
        self.headers = dict(headers or {})

    @property
    def status(self) -> HTTPStatus:
        """The status of the answer."""
        return PROBLEMS[self.name][0]

    def response(self) -> Response:
        """The answer."""
        document: dict[str, object] = {
            "type": f"{BASE}/problems/{self.name}",
            "title": PROBLEMS[self.name][1],
            "status": int(self.status),
            "detail": self.detail,
            "errors": list(self.errors),
        }
        body = json.dumps(document).encode()
        return Response(int(self.status), {"Content-Type": PROBLEM, **self.headers}, body)


def not_found(kind: str, name: str) -> Problem:
    """There is no thing of this kind with this name."""
    return Problem("not-found", f"there is no {kind} {name!r}")


def etag(body: bytes) -> str:
    """A strong ETag (RFC 9110 section 8.8.3): a hash of the canonical body."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _tags(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",") if tag.strip()]


def check_preconditions(request: Request, current: bytes | None) -> None:
    """If-Match and If-None-Match of a change (RFC 9110 section 13.1).

    current: the body that a GET would return now, None when there is nothing. Raises Problem.
    """
    tag = etag(current) if current is not None else None
    if_match = request.header("If-Match")
    if if_match is not None:
        wanted = _tags(if_match)
        if tag is None:
            raise Problem("precondition-failed", f"If-Match: {if_match}, but it does not exist")
        if wanted != ["*"] and tag not in wanted:
            raise Problem(
                "precondition-failed",
                f"If-Match: {if_match}, but the current ETag is {tag}",
                headers={"ETag": tag},
            )
    none_match = request.header("If-None-Match")
    if none_match is not None and tag is not None:
        wanted = _tags(none_match)
        if wanted == ["*"] or tag in wanted:
            raise Problem(
                "precondition-failed",
                f"If-None-Match: {none_match}, but it exists with ETag {tag}",
                headers={"ETag": tag},
            )


def not_modified(request: Request, tag: str) -> bool:
    """Whether a GET is answered with 304: If-None-Match, compared weakly."""
    header = request.header("If-None-Match")
    if header is None:
        return False
    wanted = [entry.removeprefix("W/") for entry in _tags(header)]
    return wanted == ["*"] or tag in wanted


def media_type(header: str) -> str:
    """The media type of a Content-Type, without parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def choose_media(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that an Accept header likes best (RFC 9110 section 12.5.1).

    offered: in our own order of preference. Raises Problem (406).
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    best, best_quality = None, 0.0
    for media in offered:
        quality = _quality(media, ranges)
        if quality > best_quality:
            best, best_quality = media, quality
    if best is None:
        raise Problem("not-acceptable", f"Accept: {accept}; offered: {', '.join(offered)}")
    return best


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that fits."""
    kind = media.partition("/")[0]
    for wanted in (media, f"{kind}/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
