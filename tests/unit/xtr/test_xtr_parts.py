"""Small parts: hosts, resolutions, frames with known octets, registration."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, ip_address

import pytest

from lisp_sdn.actions import PacketIn, PortInfo
from lisp_sdn.address import EidPrefix
from lisp_sdn.config import load
from lisp_sdn.errors import BadLength, BadValue, DecodeError, Truncated, Unsupported
from lisp_sdn.rules import CookieClass, Ruleset, cookie
from lisp_sdn.wire import MapRegister
from lisp_sdn.xtr import Register, Resolve, Xtr, frames, replies
from lisp_sdn.xtr.hosts import ASK_ATTEMPTS, Host, Hosts, Learned
from lisp_sdn.xtr.pipeline import Punt
from lisp_sdn.xtr.queue import Purpose, Resolution, Resolutions

A = Host(1, ip_address("10.1.0.1"), 1, "02:00:00:00:00:01")


def test_hosts_learn_move_and_doubt() -> None:
    hosts = Hosts(10)
    assert hosts.learn(A, proven=False) == (Learned.NEW, None)
    assert hosts.learn(A, proven=False) == (Learned.NOTHING, None)
    other = Host(1, A.address, 2, "02:00:00:00:00:02")
    assert hosts.learn(other, proven=False) == (Learned.CONFLICT, None)
    assert hosts.get(A.key) == A
    assert hosts.learn(other, proven=True) == (Learned.MOVED, None)
    assert hosts.get(A.key) == other
    assert hosts.forget(A.key) == other
    assert A.key not in hosts


def test_hosts_are_bounded() -> None:
    hosts = Hosts(2)
    made = [Host(1, IPv4Address(n), 1, A.mac) for n in (1, 2, 3)]
    evicted = [hosts.learn(host, proven=True)[1] for host in made]
    assert evicted == [None, None, made[0]]
    assert list(hosts) == made[1:]


def test_a_host_is_asked_for_a_few_times_only() -> None:
    hosts = Hosts(2)
    assert [hosts.ask(A.key) for _ in range(ASK_ATTEMPTS + 1)] == [True] * ASK_ATTEMPTS + [False]
    assert not hosts.is_asked(A.key)


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text)


def test_any_nonce_of_a_resolution_answers_it_once() -> None:
    resolutions = Resolutions(10)
    resolution = Resolution(Purpose.MISS, eid("10.0.0.1/32"), None)
    resolutions.add(resolution)
    for number in (11, 12, 13):
        resolutions.sent(resolution, number, 0.0)
    assert resolutions.expects(11)
    assert resolutions.answered(12) is resolution
    assert not any(map(resolutions.expects, (11, 12, 13)))
    assert resolutions.answered(11) is None
    assert len(resolutions) == 0


def test_refreshes_do_not_use_up_the_bound_on_misses() -> None:
    resolutions = Resolutions(1)
    resolutions.add(Resolution(Purpose.REFRESH, eid("10.0.0.0/8"), None))
    asker = (1, ip_address("10.0.0.9"))
    assert resolutions.admits(*asker)
    miss = Resolution(Purpose.MISS, eid("10.0.0.1/32"), None, asker=asker)
    resolutions.add(miss)
    assert not resolutions.admits(*asker)
    assert resolutions.misses() == [miss]
    resolutions.end(miss)
    assert resolutions.admits(*asker)


def test_the_next_request_waits_for_its_second() -> None:
    resolutions = Resolutions(10)
    resolution = Resolution(Purpose.MISS, eid("10.0.0.1/32"), None)
    assert resolutions.earliest(resolution, 5.0) == 5.0
    resolutions.sent(resolution, 1, 5.0)
    assert resolutions.earliest(resolution, 5.4) == 6.0
    assert resolutions.earliest(resolution, 7.0) == 7.0
    resolutions.forget(eid("10.0.0.0/8"))
    assert resolutions.earliest(resolution, 5.4) == 5.4


@pytest.mark.parametrize(
    ("parse", "data", "error"),
    [
        (frames.parse_ethernet, b"\0" * 13, Truncated),
        (frames.parse_ethernet, b"\0" * 12 + b"\x81\0" + b"\0" * 10, Unsupported),
        (frames.parse_arp, b"\0" * 27, Truncated),
        (frames.parse_arp, b"\0\6" + b"\0" * 26, Unsupported),
        (frames.parse_ip, b"", Truncated),
        (frames.parse_ip, b"\x50" + b"\0" * 40, BadValue),
        (frames.parse_ip, b"\x44" + b"\0" * 30, BadLength),
        (frames.parse_ip, b"\x45\0\0\x13" + b"\0" * 30, BadLength),
        (frames.parse_ip, b"\x45\0\0\xff" + b"\0" * 30, Truncated),
        (frames.parse_ip, b"\x60" + b"\0" * 30, Truncated),
        (frames.parse_ip, b"\x60\0\0\0\0\x08\0\x40" + b"\0" * 32, Truncated),
        (frames.parse_ip, b"\x60\0\0\0\0\x08\0\x40" + b"\0" * 33 + b"\xff" + b"\0" * 6, BadLength),
    ],
)
def test_malformed_frames_name_what_is_wrong(
    parse: object, data: bytes, error: type[DecodeError]
) -> None:
    with pytest.raises(error):
        parse(data)  # type: ignore[operator]


def test_the_checksum_of_a_known_header() -> None:
    """The inner IPv4 header of an ECM that tshark found good: its checksum is 0xadf0."""
    header = bytes.fromhex("4500003c000000002011adf0c0000201c633648c")
    assert replies.checksum(header) == 0
    assert replies.checksum(header[:10] + b"\0\0" + header[12:]) == 0xADF0


def test_solicited_node_addresses() -> None:
    group = replies.solicited_node(ip_address("2001:db8::12:3456"))  # type: ignore[arg-type]
    assert str(group) == "ff02::1:ff12:3456"
    assert replies.multicast_mac(group) == "33:33:ff:12:34:56"


CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: k}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}, {prefix: 10.9.0.0/16}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1, priority: 3, weight: 40}, {rloc: "2001:db8::1"}]
    eid_ports: [{name: p1, iid: 1, gateways: [10.1.0.254/24]}]
"""
PORTS = (
    PortInfo(100, "lisp0", "02:00:00:00:00:01", True),
    PortInfo(1, "p1", "02:00:00:00:00:02", True),
)


