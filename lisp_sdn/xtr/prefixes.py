"""Values by EID-prefix, found by any EID-prefix that overlaps with theirs."""

from __future__ import annotations

from collections.abc import Iterator
from socket import AF_INET, AF_INET6
from typing import Generic, TypeVar

import pytricia

from lisp_sdn.address import EidPrefix

V = TypeVar("V")


class Prefixes(Generic[V]):
    """One value for each EID-prefix. O(address length) for whatever does not return many."""

    def __init__(self) -> None:
        self._tries: dict[tuple[int, int], pytricia.PyTricia] = {}

    def get(self, eid: EidPrefix) -> V | None:
        """The value of exactly this prefix."""
        trie = self._tries.get((eid.iid, eid.version))
        if trie is None or not trie.has_key(eid.network):
            return None
        found: V = trie[eid.network]
        return found

    def put(self, eid: EidPrefix, value: V) -> None:
        """Add or replace."""
        trie = self._tries.get((eid.iid, eid.version))
        if trie is None:
            family = AF_INET if eid.version == 4 else AF_INET6
            trie = pytricia.PyTricia(eid.network.max_prefixlen, family)
            self._tries[eid.iid, eid.version] = trie
        trie[eid.network] = value

    def remove(self, eid: EidPrefix) -> None:
        """Take the value of exactly this prefix out. Raises KeyError."""
        trie = self._tries[eid.iid, eid.version]
        del trie[eid.network]
        if not len(trie):
            del self._tries[eid.iid, eid.version]

    def covering(self, eid: EidPrefix) -> Iterator[V]:
        """Values of `eid` and of the prefixes around it, the most specific first."""
        trie = self._tries.get((eid.iid, eid.version))
        if trie is None:
            return
        name = trie.get_key(eid.network)
        while name is not None:
            yield trie[name]
            name = trie.parent(name)

    def overlapping(self, eid: EidPrefix) -> list[V]:
        """Values of `eid`, of the prefixes around it and of those inside of it."""
        found = list(self.covering(eid))
        trie = self._tries.get((eid.iid, eid.version))
        if trie is None:
            return found
        known = trie.has_key(eid.network)
        if not known:
            # pytricia lists the children of a prefix only if the prefix itself is there.
            trie[eid.network] = None
        found.extend(trie[name] for name in trie.children(eid.network))
        if not known:
            del trie[eid.network]
        return found
