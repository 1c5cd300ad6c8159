"""What is wrong with the GRE ports of the ALT bridge is said exactly."""

from __future__ import annotations

from typing import Any

import pytest

from lisp_sdn.alt_settings import AltBridge
from lisp_sdn.apps import ovsdb_alt
from lisp_sdn.apps.ovsdb import OvsdbError
from lisp_sdn.apps.ovsdb_alt import tunnel_problems

BRIDGE = AltBridge.model_validate(
    {
        "datapath_id": "a0",
        "ovsdb": "unix:/nowhere",
        "tunnels": [
            {
                "port": "gre1",
                "host_port": "alt1",
                "address": "10.99.0.1",
                "neighbour": "10.99.0.2",
                "local": "192.0.2.1",
                "remote": "192.0.2.2",
            }
        ],
    }
)
(TUNNEL,) = BRIDGE.tunnels
GOOD = {"packet_type": "legacy_l3", "local_ip": "192.0.2.1", "remote_ip": "192.0.2.2"}


def row(kind: str = "gre", error: str = "", **changes: str | None) -> dict[str, Any]:
    options = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    pairs = [[k, v] for k, v in options.items()]
    return {"name": "gre1", "type": kind, "options": ["map", pairs], "error": error or ["set", []]}


def test_a_port_as_it_should_be_has_no_problem() -> None:
    assert tunnel_problems(TUNNEL, row()) == []
    free = TUNNEL.model_copy(update={"local": None})
    assert tunnel_problems(free, row(local_ip=None)) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"packet_type": None}, "port gre1: options:packet_type is missing, expected legacy_l3; "),
        ({"remote_ip": "192.0.2.9"}, "port gre1: options:remote_ip is 192.0.2.9, expected 192.0."),
        ({"key": "flow"}, "port gre1: options:key is flow, expected none; ovs-vsctl set interf"),
        ({"kind": "vxlan"}, "port gre1: type is vxlan, expected gre; ovs-vsctl set interface gre1"),
        ({"error": "no such device"}, "port gre1: Open vSwitch says: no such device"),
    ],
)
def test_a_mistake_is_named_with_its_repair(wrong: dict[str, Any], said: str) -> None:
    (problem,) = tunnel_problems(TUNNEL, row(**wrong))
    assert problem.startswith(said)


def test_the_whole_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    host = {"name": "alt1", "type": "", "options": ["map", []], "error": ["set", []]}
    bridge = {"name": "br-alt", "fail_mode": ["set", []]}
    monkeypatch.setattr(ovsdb_alt, "query", lambda target, *_: [[row(), host], [bridge]])
    first, second = ovsdb_alt.problems(BRIDGE)
    assert first.startswith("bridge br-alt: fail_mode is standalone, expected secure")
    assert second == "port alt1: type is empty, expected internal"


def test_without_a_database_nothing_is_verified() -> None:
    with pytest.raises(OvsdbError, match=r"set alt\.bridge\.ovsdb"):
        ovsdb_alt.problems(BRIDGE.model_copy(update={"ovsdb": None}))
