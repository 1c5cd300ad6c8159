"""The controller as the brain of Proxy-ITRs and Proxy-ETRs (RFC 6832)."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from lisp_sdn.actions import Action, Dropped, PacketOut, PortInfo, SwitchConnected
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator
from lisp_sdn.rules import Port, Ruleset
from lisp_sdn.views import LocatorState, LocatorStatus
from lisp_sdn.wire import MapReply, MapRequest, RequestRecord, decode
from lisp_sdn.xtr.frames import UDP, parse_ethernet, parse_ip
from lisp_sdn.xtr.underlay import ControlFrame
from lisp_sdn.xtr.xtr import Xtr

CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: petr
    datapath_id: 0xa
    underlay: {datapath_id: 0x10a}
    rlocs: [{rloc: 192.0.2.1}]
    native_ports: [{iid: 1, proxy_etr: {}}]
"""
NOW = 1000.0
UNDERLAY = 0x10A
RLOC = ip_address("192.0.2.1")
ITR = Endpoint(ip_address("203.0.113.9"), 4342)
UNDERLAY_PORTS = (
    PortInfo(Port.LOCAL, "br-phy", "02:00:00:00:00:aa", True),
    PortInfo(1, "up1", "02:00:00:00:00:01", True),
)


def brain(text: str = CONFIG) -> Controller:
    made = Controller(load(text), store=MemoryStore(), rng=random.Random(1))
    made.start(NOW)
    made.switch_connected(SwitchConnected(UNDERLAY, UNDERLAY_PORTS), NOW)
    made.installed(UNDERLAY, UNDERLAY_PORTS, Ruleset(), NOW)
    return made


def ask(controller: Controller, eid: str, *, probe: bool) -> list[Action]:
    request = MapRequest(
        7, None, (ITR.address,), (RequestRecord(EidPrefix.from_text(eid)),), probe=probe
    )
    underlay = controller._underlays[UNDERLAY]
    underlay._learned(ITR.address, "02:00:00:00:00:bb", 1, NOW)
    frame = ControlFrame("petr", request.serialize(), ITR, Endpoint(RLOC, 4342))
    return controller.settle([frame], NOW)


def test_a_petr_answers_the_probes_of_those_who_use_it() -> None:
    (out,) = [x for x in ask(brain(), "[1] 203.0.113.0/24", probe=True) if isinstance(x, PacketOut)]
    packet = parse_ip(parse_ethernet(out.frame).payload)
    assert packet.protocol == UDP
    reply = decode(packet.payload[8:])
    assert isinstance(reply, MapReply)
    assert (reply.nonce, reply.probe) == (7, True)
    (record,) = reply.records
    assert record.authoritative
    assert [(x.rloc, x.priority, x.probed) for x in record.locators] == [(RLOC, 255, True)]


@pytest.mark.parametrize(("eid", "probe"), [("[1] 203.0.113.0/24", False), ("[2] 0.0.0.0/0", True)])
def test_it_answers_nothing_else(eid: str, probe: bool) -> None:
    actions = ask(brain(), eid, probe=probe)
    assert [x.reason for x in actions if isinstance(x, Dropped)] == ["eid-not-served"]
    assert not [x for x in actions if isinstance(x, PacketOut)]


USERS = """
sites:
  - name: a
    authentication_keys: [{key: secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: gate
    datapath_id: 0xa
    underlay: {datapath_id: 0x10a}
    rlocs: [{rloc: 192.0.2.1}]
    native_ports: [{iid: 1, proxy_itr: {eid_prefixes: [10.0.0.0/8]}}]
  - name: left
    site: a
    datapath_id: 0xb
    rlocs: [{rloc: 192.0.2.2}]
    eid_ports: [{name: p1, iid: 1, gateways: [10.1.0.254/16]}]
use_petr:
  - {iid: 1, locators: [{rloc: 198.51.100.1}, {rloc: 198.51.100.2, priority: 2}]}
bgp:
  as_number: 64512
  router_id: 192.0.2.1
  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]
"""


def test_a_proxy_itr_that_cannot_forward_is_a_problem() -> None:
    made = brain(USERS)

    def told() -> list[str]:
        return [text for text in made.management.status(NOW).problems if "attracts" in text]

    # That its switch is away is told of the xTR.
    assert told() == []
    made.switch_connected(SwitchConnected(0xA, ()), NOW)
    made.installed(0xA, (), Ruleset(), NOW)
    assert told() == ["xtr gate: its Proxy-ITR attracts no traffic: no-tunnel-port"]


def test_proxy_etrs_that_nobody_reaches_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    made = brain(USERS)
    gone = {ip_address("198.51.100.1")}

    def status(self: Xtr, locator: Locator) -> LocatorStatus:
        state = LocatorState.UNREACHABLE if locator.rloc in gone else LocatorState.UP
        return LocatorStatus(locator, state)

    monkeypatch.setattr(Xtr, "rloc_status", status)
    problem = "xtr left: no Proxy-ETR of instance-ID 1 is reachable"
    assert problem not in made.management.status(NOW).problems
    gone.add(ip_address("198.51.100.2"))
    assert problem in made.management.status(NOW).problems
