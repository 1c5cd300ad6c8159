"""Two providers that find each other over FRR and GoBGP (RFC 6836), on real Open vSwitch."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, NoReturn

import alt as topology
import pytest
from capture import Capture
from labrun import LabError, in_namespace, poll

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire import (
    EidRecord,
    MapRegister,
    MapReply,
    MapRequest,
    RequestRecord,
    auth,
    decode,
)

WEB, DESK, DELOS = "10.1.0.1", "10.2.0.1", "10.3.0.1"
DESK6 = "2001:db8:e2::1"
ATHENS, BERLIN = "198.51.100.1", "203.0.113.1"
FRR, GOBGP, A, B = (topology.NODES[name][0].split("/")[0] for name in ("frr", "gobgp", "a", "b"))


@pytest.fixture(scope="module")
def net(_lab_possible: None, cannot_run: Callable[[str], NoReturn]) -> Iterator[Any]:
    """The network of mininet/alt.py, built once, with BGP converged."""
    began = time.monotonic()
    try:
        made = topology.build()
    except LabError as error:
        cannot_run(str(error))
    with made:
        made.start()
        made.start_controllers()
        poll("BGP to converge", made.converged, 60)
        print(f"built and converged in {time.monotonic() - began:.1f} s")
        yield made


def forget(net: Any, provider: str, xtr: str) -> None:
    """Empty a map-cache."""
    reply = net.provider(provider).rest("DELETE", f"/lisp/v1/xtrs/{xtr}/map-cache")
    assert reply.status in (200, 204), reply


def flow(net: Any, provider: str, text: str) -> tuple[int, str]:
    """Packets and actions of the flow of an ALT bridge whose match holds `text`."""
    found = [line for line in net.provider(provider).flows("br-alt") if text in line]
    assert len(found) == 1, found
    packets = re.search(r"n_packets=(\d+)", found[0])
    assert packets is not None
    return int(packets[1]), found[0].rpartition("actions=")[2]


def packet_ins(net: Any, provider: str) -> int:
    """Map-Requests that came to a provider's controller over the ALT."""
    return sum(
        int(count)
        for line in net.provider(provider).flows("br-alt")
        if "CONTROLLER:" in line
        for count in re.findall(r"n_packets=(\d+)", line)
    )


def test_a_map_request_travels_over_both_routers_and_the_map_reply_directly(net: Any) -> None:
    """A host of provider A reaches a host of provider B; tshark decodes what the core carried."""
    before = packet_ins(net, "a"), packet_ins(net, "b")
    with Capture(net.core, "any", "proto gre or udp port 4342") as seen:
        pings = net.web.ping(DESK, 5, 0.2)
    assert pings.received == 5, pings.text
    rows = seen.rows("gre && lisp.type == 1", "ip.src", "ip.dst")
    asked = [row for row in rows if row[1].endswith(f",{DESK}")]
    hops = [tuple(part.split(",")[0] for part in row[:2]) for row in asked]
    # The core forwards each packet: it comes in and goes out.
    assert list(dict.fromkeys(hops)) == [(A, FRR), (FRR, GOBGP), (GOBGP, B)], rows
    # AL-003: an RLOC of the ITR is the source, the EID the destination.
    assert {row[0].split(",")[1] for row in asked} == {ATHENS}
    replies = seen.rows("lisp.type == 2 && !gre", "ip.src", "ip.dst")
    assert (B, ATHENS) in replies, replies
    assert seen.count("gre && lisp.type == 2") == 0
    # Berlin's answers asked for athens: one Map-Request each way, by the Map-Servers' flows.
    assert (packet_ins(net, "a"), packet_ins(net, "b")) == (before[0] + 1, before[1] + 1)
    print(seen.decoded("gre && lisp.type == 1", "gre", "lisp"))


def test_ipv6_travels_the_same_way(net: Any) -> None:
    """IPv6 EIDs and Map-Requests, over GRE tunnels and BGP sessions by IPv4."""
    with Capture(net.core, "any", "proto gre") as seen:
        pings = net.web.ping(DESK6, 5, 0.2)
    assert pings.received == 5, pings.text
    rows = seen.rows(
        f"gre && lisp.type == 1 && ipv6.dst == {DESK6}", "ip.src", "ip.dst", "ipv6.src"
    )
    assert list(dict.fromkeys(row[:2] for row in rows)) == [(A, FRR), (FRR, GOBGP), (GOBGP, B)]
    assert {row[2] for row in rows} == {"2001:db8:a1::1"}


def test_what_is_shown_is_what_is_there(net: Any) -> None:
    """`GET /alt` and `/bgp` of both providers: no problem, every session, every route."""
    for name, other in (("a", "10.2.0.0/16"), ("b", "10.1.0.0/16")):
        provider = net.provider(name)
        assert provider.rest("GET", "/lisp/v1/status").body["problems"] == []
        alt = provider.rest("GET", "/lisp/v1/alt").body
        assert [(tunnel["up"], tunnel["session_up"]) for tunnel in alt["tunnels"]] == [
            (True, True)
        ] * 2, alt
        routes = provider.rest("GET", "/lisp/v1/alt/routes").body["items"]
        (route,) = [route for route in routes if route["prefix"] == other]
        assert len(route["as_path"]) == 3, route
        sessions = provider.rest("GET", "/lisp/v1/bgp").body["neighbours"]
        assert [(entry["up"], entry["password"]) for entry in sessions] == [(True, True)] * 2
    log = net.provider("a").log.read_text(errors="replace")
    assert "of-a-and-frr" not in log


