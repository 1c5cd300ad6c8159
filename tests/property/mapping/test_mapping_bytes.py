"""Bytes from the network: never an exception, never a registration without a key, little state."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "mapping"))

from mapping_helpers import ETR, ITR, KEY, NOW, Etr, ecm, eid, endpoint, record, request, system

from lisp_sdn.actions import Dropped, MappingChanged, SendControl
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.wire import MapNotifyAck, MapReply, RequestRecord, auth

XTR = {"xtr_id": 7, "site_id": 1}


def served() -> MapSystem:
    ms, etr = system(), Etr(flags={"proxy_reply": True, **XTR})
    records = [record("10.1.1.0/24", ETR), record("10.1.0.0/16", ETR)]
    ms.receive(etr.register(*records), etr.source, NOW)
    return ms


def corpus() -> list[bytes]:
    """One of everything that a Map-Server takes, and some that it does not."""
    flags = {"proxy_reply": True, "want_notify": True, **XTR}
    # The narrower scope leaves the xTR-ID open to change, which open decision Q-07 lives with.
    etr = Etr(nonce=500, flags=flags, scope=auth.MacScope.MESSAGE)
    subscription = request(
        "10.1.1.0/24",
        nonce=9,
        itr=(ETR,),
        records=(RequestRecord(eid("10.1.1.0/24"), True),),
        **XTR,
    )
    return [
        etr.register(record("10.1.1.0/24", ETR), record("10.1.7.0/24", "2001:db8::1")),
        etr.register(record("10.1.1.0/24", ttl=0)),
        ecm(request("10.1.1.1", source_eid="10.1.9.9")),
        ecm(request("2001:db8::1", itr=("2001:db8::9", ITR))),
        ecm(request("[5] 10.1.1.1"), ddt=True),
        request("10.1.0.0/16", authoritative=True, smr_invoked=True).serialize(),
        ecm(subscription),
        auth.sign(MapNotifyAck(9, (record("10.1.1.0/24", ETR),)), 1, KEY, 3),
        MapReply(3, (record("10.1.1.0/24", ETR),)).serialize(),
    ]


CORPUS = corpus()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        how = draw(st.integers(0, 3))
        if how == 0 and place < len(data):
            data[place] = draw(st.integers(0, 255))
        elif how == 1:
            del data[place:]
        elif how == 2:
            data[place:place] = draw(st.binary(min_size=1, max_size=6))
        elif place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@settings(max_examples=70, deadline=None, derandomize=True)
@given(st.lists(damaged() | st.binary(max_size=120), min_size=1, max_size=12))
def test_damaged_datagrams_do_no_harm(datagrams: list[bytes]) -> None:
    ms = served()
    before = list(ms.inventory.registrations(None))
    for number, data in enumerate(datagrams):
        if data in CORPUS:
            continue
        actions = ms.receive(data, endpoint(ETR, 40000), NOW + number)
        for action in actions:
            assert not isinstance(action, MappingChanged)
            if isinstance(action, SendControl):
                assert len(action.data) <= 10 * len(data)
            if isinstance(action, Dropped):
                assert action.reason
                assert KEY.decode() not in action.detail
    assert list(ms.inventory.registrations(None)) == before
    assert ms.gauges()["requesters"] <= 16 * len(datagrams)
    ms.handle_timer(NOW + 100)


def test_the_corpus_is_what_it_claims_to_be() -> None:
    ms = served()
    found = [bool(ms.receive(data, endpoint(ETR, 40000), NOW)) for data in CORPUS]
    assert all(found[:7])
    assert ms.gauges()["subscriptions"] == 1
