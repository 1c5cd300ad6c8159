"""Providers on an ALT, joined in memory: controllers, their ALT bridges, GRE tunnels as cables."""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass, field
from itertools import pairwise

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    BgpRoute,
    Dropped,
    FlowCounter,
    FlowCounters,
    PacketOut,
    PortInfo,
    ReadCounters,
    SendControl,
    SwitchConnected,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPNetwork
from lisp_sdn.config import Config
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import Match
from lisp_sdn.wire import Ecm, EidRecord, MapRegister, MapRequest, RequestRecord, auth
from lisp_sdn.xtr.simulate import SimulatedSwitch, Trace

NOW = 1_700_000_000.0
KEY = "a-test-key"


@dataclass
class Provider:
    """One controller with its ALT bridge. number: 1..9; everything else follows from it.

    sent: LISP control messages. dropped: reasons. punted: packet-ins of the bridge.
    """

    number: int
    neighbours: dict[int, Provider] = field(default_factory=dict)
    sent: list[SendControl] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    punted: int = 0
    carried: dict[tuple[int, Match], int] = field(default_factory=dict)

    @property
    def network(self) -> IPNetwork:
        """The EID-prefix of its site."""
        return ipaddress.ip_network(f"10.{self.number}.0.0/16")

    @property
    def etr(self) -> ipaddress.IPv4Address:
        """The RLOC of its site."""
        return ipaddress.IPv4Address(f"198.51.{self.number}.1")

    def address(self, other: int) -> ipaddress.IPv4Address:
        """Its end of the tunnel to another provider."""
        low, high = sorted((self.number, other))
        return ipaddress.IPv4Address(f"10.254.{low}{high}.{1 if self.number == low else 2}")

    def config(self, **alt: object) -> Config:
        """Its configuration."""
        others = sorted(self.neighbours)
        return Config.model_validate(
            {
                "control": {"listen": ["0.0.0.0:4342"]},
                "sites": [
                    {
                        "name": f"site{self.number}",
                        "authentication_keys": [{"key": KEY}],
                        "eid_prefixes": [{"prefix": str(self.network)}],
                    }
                ],
                "bgp": {
                    "as_number": 64512 + self.number,
                    "router_id": f"10.254.0.{self.number}",
                    "neighbours": [
                        {
                            "address": str(self.neighbours[n].address(self.number)),
                            "as_number": 64512 + n,
                        }
                        for n in others
                    ],
                },
                "alt": {
                    "hold_down": 60,
                    "bridge": {
                        "datapath_id": f"{self.number:x}",
                        "tunnels": [
                            {
                                "port": f"gre{n}",
                                "host_port": f"alt{n}",
                                "address": str(self.address(n)),
                                "neighbour": str(self.neighbours[n].address(self.number)),
                            }
                            for n in others
                        ],
                    },
                    **alt,
                },
            }
        )

    def start(self, **alt: object) -> None:
        """Start its controller and connect its bridge."""
        store = MemoryStore()
        self.brain = Controller(self.config(**alt), store=store, rng=random.Random(self.number))
        self.switch = SimulatedSwitch(self.number)
        self.perform(self.brain.start(NOW))
        self.connect()

    @property
    def ports(self) -> tuple[PortInfo, ...]:
        """GRE port N and internal port 100 + N for the tunnel to provider N."""
        found = []
        for n in sorted(self.neighbours):
            found.append(PortInfo(n, f"gre{n}", f"02:00:00:00:00:{n:02x}", True))
            found.append(PortInfo(100 + n, f"alt{n}", f"02:00:00:00:01:{n:02x}", True))
        return tuple(found)

    def connect(self) -> None:
        """Its bridge connects, and says what it holds."""
        self.brain.switch_connected(SwitchConnected(self.number, self.ports), NOW)
        held = self.switch.ruleset()
        self.perform(self.brain.installed(self.number, self.ports, held, NOW))

    def perform(self, actions: list[Action], now: float = NOW) -> None:
        """As the edges would."""
        for action in actions:
            if isinstance(action, ApplyRules):
                self.switch.apply(action.changes)
            elif isinstance(action, PacketOut):
                out = self.switch.packet_out(action.frame, action.in_port, action.actions)
                self.follow(out, now)
            elif isinstance(action, SendControl):
                self.sent.append(action)
            elif isinstance(action, Dropped):
                self.dropped.append(action.reason)
            elif isinstance(action, ReadCounters):
                flows = tuple(
                    FlowCounter(rule.match, self.carried.get((rule.table, rule.match), 0), 0)
                    for rule in self.switch.flows.values()
                )
                counters = FlowCounters(self.number, action.kind, flows)
                self.perform(self.brain.counters(counters, now))

    def follow(self, trace: Trace, now: float = NOW) -> None:
        """What left by a tunnel arrives at its other end; what was punted at the controller."""
        for rule in trace.rules:
            key = (rule.table, rule.match)
            self.carried[key] = self.carried.get(key, 0) + 1
        for event in trace.punted:
            self.punted += 1
            self.perform(self.brain.packet_in(event, now), now)
        for frame in trace.sent:
            other = self.neighbours.get(frame.port)
            if other is not None:
                other.follow(other.switch.receive(self.number, frame.frame), now)

    # --- BGP ---

    def hears(self, other: Provider, network: IPNetwork, now: float = NOW) -> None:
        """The speaker took a route from this neighbour as the best one."""
        peer = other.address(self.number)
        self.perform(self.brain.bgp_route(BgpRoute(network, peer, peer, (1,)), now), now)

    # --- LISP ---

    def register(self, now: float = NOW, ttl_minutes: int = 1440, *, proxy: bool = True) -> None:
        """The site registers."""
        eid = EidPrefix(0, self.network)
        record = EidRecord.from_mapping(Mapping(eid, (Locator(self.etr),), ttl_minutes=ttl_minutes))
        message = MapRegister(int(now * 10), (record,), proxy_reply=proxy)
        data = auth.sign(message, 1, KEY.encode(), 3)
        self.perform(self.brain.receive(data, Endpoint(self.etr, 4342), now), now)
        self.sent.clear()

    def asked(self, eid: str, nonce: int = 7, itr: str = "192.0.2.9", now: float = NOW) -> None:
        """An ITR asks its Map-Resolver."""
        data = ecm(eid, nonce, itr)
        self.perform(self.brain.receive(data, Endpoint(ipaddress.ip_address(itr), 61000), now), now)


def ecm(eid: str, nonce: int = 7, itr: str = "192.0.2.9", hop_limit: int = 32) -> bytes:
    """A Map-Request as an ITR sends it to its Map-Resolver."""
    rloc, address = ipaddress.ip_address(itr), ipaddress.ip_address(eid)
    request = MapRequest(
        nonce,
        EidPrefix.from_text("10.99.0.1/32"),
        (rloc,),
        (RequestRecord(EidPrefix.host(0, address)),),
    )
    inner = request.serialize()
    source, target = Endpoint(rloc, 61001), Endpoint(address, 4342)
    return Ecm(source, target, inner, hop_limit=hop_limit).serialize()


def chain(*numbers: int) -> dict[int, Provider]:
    """Providers in a row, each with tunnels to those beside it; nothing started."""
    made = {number: Provider(number) for number in numbers}
    for one, other in pairwise(numbers):
        made[one].neighbours[other] = made[other]
        made[other].neighbours[one] = made[one]
    return made
