"""What lispctl says while it waits, and what it makes of answers."""

from __future__ import annotations

import io
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from lispctl_server import FakeBackend, run, serving
from rich.console import Console

from lisp_sdn.cli import _client
from lisp_sdn.cli._client import Refused, Waiting


class Terminal:
    """Stands for the terminal of a person."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
        self.output = io.StringIO()
        console = Console(file=self.output, force_terminal=True, width=80)
        monkeypatch.setattr(_client, "Console", lambda **_: console)
        monkeypatch.setattr(_client, "PATIENCE", patience)

    def shows(self, text: str) -> bool:
        """Whether the text appears within five seconds."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if text in self.output.getvalue():
                return True
            time.sleep(0.005)
        return False


def test_a_long_wait_is_told_and_its_progress_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 0.001)
    with Waiting("importing") as waiting:
        assert terminal.shows("importing ...")
        with Waiting("waiting for 127.0.0.1"):
            waiting.update("importing: 1000 mappings set")
            assert terminal.shows("1000 mappings set")
    assert "127.0.0.1" not in terminal.output.getvalue(), "the outer one knows better"


def test_a_short_wait_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 60)
    with Waiting("waiting"):
        pass
    with Waiting("waiting"):
        pass
    assert "waiting" not in terminal.output.getvalue()


def test_a_program_that_reads_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Waiting("waiting") as waiting:
        waiting.update("still waiting")
    assert capsys.readouterr() == ("", "")


def test_every_mistake_is_one_line() -> None:
    errors: list[dict[str, Any]] = [
        {"pointer": "#/locators/0/rloc", "detail": "'x' is no address"},
        {"line": 7, "detail": "not JSON"},
        {"parameter": "limit", "detail": "too large"},
        {"detail": "something else"},
    ]
    refused = Refused(422, {"detail": "the body is not as expected", "errors": errors})
    assert list(refused.lines()) == [
        "the body is not as expected",
        "  locators.0.rloc: 'x' is no address",
        "  line 7: not JSON",
        "  limit: too large",
        "  something else",
    ]


def test_https_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    pem = tmp_path / "controller.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=controller", "-keyout", str(pem)]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(tmp_path / "ca.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", pem)
    with serving(FakeBackend()) as controller:
        controller.server.socket = context.wrap_socket(controller.server.socket, server_side=True)
        url = f"https://127.0.0.1:{controller.server.server_address[1]}"
        trusted = run("--url", url, "--ca", str(tmp_path / "ca.pem"), "status")
        assert trusted.exit_code == 0, trusted.output
        assert "Sites" in trusted.output
        unknown = run("--url", url, "status")
        assert unknown.exit_code == 3
        assert "certificate verify failed" in unknown.output


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n<html>",
    ],
)
def test_somebody_else_at_the_address(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("--url", f"http://127.0.0.1:{server.getsockname()[1]}", "status")
        thread.join(5)
    assert (result.exit_code, result.output.count("\n")) == (3, 1), result.output


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for option in ("--ca", "--certificate"):
        result = run("--url", "https://127.0.0.1:1", option, str(wrong), "status")
        assert result.exit_code == 2
        assert str(wrong) in result.output
        assert option in result.output
