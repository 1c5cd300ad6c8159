"""The network of mininet/multihomed.py with a primary and a backup uplink, and stopwatches."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labrun import in_namespace, poll

if TYPE_CHECKING:  # they need Mininet, and without it these tests skip
    from labnodes import EidHost, LispNode
    from lispnet import LispNet

WEB, B1 = "10.1.0.1", "10.2.0.1"
PRIMARY, BACKUP = "198.18.1.1", "198.18.2.1"
ETH_P_ALL = 3
DATA_PORT = 4341
RTMGRP_LINK = 1


@dataclass
class Tap:
    """When LISP data packets pass an interface of the core, per outer source and destination."""

    node: LispNode
    interface: str
    seen: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Tap:
        with in_namespace(self.node.pid):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._sock.bind((self.interface, 0))
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._sock.close()

    def _watch(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._sock], [], [], 0.05)[0]:
                continue
            try:
                frame = self._sock.recv(200)
            except OSError:  # the interface went down
                continue
            now = time.monotonic()
            if frame[12:14] == b"\x08\0" and frame[23] == 17:
                (port,) = struct.unpack("!H", frame[36:38])
                if port == DATA_PORT:
                    way = (socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]))
                    self.seen.setdefault(way, []).append(now)

    def since(self, when: float, source: str = "", destination: str = "") -> list[float]:
        """Times of packets after `when` with this outer source or destination."""
        return sorted(
            at
            for (src, dst), times in self.seen.items()
            if source in ("", src) and destination in ("", dst)
            for at in times
            if at > when
        )


@contextlib.contextmanager
def link_events(node: LispNode) -> Iterator[list[float]]:
    """When the kernel told of a change of a link in a node.

    It tells of carriers at most once a second, for all namespaces together, so that a cut may be
    news up to a second old: nothing that Open vSwitch or a controller could hasten.
    """
    times: list[float] = []
    stop = threading.Event()
    with in_namespace(node.pid):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        sock.bind((0, RTMGRP_LINK))

    def listen() -> None:
        while not stop.is_set():
            if select.select([sock], [], [], 0.05)[0]:
                sock.recv(65536)
                times.append(time.monotonic())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join(5)
        sock.close()


@contextlib.contextmanager
def stream(host: EidHost, target: str, interval: float = 0.001) -> Iterator[None]:
    """Send a small UDP packet every so many seconds."""
    stop = threading.Event()
    with in_namespace(host.pid):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send() -> None:
        while not stop.wait(interval):
            with contextlib.suppress(OSError):
                sock.sendto(b"stream", (target, 9))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        sock.close()


class Lab:
    """athens has a primary and a backup uplink; berlin sends to it and is sent to."""

    def __init__(self) -> None:
        import multihomed

        self.net: LispNet = multihomed.build()
        self._settings = multihomed.controller_config
        self._ready = multihomed.ready

    def __enter__(self) -> Lab:
        try:
            self.net.start()
            config = self._settings(self.net)
            for rloc, priority in zip(config["xtrs"][0]["rlocs"], (1, 2), strict=True):
                rloc["priority"] = priority
            # Or every further cut in a row would be a longer wait.
            config["reachability"] = {"recovery_limit": 1.0}
            self.net.ctl.start(config)
            poll("every switch to connect", lambda: self._ready(self.net), 20)
            poll("a ping through the overlay", lambda: self.b1.ping(WEB, 2, 0.1).received == 2, 20)
            poll("traffic on the primary uplink", self.normal, 20)
        except BaseException:
            self.net.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.net.stop()

    @property
    def b1(self) -> EidHost:
        node: EidHost = self.net.nameToNode["b1"]
        return node

    @property
    def web(self) -> EidHost:
        node: EidHost = self.net.nameToNode["web"]
        return node

    def get(self, path: str) -> Any:
        reply = self.net.ctl.rest("GET", f"/lisp/v1{path}")
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.body}"
        return reply.body

    def states(self, xtr: str = "berlin") -> dict[str, dict[str, Any]]:
        """The RLOCs of the map-cache of an xTR with their states."""
        items = self.get(f"/xtrs/{xtr}/map-cache")["items"]
        return {entry["rloc"]: entry for item in items for entry in item["locators"]}

    def normal(self) -> bool:
        """Whether every RLOC is up, as berlin and as athens itself see it."""
        own = {item["state"] for item in self.get("/xtrs/athens")["rlocs"]}
        seen = self.states()
        probed = seen.keys() == {PRIMARY, BACKUP} and all(
            x["state"] == "up" and x["rtt_seconds"] for x in seen.values()
        )
        return own == {"up"} and probed

    def cut(self) -> tuple[float, float, float]:
        """Cut the primary uplink under load; seconds until the first packet on the backup, to it
        and from it, and until the kernel told of the cut; the network is normal again afterwards.
        """
        with (
            Tap(self.net.core, "athens-2") as tap,
            link_events(self.net.xtrs["athens"]) as told,
            stream(self.b1, WEB),
            stream(self.web, B1),
        ):
            time.sleep(1.2)
            began = time.monotonic()
            self.net.cut("athens", 1)
            try:
                to = poll("traffic to the backup", lambda: tap.since(began, "", BACKUP), 5, 0.01)
                out = poll("traffic from the backup", lambda: tap.since(began, BACKUP), 5, 0.01)
            finally:
                self.net.mend("athens", 1)
        poll("everything to be normal again", self.normal, 90)
        return to[0] - began, out[0] - began, min(t for t in told if t > began) - began
