"""The map-cache of one xTR (RFC 9300 section 6, RFC 9301 section 5.5).

Longest match by (instance-ID, destination prefix); entries of one destination prefix may differ
by source prefix (RFC 8060 section 4.12). A destination prefix whose entries are all for other
sources is a miss: nothing is known about this source, and a less-specific answer does not hold.

An entry like many others, for a plain EID-prefix, may be kept in brief: what it has in common
with them once for all, and a few octets of its own. Whoever asks for it gets the entry, which
then stays written out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from lisp_sdn.actions import Event
from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.prefixtable import PrefixTable, code_of
from lisp_sdn.rules import FlowRule, GroupRule
from lisp_sdn.views import Exchange

CacheKey = EidPrefix | SourceDestPrefix

TTL_UNLIMITED = 0xFFFFFFFF
"""Record TTL that leaves the lifetime to the receiver (RFC 9301 section 5.4)."""

LOCAL_MAXIMUM = 24 * 3600.0
"""The lifetime in seconds that we choose then."""


class Via(StrEnum):
    """Where an entry comes from. petr: a Natively-Forward answer, by way of a Proxy-ETR.

    gleaned: the source of a received packet, not verified yet.
    """

    MAP_REPLY = "map-reply"
    ADOPTED = "adopted"
    PETR = "petr"
    GLEANED = "gleaned"


@dataclass(slots=True)
class Entry:
    """One map-cache entry.

    mapping: the newest answer. active: the answer that the switch carries, None until its RLOCs'
    next hops are resolved. adopted: what an earlier controller left on the switch for this
    entry, carried unchanged until a Map-Reply confirms or replaces it. asked: the source EID of
    the request, repeated when a source-dependent answer is refreshed. added, updated, expires,
    programmed (flow sent), solicited (last SMR): seconds since the epoch. packets: that went
    through the controller.
    """

    key: CacheKey
    mapping: Mapping
    added: float
    updated: float
    expires: float
    via: Via = Via.MAP_REPLY
    active: Mapping | None = None
    adopted: tuple[tuple[FlowRule, ...], tuple[GroupRule, ...]] | None = None
    asked: EidPrefix | None = None
    packets: int = 0
    programmed: float = 0.0
    solicited: float = 0.0

    @property
    def destination(self) -> EidPrefix:
        """The destination EID-prefix of the key."""
        return self.key.destination if isinstance(self.key, SourceDestPrefix) else self.key

    @property
    def source(self) -> EidPrefix | None:
        """The source EID-prefix of the key."""
        return self.key.source if isinstance(self.key, SourceDestPrefix) else None

    @property
    def installed(self) -> bool:
        """Whether the switch has, or is about to get, flows for this entry."""
        return self.active is not None or self.adopted is not None


class Shape(Protocol):
    """What entries in brief have in common; see `xtr.brief`."""

    iid: int
    version: int
    mapping: Mapping

    def entry(self, brief: Brief) -> Entry:
        """One of them, written out."""

    def event(self, code: int) -> Event:
        """That the map-cache has got one of them."""

    def exchange(self, address: int, brief: Brief) -> Exchange:
        """The question that led to one of them, and the answer. address: the EID asked for."""


class Brief:
    """An entry for a plain EID-prefix in brief.

    code: of the EID-prefix, see `prefixtable`. added: seconds since the epoch. source: packed
    source EID that was asked with; none when the flow was found on the switch.
    """

    __slots__ = ("added", "code", "shape", "source")

    def __init__(self, code: int, shape: Shape, added: float, source: bytes) -> None:
        self.code = code
        self.shape = shape
        self.added = added
        self.source = source

    def event(self) -> Event:
        """That the map-cache has got it."""
        return self.shape.event(self.code)

    def exchange(self, address: int) -> Exchange:
        """The question that led to it, and the answer. address: the EID that was asked for."""
        return self.shape.exchange(address, self)


@dataclass(slots=True)
class Node:
    """All entries of one destination prefix, by source prefix (None: every source)."""

    destination: EidPrefix
    entries: dict[EidPrefix | None, Entry] = field(default_factory=dict)
    code: int = field(init=False)

    def __post_init__(self) -> None:
        self.code = code_of(self.destination.network)

    def match(self, source: IPAddress) -> Entry | None:
        """The entry with the longest source prefix that holds `source`."""
        best: Entry | None = None
        length = -1
        for prefix, entry in self.entries.items():
            if prefix is None:
                if length < 0:
                    best = entry
            elif prefix.prefixlen > length and prefix.contains(source):
                best, length = entry, prefix.prefixlen
        return best


CacheTable = PrefixTable[Node | Brief]
"""The destination prefixes of one instance-ID and IP version."""


def lifetime(ttl_minutes: int) -> float:
    """Seconds that a record lives."""
    return LOCAL_MAXIMUM if ttl_minutes == TTL_UNLIMITED else ttl_minutes * 60.0


class MapCache:
    """A bounded map-cache. limit: entries; the least recently used one makes room.

    written_out: called with an entry that was in brief until now, and with what it was.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.written_out: Callable[[Entry, Brief], None] = lambda entry, brief: None
        self._tables: dict[tuple[int, int], CacheTable] = {}
        self._recent: OrderedDict[Hashable, Entry | Brief] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry; one in brief is shown as it would be, and stays in brief."""
        for item in self._recent.values():
            yield item.shape.entry(item) if isinstance(item, Brief) else item

    def in_brief(self) -> Iterator[Brief]:
        """Those that are not written out, the oldest first."""
        return (item for item in self._recent.values() if isinstance(item, Brief))

    def locators(self) -> set[tuple[Locator, ...]]:
        """The RLOC-sets of all entries."""
        shapes = {brief.shape for brief in self.in_brief()}
        written = (item for item in self._recent.values() if isinstance(item, Entry))
        found = {entry.mapping.locators for entry in written}
        return found | {shape.mapping.locators for shape in shapes}

    def destinations(self, *, in_brief: bool = True) -> Iterator[EidPrefix]:
        """Every destination prefix with entries. in_brief: also those of entries in brief."""
        for table in self._tables.values():
            for value in table.values():
                if isinstance(value, Node):
                    yield value.destination
                elif in_brief:
                    yield table.eid(value.code)

    def table(self, iid: int, version: int) -> CacheTable:
        """The table of an instance-ID and IP version, which stays the same object."""
        table = self._tables.get((iid, version))
        if table is None:
            table = self._tables[iid, version] = PrefixTable(iid, version)
        return table

    def node(self, destination: EidPrefix) -> Node | None:
        """The entries of exactly this destination prefix."""
        table = self._tables.get((destination.iid, destination.version))
        value = table.get(code_of(destination.network)) if table is not None else None
        return self._node(value) if value is not None else None

    def view(self, destination: EidPrefix) -> Node | None:
        """As `node`, to be looked at only: what is in brief stays so."""
        table = self._tables.get((destination.iid, destination.version))
        value = table.get(code_of(destination.network)) if table is not None else None
        if not isinstance(value, Brief):
            return value
        return Node(destination, {None: value.shape.entry(value)})

    def get(self, key: CacheKey) -> Entry | None:
        """The entry with exactly this key."""
        item = self._recent.get(_slot(key))
        return self.write_out(item) if isinstance(item, Brief) else item

    def lookup(self, iid: int, source: IPAddress, destination: IPAddress) -> Entry | None:
        """The entry for a packet, None for a miss."""
        table = self._tables.get((iid, destination.version))
        value = table.find(int(destination)) if table is not None else None
        return self._node(value).match(source) if value is not None else None

    def touch(self, entry: Entry) -> None:
        """Note that the entry was used."""
        slot = _slot(entry.key)
        if slot in self._recent:
            self._recent.move_to_end(slot)

    # --- coming and going --------------------------------------------------------------------

    def insert(self, entry: Entry) -> list[Entry]:
        """Add or replace; returns the entries that had to make room."""
        destination = entry.destination
        node = self.node(destination)
        if node is None:
            node = Node(destination)
            self.table(destination.iid, destination.version).put_new(node)
        node.entries[entry.source] = entry
        slot = _slot(entry.key)
        self._recent[slot] = entry
        self._recent.move_to_end(slot)
        evicted = []
        while len(self._recent) > self.limit:
            oldest = next(iter(self._recent.values()))
            evicted.append(self.write_out(oldest) if isinstance(oldest, Brief) else oldest)
            self.remove(evicted[-1].key)
        return evicted

    def insert_brief(self, brief: Brief, table: CacheTable) -> None:
        """Add an entry for a destination prefix that has none, while there is room.

        table: that of its instance-ID and IP version.
        """
        table.put_new(brief)
        self._recent[_brief_slot(table.iid, table.version, brief.code)] = brief

    def remove(self, key: CacheKey) -> Entry | None:
        """Take an entry out."""
        entry = self.get(key)
        if entry is None:
            return None
        del self._recent[_slot(key)]
        table = self._tables[entry.destination.iid, entry.destination.version]
        node = self.node(entry.destination)
        assert node is not None
        del node.entries[entry.source]
        if not node.entries:
            table.remove(node.code)
        return entry

    # --- in brief ----------------------------------------------------------------------------

    def holds(self, brief: Brief) -> bool:
        """Whether it is still here, and in brief."""
        table = self._tables.get((brief.shape.iid, brief.shape.version))
        return table is not None and table.get(brief.code) is brief

    def write_out(self, brief: Brief) -> Entry:
        """Make an entry of one in brief, which is here; it keeps its place."""
        entry = brief.shape.entry(brief)
        iid, version = brief.shape.iid, brief.shape.version
        self._tables[iid, version].put(Node(entry.destination, {None: entry}))
        self._recent[_brief_slot(iid, version, brief.code)] = entry
        self.written_out(entry, brief)
        return entry

    def _node(self, value: Node | Brief) -> Node:
        if isinstance(value, Node):
            return value
        self.write_out(value)
        node = self._tables[value.shape.iid, value.shape.version].get(value.code)
        assert isinstance(node, Node)
        return node

    # --- prefixes ----------------------------------------------------------------------------

    def covered_by(self, eid: EidPrefix) -> list[Entry]:
        """Entries whose destination prefix is `eid` or more specific."""
        table = self._tables.get((eid.iid, eid.version))
        if table is None:
            return []
        code = code_of(eid.network)
        inside = [*table.codes_inside(code), code]
        return self._entries(table.get(code) for code in inside)

    def covering(self, eid: EidPrefix) -> list[Entry]:
        """Entries whose destination prefix is less specific than `eid`."""
        table = self._tables.get((eid.iid, eid.version))
        if table is None:
            return []
        code = code_of(eid.network)
        return self._entries(value for value in table.covering(code) if value.code != code)

    def overlapping(self, eid: EidPrefix) -> list[Entry]:
        """Entries whose destination prefix shares an EID with `eid`."""
        return self.covered_by(eid) + self.covering(eid)

    def _entries(self, values: Iterable[Node | Brief | None]) -> list[Entry]:
        nodes = [self._node(value) for value in list(values) if value is not None]
        return [entry for node in nodes for entry in node.entries.values()]


def _slot(key: CacheKey) -> Hashable:
    """Under which an entry stands in the order of use."""
    if isinstance(key, SourceDestPrefix):
        return key
    return _brief_slot(key.iid, key.version, code_of(key.network))


def _brief_slot(iid: int, version: int, code: int) -> int:
    return (code << 24 | iid) << 1 | (version == 6)
