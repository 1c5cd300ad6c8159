"""The fast path and the full path answer alike, whatever happens in between.

Two map-servers live through the same story; one has the fast path in front. Every datagram that
leaves them, Map-Replies and SMRs alike, must be the same, octet for octet.
"""

from __future__ import annotations

import ipaddress
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisp_sdn.actions import Action, MappingChanged, SendControl
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import Config
from lisp_sdn.mapping.fastpath import REFUSED, FastPath
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import AnswerPolicy, Locator, Mapping, RegisteredPolicy
from lisp_sdn.policy.engine import PolicyEngine
from lisp_sdn.policy.sites import Sites
from lisp_sdn.wire import Ecm, EidRecord, MapRegister, MapRequest, RequestRecord, auth

LOOSE = {"map_replies_per_eid": 1000}

KEY = b"property-test-key"
NOW = 1_700_000_000.0

CONFIG: dict[str, Any] = {
    "sites": [
        {
            "name": name,
            "authentication_keys": [{"key": KEY.decode()}],
            "proxy_reply": True,
            "eid_prefixes": [
                {"prefix": prefix, "iid": iid, "accept_more_specifics": True}
                for prefix, iid in prefixes
            ],
        }
        for name, prefixes in (
            ("athens", (("10.1.0.0/16", 0), ("2001:db8:1::/48", 0), ("10.1.0.0/16", 7))),
            ("sparta", (("10.2.0.0/16", 0), ("10.2.128.0/17", 0))),
        )
    ],
    "mappings": [{"eid_prefix": "10.3.0.0/24", "locators": [{"rloc": "203.0.113.99"}]}],
    "policies": [
        {
            "site": "athens",
            "rules": [
                {
                    "name": "night",
                    "match": {"time": [{"from": "22:00", "to": "06:00"}], "pitr": False},
                    "action": {"prefer": ["203.0.113.2"]},
                },
                {
                    "name": "partner",
                    "match": {"itr_rlocs": ["192.0.2.128/25"]},
                    "action": {"prefer": ["203.0.113.1"]},
                },
                {
                    "name": "guest",
                    "match": {"source_eids": ["10.9.0.0/16"]},
                    "action": {"deny": "policy-denied"},
                },
                {
                    "name": "servers",
                    "match": {"eid_prefixes": ["10.1.1.0/24"], "pitr": True},
                    "action": {"deny": "policy-denied"},
                },
            ],
        }
    ],
}

PREFIXES = (
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.0/24",
    "10.1.1.0/25",
    "10.1.1.7/32",
    "10.1.2.0/24",
    "10.2.0.0/16",
    "10.2.128.0/24",
    "2001:db8:1:2::/64",
    "2001:db8:1:2::5/128",
    "[7] 10.1.1.0/24",
    "[7] 10.1.1.7/32",
)
EIDS = (
    "10.1.1.7",
    "10.1.1.8",
    "10.1.1.200",
    "10.1.2.1",
    "10.1.9.9",
    "10.2.0.1",
    "10.2.128.1",
    "10.2.200.1",
    "10.3.0.1",
    "10.200.0.1",
    "2001:db8:1:2::5",
    "2001:db8:1:2::6",
    "[7] 10.1.1.7",
    "[7] 10.1.1.8",
    "[9] 10.1.1.7",
    "10.1.1.0/24",
)
ITR_RLOCS = (
    ("192.0.2.1",),
    ("192.0.2.200",),
    ("192.0.2.1", "2001:db8:ffff::1"),
    ("2001:db8:ffff::2",),
    ("224.0.0.1", "192.0.2.3"),
)
SOURCES = (None, "10.9.0.1", "10.8.0.1", "2001:db8:9::1", "[7] 10.9.0.1")

FLAGS: tuple[dict[str, bool], ...] = (
    *({},) * 12,
    {"pitr": True},
    {"pitr": True},
    {"smr_invoked": True},
    {"authoritative": True},
)
WAITS = (4.0, 4.0, 61.0, 61.0, 61.0, 200.0, 7200.0)
PORTS = (61000,) * 10 + (4342, 4342, 0)


