"""The map-cache of one xTR (RFC 9300 section 6, RFC 9301 section 5.5).

Longest match by (instance-ID, destination prefix); entries of one destination prefix may differ
by source prefix (RFC 8060 section 4.12). A destination prefix whose entries are all for other
sources is a miss: nothing is known about this source, and a less-specific answer does not hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from socket import AF_INET, AF_INET6

import pytricia

from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.model import Mapping
from lisp_sdn.rules import FlowRule, GroupRule

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


@dataclass(slots=True)
class Node:
    """All entries of one destination prefix, by source prefix (None: every source)."""

    destination: EidPrefix
    entries: dict[EidPrefix | None, Entry] = field(default_factory=dict)

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


def lifetime(ttl_minutes: int) -> float:
    """Seconds that a record lives."""
    return LOCAL_MAXIMUM if ttl_minutes == TTL_UNLIMITED else ttl_minutes * 60.0


class MapCache:
    """A bounded map-cache. limit: entries; the least recently used one makes room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._nodes: dict[EidPrefix, Node] = {}
        self._tries: dict[tuple[int, int], pytricia.PyTricia] = {}
        self._recent: OrderedDict[CacheKey, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._recent.values())

    def nodes(self) -> Iterator[Node]:
        """Every destination prefix with entries."""
        return iter(self._nodes.values())

    def node(self, destination: EidPrefix) -> Node | None:
        """The entries of exactly this destination prefix."""
        return self._nodes.get(destination)

    def get(self, key: CacheKey) -> Entry | None:
        """The entry with exactly this key."""
        return self._recent.get(key)

    def lookup(self, iid: int, source: IPAddress, destination: IPAddress) -> Entry | None:
        """The entry for a packet, None for a miss."""
        trie = self._tries.get((iid, destination.version))
        if trie is None:
            return None
        node: Node | None = trie.get(destination)
        return node.match(source) if node else None

    def touch(self, entry: Entry) -> None:
        """Note that the entry was used."""
        if entry.key in self._recent:
            self._recent.move_to_end(entry.key)

    def insert(self, entry: Entry) -> list[Entry]:
        """Add or replace; returns the entries that had to make room."""
        destination = entry.destination
        node = self._nodes.get(destination)
        if node is None:
            node = self._nodes[destination] = Node(destination)
            self._trie(destination)[destination.network] = node
        node.entries[entry.source] = entry
        self._recent[entry.key] = entry
        self._recent.move_to_end(entry.key)
        evicted = []
        while len(self._recent) > self._limit:
            oldest = next(iter(self._recent.values()))
            self.remove(oldest.key)
            evicted.append(oldest)
        return evicted

    def remove(self, key: CacheKey) -> Entry | None:
        """Take an entry out."""
        entry = self._recent.pop(key, None)
        if entry is None:
            return None
        node = self._nodes[entry.destination]
        del node.entries[entry.source]
        if not node.entries:
            del self._nodes[entry.destination]
            trie = self._trie(entry.destination)
            del trie[entry.destination.network]
            if not len(trie):
                del self._tries[entry.destination.iid, entry.destination.version]
        return entry

    def covered_by(self, eid: EidPrefix) -> list[Entry]:
        """Entries whose destination prefix is `eid` or more specific."""
        trie = self._tries.get((eid.iid, eid.version))
        if trie is None:
            return []
        key = eid.network
        known = trie.has_key(key)
        if not known:
            # pytricia lists the children of a prefix only if the prefix itself is there.
            trie[key] = None
        names = trie.children(key)
        nodes = [trie[name] for name in names]
        if known:
            nodes.append(trie[key])
        else:
            del trie[key]
        return [entry for node in nodes for entry in node.entries.values()]

    def covering(self, eid: EidPrefix) -> list[Entry]:
        """Entries whose destination prefix is less specific than `eid`."""
        trie = self._tries.get((eid.iid, eid.version))
        if trie is None:
            return []
        found: list[Entry] = []
        name = trie.get_key(eid.network)
        while name is not None:
            node: Node = trie[name]
            if node.destination != eid:
                found.extend(node.entries.values())
            name = trie.parent(name)
        return found

    def overlapping(self, eid: EidPrefix) -> list[Entry]:
        """Entries whose destination prefix shares an EID with `eid`."""
        return self.covered_by(eid) + self.covering(eid)

    def _trie(self, eid: EidPrefix) -> pytricia.PyTricia:
        key = (eid.iid, eid.version)
        trie = self._tries.get(key)
        if trie is None:
            family = AF_INET if eid.version == 4 else AF_INET6
            trie = self._tries[key] = pytricia.PyTricia(eid.network.max_prefixlen, family)
        return trie
