"""What a switch holds, read at once where thousands of flows differ by destination only.

Two map-cache flows of one RLOC-set are the same octets but for the destination address and the
counters. So the octets without these are looked up; only the first flow of a kind is decoded.
"""

from __future__ import annotations

from lisp_sdn.apps import oxm, readback
from lisp_sdn.rules import Alike, CookieClass, FlowRule, cookie

_FIXED = slice(12, 32)
"""Of a flow's statistics: priority, timeouts, flags, cookie. Before are length, table and duration,
behind are the counters."""
_MATCH = 48
_MAP_CACHE = cookie(CookieClass.MAP_CACHE).to_bytes(8, "big")[:3]


def _headers() -> tuple[tuple[bytes, int], ...]:
    fields = ((oxm.field("ipv4_dst"), 4), (oxm.field("ipv6_dst"), 16))
    plain = [(field.header, width) for field, width in fields]
    masked = [(field.masked_header, width) for field, width in fields]
    return (masked[0], plain[0], masked[1], plain[1])


_DESTINATIONS = _headers()
"""How a destination begins, and how many octets it has."""


class FlowReader:
    """Takes the bodies of flow statistics replies. rules: those that are like no others."""

    def __init__(self) -> None:
        self.rules: list[FlowRule] = []
        self._alike: dict[bytes, tuple[FlowRule, list[int]]] = {}

    def take(self, body: bytes) -> None:
        """Read one body. Raises DecodeError."""
        for entry in readback.flow_entries(body):
            if entry[24:27] != _MAP_CACHE or not self._take(entry):
                self.rules.append(readback.decode_flow(entry))

    def _take(self, entry: bytes) -> bool:
        """Count a flow among those that are alike; False when it has no destination."""
        for header, width in _DESTINATIONS:
            at = entry.find(header, _MATCH) + len(header)
            if at > _MATCH:
                return self._take_at(entry, at, at + width)
        return False

    def _take_at(self, entry: bytes, at: int, end: int) -> bool:
        key = b"".join((entry[2:3], entry[_FIXED], entry[_MATCH:at], entry[end:]))
        address = int.from_bytes(entry[at:end], "big")
        known = self._alike.get(key)
        if known is not None:
            known[1].append(address)
            return True
        rule = readback.decode_flow(entry)
        if Alike(rule, ()).flow(address) != rule:
            return False
        self._alike[key] = (rule, [address])
        return True

    def alike(self) -> tuple[Alike, ...]:
        """The others, by what they have in common."""
        return tuple(Alike(rule, tuple(addresses)) for rule, addresses in self._alike.values())
