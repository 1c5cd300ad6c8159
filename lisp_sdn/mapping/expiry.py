"""When registrations expire: a wheel of one-second buckets.

A refreshed registration stays where it is; when its bucket comes up it is moved to the bucket of
its new expiry. So a Map-Register costs nothing here, and every registration is looked at once per
timeout. A bucket entry is one pointer.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil, isinf

from lisp_sdn.mapping.database import Place, Registration


class ExpiryWheel:
    """The registrations by the second in which each is next looked at."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Place, list[Registration]]] = {}
        self._times: list[int] = []

    def schedule(self, place: Place, entry: Registration) -> None:
        """Look at `entry` when it expires; an older appointment becomes void."""
        if isinf(entry.expires):
            return
        due = ceil(entry.expires)
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = {}
            heappush(self._times, due)
        bucket.setdefault(place, []).append(entry)
        entry.due = due

    def next_time(self) -> float | None:
        """When `due` has work to do, epoch seconds."""
        return float(self._times[0]) if self._times else None

    def due(self, now: float, limit: int) -> list[tuple[Place, Registration]]:
        """The registrations that have expired. limit: looks at about so many, the rest waits."""
        expired: list[tuple[Place, Registration]] = []
        while self._times and self._times[0] <= now and limit > 0:
            due = self._times[0]
            bucket = self._buckets[due]
            while bucket and limit > 0:
                place, entries = next(iter(bucket.items()))
                while entries and limit > 0:
                    limit -= 1
                    entry = entries.pop()
                    if entry.due != due:
                        continue
                    if entry.expires <= now:
                        expired.append((place, entry))
                    else:
                        self.schedule(place, entry)
                if not entries:
                    del bucket[place]
            if not bucket:
                heappop(self._times)
                del self._buckets[due]
        return expired
