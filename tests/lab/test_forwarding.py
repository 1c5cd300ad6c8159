"""What a host sees: no packet is lost, tenants are apart, TTL counts, gateways answer."""

from __future__ import annotations

import socket
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest
from capture import Capture
from labrun import in_namespace, poll
from two_sites_lab import BLUE, H1, H1_V6, H2, H2_V6, LEFT, RED, RIGHT, show

if TYPE_CHECKING:
    from labnodes import LispNode

TRIALS = 20
FIRST_REPLY_MS = 50.0


def test_the_very_first_packets_are_all_answered(lab: Any) -> None:
    """Nothing was known: not the mapping, not the EIDs, not the next hops of the tunnel."""
    first = lab.very_first
    assert (first.sent, first.received) == (5, 5), first.text


@pytest.mark.parametrize("target", [H2, H2_V6])
def test_cold_cache_loses_no_packet(lab: Any, target: str) -> None:
    first_replies = []
    for trial in range(TRIALS):
        lab.flush()
        result = lab.h1.ping(target, 5, 0.2)
        assert result.received == result.sent == 5, f"trial {trial + 1}: {result.text}"
        first_replies.append(result.times[1])
    median = statistics.median(first_replies)
    print(f"first reply, ms: median {median:.1f} worst {max(first_replies):.1f}")
    assert median < FIRST_REPLY_MS, first_replies


def test_cold_next_hops_lose_no_packet(lab: Any) -> None:
    """Open vSwitch restarted its neighbour table with the caches: reconnecting primes it."""
    for node in (lab.left, lab.right):
        node.appctl("tnl/neigh/flush")
        # OVS learns from an ARP reply in the slow path only: it must not meet a cached flow.
        node.appctl("revalidator/purge")
    lab.net.ctl.kill()
    lab.ensure_running()
    lab.flush()
    result = lab.h1.ping(H2)
    assert result.received == result.sent, result.text


@pytest.mark.parametrize(
    ("source", "target", "ip"), [(H1, H2, "ip"), (H1_V6, H2_V6, "ipv6")], ids=["ipv4", "ipv6"]
)
def test_tshark_decodes_lisp_data(lab: Any, source: str, target: str, ip: str) -> None:
    with lab.underlay(bpf="udp port 4341") as seen:
        assert lab.h1.ping(target, 3, 0.1).received == 3
    kind, request, reply = ("icmp", 8, 0) if ip == "ip" else ("icmpv6", 128, 129)
    for icmp_type, rlocs, eids in (
        (request, (LEFT, RIGHT), (source, target)),
        (reply, (RIGHT, LEFT), (target, source)),
    ):
        what = f"lisp-data && {kind}.type == {icmp_type}"
        rows = seen.rows(what, "lisp-data.iid", "lisp-data.flags.iid", "udp.dstport")
        assert rows == [(str(BLUE), "1", "4341")] * 3
        # The first IPv4 header is the outer one, the last IPv4 or IPv6 header the inner one.
        for source_rloc, target_rloc in seen.rows(what, "ip.src", "ip.dst"):
            assert (source_rloc.split(",")[0], target_rloc.split(",")[0]) == rlocs
        for source_eid, target_eid in seen.rows(what, f"{ip}.src", f"{ip}.dst"):
            assert (source_eid.split(",")[-1], target_eid.split(",")[-1]) == eids


def test_outer_header_takes_dscp_ecn_and_ttl(lab: Any) -> None:
    """RFC 9300 section 5.3."""
    lab.h1.ping(H2, 1)
    with lab.underlay(bpf="udp port 4341") as seen:
        lab.h1.ping(H2, 1, 0.2, "-Q", "0xb9", "-t", "20")
    rows = seen.rows("lisp-data && icmp.type == 8", "ip.dsfield", "ip.ttl")
    assert rows == [("0xb9,0xb9", "19,19")]


def test_tenants_with_the_same_addresses_are_apart(lab: Any) -> None:
    t1, t2 = lab.node("t1"), lab.node("t2")
    for first, tenant, mine, other in ((lab.h1, BLUE, lab.h2, t2), (t1, RED, t2, lab.h2)):
        with (
            lab.underlay(bpf="udp port 4341") as wire,
            Capture(mine, "eth0", "icmp[0] = 8") as reached,
            Capture(other, "eth0", "icmp[0] = 8") as strayed,
        ):
            assert first.ping(H2, 3, 0.1).received == 3
        assert reached.count() == 3
        assert strayed.count() == 0
        assert {row[0] for row in wire.rows("icmp", "lisp-data.iid")} == {str(tenant)}


