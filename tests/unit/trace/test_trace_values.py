"""The packet that is followed, flows in words, and EIDs that stand for places."""

from __future__ import annotations

import ipaddress

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.errors import FieldError
from lisp_sdn.rules import (
    CheckPktLarger,
    DecTtl,
    FlowRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    SetField,
    ToController,
    ToGroup,
    match,
)
from lisp_sdn.trace import Packet
from lisp_sdn.trace.journal import duration, locators_text
from lisp_sdn.trace.places import _first
from lisp_sdn.trace.tables import rule_text
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip
from lisp_sdn.xtr.simulate import fields_of

MAC, GATEWAY = "02:00:00:00:01:01", "02:00:5e:00:00:fe"


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (("10.1.0.0/24", "10.2.0.1"), "source"),
        (("10.1.0.1", "10.2.0.0/24"), "destination"),
        (("[1] 10.1.0.1", "[2] 10.2.0.1"), "destination"),
        (("10.1.0.1", "2001:db8::1"), "destination"),
        (("10.1.0.1", "10.2.0.1", 256), "protocol"),
        (("10.1.0.1", "10.2.0.1", 6, -1), "source_port"),
        (("10.1.0.1", "10.2.0.1", 6, 0, 65536), "destination_port"),
    ],
)
def test_packets_that_cannot_be(values: tuple[str | int, ...], field: str) -> None:
    source, destination, *rest = values
    with pytest.raises(FieldError) as error:
        Packet(eid(str(source)), eid(str(destination)), *map(int, rest))
    assert error.value.field == field


@pytest.mark.parametrize("protocol", [None, 6, 17, 253])
@pytest.mark.parametrize(
    ("source", "destination"), [("10.1.0.1", "10.2.0.1"), ("2001:db8:1::1", "2001:db8:2::1")]
)
def test_the_frame_is_the_packet(source: str, destination: str, protocol: int | None) -> None:
    packet = Packet(eid(source), eid(destination), protocol, 1000, 443)
    frame = packet.frame(MAC, GATEWAY)
    ethernet = parse_ethernet(frame)
    assert (ethernet.source, ethernet.destination) == (MAC, GATEWAY)
    ip = parse_ip(ethernet.payload)
    assert (str(ip.source), str(ip.destination), ip.ttl) == (source, destination, 64)
    fields = fields_of(frame)
    if protocol is None:
        echo = {4: ("icmpv4_type", 8), 6: ("icmpv6_type", 128)}[ip.version]
        assert fields[echo[0]] == echo[1]
    else:
        assert ip.protocol == protocol
    ports = (fields.get("port_src"), fields.get("port_dst"))
    assert ports == ((1000, 443) if protocol in (6, 17) else (None, None))


def test_a_flow_in_words() -> None:
    rule = FlowRule(
        3,
        1000,
        match(
            in_port=2,
            metadata=(7, 0xFFFFFF),
            eth_type=0x0800,
            ipv4_dst=ipaddress.ip_network("10.2.0.0/16"),
            reg1=(16, 0xF0),
        ),
        (DecTtl(), SetField("tunnel_id", 7), Multipath("reg1", 256), ToGroup(5)),
        goto=5,
    )
    assert rule_text(rule, {2: "p2"}) == (
        "table 3 (map cache): eth_type=0x800, in_port=p2, ipv4_dst=10.2.0.0/16, "
        "metadata=instance-ID 7, reg1=0x10/0xf0: decrement TTL, set tunnel_id=7, "
        "hash of the flow, one of 256 slots, to reg1, group 5, goto table 5"
    )
    size = (CheckPktLarger(1478, "reg2"), Resubmit(8))
    assert rule_text(FlowRule(7, 0, (), size), {}) == (
        "table 7 (size): every packet: whether larger than 1478 octets to reg2, look up in table 8"
    )
    others = (MoveField("arp_sha", "arp_tha", 48), Output(2), Output(Port.IN_PORT), ToController())
    assert rule_text(FlowRule(0, 0, (), others), {2: "p2"}) == (
        "table 0 (classify): every packet: copy arp_sha to arp_tha, to p2, "
        "back by the same port, to the controller"
    )
    assert rule_text(FlowRule(4, 0, ()), {}) == "table 4 (miss): every packet: drop"


@pytest.mark.parametrize(
    ("prefix", "gateway", "expected"),
    [
        ("10.1.0.0/24", "10.1.0.254", "10.1.0.1/32"),
        ("10.1.0.0/24", "10.1.0.1", "10.1.0.2/32"),
        ("10.1.0.0/31", "10.1.0.0", "10.1.0.1/32"),
        ("10.1.0.5/32", None, "10.1.0.5/32"),
        ("2001:db8::/64", "2001:db8::1", "2001:db8::2/128"),
    ],
)
def test_an_address_that_stands_for_a_subnet(
    prefix: str, gateway: str | None, expected: str
) -> None:
    taken = ipaddress.ip_address(gateway) if gateway else None
    assert str(_first(eid(prefix), taken)) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (12, "0:12"), (125, "2:05"), (10_800, "3:00:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert locators_text(()) == "no RLOC"
