"""`lispctl xtr adopt`: from an Open vSwitch with nothing configured to a site that works."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from labrun import poll
from two_sites_lab import H2, H2_V6


def adopt(lab: Any, *argv: str) -> str:
    command = (sys.executable, "-m", "lisp_sdn.cli.lispctl", "xtr", "adopt", *argv)
    return str(lab.net.ctl.do(*command))


@pytest.fixture
def bare(lab: Any) -> Iterator[Any]:
    """The xTR right without anything in its database; afterwards it is as it was."""
    right = lab.right
    right.kill_switch(forget=True)
    right.launch()
    try:
        yield right
    finally:
        right.kill_switch(forget=True)
        right.launch()
        right.provision(1600)
        forget_macs(lab)
        lab.wait_connected()


def forget_macs(lab: Any) -> None:
    """The underlay bridge has another MAC address than before; the router would notice late."""
    lab.net.core.do("ip", "neigh", "flush", "all")


def test_a_bare_switch_is_adopted_and_its_site_works(lab: Any, bare: Any) -> None:
    assert bare.vsctl("list-br") == ""
    shown = adopt(lab, "right", "--dry-run", "--controller", bare.controller, "--add-uplinks")
    assert "+ bridge br0: datapath-id 0000000000000002" in shown
    assert bare.vsctl("list-br") == ""
    how = ("--controller", bare.controller, "--add-uplinks", "--mtu", "1600", "--yes")
    assert adopt(lab, "right", *how).splitlines()[-1] == "xTR right: adopted"
    bare.address()
    forget_macs(lab)
    lab.wait_connected()
    lab.flush("left")
    poll("answers over IPv4", lambda: lab.h1.ping(H2, 3, 0.2).received == 3, 20)
    poll("answers over IPv6", lambda: lab.h1.ping(H2_V6, 3, 0.2).received == 3, 20)
    assert adopt(lab, "right") == "xTR right: its switch is set up already\n"


def test_a_switch_that_was_set_up_by_hand_needs_nothing(lab: Any) -> None:
    assert adopt(lab, "left") == "xTR left: its switch is set up already\n"


def test_one_wrong_option_is_told_by_the_controller_and_mended(lab: Any) -> None:
    lab.left.vsctl("set", "interface", "lisp0", "options:dst_port=4789")
    lab.left.appctl("bridge/reconnect", "br0")
    problems = poll("the problem", lambda: lab.get("/xtrs/left")["problems"], 10)
    assert "lispctl xtr adopt left" in problems[0]
    found = json.loads(adopt(lab, "left", "--json", "--yes"))
    assert found["steps"] == ["~ port lisp0: dst_port 4789 -> 4341"]
    lab.left.appctl("bridge/reconnect", "br0")
    lab.wait_connected()
    poll("answers", lambda: lab.h1.ping(H2, 3, 0.2).received == 3, 10)


def test_an_underlay_that_carries_traffic_is_adopted_without_being_cut_off(
    lab: Any, bare: Any
) -> None:
    """It was there before; hardly a packet of what it carries is lost."""
    from labnodes import Pings

    phy, gateway = bare.settings.underlay.bridge, "203.0.113.254"
    bare.vsctl("add-br", phy, "--", "set", "bridge", phy, "datapath_type=netdev")
    bare.vsctl("add-port", phy, "up1")
    bare.address()
    poll("the router", lambda: bare.ping(gateway, 1, 0.1).received, 10)
    pings = bare.spawn("ping", "-n", "-i", "0.01", "-c", "300", gateway, stdout=subprocess.PIPE)
    told = adopt(lab, "right", "--controller", bare.controller, "--yes")
    assert f"~ bridge {phy}: datapath-id not set -> 0000000000000102" in told
    lab.wait_connected()
    out, _ = pings.communicate(timeout=10)
    result = Pings.read(out.decode())
    assert result.sent - result.received < 50, result.text[-300:]
