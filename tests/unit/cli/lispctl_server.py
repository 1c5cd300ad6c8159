"""The API on loopback HTTP with a backend in memory, for tests of lispctl."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "api"))

from api_fake import NOW, FakeBackend

from lisp_sdn.api import Api, Request
from lisp_sdn.cli.lispctl import main


class Handler(BaseHTTPRequestHandler):
    """Turns HTTP into `Request` and back, and notes what it was asked."""

    api: Api
    seen: list[tuple[str, str, dict[str, str]]]

    def serve(self) -> None:
        parts = urlsplit(self.path)
        headers = dict(self.headers.items())
        self.seen.append((self.command, self.path, headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        response, _ = self.api.handle(request, NOW)
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        answer = response.body
        if response.follow is not None:
            # What there is now; the end of the connection is one that a client comes back from.
            answer = response.follow.begin() + response.follow.take()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = serve

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class Controller:
    """A running server and a shorthand for lispctl against it."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        handler = type(
            "Bound",
            (Handler,),
            {"api": Api(backend, hints={"bad_digest": "another key"}), "seen": self.seen},
        )
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __call__(self, *args: str, input: str | bytes | None = None, **env: str) -> Result:
        return run("--url", self.url, *args, input=input, **env)


def run(*args: str, input: str | bytes | None = None, **env: str) -> Result:
    """lispctl with these arguments, as a program that is not a terminal would run it."""
    return CliRunner().invoke(main, args, input=input, env={"LISPCTL_URL": None, **env})


@contextlib.contextmanager
def serving(backend: FakeBackend) -> Iterator[Controller]:
    """A controller while the block runs."""
    controller = Controller(backend)
    thread = threading.Thread(target=controller.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield controller
    finally:
        controller.server.shutdown()
        controller.server.server_close()
        thread.join(5)
