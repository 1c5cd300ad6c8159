"""Acting on a whole RLOC-set (RFC 9301 section 5.4): from the registered one to the answer's."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from lisp_sdn.address import AnyAddress, IPAddress
from lisp_sdn.model import UNUSABLE_PRIORITY, Act, Locator, locator_sort_key
from lisp_sdn.model import Mapping as EidMapping
from lisp_sdn.policy.conditions import Conditions
from lisp_sdn.policy_settings import Action, LocatorChange, PolicyRule

DENY_TTL_MINUTES = 15
TEMPORARY_TTL_MINUTES = 1
"""TTLs of refusals unless the rule says otherwise (RFC 9301 section 8.3 for the second)."""

_PREFERRED = 1
_WORST = UNUSABLE_PRIORITY - 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule makes of a mapping.

    mapping: None when the rule does not decide and the next one is asked; `reason` tells why.
    warnings: what the operator should know, also when the rule decides.
    """

    mapping: EidMapping | None
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """What a rule makes of an RLOC-set, whatever mapping has it.

    locators: None when none would be usable. strangers: what it names that is not registered.
    """

    locators: tuple[Locator, ...] | None
    strangers: tuple[tuple[str, IPAddress], ...]


Shapes = dict[tuple[str, tuple[Locator, ...]], Shape]
"""(rule, registered RLOC-set) -> shape: the EID-prefixes of a site mostly share their RLOC-sets."""

MAX_SHAPES = 10_000


def act(
    site: str,
    rule: PolicyRule,
    registered: EidMapping,
    conditions: Conditions,
    unregistered: bool,
    shapes: Shapes | None = None,
) -> Outcome:
    """Apply a rule that matched. unregistered: it may name RLOCs that are not registered.

    shapes: where to keep shapes, for one policy under the same conditions.
    """
    action = rule.action
    if action.deny:
        return Outcome(_refusal(action, registered))
    key = (rule.name, registered.locators)
    shape = shapes.get(key) if shapes is not None else None
    if shape is None:
        balanced = conditions.weights.get((site, rule.name))
        shape = _shape(action, registered, conditions, balanced, unregistered)
        if shapes is not None:
            if len(shapes) >= MAX_SHAPES:
                shapes.clear()
            shapes[key] = shape
    warnings: tuple[str, ...] = ()
    if shape.strangers:
        warnings = tuple(
            f"rule {rule.name}: {part}: {rloc} is not registered for {registered.eid}, left out"
            for part, rloc in shape.strangers
        )
    if shape.locators is None:
        return _no_way_in(rule, registered, conditions, warnings)
    result = EidMapping(
        registered.eid,
        shape.locators,
        registered.ttl_minutes if action.ttl_minutes is None else action.ttl_minutes,
        Act.NO_ACTION,
        registered.authoritative,
        registered.map_version,
    )
    return Outcome(result, warnings=warnings)


def _shape(
    action: Action,
    registered: EidMapping,
    conditions: Conditions,
    balanced: Mapping[IPAddress, int] | None,
    unregistered: bool,
) -> Shape:
    locators = {locator.rloc: locator for locator in registered.locators}
    strangers = () if unregistered else tuple(_strangers(action, locators))
    _apply(locators, action, balanced, add=unregistered)
    if not any(usable(locator, conditions) for locator in locators.values()):
        return Shape(None, strangers)
    # RFC 9301 section 5.5: an RLOC-set is sorted, also one that policy made.
    return Shape(tuple(sorted(locators.values(), key=locator_sort_key)), strangers)


def usable(locator: Locator, conditions: Conditions) -> bool:
    """Whether traffic sent there arrives, as far as anybody knows."""
    return locator.usable and conditions.is_up(locator.rloc)


def _no_way_in(
    rule: PolicyRule, registered: EidMapping, conditions: Conditions, warnings: tuple[str, ...]
) -> Outcome:
    if not any(usable(locator, conditions) for locator in registered.locators):
        # Nothing that a rule could offer; the registered state itself is the answer.
        return Outcome(None, "no registered RLOC is usable, the rule has nothing to choose from")
    text = f"rule {rule.name} would leave no usable RLOC for {registered.eid}"
    return Outcome(None, f"{text}, fell through", (*warnings, f"{text}: fell through"))


def _refusal(action: Action, registered: EidMapping) -> EidMapping:
    temporary = action.deny == "temporarily"
    return replace(
        registered,
        locators=(),
        action=Act.SEND_MAP_REQUEST if temporary else Act.DROP_POLICY_DENIED,
        ttl_minutes=action.ttl_minutes
        or (TEMPORARY_TTL_MINUTES if temporary else DENY_TTL_MINUTES),
    )


def _strangers(action: Action, known: Container[AnyAddress]) -> list[tuple[str, IPAddress]]:
    return [
        (part, rloc)
        for part, rlocs in action.named()
        if part not in ("hide", "drain")  # what is not there is hidden already
        for rloc in rlocs
        if rloc not in known
    ]


def _apply(
    locators: dict[AnyAddress, Locator],
    action: Action,
    balanced: Mapping[IPAddress, int] | None,
    *,
    add: bool,
) -> None:
    if add:
        for part, rlocs in action.named():
            for rloc in rlocs if part not in ("hide", "drain") else ():
                locators.setdefault(rloc, Locator(rloc))
    for change in action.locators:
        if change.rloc in locators:
            locators[change.rloc] = _changed(locators[change.rloc], change)
    if action.balance:
        for rloc, weight in (balanced or target_weights(action.balance.shares)).items():
            if rloc in locators:
                locators[rloc] = replace(locators[rloc], weight=weight)
    if action.prefer:
        _prefer(locators, action.prefer)
    for rloc in action.drain:
        if rloc in locators:
            locators[rloc] = replace(locators[rloc], priority=UNUSABLE_PRIORITY)
    for rloc in action.hide:
        locators.pop(rloc, None)
    if action.pin:
        for other in locators.keys() - set(action.pin):
            del locators[other]


def _changed(locator: Locator, change: LocatorChange) -> Locator:
    def pick(wanted: int | None, present: int) -> int:
        return present if wanted is None else wanted

    return replace(
        locator,
        priority=pick(change.priority, locator.priority),
        weight=pick(change.weight, locator.weight),
        mpriority=pick(change.mpriority, locator.mpriority),
        mweight=pick(change.mweight, locator.mweight),
    )


def _prefer(locators: dict[AnyAddress, Locator], preferred: Iterable[IPAddress]) -> None:
    chosen = set(preferred)
    if not chosen & locators.keys():
        return  # nothing to put in front: the others stay as they are
    for rloc, locator in locators.items():
        if rloc in chosen:
            locators[rloc] = replace(locator, priority=_PREFERRED)
        elif locator.priority != UNUSABLE_PRIORITY:
            behind = min(_WORST, locator.priority + _PREFERRED + 1)
            locators[rloc] = replace(locator, priority=behind)


def target_weights(shares: Mapping[IPAddress, float]) -> dict[IPAddress, int]:
    """Shares that sum up to 1 as weights that sum up to 100 (largest remainder)."""
    exact = {rloc: share * 100 for rloc, share in shares.items()}
    weights = {rloc: int(value) for rloc, value in exact.items()}
    short = 100 - sum(weights.values())
    order = sorted(exact, key=lambda rloc: (weights[rloc] - exact[rloc], int(rloc)))
    for rloc in order[:short]:
        weights[rloc] += 1
    return weights