def test_every_prefix_is_registered_with_every_rloc_every_minute() -> None:
    config = load(CONFIG)
    xtr = Xtr(config.xtrs[0], config, random.Random(1))
    (register,) = [a for a in xtr.start(0.0) if isinstance(a, Register)]
    assert [str(record.eid) for record in register.records] == ["[1] 10.1.0.0/16", "10.9.0.0/16"]
    for record in register.records:
        assert [(str(x.rloc), x.priority, x.weight, x.local) for x in record.locators] == [
            ("192.0.2.1", 3, 40, True),
            ("2001:db8::1", 1, 100, True),
        ]
    xtr.connected(PORTS, 1.0)
    xtr.installed(PORTS, Ruleset(), 1.0)
    times = []
    while (now := xtr.next_timer() or 1e9) < 200.0:
        times += [now for action in xtr.handle_timer(now) if isinstance(action, Register)]
    assert times == [61.0, 121.0, 181.0]
    assert xtr.serves(eid("[1] 10.1.2.0/24"))
    assert not xtr.serves(eid("[1] 10.0.0.0/8"))
    assert str(xtr.source_rloc(6)) == "2001:db8::1"


def test_many_prefixes_are_registered_in_messages_of_576_octets() -> None:
    prefixes = ", ".join(f"{{prefix: 10.{number}.0.0/16, iid: {number}}}" for number in range(60))
    config = load(
        f"""
sites: [{{name: a, authentication_keys: [{{key: k}}], eid_prefixes: [{prefixes}]}}]
xtrs: [{{name: xa, site: a, datapath_id: 1, rlocs: [{{rloc: 192.0.2.1}}, {{rloc: "2001:db8::1"}}]}}]
"""
    )
    xtr = Xtr(config.xtrs[0], config, random.Random(1))
    registers = [action for action in xtr.start(0.0) if isinstance(action, Register)]
    assert len(registers) > 1
    named = [str(record.eid) for register in registers for record in register.records]
    assert named == [str(entry.eid) for entry in config.sites[0].eid_prefixes]
    for register in registers:
        message = MapRegister(1, register.records, 1, 3, bytes(32), xtr_id=1, site_id=1)
        assert len(message.serialize()) + 28 <= 576


def test_a_map_request_names_at_most_32_rlocs() -> None:
    rlocs = ", ".join(f"{{rloc: 192.0.2.{number}}}" for number in range(1, 41))
    config = load(
        CONFIG.replace(
            '[{rloc: 192.0.2.1, priority: 3, weight: 40}, {rloc: "2001:db8::1"}]', f"[{rlocs}]"
        )
    )
    xtr = Xtr(config.xtrs[0], config, random.Random(1))
    xtr.connected(PORTS, 0.0)
    xtr.installed(PORTS, Ruleset(), 0.0)
    packet = replies.ipv4(IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1"), 253, b"")
    frame = replies.ip_frame("02:00:5e:00:00:fe", A.mac, 4, packet)
    event = PacketIn(0xA, 4, cookie(CookieClass.PIPELINE, Punt.MISS), 1, frame, 1)
    (resolve,) = [a for a in xtr.packet_in(event, 0.0) if isinstance(a, Resolve)]
    assert len(resolve.request.itr_rlocs) == 32
