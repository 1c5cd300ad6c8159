"""What outlives a restart: registrations, nonces, static mappings, documents and the journal.

RFC 9301 section 5.6 asks that the nonce of a Map-Register be kept in persistent storage. The hot
path only appends: `append` notes changes in memory and returns a sequence number at once; `flush`
writes everything appended so far in one transaction and moves `durable_seq` up to it. A
Map-Notify goes out only when the change that it acknowledges is durable:

    seq = store.append(changes)             # core, while it handles the Map-Register
    durable = store.flush()                 # edge, off the hot path (a thread may call it)
    actions = system.durable(durable, now)  # core lets the Map-Notifies up to `durable` go

Keys and values of the three tables are octets that the mapping system encodes; the store does not
look into them. A refresh that changes nothing needs no append of the registration, only of its
nonce: several changes of one key within one batch cost one write.

Two implementations pass one contract test suite: `MemoryStore` and `sqlite_store.SqliteStore`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NoReturn, Protocol

from lisp_sdn.errors import StoreError

DEFAULT_MAX_PENDING = 500_000
"""Changes that may wait for `flush`."""

DEFAULT_MAX_JOURNAL = 100_000
"""Journal entries that are kept; the oldest go first."""

DEFAULT_BATCH = 50_000
"""Changes written in one transaction; bounds the memory and the time of one commit."""


class StoreFull(StoreError):
    """More changes wait for `flush` than allowed; the change was not taken."""

    reason = "store_full"


class VersionConflict(StoreError):
    """The document is not in the version that the caller has seen (HTTP 412)."""

    reason = "version_conflict"

    def __init__(self, kind: str, name: str, expected: int, actual: int | None) -> None:
        found = "does not exist" if actual is None else f"is version {actual}"
        super().__init__(f"{kind} {name!r} {found}, expected version {expected}")
        self.expected = expected
        self.actual = actual


class Table(StrEnum):
    """The key-value tables, each with keys of its own."""

    REGISTRATIONS = "registrations"
    NONCES = "nonces"
    STATIC_MAPPINGS = "static_mappings"


class Change(NamedTuple):
    """Set `key` of a table to `value`, or delete it when `value` is None."""

    table: Table
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Document:
    """A versioned text, for instance the ingress policy of a site.

    version: grows with every change of any document, so a deleted and recreated one never shows
    an old version again. updated: seconds since the epoch.
    """

    kind: str
    name: str
    version: int
    body: str
    updated: float

    @property
    def etag(self) -> str:
        """The entity tag of RFC 9110 section 8.8.3."""
        return f'"{self.version}"'


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """Who changed what, and why. id: ascending. time: epoch seconds. body: JSON text."""

    id: int
    time: float
    who: str
    what: str
    why: str
    body: str


class Store(Protocol):
    """Where the mapping system and the policy engine keep what must outlive a restart.

    One thread may call `flush` while another calls everything else; two at once may not flush.
    Every write returns or implies a sequence number and is durable when `durable_seq` reaches it.
    Raises StoreError.
    """

    @property
    def seq(self) -> int:
        """Sequence number of the last write; 0 before the first."""

    @property
    def durable_seq(self) -> int:
        """Every write up to this number survives the end of the process."""

    @property
    def pending(self) -> int:
        """Changes that wait for `flush`."""

    def append(self, changes: Sequence[Change]) -> int:
        """Note changes, all or none of which will be kept; returns their sequence number.

        Never waits. Raises StoreFull, but not for changes that only delete: what expires must be
        able to go, and there is never more of it than was stored.
        """

    def flush(self) -> int:
        """Write what was appended; returns `durable_seq`.

        At most one batch a call: call again while `durable_seq < seq`. After a StoreError (disk
        full, ...) nothing is lost: the next call tries again.
        """

    def load(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """The durable (key, value) pairs of a table in ascending order of keys.

        Constant memory. Meant for the start, before the first `append`.
        """

    def count(self, table: Table) -> int:
        """How many pairs `load` would yield."""

    def document_put(
        self, kind: str, name: str, body: str, now: float, *, expected: int | None = None
    ) -> Document:
        """Write a document. expected: version that the caller has seen, 0 for "must be new".

        Raises VersionConflict, StoreFull.
        """

    def document_get(self, kind: str, name: str) -> Document | None:
        """The newest version, durable or not."""

    def document_list(self, kind: str) -> list[Document]:
        """All documents of a kind, by name."""

    def document_delete(self, kind: str, name: str, *, expected: int | None = None) -> bool:
        """Delete; False when there is none. Raises VersionConflict, StoreFull."""

    def journal_append(
        self, time: float, who: str, what: str, why: str = "", body: str = "{}"
    ) -> JournalEntry:
        """Add an entry. body: JSON text. Raises StoreFull."""

    def journal_list(self, limit: int = 100, before: int | None = None) -> list[JournalEntry]:
        """The newest entries first. before: only entries with a smaller id (for paging)."""

    def close(self) -> None:
        """Flush everything and let go of the files."""


DocumentKey = tuple[str, str]


@dataclass(slots=True)
class Batch:
    """Everything one commit writes: the last value of each key, None where it is deleted."""

    seq: int = 0
    changes: int = 0
    tables: dict[Table, dict[bytes, bytes | None]] = field(
        default_factory=lambda: {table: {} for table in Table}
    )
    documents: dict[DocumentKey, Document | None] = field(default_factory=dict)
    document_version: int = 0
    journal: list[JournalEntry] = field(default_factory=list)


class _DocumentChange(NamedTuple):
    key: DocumentKey
    document: Document | None
    version: int


_Group = tuple[int, Sequence[Change] | _DocumentChange | JournalEntry, int]
"""(sequence number, what, count of changes)"""


class WriteBehindStore:
    """The half of a Store that both implementations share: the queue in front of the commits.

    There is no lock: appending and flushing meet only in a deque, whose ends are atomic, so that
    `flush` may run in a native thread while the rest runs in an event loop.

    max_pending: changes that may wait. batch: changes of one commit. max_journal: entries kept.
    """

    def __init__(
        self,
        *,
        max_pending: int = DEFAULT_MAX_PENDING,
        batch: int = DEFAULT_BATCH,
        max_journal: int = DEFAULT_MAX_JOURNAL,
    ) -> None:
        self.max_pending = max_pending
        self.batch = batch
        self.max_journal = max_journal
        self._queue: deque[_Group] = deque()
        self.on_append: Callable[[Sequence[Change]], None] | None = None
        """Told every accepted `append`, in order: how copies of the state are kept up to date."""
        self._seq = 0
        self._durable_seq = 0
        self._appended = 0
        self._committed = 0
        self._in_flight: Batch | None = None
        self._documents: dict[DocumentKey, Document] = {}
        self._document_version = 0
        self._journal_id = 0
        self._journal_tail: deque[JournalEntry] = deque()

    @property
    def seq(self) -> int:
        """Sequence number of the last write; 0 before the first."""
        return self._seq

    @property
    def durable_seq(self) -> int:
        """Every write up to this number survives the end of the process."""
        return self._durable_seq

    @property
    def pending(self) -> int:
        """Changes that wait for `flush`."""
        return self._appended - self._committed

    def append(self, changes: Sequence[Change]) -> int:
        """Note changes; returns their sequence number. Raises StoreFull."""
        if not changes:
            return self._seq
        count = len(changes)
        if self._is_full(count) and any(change.value is not None for change in changes):
            self._refuse()
        self._enqueue(changes, count)
        if self.on_append is not None:
            self.on_append(changes)
        return self._seq

    def _is_full(self, count: int) -> bool:
        return self._appended - self._committed + count > self.max_pending

    def _refuse(self) -> NoReturn:
        raise StoreFull(f"{self.pending} changes wait to be written, limit {self.max_pending}")

    def _enqueue(self, what: Sequence[Change] | _DocumentChange | JournalEntry, count: int) -> int:
        self._seq += 1
        self._appended += count
        self._queue.append((self._seq, what, count))
        return self._seq

    def flush(self) -> int:
        """Write one batch of what was appended; returns `durable_seq`. Raises StoreError."""
        if self._in_flight is None:
            self._in_flight = self._next_batch()
        batch = self._in_flight
        if batch is not None:
            self._commit(batch)
            for _ in batch.journal:
                self._journal_tail.popleft()
            self._in_flight = None
            self._committed += batch.changes
            self._durable_seq = batch.seq
        return self._durable_seq

    def _next_batch(self) -> Batch | None:
        queue = self._queue
        if not queue:
            return None
        batch = Batch()
        while queue and batch.changes < self.batch:
            batch.seq, what, count = queue.popleft()
            batch.changes += count
            if isinstance(what, JournalEntry):
                batch.journal.append(what)
            elif isinstance(what, _DocumentChange):
                batch.documents[what.key] = what.document
                batch.document_version = what.version
            else:
                for table, key, value in what:
                    batch.tables[table][key] = value
        return batch

    def document_put(
        self, kind: str, name: str, body: str, now: float, *, expected: int | None = None
    ) -> Document:
        """Write a document. Raises VersionConflict, StoreFull."""
        self._check_version(kind, name, expected)
        if self._is_full(1):
            self._refuse()
        version = self._document_version + 1
        document = Document(kind, name, version, body, now)
        self._enqueue(_DocumentChange((kind, name), document, version), 1)
        self._document_version = version
        self._documents[kind, name] = document
        return document

    def document_get(self, kind: str, name: str) -> Document | None:
        """The newest version, durable or not."""
        return self._documents.get((kind, name))

    def document_list(self, kind: str) -> list[Document]:
        """All documents of a kind, by name."""
        return sorted(
            (doc for doc in self._documents.values() if doc.kind == kind), key=lambda d: d.name
        )

    def document_delete(self, kind: str, name: str, *, expected: int | None = None) -> bool:
        """Delete; False when there is none. Raises VersionConflict, StoreFull."""
        self._check_version(kind, name, expected)
        if (kind, name) not in self._documents:
            return False
        if self._is_full(1):
            self._refuse()
        version = self._document_version + 1
        self._enqueue(_DocumentChange((kind, name), None, version), 1)
        self._document_version = version
        del self._documents[kind, name]
        return True

    def _check_version(self, kind: str, name: str, expected: int | None) -> None:
        if expected is None:
            return
        current = self._documents.get((kind, name))
        actual = current.version if current else None
        if expected != (actual or 0):
            raise VersionConflict(kind, name, expected, actual)

    def journal_append(
        self, time: float, who: str, what: str, why: str = "", body: str = "{}"
    ) -> JournalEntry:
        """Add an entry. Raises StoreFull."""
        if self._is_full(1):
            self._refuse()
        entry = JournalEntry(self._journal_id + 1, time, who, what, why, body)
        # In this order: `flush` takes an entry from the tail once it took it from the queue.
        self._journal_tail.append(entry)
        self._enqueue(entry, 1)
        self._journal_id = entry.id
        return entry

    def journal_list(self, limit: int = 100, before: int | None = None) -> list[JournalEntry]:
        """The newest entries first. before: only entries with a smaller id (for paging)."""
        # The tail first: an entry that is committed in between is then seen twice, never missed.
        found = {entry.id: entry for entry in tuple(self._journal_tail)}
        found.update((entry.id, entry) for entry in self._journal_stored(limit, before))
        newest = self._journal_id - self.max_journal
        ids = sorted(
            (i for i in found if i > newest and (before is None or i < before)), reverse=True
        )
        return [found[i] for i in ids[:limit]]

    def close(self) -> None:
        """Flush everything and let go of the files."""
        while self._durable_seq < self._seq:
            self.flush()

    def _commit(self, batch: Batch) -> None:
        """Make a batch durable, all or nothing. Raises StoreError."""
        raise NotImplementedError

    def _journal_stored(self, limit: int, before: int | None) -> Iterable[JournalEntry]:
        """At most `limit` durable entries, newest first."""
        raise NotImplementedError


class MemoryStore(WriteBehindStore):
    """A Store for tests and for a controller without a file.

    "Durable" means that a second core given the same object finds it. retain: False keeps no
    table contents at all, for a process that will never be started again from this store: a
    million registrations are then held once, by the mapping system, not twice.
    """

    def __init__(
        self,
        *,
        retain: bool = True,
        max_pending: int = DEFAULT_MAX_PENDING,
        batch: int = DEFAULT_BATCH,
        max_journal: int = DEFAULT_MAX_JOURNAL,
    ) -> None:
        super().__init__(max_pending=max_pending, batch=batch, max_journal=max_journal)
        self._retain = retain
        self._tables: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._journal: deque[JournalEntry] = deque(maxlen=max_journal)

    def load(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """The durable (key, value) pairs of a table in ascending order of keys."""
        pairs = self._tables[table]
        return ((key, pairs[key]) for key in sorted(pairs))

    def count(self, table: Table) -> int:
        """How many pairs `load` would yield."""
        return len(self._tables[table])

    def _commit(self, batch: Batch) -> None:
        self._journal.extend(batch.journal)
        if not self._retain:
            return
        for table, changes in batch.tables.items():
            pairs = self._tables[table]
            for key, value in changes.items():
                if value is None:
                    pairs.pop(key, None)
                else:
                    pairs[key] = value

    def _journal_stored(self, limit: int, before: int | None) -> Iterable[JournalEntry]:
        stored = tuple(self._journal)
        if before is not None:
            stored = tuple(entry for entry in stored if entry.id < before)
        return stored[len(stored) - min(limit, len(stored)) :]