def test_an_eid_of_one_tenant_does_not_exist_for_the_other(lab: Any) -> None:
    lab.h2.do("ip", "addr", "replace", "10.2.0.77/24", "dev", "eth0")
    try:
        assert lab.h1.ping("10.2.0.77", 3, 0.1).received == 3
        with Capture(lab.h2, "eth0", "icmp[0] = 8") as strayed:
            assert lab.node("t1").ping("10.2.0.77", 3, 0.1).received == 0
        assert strayed.count() == 0
    finally:
        lab.h2.do("ip", "addr", "del", "10.2.0.77/24", "dev", "eth0")


def test_spent_ttl_is_told_by_the_gateway(lab: Any) -> None:
    four = lab.h1.ping(H2, 1, 0.2, "-t", "1")
    assert four.received == 0
    assert "From 10.1.0.254" in four.text, four.text
    assert "Time to live exceeded" in four.text, four.text
    six = lab.h1.ping(H2_V6, 1, 0.2, "-t", "1")
    assert six.received == 0
    assert "From 2001:db8:e1::fe" in six.text, six.text
    assert "Hop limit" in six.text or "Time exceeded" in six.text, six.text


def test_the_overlay_takes_one_from_the_ttl_at_each_end(lab: Any) -> None:
    """ITR and ETR are one router hop each: 64 leaves the host, 62 arrives."""
    result = lab.h1.ping(H2, 1)
    assert "ttl=62" in result.text, result.text


def test_gateway_answers_arp_for_itself_only(lab: Any) -> None:
    lab.h1.forget_neighbours()
    mac = resolve(lab.h1, "10.1.0.254")
    assert mac == "02:00:5e:00:00:fe"
    # Somebody else's address in the same subnet: silence, so that duplicates can be noticed.
    assert resolve(lab.h1, "10.1.0.99", wait=1.5) is None


def test_gateway_answers_neighbour_discovery_for_itself_only(lab: Any) -> None:
    lab.h1.forget_neighbours()
    assert resolve(lab.h1, "2001:db8:e1::fe") == "02:00:5e:00:00:fe"
    assert resolve(lab.h1, "2001:db8:e1::99", wait=1.5) is None


def test_gateway_answers_ping(lab: Any) -> None:
    assert lab.h1.ping("10.1.0.254", 2, 0.1).received == 2
    assert lab.h1.ping("2001:db8:e1::fe", 2, 0.1).received == 2


@pytest.mark.parametrize("target", [H2, H2_V6])
def test_tcp_passes(lab: Any, target: str) -> None:
    """Also with full segments: offloads and MTU are right."""
    server = lab.h2.spawn("iperf3", "-s", "-1", "-B", target)
    try:
        poll("iperf3 to listen", lambda: ":5201" in lab.h2.do("ss", "-ltn"), 5)
        text = lab.h1.do("iperf3", "-c", target, "-n", "20M", "-f", "m", timeout=60)
    finally:
        server.kill()
        server.wait()
    assert "receiver" in text, text


def test_idle_entries_leave_switch_and_cache(lab: Any) -> None:
    config = {**lab.config, "limits": {"idle_timeout": 2}}
    lab.net.ctl.kill()
    lab.net.ctl.start(config)
    try:
        lab.wait_connected()
        lab.flush()
        assert lab.h1.ping(H2, 1).received == 1
        assert lab.cached_flows("left")
        assert lab.map_cache("left")
        # OVS looks for idle flows about once a second.
        poll("the flow to leave the switch", lambda: not lab.cached_flows("left"), 15)
        poll("the entry to leave the map-cache", lambda: not lab.map_cache("left"), 5)
        assert lab.h1.ping(H2, 2, 0.1).received == 2
    finally:
        lab.net.ctl.kill()


def test_entries_in_use_stay(lab: Any) -> None:
    config = {**lab.config, "limits": {"idle_timeout": 2}}
    lab.net.ctl.kill()
    lab.net.ctl.start(config)
    try:
        lab.wait_connected()
        lab.flush()
        result = lab.h1.ping(H2, 25, 0.2)
        assert result.received == 25, result.text
        assert lab.map_cache("left"), show(lab.map_cache("left"))
    finally:
        lab.net.ctl.kill()


def resolve(host: LispNode, address: str, wait: float = 3.0) -> str | None:
    """The MAC that a neighbour answers with; None when it stays silent for `wait` seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with in_namespace(host.pid), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"?", (address, 9))
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        for line in host.do("ip", "neigh", "show", address).splitlines():
            if "lladdr" in line:
                return line.split("lladdr ")[1].split()[0]
        time.sleep(0.05)
    return None
