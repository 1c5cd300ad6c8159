"""The network of mininet/multihomed.py as the lab tests use it: policies, taps, traffic."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from labrun import LabError, in_namespace, poll
from two_sites_lab import Flow, read_counters

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.wire import Ecm, MapReply, MapRequest, Message, RequestRecord, decode

if TYPE_CHECKING:  # they need Mininet, and without it these tests skip
    from labnodes import EidHost, LispNode
    from lispnet import LispNet

WEB, WEB_V6 = "10.1.0.1", "2001:db8:e1::1"
B1, B2, C1 = "10.2.0.1", "10.2.0.2", "10.3.0.1"
B1_V6 = "2001:db8:e2::1"
UP1, UP2 = "198.18.1.1", "198.18.2.1"
MAP_SERVER = "192.0.2.53"
IID = 42
SITE = "athens"
MAP_CACHE_TABLE = 3

SINK_PORT = 9000
"""Where `web` listens for the traffic of tests; nothing answers."""

FIRST_PORT = {socket.AF_INET: 20_000, socket.AF_INET6: 30_000}
"""Source ports of flows that are counted: always the same, and so is what their hash gives."""


def weights(first: int, second: int) -> dict[str, Any]:
    """An action that spreads traffic over both uplinks."""
    split = [(UP1, first), (UP2, second)]
    return {"locators": [{"rloc": rloc, "priority": 1, "weight": w} for rloc, w in split]}


def rule(name: str, action: dict[str, Any], **match: Any) -> dict[str, Any]:
    """One rule of a policy."""
    return {"name": name, "match": match, "action": action}


class Lab:
    """The network, its controller, and what tests do with them."""

    def __init__(self) -> None:
        import multihomed

        self.net: LispNet = multihomed.build()
        self.config: dict[str, Any] = {}
        self._settings = multihomed.controller_config
        self._ready = multihomed.ready

    def __enter__(self) -> Lab:
        try:
            self.net.start()
            self.config = self._settings(self.net)
            self.ensure_running()
        except BaseException:
            self.net.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.net.stop()

    def host(self, name: str) -> EidHost:
        node: EidHost = self.net.nameToNode[name]
        return node

    def ensure_running(self) -> None:
        ctl = self.net.ctl
        if ctl.process is None or ctl.process.poll() is not None:
            ctl.start(self.config)
        poll("every xTR to connect, without problems", lambda: self._ready(self.net), 15)

    # --- policy ----------------------------------------------------------------------------

    def apply(self, *rules: dict[str, Any], why: str = "test") -> float:
        """Put rules in force for athens with an ETag, as REST wants it; returns when, seconds
        since the epoch, the change was sent. No rules: no policy."""
        path = f"/lisp/v1/policies/{SITE}"
        known = self.net.ctl.rest("GET", path)
        if not rules and known.status == 404:
            return time.time()
        tag = known.headers.get("etag")
        headers = {"If-Match": tag} if known.status == 200 and tag else {"If-None-Match": "*"}
        query = f"?who=lab&why={why}"
        began = time.time()
        if rules:
            body = {"site": SITE, "rules": list(rules)}
            reply = self.net.ctl.rest("PUT", path + query, body, headers)
        else:
            reply = self.net.ctl.rest("DELETE", path + query, headers=headers)
        assert reply.status in (200, 201, 204), f"{reply.status} {reply.body}"
        return began

    def lispctl(self, *words: str) -> str:
        """Run lispctl beside the controller."""
        program = self.net.ctl.ryu_manager().replace("ryu-manager", "lispctl")
        return self.net.ctl.do(program, *words)

    def get(self, path: str) -> Any:
        reply = self.net.ctl.rest("GET", f"/lisp/v1{path}")
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.body}"
        return reply.body

    def map_cache(self, xtr: str) -> list[dict[str, Any]]:
        return list(self.get(f"/xtrs/{xtr}/map-cache?limit=1000")["items"])

    def flush(self) -> None:
        """Empty every map-cache, in the controller and so in the switches."""
        for name in self.net.xtrs:
            reply = self.net.ctl.rest("DELETE", f"/lisp/v1/xtrs/{name}/map-cache")
            assert reply.status in (200, 204), f"{reply.status} {reply.body}"
        for name in self.net.xtrs:
            poll(f"an empty map-cache in {name}", lambda name=name: not self.cached(name), 5)

    def cached(self, xtr: str) -> list[Flow]:
        """The map-cache flows in a switch."""
        flows = (Flow.read(text) for text in self.net.xtrs[xtr].flows())
        return [flow for flow in flows if flow.table == MAP_CACHE_TABLE and flow.kind in (3, 4)]

    def own_flows(self, xtr: str) -> dict[str, Flow]:
        """Every flow of ours in a switch."""
        flows = (Flow.read(text) for text in self.net.xtrs[xtr].flows())
        return {flow.identity: flow for flow in flows if flow.kind}

    def counted(self, *parts: str) -> float:
        """The sum of the counters whose name and labels contain all of `parts`."""
        counters = read_counters(self.net.ctl)
        return sum(v for k, v in counters if all(part in k for part in parts))

    # --- traffic ---------------------------------------------------------------------------

    def tap(self) -> Tap:
        """Record what enters athens, by uplink."""
        return Tap(self.net.core, {UP1: "athens-1", UP2: "athens-2"})

    @contextlib.contextmanager
    def sink(self) -> Iterator[socket.socket]:
        """A UDP socket on `web`, IPv4 and IPv6, that keeps what arrives."""
        with in_namespace(self.host("web").pid):
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            sock.bind(("::", SINK_PORT))
            sock.setblocking(False)
            yield sock

    def warm(self, *names: str) -> None:
        """Resolve what hosts need to reach `web`: ARP, mappings, next hops."""
        for name in names:
            for target in (WEB, WEB_V6):
                poll(
                    f"{name} to reach {target}",
                    lambda name=name, target=target: self.host(name).ping(target, 1).received,
                    10,
                )

    def wait_for_way(self, name: str, source: str, rloc: str, target: str = WEB) -> None:
        """Until a host's pings enter athens by one RLOC: Open vSwitch takes a moment to follow."""

        def way() -> bool:
            with self.tap() as tap:
                answered = self.host(name).ping(target, 1).received
            return answered == 1 and tap.by_uplink(source) == {rloc: 1}

        poll(f"{name} to enter by {rloc}", way, 5)


SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SOL_PACKET, PACKET_STATISTICS = 263, 6
ETH_P_ALL = 3
BUFFER = 64 << 20
_TIMESPEC = struct.Struct("ll")
_HEAD = 14 + 20 + 8 + 8
"""Ethernet, outer IPv4, UDP, LISP-GPE."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One decapsulated packet on its way into athens.

    rloc: where the outer header sends it. at: when the kernel saw it, seconds since the epoch.
    flow: protocol, source EID, source port, destination port. size: octets of the inner packet.
    """

    rloc: str
    at: float
    source: str
    target: str
    protocol: int
    flow: tuple[int, str, int, int]
    size: int
    payload: bytes


class Tap:
    """Packets that the core sends to RLOCs, from the `with` block on.

    by_rloc: the core's interface toward each RLOC.
    """

    def __init__(self, core: LispNode, by_rloc: dict[str, str]) -> None:
        self._core = core
        self._by_rloc = by_rloc
        self._sockets: dict[str, socket.socket] = {}
        self.packets: list[Seen] = []

    def __enter__(self) -> Tap:
        for rloc, interface in self._by_rloc.items():
            with in_namespace(self._core.pid):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                # Bound last: nothing comes in before the buffer is there.
                sock.bind((interface, ETH_P_ALL))
            sock.setblocking(False)
            self._sockets[rloc] = sock
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.read()
        finally:
            for sock in self._sockets.values():
                sock.close()
            self._sockets.clear()

    def read(self) -> list[Seen]:
        """Everything since the tap was opened. Raises when the kernel had to leave some out."""
        for rloc, sock in self._sockets.items():
            interface = self._by_rloc[rloc]
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, extra, _, _ = sock.recvmsg(2048, 64)
                    self._take(rloc, frame, extra)
            lost = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            assert not lost, f"the tap on {interface} lost {lost} packets itself"
        return self.packets

    def _take(self, rloc: str, frame: bytes, extra: list[tuple[int, int, bytes]]) -> None:
        target = ip_address(rloc).packed
        if len(frame) < _HEAD + 20 or frame[12:14] != b"\x08\0" or frame[30:34] != target:
            return
        if frame[23] != socket.IPPROTO_UDP or frame[36:38] != struct.pack("!H", 4341):
            return
        seconds, nanoseconds = _TIMESPEC.unpack(extra[0][2])
        inner = frame[_HEAD:]
        if inner[0] >> 4 == 4:
            protocol, start = inner[9], (inner[0] & 15) * 4
            source, target_eid = inner[12:16], inner[16:20]
        else:
            protocol, start = inner[6], 40
            source, target_eid = inner[8:24], inner[24:40]
        text = str(ip_address(source))
        ports = (0, 0)
        if protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            ports = struct.unpack("!HH", inner[start : start + 4])
        self.packets.append(
            Seen(
                rloc,
                seconds + nanoseconds / 1e9,
                text,
                str(ip_address(target_eid)),
                protocol,
                (protocol, text, *ports),
                len(inner),
                inner[start + 8 :],
            )
        )

    def by_uplink(self, source: str) -> dict[str, int]:
        """How many packets of a source EID came by which RLOC."""
        return dict(Counter(seen.rloc for seen in self.read() if seen.source == source))

    def flows(self, protocol: int, source: str) -> dict[tuple[int, str, int, int], set[str]]:
        """The RLOCs by which each transport flow of a source EID came."""
        found: dict[tuple[int, str, int, int], set[str]] = {}
        for seen in self.read():
            if seen.protocol == protocol and seen.source == source:
                found.setdefault(seen.flow, set()).add(seen.rloc)
        return found


