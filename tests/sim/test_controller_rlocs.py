"""An RLOC of ours loses its uplink or is drained: foreign ITRs hear of it, and it is damped."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from lisp_sdn.actions import Action, Event, PacketOut, PortInfo, SendControl, SwitchConnected
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import Port, Ruleset
from lisp_sdn.views import LocatorState
from lisp_sdn.wire import Ecm, MapReply, MapRequest, Message, RequestRecord, decode
from lisp_sdn.xtr.underlay import ControlFrame

CONFIG = """
sites:
  - name: a
    proxy_reply: true
    authentication_keys: [{key: secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    underlay: {datapath_id: 0x10a}
    rlocs: [{rloc: 192.0.2.1, uplink: up1}, {rloc: 192.0.2.129, uplink: up2}]
"""
UNDERLAY = 0x10A
ONE, TWO = ip_address("192.0.2.1"), ip_address("192.0.2.129")
ITR = ip_address("203.0.113.9")
EID = EidPrefix.from_text("[1] 10.1.0.0/16")
NOW = 1000.0


def ports(up: bool = True) -> tuple[PortInfo, ...]:
    return (
        PortInfo(Port.LOCAL, "br-phy", "02:00:00:00:00:aa", True),
        PortInfo(1, "up1", "02:00:00:00:00:01", up),
        PortInfo(2, "up2", "02:00:00:00:00:02", True),
    )


def brain(store: MemoryStore | None = None) -> Controller:
    made = Controller(load(CONFIG), store=store or MemoryStore(), rng=random.Random(1))
    made.start(NOW)
    made.switch_connected(SwitchConnected(UNDERLAY, ports()), NOW)
    made.installed(UNDERLAY, ports(), Ruleset(), NOW)
    return made


@pytest.fixture
def controller() -> Controller:
    return brain()


def reachable(controller: Controller, now: float = NOW, nonce: int = 1) -> dict[str, bool]:
    """The R-bits of a Map-Reply to a foreign ITR."""
    request = MapRequest(nonce, None, (ITR,), (RequestRecord(EID),))
    ecm = Ecm(Endpoint(ITR, 61001), Endpoint(ip_address("10.1.0.0"), 4342), request.serialize())
    (reply,) = sent(controller.receive(ecm.serialize(), Endpoint(ITR, 4342), now))
    assert isinstance(reply, MapReply)
    return {str(item.rloc): item.reachable for item in reply.records[0].locators}


def sent(actions: list[Action]) -> list[Message]:
    return [decode(item.data) for item in actions if isinstance(item, SendControl)]


def link(controller: Controller, up: bool, now: float) -> list[Action]:
    return controller.port_changed(UNDERLAY, ports(up)[1], now)


def run(controller: Controller, until: float) -> list[Action]:
    actions: list[Action] = []
    while (timer := controller.next_timer()) is not None and timer <= until:
        actions += controller.handle_timer(timer)
    return actions


def test_a_foreign_itr_is_solicited_and_then_told_by_the_r_bit(controller: Controller) -> None:
    assert reachable(controller) == {str(ONE): True, str(TWO): True}
    (smr,) = sent(link(controller, False, NOW + 10))
    assert isinstance(smr, MapRequest)
    assert (smr.smr, smr.source_eid) == (True, EidPrefix.from_text("[1] 10.1.0.0/32"))
    assert reachable(controller, NOW + 11, 2) == {str(ONE): False, str(TWO): True}
    # What is registered has not changed, so our own xTRs ask nothing.
    entry = controller.mapping.inventory.mapping(EID)
    assert entry is not None
    assert all(item.reachable for item in entry.mapping.locators)


def test_a_link_is_believed_after_a_while_and_later_each_time(controller: Controller) -> None:
    waits = []
    now = NOW
    for _ in range(3):
        link(controller, False, now)
        assert controller.rlocs.down == {ONE}
        link(controller, True, now + 1)
        run(controller, now + 1.5)
        assert controller.rlocs.down == {ONE}
        back = controller.rlocs.next_timer()
        assert back is not None
        waits.append(back - now - 1)
        now = back
        events = [item for item in run(controller, now) if isinstance(item, Event)]
        assert "rloc.used-again" in {event.kind for event in events}
        assert not controller.rlocs.down
    assert waits == [1, 2, 4]


def test_a_link_that_goes_again_meanwhile_stays_down(controller: Controller) -> None:
    link(controller, False, NOW)
    link(controller, True, NOW + 0.1)
    link(controller, False, NOW + 0.5)
    run(controller, NOW + 30)
    assert controller.rlocs.down == {ONE}


def test_a_drained_rloc_is_told_of_and_outlives_a_restart() -> None:
    store = MemoryStore()
    controller = brain(store)
    reachable(controller)
    actions = controller.drain(ONE, NOW + 10)
    assert [m for m in sent(actions) if isinstance(m, MapRequest) and m.smr]
    assert ("rloc.drained", str(ONE)) in {
        (item.kind, item.subject) for item in actions if isinstance(item, Event)
    }
    again = brain(store)
    assert reachable(again) == {str(ONE): False, str(TWO): True}
    states = {item.locator.rloc: item.state for item in again.management.xtr_state("xa", NOW).rlocs}
    assert states[ONE] is LocatorState.DRAINED
    again.undrain(ONE, NOW + 20)
    assert reachable(again, NOW + 21, 2) == {str(ONE): True, str(TWO): True}
    assert reachable(brain(store)) == {str(ONE): True, str(TWO): True}


def test_the_last_rloc_is_not_taken_from_foreign_itrs(controller: Controller) -> None:
    controller.drain(ONE, NOW)
    link(controller, True, NOW)
    controller.port_changed(UNDERLAY, PortInfo(2, "up2", "02:00:00:00:00:02", False), NOW)
    assert reachable(controller) == {str(ONE): True, str(TWO): False}


def test_an_rloc_of_somebody_else_cannot_be_drained(controller: Controller) -> None:
    with pytest.raises(KeyError):
        controller.drain(ITR, NOW)


def test_a_probe_for_a_static_mapping_is_answered_by_the_rloc_it_names(
    controller: Controller,
) -> None:
    eid = EidPrefix.from_text("[1] 10.77.0.0/16")
    controller.mapping.set_static(Mapping(eid, (Locator(TWO),)), NOW)
    request = MapRequest(5, None, (ITR,), (RequestRecord(eid),), probe=True)
    heard = ControlFrame("xa", request.serialize(), Endpoint(ITR, 4342), Endpoint(TWO, 4342))
    actions = controller.settle([heard], NOW)
    # The next hop is not known yet: it is asked for, and the answer waits.
    assert [item for item in actions if isinstance(item, PacketOut)]
    assert not [item for item in actions if isinstance(item, SendControl)]