def story(rng: random.Random, length: int) -> list[tuple[Any, ...]]:
    """What happens: mostly questions, few of them malformed, about few EIDs and from few ITRs."""
    eids = rng.sample(EIDS, 4)
    rlocs = rng.sample(ITR_RLOCS, 2)
    sources = rng.sample(SOURCES, 2)
    told: list[tuple[Any, ...]] = [_register(rng) for _ in range(8)]
    often = [("ask", rng.choice(eids), rng.choice(rlocs), None, 61000, {}, 4, None)] * 3
    while len(told) < length:
        dice = rng.random()
        if dice < 0.3:
            told += often
        elif dice < 0.92:
            mutation = None
            if rng.random() < 0.08:
                mutation = (rng.randrange(150), rng.randrange(256))
            told.append(
                (
                    "ask",
                    rng.choice(eids),
                    rng.choice(rlocs),
                    rng.choice(sources),
                    rng.choice(PORTS),
                    rng.choice(FLAGS),
                    rng.choice((4, 4, 4, 6)),
                    mutation,
                )
            )
        elif dice < 0.96:
            told.append(_register(rng))
        elif dice < 0.98:
            told.append(("wait", rng.choice(WAITS)))
        elif dice < 0.995:
            told.append(("static", rng.choice(PREFIXES), rng.random() < 0.6))
        else:
            told.append(("policies", rng.random() < 0.7))
    return told


def _register(rng: random.Random) -> tuple[Any, ...]:
    rlocs = rng.choice((("203.0.113.1",), ("203.0.113.2", "203.0.113.1")))
    ttl = rng.choice((1440, 1440, 1440, 10, 0))
    return ("register", rng.choice(PREFIXES), rlocs, ttl, rng.choice((1, 2)))


class World:
    """A map-server, with or without the fast path, and its policy."""

    def __init__(self, policy: str, limits: dict[str, int], *, fast: bool) -> None:
        self.config = Config.model_validate({**CONFIG, "limits": limits})
        self.engine = PolicyEngine(self.config.policies, Sites.from_config(self.config))
        chosen: AnswerPolicy = self.engine if policy == "engine" else RegisteredPolicy()
        self.system = MapSystem(
            self.config, store=MemoryStore(), policy=chosen, rng=random.Random(1)
        )
        self.fast = FastPath(self.system) if fast else None
        self.out: list[tuple[bytes, str]] = []
        self.carry_out(self.system.start(NOW))

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SendControl):
                self.out.append((action.data, str(action.destination)))
            elif isinstance(action, MappingChanged) and self.fast is not None:
                self.fast.changed(action.eid)

    def receive(self, data: bytes, source: Endpoint, now: float) -> None:
        if self.fast is None:
            self.carry_out(self.system.receive(data, source, now))
            return
        self.fast.begin(now)
        found = self.fast.answer(data, source.address.version, now)
        if found is None:
            self.carry_out(self.fast.receive(data, source, now))
        elif found is not REFUSED:
            reply, address, port = found
            self.out.append((reply, str(Endpoint(ipaddress.ip_address(address), port))))

    def rule_hits(self) -> dict[tuple[str, str], int]:
        """EID-records answered by each policy rule, whichever path answered."""
        if self.fast is not None:
            self.fast.report(NOW)
        return dict(self.system.report.rule_hits)

    def tick(self, now: float) -> None:
        for _ in range(100):
            timer = self.system.next_timer()
            if timer is None or timer > now:
                return
            self.carry_out(self.system.handle_timer(now))

    def static(self, text: str, now: float, *, there: bool) -> None:
        eid = EidPrefix.from_text(text)
        if there:
            locators = (Locator(ipaddress.ip_address("203.0.113.77")),)
            self.carry_out(self.system.set_static(Mapping(eid, locators), now))
        else:
            try:
                self.carry_out(self.system.remove_static(eid, now))
            except LookupError:
                return

    def policies(self, now: float, *, there: bool) -> None:
        self.engine.set_policies(self.config.policies if there else ())
        for site in self.config.sites:
            for entry in site.eid_prefixes:
                self.carry_out(self.system.answer_changed(entry.eid, now))


