"""No octets from any side make the controller stumble: what it does not take is counted."""

from __future__ import annotations

import random
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from lisp_sdn.actions import Action, Dropped, PacketIn, PortInfo, ReadRules, SwitchConnected
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator
from lisp_sdn.rules import CookieClass, Port, Ruleset, cookie
from lisp_sdn.wire import Ecm, EidRecord, MapRegister, MapReply, MapRequest, RequestRecord, auth
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.underlay import udp

CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    underlay: {datapath_id: 0x10a}
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: eth1, iid: 1, gateways: [10.1.0.254/16]}]
"""
SWITCH, UNDERLAY = 0xA, 0x10A
PORTS = {
    SWITCH: (
        PortInfo(1, "eth1", "02:00:00:00:00:01", True),
        PortInfo(100, "lisp0", "02:00:00:00:00:02", True),
    ),
    UNDERLAY: (
        PortInfo(Port.LOCAL, "br-phy", "02:00:00:00:00:aa", True),
        PortInfo(1, "up1", "02:00:00:00:00:ab", True),
    ),
}
RLOCS = [ip_address(text) for text in ("192.0.2.9", "2001:db8::9", "224.0.0.1", "0.0.0.0")]
EIDS = [EidPrefix.from_text(t) for t in ("[1] 10.1.0.0/16", "[1] 10.9.0.1/32", "[2] ::/0")]


class Chance:
    """A controller, and what may happen to it. Everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1e6
        self.nonce = 1 << 60
        self.controller = Controller(load(CONFIG), store=MemoryStore(), rng=random.Random(1))
        self.controller.start(self.now)
        self.connect()

    def connect(self) -> None:
        for datapath_id, ports in PORTS.items():
            self.carry_out(
                self.controller.switch_connected(SwitchConnected(datapath_id, ports), self.now)
            )

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, ReadRules):
                number = action.datapath_id
                self.controller.installed(number, PORTS[number], Ruleset(), self.now)
            if isinstance(action, Dropped):
                assert action.reason

    def message(self) -> bytes:
        """A control message that somebody may send."""
        pick, self.nonce = self.random.choice, self.nonce + 1
        locators = tuple(Locator(pick(RLOCS), pick((1, 255))) for _ in range(pick((0, 1, 3))))
        records = (EidRecord(pick(EIDS), locators, ttl_minutes=pick((0, 1, 1440))),)
        request = MapRequest(
            self.nonce,
            None,
            tuple(pick(RLOCS) for _ in range(pick((1, 2)))),
            tuple(RequestRecord(pick(EIDS)) for _ in range(pick((1, 3)))),
            probe=pick((False, True)),
            smr=pick((False, False, True)),
            authoritative=pick((False, True)),
        ).serialize()
        source = Endpoint(RLOCS[0], pick((0, 4342, 61001)))
        kind = self.random.randrange(4)
        if kind == 0:
            register = MapRegister(self.nonce, records, want_notify=True)
            return auth.sign(register, 1, b"secret", 3)
        if kind == 1:
            return MapReply(self.nonce, records).serialize()
        if kind == 2:
            return Ecm(source, Endpoint(ip_address("10.1.0.1"), 4342), request).serialize()
        return request

    def damaged(self, data: bytes) -> bytes:
        octets = bytearray(data)
        for _ in range(self.random.choice((0, 0, 1, 3))):
            at = self.random.randrange(len(octets) or 1)
            if self.random.random() < 0.5:
                octets[at : at + 1] = self.random.randbytes(1)
            elif self.random.random() < 0.5:
                del octets[at : at + self.random.randrange(1, 9)]
            else:
                octets[at:at] = self.random.randbytes(self.random.randrange(1, 9))
        return bytes(octets)

    def frame(self, source: str, target: str, data: bytes) -> bytes:
        ends = [Endpoint(ip_address(text), 4342) for text in (source, target)]
        packet = udp(ends[0], ends[1], data)
        return self.damaged(replies.ip_frame(PORTS[SWITCH][0].mac, "02:00:00:00:01:01", 4, packet))

    def step(self) -> None:
        self.now += self.random.choice((0, 0.01, 1.5))
        kind = self.random.randrange(6)
        if kind < 2:
            data = self.damaged(self.message())
            if self.controller.quick(data, 4, self.now) is None:
                self.carry_out(self.controller.receive(data, Endpoint(RLOCS[0], 4342), self.now))
        elif kind == 2:
            frame = self.frame("192.0.2.9", "192.0.2.1", self.damaged(self.message()))
            self.packet_in(PacketIn(UNDERLAY, 0, 0, 1, frame))
        elif kind == 3:
            target = self.random.choice(("10.1.0.77", "10.1.0.254", "10.9.0.1", "224.0.0.5"))
            frame = self.frame("10.1.0.7", target, b"")
            number = cookie(self.random.choice(list(CookieClass)), self.random.randrange(10))
            self.packet_in(PacketIn(SWITCH, 0, number, self.random.choice((1, 100)), frame))
        elif kind == 4:
            self.carry_out(self.controller.handle_timer(self.now))
        elif self.random.random() < 0.2:
            self.carry_out(self.controller.switch_disconnected(UNDERLAY, self.now))
        else:
            self.connect()

    def packet_in(self, event: PacketIn) -> None:
        self.carry_out(self.controller.packet_in(event, self.now))


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_whatever_comes_the_controller_goes_on(seed: int) -> None:
    chance = Chance(seed)
    for _ in range(250):
        chance.step()
    drops = sum(c.value for c in chance.controller.management.counters() if c.name == "dropped")
    assert drops > 0
