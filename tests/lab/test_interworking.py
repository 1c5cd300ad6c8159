"""LISP and the rest of the Internet on real Open vSwitch, with an FRR router (RFC 6832).

The network is mininet/interworking.py: `left` has a native port, `right` only PETRs; gate1 and
gate2 are Proxy-ITRs and Proxy-ETRs, each with a controller of its own; `www` knows nothing of LISP.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from capture import Capture
from labnodes import LispNode, Pings
from labrun import LabError, in_namespace, poll

WWW, WWW6 = "198.19.0.80", "2001:db8:99::80"
H1, H1_V6, H2, H2_V6 = "10.1.0.1", "2001:db8:e1::1", "10.2.0.1", "2001:db8:e2::1"
OLD, NEW = "10.0.0.0/14", "2001:db8:e0::/44"
GATE1, GATE2 = "198.18.1.1", "198.18.2.1"
SIZE = 6 << 20
INTERVAL = 0.02
MOVED_WITHIN = 3.0
"""Seconds: BGP's part is one message, the kernel's one route; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def net(_lab_possible: None, cannot_run: Callable[[str], NoReturn]) -> Iterator[Any]:
    import interworking

    try:
        made = interworking.build()
    except LabError as error:
        cannot_run(str(error))
    with made:
        made.start()
        made.start_controllers()
        poll("switches and BGP", made.ready, 60)
        yield made


@pytest.fixture(autouse=True)
def _whole(net: Any) -> None:
    """Every test finds both gates announced and gate1 preferred, whatever the last one did."""
    poll("both gates in BGP", net.ready, 60)
    poll("the way over gate1", lambda: net.edge.routes(4) == {OLD: GATE1}, 10)


def answered(node: LispNode, target: str, count: int = 5) -> Pings:
    pings = node.ping(target, count, 0.1)
    assert pings.received == count, pings.text
    return pings


def gap(pings: Pings) -> float:
    """The longest time without an answer, in seconds."""
    longest = missing = 0
    for number in range(1, pings.sent + 1):
        missing = 0 if number in pings.times else missing + 1
        longest = max(longest, missing)
    return longest * INTERVAL


class Pinging:
    """Pings in the background, every INTERVAL, until they are answered again."""

    def __init__(self, node: LispNode, target: str) -> None:
        self._file = node.dir / "ping.out"
        with self._file.open("wb") as out:
            argv = ("ping", "-n", "-i", str(INTERVAL), target)
            self._process = node.spawn(*argv, stdout=out)
        self._answers(10)

    def _answers(self, more: int) -> None:
        wanted = self._file.read_text().count("time=") + more
        poll("answers", lambda: self._file.read_text().count("time=") >= wanted, 5)

    def result(self) -> Pings:
        self._answers(20)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        return Pings.read(self._file.read_text())


# --- pings and downloads -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "target"),
    [
        ("www", H1),
        ("www", H1_V6),
        ("www", H2),
        ("www", H2_V6),
        ("h1", WWW),
        ("h1", WWW6),
        ("h2", WWW),
        ("h2", WWW6),
    ],
)
def test_lisp_and_the_rest_reach_each_other(net: Any, who: str, target: str) -> None:
    answered(net.nameToNode[who], target)


# Without the name of the host, which nobody knows there.
HTTP_SERVER = """
import functools, http.server, socket, socketserver, sys
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    server_bind = socketserver.TCPServer.server_bind
files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
Server((sys.argv[1], 8000), files).serve_forever()
"""


