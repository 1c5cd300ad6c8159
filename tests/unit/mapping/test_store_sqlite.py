"""What only a file can show: a second start, a foreign file, two processes, kill -9."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.sqlite_store import SCHEMA_VERSION, SqliteStore
from lisp_sdn.mapping.store import Change, Table

REG, NONCE = Table.REGISTRATIONS, Table.NONCES


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = SqliteStore(path)
    store.append([Change(table, b"k", table.encode()) for table in Table])
    kept = store.document_put("policy", "kept", "{}", 1.0)
    gone = store.document_put("policy", "gone", "{}", 2.0)
    store.document_delete("policy", "gone")
    entry = store.journal_append(3.0, "who", "what", "why", "[]")
    store.close()

    store = SqliteStore(path)
    assert store.seq == store.durable_seq == 0
    assert {t: dict(store.load(t)) for t in Table} == {t: {b"k": t.encode()} for t in Table}
    assert store.document_list("policy") == [kept]
    assert store.journal_list() == [entry]
    assert store.document_put("policy", "gone", "{}", 4.0).version > gone.version
    assert store.journal_append(5.0, "who", "what").id == entry.id + 1
    store.close()


def test_journal_ids_do_not_return_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db", max_journal=0)
    last = store.journal_append(1.0, "who", "what")
    store.close()
    store = SqliteStore(tmp_path / "s.db")
    assert store.journal_list() == []
    assert store.journal_append(2.0, "who", "what").id > last.id
    store.close()


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    store.append([Change(REG, b"k", b"v")])
    store.flush()
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    store.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    with pytest.raises(StoreError, match=r"s\.db: another process uses this store"):
        SqliteStore(tmp_path / "s.db")
    store.close()
    SqliteStore(tmp_path / "s.db").close()


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/s\.db: No such file"):
        SqliteStore(tmp_path / "nowhere" / "s.db")


def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(path)
    assert path.read_bytes() == b"this is not a database" * 100


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    SqliteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"schema version {SCHEMA_VERSION + 1}"):
        SqliteStore(path)


def test_an_sql_error_becomes_a_store_error_and_the_batch_is_retried(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    seq = store.append([Change(REG, b"k", b"v")])
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._writer.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StoreError, match="locked"):
        store.flush()
    assert store.durable_seq == 0
    other.execute("ROLLBACK")
    other.close()
    assert store.flush() == seq
    assert dict(store.load(REG)) == {b"k": b"v"}
    store.close()


def test_flush_in_a_thread_while_appending(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db", batch=50)
    stop = threading.Event()
    failures: list[BaseException] = []

    def flusher() -> None:
        try:
            while not stop.is_set() or store.durable_seq < store.seq:
                store.flush()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=flusher)
    thread.start()
    for i in range(3000):
        store.append([Change(REG, i.to_bytes(2, "big"), b"v"), Change(NONCE, b"n", b"%d" % i)])
        if i % 20 == 0:
            store.journal_append(float(i), "who", "what")
            ids = [entry.id for entry in store.journal_list(1000)]
            assert ids == list(range(i // 20 + 1, 0, -1))
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert failures == []
    assert store.durable_seq == store.seq
    assert store.count(REG) == 3000
    assert dict(store.load(NONCE)) == {b"n": b"2999"}
    assert len(store.journal_list(1000)) == 150
    store.close()


CHILD = """
import os, sys
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import Change, Table
store = SqliteStore(sys.argv[1], batch=20)
start = int(sys.argv[2])
for i in range(start, start + 1_000_000):
    number = i.to_bytes(8, "big")
    store.append([Change(Table.REGISTRATIONS, number, number * 20),
                  Change(Table.NONCES, b"nonce", number)])
    if i % 7 == 0:
        store.flush()
        done = start + store.durable_seq
        os.write(1, done.to_bytes(8, "big"))
"""
"""Appends numbers; reports by pipe, after each flush, how many are durable (start + seq)."""


def test_what_was_reported_durable_survives_kill_9(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = tmp_path / "s.db"
    start = 0
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(start)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        reported = _read_some(child.stdout.fileno(), 1 + rng.randrange(40))
        time.sleep(rng.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        reported += child.stdout.read()
        child.stdout.close()
        child.wait(10)
        assert reported, "the child reported nothing"
        durable = int.from_bytes(reported[-8 - len(reported) % 8 :][:8], "big")

        store = SqliteStore(path)
        keys = [int.from_bytes(key, "big") for key, _ in store.load(REG)]
        assert all(v == k * 20 for k, v in store.load(REG))
        # A prefix of what was appended, at least up to what was reported, and whole appends only.
        assert keys == list(range(len(keys)))
        assert len(keys) >= durable > start
        assert dict(store.load(NONCE)) == {b"nonce": (len(keys) - 1).to_bytes(8, "big")}
        store.close()
        start = len(keys)


def _read_some(descriptor: int, reports: int) -> bytes:
    data = b""
    while len(data) < 8 * reports and (chunk := os.read(descriptor, 8)):
        data += chunk
    return data
