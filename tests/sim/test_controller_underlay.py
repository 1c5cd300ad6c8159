"""Foreign routers talk to an RLOC of ours; the controller answers as that xTR."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from lisp_sdn.actions import (
    Action,
    Dropped,
    PacketIn,
    PacketOut,
    PortInfo,
    SwitchConnected,
)
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator
from lisp_sdn.rules import Port, Ruleset
from lisp_sdn.wire import (
    Ecm,
    EidRecord,
    MapReply,
    MapRequest,
    OpaqueLcaf,
    RequestRecord,
    VendorSpecific,
    decode,
)
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip
from lisp_sdn.xtr.underlay import udp

CONFIG = """
sites:
  - name: a
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
PORTS = (
    PortInfo(Port.LOCAL, "br-phy", "02:00:00:00:00:aa", True),
    PortInfo(1, "up1", "02:00:00:00:00:01", True),
    PortInfo(2, "up2", "02:00:00:00:00:02", True),
)
FOREIGN = Endpoint(ip_address("203.0.113.9"), 4342)


@pytest.fixture
def controller() -> Controller:
    return connected(Controller(load(CONFIG), store=MemoryStore(), rng=random.Random(1)))


def connected(made: Controller) -> Controller:
    made.start(1000.0)
    made.switch_connected(SwitchConnected(UNDERLAY, PORTS), 1000.0)
    made.installed(UNDERLAY, PORTS, Ruleset(), 1000.0)
    return made


def heard(controller: Controller, message: bytes, rloc: str = "192.0.2.1") -> list[Action]:
    packet = udp(FOREIGN, Endpoint(ip_address(rloc), 4342), message)
    frame = replies.ip_frame("02:00:00:00:00:aa", "02:00:00:00:00:bb", 4, packet)
    return controller.packet_in(PacketIn(UNDERLAY, 0, 0, 1, frame), 1001.0)


def probe(eid: str) -> bytes:
    record = RequestRecord(EidPrefix.from_text(eid))
    return MapRequest(77, None, (FOREIGN.address,), (record,), probe=True).serialize()


def test_an_rloc_probe_is_answered_from_the_probed_rloc(controller: Controller) -> None:
    (out,) = (a for a in heard(controller, probe("[1] 10.1.0.0/16")) if isinstance(a, PacketOut))
    packet = parse_ip(parse_ethernet(out.frame).payload)
    assert (str(packet.source), packet.destination) == ("192.0.2.1", FOREIGN.address)
    reply = decode(packet.payload[8:])
    assert isinstance(reply, MapReply)
    assert (reply.nonce, reply.probe) == (77, True)
    (record,) = reply.records
    assert record.authoritative
    probed = {str(item.rloc): item.probed for item in record.locators}
    assert probed == {"192.0.2.1": True, "192.0.2.129": False}
    assert all(item.local for item in record.locators)


def test_a_map_reply_goes_to_the_inner_source_port(controller: Controller) -> None:
    """RFC 9301 section 5.8: a Map-Server that forwards a Map-Request leaves the ITR's port in."""
    itr = Endpoint(ip_address("203.0.113.50"), 61001)
    record = RequestRecord(EidPrefix.from_text("[1] 10.1.0.0/16"))
    request = MapRequest(7, None, (itr.address,), (record,)).serialize()
    ecm = Ecm(itr, Endpoint(ip_address("10.1.0.0"), 4342), request)
    actions = [*heard(controller, ecm.serialize()), *answer_arp(controller, itr)]
    packets = [action.frame for action in actions if isinstance(action, PacketOut)]
    packet = parse_ip(parse_ethernet(packets[-1]).payload)
    assert (packet.destination, packet.payload[:4]) == (itr.address, bytes.fromhex("10f6ee49"))


def answer_arp(controller: Controller, router: Endpoint) -> list[Action]:
    """The next hop tells its MAC address."""
    sender = router.address.packed
    body = bytes.fromhex("0001080006040002 0200000000bb") + sender
    body += bytes.fromhex("0200000000aa") + ip_address("192.0.2.1").packed
    frame = bytes.fromhex("0200000000aa 0200000000bb 0806") + body
    return controller.packet_in(PacketIn(UNDERLAY, 0, 0, 1, frame), 1001.5)


def test_an_itr_of_the_other_address_family(controller: Controller) -> None:
    record = RequestRecord(EidPrefix.from_text("[1] 10.1.0.0/16"))
    itr = ip_address("2001:db8:9::1")
    (dropped,) = heard(controller, MapRequest(7, None, (itr,), (record,)).serialize())
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "no-itr-rloc"


def test_it_is_answered_from_an_rloc_of_its_family() -> None:
    both = CONFIG.replace("{rloc: 192.0.2.129,", "{rloc: '2001:db8::129',")
    made = connected(Controller(load(both), store=MemoryStore(), rng=random.Random(1)))
    record = RequestRecord(EidPrefix.from_text("[1] 10.1.0.0/16"))
    itr = ip_address("2001:db8:9::1")
    (asked,) = heard(made, MapRequest(7, None, (itr,), (record,)).serialize())
    assert isinstance(asked, PacketOut)
    solicitation = parse_ip(parse_ethernet(asked.frame).payload)
    assert str(solicitation.source) == "2001:db8::129"


def test_nobody_is_flooded_by_our_answers(controller: Controller) -> None:
    rate = controller.config.limits.map_requests_per_source
    actions = [a for _ in range(rate + 5) for a in heard(controller, probe("[1] 10.1.0.0/16"))]
    dropped = [action.reason for action in actions if isinstance(action, Dropped)]
    assert dropped == ["rate-limited-source"] * 5
    assert sum(isinstance(action, PacketOut) for action in actions) == rate


def test_an_eid_of_another_site_is_not_answered(controller: Controller) -> None:
    (dropped,) = heard(controller, probe("[1] 10.9.0.0/16"))
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "eid-not-served"


def test_itr_rlocs_of_an_unknown_lcaf_are_ignored(controller: Controller) -> None:
    """RFC 9306 section 3."""
    record = RequestRecord(EidPrefix.from_text("[1] 10.1.0.0/16"))
    rlocs = (OpaqueLcaf(200, b"\1"), FOREIGN.address)
    actions = heard(controller, MapRequest(7, None, rlocs, (record,)).serialize())
    (out,) = (action for action in actions if isinstance(action, PacketOut))
    assert parse_ip(parse_ethernet(out.frame).payload).destination == FOREIGN.address


def test_a_vendor_specific_lcaf_drops_the_message(controller: Controller) -> None:
    """RFC 9306 section 4: no OUI is understood here."""
    locator = Locator(VendorSpecific(0x5E, b"\1"))
    record = EidRecord(EidPrefix.from_text("[1] 10.2.0.0/16"), (locator,))
    message = MapReply(7, (record,)).serialize()
    (at_rloc,) = heard(controller, message)
    (at_controller,) = controller.receive(message, FOREIGN, 1001.0)
    for dropped, where in ((at_rloc, "xtr.xa"), (at_controller, "controller")):
        assert isinstance(dropped, Dropped)
        assert (dropped.where, dropped.reason) == (where, "unsupported")
        assert "OUI 00005e" in dropped.detail


def test_garbage_to_an_rloc_is_counted(controller: Controller) -> None:
    (dropped,) = heard(controller, b"\x99garbage")
    assert isinstance(dropped, Dropped)
    assert dropped.where == "xtr.xa"
