"""A trace says when another provider is asked over the ALT."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from test_controller import ControlledNetwork
from test_trace import eid, trace
from xtr_network import CONFIG

from lisp_sdn.actions import BgpRoute
from lisp_sdn.api import Api, Request
from lisp_sdn.trace import Packet, StepName, Verdict
from lisp_sdn.xtr.frames import UDP

ALT = """
bgp:
  as_number: 64512
  router_id: 10.99.0.1
  neighbours: [{address: 10.99.0.2, as_number: 64513}]
alt:
  iid: 1
  bridge:
    datapath_id: 0xa17
    tunnels: [{port: gre1, host_port: alt1, address: 10.99.0.1, neighbour: 10.99.0.2}]
"""


def warnings(network: ControlledNetwork, eid: str) -> Any:
    """What `GET /resolve` warns of."""
    request = Request("GET", "/lisp/v1/resolve", {"eid": eid})
    response, _ = Api(network.controller.management).handle(request, network.now)
    assert response.status == 200, response.body
    return json.loads(response.body)["warnings"]


def test_the_alt_is_named_as_the_source_of_the_answer() -> None:
    network = ControlledNetwork(CONFIG + ALT)
    network.start()
    peer = ipaddress.ip_address("10.99.0.2")
    prefix = ipaddress.ip_network("10.77.0.0/16")
    network.carry_out(
        network.controller.bgp_route(BgpRoute(prefix, peer, peer, (64513, 64520)), network.now)
    )
    found = trace(network, destination="[1] 10.77.0.1")
    assert found.verdict is Verdict.RESOLVES
    step = next(step for step in found.steps if step.name is StepName.MAPPING)
    assert step.reason == "alt"
    assert "10.77.0.0/16" in step.text
    assert "neighbour 10.99.0.2, port gre1" in step.text
    assert "AS path 64513 64520" in step.details
    (warning,) = warnings(network, "[1] 10.77.0.1")
    assert "over the ALT by neighbour 10.99.0.2, who has a route for 10.77.0.0/16" in warning
    assert warnings(network, "[2] 10.77.0.1") == warnings(network, "[1] 10.1.0.1") == []
    # What is our own, or in another instance-ID, is not asked there.
    own = trace(network)
    assert all(step.reason != "alt" for step in own.steps)
    other = Packet(eid("[2] 10.1.0.1"), eid("[2] 10.77.0.1"), UDP, 1, 2)
    steps = network.controller.management.trace(other, network.now).steps
    assert all(step.reason != "alt" for step in steps)
