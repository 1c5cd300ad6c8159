"""The Store in one SQLite file (WAL), safe against the end of the process at any moment.

One connection writes (only `flush` uses it), another reads: in WAL mode neither waits for the
other. `synchronous=FULL` makes a flushed batch survive even a power cut.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.store import (
    DEFAULT_BATCH,
    DEFAULT_MAX_JOURNAL,
    DEFAULT_MAX_PENDING,
    Batch,
    Document,
    JournalEntry,
    Table,
    WriteBehindStore,
)

SCHEMA_VERSION = 1
"""Kept in `PRAGMA user_version`; a file written by a newer version is refused."""

_SCHEMA = (
    *(
        f"CREATE TABLE {table} (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        for table in Table
    ),
    "CREATE TABLE documents (kind TEXT, name TEXT, version INTEGER NOT NULL, body TEXT NOT NULL,"
    " updated REAL NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID",
    "CREATE TABLE journal (id INTEGER PRIMARY KEY, time REAL NOT NULL, who TEXT NOT NULL,"
    " what TEXT NOT NULL, why TEXT NOT NULL, body TEXT NOT NULL)",
    # Numbers that must never go back, although the row that held the highest may be deleted.
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_ROWS_A_FETCH = 1000


class SqliteStore(WriteBehindStore):
    """A Store in the SQLite file `path`, created with mode 0600 when missing.

    The file belongs to one process at a time. Raises StoreError naming the path when it is in
    use, is no SQLite file, or was written by a newer version.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_pending: int = DEFAULT_MAX_PENDING,
        batch: int = DEFAULT_BATCH,
        max_journal: int = DEFAULT_MAX_JOURNAL,
    ) -> None:
        super().__init__(max_pending=max_pending, batch=batch, max_journal=max_journal)
        self.path = Path(path)
        self._lock = _lock(self.path)
        try:
            self._writer = _connect(self.path)
            _prepare(self._writer, self.path)
            self._reader = _connect(self.path)
            self._recover()
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise StoreError(f"{self.path}: {error}") from None
        except StoreError:
            os.close(self._lock)
            raise

    def _recover(self) -> None:
        rows = self._reader.execute("SELECT kind, name, version, body, updated FROM documents")
        self._documents = {(row[0], row[1]): Document(*row) for row in rows}
        counters = dict(self._reader.execute("SELECT name, value FROM counters"))
        self._document_version = counters.get("document_version", 0)
        self._journal_id = counters.get("journal_id", 0)

    def load(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """The durable (key, value) pairs of a table in ascending order of keys."""
        with closing(self._reader.cursor()) as cursor:
            cursor.arraysize = _ROWS_A_FETCH
            try:
                cursor.execute(f"SELECT key, value FROM {table} ORDER BY key")
                while rows := cursor.fetchmany():
                    yield from rows
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None

    def count(self, table: Table) -> int:
        """How many pairs `load` would yield."""
        found = self._reader.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found[0])

    def close(self) -> None:
        """Flush everything and let go of the file."""
        try:
            super().close()
        finally:
            self._reader.close()
            self._writer.close()
            os.close(self._lock)

    def _commit(self, batch: Batch) -> None:
        writer = self._writer
        try:
            writer.execute("BEGIN IMMEDIATE")
            try:
                for table, changes in batch.tables.items():
                    _write_table(writer, table, changes)
                _write_documents(writer, batch)
                _write_journal(writer, batch.journal, self.max_journal)
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from None

    def _journal_stored(self, limit: int, before: int | None) -> Iterable[JournalEntry]:
        rows = self._reader.execute(
            "SELECT id, time, who, what, why, body FROM journal"
            " WHERE id < ? ORDER BY id DESC LIMIT ?",
            ((1 << 63) - 1 if before is None else before, limit),
        ).fetchall()
        return [JournalEntry(*row) for row in rows]


def _lock(path: Path) -> int:
    """Hold the file for this process; the lock ends with the process, however it ends."""
    try:
        # A file of its own: closing any descriptor of the database would end SQLite's locks.
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreError(f"{path}: another process uses this store") from None
    return descriptor


def _connect(path: Path) -> sqlite3.Connection:
    # `flush` may run in another thread than the one that opened the file.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare(writer: sqlite3.Connection, path: Path) -> None:
    (version,) = writer.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path}: schema version {version}, expected {SCHEMA_VERSION} or older")
    if version == 0:
        writer.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            writer.execute(statement)
        writer.execute("COMMIT")


def _write_table(
    writer: sqlite3.Connection, table: Table, changes: dict[bytes, bytes | None]
) -> None:
    # Sorted: neighbours in the file are written together, four times as fast at a million rows.
    kept = sorted(item for item in changes.items() if item[1] is not None)
    gone = [(key,) for key, value in changes.items() if value is None]
    if kept:
        writer.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", kept)
    if gone:
        writer.executemany(f"DELETE FROM {table} WHERE key = ?", gone)


def _write_documents(writer: sqlite3.Connection, batch: Batch) -> None:
    for (kind, name), doc in batch.documents.items():
        if doc is None:
            writer.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name))
        else:
            writer.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)",
                (kind, name, doc.version, doc.body, doc.updated),
            )
    if batch.documents:
        _count(writer, "document_version", batch.document_version)


def _write_journal(
    writer: sqlite3.Connection, entries: list[JournalEntry], max_journal: int
) -> None:
    if not entries:
        return
    writer.executemany(
        "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)",
        [(e.id, e.time, e.who, e.what, e.why, e.body) for e in entries],
    )
    last = entries[-1].id
    writer.execute("DELETE FROM journal WHERE id <= ?", (last - max_journal,))
    _count(writer, "journal_id", last)


def _count(writer: sqlite3.Connection, name: str, value: int) -> None:
    writer.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
