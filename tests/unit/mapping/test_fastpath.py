"""The fast path: what it leaves to the full path, its limits, counters and bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mapping_helpers import (
    ITR,
    NOW,
    Etr,
    config,
    ecm,
    eid,
    endpoint,
    record,
    request,
    site,
    system,
)

from lisp_sdn.actions import Action, Dropped, MappingChanged, SendControl
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.mapping import fastrecords
from lisp_sdn.mapping.fastpath import REFUSED, FastPath, Found
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Answer, Mapping, Requester
from lisp_sdn.policy.engine import PolicyEngine
from lisp_sdn.policy.sites import Sites
from lisp_sdn.wire import Ecm, MapReply, decode

SENDER = endpoint(ITR, 50000)
LOOSE = {"map_replies_per_eid": 1000}


class Front:
    """A map-server with one registration and a fast path that follows its changes."""

    def __init__(self, ms: MapSystem, **bounds: int) -> None:
        self.ms = ms
        self.fast = FastPath(ms, **bounds)
        self.etr = Etr()

    def do(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, MappingChanged):
                self.fast.changed(action.eid)
        return actions

    def register(self, *texts: str, ttl: int = 1440, now: float = NOW) -> None:
        records = [record(text, "203.0.113.1", ttl=ttl) for text in texts]
        self.do(self.fast.receive(self.etr.register(*records), self.etr.source, now))

    def quick(self, data: bytes, now: float = NOW) -> Found | None:
        self.fast.begin(now)
        return self.fast.answer(data, 4, now)

    def full(self, data: bytes, now: float = NOW) -> list[Action]:
        self.fast.begin(now)
        return self.do(self.fast.receive(data, SENDER, now))

    def teach(self, text: str, now: float = NOW, **more: Any) -> bytes:
        """Ask once by the full path; the datagram, with another nonce."""
        self.full(ecm(request(text, nonce=1, **more)), now)
        return ecm(request(text, nonce=0x1122334455667788, **more))


@pytest.fixture
def front() -> Front:
    made = Front(system(limits=LOOSE))
    made.register("10.1.2.0/24", "10.1.9.9/32")
    return made


def reply_of(found: Found | None) -> MapReply:
    assert found is not None
    message = decode(found[0])
    assert isinstance(message, MapReply)
    return message


@pytest.mark.parametrize("source_eid", ["10.7.7.7", None])
@pytest.mark.parametrize("asked", ["10.1.2.3", "10.1.9.9"])
def test_second_question_is_answered_like_the_first(
    front: Front, asked: str, source_eid: str | None
) -> None:
    data = ecm(request(asked, nonce=5, source_eid=source_eid))
    assert front.quick(data) is None
    (sent,) = front.full(data)
    assert isinstance(sent, SendControl)
    found = front.quick(data)
    assert found is not None
    assert found[0] == sent.data
    assert (found[1], found[2]) == (sent.destination.address.packed, sent.destination.port)
    assert front.fast.answered == 1


def test_the_nonce_and_port_are_those_of_the_question(front: Front) -> None:
    front.teach("10.1.2.3", source_eid="10.7.7.7")
    found = front.quick(ecm(request("10.1.2.200", nonce=77, source_eid="10.7.7.7"), port=7000))
    assert reply_of(found).nonce == 77
    assert found is not None
    assert found[2] == 7000


def broken(data: bytes, at: int, octet: int) -> bytes:
    return data[:at] + bytes((octet,)) + data[at + 1 :]


@pytest.mark.parametrize(
    ("at", "octet"),
    [
        (0, 0x84),  # D-bit: a Map-Referral is wanted
        (0, 0x88),  # Authentication Data
        (4, 0x46),  # options
        (7, 61),  # total length
        (10, 0x20),  # more fragments
        (13, 6),  # TCP
        (27, 0xF5),  # another inner port
        (29, 41),  # UDP length
        (30, 0x12),  # UDP checksum
        (32, 0x12),  # RLOC-probe
        (32, 0x11),  # SMR
        (33, 0x40),  # SMR-invoked
        (34, 0x20),  # don't reply
        (35, 2),  # two records
        (56, 0x80),  # subscribe
        (57, 31),  # no host
    ],
)
def test_anything_unusual_goes_the_full_path(front: Front, at: int, octet: int) -> None:
    data = front.teach("10.1.9.9", source_eid="10.7.7.7")
    assert len(data) == 64
    assert front.quick(data) is not None
    assert front.quick(broken(data, at, octet)) is None


def test_a_wrong_checksum_is_left_to_the_full_path_and_zero_is_not(front: Front) -> None:
    data = front.teach("10.1.2.3", source_eid="10.7.7.7")
    assert front.quick(broken(broken(data, 30, 0), 31, 0)) is not None
    wrong = broken(data, 31, data[31] ^ 1)
    assert front.quick(wrong) is None
    assert [type(action) for action in front.full(wrong)] == [Dropped]


def test_a_plain_map_request_and_an_unknown_eid_go_the_full_path(front: Front) -> None:
    front.teach("10.1.2.3")
    assert front.quick(request("10.1.2.3").serialize()) is None
    front.teach("10.1.77.1")
    assert front.quick(ecm(request("10.1.77.1"))) is None


@pytest.mark.parametrize("change", ["10.1.2.0/24", "10.1.2.128/25", "10.1.2.3/32", "10.1.0.0/16"])
def test_a_change_is_seen_at_once(front: Front, change: str) -> None:
    data = front.teach("10.1.2.3")
    assert front.quick(data) is not None
    front.do(front.ms.set_static(Mapping(eid(change)), NOW))
    assert front.quick(data) is None


def test_a_change_of_very_many_forgets_all(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastrecords, "MAX_INSIDE", 1)
    data = front.teach("10.1.2.3")
    front.fast.changed(eid("10.1.0.0/16"))
    assert front.quick(data) is None


def test_limits_are_shared_with_the_full_path_and_reported() -> None:
    front = Front(system(limits={"map_requests_per_source": 3, "map_replies_per_eid": 1000}))
    front.register("10.1.2.0/24")
    data = front.teach("10.1.2.3")
    assert [front.quick(data) is REFUSED for _ in range(4)] == [False, False, True, True]
    assert [a.reason for a in front.full(data) if isinstance(a, Dropped)] == ["rate-limited-source"]
    (dropped,) = front.fast.report(NOW)
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.source) == ("rate-limited-source", ITR)
    assert "(2 times)" in dropped.detail
    counters = front.ms.report.counters
    assert counters["dropped-rate-limited-source"] == 3
    assert counters["map-requests-in"] == counters["encapsulated-map-requests-in"] == 6
    assert counters["proxy-reply-records-out"] == 3
    assert front.fast.report(NOW) == []


def test_repeated_questions_for_one_eid_are_limited() -> None:
    front = Front(system(limits={"map_replies_per_eid": 2}))
    front.register("10.1.2.0/24")
    data = front.teach("10.1.2.3")
    assert front.quick(data) is not REFUSED
    assert front.quick(data) is REFUSED
    assert front.quick(ecm(request("10.1.2.4"))) is not REFUSED


def test_no_answer_is_a_greater_amplifier_than_allowed() -> None:
    front = Front(system(limits={**LOOSE, "amplification": 1}))
    many = [f"203.0.113.{n}" for n in range(1, 9)]
    front.full(front.etr.register(record("10.1.2.0/24", *many)))
    data = front.teach("10.1.2.3")
    assert front.quick(data) is None


def test_what_is_kept_is_bounded() -> None:
    small = Front(system(limits=LOOSE), max_records=2, max_requesters=2)
    for number in range(10):
        small.register(f"10.1.100.{number}/32")
        small.teach(f"10.1.100.{number}", source_eid=f"10.7.0.{number}")
        assert sum(map(len, small.fast._records.values())) <= 2
        assert len(small.fast._requesters) <= 2
        assert len(small.fast._common) <= 2
    assert small.quick(ecm(request("10.1.100.9", source_eid="10.7.0.9"))) is not None


RULES = [
    {
        "name": "office-hours",
        "match": {"time": [{"from": "08:00", "to": "18:00"}]},
        "action": {"deny": "policy-denied"},
    },
    {
        "name": "partner",
        "match": {"itr_rlocs": ["192.0.2.128/25"]},
        "action": {"deny": "policy-denied"},
    },
]


def with_policy(rules: list[dict[str, Any]]) -> tuple[Front, PolicyEngine]:
    policies = [{"site": "one", "rules": rules}]
    settings = config(site(), policies=policies)
    engine = PolicyEngine(settings.policies, Sites.from_config(settings))
    front = Front(system(policy=engine, policies=policies, limits=LOOSE))
    front.register("10.1.2.0/24")
    return front, engine


def test_requesters_of_one_class_share_an_answer_and_others_do_not() -> None:
    front, _ = with_policy(RULES[1:])
    for itr in ("192.0.2.1", "192.0.2.2", "192.0.2.200"):
        front.teach("10.1.2.3", itr=(itr,))
    slots = [s for r in front.fast._records.values() for s in r.prefixes.values()]
    assert [len(slot.others or ()) for slot in slots] == [1]
    for itr, locators in (("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.200", 0)):
        found = front.quick(ecm(request("10.1.2.9", itr=(itr,))))
        assert [len(r.locators) for r in reply_of(found).records] == [locators]


def test_what_it_repeats_counts_for_the_rule_that_decided() -> None:
    front, engine = with_policy(RULES[1:])
    hits = front.ms.report.rule_hits
    data = front.teach("10.1.2.3", itr=("192.0.2.200",))
    ((key, taught),) = hits.items()
    for _ in range(3):
        assert front.quick(data) is not None
    assert hits[key] == taught
    front.fast.report(NOW)
    front.fast.report(NOW)
    assert hits[key] == taught + 3
    front.quick(data)
    engine.set_policies(())
    front.fast.begin(NOW)
    assert hits[key] == taught + 4, "forgotten, but counted"


def test_other_policies_are_noticed_without_being_told() -> None:
    front, engine = with_policy(RULES[1:])
    data = front.teach("10.1.2.3")
    assert front.quick(data) is not None
    engine.set_policies(())
    assert front.quick(data) is None


def test_a_time_window_ends_the_answer_and_counts_down_its_ttl() -> None:
    front, _ = with_policy(RULES)
    day = 1_700_006_400.0 - 86_400 * 2  # midnight UTC
    seven = day + 7 * 3600
    front.register("10.1.2.0/24", now=seven)
    data = front.teach("10.1.2.3", now=seven)
    assert [r.ttl_minutes for r in reply_of(front.quick(data, seven)).records] == [60]
    assert front.quick(data, seven + 59.9) is not None
    assert front.quick(data, seven + 60) is None
    front.teach("10.1.2.3", now=seven + 60)
    assert [r.ttl_minutes for r in reply_of(front.quick(data, seven + 60)).records] == [59]
    front.register("10.1.2.0/24", now=day + 8 * 3600 - 30)
    front.teach("10.1.2.3", now=day + 8 * 3600 - 30)
    assert front.quick(data, day + 8 * 3600 - 1) is not None
    assert front.quick(data, day + 8 * 3600) is None


class Unclassed:
    """A policy of which the fast path knows nothing."""

    def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
        return Answer(replace(mapping, ttl_minutes=int(now) % 100))

    def narrow(self, mapping: Mapping, asked: EidPrefix) -> Mapping:
        return mapping


def test_answers_of_an_unknown_policy_are_never_kept() -> None:
    front = Front(system(policy=Unclassed(), limits=LOOSE))
    front.register("10.1.2.0/24")
    assert front.quick(front.teach("10.1.2.3")) is None


def test_an_inner_port_that_nobody_can_answer_goes_the_full_path(front: Front) -> None:
    front.teach("10.1.2.3", source_eid="10.7.7.7")
    message = request("10.1.2.3", source_eid="10.7.7.7")
    inner = Endpoint(endpoint(ITR).address, 0)
    data = Ecm(inner, endpoint("10.1.2.3"), message.serialize()).serialize()
    assert front.quick(data) is None
