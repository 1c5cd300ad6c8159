"""How long something that failed must be well before it is trusted again."""

from __future__ import annotations

_MEMORY = 10


class Damping:
    """`base` seconds after the first failure, twice as long after each further one, up to `limit`.

    Failures are forgotten when the last one is ten times as long ago as the wait that it led to.
    """

    def __init__(self, base: float, limit: float) -> None:
        self._base = base
        self._limit = limit
        self._failed_at: float | None = None
        self.wait = base
        """Seconds that it must be well before it is trusted."""

    def configure(self, base: float, limit: float) -> None:
        """Go on with other times; a wait that has begun to grow keeps its length within them."""
        self.wait = base if self.wait == self._base else min(max(self.wait, base), limit)
        self._base, self._limit = base, limit

    def failed(self, now: float) -> None:
        """It failed. now: seconds since the epoch."""
        last, self._failed_at = self._failed_at, now
        if last is None or now - last > _MEMORY * self.wait:
            self.wait = self._base
        else:
            self.wait = min(self._limit, 2 * self.wait)
