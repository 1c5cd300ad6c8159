"""Who is told of a change: SMRs to foreign ITRs, Map-Notifies to subscribers."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from mapping_helpers import (
    ETR,
    ETR2,
    ITR,
    KEY,
    NOW,
    Etr,
    answers,
    ask,
    dropped,
    ecm,
    eid,
    endpoint,
    events,
    locators,
    notifies,
    record,
    replies,
    request,
    sent,
    site,
    system,
)

from lisp_sdn.actions import Action
from lisp_sdn.address import Endpoint
from lisp_sdn.mapping.faces import Face
from lisp_sdn.mapping.requesters import PrefixKey, Requesters, prefix_key
from lisp_sdn.mapping.smr import ATTEMPTS
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Act, Mapping, Requester
from lisp_sdn.wire import (
    NO_ADDRESS,
    MapNotify,
    MapNotifyAck,
    MapRequest,
    RequestRecord,
    auth,
    decode,
)


def smrs(actions: list[Action]) -> list[tuple[str, str, str]]:
    """(destination, changed EID, EID in the record) of every SMR."""
    found = []
    for message, target in sent(actions):
        if isinstance(message, MapRequest):
            assert message.smr
            assert message.dont_reply
            found.append((str(target), str(message.source_eid), str(message.records[0].eid)))
    return found


def changing(ms: MapSystem, etr: Etr, text: str, rloc: str, now: float) -> list[Action]:
    return ms.receive(etr.register(record(text, rloc)), etr.source, now)


# --- SMR ---


def test_smr_is_the_vector_of_the_conformance_list() -> None:
    vectors = json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())
    (vector,) = [v for v in vectors["vectors"] if v["id"] == "B02"]
    wanted = bytes.fromhex(vector["hex"])
    ms = system(site(prefixes=["198.51.100.0/24"]), control={"listen": ["203.0.113.1:4342"]})
    etr = Etr()
    changing(ms, etr, "198.51.100.128/25", ETR, NOW)
    ask(ms, "198.51.100.140", source_eid="198.51.100.10")
    ((message, _),) = sent(changing(ms, etr, "198.51.100.128/25", ETR2, NOW + 1))
    assert isinstance(message, MapRequest)
    nonce = int.from_bytes(wanted[4:12], "big")
    assert dataclasses.replace(message, nonce=nonce).serialize() == wanted


def test_an_smr_is_repeated_until_the_request_it_asks_for() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    ask(ms, "10.1.2.3", source_eid="10.1.9.9")
    wanted = [(f"{ITR}:4342", "10.1.2.0/32", "10.1.9.9/32")]
    assert smrs(changing(ms, etr, "10.1.2.0/24", ETR2, NOW + 1)) == wanted
    assert ms.next_timer() == NOW + 4
    assert smrs(ms.handle_timer(NOW + 3.9)) == []
    assert smrs(ms.handle_timer(NOW + 4)) == wanted
    assert answers(ask(ms, "10.1.2.0", NOW + 5, smr_invoked=True)) == [("10.1.2.0/24", [ETR2])]
    for second in range(6, 30):
        assert smrs(ms.handle_timer(NOW + second)) == []
    # It asked again, so it is told of the next change as well.
    assert smrs(changing(ms, etr, "10.1.2.0/24", ETR, NOW + 40))


def test_an_itr_that_is_gone_gets_a_bounded_number_of_smrs() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    ask(ms, "10.1.2.3")
    found = smrs(changing(ms, etr, "10.1.2.0/24", ETR2, NOW + 1))
    for second in range(2, 60):
        found += smrs(ms.handle_timer(NOW + second))
    assert len(found) == ATTEMPTS
    assert ms.gauges()["smrs-pending"] == 0
    assert ms.report.counters["smrs-unanswered"] == 1
    assert smrs(changing(ms, etr, "10.1.2.0/24", ETR, NOW + 61)) == []


def test_a_flapping_mapping_sends_one_smr_per_interval() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    found = []
    for n in range(100):
        now = NOW + n / 10
        ms.receive(ecm(request("10.1.2.3", nonce=n)), endpoint(ITR), now)
        found += [now] * len(smrs(changing(ms, etr, "10.1.2.0/24", (ETR, ETR2)[n % 2], now)))
        found += [now] * len(smrs(ms.handle_timer(now)))
    assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(found))
    assert 2 <= len(found) <= 4


def test_many_changes_for_one_itr_are_paced() -> None:
    ms, etr = system(), Etr()
    for n in range(30):
        changing(ms, etr, f"10.1.{n}.0/24", ETR, NOW)
        ask(ms, f"10.1.{n}.1")
    records = [record(f"10.1.{n}.0/24", ETR2) for n in range(30)]
    found = smrs(ms.receive(etr.register(*records), etr.source, NOW + 1))
    assert len(found) == 8
    later = [len(smrs(ms.handle_timer(NOW + 1 + second))) for second in range(1, 16)]
    assert sum(later) <= 6


@pytest.mark.parametrize(
    ("held", "appears", "told"),
    [
        ("10.1.2.3", "10.1.2.0/24", True),  # the hole 10.1.0.0/16 gets an EID
        ("10.1.128.9", "10.1.2.0/24", True),  # the same hole, asked for elsewhere in it
        ("10.2.0.9", "10.1.2.0/24", False),  # another hole
    ],
)
def test_holders_of_negative_answers_are_told(held: str, appears: str, told: bool) -> None:
    ms, etr = system(), Etr()
    ask(ms, held)
    assert bool(smrs(changing(ms, etr, appears, ETR, NOW + 1))) is told


def test_holders_of_parts_and_of_covering_prefixes_are_told() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.0.0/16", ETR, NOW)
    ask(ms, "10.1.77.1")
    # A more-specific appears inside what the ITR holds.
    found = smrs(changing(ms, etr, "10.1.2.0/24", ETR2, NOW + 1))
    assert [changed for _, changed, _ in found] == ["10.1.2.0/32"]
    # Narrowed parts of the covering prefix go with it.
    ms2 = system(site(prefixes=["10.1.0.0/16", "10.1.128.0/17"]))
    changing(ms2, etr, "10.1.0.0/16", ETR, NOW)
    assert answers(ask(ms2, "10.1.3.3")) == [("10.1.0.0/17", [ETR])]
    assert smrs(changing(ms2, etr, "10.1.0.0/16", ETR2, NOW + 1))


def prefix(text: str) -> PrefixKey:
    return prefix_key(eid(text))


def test_who_is_concerned_by_what() -> None:
    requesters = Requesters(100)
    a, b, c, d = (bytes([0, 0, 0, n]) for n in range(4))
    requesters.note(prefix("10.1.0.0/16"), a)
    requesters.note(prefix("10.1.2.0/24"), b, b"eid!")
    requesters.note(prefix("10.1.2.0/25"), c, partial=True)
    requesters.note(prefix("10.1.2.128/25"), d)
    assert not requesters.take(prefix("[5] 10.1.2.0/24"), shape=True)
    # Contents: who holds it or a part of it, not what is registered inside or around it.
    found = requesters.take(prefix("10.1.2.0/24"), shape=False)
    assert {(holder.rloc, holder.source) for holder in found} == {(b, b"eid!"), (c, None)}
    # It goes: who holds something around it as well. Taken holders are forgotten.
    found = requesters.take(prefix("10.1.2.0/24"), shape=True)
    assert [holder.rloc for holder in found] == [a]
    assert len(requesters) == 1


def test_requesters_forget_the_oldest_half() -> None:
    requesters = Requesters(10)
    for n in range(20):
        requesters.note(prefix(f"10.0.{n}.0/24"), b"\0\0\0\1", partial=True)
        assert len(requesters) <= 10
    assert requesters.forgotten == 15
    found = requesters.take(prefix("10.0.0.0/16"), shape=True)
    assert [(holder.rloc, len(found)) for holder in found] == [(b"\0\0\0\1", 1)]
    assert len(requesters) == 0
    nothing = Requesters(0)
    nothing.note(prefix("10.0.0.0/24"), b"\0\0\0\1")
    assert len(nothing) == 0


def test_policy_and_static_changes_are_told_too() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    ask(ms, "10.1.2.3")
    assert smrs(ms.answer_changed(eid("10.1.2.0/24"), NOW + 1))
    ask(ms, "10.1.2.3", NOW + 10)
    assert smrs(ms.set_static(Mapping(eid("10.1.2.0/24"), locators(ETR2)), NOW + 10))


def test_who_is_not_concerned_keeps_his_answer_in_silence_and_is_told_later() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    ask(ms, "10.1.2.3")
    changed = eid("10.1.2.0/24")
    assert smrs(ms.answer_changed(changed, NOW + 1, concerns=lambda face: False)) == []
    assert smrs(ms.answer_changed(changed, NOW + 2, concerns=lambda face: bool(face.requesters)))


def test_holders_of_registered_prefixes_inside_are_told_when_all_may_have_changed() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    ask(ms, "10.1.2.3")
    assert smrs(ms.answer_changed(eid("10.1.0.0/16"), NOW + 1)) == []
    assert smrs(ms.answer_changed(eid("10.1.0.0/16"), NOW + 1, inside=True))


def test_our_own_xtrs_get_no_smr() -> None:
    ms, etr = system(), Etr()
    changing(ms, etr, "10.1.2.0/24", ETR, NOW)
    ms.resolve(request("10.1.2.3"), Requester(xtr="a"), NOW)
    assert smrs(changing(ms, etr, "10.1.2.0/24", ETR2, NOW + 1)) == []


# --- publish/subscribe ---

XTR = {"xtr_id": 0x101112131415161718191A1B1C1D1E1F, "site_id": 0x42}


@dataclasses.dataclass
class Subscriber:
    """An xTR that is registered and subscribes."""

    ms: MapSystem
    etr: Etr = dataclasses.field(default_factory=lambda: Etr(flags={"proxy_reply": True, **XTR}))
    nonce: int = 1000

    def __post_init__(self) -> None:
        self.ms.receive(self.etr.register(record("10.1.200.0/24", ETR)), self.etr.source, NOW)

    def subscribe(self, text: str, now: float = NOW, **more: Any) -> list[Action]:
        self.nonce += 1
        message = request(
            text,
            nonce=more.pop("nonce", self.nonce),
            itr=more.pop("itr", (ETR,)),
            records=(RequestRecord(eid(text), subscribe=True),),
            **{**XTR, **more},
        )
        return self.ms.receive(ecm(message), self.etr.source, now)

    def acknowledge(self, notify: MapNotify, now: float, **wrong: Any) -> list[Action]:
        key, source = wrong.get("key", KEY), wrong.get("source", self.etr.source)
        ack = MapNotifyAck(notify.nonce, notify.records)
        return self.ms.receive(auth.sign(ack, 1, key, 3), source, now)


@pytest.fixture
def subscriber() -> Subscriber:
    ms = system(site(prefixes=["10.1.0.0/16", "198.51.100.0/24"]))
    return Subscriber(ms)


def test_a_subscription_is_confirmed_and_publications_count_up(subscriber: Subscriber) -> None:
    ms, other = subscriber.ms, Etr(ETR2, nonce=5000)
    changing(ms, other, "10.1.2.0/24", ETR2, NOW)
    actions = subscriber.subscribe("10.1.2.0/24")
    ((notify, target),) = sent(actions)
    assert isinstance(notify, MapNotify)
    assert not replies(actions)
    assert (notify.nonce, target) == (1001, endpoint(ETR))
    auth.verify(notify.serialize(), notify, KEY, 3)
    assert [(str(r.eid), str(r.locators[0].rloc)) for r in notify.records] == [
        ("10.1.2.0/24", ETR2)
    ]
    subscriber.acknowledge(notify, NOW)
    (notify,) = notifies(changing(ms, other, "10.1.2.0/24", "203.0.113.77", NOW + 1))
    assert notify.nonce == 1002
    assert str(notify.records[0].locators[0].rloc) == "203.0.113.77"
    subscriber.acknowledge(notify, NOW + 1)
    gone = other.register(record("10.1.2.0/24", ttl=0))
    (notify,) = notifies(ms.receive(gone, other.source, NOW + 2))
    assert (notify.nonce, notify.records[0].ttl_minutes) == (1003, 0)
    assert str(notify.records[0].eid) == "10.1.2.0/24"


def test_a_subscriber_hears_only_of_his_own_answers(subscriber: Subscriber) -> None:
    subscriber.subscribe("10.1.200.0/24")
    changed = eid("10.1.200.0/24")
    shown: list[Face] = []

    def concerns(face: Face) -> bool:
        shown.append(face)
        return len(shown) > 1

    ms = subscriber.ms
    assert not notifies(ms.answer_changed(changed, NOW + 1, concerns=concerns))
    assert notifies(ms.answer_changed(changed, NOW + 2, concerns=concerns))
    assert {requester.xtr_id for requester in shown[0].requesters} == {XTR["xtr_id"]}


def test_the_vector_subscribes() -> None:
    vectors = json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())
    (vector,) = [v for v in vectors["vectors"] if v["id"] == "B07"]
    ms = system(site(prefixes=["10.1.0.0/16", "198.51.100.0/24"]))
    etr = Etr(ITR, flags={"proxy_reply": True, **XTR})
    ms.receive(etr.register(record("10.1.200.0/24", ITR)), etr.source, NOW)
    actions = ms.receive(bytes.fromhex(vector["hex"]), etr.source, NOW)
    (notify,) = notifies(actions)
    assert notify.nonce == 0x1122334455667788
    # Truncated ids: dropped (PS-002).
    for cut in range(1, 24):
        wrong = bytes.fromhex(vector["hex"])[:-cut]
        assert dropped(ms.receive(wrong, etr.source, NOW)) == ["truncated"]


def test_a_notify_is_repeated_as_the_rfc_says_until_acknowledged(subscriber: Subscriber) -> None:
    ms = subscriber.ms
    (notify,) = notifies(subscriber.subscribe("10.1.2.0/24"))
    times = [0.0]
    second = 0.0
    while second < 100:
        second += 0.5
        actions = ms.handle_timer(NOW + second)
        times += [second] * len(notifies(actions))
        if "subscription.lost" in events(actions):
            break
    assert times == [0, 3, 6, 9, 15, 27]
    assert second == 51
    assert ms.gauges()["subscriptions"] == 0
    assert notify.nonce == 1001


@pytest.mark.parametrize(
    ("wrong", "reasons", "stops"),
    [
        ({}, [], True),
        ({"key": b"other"}, ["bad_digest"], False),
        ({"source": endpoint("198.18.0.1")}, [], False),
    ],
)
def test_only_a_valid_ack_stops_the_repeating(
    subscriber: Subscriber, wrong: dict[str, Any], reasons: list[str], stops: bool
) -> None:
    (notify,) = notifies(subscriber.subscribe("10.1.2.0/24"))
    assert dropped(subscriber.acknowledge(notify, NOW + 1, **wrong)) == reasons
    assert notifies(subscriber.ms.handle_timer(NOW + 3)) == ([] if stops else [notify])
    stale = dataclasses.replace(notify, nonce=notify.nonce - 1)
    assert subscriber.acknowledge(stale, NOW + 4) == []


def test_a_newer_publication_takes_the_place_of_the_older(subscriber: Subscriber) -> None:
    ms, other = subscriber.ms, Etr(ETR2, nonce=5000)
    (confirmed,) = notifies(subscriber.subscribe("10.1.2.0/24"))
    changing(ms, other, "10.1.2.0/24", ETR2, NOW + 1)
    (latest,) = notifies(changing(ms, other, "10.1.2.0/24", ETR, NOW + 2))
    assert latest.nonce == confirmed.nonce + 2
    assert notifies(ms.handle_timer(NOW + 5)) == [latest]


def test_subscribers_of_covering_and_covered_prefixes_are_told(subscriber: Subscriber) -> None:
    ms, other = subscriber.ms, Etr(ETR2, nonce=5000)
    for text in ("10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "10.1.9.0/24"):
        for notify in notifies(subscriber.subscribe(text)):
            subscriber.acknowledge(notify, NOW)
    found = notifies(changing(ms, other, "10.1.2.0/24", ETR2, NOW + 1))
    assert sorted(str(notify.records[0].eid) for notify in found) == ["10.1.2.0/24"] * 3


@pytest.mark.parametrize(
    ("flags", "action"),
    [
        ({"xtr_id": 99}, Act.DROP_AUTH_FAILURE),
        ({"site_id": 1}, Act.DROP_AUTH_FAILURE),
        ({"itr": (ITR,)}, Act.DROP_AUTH_FAILURE),
    ],
)
def test_who_is_not_registered_cannot_subscribe(
    subscriber: Subscriber, flags: dict[str, Any], action: Act
) -> None:
    actions = subscriber.subscribe("10.1.2.0/24", **flags)
    assert not notifies(actions)
    (reply,) = replies(actions)
    assert reply.records[0].action == action
    assert dropped(actions) == ["subscription-refused"]
    assert subscriber.ms.gauges()["subscriptions"] == 0


def test_a_replayed_subscription_is_dropped(subscriber: Subscriber) -> None:
    subscriber.subscribe("10.1.2.0/24")
    again = subscriber.subscribe("10.1.2.0/24", nonce=1001)
    assert dropped(again) == ["replayed_nonce"]
    assert not sent(again)


def test_unsubscribe_is_confirmed(subscriber: Subscriber) -> None:
    subscriber.subscribe("10.1.2.0/24")
    actions = subscriber.subscribe("10.1.2.0/24", itr=(NO_ADDRESS,))
    (notify,) = notifies(actions)
    assert notify.nonce == 1002
    assert subscriber.ms.gauges()["subscriptions"] == 0
    assert not notifies(subscriber.ms.handle_timer(NOW + 3))
    assert dropped(subscriber.subscribe("10.1.2.0/24", itr=(NO_ADDRESS,))) == ["not-subscribed"]


def test_subscriptions_are_bounded() -> None:
    ms = system(limits={"subscriptions": 5, "subscriptions_per_xtr": 3})
    subscriber = Subscriber(ms)
    found = [notifies(subscriber.subscribe(f"10.1.{n}.0/24")) for n in range(5)]
    assert [len(one) for one in found] == [1, 1, 1, 0, 0]
    (reply,) = replies(subscriber.subscribe("10.1.77.0/24"))
    assert reply.records[0].action == Act.DROP_POLICY_DENIED


def test_publications_keep_the_pace() -> None:
    ms = system(limits={"map_notify_rate": 10})
    subscriber = Subscriber(ms)
    for n in range(50):
        now = NOW + n
        for notify in notifies(subscriber.subscribe(f"10.1.{n}.0/24", now)):
            subscriber.acknowledge(notify, now)
    mapping = Mapping(eid("10.1.0.0/16"), locators(ETR2))
    now = NOW + 100
    count = [len(notifies(ms.set_static(mapping, now)))]
    for step in range(1, 41):
        actions = ms.handle_timer(now + step / 10)
        count.append(len(notifies(actions)))
        for notify in notifies(actions):
            subscriber.acknowledge(notify, now + step / 10)
    assert count[0] <= 10
    assert max(sum(count[n : n + 10]) for n in range(31)) <= 21
    assert sum(count) >= 49


def test_an_ack_is_decoded_and_answered_by_nothing(subscriber: Subscriber) -> None:
    ack = auth.sign(MapNotifyAck(5, ()), 1, KEY, 3)
    assert subscriber.ms.receive(ack, Endpoint(subscriber.etr.source.address, 9), NOW) == []
    assert isinstance(decode(ack), MapNotifyAck)
