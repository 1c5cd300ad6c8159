"""What the rules can ask about the network right now: health, load, balanced weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lisp_sdn.address import IPAddress
from lisp_sdn.policy_settings import LoadCondition, SitePolicy

BalancedWeights = Mapping[tuple[str, str], Mapping[IPAddress, int]]
"""(site, rule) -> weight per RLOC, as the closed loop has set it."""


@dataclass(frozen=True, slots=True)
class RlocLoad:
    """Measured inbound load of an RLOC. rate: bit/s. share: of the site's inbound octets, 0..1."""

    rate: float
    share: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """A snapshot of what is known.

    up: RLOC -> reachable; an RLOC without a report counts as up, as a Locator does. load: RLOC ->
    measured load; a condition on the load of an RLOC without a measurement does not hold.
    weights: what `Balancers` decided; without it a balanced rule starts from its target.
    """

    up: Mapping[IPAddress, bool] = field(default_factory=dict)
    load: Mapping[IPAddress, RlocLoad] = field(default_factory=dict)
    weights: BalancedWeights = field(default_factory=dict)

    def is_up(self, rloc: object) -> bool:
        """Whether nothing says that the RLOC is down."""
        return self.up.get(rloc, True)  # type: ignore[call-overload,no-any-return]


Latched = frozenset[LoadCondition]
"""The load conditions that hold."""


def latch(policies: Iterable[SitePolicy], conditions: Conditions, previous: Latched) -> Latched:
    """Which load conditions hold now: past the threshold, or held before and not yet released."""
    asked = {entry for policy in policies for rule in policy.rules for entry in rule.match.load}
    return frozenset(entry for entry in asked if _holds(entry, conditions, entry in previous))


def _holds(condition: LoadCondition, conditions: Conditions, held: bool) -> bool:
    load = conditions.load.get(condition.rloc)
    if load is None:
        return False
    value = load.share if condition.share else load.rate
    limit = condition.release if held else condition.threshold
    return value > limit if condition.above else value < limit


class LoadMeter:
    """Turns octet counters into `RlocLoad`: an exponential average over about `span` seconds."""

    def __init__(self, span: float = 10.0) -> None:
        self._span = span
        self._last: tuple[float, dict[IPAddress, int]] | None = None
        self._rates: dict[IPAddress, float] = {}

    def observe(self, octets: Mapping[IPAddress, int], now: float) -> dict[IPAddress, RlocLoad]:
        """Take the counters of every RLOC of one site. A counter that went back starts anew."""
        if self._last is not None:
            then, before = self._last
            seconds = now - then
            if seconds <= 0:
                return self._loads()
            keep = max(0.0, 1.0 - seconds / self._span)
            for rloc, count in octets.items():
                passed = count - before.get(rloc, count)
                if passed < 0:
                    continue
                rate = passed * 8 / seconds
                self._rates[rloc] = keep * self._rates.get(rloc, rate) + (1 - keep) * rate
        self._last = (now, dict(octets))
        self._rates = {rloc: rate for rloc, rate in self._rates.items() if rloc in octets}
        return self._loads()

    def _loads(self) -> dict[IPAddress, RlocLoad]:
        total = sum(self._rates.values())
        return {
            rloc: RlocLoad(rate, rate / total if total else 0.0)
            for rloc, rate in self._rates.items()
        }
