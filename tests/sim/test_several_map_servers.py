"""One ETR of ours at two Map-Servers of others (RFC 9301 sections 5.6, 5.7 and 8.2), in memory."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from lisp_sdn.actions import (
    Action,
    Dropped,
    Event,
    MappingChanged,
    ReadRules,
    SendControl,
    SwitchConnected,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Locator, Mapping, RegisteredPolicy
from lisp_sdn.registering import Registering
from lisp_sdn.rules import Ruleset
from lisp_sdn.wire import (
    Ecm,
    EidRecord,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    RequestRecord,
    auth,
    decode,
)
from lisp_sdn.xtr.requests import Register, Resolve

ONE, TWO = ipaddress.ip_address("192.0.2.53"), ipaddress.ip_address("192.0.2.54")
US = ipaddress.ip_address("192.0.2.10")
PREFIX = EidPrefix.from_text("10.1.0.0/16")
SITE: dict[str, Any] = {
    "name": "left",
    "authentication_keys": [{"key": "secret"}],
    "eid_prefixes": [{"prefix": "10.1.0.0/16"}],
}
XTR: dict[str, Any] = {
    "name": "xa",
    "site": "left",
    "datapath_id": "a1",
    "rlocs": [{"rloc": "198.51.100.1"}],
    "eid_ports": [{"name": "lan", "gateways": ["10.1.0.254/16"]}],
    "map_servers": [str(ONE), str(TWO)],
    "map_resolvers": [str(ONE), str(TWO)],
}
NOW = 1_000_000.0


class World:
    """Our controller, two Map-Servers, and which of them can be reached. A second is a step."""

    def __init__(self, prefixes: int = 1) -> None:
        more = [{"prefix": f"10.{2 + n // 200}.{n % 200}.0/24"} for n in range(prefixes - 1)]
        site = {**SITE, "eid_prefixes": [*SITE["eid_prefixes"], *more]}
        self.prefixes = prefixes
        mine = Config.model_validate({"sites": [site], "xtrs": [XTR]})
        theirs = Config.model_validate({"sites": [site]})
        self.us = Controller(mine, store=MemoryStore(), rng=random.Random(1))
        self.servers = {where: self._server(theirs) for where in (ONE, TWO)}
        self.away: set[IPAddress] = set()
        self.lost: set[IPAddress] = set()
        self.now = NOW
        self.sent: Counter[IPAddress] = Counter()
        self.events: list[Event] = []
        self.drops: list[Dropped] = []
        self.connect()

    def connect(self) -> None:
        """Start our controller; the switch is there."""
        self._carry_out(self.us.start(self.now))
        self._carry_out(self.us.switch_connected(SwitchConnected(0xA1, ()), self.now))

    @staticmethod
    def _server(config: Config) -> MapSystem:
        policy = RegisteredPolicy()
        made = MapSystem(config, store=MemoryStore(), policy=policy, rng=random.Random(2))
        made.start(NOW)
        return made

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Event):
                self.events.append(action)
            elif isinstance(action, Dropped):
                self.drops.append(action)
            elif isinstance(action, ReadRules):
                self._carry_out(self.us.installed(action.datapath_id, (), Ruleset(), self.now))
            elif isinstance(action, SendControl):
                self._deliver(action)

    def _deliver(self, sent: SendControl) -> None:
        where = sent.destination.address
        assert sent.destination.port == 4342
        self.sent[where] += 1
        if where in self.away:
            return
        answers = self.servers[where].receive(sent.data, Endpoint(US, 4342), self.now)
        for answer in answers:
            assert not isinstance(answer, Dropped), answer
            if isinstance(answer, SendControl) and where not in self.lost:
                assert answer.destination == Endpoint(US, 4342)
                self._carry_out(self.us.receive(answer.data, Endpoint(where, 4342), self.now))

    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            for _ in range(100):
                due = self.us.next_timer()
                if due is None or due > self.now:
                    break
                self._carry_out(self.us.handle_timer(self.now))
            for server in self.servers.values():
                server.handle_timer(self.now)

    def registered(self) -> dict[IPAddress, int]:
        return {where: server.inventory.registrations_now for where, server in self.servers.items()}

    def told(self, kind: str) -> list[str]:
        return [str(e.data["map_server"]) for e in self.events if e.kind == kind]


def test_an_etr_registers_with_every_map_server() -> None:
    world = World()
    assert world.registered() == {ONE: 1, TWO: 1}
    assert sorted(world.told("registration.acknowledged")) == [str(ONE), str(TWO)]
    world.advance(600)
    assert world.registered() == {ONE: 1, TWO: 1}
    # One in a minute, not one more: both acknowledge. Nothing is an error, nothing is told twice.
    assert world.sent[ONE] == world.sent[TWO] <= 12
    assert not world.drops
    assert len(world.events) == len(set(map(str, world.events)))


def test_a_map_server_that_is_away_keeps_nothing_back_from_the_other() -> None:
    world = World()
    world.away = {ONE}
    world.advance(240)
    assert world.registered() == {ONE: 0, TWO: 1}
    assert world.told("registration.unanswered") == [str(ONE)]
    assert list(world.us.registering.problems("xa")) == [
        f"Map-Server {ONE} does not acknowledge its Map-Registers"
    ]
    assert world.sent[TWO] < 8 < world.sent[ONE]
    world.away = set()
    world.advance(35)
    assert world.registered() == {ONE: 1, TWO: 1}
    assert world.told("registration.acknowledged").count(str(ONE)) == 2
    assert not list(world.us.registering.problems("xa"))


def test_a_lost_register_is_repeated_after_a_second_and_then_less_often() -> None:
    world = World()
    world.away = {ONE, TWO}
    world.advance(60)
    before = world.sent[ONE]
    times = []
    for second in range(1, 60):
        world.advance(1)
        if world.sent[ONE] > before:
            times.append(second)
            before = world.sent[ONE]
    assert [b - a for a, b in pairwise(times)][-4:] == [2, 4, 8, 16]


@pytest.mark.parametrize("lost", [{ONE}, {ONE, TWO}])
def test_a_register_of_many_parts_survives_the_loss_of_answers(lost: set[IPAddress]) -> None:
    """A part that is repeated after a later one has a nonce that the Map-Server takes."""
    world = World(prefixes=60)
    assert world.registered() == {ONE: 60, TWO: 60}
    world.lost = lost
    world.advance(100)
    world.lost = set()
    world.advance(40)
    assert world.registered() == {ONE: 60, TWO: 60}
    assert not list(world.us.registering.problems("xa"))


def test_a_restarted_etr_goes_on_with_greater_nonces() -> None:
    world = World()
    world.advance(30)
    config = world.us.config
    world.us = Controller(config, store=MemoryStore(), rng=random.Random(3))
    world.connect()
    world.advance(200)
    assert world.registered() == {ONE: 1, TWO: 1}


def test_an_itr_of_ours_asks_several_map_resolvers_in_turn() -> None:
    """In an ECM whose inner destination is the EID; the answer goes to the ITR's own RLOC."""
    world = World()
    wanted = EidPrefix.from_text("10.1.2.3/32")
    rloc = ipaddress.ip_address("198.51.100.1")
    request = MapRequest(77, None, (rloc,), (RequestRecord(wanted),))
    asked = []
    for attempt in range(3):
        (sent,) = world.us.settle([Resolve("xa", request, attempt)], world.now)
        assert isinstance(sent, SendControl)
        ecm = decode(sent.data)
        assert isinstance(ecm, Ecm)
        assert ecm.destination == Endpoint(ipaddress.ip_address("10.1.2.3"), 4342)
        assert decode(ecm.payload) == request
        asked.append(sent.destination.address)
        server = world.servers[sent.destination.address]
        (answer,) = server.receive(sent.data, Endpoint(US, 4342), world.now)
        assert isinstance(answer, SendControl)
        assert answer.destination == Endpoint(rloc, 4342)
        reply = decode(answer.data)
        assert isinstance(reply, MapReply)
        assert (reply.nonce, reply.records[0].eid) == (77, PREFIX)
    assert asked == [ONE, TWO, ONE]


