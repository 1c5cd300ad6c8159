"""The LISP Internet Groper without its sockets: what it asks, when again, what it makes of it.

RFC 6835 section 4.1: up to `count` Map-Requests, some seconds apart, until the first Map-Reply.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.errors import DecodeError
from lisp_sdn.model import Act, Locator
from lisp_sdn.wire import Ecm, MapReply, MapRequest, RequestRecord, decode

CONTROL_PORT = 4342
"""UDP port of LISP control messages (RFC 9301 section 5)."""

COUNTS = (1, 5)
"""Fewest and most Map-Requests of one query."""

INTERVALS = (1.0, 5.0)
"""Least and greatest seconds between two Map-Requests."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how the answer finds the way back.

    eid: host EID, or an EID-prefix to ask for as such. resolver: where Map-Requests go. local: our
    address and port; Map-Replies come to it. source: Source EID, None sends AFI 0.
    """

    eid: EidPrefix
    resolver: Endpoint
    local: Endpoint
    source: EidPrefix | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came back. rtt: seconds from the Map-Request that this answers. requests: how many."""

    reply: MapReply
    replier: Endpoint
    rtt: float
    requests: int

    @property
    def negative(self) -> bool:
        """Whether no record names an RLOC."""
        return not any(record.locators for record in self.reply.records)


@dataclass(slots=True)
class Query:
    """One query under way. count: Map-Requests at most, 1..5. interval: seconds, 1..5.

    `dropped` holds a text for every datagram that is no answer to this query.
    """

    question: Question
    rng: random.Random
    count: int = 3
    interval: float = 2.0
    sent: dict[int, float] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def next_timer(self) -> float | None:
        """When to send again, or to give up; None before the first Map-Request."""
        return max(self.sent.values()) + self.interval if self.sent else None

    def send(self, now: float) -> bytes | None:
        """The next Map-Request, in an ECM, as octets; None when all were sent."""
        if len(self.sent) >= self.count:
            return None
        nonce = self.rng.getrandbits(64)
        self.sent[nonce] = now
        return encapsulated(self.question, nonce)

    def receive(self, data: bytes, source: Endpoint, now: float) -> Result | None:
        """Take a datagram; the result when it answers one of our Map-Requests."""
        try:
            message = decode(data)
        except DecodeError as error:
            self._drop(f"{source}: {error}")
            return None
        if not isinstance(message, MapReply) or message.nonce not in self.sent:
            self._drop(f"{source}: {type(message).__name__} that answers no Map-Request of ours")
            return None
        if not message.records:
            self._drop(f"{source}: Map-Reply without a record")
            return None
        return Result(message, source, max(0.0, now - self.sent[message.nonce]), len(self.sent))

    def _drop(self, why: str) -> None:
        if len(self.dropped) < 100:
            self.dropped.append(why)


def encapsulated(question: Question, nonce: int) -> bytes:
    """The ECM with the Map-Request of a question (RFC 9301 sections 5.2 and 5.8)."""
    local = question.local
    request = MapRequest(
        nonce=nonce,
        source_eid=question.source,
        itr_rlocs=(local.address,),
        records=(RequestRecord(question.eid),),
    )
    return Ecm(local, Endpoint(_inner(question), CONTROL_PORT), request.serialize()).serialize()


def _inner(question: Question) -> IPAddress:
    """Inner destination: the EID, or the Map-Resolver when the EID is of the other family."""
    eid = question.eid.network.network_address
    local = question.local.address
    return eid if eid.version == local.version else question.resolver.address


def locator_state(locator: Locator) -> str:
    """The state of a locator as the Map-Reply shows it: R-bit and priority 255."""
    if not locator.reachable:
        return "down"
    return "up" if locator.usable else "up, no unicast"


def action_text(action: int) -> str:
    """The name of an ACT value; an unknown number stays a number."""
    try:
        return Act(action).text
    except ValueError:
        return f"action-{action}"


def to_json(question: Question, result: Result | None, requests: int) -> dict[str, object]:
    """The result for scripts; `received` is false when nothing came back."""
    head: dict[str, object] = {
        "eid": str(question.eid),
        "source_eid": str(question.source) if question.source else None,
        "map_resolver": str(question.resolver),
        "requests": requests,
        "received": result is not None,
    }
    if result is None:
        return head
    return head | {
        "replier": str(result.replier),
        "rtt_seconds": round(result.rtt, 6),
        "negative": result.negative,
        "records": [
            {
                "eid_prefix": str(record.eid),
                "ttl_minutes": record.ttl_minutes,
                "action": action_text(record.action),
                "authoritative": record.authoritative,
                "map_version": record.map_version,
                "locators": [
                    {
                        "rloc": str(locator.rloc),
                        "state": locator_state(locator),
                        "priority": locator.priority,
                        "weight": locator.weight,
                        "mpriority": locator.mpriority,
                        "mweight": locator.mweight,
                        "local": locator.local,
                    }
                    for locator in record.locators
                ],
            }
            for record in result.reply.records
        ],
    }
