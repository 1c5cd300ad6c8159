"""Starting: without configuration, with a wrong one, with a switch that is not set up right."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from labrun import poll


@pytest.fixture
def bare(_lab_possible: None) -> Iterator[Any]:
    """A controller's node without any xTR."""
    from lispnet import LispNet

    from lisp_sdn.config import Config

    with LispNet(Config()) as net:
        yield net


def test_without_configuration_it_starts_and_says_where_it_listens(bare: Any) -> None:
    bare.ctl.start(None)
    status = bare.ctl.rest("GET", "/lisp/v1/status")
    assert status.status == 200
    assert status.body["xtrs"] == 0
    lines = bare.ctl.log.read_text().splitlines()
    for port in ("6653", "4342", "8080"):
        assert any(port in line for line in lines), (port, lines)
    sockets = bare.ctl.do("ss", "-lntuH")
    assert ":6653" in sockets, sockets
    assert ":4342" in sockets, sockets
    assert "127.0.0.1:8080" in sockets, sockets
    assert "Deprecat" not in "\n".join(lines), lines


def test_it_ends_on_sigterm(bare: Any) -> None:
    bare.ctl.start(None)
    bare.ctl.process.terminate()
    bare.ctl.process.wait(10)
    assert "Traceback" not in bare.ctl.log.read_text()


INVALID = {
    "xtrs": [
        {
            "name": "left",
            "site": "nowhere",
            "datapath_id": "zz",
            "rlocs": [{"rloc": "224.0.0.1", "priority": 300}],
            "colour": "blue",
        }
    ]
}


def test_an_invalid_configuration_is_refused_with_every_mistake(bare: Any) -> None:
    bare.ctl.start(copy.deepcopy(INVALID), wait=0)
    assert bare.ctl.process.wait(20) != 0, "it must not run half-configured"
    log = bare.ctl.log.read_text()
    for expected in ("lisp.yaml", "datapath_id", "'zz'", "priority", "300", "colour"):
        assert expected in log, f"{expected!r} not in:\n{log}"
    assert "Traceback" not in log, log


def test_a_configuration_file_that_is_not_there_is_named(bare: Any) -> None:
    conf = bare.ctl.dir / "ryu.conf"
    conf.write_text("[lisp_sdn]\nconfig = /nonexistent/lisp.yaml\n")
    child = bare.ctl.spawn(
        *(bare.ctl.ryu_manager(), "--config-file", str(conf), "lisp_sdn.apps"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = child.communicate(timeout=20)
    assert child.returncode != 0
    assert b"/nonexistent/lisp.yaml" in out, out.decode()
    assert b"Traceback" not in out, out.decode()


# option of the tunnel port: (what it must be, what it is set to)
OPTIONS = {
    "exts": ("gpe", "gbp"),
    "dst_port": ("4341", "4789"),
    "packet_type": ("legacy_l3", "legacy_l2"),
    "key": ("flow", "42"),
    "remote_ip": ("flow", "192.0.2.99"),
}


def test_every_wrong_tunnel_option_is_reported(lab: Any) -> None:
    assert lab.get("/xtrs/left")["problems"] == []
    lab.net.ctl.kill()
    lab.left.vsctl(
        "set", "interface", "lisp0", *(f"options:{k}={v[1]}" for k, v in OPTIONS.items())
    )
    try:
        lab.net.ctl.start(lab.config)

        def problems() -> list[str]:
            told = lab.get("/xtrs/left")["problems"]
            return told if all(any(name in text for text in told) for name in OPTIONS) else []

        told = poll("every option among the problems of left", problems, 15)
        for option, (right, wrong) in OPTIONS.items():
            lines = [text for text in told if option in text]
            assert right in lines[0], lines
            assert wrong in lines[0], lines
    finally:
        lab.left.vsctl(
            "set", "interface", "lisp0", *(f"options:{k}={v[0]}" for k, v in OPTIONS.items())
        )
        lab.net.ctl.kill()


def test_a_missing_tunnel_port_is_reported(lab: Any) -> None:
    config = copy.deepcopy(lab.config)
    config["xtrs"][0]["tunnel_port"] = "lisp7"
    lab.net.ctl.kill()
    try:
        lab.net.ctl.start(config)
        told = poll(
            "the missing port among the problems",
            lambda: [text for text in lab.get("/xtrs/left")["problems"] if "lisp7" in text],
            15,
        )
        assert told
    finally:
        lab.net.ctl.kill()
