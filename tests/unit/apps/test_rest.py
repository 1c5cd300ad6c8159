"""HTTP in and out; what the paths mean is the business of lisp_sdn.api."""

from __future__ import annotations

import contextlib
import errno
import io
import json
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

import eventlet
import pytest
from edge_fakes import FakeBrain, FakeSinks

from lisp_sdn.actions import Action, ReadRules
from lisp_sdn.api.http import Request, Response
from lisp_sdn.apps import rest
from lisp_sdn.apps.control import ListenError
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.rest import RestServer
from lisp_sdn.rest_settings import RestSettings

LOOPBACK = RestSettings(listen="127.0.0.1:0")


class Api:
    """Notes requests; `answer` decides."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], tuple[Response, list[Action]]] = lambda request: (
            Response(200, {"Content-Type": "application/json"}, b'{"a": 1}'),
            [],
        )

    def handle(self, request: Request, now: float) -> tuple[Response, list[Action]]:
        assert now > 0
        self.requests.append(request)
        return self.answer(request)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def sinks() -> FakeSinks:
    return FakeSinks()


@pytest.fixture
def server(api: Api, sinks: FakeSinks) -> Iterator[RestServer]:
    dispatcher = Dispatcher(FakeBrain())
    dispatcher.sinks = sinks
    made = RestServer(LOOPBACK, api.handle, dispatcher)
    yield made
    made.close()


def call(
    server: RestServer, method: str, path: str, body: bytes = b"", **more: Any
) -> tuple[str, dict[str, str], bytes]:
    """One request through the WSGI interface: status line, headers, body."""
    path, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        **more,
    }
    started: list[Any] = []
    data = b"".join(server.application(environ, lambda *arguments: started.extend(arguments)))
    return started[0], dict(started[1]), data


def test_what_others_have_begun_is_ended_before_a_request(server: RestServer, api: Api) -> None:
    order: list[str] = []

    def answer(request: Request) -> tuple[Response, list[Action]]:
        order.append("request")
        return Response(200, {}, b""), []

    server._dispatcher.before.append(lambda: order.append("end of a batch"))
    api.answer = answer
    call(server, "GET", "/lisp/v1/state")
    assert order == ["end of a batch", "request"]


def test_a_request_arrives_whole(server: RestServer, api: Api) -> None:
    call(
        server,
        "PUT",
        "/lisp/v1/mappings/10.0.0.0/24?iid=5&dry_run=true",
        b'{"x": 2}',
        HTTP_IF_MATCH='"tag"',
        CONTENT_TYPE="application/json",
    )
    (request,) = api.requests
    assert (request.method, request.path) == ("PUT", "/lisp/v1/mappings/10.0.0.0/24")
    assert dict(request.query) == {"iid": "5", "dry_run": "true"}
    assert request.body == b'{"x": 2}'
    assert request.header("if-match") == '"tag"'
    assert request.header("content-type") == "application/json"


def test_the_response_is_as_the_api_made_it(server: RestServer) -> None:
    status, headers, body = call(server, "GET", "/")
    assert status == "200 OK"
    assert headers == {"Content-Type": "application/json", "Content-Length": "8"}
    assert body == b'{"a": 1}'


def test_no_content_has_no_length(server: RestServer, api: Api) -> None:
    api.answer = lambda request: (Response(204), [])
    assert call(server, "DELETE", "/x") == ("204 No Content", {}, b"")


def test_actions_are_carried_out(server: RestServer, api: Api, sinks: FakeSinks) -> None:
    api.answer = lambda request: (Response(204), [ReadRules(1)])
    call(server, "DELETE", "/x")
    assert sinks.done == [ReadRules(1)]


def test_a_bug_is_a_problem_document_without_its_insides(
    server: RestServer, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Request) -> tuple[Response, list[Action]]:
        raise KeyError("secret")

    api.answer = broken
    status, headers, body = call(server, "GET", "/x")
    assert status == "500 Internal Server Error"
    assert headers["Content-Type"] == "application/problem+json"
    document = json.loads(body)
    assert document["status"] == 500
    assert b"secret" not in body
    assert b"Traceback" not in body
    assert caplog.records[0].exc_info is not None


def test_a_body_that_is_too_long_is_refused(
    server: RestServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "MAX_BODY", 10)
    status, _, body = call(server, "PUT", "/x", bytes(11))
    assert status.startswith("413")
    assert json.loads(body)["type"].endswith("/too-large")
    status, _, _ = call(
        server, "PUT", "/x", bytes(11), CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"
    )
    assert status.startswith("413")
    assert api.requests == []


def test_the_body_of_what_is_refused_anyway_is_not_read(api: Api, sinks: FakeSinks) -> None:
    dispatcher = Dispatcher(FakeBrain())
    dispatcher.sinks = sinks
    asked: list[Request] = []

    def room(request: Request) -> int:
        asked.append(request)
        return 0

    body = io.BytesIO(b"much")
    with contextlib.closing(RestServer(LOOPBACK, api.handle, dispatcher, room=room)) as made:
        call(made, "PUT", "/x", b"much", **{"wsgi.input": body})
    assert body.tell() == 0
    assert [(request.path, request.body) for request in asked] == [("/x", b"")]
    assert [request.body for request in api.requests] == [b""]


def test_a_query_that_is_not_utf8_is_a_problem(server: RestServer, api: Api) -> None:
    status, headers, _ = call(server, "GET", "/x?a=%ff")
    assert status.startswith("400")
    assert headers["Content-Type"] == "application/problem+json"
    assert api.requests == []


def test_a_connection_serves_several_requests(server: RestServer, api: Api) -> None:
    server.start()
    with eventlet.Timeout(10):
        client = eventlet.connect(("127.0.0.1", server.endpoint.port))
        for method, path, body in (("POST", "/0", b""), ("PUT", "/1", b"xx"), ("HEAD", "/2", b"")):
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            response = HTTPResponse(client, method=method)
            response.begin()
            assert response.status == 200
            assert response.read() == (b"" if method == "HEAD" else b'{"a": 1}')
        client.close()
    seen = [(request.method, request.path, request.body) for request in api.requests]
    assert seen == [("POST", "/0", b""), ("PUT", "/1", b"xx"), ("HEAD", "/2", b"")]


def test_a_port_in_use_is_one_line(server: RestServer, api: Api) -> None:
    with pytest.raises(ListenError, match=r"REST: cannot listen on TCP 127.0.0.1:\d+: Address"):
        RestServer(RestSettings(listen=server.endpoint), api.handle, Dispatcher(FakeBrain()))


def test_without_file_descriptors_for_a_moment(
    server: RestServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Scarce:
        """Refuses twice, then has what the listening socket has."""

        def __init__(self, socket: Any) -> None:
            self.socket, self.refusals = socket, 2

        def accept(self) -> tuple[Any, Any]:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.socket.accept()  # type: ignore[no-any-return]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.socket, name)

    scarce = Scarce(server._socket._socket)
    server._socket._socket = scarce
    server.start()
    with eventlet.Timeout(5):
        client = eventlet.connect(("127.0.0.1", server.endpoint.port))
        client.sendall(b"GET /here HTTP/1.0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert scarce.refusals == 0
    assert [record.getMessage() for record in caplog.records] == [
        "REST: a connection was not accepted: [Errno 24] Too many open files"
    ]


def test_a_broken_chunk_is_a_mistake_of_the_client(server: RestServer, api: Api) -> None:
    server.start()
    with eventlet.Timeout(5):
        client = eventlet.connect(("127.0.0.1", server.endpoint.port))
        client.sendall(b"POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc")
        assert client.recv(4096).startswith(b"HTTP/1.1 400 Bad Request")
    assert api.requests == []
