"""How durations are distributed: counts by upper bound, as in a Prometheus histogram."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 12.0)
"""Seconds. A lost Map-Request shows above 1 s, one given up above 11 s (RFC 9301 section 5.3)."""


class Histogram:
    """Counts observations by upper bound. bounds: rising, in seconds; above is one more bucket.

    total: sum of all observations, seconds.
    """

    def __init__(self, bounds: Sequence[float] = LATENCIES) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a duration so many times; a clock that was set back counts as no time at all."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(self._bounds, seconds)] += times
        self.total += seconds * times

    def cumulative(self) -> tuple[tuple[float, int], ...]:
        """(upper bound, observations not above it); the last bound is infinity."""
        bounds = (*self._bounds, float("inf"))
        return tuple(zip(bounds, accumulate(self._counts), strict=True))
