"""The route table: what a path takes and gives, declared once for dispatch and documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel

from lisp_sdn.actions import Action
from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.api.backend import Backend
from lisp_sdn.api.fields import Query, parse_eid, parse_key
from lisp_sdn.api.http import BASE, JSON, JSON_LINES, Problem, Request, check_preconditions
from lisp_sdn.api.metrics import HasMetrics
from lisp_sdn.api.stream import Follow
from lisp_sdn.config import SiteSettings, XtrSettings
from lisp_sdn.errors import FieldError

Q = TypeVar("Q", bound=BaseModel, covariant=True)
B = TypeVar("B", covariant=True)

BODY_LIMIT = 1 << 20
BULK_LIMIT = 16 << 20


class NoQuery(Query):
    """A route without query parameters."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request on its way to a handler, everything checked.

    now: epoch seconds. token: name of the access token; None when none is configured.
    metrics: of the edges. hints: reason of a refusal -> what it means.
    """

    backend: Backend
    request: Request
    path: dict[str, str]
    query: Q
    body: B
    accept: str
    now: float
    token: str | None = None
    metrics: tuple[HasMetrics, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)

    def person(self, who: str) -> str:
        """Who makes a change, for the history. who: as the client says."""
        return who if self.token is None else f"{who} (token {self.token})"

    def site(self) -> SiteSettings:
        """The site named in the path. Raises Problem (404)."""
        site = self.backend.config.site(self.path["name"])
        if site is None:
            raise self._unknown("site", [s.name for s in self.backend.config.sites])
        return site

    def xtr(self) -> XtrSettings:
        """The xTR named in the path. Raises Problem (404)."""
        return find_xtr(self.backend, self.path["name"])

    def eid(self, iid: int | None) -> EidPrefix:
        """The EID-prefix in the path. iid: of the query. Raises Problem (400)."""
        return read_eid(self.path["eid"], iid)

    def key(self, iid: int | None) -> EidPrefix | SourceDestPrefix:
        """The map-cache key in the path. Raises Problem (400)."""
        try:
            return parse_key(self.path["eid"], iid or 0)
        except FieldError as error:
            raise Problem("bad-eid", str(error)) from None

    def check_preconditions(self, current: BaseModel | None) -> None:
        """If-Match and If-None-Match against what a GET would show. Raises Problem (412)."""
        check_preconditions(self.request, to_json(current) if current is not None else None)

    def _unknown(self, kind: str, known: Sequence[str]) -> Problem:
        return unknown(kind, self.path["name"], known)


def unknown(kind: str, name: str, known: Sequence[str]) -> Problem:
    """A 404 that tells what there is."""
    return Problem(
        "not-found",
        f"there is no {kind} {name!r}; configured: {', '.join(known[:20]) or 'none'}",
    )


def find_xtr(backend: Backend, name: str) -> XtrSettings:
    """A configured xTR. Raises Problem (404)."""
    for xtr in backend.config.xtrs:
        if xtr.name == name:
            return xtr
    raise unknown("xTR", name, [xtr.name for xtr in backend.config.xtrs])


def read_eid(text: str, iid: int | None = None, parameter: str | None = None) -> EidPrefix:
    """An EID-prefix of a request. iid: when it is given beside the text. Raises Problem (400)."""
    try:
        eid = parse_eid(text, iid or 0)
    except FieldError as error:
        name = "bad-eid" if parameter is None else "bad-query"
        raise Problem(
            name, str(error), [{"parameter": parameter, "detail": str(error)}] if parameter else ()
        ) from None
    if iid is not None and eid.iid != iid:
        detail = f"iid: {iid}, but the EID is in instance-ID {eid.iid}: {text!r}"
        raise Problem("bad-query", detail, [{"parameter": "iid", "detail": detail}])
    return eid


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers. body: a model, or encoded bytes of `media`; None: no content.

    next: cursor of the following page, becomes a Link header. follow: events instead of a body.
    """

    body: BaseModel | bytes | None = None
    status: int = 200
    media: str = JSON
    actions: list[Action] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    next: str | None = None
    follow: Follow | None = None


def to_json(model: BaseModel) -> bytes:
    """The canonical body of a model: what GET sends and ETags hash."""
    return model.model_dump_json(by_alias=True).encode()


def to_json_lines(models: Iterable[BaseModel]) -> bytes:
    """One JSON document a line."""
    return b"".join(to_json(model) + b"\n" for model in models)


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    template: below BASE; {name} is one segment, {eid} all the rest. body: the model of a JSON
    body, or of every line of a JSON-lines body. raw: the handler reads the body itself.
    line: the model of every line of an answer in JSON lines. takes, gives: media types, the
    preferred one first. statuses: of success, the first is usual.
    changes: not with a read-only token. conditional: honours If-Match and If-None-Match.
    errors: names of problems that only this kind of route has.
    """

    method: str
    template: str
    summary: str
    handler: Callable[..., Reply]
    tag: str
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    line: type[BaseModel] | None = None
    raw: bool = False
    statuses: tuple[int, ...] = (200,)
    takes: tuple[str, ...] = (JSON,)
    gives: tuple[str, ...] = (JSON,)
    changes: bool = False
    conditional: bool = False
    errors: tuple[str, ...] = ()

    @property
    def body_limit(self) -> int:
        """Octets that a body may have."""
        return BULK_LIMIT if JSON_LINES in self.takes else BODY_LIMIT

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path parameters."""
        return tuple(re.findall(r"{(\w+)}", self.template))


class Router:
    """Finds the route of a request. Literal paths win over parameters."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._paths: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._paths.setdefault(route.template, {})[route.method] = route
        ordered = sorted(self._paths, key=lambda template: (template.count("{"), template))
        self._patterns = [(_pattern(template), self._paths[template]) for template in ordered]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and the path parameters. Raises Problem (404, 405)."""
        methods, parameters = self.methods(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = allow(methods)
            raise Problem(
                "method-not-allowed",
                f"{method} {path}: takes {allowed}",
                headers={"Allow": allowed},
            )
        return route, parameters

    def methods(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        """The routes of a path by method. Raises Problem (404)."""
        decoded = unquote(path)
        for pattern, methods in self._patterns:
            found = pattern.fullmatch(decoded)
            if found:
                return methods, found.groupdict()
        raise Problem("not-found", f"there is no path {path}; see {BASE}/openapi.json")


def allow(methods: Iterable[str]) -> str:
    """The Allow header."""
    names = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return ", ".join(sorted(names))


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(BASE + template).replace(r"\{", "{").replace(r"\}", "}")
    text = text.replace("{eid}", r"(?P<eid>.+)")
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", text), re.DOTALL)
