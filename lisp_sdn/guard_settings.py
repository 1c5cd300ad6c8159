"""Source guard and gleaning in the configuration (RFC 9300 sections 9 and 16)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from lisp_sdn.address import IPAddress
from lisp_sdn.settings import AddressField, Problem, Settings


class GuardMode(StrEnum):
    """What becomes of packets whose source does not fit. COUNT: they pass, and are counted."""

    OFF = "off"
    COUNT = "count"
    ENFORCE = "enforce"


def _mode(value: object) -> object:
    # YAML 1.1 reads a plain `off` as false.
    return GuardMode.OFF if value is False else value


GuardModeField = Annotated[GuardMode, BeforeValidator(_mode)]


class SourceGuardSettings(Settings):
    """Whether packets are checked for their source EID.

    mode: of every xTR that has no `source_guard` of its own. proxy_itrs: RLOCs of Proxy-ITRs, which
    may send for every source that is no EID. entries: verdicts that one xTR keeps; refused_entries:
    refusals among them that get a flow, the packets of others are refused by the controller.
    refused_timeout: seconds without a packet after which a refusal is forgotten. rate, burst:
    packets that one xTR sends to be verified, once for known RLOCs and once for all others.
    held_packets: that wait for a verdict at one xTR.
    """

    mode: GuardModeField = GuardMode.OFF
    proxy_itrs: tuple[AddressField, ...] = ()
    entries: int = Field(default=10_000, ge=1)
    refused_entries: int = Field(default=1_000, ge=0)
    refused_timeout: int = Field(default=30, ge=1, le=65535)
    rate: int = Field(default=500, ge=1)
    burst: int = Field(default=100, ge=1)
    held_packets: int = Field(default=256, ge=0)


class GleaningSettings(Settings):
    """Map-cache entries from received packets, until a Map-Request has verified them.

    For trusted networks only (RFC 9300 section 4.1). enabled: glean at all. lifetime: seconds that
    an entry is used without a Map-Reply. entries: of one xTR at once.
    """

    enabled: bool = False
    lifetime: float = Field(default=3.0, gt=0, le=60)
    entries: int = Field(default=1_000, ge=1)


def bad_rloc(rloc: IPAddress) -> str | None:
    """What an RLOC is instead of a unicast address (RFC 9301 section 5.4); None if it is one."""
    if rloc.is_multicast:
        return "multicast"
    if rloc.is_unspecified:
        return "unspecified"
    if rloc.version == 4 and int(rloc) == 0xFFFFFFFF:
        return "broadcast"
    return None


def check_guard(settings: SourceGuardSettings) -> Iterator[Problem]:
    """What the fields alone cannot show."""
    for index, rloc in enumerate(settings.proxy_itrs):
        what = bad_rloc(rloc)
        if what is not None:
            yield (
                f"source_guard.proxy_itrs[{index}]",
                f"{rloc} is {what}, expected a unicast address",
            )
