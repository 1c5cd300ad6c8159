"""Ingress policy as it is written: per site an ordered list of rules, the first match wins.

A rule is a name, a match (no condition: everybody) and an action on the whole RLOC-set. Lists
inside a condition are alternatives; the conditions of a match must all hold. `docs/policy.md`
teaches the language, `lisp_sdn.policy` evaluates it.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from lisp_sdn.address import IPAddress
from lisp_sdn.settings import (
    AddressField,
    EidPrefixField,
    Iid,
    Name,
    NetworkField,
    Octet,
    Settings,
)

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MINUTES_PER_DAY = 24 * 60

_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})$")
_RATE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kMG]?)$")
_RATE_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def _minutes(value: object) -> int:
    # YAML 1.1 reads an unquoted 22:00 as the sexagesimal number 1320, which is what we want, but
    # keeps 08:00 a text: both forms arrive here.
    if isinstance(value, int) and not isinstance(value, bool):
        minutes, ok = value, True
    else:
        match = _CLOCK.match(str(value))
        ok = match is not None and int(match[2]) < 60
        minutes = int(match[1]) * 60 + int(match[2]) if match else -1
    if not ok or not 0 <= minutes <= MINUTES_PER_DAY:
        raise ValueError(f"{value!r} is not a time of day, expected HH:MM in 00:00..24:00")
    return minutes


def clock_text(minutes: int) -> str:
    """Minutes since midnight as HH:MM."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _zone(value: object) -> str:
    name = str(value)
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone, expected one like Europe/Athens") from None
    return name


def _rate(value: object) -> float:
    match = _RATE.match(str(value).strip())
    if isinstance(value, bool) or match is None:
        raise ValueError(f"{value!r} is not a rate, expected bit/s such as 800M")
    return float(match[1]) * _RATE_UNITS[match[2]]


def _xtr_id(value: object) -> int:
    text = str(value).replace(":", "").replace("-", "").removeprefix("0x")
    try:
        number = value if isinstance(value, int) else int(text, 16)
    except ValueError:
        raise ValueError(f"{value!r} is not an xTR-ID, expected 32 hex digits") from None
    if isinstance(value, bool) or not 0 <= number < 1 << 128:
        raise ValueError(f"{value!r} is not an xTR-ID, expected 0..2**128-1")
    return number


def _deny(value: object) -> object:
    return "policy-denied" if value is True else value


