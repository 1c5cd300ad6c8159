"""The Map-Resolver as a chain of sources, asked in order until one knows (RFC 9301 section 8.4).

Our own registrations come first and the negative answer last; between them ALT, DDT or another
Map-Resolver plug in. A source either answers, or has sent the Map-Request on and lets somebody
else answer, or does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from lisp_sdn.actions import Action, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.mapping.limits import RepeatLimiter
from lisp_sdn.model import Answer, Requester
from lisp_sdn.wire import Ecm, MapRequest

CONTROL_PORT = 4342


class Kind(Enum):
    """How a query ended."""

    REGISTERED = "registered"
    UNREGISTERED = "unregistered"
    NEGATIVE = "negative"
    FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class Query:
    """One EID of one Map-Request.

    octets: how many the EID-records of the answer may take. request: None when nobody sent one
    (REST, what-if); nothing is forwarded then. datagram: as received, when it was an ECM.
    message: the octets of the Map-Request itself.
    """

    eid: EidPrefix
    requester: Requester
    octets: int
    request: MapRequest | None = None
    datagram: bytes | None = None
    message: bytes = b""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a source made of a query. answers: the less-specific one first. actions: to send."""

    kind: Kind
    answers: tuple[Answer, ...] = ()
    actions: tuple[Action, ...] = ()


class Source(Protocol):
    """One link of the chain."""

    @property
    def name(self) -> str:
        """For counters and messages."""

    def ask(self, query: Query, now: float) -> Outcome | None:
        """Answer or forward; None when this source does not know. now: epoch seconds."""

    def free_length(self, eid: EidPrefix) -> int:
        """Length of the widest prefix around `eid` that holds no EID-prefix of this source.

        Limits negative answers; 0 for a source that knows of none.
        """


def encapsulated(query: Query, destination: IPAddress) -> bytes | None:
    """The query as an ECM, as received where it came as one; None without a Map-Request.

    RFC 9301 section 8.3: nothing inside is altered, so the answer goes to the ITR.
    """
    if query.datagram is not None:
        return query.datagram
    if query.request is None:
        return None
    version = query.eid.version
    sources = (rloc for rloc in query.requester.itr_rlocs if rloc.version == version)
    inner_source = next(sources, None)
    if inner_source is None:
        # No ITR-RLOC of the family of the EID; the inner source then is the host that asks.
        source_eid = query.requester.source_eid
        if source_eid is None or source_eid.version != version:
            return None
        inner_source = source_eid.network.network_address
    return Ecm(
        Endpoint(inner_source, CONTROL_PORT),
        Endpoint(query.eid.network.network_address, CONTROL_PORT),
        query.message or query.request.serialize(),
    ).serialize()


class OtherMapResolver:
    """A source that hands queries on to other Map-Resolvers, in turn.

    A nonce that comes by again means that Map-Resolvers point at each other: it is not sent on.
    """

    name = "map-resolver"

    def __init__(self, resolvers: Sequence[Endpoint]) -> None:
        self._resolvers = tuple(resolvers)
        self._turn = 0
        self._seen = RepeatLimiter(1, 1.0, 100_000)

    def ask(self, query: Query, now: float) -> Outcome | None:
        """Forward as an ECM."""
        if query.request is None or not self._resolvers:
            return None
        if not self._seen.take((query.request.nonce, query.eid), now):
            return None
        self._turn += 1
        target = self._resolvers[self._turn % len(self._resolvers)]
        data = encapsulated(query, target.address)
        if data is None:
            return None
        return Outcome(Kind.FORWARDED, actions=(SendControl(data, target),))

    def free_length(self, eid: EidPrefix) -> int:
        """It knows of none."""
        return 0
