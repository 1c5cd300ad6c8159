"""A network with one xTR of ours and a place for foreign routers, around one Map-Server."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foreign_wire as wire
from labrun import LabError, in_namespace, poll

if TYPE_CHECKING:  # they need Mininet, and without it these tests skip
    from labnodes import EidHost, LispNode
    from lispnet import LispNet

HERE = Path(__file__).resolve().parent
MAP_SERVER, MAP_SERVER_V6 = "192.0.2.53", "2001:db8:53::53"
OUR_RLOC, OUR_HOST = "198.51.100.1", "10.1.0.1"
RLOCS = [f"203.0.113.{last}" for last in (1, 2, 3, 4, 11, 12)]
"""Of four routers that are processes of their own, and of an ETR and an ITR that tests play."""
ETR, ITR = RLOCS[4:]
RLOC_V6 = "2001:db8:b::1"
CLOSING = 2.0

ALL = "[hmac-sha-1-96, hmac-sha-256-128, hmac-sha256-128+hkdf-sha256]"
CONFIG = f"""
sites:
- name: ours
  authentication_keys: [{{key: our-secret}}]
  proxy_reply: true
  eid_prefixes: [{{prefix: 10.1.0.0/24}}]
- name: foreign
  authentication_keys: [{{key: foreign-secret}}]
  eid_prefixes: [{{prefix: 10.9.0.0/16}}, {{prefix: 10.19.0.0/16}}]
- name: any
  authentication_keys: [{{key_id: 1, key: first}}, {{key_id: 2, key: second}}]
  allowed_algorithms: {ALL}
  eid_prefixes:
  - {{prefix: 10.12.0.0/16, accept_more_specifics: true}}
  - {{prefix: "2001:db8:e12::/48", accept_more_specifics: true}}
  - {{prefix: 10.12.0.0/16, iid: 7, accept_more_specifics: true}}
- name: full
  authentication_keys: [{{key: first}}]
  allowed_algorithms: {ALL}
  mac_length: full
  eid_prefixes: [{{prefix: 10.13.0.0/16, accept_more_specifics: true}}]
- name: random-nonces
  authentication_keys: [{{key: oor, algorithm: hmac-sha-1-96}}]
  allowed_algorithms: [hmac-sha-1-96]
  nonce_check: not-seen
  mac_length: full
  legacy_actions: true
  eid_prefixes: [{{prefix: 10.14.0.0/24}}]
- name: strict
  authentication_keys: [{{key: strict}}]
  allowed_rlocs: [203.0.113.0/24]
  eid_prefixes: [{{prefix: 10.15.0.0/24}}, {{prefix: 10.17.0.0/24}}]
- name: shut
  authentication_keys: [{{key: shut}}]
  shutdown: true
  eid_prefixes: [{{prefix: 10.16.0.0/24}}]
- name: no-proxy
  authentication_keys: [{{key: no-proxy}}]
  eid_prefixes: [{{prefix: 10.20.0.0/16}}]
xtrs:
- name: ours
  site: ours
  datapath_id: "1"
  tunnel_port: lisp0
  rlocs: [{{rloc: {OUR_RLOC}}}]
  underlay: {{bridge: br-phy, datapath_id: "101"}}
  eid_ports: [{{name: lan, gateways: [10.1.0.254/24]}}]
