"""The REST interface over HTTP: every request goes to `lisp_sdn.api`, which knows the paths."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import eventlet
import eventlet.wsgi
import webob
import webob.exc

from lisp_sdn.actions import Action, Dropped
from lisp_sdn.address import Endpoint
from lisp_sdn.api.http import Problem, Request, Response
from lisp_sdn.apps.control import ListenError
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.events import EventStreams
from lisp_sdn.apps.listening import Listener
from lisp_sdn.apps.log import LOGGER
from lisp_sdn.apps.tls import TlsListener
from lisp_sdn.rest_settings import RestSettings

MAX_BODY = 64 << 20
"""Octets of a request's body."""

MAX_CONNECTIONS = 256

IDLE_TIMEOUT = 75
"""Seconds until a connection without requests is closed."""

Handler = Callable[[Request, float], tuple[Response, list[Action]]]

Room = Callable[[Request], int]
"""Octets of a body that are worth reading, when only the head of a request is there."""


class RestServer:
    """Serves `handle` on one endpoint, by TLS if that is configured. Raises ListenError."""

    def __init__(
        self,
        settings: RestSettings,
        handle: Handler,
        dispatcher: Dispatcher,
        streams: EventStreams | None = None,
        room: Room = lambda _: MAX_BODY,
    ) -> None:
        self._handle = handle
        self._room = room
        self._streams = streams
        self._dispatcher = dispatcher
        endpoint = settings.listen
        family = eventlet.green.socket.AF_INET
        if endpoint.address.version == 6:
            family = eventlet.green.socket.AF_INET6
        try:
            # Not reuse_port, which eventlet would set: a second controller must notice the first.
            listening: Any = eventlet.listen(
                (str(endpoint.address), endpoint.port), family=family, reuse_port=False
            )
        except OSError as error:
            raise ListenError(f"REST: cannot listen on TCP {endpoint}: {error.strerror}") from None
        self.endpoint = Endpoint(endpoint.address, listening.getsockname()[1])
        tls = settings.tls
        self._socket = Listener(listening, "REST") if tls is None else TlsListener(listening, tls)
        self.url = f"{settings.scheme}://{self.endpoint}"

    def start(self) -> None:
        """Begin to answer."""
        eventlet.spawn(self._serve)

    def close(self) -> None:
        """Give the port back; requests under way are answered."""
        self._socket.close()

    def _serve(self) -> None:
        eventlet.wsgi.server(
            self._socket,
            self.application,
            log=_Quiet(),
            log_output=False,
            max_size=MAX_CONNECTIONS,
            socket_timeout=IDLE_TIMEOUT,
            debug=False,
            protocol=self._protocol(),
        )

    def _protocol(self) -> type[Any]:
        """HTTP that tells of TLS which fails; eventlet's own writes tracebacks."""
        refused = self._tls_refused

        class Protocol(eventlet.wsgi.HttpProtocol):
            def handle(self) -> None:
                try:
                    super().handle()
                except ssl.SSLError as error:
                    self.close_connection = True
                    refused(error, str(self.client_address[0]))
                except OSError as error:
                    self.close_connection = True
                    LOGGER.debug("rest: %s: %s", self.client_address[0], error)

            def log_message(self, message: str, *arguments: object) -> None:
                # Of the base class: to standard error.
                LOGGER.debug("rest: " + message, *arguments)

        return Protocol

    def _tls_refused(self, error: ssl.SSLError, source: str) -> None:
        reason = error.reason
        if reason is None:  # nothing was said for too long
            return
        detail = reason.lower().replace("_", " ")
        self._dispatcher.report(Dropped("rest", "tls-failed", detail, source))

    def application(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """The WSGI application (PEP 3333)."""
        incoming = webob.Request(environ)
        response = self._answer(incoming)
        if response.follow is not None and self._streams is not None:
            try:
                pieces = self._streams.open(response.follow, incoming.remote_addr or "")
            except Problem as problem:
                response = problem.response()
            else:
                # Every piece goes out at once; eventlet would collect some kilobytes first.
                environ["eventlet.minimum_write_chunk_size"] = 1
                start_response("200 OK", list(response.headers.items()))
                return pieces
        reply = webob.Response(body=response.body, status=response.status)
        # The answer's own headers only, and the length: webob would add a content type.
        reply.headers.clear()
        reply.headers.update(response.headers)
        if response.status not in (204, 304):
            reply.headers["Content-Length"] = str(len(response.body))
        answer: Iterable[bytes] = reply(environ, start_response)
        return answer

    def _answer(self, incoming: webob.Request) -> Response:
        try:
            request = _request(incoming, self._room)
        except Problem as problem:
            return problem.response()
        self._dispatcher.begin()
        try:
            now = self._dispatcher.clock()
            response, actions = self._handle(request, now)
        except Exception as error:
            LOGGER.exception("internal error in %s %s", request.method, request.path)
            detail = f"{type(error).__name__}; the controller's log has more"
            return Problem("internal", detail).response()
        self._dispatcher.perform(actions, now)
        self._dispatcher.done()
        return response


def _request(incoming: webob.Request, room: Room) -> Request:
    """An HTTP request as a value. Raises Problem.

    Of its body no more is read than shows that it is too large; what is left over goes with the
    connection.
    """
    length = incoming.content_length or 0
    if length > MAX_BODY:
        raise Problem("too-large", f"{length} octets, at most {MAX_BODY} are taken")
    try:
        # GET is webob's name for the query, whatever the method.
        query, path = dict(incoming.GET.items()), incoming.path_info
        source = incoming.remote_addr or ""
        head = Request(incoming.method, path, query, dict(incoming.headers.items()), b"", source)
        if not _has_body(incoming):
            return head
        octets = room(head)
        body = incoming.environ["wsgi.input"].read(octets + 1) if octets else b""
    except (ValueError, OSError) as error:
        # Octets that are not UTF-8, or a broken chunk; ChunkReadError says nothing more.
        reason = str(error) or "its body is not what Transfer-Encoding says"
        raise Problem("bad-query", f"the request cannot be read: {reason}") from None
    if len(body) > octets:
        raise Problem("too-large", f"at most {octets} octets are taken")
    return replace(head, body=body)


def _has_body(incoming: webob.Request) -> bool:
    return bool(incoming.content_length) or "chunked" in incoming.headers.get(
        "Transfer-Encoding", ""
    )


class _Quiet:
    """Takes eventlet's request log; requests that change something are in the event stream."""

    def write(self, message: str) -> None:
        LOGGER.debug("rest: %s", message.rstrip())

    def info(self, message: str, *arguments: object) -> None:
        LOGGER.debug("rest: " + message, *arguments)

    debug = info

    def error(self, message: str, *arguments: object) -> None:
        LOGGER.warning("rest: " + message, *arguments)
