"""Token buckets: in total and per source, in bounded memory.

A source that is idle for as long as an empty bucket needs to fill may be forgotten, because a new
bucket starts full. `SourceLimiter` therefore keeps two generations of buckets and drops the older
one as a whole; no source is ever searched for or sorted.
"""

from __future__ import annotations

from collections.abc import Hashable


class TokenBucket:
    """At most `burst` at once and `rate` per second over time. rate: above 0."""

    __slots__ = ("_stamp", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float = 0.0) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._stamp = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take `amount` tokens if they are there. now: seconds, may jump back."""
        tokens = self._tokens
        if now != self._stamp:
            elapsed = now - self._stamp
            self._stamp = now
            if elapsed > 0:
                tokens = min(self.burst, tokens + elapsed * self.rate)
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True


class SourceLimiter:
    """A token bucket for every source, for at most `capacity` sources.

    When more sources than that come within `burst / rate` seconds, those beyond share one bucket:
    a flood with made-up sources then limits itself, and costs no memory. `overflows` counts them.
    """

    __slots__ = (
        "_buckets",
        "_fill_time",
        "_old",
        "_shared",
        "_turn",
        "burst",
        "capacity",
        "overflows",
        "rate",
    )

    def __init__(self, rate: float, burst: float, capacity: int) -> None:
        self.rate = rate
        self.burst = burst
        self.capacity = capacity
        self.overflows = 0
        self._fill_time = burst / rate
        self._buckets: dict[Hashable, TokenBucket] = {}
        self._old: dict[Hashable, TokenBucket] = {}
        self._shared = TokenBucket(rate, burst)
        self._turn = 0.0

    def __len__(self) -> int:
        return len(self._buckets) + len(self._old)

    def take(self, source: Hashable, now: float) -> bool:
        """Take one token of this source's bucket if it is there."""
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._adopt(source, now)
        return bucket.take(now)

    def _adopt(self, source: Hashable, now: float) -> TokenBucket:
        if not 0 <= now - self._turn < self._fill_time:
            self._old, self._buckets, self._turn = self._buckets, {}, now
        bucket = self._old.pop(source, None)
        if bucket is None:
            if len(self) >= self.capacity:
                self.overflows += 1
                return self._shared
            bucket = TokenBucket(self.rate, self.burst, now)
        self._buckets[source] = bucket
        return bucket


class RepeatLimiter:
    """At most `limit` of the same thing within a window of `window` seconds.

    Coarser than a bucket and far cheaper: one dictionary, emptied when the window ends. Holds at
    most `capacity` things; those beyond are let through, the total is limited elsewhere.
    """

    __slots__ = ("_counts", "_end", "capacity", "limit", "window")

    def __init__(self, limit: int, window: float, capacity: int) -> None:
        self.limit = limit
        self.window = window
        self.capacity = capacity
        self._counts: dict[Hashable, int] = {}
        self._end = 0.0

    def __len__(self) -> int:
        return len(self._counts)

    def known(self, thing: Hashable, now: float) -> bool:
        """Whether it was counted in this window."""
        return 0 < self._end - now <= self.window and thing in self._counts

    def take(self, thing: Hashable, now: float) -> bool:
        """Count one more; False when there were `limit` in this window already."""
        if not 0 < self._end - now <= self.window:
            self._counts.clear()
            self._end = now + self.window
        count = self._counts.get(thing, 0)
        if count >= self.limit:
            return False
        if count or len(self._counts) < self.capacity:
            self._counts[thing] = count + 1
        return True
