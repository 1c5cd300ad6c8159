"""Map-Requests from the network: what is refused before anybody looks up an EID.

Nobody proves where a Map-Request comes from: the ITR-RLOC in it is the address that the Map-Reply
goes to, and may be a victim's. So every Map-Reply has to fit a factor of the octets received, and
is counted against buckets of that address and of all.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from struct import Struct

from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, SourceDestPrefix
from lisp_sdn.config import Config
from lisp_sdn.mapping.chain import Query
from lisp_sdn.mapping.database import Key, destination_of
from lisp_sdn.mapping.limits import RepeatLimiter, SourceLimiter, TokenBucket
from lisp_sdn.mapping.sites import Refused
from lisp_sdn.model import Requester
from lisp_sdn.wire import MapRequest

_BROADCAST = IPv4Address("255.255.255.255")

MAX_SOURCES = 65_536
"""Sources with a bucket of their own."""

MAX_RECORDS = 16
"""EIDs answered of one Map-Request; a sender puts exactly one there (RFC 9301 section 5.2)."""

REPEAT_WINDOW = 3.0
"""Seconds in which `map_replies_per_eid` counts (RFC 9301 section 5.4, open decision Q-05)."""

MAX_PAYLOAD = {4: 576 - 28, 6: 1280 - 48}
"""Octets of UDP payload without knowledge of the path MTU (RFC 9301 section 5), by IP version."""


LIMIT_HINTS = {
    "rate-limited-source": "limits.map_requests_per_source is exceeded",
    "rate-limited-total": "limits.map_requests_total is exceeded",
    "rate-limited-eid": "limits.map_replies_per_eid is exceeded",
}
"""What the three limits on Map-Requests say to a person."""

_REPEAT = Struct("!IB")


def repeat_key(target: bytes, iid: int, prefixlen: int) -> bytes:
    """The first part of what identifies a repeated question; the packed EID comes behind it."""
    return target + _REPEAT.pack(iid, prefixlen)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A Map-Request as it came.

    source: where its answer's port is taken from, the inner one of an ECM. sender: the outer
    source. datagram: the whole UDP payload. encapsulated: it was an ECM. message: the octets of
    the Map-Request.
    """

    request: MapRequest
    source: Endpoint
    sender: Endpoint
    datagram: bytes
    message: bytes
    encapsulated: bool


class Intake:
    """The checks and limits in front of the resolver."""

    def __init__(self, config: Config) -> None:
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go on under the limits of this configuration."""
        limits = config.limits
        self._total = TokenBucket(limits.map_requests_total, limits.map_requests_total)
        self._sources = SourceLimiter(
            limits.map_requests_per_source, limits.map_requests_per_source, MAX_SOURCES
        )
        self._repeats = RepeatLimiter(limits.map_replies_per_eid, REPEAT_WINDOW, 200_000)
        self._amplification = limits.amplification
        self._versions = {endpoint.address.version for endpoint in config.control.listen}

    def refusal(self, request: MapRequest) -> Refused | None:
        """Why a Map-Server and Map-Resolver does not look at this Map-Request at all."""
        if request.probe:
            return Refused("probe", "RLOC-probes go to the ETR (RFC 9301 section 5.2)")
        if request.smr:
            return Refused("smr", "an SMR goes to an ITR (RFC 9301 section 6.1)")
        if not request.records:
            return Refused("no-records", "the Map-Request asks for nothing")
        return None

    def reply_to(self, arrival: Arrival) -> Endpoint | Refused:
        """Where the Map-Reply goes: an ITR-RLOC of a family that we listen on."""
        usable = [rloc for rloc in usable_rlocs(arrival.request) if rloc.version in self._versions]
        if not usable:
            return Refused("no-itr-rloc", "no ITR-RLOC that a Map-Reply could be sent to")
        if arrival.source.port == 0:
            return Refused("bad-port", "source port 0 cannot be answered")
        version = arrival.sender.address.version
        rloc = next((rloc for rloc in usable if rloc.version == version), usable[0])
        return Endpoint(rloc, arrival.source.port)

    def limited(self, target: IPAddress, now: float) -> Refused | None:
        """Take a token for one Map-Request answered to `target`."""
        reason = self.over_rate(target.packed, now)
        return Refused(reason, LIMIT_HINTS[reason]) if reason else None

    def over_rate(self, target: bytes, now: float) -> str | None:
        """Take a token for one Map-Request answered to a packed address; the reason if none."""
        if not self._sources.take(target, now):
            return "rate-limited-source"
        if not self._total.take(now):
            return "rate-limited-total"
        return None

    def repeated(self, target: IPAddress, eid: Hashable, now: float) -> Refused | None:
        """Count one more Map-Reply for `eid` to `target`."""
        key: Hashable = (target.packed, eid)
        if isinstance(eid, EidPrefix):
            net = eid.network
            key = repeat_key(target.packed, eid.iid, net.prefixlen) + net.network_address.packed
        if self.first_few(key, now):
            return None
        return Refused("rate-limited-eid", f"{eid}: {LIMIT_HINTS['rate-limited-eid']}")

    def first_few(self, key: Hashable, now: float) -> bool:
        """Count one more Map-Reply; whether it may go. key: `repeat_key` and packed EID."""
        return self._repeats.take(key, now)

    def budget(self, target: IPAddress, received: int) -> int:
        """How many octets the Map-Reply may have. received: octets of the datagram."""
        return min(MAX_PAYLOAD[target.version], self._amplification * received)

    def amplifies(self, reply: int, received: int) -> bool:
        """Whether a reply of so many octets is more than a request of so many may cause."""
        return reply > self._amplification * received


def usable_rlocs(request: MapRequest) -> list[IPAddress]:
    """The ITR-RLOCs that can be the destination of a unicast packet."""
    return [rloc for rloc in request.itr_rlocs if isinstance(rloc, IPAddress) and _is_unicast(rloc)]


def _is_unicast(rloc: IPAddress) -> bool:
    return not (rloc.is_multicast or rloc.is_unspecified or rloc == _BROADCAST)


def requester_of(request: MapRequest, rlocs: Sequence[IPAddress]) -> Requester:
    """Who asks, as far as the Map-Request shows it."""
    source = request.source_eid
    return Requester(
        tuple(rlocs),
        source if isinstance(source, EidPrefix) else None,
        request.xtr_id,
        request.site_id,
        request.pitr,
    )


def query_of(eid: Key, requester: Requester, octets: int, arrival: Arrival) -> Query:
    """The query for one EID of a Map-Request, asked for by the source of a pair."""
    if isinstance(eid, SourceDestPrefix):
        requester = replace(requester, source_eid=eid.source)
    return Query(
        destination_of(eid),
        requester,
        octets,
        arrival.request,
        arrival.datagram if arrival.encapsulated else None,
        arrival.message,
    )
