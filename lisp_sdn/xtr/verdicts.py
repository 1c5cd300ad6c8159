"""What the source guard asks and is told: values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Config


class SourceReason(StrEnum):
    """Why a packet's source EID does not fit where it came from."""

    NOT_OF_PORT = "source-eid-not-of-port"
    RLOC_MISMATCH = "source-rloc-mismatch"
    NOT_REGISTERED = "source-eid-not-registered"
    UNKNOWN = "source-eid-unknown"
    UNVERIFIED = "source-eid-unverified"


REASONS = tuple(SourceReason)
"""By the number that cookies carry, the first is 1; only ever add at the end."""


@dataclass(frozen=True, slots=True)
class SourceVerdict:
    """Whether an RLOC may send for a source EID.

    eid: the EIDs for which the same holds. reason: None when it may.
    """

    eid: EidPrefix
    reason: SourceReason | None = None


@dataclass(frozen=True, slots=True)
class ProxyItrs:
    """RLOCs that may send for sources that are no EID: in every instance-ID, and in some."""

    everywhere: frozenset[IPAddress] = frozenset()
    inside: frozenset[tuple[int, IPAddress]] = frozenset()

    @classmethod
    def of(cls, config: Config) -> ProxyItrs:
        """Those that are configured, and our own xTRs that play one."""
        own = (
            (port.iid, entry.rloc)
            for xtr in config.xtrs
            for port in xtr.native_ports
            if port.proxy_itr is not None
            for entry in xtr.rlocs
        )
        return cls(frozenset(config.source_guard.proxy_itrs), frozenset(own))

    def may_send(self, iid: int, rloc: IPAddress) -> bool:
        """Whether this RLOC is one of a Proxy-ITR of the instance-ID."""
        return rloc in self.everywhere or (iid, rloc) in self.inside


@dataclass(frozen=True, slots=True)
class GuardKey:
    """A source EID-prefix, and the outer source RLOC or EID-facing port (its number) behind it."""

    source: EidPrefix
    origin: IPAddress | int
