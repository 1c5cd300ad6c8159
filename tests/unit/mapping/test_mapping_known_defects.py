"""Defects that other Map-Servers had, each kept out of ours by a test."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from mapping_helpers import (
    ETR,
    ETR2,
    ITR,
    KEY,
    NOW,
    Etr,
    dropped,
    ecm,
    eid,
    endpoint,
    notifies,
    record,
    replies,
    request,
    sent,
    site,
    system,
)

from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.wire import MapNotify, MapRegister, MapRequest, auth

ALGORITHMS = ["hmac-sha-1-96", "hmac-sha-256-128", "hmac-sha256-128+hkdf-sha256"]
EVERY_MAC = [(1, 12), (1, 20), (2, 16), (2, 32), (3, 16), (3, 32)]
HEAD = 16
"""Octets of a Map-Register before its Authentication Data."""


def lenient() -> dict[str, Any]:
    return site(allowed_algorithms=ALGORITHMS, nonce_check="off")


def signed(nonce: int, algorithm: int, length: int, *records: Any) -> bytes:
    message = MapRegister(nonce, records or (record("10.1.2.0/24", ETR),), want_notify=True)
    return auth.sign(message, 1, KEY, algorithm, full_length=length in (20, 32))


# --- a fast path for repeated Map-Registers that skipped MAC and nonce, and signed its answer ---


@pytest.mark.parametrize(("algorithm", "length"), EVERY_MAC)
def test_a_repeated_register_is_authenticated_like_the_first(algorithm: int, length: int) -> None:
    ms = system(lenient())
    data = signed(7, algorithm, length)
    assert notifies(ms.receive(data, endpoint(ETR), NOW))
    for at in range(HEAD, HEAD + length):
        forged = bytearray(data)
        forged[at] ^= 0x80
        actions = ms.receive(bytes(forged), endpoint(ETR), NOW + 1)
        assert dropped(actions) == ["bad_digest"]
        assert not sent(actions), "an attacker gets no signed Map-Notify"


def test_the_nonce_of_a_repeated_register_counts_too() -> None:
    ms = system()
    etr = Etr()
    first = etr.register(record("10.1.2.0/24", ETR), want_notify=True)
    second = etr.register(record("10.1.2.0/24", ETR), want_notify=True)
    for data in (first, second):
        assert notifies(ms.receive(data, etr.source, NOW))
    # Same records, same key, same sender, only older.
    actions = ms.receive(first, etr.source, NOW + 1)
    assert dropped(actions) == ["replayed_nonce"]
    assert not sent(actions)


def test_a_copy_of_the_last_register_does_not_keep_a_registration_alive() -> None:
    ms = system()
    etr = Etr()
    data = etr.register(record("10.1.2.0/24", ETR), want_notify=True)
    ms.receive(data, etr.source, NOW)
    for seconds in (60, 120, 179):
        ms.receive(data, etr.source, NOW + seconds)
    ms.handle_timer(NOW + 181)
    assert not ms.database.registered


# --- Map-Requests that wrote state, and subscribed whatever ITR-RLOC they named ---


def test_map_requests_for_unknown_eids_write_nothing_and_subscribe_nobody() -> None:
    store = MemoryStore()
    ms = system(store=store, limits={"requesters": 50})
    before = store.seq
    for number in range(300):
        data = ecm(request(f"10.1.{number & 255}.{number >> 8}", itr=(f"198.18.0.{number % 250}",)))
        ms.receive(data, endpoint(ITR), NOW)
    assert store.seq == before
    gauges = ms.gauges()
    assert gauges["subscriptions"] == gauges["registrations"] == gauges["static-mappings"] == 0
    assert gauges["requesters"] <= 50


def test_a_forged_itr_rloc_is_no_reflector() -> None:
    """Somebody else's address in many Map-Requests: it gets a few SMRs, paced, and no more."""
    ms = system()
    etr = Etr()
    victim = "198.18.0.1"
    for number in range(200):
        ms.receive(ecm(request(f"10.1.{number}.1", itr=(victim,))), endpoint(ITR), NOW)
    actions = []
    for number in range(200):
        data = etr.register(record(f"10.1.{number}.0/24", ETR))
        actions += ms.receive(data, etr.source, NOW + 1)
    to_victim = [m for m, where in sent(actions) if str(where.address) == victim]
    assert all(isinstance(message, MapRequest) and message.smr for message in to_victim)
    assert 0 < len(to_victim) <= ms.config.limits.smr_burst
    assert not [m for m, _ in sent(actions) if isinstance(m, MapNotify)]


