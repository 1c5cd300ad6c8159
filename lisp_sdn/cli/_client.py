"""The REST interface as lispctl uses it: urllib, problems as errors, pages as iterators."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from rich.console import Console
from rich.status import Status

from lisp_sdn.errors import LispError

BASE = "/lisp/v1"
TIMEOUT = 30.0
"""Seconds to wait for an answer."""

STREAM_TIMEOUT = 45.0
"""Seconds without a sign of life of an event stream, which has one every 15 seconds."""

PATIENCE = 1.0
"""Seconds of waiting after which a person is told what for."""

MAX_ANSWER = 64 << 20


class Unreachable(LispError):
    """The controller did not answer."""


class Refused(LispError):
    """The controller answered with a problem document (RFC 9457)."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(str(document.get("detail") or document.get("title") or status))
        self.status = status
        self.document = dict(document)

    def lines(self) -> Iterator[str]:
        """The sentence, and every single mistake."""
        yield str(self)
        for error in self.document.get("errors", ()):
            where = [
                f"line {error['line']}" if "line" in error else "",
                error.get("parameter", ""),
                error.get("pointer", "").removeprefix("#").lstrip("/").replace("/", "."),
            ]
            prefix = ", ".join(part for part in where if part)
            yield f"  {prefix}: {error['detail']}" if prefix else f"  {error['detail']}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. now: the controller's clock, epoch seconds, None when it did not tell."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON document; None without a body."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            raise Unreachable("what answers is not this controller: no JSON document") from None

    @property
    def now(self) -> float | None:
        """The controller's clock, epoch seconds; None when it did not tell."""
        date = self.headers.get("Date")
        try:
            return parsedate_to_datetime(date).timestamp() if date else None
        except ValueError:
            return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is not carried to wherever a redirect points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Speaks to one controller. url: "http://ADDRESS:PORT", or https. Raises Unreachable, Refused.

    tls: whom to trust, and who we are, where the URL is https; None: the system's authorities.
    """

    def __init__(
        self, url: str, token: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        # Without proxies: the controller is near, and http_proxy is meant for the Internet.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            _NoRedirect(),
            urllib.request.HTTPSHandler(context=tls),
        )
        self.now: float | None = None

    def get(self, path: str, **query: object) -> Any:
        """The document at a path below /lisp/v1. query: None leaves a parameter out."""
        return self.send("GET", path, query=query).document

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Every entry of a list, one page in memory."""
        after: str | None = None
        while True:
            page = self.get(path, **{**query, "after": after})
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        media: str = "application/json",
    ) -> Answer:
        """One request."""
        request = self._request(method, path, body, query or {}, headers or {})
        if body is not None:
            request.add_header("Content-Type", media)
        with Waiting(f"waiting for {urlsplit(self.url).netloc}"):
            answer = self._exchange(request)
        self.now = answer.now or self.now
        return answer

    def lines(
        self, path: str, *, query: Mapping[str, object], headers: Mapping[str, str]
    ) -> Iterator[str]:
        """The lines of an event stream as they come; ends when the controller ends it."""
        accept = {"Accept": "text/event-stream", **headers}
        request = self._request("GET", path, None, query, accept)
        try:
            with self._opener.open(request, timeout=STREAM_TIMEOUT) as found:
                for line in found:
                    yield line.decode(errors="replace").rstrip("\r\n")
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)).strip()
            raise Unreachable(f"no answer from {self.url}: {reason}") from None

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        query: Mapping[str, object],
        headers: Mapping[str, str],
    ) -> urllib.request.Request:
        pairs = {key: _text(value) for key, value in query.items() if value is not None}
        url = f"{self.url}{BASE}{path}" + (f"?{urlencode(pairs)}" if pairs else "")
        request = urllib.request.Request(url, data=body, method=method)
        request.add_header("Accept", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        for name, value in headers.items():
            request.add_header(name, value)
        return request

    def _exchange(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=TIMEOUT) as found:
                return Answer(found.status, found.headers, found.read(MAX_ANSWER))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)).strip()
            raise Unreachable(f"no answer from {self.url}: {reason}") from None

    def _refused(self, error: urllib.error.HTTPError) -> LispError:
        try:
            document = json.loads(error.read(MAX_ANSWER))
        except (OSError, ValueError):
            document = None
        if isinstance(document, dict) and "detail" in document:
            return Refused(error.code, document)
        return Unreachable(
            f"{self.url} answers with status {error.code}, but not as this controller does"
        )


def segment(text: str) -> str:
    """A name or EID as part of a path."""
    return quote(text, safe="")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Waiting:
    """Tells on stderr what is waited for, when it takes longer than PATIENCE and a person looks.

    A context manager. Inside of another one it says nothing: the outer one knows better.
    """

    _active = False

    def __init__(self, what: str) -> None:
        console = Console(stderr=True)
        self._status = Status(f"{what} ...", console=console)
        self._outermost = console.is_terminal and not Waiting._active
        self._timer = threading.Timer(PATIENCE, self._status.start)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Begin to wait."""
        if self._outermost:
            Waiting._active = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """It came, or not."""
        if self._outermost:
            Waiting._active = False
            self._timer.cancel()
            self._timer.join()
            self._status.stop()

    def update(self, what: str) -> None:
        """How far it has come."""
        self._status.update(f"{what} ...")