def test_no_eid_prefix_is_in_the_routing_of_the_underlay(net: Any) -> None:
    """Neither the core's, nor that of xTRs and controllers; those of ALT-Routers are the ALT."""
    for node in (net.core, *net.xtrs.values(), net.alt["a"], net.alt["b"]):
        table = node.do("ip", "-4", "route", "show", "table", "all")
        table += node.do("ip", "-6", "route", "show", "table", "all")
        eid = re.compile(r"(\w+ )?(10\.[123]\.|2001:db8:e)")
        leaked = [line for line in table.splitlines() if eid.match(line)]
        assert leaked == [], f"{node.name}: {leaked}"


def test_a_transit_map_request_crosses_our_bridge_by_flow(net: Any) -> None:
    """FRR with no tunnel left but the one to A: A's switch sends it on, A's controller sleeps."""
    frr = net.router("frr")
    for port in ("alt-gobgp", "alt-b"):
        frr.do("ip", "link", "set", port, "down")
    try:
        poll("the way over A", lambda: frr.routes().get("10.2.0.0/16") == "alt-a", 20)
        poll("A's way", lambda: "write_metadata:0x2/" in flow(net, "a", "nw_dst=10.2.0.0/16")[1], 9)
        packets, _ = flow(net, "a", "nw_dst=10.2.0.0/16")
        own = packet_ins(net, "a")
        reply, sender = ask(frr, FRR, DESK)
        assert sender == B
        (record,) = reply.records
        assert BERLIN in {str(item.rloc) for item in record.locators}
        assert flow(net, "a", "nw_dst=10.2.0.0/16")[0] == packets + 1
        assert packet_ins(net, "a") == own
    finally:
        for port in ("alt-gobgp", "alt-b"):
            frr.do("ip", "link", "set", port, "up")
    poll("BGP to converge", net.converged, 30)


def ask(node: Any, rloc: str, eid: str) -> tuple[MapReply, str]:
    """Send a Map-Request as an ALT Datagram; the Map-Reply and who sent it."""
    wanted = RequestRecord(EidPrefix.host(0, ip_address(eid)))
    request = MapRequest(0x5EED, None, (ip_address(rloc),), (wanted,))
    with in_namespace(node.pid):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(5)
        sock.bind((rloc, 4342))
        sock.sendto(request.serialize(), (eid, 4342))
        data, sender = sock.recvfrom(2000)
    reply = decode(data)
    assert isinstance(reply, MapReply)
    assert reply.nonce == 0x5EED
    return reply, sender[0]


def test_an_alt_router_dies_and_resolution_goes_the_other_way(net: Any) -> None:
    """Its cable is cut: nobody is told but by silence. BGP's hold time is 3 seconds here."""
    net.core.do("ip", "link", "set", "frr-1", "down")
    try:
        began = time.monotonic()
        forget(net, "a", "athens")
        forget(net, "b", "berlin")
        poll("the other way", lambda: net.web.ping(DESK, 1).received, 20)
        took = time.monotonic() - began
        print(f"from the cut to the first answer by the other way: {took:.1f} s")
        assert took < 12, took
        assert "write_metadata:0x2/" in flow(net, "a", "nw_dst=10.2.0.0/16")[1]
        assert net.web.ping(DESK, 5, 0.1).received == 5
    finally:
        net.core.do("ip", "link", "set", "frr-1", "up")
    poll("BGP to converge", net.converged, 40)


class Delos:
    """A site of provider A whose ETR is not ours."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.nonce = int(time.time())

    def register(self, ttl_minutes: int) -> None:
        """A Map-Register; 0 minutes end the registration (RFC 9301 section 5.6)."""
        self.nonce += 1
        eid, rloc = EidPrefix.from_text("10.3.0.0/16"), Locator(ip_address("198.18.30.1"))
        record = EidRecord.from_mapping(Mapping(eid, (rloc,), ttl_minutes=ttl_minutes))
        message = MapRegister(self.nonce, (record,), proxy_reply=True)
        data = auth.sign(message, 1, b"delos-to-provider-a", 3)
        with in_namespace(self.net.core.pid):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.sendto(data, (A, 4342))

    def known(self) -> bool:
        """Whether the last ALT-Router on the way to provider B has its EID-prefix."""
        return "10.3.0.0/16" in self.net.router("gobgp").routes()


def test_an_eid_prefix_is_withdrawn_when_its_registrations_are_gone_for_good(net: Any) -> None:
    """hold_down is 3 seconds here: a short absence is not told to anybody."""
    delos = Delos(net)
    delos.register(1440)
    poll("the announcement", delos.known, 10)
    delos.register(0)
    time.sleep(1)
    delos.register(1440)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert delos.known()
        time.sleep(0.2)
    delos.register(0)
    began = time.monotonic()
    poll("the withdrawal", lambda: not delos.known(), 10)
    assert time.monotonic() - began > 2.5
    poll("B to know", lambda: DELOS_ROUTE not in net.provider("b").ofctl(*DUMP), 5)
    assert net.desk.ping(DELOS, 1).received == 0
    entries = net.provider("b").rest("GET", "/lisp/v1/xtrs/berlin/map-cache").body["items"]
    (entry,) = [entry for entry in entries if entry["eid"].startswith("10.3.")]
    assert (entry["negative"], entry["eid"]) == (True, "10.3.0.0/16"), entry


DUMP = ("dump-flows", "br-alt")
DELOS_ROUTE = "nw_dst=10.3.0.0/16"
