"""The closed loop: weights that follow measured inbound load toward a target split.

One `Balancer` per rule with `balance`. It measures a window of traffic, compares each RLOC's share
with its target, moves the weights a part of the way, waits until ITRs have followed, measures
again. What keeps the loop still:

- nothing is measured while it settles; a deviation within the hysteresis is left alone;
- a step corrects only a part (`GAIN`) of the deviation, and half of that each time the direction
  turns round. Flows are not divisible: where one heavy flow decides, no weight meets the target,
  and the loop ends at the best weights that it saw and rests there until the traffic changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lisp_sdn.address import IPAddress
from lisp_sdn.policy.conditions import BalancedWeights
from lisp_sdn.policy.rlocset import target_weights
from lisp_sdn.policy_settings import Balance, SitePolicy

GAIN = 0.5
"""Part of a deviation that one step corrects. Shares follow weights about one to one, so the loop
would stay stable up to 2; a half also halves what the granularity of flow hashing adds as noise."""

RELEASE = 0.5
"""A correction that has begun goes on until the deviation is below this part of the hysteresis."""

TOTAL = 100
"""Weights of one rule sum up to this, so that one point is one percent."""


class BalanceState(StrEnum):
    """What a balancer is doing, for REST and metrics."""

    MEASURING = "measuring"
    SETTLING = "settling"
    ON_TARGET = "on-target"
    AS_NEAR_AS_FLOWS_ALLOW = "as-near-as-flows-allow"
    IDLE = "too-little-traffic"
    FROZEN = "frozen"
    DEGRADED = "one-rloc-left"


@dataclass(frozen=True, slots=True)
class BalanceStatus:
    """One balancer. shares: as last measured. deviation: the largest of a share, 0..1."""

    site: str
    rule: str
    state: BalanceState
    weights: Mapping[IPAddress, int]
    shares: Mapping[IPAddress, float]
    target: Mapping[IPAddress, float]
    deviation: float

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "site": self.site,
            "rule": self.rule,
            "state": self.state.value,
            "weights": {str(rloc): weight for rloc, weight in self.weights.items()},
            "shares": {str(rloc): round(share, 4) for rloc, share in self.shares.items()},
            "target": {str(rloc): round(share, 4) for rloc, share in self.target.items()},
            "deviation": round(self.deviation, 4),
        }


class Balancer:
    """The loop of one rule. weights: where to start, for instance what was stored."""

    def __init__(self, settings: Balance, weights: Mapping[IPAddress, int] | None = None) -> None:
        self.settings = settings
        known = {rloc: (weights or {}).get(rloc) for rloc in settings.shares}
        start = {rloc: weight for rloc, weight in known.items() if weight is not None}
        complete = len(start) == len(known) and sum(start.values()) > 0
        self.weights = start if complete else target_weights(settings.shares)
        self.state = BalanceState.FROZEN if settings.freeze else BalanceState.MEASURING
        self.shares: dict[IPAddress, float] = {}
        self.deviation = 0.0
        self._window: tuple[float, dict[IPAddress, int]] | None = None
        self._not_before = 0.0
        self._correcting = False
        self._gain = GAIN
        self._last_move: dict[IPAddress, int] = {}
        self._best: tuple[float, dict[IPAddress, int]] | None = None
        self._rest: dict[IPAddress, float] | None = None
        self._resting = False

    def observe(
        self, octets: Mapping[IPAddress, int], now: float, down: Collection[IPAddress] = ()
    ) -> dict[IPAddress, int] | None:
        """Take the inbound octet counters per RLOC; the new weights when they change.

        octets: cumulative, of any start. down: RLOCs that carry nothing for another reason than
        their weight; they keep it, and the others share the rest of the target.
        """
        if self.settings.freeze:
            self.state = BalanceState.FROZEN
            self._window = None
            return None
        active = [rloc for rloc in self.weights if rloc in octets and rloc not in down]
        if len(active) < 2:
            self.state = BalanceState.DEGRADED
            self._window = None
            return None
        if now < self._not_before:
            self.state = BalanceState.SETTLING
            self._window = None
            return None
        counts = {rloc: octets[rloc] for rloc in active}
        if self._window is None or self._window[1].keys() != counts.keys():
            self._window = (now, counts)
            self.state = BalanceState.MEASURING
            return None
        start, before = self._window
        if any(counts[rloc] < before[rloc] for rloc in active):
            self._window = (now, counts)  # a counter began anew
            return None
        if now - start < self.settings.interval:
            return None
        self._window = (now, counts)
        passed = {rloc: counts[rloc] - before[rloc] for rloc in active}
        return self._decide(passed, now - start, now)

    def _decide(
        self, passed: dict[IPAddress, int], seconds: float, now: float
    ) -> dict[IPAddress, int] | None:
        total = sum(passed.values())
        if total * 8 / seconds < self.settings.min_rate or not total:
            self.state = BalanceState.IDLE
            return None
        self.shares = {rloc: count / total for rloc, count in passed.items()}
        target = _normal({rloc: self.settings.shares[rloc] for rloc in passed})
        errors = {rloc: target[rloc] - self.shares[rloc] for rloc in passed}
        self.deviation = max(abs(error) for error in errors.values())
        if self._resting and not self._disturbed():
            return None
        limit = self.settings.hysteresis * (RELEASE if self._correcting else 1.0)
        if self.deviation <= limit:
            self._begin()
            self.state = BalanceState.ON_TARGET
            return None
        self._correcting = True
        if self._best is None or self.deviation < self._best[0]:
            self._best = (self.deviation, dict(self.weights))
        if sum(self._last_move.get(rloc, 0) * error for rloc, error in errors.items()) < 0:
            self._gain /= 2
        moved = self._moved(errors)
        if moved == self.weights:
            self._resting = True
            moved = self._best[1]
        return self._change(moved, now)

    def _begin(self) -> None:
        """Forget the correction that ended."""
        self._correcting = self._resting = False
        self._gain = GAIN
        self._last_move = {}
        self._best = self._rest = None

    def _disturbed(self) -> bool:
        """Whether the traffic is no longer what the loop came to rest with."""
        if self._rest is None or self._rest.keys() != self.shares.keys():
            self._rest = dict(self.shares)
        drift = max(abs(self.shares[rloc] - share) for rloc, share in self._rest.items())
        if drift > self.settings.hysteresis:
            self._begin()
            return True
        on_target = self.deviation <= self.settings.hysteresis
        self.state = BalanceState.ON_TARGET if on_target else BalanceState.AS_NEAR_AS_FLOWS_ALLOW
        return False

    def _change(self, moved: dict[IPAddress, int], now: float) -> dict[IPAddress, int] | None:
        if moved == self.weights:
            return None
        self._last_move = {rloc: weight - self.weights[rloc] for rloc, weight in moved.items()}
        self.weights = moved
        self._window = None
        self._not_before = now + self.settings.settle
        self.state = BalanceState.SETTLING
        return dict(moved)

    def _moved(self, errors: Mapping[IPAddress, float]) -> dict[IPAddress, int]:
        """A step toward the target, within floor and largest step; the sum stays."""
        room = sum(self.weights[rloc] for rloc in errors)
        floor = min(self.settings.floor, room // len(errors))
        # The errors sum up to 0; shortening all moves alike keeps it so.
        longest = self._gain * room * max(abs(error) for error in errors.values())
        scale = self._gain * room * min(1.0, self.settings.max_step / longest)
        wanted = {rloc: self.weights[rloc] + scale * error for rloc, error in errors.items()}
        return {**self.weights, **_whole(wanted, room, floor)}


def _whole(wanted: Mapping[IPAddress, float], total: int, floor: int) -> dict[IPAddress, int]:
    """Whole numbers near the wanted ones that sum up to `total`, none below `floor`."""
    held = {rloc: max(float(floor), value) for rloc, value in wanted.items()}
    spare = sum(held.values()) - floor * len(held)
    scale = (total - floor * len(held)) / spare if spare else 0.0
    exact = {rloc: floor + (value - floor) * scale for rloc, value in held.items()}
    whole = {rloc: int(value) for rloc, value in exact.items()}
    order = sorted(exact, key=lambda rloc: (whole[rloc] - exact[rloc], int(rloc)))
    for turn in range(total - sum(whole.values())):
        whole[order[turn % len(order)]] += 1
    return whole


def _normal(shares: Mapping[IPAddress, float]) -> dict[IPAddress, float]:
    total = sum(shares.values())
    return {rloc: share / total if total else 1 / len(shares) for rloc, share in shares.items()}


class Balancers:
    """The loops of all rules with `balance`. weights: what to start from, per (site, rule)."""

    def __init__(
        self, policies: Iterable[SitePolicy] = (), weights: BalancedWeights | None = None
    ) -> None:
        self._loops: dict[tuple[str, str], Balancer] = {}
        self._start = weights or {}
        self.configure(policies)

    def configure(self, policies: Iterable[SitePolicy]) -> None:
        """Follow a change of policy; a loop whose settings stay the same goes on undisturbed."""
        loops: dict[tuple[str, str], Balancer] = {}
        for policy in policies:
            for rule in policy.rules:
                settings = rule.action.balance
                if settings is None:
                    continue
                key = (policy.site, rule.name)
                known = self._loops.get(key)
                if known is None or known.settings != settings:
                    start = known.weights if known else self._start.get(key)
                    known = Balancer(settings, start)
                loops[key] = known
        self._loops = loops

    @property
    def active(self) -> bool:
        """Whether any rule is balanced, so that counters are worth reading."""
        return bool(self._loops)

    @property
    def interval(self) -> float | None:
        """Seconds between two observations that serve every loop; None without any."""
        return min((loop.settings.interval / 2 for loop in self._loops.values()), default=None)

    @property
    def weights(self) -> BalancedWeights:
        """The weights of every loop, for `Conditions`."""
        return {key: dict(loop.weights) for key, loop in self._loops.items()}

    def observe(
        self, octets: Mapping[IPAddress, int], now: float, down: Collection[IPAddress] = ()
    ) -> BalancedWeights | None:
        """Take the inbound octet counters of all RLOCs; all weights when any changed."""
        changed = False
        for loop in self._loops.values():
            changed |= loop.observe(octets, now, down) is not None
        return self.weights if changed else None

    def status(self) -> tuple[BalanceStatus, ...]:
        """What every loop is doing."""
        return tuple(
            BalanceStatus(
                site,
                rule,
                loop.state,
                dict(loop.weights),
                dict(loop.shares),
                loop.settings.shares,
                loop.deviation,
            )
            for (site, rule), loop in sorted(self._loops.items())
        )