def forged(world: World, **more: Any) -> bytes:
    record = next(iter(world.us.xtrs["xa"]._etr.records()))
    nonce = more.pop("nonce", 5)
    return auth.sign(MapNotify(nonce, (record,)), 1, more.pop("key", b"secret"), 3)


def test_a_map_notify_that_is_not_authentic_acknowledges_nothing() -> None:
    world = World()
    world.away = {ONE}
    register: list[bytes] = []
    deliver = world._deliver
    world._deliver = lambda sent: (register.append(sent.data), deliver(sent))[1]  # type: ignore[method-assign]
    world.advance(61)
    message = decode(register[-1])
    assert isinstance(message, MapRegister)
    for data, reason in (
        (forged(world, nonce=message.nonce, key=b"guess"), "bad_digest"),
        (forged(world, nonce=message.nonce + 1), "unexpected_nonce"),
        (forged(world, nonce=message.nonce)[:-1], "truncated"),
    ):
        actions = world.us.receive(data, Endpoint(ONE, 4342), world.now)
        assert [a.reason for a in actions if isinstance(a, Dropped)] == [reason]
    world.advance(40)
    assert world.told("registration.unanswered") == [str(ONE)]


# --- host routes -------------------------------------------------------------------------


def test_host_routes_are_registered_at_map_servers_of_others_for_the_site_of_the_eid() -> None:
    """Signed with the key of the EID's own site; our xTRs ask anew once it is acknowledged."""
    home = {**SITE, "eid_prefixes": [{"prefix": "10.1.0.0/16", "accept_more_specifics": True}]}
    away = {
        "name": "right",
        "authentication_keys": [{"key": "another"}],
        "eid_prefixes": [{"prefix": "10.2.0.0/16"}],
    }
    config = Config.model_validate({"sites": [home, away], "xtrs": [{**XTR, "site": "right"}]})
    server = World._server(Config.model_validate({"sites": [home, away]}))
    us = Registering(config, lambda xtr, site: (0xA1, len(site.name)))
    eid = EidPrefix.from_text("10.1.0.7/32")
    mapping = Mapping(eid).with_locators((Locator(ipaddress.ip_address("198.51.100.1")),))
    routes = (EidRecord.from_mapping(mapping), EidRecord(eid, ttl_minutes=0))
    for number, record in enumerate(routes):
        now = NOW + number
        (sent, _) = us.send(Register("xa", (record,), "left", merge=False, news=True), now)
        assert isinstance(sent, SendControl)
        (notify,) = [
            action
            for action in server.receive(sent.data, Endpoint(US, 4342), now)
            if isinstance(action, SendControl)
        ]
        answered = us.notified(notify.data, Endpoint(ONE, 4342), now)
        assert MappingChanged(eid) in answered
        assert (server.inventory.mapping(eid) is None) == (record.ttl_minutes == 0)
    refresh, _ = us.send(Register("xa", (routes[0],), "left", merge=False), NOW + 9)
    assert isinstance(refresh, SendControl)
    answers = server.receive(refresh.data, Endpoint(US, 4342), NOW + 9)
    (notify,) = [action for action in answers if isinstance(action, SendControl)]
    assert MappingChanged(eid) not in us.notified(notify.data, Endpoint(ONE, 4342), NOW + 9)
