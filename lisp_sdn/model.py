"""Values that mapping, policy and xtr share, so that none imports another for a type."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Protocol

from lisp_sdn.address import AnyAddress, EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.errors import FieldError

UNUSABLE_PRIORITY = 255
"""A locator with this priority carries no unicast traffic (RFC 9301 section 5.4)."""


class Act(IntEnum):
    """The ACT field of an EID-record without locators (RFC 9301 section 5.4)."""

    NO_ACTION = 0
    NATIVELY_FORWARD = 1
    SEND_MAP_REQUEST = 2
    DROP_NO_REASON = 3
    DROP_POLICY_DENIED = 4
    DROP_AUTH_FAILURE = 5

    @property
    def text(self) -> str:
        """The name used in YAML, REST and CLI, for instance "drop-policy-denied"."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def from_text(cls, text: str) -> Act:
        """Inverse of `text`. Raises FieldError."""
        for member in cls:
            if member.text == text:
                return member
        raise FieldError("action", text, "one of " + ", ".join(m.text for m in cls))


@dataclass(frozen=True, slots=True)
class Locator:
    """One RLOC of an RLOC-set (RFC 9301 section 5.4).

    priority, mpriority: 0..255, lower wins, 255 = not for use. weight, mweight: 0..255, relative
    share among equal priorities. local: L-bit. probed: p-bit. reachable: R-bit.
    Raises FieldError.
    """

    rloc: AnyAddress
    priority: int = 1
    weight: int = 100
    mpriority: int = UNUSABLE_PRIORITY
    mweight: int = 0
    local: bool = False
    probed: bool = False
    reachable: bool = True

    def __post_init__(self) -> None:
        for name in ("priority", "weight", "mpriority", "mweight"):
            value = getattr(self, name)
            if not 0 <= value <= 255:
                raise FieldError(name, value, "0..255")

    @property
    def usable(self) -> bool:
        """Whether unicast traffic may go there: R-bit set and priority below 255."""
        return self.reachable and self.priority != UNUSABLE_PRIORITY


@dataclass(frozen=True, slots=True)
class Mapping:
    """An EID-prefix and its RLOC-set, or what to do without one (RFC 9301 section 5.4).

    ttl_minutes: 0..2**32-1. map_version: 0..4095, 0 = none. action: only without locators.
    Raises FieldError.
    """

    eid: EidPrefix
    locators: tuple[Locator, ...] = ()
    ttl_minutes: int = 1440
    action: Act = Act.NO_ACTION
    authoritative: bool = False
    map_version: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.ttl_minutes <= 0xFFFFFFFF:
            raise FieldError("ttl_minutes", self.ttl_minutes, "0..4294967295")
        if not 0 <= self.map_version <= 0xFFF:
            raise FieldError("map_version", self.map_version, "0..4095")
        if self.locators and self.action is not Act.NO_ACTION:
            raise FieldError("action", self.action.text, "no-action beside locators")

    @property
    def negative(self) -> bool:
        """Whether the answer names no RLOC at all."""
        return not self.locators

    def with_locators(self, locators: tuple[Locator, ...]) -> Mapping:
        """The same mapping with another RLOC-set, in the order that RFC 9301 5.5 wants."""
        return replace(self, locators=tuple(sorted(locators, key=locator_sort_key)))


def locator_sort_key(locator: Locator) -> tuple[int, int, str]:
    """Ascending, IPv4 before IPv6, the rest after (RFC 9301 section 5.5, RFC 8060 section 3)."""
    rloc = locator.rloc
    if isinstance(rloc, IPAddress):
        return (rloc.version, int(rloc), "")
    return rloc.sort_key


class BgpScope(StrEnum):
    """Which routers a BGP neighbour speaks for: those of the ALT, or those of the underlay."""

    ALT = "alt"
    UNDERLAY = "underlay"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, as far as the Map-Request shows it: the input of ingress policy.

    itr_rlocs: in the order of the Map-Request. source_eid: None for AFI 0. xtr_id, site_id: 128
    and 64 bits, None without the I-bit. pitr: p-bit. xtr: name of the asking xTR when it is one
    of ours. authenticated: the xTR-ID was proven, not only claimed.
    """

    itr_rlocs: tuple[IPAddress, ...] = ()
    source_eid: EidPrefix | None = None
    xtr_id: int | None = None
    site_id: int | None = None
    pitr: bool = False
    xtr: str | None = None
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a requester gets for an EID: the effective mapping and how far it may be reused.

    mapping: the RLOC-set after ingress policy. scope: the source EIDs for which the same answer
    holds, None when it does not depend on the source EID. rule: name of the policy rule that
    decided, None for the registered RLOC-set. valid_until: epoch at which a time window changes
    the answer, None when none does; ask again then.
    """

    mapping: Mapping
    scope: SourceDestPrefix | None = None
    rule: str | None = None
    warnings: tuple[str, ...] = field(default=())
    valid_until: float | None = None

    def ttl_minutes(self, now: float) -> int:
        """The TTL to send: no longer than the answer holds, but at least a minute."""
        if self.valid_until is None:
            return self.mapping.ttl_minutes
        return min(self.mapping.ttl_minutes, max(1, math.ceil((self.valid_until - now) / 60)))


class AnswerPolicy(Protocol):
    """What the mapping system needs of ingress policy; `lisp_sdn.policy` implements it."""

    def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
        """The answer that this requester gets for a registered mapping. now: epoch seconds."""

    def narrow(self, mapping: Mapping, asked: EidPrefix) -> Mapping:
        """The part of a mapping around `asked` that the same rules are for; to be evaluated."""


class RegisteredPolicy:
    """The policy of a site without rules: everybody gets the registered RLOC-set."""

    def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
        """The mapping as registered."""
        return Answer(mapping)

    def narrow(self, mapping: Mapping, asked: EidPrefix) -> Mapping:
        """All of it."""
        return mapping
