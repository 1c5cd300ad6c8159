"""What the fast path keeps: finished EID-records by registration, and requesters that were seen."""

from __future__ import annotations

from collections.abc import Hashable

from lisp_sdn.mapping.database import Registration
from lisp_sdn.mapping.requesters import PrefixKey
from lisp_sdn.model import Requester
from lisp_sdn.prefixtable import PrefixTable

MAX_INSIDE = 1000
"""A change of a prefix with more prefixes inside it makes the whole family be forgotten."""


class KnownRequester:
    """Who asks, once it was seen.

    rloc: packed address that Map-Replies go to. source: packed source EID, None without one.
    records, repeat: the first part of its repeat keys, for the records that it asked for last.
    group, found: the policy group that it was judged for last, and its class there. classes: all.
    """

    __slots__ = ("classes", "found", "group", "itself", "records", "repeat", "rloc", "source")

    def __init__(self, itself: Requester, rloc: bytes, source: bytes) -> None:
        self.itself = itself
        self.rloc = rloc
        self.source = source or None
        self.records: Records | None = None
        self.repeat = b""
        self.group: Hashable | None = None
        self.found: Hashable | None = None
        self.classes: dict[Hashable, Hashable] = {}


Hits = list[int]
"""One number that many slots share: EID-records sent by a policy rule, not reported yet."""


class Slot:
    """What is kept for a registered EID-prefix.

    prefix: as `Requesters` names it. group: whose policy decides about it; None: nobody's. record:
    the EID-record that was learned first, found: for which class of requesters (None where there
    is no policy). hits: of the rule that decided, None without one. others: EID-records and hits of
    other classes, None while there are none. told, generation: who was told, see
    `Requesters.note`.
    """

    __slots__ = ("found", "generation", "group", "hits", "others", "prefix", "record", "told")

    def __init__(self, prefix: PrefixKey, group: Hashable | None, record: bytes) -> None:
        self.prefix = prefix
        self.group = group
        self.record = record
        self.found: Hashable | None = None
        self.hits: Hits | None = None
        self.others: dict[Hashable, tuple[bytes, Hits | None]] | None = None
        self.generation: object = None
        self.told: dict[bytes, bytes | None] = {}

    def learn(self, found: Hashable | None, record: bytes, hits: Hits | None) -> None:
        """Keep the EID-record of a class."""
        if found == self.found:
            self.record, self.hits = record, hits
            return
        if self.others is None:
            self.others = {}
        self.others[found] = record, hits


class Records:
    """The EID-records of one instance-ID and IP version.

    hosts: by packed address, of registrations that are a single EID. prefixes: by code, of the
    others; these are found by longest match in the mapping database.
    """

    __slots__ = ("bits", "find", "hosts", "iid", "prefixes", "table", "width")

    def __init__(self, table: PrefixTable[Registration]) -> None:
        self.table = table
        self.find = table.find_packed
        self.iid = table.iid
        self.bits = table.bits
        self.width = table.bits >> 3
        self.hosts: dict[bytes, Slot] = {}
        self.prefixes: dict[int, Slot] = {}

    def __len__(self) -> int:
        return len(self.hosts) + len(self.prefixes)

    def get(self, code: int) -> Slot | None:
        """What is kept for a registration."""
        if code & 0xFF == self.bits:
            return self.hosts.get((code >> 8).to_bytes(self.width, "big"))
        return self.prefixes.get(code)

    def put(self, code: int, slot: Slot) -> None:
        """Keep something for a registration."""
        if code & 0xFF == self.bits:
            self.hosts[(code >> 8).to_bytes(self.width, "big")] = slot
        else:
            self.prefixes[code] = slot

    def drop(self, code: int) -> None:
        """Forget what is kept for a registration."""
        if code & 0xFF == self.bits:
            self.hosts.pop((code >> 8).to_bytes(self.width, "big"), None)
        else:
            self.prefixes.pop(code, None)

    def changed(self, code: int) -> None:
        """Answers inside a prefix may have changed: forget them, and those of wider prefixes."""
        self.drop(code)
        for entry in self.table.covering(code):
            self.drop(entry.code)
        if code & 0xFF == self.bits:
            return
        for count, inside in enumerate(self.table.codes_inside(code)):
            if count == MAX_INSIDE:
                self.clear()
                return
            self.drop(inside)

    def clear(self) -> None:
        """Forget everything."""
        self.hosts.clear()
        self.prefixes.clear()
