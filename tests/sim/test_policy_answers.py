"""Ingress policy in the answers of the mapping system: Map-Requests in, Map-Replies out."""

from __future__ import annotations

import ipaddress
import random

import pytest

from lisp_sdn.actions import Action, MappingChanged, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.config import load
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Act, Locator, Mapping, Requester
from lisp_sdn.policy import Conditions, PolicyBook, PolicyEngine, Sites, affected
from lisp_sdn.wire import Ecm, EidRecord, MapReply, MapRequest, RequestRecord, decode

CONFIG = """
sites:
  - name: athens
    authentication_keys: [{key: k}]
    eid_prefixes: [{prefix: 10.1.0.0/16, accept_more_specifics: true}]
  - {name: corinth, authentication_keys: [{key: k}], allowed_rlocs: [192.0.2.0/24]}
policies:
  - site: athens
    rules:
      - name: servers
        match: {eid_prefixes: [10.1.5.0/24], source_eids: [10.9.0.0/16]}
        action: {pin: [203.0.113.2], ttl_minutes: 7}
      - name: servers-closed
        match: {eid_prefixes: [10.1.5.0/24]}
        action: {deny: true}
      - name: partner
        match: {sites: [corinth]}
        action: {pin: [203.0.113.2]}
      - name: night
        match: {time: [{from: 22:00, to: 06:00}]}
        action: {locators: [{rloc: 203.0.113.1, weight: 10}]}
"""
A, B = ipaddress.ip_address("203.0.113.1"), ipaddress.ip_address("203.0.113.2")
MAPPING = Mapping(EidPrefix.from_text("10.1.0.0/16")).with_locators((Locator(A), Locator(B)))
PARTNER, BERLIN = "192.0.2.9", "198.51.100.9"
NOON = 1_700_481_600.0


class World:
    """A mapping system with a policy, and foreign ITRs that ask it."""

    def __init__(self) -> None:
        config = load(CONFIG)
        self.engine = PolicyEngine(config.policies, Sites.from_config(config))
        self.book = PolicyBook(config)
        self.book.start(NOON)
        self.system = MapSystem(
            config, store=MemoryStore(), policy=self.engine, rng=random.Random(1)
        )
        self.system.start(NOON)
        self.system.set_static(MAPPING, NOON)

    def ask(self, rloc: str, eid: str, source: str = "10.8.0.1", now: float = NOON) -> EidRecord:
        wanted = EidPrefix.host(0, ipaddress.ip_address(eid))
        itr = Endpoint(ipaddress.ip_address(rloc), 4342)
        source_eid = EidPrefix.host(0, ipaddress.ip_address(source))
        request = MapRequest(7, source_eid, (itr.address,), (RequestRecord(wanted),))
        inner = Endpoint(ipaddress.ip_address(eid), 4342)
        data = Ecm(itr, inner, request.serialize()).serialize()
        (reply,) = _sent(self.system.receive(data, itr, now), MapReply)
        (record,) = reply.records
        return record

    def change(self, text: str, now: float) -> tuple[list[EidPrefix], list[Action]]:
        """Apply a policy as a controller does."""
        before = self.engine.copy()
        self.book.apply(
            self.book.parse(text), if_match=self.book.etag, who="test", why="test", now=now
        )
        self.engine.set_policies(self.book.policies)
        told = list(affected(before, self.engine, (MAPPING,), now))
        return told, [act for eid in told for act in self.system.answer_changed(eid, now)]


def _sent(actions: list[Action], kind: type) -> list[object]:
    messages = [decode(action.data) for action in actions if isinstance(action, SendControl)]
    return [message for message in messages if isinstance(message, kind)]


def rlocs(record: EidRecord) -> dict[str, str]:
    return {str(one.rloc)[-1]: f"{one.priority}/{one.weight}" for one in record.locators}


@pytest.fixture
def world() -> World:
    return World()