def request(event: tuple[Any, ...], nonce: int) -> tuple[bytes, Endpoint]:
    _, eid, rlocs, source, port, flags, version, mutation = event
    key = EidPrefix.from_text(eid)
    message = MapRequest(
        nonce,
        EidPrefix.from_text(source) if source else None,
        tuple(map(ipaddress.ip_address, rlocs)),
        (RequestRecord(key),),
        **flags,
    )
    inner = "192.0.2.9" if key.version == 4 else "2001:db8:9::9"
    data = Ecm(
        Endpoint(ipaddress.ip_address(inner), port),
        Endpoint(key.network.network_address, 4342),
        message.serialize(),
    ).serialize()
    if mutation is not None and mutation[0] < len(data):
        at, octet = mutation
        data = data[:at] + bytes((octet,)) + data[at + 1 :]
    outer = "198.51.100.1" if version == 4 else "2001:db8:ffff::9"
    return data, Endpoint(ipaddress.ip_address(outer), 50000)


def register(event: tuple[Any, ...], nonce: int) -> tuple[bytes, Endpoint]:
    _, prefix, rlocs, ttl, etr = event
    locators = tuple(Locator(ipaddress.ip_address(rloc)) for rloc in rlocs)
    records = (EidRecord(EidPrefix.from_text(prefix), locators if ttl else (), ttl),)
    message = MapRegister(nonce, records, want_notify=True, xtr_id=etr, site_id=1)
    data = auth.sign(message, 1, KEY, 3)
    return data, Endpoint(ipaddress.ip_address(f"203.0.113.{etr}"), 4342)


def play(world: World, told: list[tuple[Any, ...]]) -> list[tuple[bytes, str]]:
    now = NOW
    for number, event in enumerate(told):
        now += 0.3
        kind = event[0]
        if kind == "ask":
            world.receive(*request(event, number), now)
        elif kind == "register":
            world.receive(*register(event, number + 1), now)
        elif kind == "wait":
            now += event[1]
        elif kind == "static":
            world.static(event[1], now, there=event[2])
        elif kind == "policies":
            world.policies(now, there=event[1])
        world.tick(now)
    return world.out


@pytest.mark.parametrize("policy", ["registered", "engine"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1 << 32), tight=st.booleans())
def test_both_paths_send_the_same(policy: str, seed: int, tight: bool) -> None:
    limits = {"map_requests_per_source": 4, "map_replies_per_eid": 2} if tight else LOOSE
    told = story(random.Random(seed), 150)
    full, fast = World(policy, limits, fast=False), World(policy, limits, fast=True)
    assert play(fast, told) == play(full, told)
    assert {k: n for k, n in fast.rule_hits().items() if n} == full.rule_hits()


@pytest.mark.parametrize("policy", ["registered", "engine"])
def test_the_stories_above_are_about_the_fast_path(policy: str) -> None:
    """They would agree as well if the fast path never answered."""
    answered = asked = 0
    for seed in range(20):
        told = story(random.Random(seed), 150)
        world = World(policy, LOOSE, fast=True)
        play(world, told)
        assert world.fast is not None
        answered += world.fast.answered
        asked += sum(event[0] == "ask" for event in told)
    assert answered > 0.15 * asked


def test_the_fast_path_answers_most_of_a_usual_story() -> None:
    world = World("engine", LOOSE, fast=True)
    now = NOW
    for number, prefix in enumerate(("10.1.1.7/32", "10.1.2.0/24", "[7] 10.1.1.0/24")):
        event = ("register", prefix, ("203.0.113.1", "203.0.113.2"), 1440, 1)
        world.receive(*register(event, number + 1), now)
    asked = 0
    for number in range(100):
        now += 1.1
        for eid in ("10.1.1.7", "10.1.2.1", "10.1.2.77", "[7] 10.1.1.8"):
            for rlocs in ITR_RLOCS[:3]:
                event = ("ask", eid, rlocs, "10.8.0.1", 61000, {}, 4, None)
                world.receive(*request(event, number), now)
                asked += 1
    assert world.fast is not None
    assert world.fast.answered > 0.9 * asked