@contextlib.contextmanager
def serving(node: LispNode, address: str, data: bytes) -> Iterator[None]:
    """An HTTP server on a node that has `data`, as /file."""
    folder = node.dir / "served"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(data)
    command = (sys.executable, "-c", HTTP_SERVER, address, str(folder))
    server = node.spawn(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with in_namespace(node.pid), contextlib.suppress(ConnectionError):
            socket.create_connection((address, 8000), 2).close()
            return True
        return False

    try:
        poll("the HTTP server to answer", answers, 10)
        yield
    finally:
        server.terminate()
        server.wait(5)


@pytest.mark.parametrize(
    ("server", "address", "client"),
    [("h1", H1, "www"), ("www", WWW, "h1"), ("h2", f"[{H2_V6}]", "www")],
    ids=["from a LISP site", "to a LISP site, natively back", "IPv6 by PITR and PETR"],
)
def test_downloads(net: Any, server: str, address: str, client: str) -> None:
    node, reader = net.nameToNode[server], net.nameToNode[client]
    data, target = os.urandom(SIZE), reader.dir / "downloaded"
    with serving(node, address.strip("[]"), data):
        url = f"http://{address}:8000/file"
        reader.do("curl", "-sgf", "--max-time", "30", "-o", str(target), url, timeout=60)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(data).digest()


# --- the ways that packets take ------------------------------------------------------------------


def test_in_by_a_proxy_itr_and_back_natively(net: Any) -> None:
    answered(net.www, H1, 1)
    with Capture(net.edge, "gate1-1") as gate, Capture(net.core, "left-1") as left:
        answered(net.www, H1, 3)
    # To the gate as it is, from the gate with its RLOC outside, and nothing back that way.
    fields = ("ip.src", "ip.dst")
    plain = gate.rows("icmp.type == 8 && !lisp-data", *fields)
    assert set(plain) == {(WWW, H1)}
    outer = gate.rows("lisp-data", *fields)
    assert set(outer) == {(f"{GATE1},{WWW}", f"198.51.100.1,{H1}")}
    assert not gate.count(f"ip.src == {H1}")
    assert set(left.rows("icmp.type == 0", *fields)) == {(H1, WWW)}
    assert not left.count("lisp-data && icmp.type == 0")


def test_natively_both_ways_where_the_provider_routes_the_eid_prefix(net: Any) -> None:
    """A site that announces its EIDs itself as well (RFC 6832 section 3): no LISP in between."""
    ways = ((net.edge, "198.18.0.1"), (net.core, "198.51.100.1"))
    try:
        for router, via in ways:
            router.do("ip", "route", "add", "10.1.0.0/24", "via", via)
        answered(net.www, H1, 1)
        with Capture(net.core, "left-1") as left:
            answered(net.www, H1, 3)
    finally:
        for router, _ in ways:
            router.do("ip", "route", "del", "10.1.0.0/24", check=False)
    assert set(left.rows("icmp.type == 8", "ip.src", "ip.dst")) == {(WWW, H1)}
    assert left.count("icmp && !lisp-data") == 6
    assert not left.count("lisp-data && icmp")


@pytest.mark.parametrize(
    ("target", "inner"), [(WWW, "icmp.type == 8"), (WWW6, "icmpv6.type == 128")]
)
def test_out_by_a_proxy_etr_where_nothing_may_leave_natively(
    net: Any, target: str, inner: str
) -> None:
    answered(net.h2, target, 1)
    with Capture(net.core, "right-1") as right, Capture(net.edge, "www") as www:
        answered(net.h2, target, 3)
    outer = {row[0].split(",")[0] for row in right.rows(f"lisp-data && {inner}", "ip.dst")}
    assert outer == {GATE2}
    assert not right.count(f"{inner} && !lisp-data")
    assert www.count(f"{inner} && !lisp-data") == 3


def test_no_eid_prefix_is_anywhere_else(net: Any) -> None:
    assert set(net.edge.bgp(4)) == {OLD}
    assert set(net.edge.bgp(6)) == {NEW}
    for version in ("-4", "-6"):
        routes = net.core.do("ip", version, "route")
        assert "10." not in routes.replace("198.51.100.0", "").replace("203.0.113.0", "")
        assert "2001:db8:e" not in routes


@pytest.mark.parametrize(
    ("target", "gate"), [("10.3.0.1", GATE1), ("2001:db8:ef::1", "2001:db8:18:1::1")]
)
def test_what_is_no_eid_inside_of_the_aggregate_is_told(net: Any, target: str, gate: str) -> None:
    pings = net.www.ping(target, 2, 0.2)
    assert pings.received == 0
    assert f"From {gate}" in pings.text
    assert "nreachable" in pings.text
    assert "not-an-eid" in {
        item["reason"] for item in net.ctl1.rest("GET", "/lisp/v1/refusals").body["items"]
    }


# --- failures ------------------------------------------------------------------------------------


def moved(net: Any, fail: Callable[[], None], mend: Callable[[], None]) -> float:
    """Seconds without an answer while gate1 fails and gate2 takes over."""
    answered(net.www, H1)
    pinging = Pinging(net.www, H1)
    fail()
    try:
        poll("the withdrawal", lambda: net.edge.bgp(4) == {OLD: {"198.18.253.1": GATE2}}, 5)
        poll("IPv6 too", lambda: set(net.edge.bgp(6)[NEW]) == {"198.18.253.1"}, 5)
        poll("the way over gate2", lambda: net.edge.routes(4) == {OLD: GATE2}, 5)
        return gap(pinging.result())
    finally:
        mend()


def test_the_controller_of_the_proxy_itr_dies(net: Any) -> None:
    def restart() -> None:
        net.ctl1.start(net.configuration("ctl1"))

    assert moved(net, net.ctl1.kill, restart) < MOVED_WITHIN


def test_the_proxy_itr_loses_its_uplink(net: Any) -> None:
    lost = moved(net, lambda: net.cut("gate1"), lambda: net.mend("gate1"))
    assert lost < MOVED_WITHIN


def test_the_native_port_of_the_proxy_itr_goes_down(net: Any) -> None:
    gate = net.xtrs["gate1"]

    def mend() -> None:
        gate.do("ip", "link", "set", "native0", "up")
        for prefix, version in ((OLD, "-4"), (NEW, "-6")):
            gate.do("ip", version, "route", "replace", prefix, "dev", "native0")

    lost = moved(net, lambda: gate.do("ip", "link", "set", "native0", "down"), mend)
    assert lost < MOVED_WITHIN
    events = net.ctl1.rest("GET", "/lisp/v1/events?limit=1000").body["items"]
    down = [e for e in events if e["kind"] == "proxy-itr.down"]
    assert down[-1]["data"]["reason"] == "native-port-down"


def test_a_proxy_etr_fails_and_the_other_takes_over(net: Any) -> None:
    answered(net.h2, WWW)
    pinging = Pinging(net.h2, WWW)
    net.cut("gate2")
    try:
        assert gap(pinging.result()) < MOVED_WITHIN
        with Capture(net.core, "right-1") as right:
            answered(net.h2, WWW, 3)
        outer = {
            row[0].split(",")[0] for row in right.rows("lisp-data && icmp.type == 8", "ip.dst")
        }
        assert outer == {GATE1}
    finally:
        net.mend("gate2")


def test_a_gate_gets_another_next_hop_while_it_runs(net: Any) -> None:
    file = net.ctl.dir / "lisp.yaml"
    before, lispctl = file.read_text(), str(Path(sys.executable).with_name("lispctl"))
    changed = yaml.safe_load(before)
    (gate,) = (xtr for xtr in changed["xtrs"] if xtr["name"] == "gate2")
    gate["native_ports"][0]["proxy_itr"]["next_hops"] = ["198.18.2.7"]
    try:
        file.write_text(yaml.safe_dump(changed))
        net.ctl.do(lispctl, "reload", "--yes")
        poll("the new next hop", lambda: net.edge.bgp(4)[OLD]["198.18.253.1"] == "198.18.2.7", 5)
        assert net.edge.bgp(6)[NEW]["198.18.253.1"] == "2001:db8:18:2::1"
    finally:
        file.write_text(before)
        net.ctl.do(lispctl, "reload", "--yes")
    poll("the old next hop", lambda: net.edge.bgp(4)[OLD]["198.18.253.1"] == GATE2, 5)


# --- what it shows -------------------------------------------------------------------------------


def test_lispctl_shows_petrs_proxy_itrs_and_native_ports(net: Any) -> None:
    lispctl = str(Path(sys.executable).with_name("lispctl"))
    text = net.ctl.do(lispctl, "show", "petr")
    assert f"{GATE2}  1/100    always" in text
    assert OLD in text
    document = net.ctl.rest("GET", "/lisp/v1/interworking").body
    states = {user["state"] for petr in document["petrs"] for user in petr["users"]}
    assert states == {"up"}
    answered(net.h2, WWW, 3)

    def counted() -> bool:
        ports = net.ctl.rest("GET", "/lisp/v1/interworking").body["native_ports"]
        out = {port["xtr"]: port["petr_sent"]["packets"] for port in ports}
        return bool(out["gate2"] >= 3)

    poll("the counters", counted, 12)
