"""One suite for every Store: what the Protocol promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import (
    Change,
    MemoryStore,
    Store,
    StoreFull,
    Table,
    VersionConflict,
    WriteBehindStore,
)

REG, NONCE, STATIC = Table.REGISTRATIONS, Table.NONCES, Table.STATIC_MAPPINGS

Make = Callable[..., Store]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a Store with the given limits; at most one a test."""

    def build(**limits: int) -> Store:
        if request.param == "memory":
            return MemoryStore(**limits)
        store = SqliteStore(tmp_path / "store.db", **limits)
        request.addfinalizer(store.close)
        return store

    return build


@pytest.fixture
def store(make: Make) -> Store:
    return make()


def drain(store: Store) -> int:
    for _ in range(1000):
        if store.flush() == store.seq:
            return store.seq
    raise AssertionError("flush makes no progress")


def table(store: Store, name: Table = REG) -> dict[bytes, bytes]:
    return dict(store.load(name))


def test_new_store_is_empty(store: Store) -> None:
    assert (store.seq, store.durable_seq, store.pending) == (0, 0, 0)
    assert store.flush() == 0
    assert all(table(store, name) == {} and store.count(name) == 0 for name in Table)
    assert store.journal_list() == []
    assert store.document_list("policy") == []


def test_append_is_durable_only_after_flush(store: Store) -> None:
    seq = store.append([Change(REG, b"k", b"v"), Change(NONCE, b"n", b"7")])
    assert seq == store.seq == 1
    assert store.durable_seq == 0
    assert store.pending == 2
    assert table(store) == {}
    assert store.flush() == seq == store.durable_seq
    assert store.pending == 0
    assert table(store) == {b"k": b"v"}
    assert table(store, NONCE) == {b"n": b"7"}


def test_sequence_numbers_grow(store: Store) -> None:
    numbers = [store.append([Change(REG, bytes([i]), b"")]) for i in range(5)]
    assert numbers == [1, 2, 3, 4, 5]


def test_append_of_nothing_is_as_durable_as_what_came_before(store: Store) -> None:
    assert store.append([]) == 0
    seq = store.append([Change(REG, b"k", b"v")])
    assert store.append([]) == seq


def test_last_change_of_a_key_wins_within_and_across_batches(store: Store) -> None:
    store.append([Change(REG, b"a", b"1"), Change(REG, b"b", b"1")])
    store.append([Change(REG, b"a", b"2"), Change(REG, b"b", None)])
    store.flush()
    assert table(store) == {b"a": b"2"}
    store.append([Change(REG, b"b", b"3"), Change(REG, b"a", None), Change(REG, b"x", None)])
    store.flush()
    assert table(store) == {b"b": b"3"}
    assert store.count(REG) == 1


def test_tables_do_not_share_keys(store: Store) -> None:
    store.append([Change(REG, b"k", b"1"), Change(STATIC, b"k", b"2"), Change(NONCE, b"k", b"3")])
    store.append([Change(STATIC, b"k", None)])
    store.flush()
    assert (table(store, REG), table(store, STATIC), table(store, NONCE)) == (
        {b"k": b"1"},
        {},
        {b"k": b"3"},
    )


def test_load_is_in_ascending_order_of_keys(store: Store) -> None:
    keys = [bytes([i * 37 % 251]) * (1 + i % 3) for i in range(251)]
    store.append([Change(REG, key, b"v") for key in keys])
    store.flush()
    assert [key for key, _ in store.load(REG)] == sorted(keys)


def test_flush_takes_whole_appends_one_batch_a_call(make: Make) -> None:
    store = make(batch=10)
    first = store.append([Change(REG, bytes([i]), b"") for i in range(8)])
    second = store.append([Change(REG, bytes([i]), b"") for i in range(8, 16)])
    third = store.append([Change(REG, bytes([i]), b"") for i in range(16, 24)])
    assert (first, second, third) == (1, 2, 3)
    assert store.flush() == second
    assert store.count(REG) == 16
    assert store.pending == 8
    assert store.flush() == third
    assert store.count(REG) == 24


def test_a_full_store_refuses_and_recovers(make: Make) -> None:
    store = make(max_pending=3)
    store.append([Change(REG, b"a", b""), Change(REG, b"b", b"")])
    with pytest.raises(StoreFull, match=r"2 changes wait.*limit 3"):
        store.append([Change(REG, b"c", b""), Change(REG, b"d", b"")])
    store.append([Change(REG, b"e", b"")])
    with pytest.raises(StoreFull):
        store.journal_append(1.0, "me", "something")
    with pytest.raises(StoreFull):
        store.document_put("policy", "s", "{}", 1.0)
    assert store.document_get("policy", "s") is None
    assert store.journal_list() == []
    drain(store)
    assert set(table(store)) == {b"a", b"b", b"e"}
    store.append([Change(REG, b"c", b"")])
    assert store.journal_list() == []


def test_deletions_are_taken_by_a_full_store(make: Make) -> None:
    store = make(max_pending=2)
    store.append([Change(REG, b"a", b"1"), Change(REG, b"b", b"1")])
    with pytest.raises(StoreFull):
        store.append([Change(REG, b"a", None), Change(REG, b"b", b"2")])
    store.append([Change(REG, b"a", None)])
    drain(store)
    assert table(store) == {b"b": b"1"}


