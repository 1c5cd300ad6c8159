"""EID-prefixes of one instance-ID and one family, ready for longest-prefix match.

A prefix is one integer here, its `code`: the address shifted left by 8, plus the mask length. Codes
sort like the prefixes do, a less-specific one before the more-specific ones that it covers, so
that everything inside a prefix is one range.

Two structures hold the same prefixes. A dictionary for each mask length in use finds the longest
match: a look-up costs one probe per length, not one per bit as in a trie, and at a million prefixes
a probe is what costs. A sorted list of codes finds neighbours, which is what pages, more-specifics
and negative prefixes need.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Generic, Protocol, TypeVar

from sortedcontainers import SortedList

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork

BITS = {4: 32, 6: 128}
"""Address length in bits by IP version."""


class Coded(Protocol):
    """What a table holds: a value that knows the code under which it is kept."""

    code: int


V = TypeVar("V", bound=Coded)


def code_of(network: IPNetwork) -> int:
    """The code of a prefix."""
    return int(network.network_address) << 8 | network.prefixlen


def code_of_host(address: IPAddress) -> int:
    """The code of the /32 or /128 of an address."""
    return int(address) << 8 | address.max_prefixlen


def eid_of(iid: int, version: int, code: int) -> EidPrefix:
    """Inverse of `code_of`. version: 4 or 6."""
    return EidPrefix.trusted(iid, version, code >> 8, code & 0xFF)


class _Level(Generic[V]):
    """The values of one mask length, by the address without its host bits."""

    __slots__ = ("length", "shift", "values")

    def __init__(self, length: int, bits: int) -> None:
        self.length = length
        self.shift = bits - length
        self.values: dict[int, V] = {}


class PrefixTable(Generic[V]):
    """A map from EID-prefix to value. version: 4 or 6."""

    __slots__ = ("_by_length", "_codes", "_levels", "bits", "iid", "version")

    def __init__(self, iid: int, version: int) -> None:
        self.iid = iid
        self.version = version
        self.bits = BITS[version]
        self._by_length: dict[int, _Level[V]] = {}
        self._levels: tuple[_Level[V], ...] = ()
        self._codes: SortedList = SortedList()

    def __len__(self) -> int:
        return len(self._codes)

    def values(self) -> Iterator[V]:
        """Every value, in no particular order."""
        return chain.from_iterable(level.values.values() for level in self._levels)

    def eid(self, code: int) -> EidPrefix:
        """The EID-prefix of one of our codes."""
        return eid_of(self.iid, self.version, code)

    def find_packed(self, address: bytes) -> V | None:
        """The value with the longest prefix that covers a packed address."""
        return self.find(int.from_bytes(address, "big"))

    def find(self, value: int) -> V | None:
        """The value with the longest prefix that covers an address."""
        for level in self._levels:
            found = level.values.get(value >> level.shift)
            if found is not None:
                return found
        return None

    def longest(self, code: int) -> V | None:
        """The value with the longest prefix that covers `code`, itself included."""
        value, length = code >> 8, code & 0xFF
        for level in self._levels:
            if level.length <= length:
                found = level.values.get(value >> level.shift)
                if found is not None:
                    return found
        return None

    def get(self, code: int) -> V | None:
        """The value with exactly this prefix."""
        level = self._by_length.get(code & 0xFF)
        return None if level is None else level.values.get(code >> 8 + level.shift)

    def put(self, value: V) -> None:
        """Keep `value` under its code, in the place of any other there."""
        if self.get(value.code) is None:
            self._codes.add(value.code)
        self._insert(value)

    def put_new(self, value: V) -> None:
        """`put` for a code that is not here, as the caller knows."""
        self._codes.add(value.code)
        self._insert(value)

    def _insert(self, value: V) -> None:
        code = value.code
        level = self._by_length.get(code & 0xFF)
        if level is None:
            level = self._by_length[code & 0xFF] = _Level(code & 0xFF, self.bits)
            self._order_levels()
        level.values[code >> 8 + level.shift] = value

    def remove(self, code: int) -> None:
        """Forget a prefix. Raises KeyError when it is not here."""
        level = self._by_length[code & 0xFF]
        del level.values[code >> 8 + level.shift]
        if not level.values:
            del self._by_length[code & 0xFF]
            self._order_levels()
        self._codes.remove(code)

    def _order_levels(self) -> None:
        self._levels = tuple(
            sorted(self._by_length.values(), key=lambda level: level.length, reverse=True)
        )

    def covering(self, code: int) -> Iterator[V]:
        """Every value whose prefix covers `code`, itself included, longest first."""
        found = self.longest(code)
        while found is not None:
            yield found
            length = (found.code & 0xFF) - 1
            if length < 0:
                return
            found = self.longest(shorten(found.code, length, self.bits))

    def has_inside(self, code: int) -> bool:
        """Whether there are more-specific prefixes. Fast where no prefix here is that long."""
        levels = self._levels
        if not levels or levels[0].length <= code & 0xFF:
            return False
        return next(self.codes_inside(code), None) is not None

    def codes_inside(self, code: int) -> Iterator[int]:
        """The codes of all more-specific prefixes, ascending."""
        codes: Iterator[int] = self._codes.irange(
            code, last_inside(code, self.bits), inclusive=(False, True)
        )
        return codes

    def codes_from(self, code: int) -> Iterator[int]:
        """The codes at or after `code`, ascending."""
        codes: Iterator[int] = self._codes.irange(code)
        return codes

    def free_length(self, code: int) -> int | None:
        """Length of the widest prefix around `code` that no prefix here is inside of.

        It stays inside the longest prefix here that covers `code`. None when `code` itself has
        more-specific prefixes inside. O(log n): only the neighbours in the sorted list can share
        the longest run of leading bits with `code`.
        """
        codes = self._codes
        widest = 0
        after = codes.bisect_right(code)
        if after < len(codes):
            if codes[after] <= last_inside(code, self.bits):
                return None
            widest = self._common(code, codes[after]) + 1
        if after:
            before = codes[after - 1]
            inside = covers(before, code, self.bits)
            length = before & 0xFF if inside else self._common(code, before) + 1
            widest = max(widest, length)
        return widest

    def _common(self, one: int, other: int) -> int:
        """How many leading bits two addresses share."""
        return self.bits - ((one ^ other) >> 8).bit_length()


def covers(code: int, other: int, bits: int) -> bool:
    """Whether the prefix `code` covers the prefix `other`."""
    length = code & 0xFF
    return length <= (other & 0xFF) and (code ^ other) >> 8 + bits - length == 0


def shorten(code: int, length: int, bits: int) -> int:
    """The covering prefix of `length` bits."""
    shift = 8 + bits - length
    return code >> shift << shift | length


def last_inside(code: int, bits: int) -> int:
    """The highest code that a prefix inside `code` can have."""
    return code | ((1 << 8 + bits - (code & 0xFF)) - 1)
