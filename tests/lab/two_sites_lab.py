"""The two-site network of mininet/two_sites.py as the lab tests use it."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capture import Capture
from labrun import in_namespace, poll

if TYPE_CHECKING:  # they need Mininet, and without it these tests skip
    from labnodes import EidHost, LispNode, Pings
    from lispnet import LispNet
    from xtrnode import XtrNode

H1, H2 = "10.1.0.1", "10.2.0.1"
H1_V6, H2_V6 = "2001:db8:e1::1", "2001:db8:e2::1"
LEFT, RIGHT = "198.51.100.1", "203.0.113.1"
BLUE, RED = 42, 43
MAP_CACHE_TABLE = 3


class Lab:
    """The network, its controller, and questions that tests ask. mtu: of the underlay."""

    def __init__(self, mtu: int | None = None) -> None:
        import two_sites

        self.net: LispNet = two_sites.build() if mtu is None else two_sites.build(mtu=mtu)
        self.config: dict[str, Any] = {}
        self.very_first: Pings | None = None

    def __enter__(self) -> Lab:
        try:
            self.net.start()
            self.config = self.net.controller_config()
            self.ensure_running()
            # The one ping that finds nothing known: no mapping, no local EID, no next hop.
            self.very_first = self.h1.ping(H2)
        except BaseException:
            self.net.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.net.stop()

    def node(self, name: str) -> Any:
        return self.net.nameToNode[name]

    @property
    def h1(self) -> EidHost:
        return self.node("h1")

    @property
    def h2(self) -> EidHost:
        return self.node("h2")

    @property
    def left(self) -> XtrNode:
        return self.net.xtrs["left"]

    @property
    def right(self) -> XtrNode:
        return self.net.xtrs["right"]

    # --- controller ------------------------------------------------------------------------

    def ensure_running(self) -> None:
        ctl = self.net.ctl
        if ctl.process is None or ctl.process.poll() is not None:
            ctl.start(self.config)
        self.wait_connected()

    def wait_connected(self) -> None:
        def ready() -> bool:
            status = self.get("/status")
            return status["xtrs_connected"] == len(self.net.xtrs) and not status["problems"]

        poll("both xTRs to connect, without problems", ready, 15)

    def get(self, path: str) -> Any:
        reply = self.net.ctl.rest("GET", f"/lisp/v1{path}")
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.body}"
        return reply.body

    def flush(self, *xtrs: str) -> None:
        """Empty map-caches, in the controller and so in the switches."""
        for name in xtrs or tuple(self.net.xtrs):
            reply = self.net.ctl.rest("DELETE", f"/lisp/v1/xtrs/{name}/map-cache")
            assert reply.status in (200, 204), f"{reply.status} {reply.body}"
        for name in xtrs or tuple(self.net.xtrs):
            poll(f"an empty map-cache in {name}", lambda name=name: not self.cached_flows(name), 5)

    def map_cache(self, xtr: str) -> list[dict[str, Any]]:
        return list(self.get(f"/xtrs/{xtr}/map-cache?limit=1000")["items"])

    def entry(self, xtr: str, eid: str) -> dict[str, Any]:
        """The map-cache entry with this key; waits for it."""

        def find() -> Any:
            return next((e for e in self.map_cache(xtr) if e["eid"] == eid and e["complete"]), None)

        return poll(f"{eid} in the map-cache of {xtr}", find, 5)

    def counters(self) -> dict[str, float]:
        """Every counter of the controller: "name{label=value,...}" -> value."""
        return dict(read_counters(self.net.ctl))

    def counted(self, *parts: str) -> float:
        """The sum of the counters whose name and labels contain all of `parts`."""
        return sum(v for k, v in self.counters().items() if all(part in k for part in parts))

    def refusals(self) -> list[dict[str, Any]]:
        return list(self.get("/refusals?limit=1000")["items"])

    # --- switches --------------------------------------------------------------------------

    def cached_flows(self, xtr: str) -> list[Flow]:
        """The flows of the map-cache in a switch, pipeline rules left out."""
        flows = (Flow.read(text) for text in self.net.xtrs[xtr].flows())
        return [flow for flow in flows if flow.table == MAP_CACHE_TABLE and flow.kind in (3, 4)]

    def openflow(self, xtr: str) -> OpenFlowCapture:
        return OpenFlowCapture(self.net.xtrs[xtr])

    def underlay(self, xtr: str = "left", bpf: str = "") -> Capture:
        return Capture(self.net.xtrs[xtr], "up1", bpf)


@dataclass(frozen=True)
class Flow:
    """One line of `ovs-ofctl dump-flows`. kind: the class in our cookie, 0 for a foreign one."""

    table: int
    cookie: int
    duration: float
    packets: int
    text: str

    @classmethod
    def read(cls, text: str) -> Flow:
        def number(name: str, pattern: str = r"\d+") -> str:
            found = re.search(rf"\b{name}=({pattern})", text)
            return found[1] if found else "0"

        return cls(
            int(number("table")),
            int(number("cookie", "0x[0-9a-f]+"), 16),
            float(number("duration", r"[\d.]+")),
            int(number("n_packets")),
            text,
        )

    @property
    def kind(self) -> int:
        return self.cookie >> 40 & 0xFF if self.cookie >> 48 == 0x4C53 else 0

    @property
    def identity(self) -> str:
        """Table, priority, match and actions: what is the same flow after a restart."""
        rule = re.sub(r".*?(priority=)", r"\1", self.text, count=1)
        return f"table={self.table} cookie={self.cookie:#x} {rule}"


class OpenFlowCapture(Capture):
    """OpenFlow messages between a switch and the controller, on the wire."""

    def __init__(self, node: LispNode) -> None:
        super().__init__(node, "mgmt0", "tcp port 6653")

    def packet_ins(self, target: str) -> int:
        """Packet-ins that carry a packet to this EID."""
        field = "ipv6.dst" if ":" in target else "ip.dst"
        rows = self.rows(f"openflow_v4.type == 10 && {field} == {target}", field)
        return sum(row[0].split(",").count(target) for row in rows)


def read_counters(ctl: Any) -> list[tuple[str, float]]:
    """The controller's counters, as (name{label="value"}, value)."""
    reply = ctl.rest("GET", "/lisp/v1/counters")
    assert reply.status == 200, f"GET /counters: {reply.status} {reply.body}"
    rows = []
    for item in reply.body["items"]:
        labels = ",".join(f'{key}="{value}"' for key, value in sorted(item["labels"].items()))
        rows.append((f"{item['name']}{{{labels}}}", float(item["value"])))
    return rows


def flood(host: EidHost, target: str, packets: int) -> float:
    """Send UDP packets as fast as one core can; returns the seconds it took."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with in_namespace(host.pid), socket.socket(family, socket.SOCK_DGRAM) as sock:
        started = time.monotonic()
        for _ in range(packets):
            sock.sendto(b"flood", (target, 9))
    return time.monotonic() - started


def datagram(node: LispNode, target: str, port: int, *payloads: bytes) -> None:
    """Send UDP datagrams from a node."""
    with in_namespace(node.pid), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for payload in payloads:
            sock.sendto(payload, (target, port))


def show(value: Any) -> str:
    """JSON for an assertion's message."""
    return json.dumps(value, indent=1, sort_keys=True)
