"""Who was told what, in bounded memory: whom to solicit when an answer changes.

Foreign ITRs keep what they were told until its TTL ends. This remembers, for every EID-prefix that
was in a Map-Reply, to which ITR-RLOCs it went. It is a help, not a duty (RFC 9301 section 6.1), so
it may forget: two generations are kept, each up to half of the capacity, and the older one goes as
a whole when the younger one is full. No request costs more than a few dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sortedcontainers import SortedList

from lisp_sdn.address import EidPrefix
from lisp_sdn.prefixtable import BITS, code_of, covers, last_inside, shorten

PrefixKey = tuple[int, int, int]
"""(instance-ID, IP version, code)."""


class Holder(NamedTuple):
    """An ITR that holds an answer.

    rloc: packed ITR-RLOC. source: packed source EID of its last Map-Request, None without one.
    held: the code of the prefix that it was told.
    """

    rloc: bytes
    source: bytes | None
    held: int


class _Generation:
    __slots__ = ("count", "lengths", "partial", "told")

    def __init__(self) -> None:
        self.told: dict[PrefixKey, dict[bytes, bytes | None]] = {}
        self.partial: dict[tuple[int, int], SortedList] = {}
        self.lengths: set[int] = set()
        self.count = 0


class Requesters:
    """What which ITR-RLOC was told. capacity: (prefix, ITR-RLOC) pairs; 0 remembers nothing.

    forgotten: pairs given up for newer ones. generation: another object once `note` may return
    something else for the same prefix.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.forgotten = 0
        self._young = _Generation()
        self._old = _Generation()
        self.generation: object = self._young

    def __len__(self) -> int:
        return self._young.count + self._old.count

    def note(
        self,
        prefix: PrefixKey,
        rloc: bytes,
        source: bytes | None = None,
        *,
        partial: bool = False,
    ) -> dict[bytes, bytes | None]:
        """`rloc` was told about `prefix`; returns all who were, with their source EIDs.

        partial: the prefix is none that is registered: a negative answer, or a part of one.
        """
        young = self._young
        told = young.told.get(prefix)
        if told is None:
            if not self.capacity:
                return {}
            told = young.told[prefix] = {}
            young.lengths.add(prefix[2] & 0xFF)
            if partial:
                codes = young.partial.setdefault(prefix[:2], SortedList())
                codes.add(prefix[2])
        if rloc not in told:
            young.count += 1
            if young.count * 2 >= self.capacity:
                self._turn()
        told[rloc] = source
        return told

    def _turn(self) -> None:
        self.forgotten += self._old.count
        self._old, self._young = self._young, _Generation()
        self.generation = self._young

    def prefixes(self) -> list[PrefixKey]:
        """Every prefix that somebody was told about; maybe twice."""
        return [*self._old.told, *self._young.told]

    def take(
        self,
        prefix: PrefixKey,
        *,
        shape: bool,
        inside: bool = False,
        concerned: Callable[[bytes], bool] = lambda rloc: True,
    ) -> list[Holder]:
        """Who holds an answer that a change of `prefix` concerns; they are forgotten here.

        shape: the prefix came or went, which concerns answers for prefixes around it as well; a
        change of contents concerns only answers for it and for parts of it. inside: and for the
        registered prefixes in it. concerned: whether an ITR-RLOC is; the others stay as they are.
        """
        holders: dict[bytes, Holder] = {}
        for generation in (self._old, self._young):
            if generation.count:
                around = self._around(generation, prefix, shape, inside)
                self._take(generation, prefix, around, holders, concerned)
        return list(holders.values())

    @staticmethod
    def _around(generation: _Generation, prefix: PrefixKey, shape: bool, inside: bool) -> list[int]:
        """The codes of the prefixes about which a change of `prefix` concerns answers."""
        iid, version, code = prefix
        length, bits = code & 0xFF, BITS[version]
        around = [code]
        if shape:
            around += [shorten(code, n, bits) for n in generation.lengths if n < length]
        if inside:
            told = (key[2] for key in generation.told if key[:2] == (iid, version))
            return [*around, *(other for other in told if covers(code, other, bits))]
        partial = generation.partial.get((iid, version))
        if partial:
            around += partial.irange(code, last_inside(code, bits), inclusive=(False, True))
        return around

    def _take(
        self,
        generation: _Generation,
        prefix: PrefixKey,
        around: list[int],
        holders: dict[bytes, Holder],
        concerned: Callable[[bytes], bool],
    ) -> None:
        iid, version, _ = prefix
        partial = generation.partial.get((iid, version))
        for found in around:
            told = generation.told.get((iid, version, found))
            if told is None:
                continue
            for rloc in [rloc for rloc in told if concerned(rloc)]:
                holders[rloc] = Holder(rloc, told.pop(rloc), found)
                generation.count -= 1
            if not told:
                del generation.told[iid, version, found]
                if partial:
                    partial.discard(found)


def prefix_key(eid: EidPrefix) -> PrefixKey:
    """An EID-prefix as (instance-ID, IP version, code)."""
    return eid.iid, eid.version, code_of(eid.network)
