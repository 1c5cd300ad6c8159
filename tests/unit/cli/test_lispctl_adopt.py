"""`lispctl xtr adopt` with a database in memory behind a real socket."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lispctl_server import Controller, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "ovsdb"))

from ovsdb_fake import FakeDatabase

from api_fake import filled  # isort: skip

HERE = "tcp:192.0.2.53:6653"


class Server:
    """Answers `transact` from a `FakeDatabase`, a connection after the other."""

    def __init__(self, path: Path) -> None:
        self.database = FakeDatabase()
        self.refuse = self.meddle = False
        self.error: Any = ["set", []]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(5)
        self.target = f"unix:{path}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    connection.sendall(b'{"method": "echo", "params": [], "id": "echo"}')
                    connection.sendall(json.dumps(self._answer(connection)).encode())

    def _answer(self, connection: socket.socket) -> object:
        text = b""
        while True:
            text += connection.recv(65536)
            with contextlib.suppress(ValueError):
                operations = json.loads(text)["params"][1:]
                break
        if operations[0]["op"] == "select":
            results = [self.database._select(op) for op in operations]
        elif self.refuse:
            results = [{}, {"error": "constraint violation", "details": "no"}]
        elif self.meddle:
            results = [{"error": "timed out", "details": "wait"}, *([None] * len(operations))]
        else:
            self.database.transact(operations)
            (system,) = self.database.tables["Open_vSwitch"].values()
            system["cur_cfg"] = system["next_cfg"]
            for row in self.database.tables["Interface"].values():
                row["error"] = self.error
            results = [{} for _ in operations]
        return {"id": 0, "error": None, "result": results}


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "db.sock")
    yield made
    made.socket.close()


@pytest.fixture
def ctl() -> Iterator[Controller]:
    with serving(filled()) as controller:
        yield controller


def test_shown_then_done_then_nothing_left(ctl: Controller, switch: Server) -> None:
    argv = ("xtr", "adopt", "xtr-east", "--ovsdb", switch.target, "--controller", HERE)
    shown = ctl(*argv, "--dry-run")
    assert shown.exit_code == 0
    assert "+ bridge br0: port eth1: system" in shown.stdout
    assert switch.database.transactions == 0
    assert ctl(*argv).exit_code == 2
    done = ctl(*argv, "--yes")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "xTR xtr-east: adopted")
    assert switch.database.transactions == 1
    again = ctl(*argv, "--yes")
    assert again.stdout == "xTR xtr-east: its switch is set up already\n"
    document = json.loads(ctl(*argv, "--json", "--yes").stdout)
    assert document == {"steps": [], "refused": [], "applied": False}


def test_what_stands_in_the_way_is_named(ctl: Controller, switch: Server) -> None:
    result = ctl("xtr", "adopt", "xtr-east", "--ovsdb", switch.target, "--yes")
    assert result.exit_code == 1
    assert "bridge br0 has no controller" in result.output
    assert switch.database.transactions == 0


def test_what_the_database_refuses_is_told(ctl: Controller, switch: Server) -> None:
    switch.refuse = True
    argv = ("xtr", "adopt", "xtr-east", "--ovsdb", switch.target, "--controller", HERE, "--yes")
    result = ctl(*argv)
    assert result.exit_code == 1
    assert "refused: constraint violation: no" in result.output


def test_nothing_is_done_to_what_somebody_else_changed_meanwhile(
    ctl: Controller, switch: Server
) -> None:
    switch.meddle = True
    argv = ("xtr", "adopt", "xtr-east", "--ovsdb", switch.target, "--controller", HERE, "--yes")
    result = ctl(*argv)
    assert result.exit_code == 1
    assert "refused: somebody else changed the database meanwhile; look again" in result.output


def test_what_the_switch_could_not_do_is_no_success(ctl: Controller, switch: Server) -> None:
    switch.error = "could not open network device eth1 (No such device)"
    argv = ("xtr", "adopt", "xtr-east", "--ovsdb", switch.target, "--controller", HERE, "--yes")
    result = ctl(*argv)
    assert result.exit_code == 1
    assert "! port eth1: could not open network device eth1" in result.output
    assert switch.database.transactions == 1


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, "has no ovsdb in the configuration"),
        ("unix:/nowhere/db.sock", "unix:/nowhere/db.sock: No such file"),
        ("tcp:127.0.0.1:1", "tcp:127.0.0.1:1: Connection refused"),
        ("ssl:127.0.0.1:1", "expected tcp:ADDRESS:PORT or unix:PATH"),
        ("tcp:example.net:1", "example.net"),
    ],
)
def test_a_database_that_cannot_be_asked(
    ctl: Controller, target: str | None, expected: str
) -> None:
    argv = ("xtr", "adopt", "xtr-east", *(("--ovsdb", target) if target else ()))
    result = ctl(*argv)
    assert result.exit_code in (1, 2)
    assert expected in result.output