def _not_empty(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("an empty list, expected values; without the key it holds for everything")
    return values


# Not `min_length`: it would count a list whose items are wrong as too short as well.
_NOT_EMPTY = AfterValidator(_not_empty)


def xtr_id_text(xtr_id: int) -> str:
    """An xTR-ID as 32 hex digits."""
    return f"{xtr_id:032x}"


ClockField = Annotated[
    int,
    BeforeValidator(_minutes, json_schema_input_type=str),
    PlainSerializer(clock_text, return_type=str, when_used="json"),
]
ZoneField = Annotated[str, BeforeValidator(_zone)]
RateField = Annotated[float, BeforeValidator(_rate, json_schema_input_type=float | str)]
XtrIdField = Annotated[
    int,
    BeforeValidator(_xtr_id, json_schema_input_type=str),
    PlainSerializer(xtr_id_text, return_type=str, when_used="json"),
]
Share = Annotated[float, Field(ge=0, le=1)]


class TimeWindow(Settings):
    """Hours of a week in a time zone.

    days: on which it starts. from: HH:MM on the wall clock of the zone. to: HH:MM; a window whose
    end is not after its start runs overnight and belongs to the day it starts on. zone: of the tz
    database.
    """

    model_config = ConfigDict(populate_by_name=True)

    days: Annotated[tuple[Day, ...], _NOT_EMPTY] = DAYS
    start: ClockField = Field(default=0, alias="from")
    end: ClockField = Field(default=MINUTES_PER_DAY, alias="to")
    zone: ZoneField = "UTC"

    @model_validator(mode="after")
    def _check(self) -> TimeWindow:
        if self.start == MINUTES_PER_DAY:
            raise ValueError("from: '24:00', expected 00:00..23:59")
        if self.start == self.end:
            raise ValueError(
                f"from and to are both {clock_text(self.start)}, expected a span; "
                "leave both out for the whole day"
            )
        return self


class LoadCondition(Settings):
    """The measured inbound load of an RLOC is past a threshold; exactly one of the four.

    rloc: whose load. share_above, share_below: the RLOC's part of the site's inbound octets, 0..1.
    rate_above, rate_below: bit/s. until: where a condition that holds stops to hold (same unit), so
    that a rule that moves traffic away does not switch itself off at once; the default is a tenth
    beyond the threshold.
    """

    rloc: AddressField
    share_above: Share | None = None
    share_below: Share | None = None
    rate_above: RateField | None = None
    rate_below: RateField | None = None
    until: RateField | None = None

    @model_validator(mode="after")
    def _check(self) -> LoadCondition:
        names = ("share_above", "share_below", "rate_above", "rate_below")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{', '.join(given) or 'nothing'}, expected one of {', '.join(names)}")
        if self.until is not None and (self.until > self.threshold) is self.above:
            side = "below" if self.above else "above"
            raise ValueError(f"until: {self.until:g}, expected a value {side} {self.threshold:g}")
        return self

    @property
    def above(self) -> bool:
        """Whether the condition holds past the threshold upwards."""
        return self.share_above is not None or self.rate_above is not None

    @property
    def share(self) -> bool:
        """Whether the threshold is a share and not a rate."""
        return self.share_above is not None or self.share_below is not None

    @property
    def threshold(self) -> float:
        """Where the condition starts to hold."""
        values = (self.share_above, self.share_below, self.rate_above, self.rate_below)
        return next(value for value in values if value is not None)

    @property
    def release(self) -> float:
        """Where the condition stops to hold."""
        if self.until is not None:
            return self.until
        return self.threshold * (0.9 if self.above else 1.1)


class Match(Settings):
    """Whom and what a rule is for. An absent condition holds for everybody.

    eid_prefixes: the EID asked for lies in one of these. iids: or is in one of these
    instance-IDs. itr_rlocs, sites: one ITR-RLOC of the Map-Request lies in these prefixes and
    belongs to one of these sites. source_eids: the source EID, in the instance-ID asked for.
    xtr_ids: the xTR-ID of the Map-Request; authenticated: it was proven. pitr: the p-bit.
    time: any of the windows. rlocs_up, rlocs_down: all of these RLOCs. load: all of these.
    """

    eid_prefixes: Annotated[tuple[EidPrefixField, ...], _NOT_EMPTY] = ()
    iids: Annotated[tuple[Iid, ...], _NOT_EMPTY] = ()
    itr_rlocs: Annotated[tuple[NetworkField, ...], _NOT_EMPTY] = ()
    sites: Annotated[tuple[Name, ...], _NOT_EMPTY] = ()
    source_eids: Annotated[tuple[NetworkField, ...], _NOT_EMPTY] = ()
    xtr_ids: Annotated[tuple[XtrIdField, ...], _NOT_EMPTY] = ()
    authenticated: bool | None = None
    pitr: bool | None = None
    time: Annotated[tuple[TimeWindow, ...], _NOT_EMPTY] = ()
    rlocs_up: Annotated[tuple[AddressField, ...], _NOT_EMPTY] = ()
    rlocs_down: Annotated[tuple[AddressField, ...], _NOT_EMPTY] = ()
    load: Annotated[tuple[LoadCondition, ...], _NOT_EMPTY] = ()

    @model_validator(mode="after")
    def _check(self) -> Match:
        both = sorted(str(rloc) for rloc in set(self.rlocs_up) & set(self.rlocs_down))
        if both:
            raise ValueError(f"rlocs_down: {both[0]} is in rlocs_up too, so the rule never matches")
        return self


class LocatorChange(Settings):
    """Priority and weight of one RLOC; what is left out stays as registered.

    rloc: which. priority: the lowest is used, 255 never. weight: its part among RLOCs of one
    priority. mpriority, mweight: the same for multicast.
    """

    rloc: AddressField
    priority: Octet | None = None
    weight: Octet | None = None
    mpriority: Octet | None = None
    mweight: Octet | None = None


class TargetShare(Settings):
    """The part of the inbound traffic that one RLOC should carry; only the ratio counts.

    rloc: which. share: of the traffic.
    """

    rloc: AddressField
    share: float = Field(ge=0, le=1e6)


class Balance(Settings):
    """Weights follow the measured inbound load toward a target split.

    target: the wanted parts. hysteresis: deviation of a share (0..1) that is left alone. floor:
    smallest weight, so that every RLOC keeps carrying something that can be measured. max_step:
    largest change of a weight at once, in points of 100. interval: seconds of traffic that are
    averaged for one decision. settle: seconds after a change that are not measured, because ITRs
    still follow the old weights. min_rate: bit/s below which nothing is decided. freeze: hold the
    weights as they are.
    """

    target: tuple[TargetShare, ...] = Field(max_length=32)
    hysteresis: float = Field(default=0.05, ge=0.005, le=0.5)
    floor: int = Field(default=2, ge=0, le=20)
    max_step: int = Field(default=20, ge=1, le=100)
    interval: float = Field(default=10.0, ge=0.1, le=3600)
    settle: float = Field(default=2.0, ge=0, le=3600)
    min_rate: RateField = 10_000.0
    freeze: bool = False

    @model_validator(mode="after")
    def _check(self) -> Balance:
        rlocs = [entry.rloc for entry in self.target]
        _unique("target", rlocs)
        if len(rlocs) < 2:
            raise ValueError(f"target: {len(rlocs)} RLOCs, expected at least 2 to balance")
        if not sum(entry.share for entry in self.target):
            raise ValueError("target: every share is 0, expected at least one above 0")
        if self.floor * len(rlocs) > 50:
            raise ValueError(f"floor: {self.floor} for {len(rlocs)} RLOCs, expected 50 in all")
        return self

    @property
    def shares(self) -> dict[IPAddress, float]:
        """The target split, normalised to a sum of 1."""
        total = sum(entry.share for entry in self.target)
        return {entry.rloc: entry.share / total for entry in self.target}


class Action(Settings):
    """What a rule does to the RLOC-set; applied in the order of the fields.

    locators: set priority and weight. balance: weights follow the load. prefer: these get
    priority 1, all others come behind in their own order. drain: these stay in the answer with
    priority 255. hide: these are left out. pin: only these are left. ttl_minutes: of the answer.
    deny: "policy-denied" (Drop/Policy-Denied) or "temporarily" (Send-Map-Request, RFC 9301
    section 8.3). An empty action gives the registered RLOC-set.
    """

    locators: Annotated[tuple[LocatorChange, ...], _NOT_EMPTY] = ()
    balance: Balance | None = None
    prefer: Annotated[tuple[AddressField, ...], _NOT_EMPTY] = ()
    drain: Annotated[tuple[AddressField, ...], _NOT_EMPTY] = ()
    hide: Annotated[tuple[AddressField, ...], _NOT_EMPTY] = ()
    pin: Annotated[tuple[AddressField, ...], _NOT_EMPTY] = ()
    ttl_minutes: int | None = Field(default=None, ge=1, le=0xFFFFFFFF)
    deny: Annotated[Literal["policy-denied", "temporarily"] | None, BeforeValidator(_deny)] = None

    @model_validator(mode="after")
    def _check(self) -> Action:
        _unique("locators", [entry.rloc for entry in self.locators])
        for name, rlocs in self.named():
            if name not in ("locators", "balance"):
                _unique(name, rlocs)
        used = [name for name, _ in self.named()]
        if self.deny and used:
            raise ValueError(f"{used[0]}: beside deny, expected only ttl_minutes there")
        for first, second in (
            ("prefer", "drain"),
            ("prefer", "hide"),
            ("drain", "hide"),
            ("pin", "hide"),
            ("pin", "drain"),
            ("balance", "hide"),
            ("balance", "drain"),
            ("locators", "hide"),
        ):
            self._refuse_both(first, second)
        return self

    def _refuse_both(self, first: str, second: str) -> None:
        named = dict(self.named())
        both = [rloc for rloc in named.get(second, []) if rloc in named.get(first, [])]
        if both:
            raise ValueError(f"{second}: {both[0]} is in {first} too, expected one of the two")

    def rlocs(self) -> Iterator[tuple[str, IPAddress]]:
        """Every RLOC that the action names, with the key path at which it does."""
        for name, rlocs in self.named():
            for index, rloc in enumerate(rlocs):
                path = {
                    "locators": f"locators[{index}].rloc",
                    "balance": f"balance.target[{index}].rloc",
                }.get(name, f"{name}[{index}]")
                yield path, rloc

    def named(self) -> Iterator[tuple[str, list[IPAddress]]]:
        """The RLOCs that each part of the action names."""
        if self.locators:
            yield "locators", [entry.rloc for entry in self.locators]
        if self.balance:
            yield "balance", [entry.rloc for entry in self.balance.target]
        for name in ("prefer", "drain", "hide", "pin"):
            if getattr(self, name):
                yield name, list(getattr(self, name))


def _unique(name: str, rlocs: list[IPAddress]) -> None:
    for index, rloc in enumerate(rlocs):
        if rloc in rlocs[:index]:
            raise ValueError(f"{name}: {rloc} is listed twice")


class PolicyRule(Settings):
    """One rule.

    name: of the rule. match: who asks, when, for what; without it everybody. action: on the
    RLOC-set. note: free text, shown by explain and in the history.
    """

    name: Name
    match: Match = Match()
    action: Action
    note: str = Field(default="", max_length=500)


class SitePolicy(Settings):
    """The ingress policy of one site.

    site: whose. allow_unregistered_rlocs: rules may name RLOCs that the site did not register.
    rules: the first one that matches decides.
    """

    site: Name
    allow_unregistered_rlocs: bool = False
    rules: tuple[PolicyRule, ...] = Field(default=(), max_length=10_000)

    @model_validator(mode="after")
    def _check(self) -> SitePolicy:
        first: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            if rule.name in first:
                raise ValueError(
                    f"rules[{index}].name: {rule.name!r} is already rules[{first[rule.name]}]"
                )
            first[rule.name] = index
        return self
