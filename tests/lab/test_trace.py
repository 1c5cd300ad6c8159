"""`lispctl trace` against what real Open vSwitch does with the same packet."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from labrun import poll
from two_sites_lab import BLUE, H1, H1_V6, H2, H2_V6


def trace(lab: Any, source: str, destination: str, iid: int = BLUE) -> Any:
    query = f"source={quote(source)}&destination={quote(destination)}&iid={iid}"
    return lab.get(f"/trace?{query}")


@pytest.mark.parametrize(("source", "target"), [(H1, H2), (H1_V6, H2_V6)], ids=["ipv4", "ipv6"])
def test_what_arrives(lab: Any, source: str, target: str) -> None:
    """Cold: it would be resolved; warm: it is delivered. The ping between them loses nothing."""
    lab.h1.ping(target, 1)
    lab.flush()
    assert trace(lab, source, target)["verdict"] == "resolves"
    result = lab.h1.ping(target, 3, 0.1)
    assert result.received == result.sent, result.text
    for one, other in ((source, target), (target, source)):
        found = trace(lab, one, other)
        assert found["verdict"] == "delivered", found["steps"][-1]
        assert {step["mark"] for step in found["steps"]} == {"ok"}, found["steps"]


def test_what_has_no_host(lab: Any) -> None:
    target = "10.2.0.99"
    assert lab.h1.ping(target, 1).received == 0
    last = trace(lab, H1, target)["steps"][-1]
    assert (last["step"], last["reason"]) == ("delivery", "host-unknown")


def test_what_nobody_registered(lab: Any) -> None:
    target = "172.31.0.1"
    assert lab.h1.ping(target, 1).received == 0
    last = trace(lab, H1, target)["steps"][-1]
    assert (last["step"], last["reason"]) == ("mapping", "no-mapping")


def test_a_switch_that_has_left(lab: Any) -> None:
    """The switch is told of no controller, and then of the right one again."""
    right = lab.right
    bridge = "br0"
    address = right.vsctl("get-controller", bridge).split()
    assert address
    right.vsctl("del-controller", bridge)
    try:

        def last() -> tuple[str, str]:
            step = trace(lab, H1, H2)["steps"][-1]
            return step["step"], step["reason"]

        wanted = ("etr", "switch-not-connected")
        poll("the trace to see it", lambda: last() == wanted, 15)
    finally:
        right.vsctl("set-controller", bridge, *address)
        lab.wait_connected()
    # Open vSwitch forgets all flows with its last controller: they are on their way again.
    poll("the flows to be back", lambda: lab.h1.ping(H2, 1).received == 1, 10)
    assert trace(lab, H1, H2)["verdict"] == "delivered"
