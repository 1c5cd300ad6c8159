"""Packets too large for the underlay (RFC 9300 section 7.1), from host to host and back."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from itertools import pairwise

import pytest
from xtr_network import CONFIG, Host, Network

from lisp_sdn.config import load
from lisp_sdn.errors import ConfigError
from lisp_sdn.rules import MeterRule
from lisp_sdn.xtr.frames import parse_ip
from lisp_sdn.xtr.pipeline import MeterId, TableId

ONLY_V6 = CONFIG.replace("{rloc: 192.0.2.1}, ", "")
MAC = "02:00:00:00:00:"


def network(text: str = CONFIG) -> tuple[Network, Host, Host, Host, Host]:
    """A network with hosts of both families at both ends, who know each other."""
    net = Network(text)
    net.start()
    a4, a6 = net["xa"].add(1, "10.1.0.1", MAC + "a4"), net["xa"].add(1, "2001:db8:1::1", MAC + "a6")
    b4, b6 = net["xb"].add(1, "10.2.0.1", MAC + "b4"), net["xb"].add(1, "2001:db8:2::1", MAC + "b6")
    for _ in range(2):
        net.send("xa", 1, a4.frame("10.2.0.1"))
        net.send("xa", 1, a6.frame("2001:db8:2::1"))
        net.advance(0.1)
    assert b4.received
    assert b6.received
    for host in (a4, a6, b4, b6):
        host.received.clear()
    return net, a4, a6, b4, b6


def large(host: Host, destination: str, octets: int, *, df: bool = True) -> bytes:
    """A frame with an IP packet of this length."""
    header = 20 if isinstance(host.address, IPv4Address) else 40
    frame = bytearray(host.frame(destination, bytes(octets - header)))
    if header == 20 and df:
        frame[20] = 0x40
        before = int.from_bytes(frame[24:26], "big")
        # RFC 1624: the checksum of a header of which one word changed.
        frame[24:26] = ((before - 0x4000) % 0xFFFF).to_bytes(2, "big")
    return bytes(frame)


@pytest.mark.parametrize(("text", "room"), [(CONFIG, 1464), (ONLY_V6, 1444)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("version", [4, 6])
def test_the_host_is_told_how_large_a_packet_may_be(text: str, room: int, version: int) -> None:
    net, a4, a6, b4, b6 = network(text)
    host, target = (a4, b4) if version == 4 else (a6, b6)
    gateway = "10.1.0.254" if version == 4 else "2001:db8:1::fe"
    net.send("xa", 1, large(host, str(target.address), room))
    assert len(target.received) == 1
    assert host.received == []
    net.send("xa", 1, large(host, str(target.address), room + 1))
    assert len(target.received) == 1
    told = parse_ip(host.received.pop())
    assert str(told.source) == gateway
    assert tuple(told.payload[:2]) == ((3, 4) if version == 4 else (2, 0))
    assert int.from_bytes(told.payload[4:8], "big") == room
    quoted = parse_header(told.payload[8:])
    assert quoted == (host.address, target.address)
    assert net.reasons() == {"too-big"}
    assert counted(net, "packets-too-big") == 1


def counted(net: Network, name: str) -> int:
    """A counter of the first xTR."""
    return next(c.value for c in net["xa"].xtr.counters() if c.name.endswith(name))


def parse_header(packet: bytes) -> tuple[object, object]:
    """Source and destination of a packet that may be cut off."""
    where = (12, 16, 20) if packet[0] >> 4 == 4 else (8, 24, 40)
    return tuple(  # type: ignore[return-value]
        ip_address(bytes(packet[i:j])) for i, j in pairwise(where)
    )


def test_without_df_it_goes_on_in_two_fragments() -> None:
    net, a4, _, b4, _ = network()
    whole = large(a4, "10.2.0.1", 1500, df=False)
    net.send("xa", 1, whole)
    first, second = b4.received
    assert first[20:] + second[20:] == whole[34:]
    assert {first[8], second[8]} == {62}
    assert counted(net, "packets-fragmented") == 1
    assert a4.received == []


def test_packets_to_hosts_of_the_same_xtr_are_not_compared() -> None:
    net, a4, _, _, _ = network()
    other = net["xa"].add(1, "10.1.0.2", "02:00:00:00:0a:02")
    net.send("xa", 1, a4.frame("10.1.0.2"))
    net.advance(0.1)
    other.received.clear()
    net.send("xa", 1, large(a4, "10.1.0.2", 1500))
    assert len(other.received) == 1


def test_large_packets_are_metered_for_each_port() -> None:
    net, *_ = network()
    meters = {rule.meter_id: rule for rule in net["xa"].switch.meters.values()}
    for port in (1, 2):
        number = MeterId.TOO_BIG_BASE + port
        assert meters[number] == MeterRule(number, 100, 50)
    used = {rule.meter for rule in net["xa"].switch.flows.values() if rule.table == TableId.TUNNEL}
    assert used == {None, MeterId.TOO_BIG_BASE + 1, MeterId.TOO_BIG_BASE + 2}


def test_the_mtu_of_the_underlay_is_a_setting() -> None:
    def setting(mtu: int) -> str:
        line = "datapath_id: 0xa\n"
        return CONFIG.replace(line, f"{line}    underlay: {{mtu: {mtu}}}\n")

    net, a4, _, b4, _ = network(setting(1600))
    net.send("xa", 1, large(a4, "10.2.0.1", 1500))
    assert a4.received == []
    assert len(b4.received) == 1
    with pytest.raises(ConfigError, match="1336"):
        load(setting(1300))
