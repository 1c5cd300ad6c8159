"""Map-cache misses that wait for their turn, so that one host's do not delay everybody's.

A switch sends packet-ins in one stream: whoever scans fills it, and what is behind waits. So the
stream is read as fast as it comes. What is not a miss, such as ARP, LISP control messages and
answers of the switch, is handled at once; misses wait here until all or much of it is read, by the
port that they came from and by their source, and are taken in turn: port by port, within a port
source by source.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

import eventlet

from lisp_sdn.actions import PacketIn
from lisp_sdn.rules import CookieClass, cookie_class
from lisp_sdn.xtr.pipeline import Punt

PER_PORT = 128
"""Misses of one port that wait; more are dropped, from the source that has most."""

PORTS = 1024
"""Ports whose misses wait."""

SLICE = 0.001
"""Seconds of handling misses before other green threads get their turn."""

Key = tuple[int, int]
"""(datapath id, port number)."""

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_CLASSES = (CookieClass.PENDING, CookieClass.MAP_CACHE)
_PUNTED = frozenset((Punt.MISS, Punt.LOCAL, Punt.TOO_BIG, Punt.SOURCE, Punt.ARRIVAL))


def is_miss(event: PacketIn) -> bool:
    """Whether any host can cause as many of these as it likes."""
    kind = cookie_class(event.cookie)
    if kind is CookieClass.PIPELINE:
        return event.cookie & 0xFF in _PUNTED
    return kind in _CLASSES


def source(frame: bytes) -> bytes:
    """The octets of the source EID; of the whole header of what is not IP."""
    ethertype = frame[12:14]
    if ethertype == _IPV4:
        return frame[26:30]
    return frame[22:38] if ethertype == _IPV6 else frame[:14]


class PortQueue:
    """The misses of one port, handed out source by source. limit: how many may wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: OrderedDict[bytes, deque[PacketIn]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, event: PacketIn) -> PacketIn | None:
        """Let it wait; returns the one that is dropped for it, maybe itself."""
        name = source(event.frame)
        dropped = None
        if self._count >= self._limit:
            longest = max(self._waiting, key=lambda key: len(self._waiting[key]))
            if len(self._waiting[longest]) <= len(self._waiting.get(name, ())) + 1:
                return event
            # The newest: what depends on the first packet of a flow has more use of that one.
            dropped = self._waiting[longest].pop()
            self._count -= 1
        self._waiting.setdefault(name, deque()).append(event)
        self._count += 1
        return dropped

    def take(self) -> PacketIn:
        """The next one. Raises KeyError when none waits."""
        name, events = self._waiting.popitem(last=False)
        event = events.popleft()
        if events:
            self._waiting[name] = events
        self._count -= 1
        return event


class Backlog:
    """Hands misses to `handle` in turn.

    drop: called with the miss that is given up. per_port: how many of one port may wait.
    """

    def __init__(
        self,
        handle: Callable[[PacketIn], None],
        drop: Callable[[PacketIn], None],
        per_port: int = PER_PORT,
    ) -> None:
        self._handle = handle
        self._drop = drop
        self._per_port = per_port
        self._ports: OrderedDict[Key, PortQueue] = OrderedDict()
        self._worker: Any = None

    def __len__(self) -> int:
        return sum(map(len, self._ports.values()))

    def put(self, event: PacketIn) -> None:
        """Let a miss wait for its turn, which comes when the caller waits for anything."""
        key = (event.datapath_id, event.in_port)
        queue = self._ports.get(key)
        if queue is None:
            if len(self._ports) >= PORTS:
                self._drop(event)
                return
            queue = self._ports[key] = PortQueue(self._per_port)
        dropped = queue.put(event)
        if dropped is not None:
            self._drop(dropped)
        if self._worker is None:
            self._worker = eventlet.spawn(self._work)

    def forget(self, datapath_id: int) -> None:
        """The switch is gone, and with it what its hosts wait for."""
        for key in [key for key in self._ports if key[0] == datapath_id]:
            del self._ports[key]

    def close(self) -> None:
        """Forget everything."""
        self._ports.clear()
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _work(self) -> None:
        """Until nothing waits: a slice of misses, then everybody else."""
        try:
            while self._ports:
                until = perf_counter() + SLICE
                while self._ports and perf_counter() < until:
                    key, queue = self._ports.popitem(last=False)
                    event = queue.take()
                    if queue:
                        self._ports[key] = queue
                    self._handle(event)
                eventlet.sleep(0)
        finally:
            # Whatever ended it, the next miss begins anew.
            self._worker = None
