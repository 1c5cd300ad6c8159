"""What is wrong with a switch is said exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventlet
import pytest
from eventlet.green import socket

from lisp_sdn.apps import ovsdb
from lisp_sdn.config import XtrSettings, load

GOOD = dict(ovsdb.TUNNEL_OPTIONS)


@pytest.fixture
def xtr() -> XtrSettings:
    return load("xtrs: [{name: a, datapath_id: a1, rlocs: [{rloc: 192.0.2.1}]}]").xtrs[0]


def row(kind: str = "vxlan", error: Any = (), **changes: str | None) -> dict[str, Any]:
    options = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    return {
        "type": kind,
        "options": ["map", [[k, v] for k, v in options.items()]],
        "error": error if isinstance(error, str) else ["set", list(error)],
        "ofport": 2,
    }


def test_a_port_as_it_should_be_has_no_problem(xtr: XtrSettings) -> None:
    assert ovsdb.interface_problems(xtr, row()) == []
    assert ovsdb.interface_problems(xtr, row(csum="true")) == []


def test_the_outer_header_takes_tos_and_ttl_of_the_inner(xtr: XtrSettings) -> None:
    (tos, ttl) = ovsdb.interface_problems(xtr, row(tos=None, ttl="64"))
    assert tos == "port lisp0: options:tos is missing, expected inherit"
    assert ttl.startswith("port lisp0: options:ttl is 64, expected inherit; lispctl ")


def test_an_underlay_that_carries_less_than_configured(xtr: XtrSettings) -> None:
    for mtu in (1500, 9000, ["set", []]):
        assert ovsdb.underlay_problems(xtr, [{"name": "br-phy", "mtu": mtu}]) == []
    (problem,) = ovsdb.underlay_problems(xtr, [{"name": "br-phy", "mtu": 1400}])
    assert problem.startswith("bridge br-phy: its MTU is 1400, underlay.mtu says 1500: ")


def test_every_wrong_option_is_named_and_the_repair_told_once(xtr: XtrSettings) -> None:
    problems = ovsdb.interface_problems(xtr, row(exts=None, dst_port="4789"))
    assert problems[0] == "port lisp0: options:exts is missing, expected gpe"
    assert problems[1].startswith("port lisp0: options:dst_port is 4789, expected 4341; lispctl ")
    assert "lispctl xtr adopt a, or ovs-vsctl " in problems[1]
    assert "set interface lisp0 type=vxlan options:exts=gpe options:dst_port=4341" in problems[1]
    assert len(problems) == 2


def test_a_port_of_another_type(xtr: XtrSettings) -> None:
    (first, *_) = ovsdb.interface_problems(xtr, row("gre"))
    assert first.startswith("port lisp0: type is gre, expected vxlan")
    (first, *_) = ovsdb.interface_problems(xtr, row(""))
    assert first.startswith("port lisp0: type is empty, expected vxlan")


def test_what_open_vswitch_itself_says(xtr: XtrSettings) -> None:
    (problem,) = ovsdb.interface_problems(xtr, row(error="could not add network device"))
    assert problem == "port lisp0: Open vSwitch says: could not add network device"


def test_a_bridge_that_would_forget_its_flows() -> None:
    rows = [{"name": "br0", "fail_mode": ["set", []]}, {"name": "br1", "fail_mode": "secure"}]
    (problem,) = ovsdb.bridge_problems(rows)
    assert problem.startswith("bridge br0: fail_mode is standalone, expected secure")


# --- talking to a database ---------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "db.sock"))
    listener.listen(5)
    yield listener
    listener.close()


def answering(listener: Any, *parts: bytes) -> list[dict[str, Any]]:
    """Have the server answer one request with these octets, and note the request."""
    requests: list[dict[str, Any]] = []

    def serve() -> None:
        connection, _ = listener.accept()
        requests.append(json.loads(connection.recv(65536)))
        for part in parts:
            connection.sendall(part)
            eventlet.sleep(0)
        connection.close()

    eventlet.spawn_n(serve)
    return requests


def test_rows_come_in_pieces_and_behind_an_echo(
    xtr: XtrSettings, server: Any, tmp_path: Path
) -> None:
    answer = {"id": 0, "error": None, "result": [{"rows": [row()]}, {"rows": []}, {"rows": []}]}
    text = json.dumps({"method": "echo", "params": [], "id": "echo"}) + json.dumps(answer)
    requests = answering(server, text[:20].encode(), text[20:90].encode(), text[90:].encode())
    there = xtr.model_copy(update={"ovsdb": f"unix:{tmp_path / 'db.sock'}"})
    assert ovsdb.problems(there) == []
    (request,) = requests
    assert request["method"] == "transact"
    assert request["params"][1]["where"] == [["name", "==", "lisp0"]]
    assert request["params"][2]["where"] == [["datapath_id", "==", "00000000000000a1"]]


def test_a_port_that_is_not_there_can_be_added(
    xtr: XtrSettings, server: Any, tmp_path: Path
) -> None:
    rows: list[Any] = [{"rows": []}, {"rows": [{"name": "br0", "fail_mode": "secure"}]}]
    rows.append({"rows": [{"name": "br-phy", "mtu": 1500}]})
    answering(server, json.dumps({"id": 0, "error": None, "result": rows}).encode())
    there = xtr.model_copy(update={"ovsdb": f"unix:{tmp_path / 'db.sock'}"})
    (problem,) = ovsdb.problems(there)
    assert "ovs-vsctl add-port br0 lisp0 -- set interface lisp0 type=vxlan" in problem


def test_without_a_database_nothing_is_verified(xtr: XtrSettings) -> None:
    with pytest.raises(ovsdb.OvsdbError, match="not configured"):
        ovsdb.problems(xtr)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"id": 0, "error": "syntax error", "result": null}', "syntax error"),
        (b'{"id": 0, "error": null, "result": [{"error": "no table"}]}', "no table"),
        (b'{"id": 0, "error": null, "result": [{"rows": []}]}', "1 results, expected 3"),
        (b"[]", "expected an object"),
        (b"not json", "the connection ended"),
        (b"", "the connection ended"),
    ],
)
def test_an_answer_that_is_none_is_one_line(
    xtr: XtrSettings, server: Any, tmp_path: Path, answer: bytes, expected: str
) -> None:
    answering(server, answer)
    there = xtr.model_copy(update={"ovsdb": f"unix:{tmp_path / 'db.sock'}"})
    with pytest.raises(ovsdb.OvsdbError, match=expected):
        ovsdb.problems(there)


def test_a_database_that_does_not_answer(
    xtr: XtrSettings, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb, "TIMEOUT", 0.01)
    there = xtr.model_copy(update={"ovsdb": f"unix:{tmp_path / 'db.sock'}"})
    with pytest.raises(ovsdb.OvsdbError, match="no answer in"):
        ovsdb.problems(there)


def test_a_database_that_is_not_there(xtr: XtrSettings, tmp_path: Path) -> None:
    for target in (f"unix:{tmp_path / 'nothing'}", "tcp:127.0.0.1:1"):
        there = xtr.model_copy(update={"ovsdb": target})
        with pytest.raises(ovsdb.OvsdbError, match=r"No such file|refused"):
            ovsdb.problems(there)
