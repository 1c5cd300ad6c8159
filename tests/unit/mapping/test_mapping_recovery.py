"""Restarts from the store, and followers that copy a leader."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from mapping_helpers import (
    ETR,
    ETR2,
    NOW,
    Etr,
    answers,
    ask,
    changed,
    config,
    dropped,
    eid,
    events,
    locators,
    notifies,
    record,
    site,
    system,
)

from lisp_sdn.address import SourceDestPrefix
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import Change, MemoryStore, Store, Table
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Act, Mapping, RegisteredPolicy
from lisp_sdn.wire import EidRecord

LATER = NOW + 100_000.0


def restarted(store: Store, *sites: dict[str, Any], **more: Any) -> MapSystem:
    return MapSystem(
        config(*sites, **more), store=store, policy=RegisteredPolicy(), rng=random.Random(1)
    )


def shown(ms: MapSystem) -> list[tuple[object, ...]]:
    return [
        (str(e.eid), str(e.source), e.site, e.registered, str(e.etr), e.xtr_id, e.proxy_reply,
         e.merge, e.mapping)
        for e in ms.inventory.registrations(None)
    ]  # fmt: skip


def filled(store: Store) -> MapSystem:
    """A Map-Server with registrations of every kind."""
    ms = system(store=store)
    one = Etr(flags={"xtr_id": 7, "site_id": 8, "proxy_reply": True, "merge": True})
    two = Etr(ETR2, flags={"merge": True})
    six = Etr("2001:db8:e::1", nonce=2000)
    ms.receive(one.register(record("10.1.1.0/24", ETR, ttl=5, version=9)), one.source, NOW)
    ms.receive(two.register(record("10.1.1.0/24", ETR2)), two.source, NOW + 1)
    ms.receive(six.register(record("10.1.2.3", "2001:db8:e::1", ETR)), six.source, NOW + 2)
    key = SourceDestPrefix(eid("10.9.0.0/16"), eid("10.1.4.0/24"))
    keyed = EidRecord(key, locators(ETR))
    ms.receive(two.register(keyed, record("10.1.5.0/24", ETR)), two.source, NOW + 3)
    ms.receive(two.register(record("10.1.5.0/24", ttl=0)), two.source, NOW + 4)
    ms.set_static(Mapping(eid("10.1.7.0/24"), action=Act.DROP_NO_REASON, ttl_minutes=3), NOW)
    ms.set_static(Mapping(eid("[9] 192.0.2.0/24"), locators("198.51.100.1")), NOW)
    ms.set_static(Mapping(eid("172.16.0.0/12"), locators("198.51.100.1")), NOW)
    ms.remove_static(eid("172.16.0.0/12"), NOW)
    return ms


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_restart_answers_at_once_what_was_answered_before(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "store")
    before = filled(store)
    while store.durable_seq < store.seq:
        store.flush()
    if isinstance(store, SqliteStore):
        store.close()
        store = SqliteStore(tmp_path / "store")
    after = restarted(store)
    assert events(after.start(LATER)) == ["registration.recovered"]
    assert shown(after) == shown(before)
    for text in ("10.1.1.1", "10.1.2.3", "10.1.7.1", "[9] 192.0.2.1", "10.1.5.5", "172.16.0.1"):
        assert answers(ask(after, text, LATER)) == answers(ask(before, text)), text
    assert after.gauges()["registrations"] == before.gauges()["registrations"] == 4
    assert after.gauges()["static-mappings"] == 2
    # Silence while we were away says nothing: a full timeout from now, T-bit or not.
    assert not events(after.handle_timer(LATER + 179))
    assert events(after.handle_timer(LATER + 180)) == ["registration.expired"] * 4
    while store.durable_seq < store.seq:
        store.flush()
    assert store.count(Table.REGISTRATIONS) == 0
    store.close()


@pytest.mark.parametrize("rule", ["strictly-increasing", "not-seen"])
def test_a_replay_after_a_restart_is_refused(rule: str) -> None:
    store, etr = MemoryStore(), Etr()
    ms = system(site(nonce_check=rule), store=store)
    data = etr.register(record("10.1.1.0/24", ETR), want_notify=True)
    ms.receive(data, etr.source, NOW)
    after = restarted(store, site(nonce_check=rule))
    after.start(LATER)
    assert dropped(after.receive(data, etr.source, LATER)) == ["replayed_nonce"]
    fresh = etr.register(record("10.1.1.0/24", ETR), want_notify=True)
    assert len(notifies(after.receive(fresh, etr.source, LATER))) == 1


def test_what_the_configuration_no_longer_allows_is_left_out_and_deleted() -> None:
    store, etr = MemoryStore(), Etr()
    ms = system(site(prefixes=["10.1.0.0/16", "10.2.0.0/16"]), store=store)
    records = [record("10.1.1.0/24", ETR), record("10.2.1.0/24", ETR), record("10.1.3.0/24", ETR2)]
    ms.receive(etr.register(*records), etr.source, NOW)
    after = restarted(store, site(allowed_rlocs=["203.0.113.1/32"]))
    assert sorted(dropped(after.start(LATER))) == ["eid-not-configured", "rloc-not-allowed"]
    assert [str(e.eid) for e in after.inventory.registrations(None)] == ["10.1.1.0/24"]
    store.flush()
    assert store.count(Table.REGISTRATIONS) == 1
    gone = restarted(store, site("renamed"))
    assert dropped(gone.start(LATER)) == ["site-gone"]


def test_unreadable_octets_in_the_store_are_named_and_do_not_stop_the_start() -> None:
    store = MemoryStore()
    filled(store)
    store.append([
        Change(Table.REGISTRATIONS, b"one\0zzz", b""),
        Change(Table.REGISTRATIONS, b"", b""),
        Change(Table.NONCES, b"one\0", b"12345678"),
        Change(Table.STATIC_MAPPINGS, b"\0", b"1"),
    ])  # fmt: skip
    (key, value) = next(iter(store.load(Table.REGISTRATIONS)))
    store.append([Change(Table.REGISTRATIONS, key, value[:-3])])
    store.flush()
    after = restarted(store)
    reasons = dropped(after.start(LATER))
    assert set(reasons) == {"store-unreadable"}
    assert len(reasons) == 5
    assert after.database.registered == 3


def test_a_refresh_writes_the_nonce_only() -> None:
    store, etr = MemoryStore(), Etr()
    ms = system(store=store)
    seen: list[list[Table]] = []
    store.on_append = lambda changes: seen.append([change.table for change in changes])
    for _ in range(2):
        ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    moved = Etr(ETR2, nonce=500)
    ms.receive(moved.register(record("10.1.1.0/24", ETR)), moved.source, NOW)
    assert seen == [
        [Table.NONCES, Table.REGISTRATIONS],
        [Table.NONCES],
        [Table.NONCES, Table.REGISTRATIONS],
    ]


# --- followers ---


def test_a_follower_answers_like_its_leader() -> None:
    store = MemoryStore()
    leader = filled(store)
    follower = restarted(MemoryStore())
    follower.start(NOW)
    actions = follower.apply(leader.snapshot(), NOW)
    assert len(set(changed(actions))) == 5
    stream: list[Change] = []
    store.on_append = stream.extend

    def check() -> None:
        assert shown(follower) == shown(leader)
        assert follower.gauges() == leader.gauges()

    check()
    etr = Etr(ETR2, nonce=9000)
    for records in (
        [record("10.1.77.0/24", ETR), record("10.1.78.0/24", ETR)],
        [record("10.1.77.0/24", ETR2)],
        [record("10.1.78.0/24", ttl=0)],
    ):
        leader.receive(etr.register(*records), etr.source, NOW + 60)
        assert changed(follower.apply(stream, NOW + 60))
        stream.clear()
        check()
    leader.set_static(Mapping(eid("10.1.77.0/24"), locators("198.51.100.3")), NOW + 61)
    leader.remove_static(eid("10.1.7.0/24"), NOW + 61)
    leader.handle_timer(NOW + 200)
    follower.apply(stream, NOW + 200)
    check()
    # It expires nothing by itself.
    assert follower.next_timer() is None
    assert follower.handle_timer(NOW + 10_000) == []
    # What changes nothing tells nobody.
    assert follower.apply(list(leader.snapshot()), NOW + 201) == []


def test_a_follower_refuses_octets_that_are_none_of_ours() -> None:
    follower = system()
    with pytest.raises(StoreError):
        follower.apply([Change(Table.REGISTRATIONS, b"one\0zz", b"")], NOW)


@pytest.mark.parametrize(
    "key",
    [
        eid("10.0.0.0/8"),
        eid("[16777215] 2001:db8::/128"),
        eid("0.0.0.0/0"),
        SourceDestPrefix(eid("[5] 10.1.0.0/16"), eid("[5] 10.2.0.0/16")),
        SourceDestPrefix(eid("2001:db8::/32"), eid("::/0")),
    ],
)
@pytest.mark.parametrize("identity", ["192.0.2.1", "2001:db8::1", (0, 0), (2**64 - 1, 2**128 - 1)])
def test_keys_survive_the_store(key: Any, identity: Any) -> None:
    data = codec.registration_key("a.site-1", key, identity)
    assert codec.read_registration_key(data) == ("a.site-1", key, identity)
    assert codec.read_static_key(codec.static_key(key)) == key
    nonce = codec.nonce_key("x", 255, identity), codec.nonce_value(2**64 - 1)
    assert codec.read_nonce(*nonce) == ("x", 255, identity, 2**64 - 1)
    for cut in range(len(data)):
        with pytest.raises(StoreError):
            codec.read_registration_key(data[: cut if cut < len(data) - 1 else 3])
