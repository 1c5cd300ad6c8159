"""A foreign xTR, run as a process of its own: ETR, ITR and one host behind it.

    python foreign_router.py '{"rloc": "203.0.113.1", "map_server": "192.0.2.53", ...}'

Commands are JSON lines on standard input, what it sees are JSON lines on standard output. It
shares no code with lisp_sdn.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import time
from typing import Any

import foreign_wire as wire

REGISTER_EVERY = 60.0
RETRY = 1.0


class Router:
    """settings: rloc, map_server, key, eid (its EID-prefix), host (an EID in it), xtr_id, proxy,
    merge; deaf: SMRs are told, but nothing is asked again."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.rloc: str = settings["rloc"]
        self.server: str = settings["map_server"]
        self.key: str = settings["key"]
        self.eid: str = settings["eid"]
        self.host: str = settings["host"]
        self.proxy = bool(settings.get("proxy"))
        self.merge = bool(settings.get("merge"))
        self.deaf = bool(settings.get("deaf"))
        self.ids = int(settings["xtr_id"]).to_bytes(16, "big") + bytes(8)
        self.control = self._socket(4342)
        self.data = self._socket(4341)
        self.nonce = time.time_ns()
        self.next_register = 0.0
        self.registering = 0
        self.cache: dict[str, str] = {}
        self.asked: dict[int, tuple[str, float, bytes]] = {}
        self.subscribed: dict[int, str] = {}
        self.waiting: list[tuple[str, bytes]] = []

    def _socket(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.rloc, port))
        return sock

    @staticmethod
    def tell(event: str, **what: Any) -> None:
        print(json.dumps({"event": event, **what}), flush=True)

    def run(self) -> None:
        pending = b""
        while True:
            now = time.monotonic()
            if now >= self.next_register:
                self.register()
                self.next_register = now + (RETRY if self.registering else REGISTER_EVERY)
            for nonce, (eid, due, _) in list(self.asked.items()):
                if due <= now:
                    del self.asked[nonce]
                    self.resolve(eid)
            ready, _, _ = select.select([self.control, self.data, sys.stdin], [], [], 0.1)
            if self.control in ready:
                data, sender = self.control.recvfrom(65535)
                self.receive(data, sender)
            if self.data in ready:
                data, sender = self.data.recvfrom(65535)
                self.decapsulate(data, sender)
            if sys.stdin in ready:
                chunk = sys.stdin.buffer.raw.read(65536)  # type: ignore[attr-defined]
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self.command(json.loads(line))

    def command(self, given: dict[str, Any]) -> None:
        match given["do"]:
            case "resolve":
                self.resolve(given["eid"])
            case "subscribe":
                self.subscribe(given["eid"])
            case "ping":
                self.send(given["target"], 8, given["sequence"])

    # --- ETR ---

    def register(self) -> None:
        self.nonce += 1
        self.registering = self.nonce
        item = wire.Record(self.eid, (wire.Rloc(self.rloc),))
        self.to_server(
            wire.map_register(
                self.nonce, [item], self.key, wire.HKDF,
                proxy=self.proxy, merge=self.merge, ids=self.ids, ids_in_mac=True,
            )
        )  # fmt: skip

    def to_server(self, data: bytes) -> None:
        self.control.sendto(data, (self.server, 4342))

    def receive(self, data: bytes, sender: tuple[str, int]) -> None:
        kind = data[0] >> 4
        if kind == wire.MAP_NOTIFY:
            self.notified(data)
        elif kind == wire.MAP_REPLY:
            self.replied(wire.read_reply(data), sender)
        elif kind == wire.ECM:
            inner = wire.read_ecm(data)
            self.tell("asked", message=inner.message.hex(), inner=inner.source, sender=sender)
            self.answer(wire.read_request(inner.message), inner.source[1])
        elif kind == wire.MAP_REQUEST:
            request = wire.read_request(data)
            self.tell("smr" if request.smr else "map-request", **request._asdict())
            if request.smr and not self.deaf:
                changed = f"{request.source_eid}/32"
                self.resolve(changed, smr_invoked=True)

    def answer(self, request: wire.Request, port: int) -> None:
        item = wire.Record(self.eid, (wire.Rloc(self.rloc),), authoritative=True)
        self.control.sendto(wire.map_reply(request.nonce, [item]), (request.itr_rlocs[0], port))

    def notified(self, data: bytes) -> None:
        notify = wire.read_notify(data, self.key)
        told = {"authentic": notify.authentic, "nonce": notify.nonce, "records": notify.records}
        if notify.nonce == self.registering:
            self.registering = 0
            self.next_register = time.monotonic() + REGISTER_EVERY
            self.tell("registered", **told)
        elif notify.nonce in self.subscribed:
            self.tell("subscribed", **told)
        elif notify.nonce - 1 in self.subscribed and notify.authentic:
            self.subscribed[notify.nonce] = self.subscribed.pop(notify.nonce - 1)
            self.tell("published", **told)
            self.to_server(wire.map_notify_ack(notify, self.key))
        else:
            self.tell("published-again", **told)

    # --- ITR ---

    def resolve(self, eid: str, *, smr_invoked: bool = False) -> None:
        self.nonce += 1
        request = wire.map_request(
            self.nonce, eid, [self.rloc], source_eid=self.host, smr_invoked=smr_invoked
        )
        self.asked[self.nonce] = (eid, time.monotonic() + RETRY, request)
        self.to_server(wire.ecm(request, (self.host, 4342), eid))

    def subscribe(self, eid: str) -> None:
        self.nonce += 1
        self.subscribed[self.nonce] = eid
        request = wire.map_request(
            self.nonce, eid, [self.rloc], source_eid=self.host, subscribe=True, ids=self.ids
        )
        self.to_server(wire.ecm(request, (self.host, 4342), eid))

    def replied(self, reply: wire.Reply, sender: tuple[str, int]) -> None:
        asked = self.asked.pop(reply.nonce, None)
        known = asked is not None
        self.tell("map-reply", known=known, sender=sender, records=reply.records)
        if asked is None:
            return
        best = sorted((r.priority, r.address) for item in reply.records for r in item.rlocs)
        for eid, packet in list(self.waiting):
            if f"{eid}/32" == asked[0] and best:
                self.cache[eid] = best[0][1]
                self.waiting.remove((eid, packet))
                self.encapsulate(packet, best[0][1])

    # --- data ---

    def encapsulate(self, packet: bytes, rloc: str) -> None:
        self.data.sendto(wire.gpe(packet), (rloc, 4341))

    def send(self, target: str, kind: int, sequence: int) -> None:
        """An ICMP echo (8) or its reply (0) from our host."""
        echo = struct.pack("!BBHHH", kind, 0, 0, 4342, sequence)
        echo = echo[:2] + struct.pack("!H", wire.checksum(echo)) + echo[4:]
        self.forward(target, wire.ip_packet(self.host, target, 1, echo))

    def forward(self, target: str, packet: bytes) -> None:
        if target in self.cache:
            self.encapsulate(packet, self.cache[target])
        else:
            self.waiting.append((target, packet))
            self.resolve(f"{target}/32")

    def decapsulate(self, data: bytes, sender: tuple[str, int]) -> None:
        iid, packet = wire.read_gpe(data)
        source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
        kind = packet[20]
        (sequence,) = struct.unpack_from("!H", packet, 26)
        seen = {"source": source, "target": target, "sequence": sequence, "ttl": packet[8]}
        self.tell("echo" if kind == 8 else "echo-reply", iid=iid, rloc=sender[0], **seen)
        if kind == 8 and target == self.host:
            reply = b"\0" + packet[21:22] + b"\0\0" + packet[24:]
            reply = reply[:2] + struct.pack("!H", wire.checksum(reply)) + reply[4:]
            self.forward(source, wire.ip_packet(target, source, 1, reply))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        Router(json.loads(sys.argv[1])).run()
