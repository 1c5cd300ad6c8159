"""What an xTR asks of the controller, and what the controller decides for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.wire import EidRecord, MapRequest
from lisp_sdn.xtr.hosts import Host, HostKey
from lisp_sdn.xtr.queue import Held


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
    """Register these EID-records with a site's Map-Servers (RFC 9301 section 5.6).

    site: whose EIDs they are; None: of the xTR's own site. merge: beside what other ETRs register
    (RFC 9301 section 5.6, M-bit), or instead of it. news: they come or go with it; our xTRs ask
    anew when a Map-Server of others has it.
    """

    xtr: str
    records: tuple[EidRecord, ...]
    site: str | None = None
    merge: bool = True
    news: bool = False


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


# --- host mobility -----------------------------------------------------------------------


class Sign(StrEnum):
    """By what an EID was seen. ANSWER: it answered a question of ours; ADOPTED: it was known to the
    controller before its restart."""

    ARP = "arp"
    NEIGHBOUR = "neighbour-discovery"
    DHCP = "dhcp"
    PACKET = "packet"
    ANSWER = "answer"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Sighted:
    """An EID was seen at a port that allows mobility.

    port: its name. held: the packet that showed it, to be sent on if it may stay there.
    """

    xtr: str
    port: str
    host: Host
    sign: Sign
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A host at a port that allows mobility was silent for long, or had to make room."""

    xtr: str
    key: HostKey


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The switch still sends packets for an EID on to another xTR, as before a restart."""

    xtr: str
    key: HostKey


@dataclass(frozen=True, slots=True)
class Sought:
    """A packet or ARP request is for an EID of a connected subnet that nobody here has."""

    xtr: str
    key: HostKey


@dataclass(frozen=True, slots=True)
class Admit:
    """The host is here now. port: its name; its number in `host` may be out of date. held: as in
    `Sighted`.
    """

    xtr: str
    port: str
    host: Host
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """The host is not here, or no longer. away: the map-cache knows where; what comes for it goes
    on to there."""

    xtr: str
    key: HostKey
    away: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask by ARP or neighbour discovery whether an EID is there; an answer is `Sighted`.

    port: name of the port; "" for all ports of its subnet.
    """

    xtr: str
    key: HostKey
    port: str


@dataclass(frozen=True, slots=True)
class HostRoute:
    """Register the EID as one of this xTR's, for the site that it belongs to; None: no longer."""

    xtr: str
    eid: EidPrefix
    site: str | None


Order = Admit | Leave | Ask | HostRoute
Report = Sighted | Forgotten | Elsewhere | Sought