def test_on_append_sees_every_accepted_append_in_order(make: Make) -> None:
    store = make(max_pending=2)
    assert isinstance(store, WriteBehindStore)
    seen: list[Change] = []
    store.on_append = seen.extend
    changes = [Change(REG, b"a", b"1"), Change(NONCE, b"n", b"1"), Change(REG, b"a", None)]
    store.append(changes[:2])
    with pytest.raises(StoreFull):
        store.append([Change(REG, b"refused", b"")])
    store.append([])
    store.append(changes[2:])
    assert seen == changes


def test_octets_and_texts_come_back_as_they_were(store: Store) -> None:
    blob = bytes(range(256))
    store.append([Change(REG, blob, b""), Change(REG, b"", blob)])
    store.document_put("policy", "söme'; DROP TABLE x--", '{"ü": "\\u0000"}', 1.5)
    store.journal_append(2.5, "o'brien", "put", "weil's sein muß", '{"a": [1, "\U0001f600"]}')
    drain(store)
    assert table(store) == {blob: b"", b"": blob}
    document = store.document_get("policy", "söme'; DROP TABLE x--")
    assert document is not None
    assert (document.body, document.updated) == ('{"ü": "\\u0000"}', 1.5)
    (entry,) = store.journal_list()
    assert (entry.time, entry.who, entry.what, entry.why, entry.body) == (
        2.5,
        "o'brien",
        "put",
        "weil's sein muß",
        '{"a": [1, "\U0001f600"]}',
    )


def test_documents_have_growing_versions_that_never_return(store: Store) -> None:
    one = store.document_put("policy", "site-a", "1", 10.0)
    two = store.document_put("policy", "site-a", "2", 11.0)
    assert two.version > one.version
    assert two.etag == f'"{two.version}"' != one.etag
    drain(store)
    assert store.document_delete("policy", "site-a")
    assert store.document_get("policy", "site-a") is None
    assert not store.document_delete("policy", "site-a")
    assert store.document_put("policy", "site-a", "3", 12.0).version > two.version


def test_documents_are_visible_before_they_are_durable(store: Store) -> None:
    document = store.document_put("policy", "s", "{}", 1.0)
    assert store.durable_seq < store.seq
    assert store.document_get("policy", "s") == document
    assert store.document_list("policy") == [document]


def test_document_list_is_by_kind_and_name(store: Store) -> None:
    for kind, name in (("policy", "b"), ("other", "x"), ("policy", "a")):
        store.document_put(kind, name, "{}", 1.0)
    assert [doc.name for doc in store.document_list("policy")] == ["a", "b"]
    assert [doc.name for doc in store.document_list("other")] == ["x"]


def test_a_document_changes_only_in_the_version_that_the_caller_saw(store: Store) -> None:
    new = store.document_put("policy", "s", "1", 1.0, expected=0)
    with pytest.raises(VersionConflict, match="expected version 0"):
        store.document_put("policy", "s", "2", 2.0, expected=0)
    newer = store.document_put("policy", "s", "2", 2.0, expected=new.version)
    with pytest.raises(VersionConflict) as conflict:
        store.document_delete("policy", "s", expected=new.version)
    assert (conflict.value.expected, conflict.value.actual) == (new.version, newer.version)
    with pytest.raises(VersionConflict, match="does not exist"):
        store.document_put("policy", "t", "1", 1.0, expected=4)
    assert store.document_get("policy", "s") == newer
    assert store.document_delete("policy", "s", expected=newer.version)


def test_journal_pages_newest_first_across_the_durable_boundary(store: Store) -> None:
    for i in range(10):
        entry = store.journal_append(float(i), "who", f"what-{i}", "why", f"[{i}]")
        assert entry.id == i + 1
        if i == 5:
            drain(store)
    assert [e.what for e in store.journal_list(3)] == ["what-9", "what-8", "what-7"]
    page = store.journal_list(4, before=8)
    assert [e.id for e in page] == [7, 6, 5, 4]
    assert store.journal_list(10, before=1) == []
    assert [e.id for e in store.journal_list(100)] == list(range(10, 0, -1))
    before = store.journal_list(100)
    drain(store)
    assert store.journal_list(100) == before


def test_journal_is_bounded(make: Make) -> None:
    store = make(max_journal=5)
    for i in range(12):
        store.journal_append(float(i), "who", "what")
        if i % 4 == 0:
            drain(store)
        assert len(store.journal_list(100)) == min(i + 1, 5)
    drain(store)
    assert [e.id for e in store.journal_list(100)] == [12, 11, 10, 9, 8]


def test_a_failed_commit_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(store, WriteBehindStore)
    first = store.append([Change(REG, b"a", b"1")])
    store.journal_append(1.0, "who", "what")

    def fail(batch: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "_commit", fail)
        with pytest.raises(StoreError, match="disk full"):
            store.flush()
        assert store.durable_seq < first
        store.append([Change(REG, b"a", b"2"), Change(REG, b"b", b"1")])
        assert store.pending == 4
        assert len(store.journal_list()) == 1
    drain(store)
    assert table(store) == {b"a": b"2", b"b": b"1"}
    assert len(store.journal_list()) == 1
    assert store.pending == 0


def test_memory_store_that_retains_nothing_still_counts() -> None:
    store = MemoryStore(retain=False)
    seq = store.append([Change(REG, b"k", b"v")])
    store.document_put("policy", "s", "{}", 1.0)
    assert store.flush() > seq
    assert table(store) == {}
    assert store.document_get("policy", "s") is not None
