"""Packets held while their destination is resolved, and the resolutions under way.

RFC 9300 section 6 lets an ITR drop or buffer on a miss; we buffer, within bounds.
RFC 9301 section 5.3: at most one Map-Request per second and EID-prefix, and after ten
retransmissions a pause of 30 seconds.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.prefixtable import BITS
from lisp_sdn.xtr.cache import CacheKey
from lisp_sdn.xtr.shares import Shares

REQUEST_INTERVAL = 1.0
MAX_RETRANSMISSIONS = 10
PAUSE = 30.0

HoldKey = tuple[int, IPAddress]
"""(instance-ID, destination EID)."""


@dataclass(frozen=True, slots=True)
class Held:
    """A packet that waits. source: its source EID; from_tunnel: it was decapsulated here."""

    frame: bytes
    in_port: int
    source: IPAddress
    from_tunnel: bool


class HoldQueue:
    """Held packets, in the order of their arrival per destination.

    per_eid, total: bounds in packets. What does not fit is refused, so that the oldest packets
    of a flow, which the others depend on, are the ones that survive.
    """

    def __init__(self, per_eid: int, total: int) -> None:
        self._per_eid = per_eid
        self._held: dict[HoldKey, deque[Held]] = {}
        self._shares = Shares(total)

    def __len__(self) -> int:
        return len(self._shares)

    def count(self, key: HoldKey) -> int:
        """Packets held for one destination."""
        return len(self._held.get(key, ()))

    def put(self, key: HoldKey, packet: Held, *, again: bool = False) -> str | None:
        """Hold a packet; returns the reason if it does not fit. again: it was just taken out."""
        queue = self._held.get(key)
        if (queue is not None and len(queue) >= self._per_eid) or self._per_eid == 0:
            return "held-per-eid"
        if not again and not self._shares.admits(packet.in_port, packet.source):
            return "held-total"
        if queue is None:
            queue = self._held[key] = deque()
        queue.append(packet)
        self._shares.add(packet.in_port, packet.source)
        return None

    def take(self, key: HoldKey) -> list[Held]:
        """All packets of a destination, oldest first."""
        packets = list(self._held.pop(key, ()))
        for packet in packets:
            self._shares.remove(packet.in_port, packet.source)
        return packets

    def destinations(self) -> list[HoldKey]:
        """Destinations with held packets."""
        return list(self._held)


def host_eid(iid: int, address: IPAddress) -> EidPrefix:
    """The host EID-prefix of a packet's address, whose values are in range by nature."""
    return EidPrefix.trusted(iid, address.version, int(address), address.max_prefixlen)


def nobody(iid: int, version: int) -> EidPrefix:
    """The source EID of a question that no packet led to.

    Without one an answer could not say for which source EIDs it holds, and what a policy denies to
    some would be open to them.
    """
    return EidPrefix.trusted(iid, version, 0, BITS[version])


class Purpose(StrEnum):
    """Why a Map-Request is sent."""

    MISS = "miss"
    REFRESH = "refresh"
    SOURCE = "source"


@dataclass(slots=True)
class Resolution:
    """One question to the mapping system until it is answered or given up.

    eid: what is asked for. source: the source EID to ask with. entry: the cache entry that is
    refreshed. attempts: requests sent. paused: given up for PAUSE seconds. announced: the switch
    is told to send few of its packets. nonces: of all requests sent; any may be answered.
    began: seconds since the epoch. smr_invoked: a Solicit-Map-Request caused it (s-bit).
    asker: port and source EID of the packet that missed.
    """

    purpose: Purpose
    eid: EidPrefix
    source: EidPrefix | None
    entry: CacheKey | None = None
    nonces: list[int] = field(default_factory=list)
    began: float = 0.0
    smr_invoked: bool = False
    asker: tuple[int, IPAddress] | None = None
    attempts: int = 0
    paused: bool = False
    announced: bool = False

    @property
    def name(self) -> ResolutionName:
        """By which it is found; two questions with the same name are one."""
        return (self.purpose, self.eid, self.entry)


ResolutionName = tuple[Purpose, EidPrefix, CacheKey | None]


class Resolutions:
    """The resolutions under way. limit: how many misses may wait at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._shares = Shares(limit)
        self._by_name: dict[ResolutionName, Resolution] = {}
        self._by_nonce: dict[int, Resolution] = {}
        self._last: OrderedDict[tuple[EidPrefix, EidPrefix | None], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_name)

    def admits(self, port: int, source: IPAddress) -> bool:
        """Whether a further miss, of a packet from this source behind a port, may wait."""
        return self._shares.admits(port, source)

    def misses(self) -> list[Resolution]:
        """Unanswered questions with packets behind them."""
        return [item for item in self._by_name.values() if item.purpose is Purpose.MISS]

    def get(self, name: ResolutionName) -> Resolution | None:
        """The resolution with this name."""
        return self._by_name.get(name)

    def miss(self, eid: EidPrefix) -> Resolution | None:
        """The resolution that packets to this host EID wait for."""
        return self._by_name.get((Purpose.MISS, eid, None))

    def add(self, resolution: Resolution) -> None:
        """Begin."""
        self._by_name[resolution.name] = resolution
        if resolution.asker is not None:
            self._shares.add(*resolution.asker)

    def earliest(self, resolution: Resolution, now: float) -> float:
        """When the next Map-Request for it may be sent."""
        last = self._last.get((resolution.eid, resolution.source))
        return now if last is None else max(now, last + REQUEST_INTERVAL)

    def sent(self, resolution: Resolution, nonce: int, now: float) -> None:
        """Note a Map-Request."""
        resolution.nonces.append(nonce)
        resolution.attempts += 1
        self._by_nonce[nonce] = resolution
        key = (resolution.eid, resolution.source)
        self._last[key] = now
        self._last.move_to_end(key)
        while len(self._last) > self._limit:
            self._last.popitem(last=False)

    def expects(self, nonce: int) -> bool:
        """Whether a Map-Request with this nonce is outstanding."""
        return nonce in self._by_nonce

    def answered(self, nonce: int) -> Resolution | None:
        """The resolution that this nonce answers; it is over."""
        resolution = self._by_nonce.get(nonce)
        if resolution is not None:
            self.end(resolution)
        return resolution

    def end(self, resolution: Resolution) -> None:
        """Answered or given up."""
        for nonce in resolution.nonces:
            self._by_nonce.pop(nonce, None)
        resolution.nonces.clear()
        if self._by_name.get(resolution.name) is resolution:
            del self._by_name[resolution.name]
            if resolution.asker is not None:
                self._shares.remove(*resolution.asker)

    def forget(self, eid: EidPrefix | None) -> None:
        """An operator cleared `eid` (None: everything): the next miss may ask at once."""
        for key in [key for key in self._last if eid is None or eid.covers(key[0])]:
            del self._last[key]
