"""The REST interface by TLS: real sockets, certificates made here."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import ssl
import struct
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventlet
import pytest
from edge_fakes import FakeBrain, FakeSinks

from lisp_sdn.actions import Action, Dropped
from lisp_sdn.api.http import Request, Response
from lisp_sdn.apps.control import ListenError
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.rest import RestServer
from lisp_sdn.rest_settings import RestSettings

DEADLINE = 5.0


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    made = folder / f"{name}.pem"
    key = folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key)]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    made.write_text(made.read_text() + key.read_text())
    return made


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), "controller")


def handle(request: Request, now: float) -> tuple[Response, list[Action]]:
    return Response(200, {"Content-Type": "text/plain"}, request.path.encode()), []


def serve(tls: dict[str, str], brain: FakeBrain | None = None) -> RestServer:
    dispatcher = Dispatcher(brain or FakeBrain())
    dispatcher.sinks = FakeSinks()
    server = RestServer(
        RestSettings.model_validate({"listen": "127.0.0.1:0", "tls": tls}), handle, dispatcher
    )
    server.start()
    return server


@pytest.fixture
def server(pem: Path, tmp_path: Path) -> Iterator[tuple[RestServer, Path]]:
    own = tmp_path / "own.pem"
    shutil.copy(pem, own)
    made = serve({"certificate": str(own), "key": str(own)})
    yield made, own
    made.close()


def connect(server: RestServer, context: ssl.SSLContext | None) -> Any:
    """A client's connection, by the real modules in a real thread beside the green server."""
    raw = socket.create_connection(("127.0.0.1", server.endpoint.port), DEADLINE)
    return raw if context is None else context.wrap_socket(raw, server_hostname="127.0.0.1")


def get(server: RestServer, context: ssl.SSLContext | None, path: str = "/here") -> bytes:
    """The answer, with the server running in this thread meanwhile."""

    def client() -> bytes:
        with connect(server, context) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while piece := sock.recv(4096):
                answer += piece
            return answer

    with eventlet.Timeout(DEADLINE):
        found: bytes = eventlet.tpool.execute(client)
    return found


def trusting(pem: Path, client: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pem))
    if client is not None:
        context.load_cert_chain(client)
    return context


def test_a_request_by_tls(server: tuple[RestServer, Path], pem: Path) -> None:
    rest, _ = server
    answer = get(rest, trusting(pem))
    assert rest.url == f"https://127.0.0.1:{rest.endpoint.port}"
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"/here")


def test_old_tls_is_refused(server: tuple[RestServer, Path], pem: Path) -> None:
    context = trusting(pem)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):  # that nobody should do this
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(server[0], context)
    assert get(server[0], trusting(pem)).endswith(b"/here")


def test_plain_http_gets_no_answer_and_hurts_nobody(
    server: tuple[RestServer, Path], pem: Path
) -> None:
    try:
        answer = get(server[0], None)
    except ConnectionError:
        answer = b""
    assert b"/here" not in answer
    assert get(server[0], trusting(pem)).endswith(b"/here")


def test_a_client_that_does_not_trust_us_is_a_refusal_and_no_traceback(
    pem: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    brain = FakeBrain()
    rest = serve({"certificate": str(pem), "key": str(pem)}, brain)
    try:
        with pytest.raises(ssl.SSLError):
            get(rest, ssl.create_default_context())
        with eventlet.Timeout(DEADLINE):
            while "tls-failed" not in brain.reasons():
                eventlet.sleep(0.01)
        (told,) = brain.settled
        assert isinstance(told, Dropped)
        assert (told.where, told.source) == ("rest", "127.0.0.1")
        assert "unknown ca" in told.detail
        assert "Traceback" not in capfd.readouterr().err
        assert get(rest, trusting(pem)).endswith(b"/here")
    finally:
        rest.close()


def test_a_silent_client_holds_up_nobody(server: tuple[RestServer, Path], pem: Path) -> None:
    with connect(server[0], None):
        assert get(server[0], trusting(pem)).endswith(b"/here")


def test_clients_that_give_up_take_nothing_away(
    server: tuple[RestServer, Path], pem: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    endpoint = ("127.0.0.1", server[0].endpoint.port)
    for sent in (b"", b"GET / HTTP/1.0\r\n\r\n"):
        for reset in (False, True):
            # Nobody accepts meanwhile: the server runs in this thread.
            with socket.create_connection(endpoint, DEADLINE) as client:
                client.sendall(sent)
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert get(server[0], trusting(pem)).endswith(b"/here")
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_without_certificate_is_refused_where_one_is_wanted(
    pem: Path, tmp_path: Path
) -> None:
    member = certificate(tmp_path, "member")
    rest = serve({"certificate": str(pem), "key": str(pem), "client_ca": str(member)})
    try:
        # With TLS 1.3 the client learns it when it reads: an alert, or nothing before the end.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert get(rest, trusting(pem)) == b""
        assert get(rest, trusting(pem, member)).endswith(b"/here")
    finally:
        rest.close()


def test_a_renewed_certificate_is_taken_up(
    server: tuple[RestServer, Path], pem: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rest, own = server
    renewed = certificate(tmp_path, "renewed")
    with pytest.raises(ssl.SSLCertVerificationError):
        get(rest, trusting(renewed))
    shutil.copy(renewed, own)
    os.utime(own, (1_000_000_000, 1_000_000_000))
    with caplog.at_level(logging.INFO):
        assert get(rest, trusting(renewed)).endswith(b"/here")
    assert "was renewed" in caplog.text


def test_a_broken_renewal_leaves_the_old_certificate_in_use(
    server: tuple[RestServer, Path], pem: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rest, own = server
    own.write_text("not a certificate")
    os.utime(own, (1_000_000_000, 1_000_000_000))
    assert get(rest, trusting(pem)).endswith(b"/here")
    assert get(rest, trusting(pem)).endswith(b"/here")
    assert [str(own) in record.getMessage() for record in caplog.records] == [True]


def test_a_certificate_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ListenError, match=r"missing\.pem.*No such file"):
        serve({"certificate": missing, "key": missing})