def udp_flows(host: EidHost, target: str, count: int, pace: float = 0.001) -> None:
    """One packet of each of `count` UDP flows between the same two hosts. pace: seconds."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with in_namespace(host.pid):
        for port in range(FIRST_PORT[family], FIRST_PORT[family] + count):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind(("", port))
                sock.sendto(b"flow", (target, SINK_PORT))
            time.sleep(pace)


def tcp_flows(client: EidHost, server: EidHost, target: str, count: int) -> None:
    """`count` TCP connections between the same two hosts, each closed in order."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with in_namespace(server.pid):
        listener = socket.create_server((target, SINK_PORT), family=family, backlog=128)
    with listener, in_namespace(client.pid):
        listener.settimeout(10)
        for port in range(FIRST_PORT[family], FIRST_PORT[family] + count):
            with socket.create_connection((target, SINK_PORT), 10, ("", port)) as connection:
                accepted, _ = listener.accept()
                with accepted:
                    connection.sendall(b"flow")
                    assert accepted.recv(16) == b"flow"


class Stream:
    """Numbered UDP packets from hosts to `web`, as long as the `with` block runs.

    Each flow of each host sends one packet every `interval` seconds, evenly spaced. After the
    block, `sent` and `lost` say what became of them.
    """

    def __init__(
        self,
        lab: Lab,
        *names: str,
        interval: float,
        flows: int = 1,
        size: int = 64,
        target: str = WEB,
    ) -> None:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self._lab = lab
        self._target = (target, SINK_PORT)
        self._sockets = []
        for name in names:
            with in_namespace(lab.host(name).pid):
                self._sockets += [socket.socket(family, socket.SOCK_DGRAM) for _ in range(flows)]
        self._gap = interval / len(self._sockets)
        self._padding = b"\0" * max(0, size - 8)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._error: OSError | None = None
        self._exit = contextlib.ExitStack()
        self.sent = 0
        self.arrived: set[int] = set()

    def __enter__(self) -> Stream:
        self._sink = self._exit.enter_context(self._lab.sink())
        for sock in self._sockets:
            self._exit.enter_context(sock)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end.set()
            self._thread.join(10)
            # What is under way has a second to arrive.
            with contextlib.suppress(Exception):
                poll("the last packets", self._all_there, 1, 0.02)
        finally:
            self._exit.close()

    def _send(self) -> None:
        due = time.monotonic()
        for sock in itertools.cycle(self._sockets):
            if self._end.is_set():
                return
            try:
                sock.sendto(struct.pack("!Q", self.sent) + self._padding, self._target)
            except OSError as error:
                self._error = error
                return
            self.sent += 1
            due += self._gap
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)

    def _all_there(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.arrived.add(struct.unpack("!Q", self._sink.recv(2048)[:8])[0])
        return len(self.arrived) == self.sent

    @property
    def lost(self) -> list[int]:
        """The numbers that were sent and did not arrive."""
        assert self._error is None, self._error
        return sorted(set(range(self.sent)) - self.arrived)


class ForeignItr:
    """A LISP router of somebody else in the underlay: asks, and hears what it is told."""

    def __init__(self, core: LispNode, rloc: str) -> None:
        self.rloc = rloc
        core.do("ip", "addr", "replace", f"{rloc}/32", "dev", "lo")
        with in_namespace(core.pid):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((rloc, 4342))
        self._nonce = 0x1000

    def __enter__(self) -> ForeignItr:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, eid: str) -> MapReply:
        """Send an encapsulated Map-Request for a host EID and wait for the Map-Reply."""
        self._nonce += 1
        wanted = EidPrefix.host(IID, ip_address(eid))
        request = MapRequest(self._nonce, None, (ip_address(self.rloc),), (RequestRecord(wanted),))
        inner = Endpoint(ip_address(eid), 4342)
        ecm = Ecm(Endpoint(ip_address(self.rloc), 4342), inner, request.serialize())
        self._socket.sendto(ecm.serialize(), (MAP_SERVER, 4342))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for message in self.heard(0.2):
                if isinstance(message, MapReply) and message.nonce == self._nonce:
                    return message
        raise LabError(f"no Map-Reply to {self.rloc}")

    def heard(self, seconds: float) -> list[Message]:
        """What comes within some time; returns with the first."""
        self._socket.settimeout(seconds)
        try:
            return [decode(self._socket.recv(2048))]
        except TimeoutError:
            return []


def shares(packets: Iterable[Seen]) -> dict[str, float]:
    """The part of the octets that came by each RLOC."""
    octets: Counter[str] = Counter()
    for seen in packets:
        octets[seen.rloc] += seen.size
    total = octets.total()
    return {rloc: octets[rloc] / total for rloc in (UP1, UP2)} if total else {}


def show(value: Any) -> str:
    """JSON for an assertion's message."""
    return json.dumps(value, indent=1, sort_keys=True, default=str)