# --- MACs compared as C strings, up to the first zero octet ---


@pytest.mark.parametrize(("algorithm", "length"), EVERY_MAC)
def test_macs_are_compared_beyond_a_zero_octet(algorithm: int, length: int) -> None:
    ms = system(lenient())
    genuine = next(
        data
        for data in (signed(nonce, algorithm, length) for nonce in range(10_000))
        if data[HEAD] == 0
    )
    zeros = genuine[:HEAD] + bytes(length) + genuine[HEAD + length :]
    assert dropped(ms.receive(zeros, endpoint(ETR), NOW)) == ["bad_digest"]
    rest = genuine[: HEAD + 1] + bytes(length - 1) + genuine[HEAD + length :]
    assert dropped(ms.receive(rest, endpoint(ETR), NOW)) == ["bad_digest"]
    assert not ms.database.registered
    assert notifies(ms.receive(genuine, endpoint(ETR), NOW))


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_4096_all_zero_macs_are_refused(algorithm: int) -> None:
    ms = system(lenient())
    length = 12 if algorithm == 1 else 16
    data = bytearray(signed(0, algorithm, length))
    data[HEAD : HEAD + length] = bytes(length)
    for nonce in range(4096):
        data[4:12] = nonce.to_bytes(8, "big")
        assert not sent(ms.receive(bytes(data), endpoint(ETR), NOW))
    assert not ms.database.registered
    assert ms.report.counters["map-registers-in-auth-failed"] == 4096


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_a_mac_shorter_than_its_name_says_is_refused(algorithm: int) -> None:
    ms = system(lenient())
    length = 12 if algorithm == 1 else 16
    whole = signed(7, algorithm, length)
    for short in range(length):
        head = whole[: HEAD - 2] + short.to_bytes(2, "big")
        data = head + whole[HEAD : HEAD + short] + whole[HEAD + length :]
        actions = ms.receive(data, endpoint(ETR), NOW)
        assert dropped(actions), short
        assert not sent(actions)
    assert not ms.database.registered


# --- a Map-Register that wiped everything else of its site ---


def test_a_register_leaves_the_other_mappings_of_its_site_alone() -> None:
    ms = system()
    etr, other = Etr(), Etr(ETR2, nonce=5000)
    ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    ms.receive(other.register(record("10.1.2.0/24", ETR2)), other.source, NOW)
    ms.receive(etr.register(record("10.1.3.0/24", ETR)), etr.source, NOW)
    ms.receive(etr.register(record("10.1.3.0/24", ETR, ttl=0)), etr.source, NOW)
    assert [str(entry.eid) for entry in ms.inventory.mappings(None)] == [
        "10.1.1.0/24",
        "10.1.2.0/24",
    ]


# --- a longest match that looked at every entry ---


def calls_of_one_answer(prefixes: int) -> int:
    ms = system()
    etr = Etr()
    rng = random.Random(3)
    numbers = rng.sample(range(65536), prefixes - 1)
    eids = ["10.1.200.7/32", *(f"10.1.{n >> 8}.{n & 255}/32" for n in numbers if n != 51207)]
    for at in range(0, len(eids), 50):
        data = etr.register(*(record(text, ETR) for text in eids[at : at + 50]))
        ms.receive(data, etr.source, NOW)
    data = ecm(request("10.1.200.7"))
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        actions = ms.receive(data, endpoint(ITR), NOW)
    finally:
        sys.setprofile(None)
    (reply,) = replies(actions)
    assert reply.records[0].eid == eid("10.1.200.7/32")
    return calls


def test_the_work_for_an_answer_does_not_grow_with_the_mappings() -> None:
    few, many = calls_of_one_answer(10), calls_of_one_answer(3000)
    assert many <= few * 1.1
