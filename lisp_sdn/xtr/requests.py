"""What an xTR asks of the mapping system; the controller carries it there."""

from __future__ import annotations

from dataclasses import dataclass

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.wire import EidRecord, MapRequest


@dataclass(frozen=True, slots=True)
class Resolve:
    """Send this Map-Request to the xTR's Map-Resolver (RFC 9301 section 5.3).

    xtr: name of the xTR that asks; the answer goes to its `receive` or `receive_answer`.
    attempt: 0 for the first request, one more for every retransmission.
    """

    xtr: str
    request: MapRequest
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Register:
    """Register these EID-records with the site's Map-Servers (RFC 9301 section 5.6)."""

    xtr: str
    records: tuple[EidRecord, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Send this RLOC-probe from an RLOC of the xTR straight to another (RFC 9301 section 7.1)."""

    xtr: str
    source: IPAddress
    destination: IPAddress
    request: MapRequest


@dataclass(frozen=True, slots=True)
class Verify:
    """May this outer source RLOC send for source EIDs of `eid`? Answered by `Xtr.judged`."""

    xtr: str
    eid: EidPrefix
    rloc: IPAddress
