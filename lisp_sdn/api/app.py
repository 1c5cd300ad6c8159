"""`Api`: one request in, one response and the actions that it leads to out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote, urlencode

from pydantic import BaseModel

from lisp_sdn.actions import Action, Dropped
from lisp_sdn.api.access import check_role, identify
from lisp_sdn.api.backend import Backend
from lisp_sdn.api.body import check_media, check_size, read_json, read_lines, read_query
from lisp_sdn.api.http import (
    BASE,
    JSON_LINES,
    Problem,
    Request,
    Response,
    choose_media,
    etag,
    not_modified,
)
from lisp_sdn.api.metrics import HasMetrics
from lisp_sdn.api.page import Page
from lisp_sdn.api.routes import ROUTES
from lisp_sdn.api.routing import Call, Reply, Route, Router, allow, to_json
from lisp_sdn.errors import LispError
from lisp_sdn.rest_settings import AccessToken

_ROUTER = Router(ROUTES)

ALIASES = {"/metrics": f"{BASE}/metrics"}
"""Where others look for something by custom."""


class Api:
    """The REST interface without HTTP (RFC 9110 for what statuses and headers mean)."""

    def __init__(
        self,
        backend: Backend,
        metrics: Iterable[HasMetrics] = (),
        *,
        page: Page | None = None,
        hints: Mapping[str, str] | None = None,
    ) -> None:
        """metrics: of the edges, shown with those of the backend. page: the web page.

        hints: reason of a refusal -> what it means.
        """
        self._backend = backend
        self._metrics = tuple(metrics)
        self._page = page
        self._hints = hints or {}

    def handle(self, request: Request, now: float) -> tuple[Response, list[Action]]:
        """Answer a request. now: epoch seconds. A mistake of the caller never raises."""
        try:
            response, actions = self._dispatch(request, now)
        except Problem as problem:
            response, actions = problem.response(), self._note(request, problem, now)
        except LispError as error:
            response, actions = Problem("conflict", str(error)).response(), []
        response.headers["Date"] = formatdate(now, usegmt=True)
        response.headers["Cache-Control"] = "no-cache"
        if request.method == "HEAD":
            response = Response(response.status, response.headers)
        return response, actions

    def body_room(self, request: Request) -> int:
        """Octets of a body that are worth reading, when only the head of a request is there.

        0 when it will be refused whatever its body: who has no token fills no memory.
        """
        try:
            _, route, _, _ = self._admit(request)
        except Problem:
            return 0
        return route.body_limit

    def _admit(
        self, request: Request
    ) -> tuple[AccessToken | None, Route, dict[str, str], BaseModel]:
        """Who asks, for what, with which query. Raises Problem."""
        config = self._backend.config
        token = identify(request, config)
        route, path = _ROUTER.find(request.method, ALIASES.get(request.path, request.path))
        query = read_query(request.query, route.query)
        check_role(token, route, path, getattr(query, "iid", None), config)
        return token, route, path, query

    def _note(self, request: Request, problem: Problem, now: float) -> list[Action]:
        """Refused access shows among the refusals; other mistakes only concern who made them."""
        if problem.name not in ("unauthorized", "forbidden"):
            return []
        detail = f"{request.method} {request.path[:200]}: {problem.detail}"
        return self._backend.note(Dropped("rest", problem.name, detail, request.source), now)

    def _dispatch(self, request: Request, now: float) -> tuple[Response, list[Action]]:
        file = self._page.answer(request) if self._page is not None else None
        if file is not None:
            return file, []
        if request.method == "OPTIONS":
            methods, _ = _ROUTER.methods(ALIASES.get(request.path, request.path))
            return Response(204, {"Allow": allow(methods)}), []
        token, route, path, query = self._admit(request)
        accept = choose_media(request.header("Accept"), route.gives)
        body = _read_body(request, route)
        who = token.name if token is not None else None
        call: Call[Any, Any] = Call(
            self._backend,
            request,
            path,
            query,
            body,
            accept,
            now,
            who,
            self._metrics,
            self._hints,
        )
        reply = route.handler(call)
        return _respond(request, reply), reply.actions


def _read_body(request: Request, route: Route) -> object:
    check_size(request.body, route.body_limit)
    if route.body is None:
        return None
    media = check_media(request, route)
    if route.raw:
        return None
    if media == JSON_LINES:
        return read_lines(request.body, route.body)
    return read_json(request.body, route.body)


def _respond(request: Request, reply: Reply) -> Response:
    if reply.follow is not None:
        headers = {"Content-Type": reply.media, **reply.headers}
        return Response(reply.status, headers, follow=reply.follow)
    if reply.body is None:
        return Response(reply.status, dict(reply.headers))
    body = reply.body if isinstance(reply.body, bytes) else to_json(reply.body)
    headers = {"Content-Type": reply.media, **reply.headers}
    if reply.next is not None:
        headers["Link"] = f'<{_next_url(request, reply.next)}>; rel="next"'
    if request.method in ("GET", "HEAD", "PUT", "PATCH"):
        headers["ETag"] = etag(body)
    if request.method in ("GET", "HEAD") and not_modified(request, headers.get("ETag", "")):
        headers.pop("Content-Type")
        return Response(304, headers)
    return Response(reply.status, headers, body)


def _next_url(request: Request, cursor: str) -> str:
    query = urlencode({**request.query, "after": cursor})
    return f"{quote(unquote(request.path))}?{query}"