"""


class Foreign:
    """A foreign router's process: what it told, and commands for it."""

    def __init__(self, node: LispNode, **settings: Any) -> None:
        given = {"map_server": MAP_SERVER, **settings}
        self._process = node.spawn(
            *(sys.executable, str(HERE / "foreign_router.py"), json.dumps(given)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.told: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.told.append(json.loads(line))

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(CLOSING)
        self._reader.join(CLOSING)

    def do(self, what: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        self._process.stdin.flush()

    def all(self, event: str) -> list[dict[str, Any]]:
        return [item for item in list(self.told) if item["event"] == event]

    def wait(self, event: str, count: int = 1, timeout: float = 8) -> dict[str, Any]:
        """The event of this number, the first is 1."""

        def seen() -> bool:
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise RuntimeError(self._process.stderr.read().decode())
            return len(self.all(event)) >= count

        try:
            poll(f"{event} number {count}", seen, timeout)
        except LabError as error:
            raise LabError(f"{error}; it told {self.told}") from None
        return self.all(event)[count - 1]


class Peer:
    """One UDP socket of a foreign router, for tests that choose every octet.

    sender: whose datagram was the last one.
    """

    def __init__(self, node: LispNode, address: str, port: int = 4342) -> None:
        self.address = address
        self.version = ipaddress.ip_address(address).version
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        with in_namespace(node.pid):
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.port: int = self._socket.getsockname()[1]
        self.sender = ("", 0)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, (MAP_SERVER if self.version == 4 else MAP_SERVER_V6, 4342))

    def receive(self, timeout: float = 4) -> bytes | None:
        """The next datagram; None when none comes."""
        self._socket.settimeout(timeout)
        try:
            data, sender = self._socket.recvfrom(65535)
        except TimeoutError:
            return None
        self.sender = sender[:2]
        return data

    def notify(self, register: bytes, key: str) -> wire.Notify | None:
        """Send a Map-Register; its Map-Notify."""
        self.send(register)
        data = self.receive()
        return None if data is None else wire.read_notify(data, key)

    def ask(self, eid: str, nonce: int, *, inner_port: int = 4342, **more: Any) -> wire.Reply:
        """Ask in an ECM and wait at this socket; the Map-Reply with our nonce."""
        inner = "10.99.0.1" if ":" not in eid else "2001:db8:99::1"
        request = wire.map_request(nonce, eid, [self.address], **more)
        self.send(wire.ecm(request, (inner, inner_port), eid))
        while data := self.receive():
            if data[0] >> 4 == wire.MAP_REPLY:  # else it is an SMR for an older question
                reply = wire.read_reply(data)
                assert reply.nonce == nonce
                return reply
        raise AssertionError(f"no Map-Reply for {eid}")


class ForeignLab:
    """The network, its controller and the node of the foreign routers."""

    def __init__(self) -> None:
        from labnodes import LispNode
        from lispnet import UNDERLAY_MTU, LispNet

        from lisp_sdn import config

        self.net: LispNet = LispNet(config.load(CONFIG))
        try:
            self.h1: EidHost = self.net.add_eid_host("h1", "ours", "lan", OUR_HOST)
            self.node: LispNode = LispNode("foreign", run=self.net.run)
            self.net.hosts.append(self.node)
            self.net.nameToNode["foreign"] = self.node
            self.net.veth(self.node, "eth0", self.net.core, "foreign", UNDERLAY_MTU)
            self._address([*(f"{rloc}/24" for rloc in RLOCS), f"{RLOC_V6}/64"])
        except BaseException:
            self.net.stop()
            raise
        self.nonce = time.time_ns()

    def _address(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.node.add_address("eth0", ipaddress.ip_interface(text))
        for text in ("203.0.113.254/24", "2001:db8:b::fe/64"):
            gateway = ipaddress.ip_interface(text)
            self.net.core.add_address("foreign", gateway)
            self.node.add_default_route(gateway.ip)

    def __enter__(self) -> ForeignLab:
        try:
            self.net.start()
            self.start()
        except BaseException:
            self.net.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.net.stop()

    def start(self) -> None:
        """Start the controller; what it knew before is in its store."""
        store = {"path": str(self.net.ctl.dir / "lisp.db")}
        self.net.ctl.start(self.net.controller_config({"store": store}))
        poll("our xTR to connect", self._connected, 15)

    def _connected(self) -> bool:
        status = self.get("/status")
        return status["xtrs_connected"] == 1 and not status["problems"]

    def get(self, path: str) -> Any:
        reply = self.net.ctl.rest("GET", f"/lisp/v1{path}")
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.body}"
        return reply.body

    def next_nonce(self) -> int:
        """Greater than all before."""
        self.nonce += 1
        return self.nonce

    def refusal(self, reason: str, eid: str, source: str) -> dict[str, Any]:
        """The refusal of a Map-Register for `eid`, as REST shows it; waits for it."""

        def find() -> dict[str, Any] | None:
            items = self.get("/refusals?limit=1000")["items"]
            fits = (i for i in items if (i["reason"], i["source"]) == (reason, source))
            return next((item for item in fits if eid in item["detail"]), None)

        found = poll(f"the refusal {reason} of {eid} among {self.get('/refusals')}", find, 3)
        assert found is not None
        return found

    def registered(self, eid: str) -> list[dict[str, Any]]:
        """The registrations of exactly this EID-prefix, as REST shows them."""
        items = self.get(f"/registrations?limit=1000&within={eid}")["items"]
        return [item for item in items if item["eid"] == eid]
