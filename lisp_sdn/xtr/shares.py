"""Places that many want: whoever takes most of them leaves some to the others."""

from __future__ import annotations

from collections import Counter

from lisp_sdn.address import IPAddress

_SHARED_FROM = 64


class Shares:
    """Who has how many of `limit` places. Asked for by a source EID behind a port.

    The last quarter is for sources that have few, and the last half of it for ports that have few:
    a host that scans, and one that scans under many addresses, cannot take them all. Fewer places
    than 64 go to whoever comes first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._sources: Counter[tuple[int, IPAddress]] = Counter()
        self._ports: Counter[int] = Counter()

    def __len__(self) -> int:
        return self._total

    def admits(self, port: int, source: IPAddress) -> bool:
        """Whether there is a place."""
        limit, free = self._limit, self._limit - self._total
        if limit < _SHARED_FROM or free <= 0:
            return free > 0
        if free > limit // 4:
            return True
        if free > limit // 8:
            return self._sources[port, source] < limit // 64
        return self._ports[port] < limit // 16

    def add(self, port: int, source: IPAddress) -> None:
        """Take a place."""
        self._total += 1
        self._sources[port, source] += 1
        self._ports[port] += 1

    def remove(self, port: int, source: IPAddress) -> None:
        """Give it back."""
        self._total -= 1
        who = (port, source)
        self._sources[who] -= 1
        if not self._sources[who]:
            del self._sources[who]
        self._ports[port] -= 1
        if not self._ports[port]:
            del self._ports[port]
