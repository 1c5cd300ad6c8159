"""The verdicts of a source guard: bounded, found by packet and by EID-prefix."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.xtr.prefixes import Prefixes
from lisp_sdn.xtr.verdicts import GuardKey, SourceReason


class Ground(StrEnum):
    """What a verdict rests on."""

    DATABASE = "database"
    MAP_REPLY = "map-reply"
    PORT = "port"
    ADOPTED = "adopted"
    GLEANED = "gleaned"


@dataclass(slots=True)
class Entry:
    """A verdict. reason: None when the source may send. since: when it was given.

    programmed: when its flow was sent. expires: when a Map-Reply that it rests on is too old; None:
    it follows the database. packets: refused ones; counted: what the flow told last, None when it
    was there before us. grace: until when an allowance that was taken over is believed against an
    empty database.
    """

    key: GuardKey
    reason: SourceReason | None
    ground: Ground
    since: float
    programmed: float
    expires: float | None = None
    packets: int = 0
    counted: int | None = 0
    grace: float = 0.0


class Verdicts:
    """limit: how many; the oldest one makes room. refusals: at most so many of them."""

    def __init__(self, limit: int, refusals: int) -> None:
        self._limit = limit
        self._refusals = refusals
        self._entries: OrderedDict[GuardKey, Entry] = OrderedDict()
        self._index: Prefixes[dict[GuardKey, None]] = Prefixes()
        self.refused = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: GuardKey) -> Entry | None:
        """The verdict with exactly this key."""
        return self._entries.get(key)

    def put(self, entry: Entry) -> list[Entry] | None:
        """Add or replace; returns what had to make room. None: there is no room for a refusal."""
        self.remove(entry.key)
        if entry.reason is not None and self.refused >= self._refusals:
            return None
        gone = []
        while len(self._entries) >= self._limit:
            oldest = next(iter(self._entries.values()))
            self.remove(oldest.key)
            gone.append(oldest)
        self._entries[entry.key] = entry
        self.refused += entry.reason is not None
        keys = self._index.get(entry.key.source)
        if keys is None:
            self._index.put(entry.key.source, keys := {})
        keys[entry.key] = None
        return gone

    def remove(self, key: GuardKey) -> Entry | None:
        """Take a verdict out."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.refused -= entry.reason is not None
        keys = self._index.get(key.source)
        assert keys is not None
        del keys[key]
        if not keys:
            self._index.remove(key.source)
        return entry

    def match(self, source: EidPrefix, origin: IPAddress | int) -> Entry | None:
        """The verdict for a packet: of the longest source EID-prefix."""
        for keys in self._index.covering(source):
            wanted = GuardKey(next(iter(keys)).source, origin)
            if wanted in keys:
                return self._entries[wanted]
        return None

    def covering(self, source: EidPrefix) -> Iterator[GuardKey]:
        """Verdicts about a source EID, whatever the origin."""
        for keys in self._index.covering(source):
            yield from keys

    def overlapping(self, eid: EidPrefix) -> list[GuardKey]:
        """Verdicts about source EIDs in, or around, an EID-prefix."""
        return [key for keys in self._index.overlapping(eid) for key in keys]
