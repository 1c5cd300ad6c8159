"""Next hops of RLOCs, resolved before they are needed.

Open vSwitch drops the packet that makes it resolve the next hop of a tunnel's destination. So a
packet that nobody misses goes first: with an instance-ID that no ETR serves and an inner source
that no ETR forwards. Held packets follow when the answer had time to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from lisp_sdn.address import MAX_IID, IPAddress
from lisp_sdn.rules import Output, Port, SetField
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.size import tunnel_fields
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

PRIME_INTERVAL = 300.0
"""Seconds; Open vSwitch forgets a next hop that was not used for 900 s."""

PRIME_AGAIN = 2.0
"""Seconds after a switch came back until everything is primed once more: when it restarted, the
system may give the underlay bridge its addresses only after it has connected."""

_STALE = 2 * PRIME_INTERVAL
_USED_FOR = 60.0
_LOOPBACK = IPv4Address("127.0.0.1")
PROBE_FRAME = replies.ip_frame(
    "00:00:00:00:00:00",
    "00:00:00:00:00:00",
    4,
    replies.ipv4(_LOOPBACK, _LOOPBACK, 17, bytes.fromhex("0009000900080000"), ttl=1),
)


class Neighbours:
    """Which RLOCs' next hops were resolved, and when. delay: seconds that resolution may take."""

    def __init__(
        self,
        outbox: Outbox,
        timers: Timers,
        topology: Callable[[], Topology],
        in_use: Callable[[], frozenset[IPAddress]],
        delay: float,
    ) -> None:
        self._outbox = outbox
        self._timers = timers
        self._topology = topology
        self._in_use = in_use
        self._delay = delay
        self._known: set[IPAddress] = set()
        self._used: frozenset[IPAddress] = frozenset()
        self._used_at = float("-inf")
        self._first: dict[IPAddress, float] = {}
        self._last: dict[IPAddress, float] = {}

    def take_over(self, old: Neighbours) -> None:
        """Go on where another one ends: what was resolved stays so."""
        self._known = old._known
        self._first, self._last = old._first, old._last
        for rloc, last in self._last.items():
            self._timers.schedule(("prime", rloc), last + PRIME_INTERVAL)

    def know(self, rlocs: Iterable[IPAddress], now: float) -> None:
        """RLOCs that traffic will sooner or later go to; replaces the earlier ones."""
        self._known = set(rlocs)
        if self._outbox.connected:
            for rloc in sorted(self._known, key=str):
                self.ready_at([rloc], now)

    def ready_at(self, rlocs: Iterable[IPAddress], now: float) -> float:
        """When traffic may go to all of `rlocs`; primes those that need it."""
        ready = now
        for rloc in rlocs:
            if now - self._last.get(rloc, float("-inf")) >= _STALE:
                self._first.pop(rloc, None)
            if rloc not in self._first and self._prime(rloc, now):
                self._first[rloc] = now
            if rloc in self._first:
                ready = max(ready, self._first[rloc] + self._delay)
        return ready

    def settled_until(self, rlocs: Iterable[IPAddress], now: float) -> float:
        """Until when `ready_at` has nothing to do or to wait for; `now` when it has already."""
        until = float("inf")
        for rloc in rlocs:
            if rloc not in self._first or self._first[rloc] + self._delay > now:
                return now
            until = min(until, self._last[rloc] + _STALE)
        return until

    def reconnected(self, used: Iterable[IPAddress], now: float) -> None:
        """The switch is there again, maybe restarted: prime everything once more."""
        self._first.clear()
        self._last.clear()
        self.ready_at(sorted(self._known | set(used), key=str), now)
        for rloc in self._last:
            self._timers.schedule(("prime", rloc), now + PRIME_AGAIN)

    def due(self, rloc: IPAddress, now: float) -> None:
        """Prime again while used."""
        if now - self._used_at >= _USED_FOR:
            self._used, self._used_at = self._in_use(), now
        if rloc in self._known or rloc in self._used:
            self._prime(rloc, now)
        else:
            self._first.pop(rloc, None)
            self._last.pop(rloc, None)

    def _prime(self, rloc: IPAddress, now: float) -> bool:
        topology = self._topology()
        if (
            not self._outbox.connected
            or topology.tunnel_port is None
            or rloc in topology.rlocs
            or topology.source_rloc(rloc.version) is None
        ):
            return False
        self._outbox.counters["neighbours-primed"] += 1
        self._outbox.packet(
            PROBE_FRAME,
            Port.CONTROLLER,
            SetField("tunnel_id", MAX_IID),
            *tunnel_fields(rloc, topology),
            Output(topology.tunnel_port),
        )
        self._last[rloc] = now
        self._timers.schedule(("prime", rloc), now + PRIME_INTERVAL)
        return True