def test_two_itrs_get_two_answers(world: World) -> None:
    assert rlocs(world.ask(PARTNER, "10.1.200.1")) == {"2": "1/100"}
    assert rlocs(world.ask(BERLIN, "10.1.200.1")) == {"1": "1/100", "2": "1/100"}
    # And again, from whatever is kept.
    assert rlocs(world.ask(PARTNER, "10.1.200.1")) == {"2": "1/100"}


def test_a_denied_requester_gets_a_negative_reply_for_the_closed_part_only(world: World) -> None:
    record = world.ask(BERLIN, "10.1.5.9")
    assert (record.locators, record.action) == ((), Act.DROP_POLICY_DENIED)
    assert record.eid == EidPrefix.from_text("10.1.5.0/24")
    neighbour = world.ask(BERLIN, "10.1.4.9")
    assert rlocs(neighbour) == {"1": "1/100", "2": "1/100"}
    assert isinstance(neighbour.eid, EidPrefix)
    assert not neighbour.eid.covers(record.eid)


def test_a_foreign_itr_gets_what_its_source_eid_allows(world: World) -> None:
    record = world.ask(BERLIN, "10.1.5.9", source="10.9.3.3")
    assert (rlocs(record), record.ttl_minutes) == ({"2": "1/100"}, 7)
    assert record.eid == EidPrefix.from_text("10.1.5.0/24")


def test_our_own_xtr_gets_the_scope_with_the_answer(world: World) -> None:
    asking = Requester((ipaddress.ip_address(BERLIN),), EidPrefix.from_text("10.9.3.3/32"))
    request = MapRequest(
        1, asking.source_eid, asking.itr_rlocs, (RequestRecord(EidPrefix.from_text("10.1.5.9/32")),)
    )
    reply, _ = world.system.resolve(request, asking, NOON)
    assert reply is not None
    (record,) = reply.records
    assert record.eid == SourceDestPrefix(
        EidPrefix.from_text("10.9.0.0/16"), EidPrefix.from_text("10.1.5.0/24")
    )


def test_the_ttl_ends_before_the_answer_does(world: World) -> None:
    assert world.ask(BERLIN, "10.1.200.1", now=NOON).ttl_minutes == 600
    evening = NOON + 9.5 * 3600
    assert world.ask(BERLIN, "10.1.200.1", now=evening).ttl_minutes == 30
    night = world.ask(BERLIN, "10.1.200.1", now=NOON + 10 * 3600)
    assert (rlocs(night)["1"], night.ttl_minutes) == ("1/10", 480)


def test_a_change_is_told_to_those_who_hold_the_mapping(world: World) -> None:
    world.ask(PARTNER, "10.1.200.1")
    world.ask(BERLIN, "10.1.200.1")
    text = """
- site: athens
  rules:
    - {name: partner, match: {sites: [corinth]}, action: {pin: [203.0.113.1]}}
"""
    told, actions = world.change(text, NOON + 10)
    assert any(eid.covers(EidPrefix.from_text("10.1.200.1/32")) for eid in told)
    assert any(isinstance(action, MappingChanged) for action in actions)
    solicited = {
        str(action.destination.address) for action in actions if isinstance(action, SendControl)
    }
    assert PARTNER in solicited
    assert rlocs(world.ask(PARTNER, "10.1.200.1", now=NOON + 11)) == {"1": "1/100"}


def test_applying_the_same_policy_tells_nobody(world: World) -> None:
    world.ask(PARTNER, "10.1.200.1")
    told, actions = world.change(CONFIG[CONFIG.index("policies:") :], NOON + 10)
    assert (told, actions) == ([], [])


def test_a_pinned_rloc_that_goes_down_falls_back_to_what_is_registered(world: World) -> None:
    world.engine.set_conditions(Conditions(up={B: False}))
    world.system.answer_changed(MAPPING.eid, NOON)
    assert rlocs(world.ask(PARTNER, "10.1.200.1")) == {"1": "1/100", "2": "1/100"}
