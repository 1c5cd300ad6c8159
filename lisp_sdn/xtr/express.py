"""The usual map-cache miss, answered at once: the same state afterwards, some ten times as fast.

`Xtr.packet_in` parses the packet, holds it, asks with a Map-Request, takes the Map-Reply apart,
stores it, activates the entry, compiles its rules and releases the packet. Usually nothing comes
between these steps: the sender is known, the answer is ready, its RLOC-set has a group on the
switch, the next hops are resolved. Then the outcome is a map-cache entry, one flow like many others
and the packet sent through the tables, and that is what happens here. Everything else is left
to the full path, which also says first what the outcome is (`FlowShape`).

    lane.begin(now)                            # before a batch of packets, and after other events
    sent = lane.miss(port, frame, now)         # (FlowShape, code), or None: call `packet_in`
    entries = lane.end()                       # what the batch added
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from lisp_sdn.actions import PacketIn
from lisp_sdn.address import EidPrefix, IPAddress, ipv4, ipv6
from lisp_sdn.model import Mapping
from lisp_sdn.prefixtable import BITS, eid_of
from lisp_sdn.rules import Alike, CookieClass, cookie
from lisp_sdn.xtr.adopt import is_gleaned, plain_destination
from lisp_sdn.xtr.brief import Briefs, FlowShape, make_shape
from lisp_sdn.xtr.cache import Brief, CacheTable, MapCache
from lisp_sdn.xtr.frames import peek
from lisp_sdn.xtr.hosts import Hosts
from lisp_sdn.xtr.neighbours import Neighbours
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, Punt
from lisp_sdn.xtr.program import Program
from lisp_sdn.xtr.queue import HoldQueue, Resolutions, host_eid, nobody
from lisp_sdn.xtr.rlocsets import normalise
from lisp_sdn.xtr.topology import AttachedPort, Topology

MAX_SENDERS = 65_536
"""Senders remembered per port, and ways in which a switch describes a miss."""

CHECK_INTERVAL = 1.0
"""Seconds for which next hops that were resolved are taken to be so."""

_MISS_COOKIE = cookie(CookieClass.PIPELINE, Punt.MISS)

COUNTED = (
    "packet-ins",
    "map-cache-misses",
    "packets-held",
    "map-requests-out",
    "map-replies-in",
    "packets-released",
    "packet-outs",
    "rule-changes",
)
"""What the full path counts for such a miss, one each."""


class ReadyAnswer(Protocol):
    """An answer for many EID-prefixes. mapping: for one of them. hits: how often it was given."""

    mapping: Mapping
    hits: int


class ReadyAnswers(Protocol):
    """What is needed of the mapping system; `mapping.ready` has it."""

    epoch: int

    def begin(self, now: float) -> None:
        """Before questions are asked: see to it that nothing outdated is answered."""

    def area(self, iid: int, version: int) -> Any:
        """An instance-ID and IP version; None while nothing is registered in it."""

    def find(
        self, area: Any, address: int, asker: Any, now: float
    ) -> tuple[int, ReadyAnswer] | None:
        """The answer for an EID, and the code of the EID-prefix that it is for."""


class Sender:
    """A local EID that has sent something. source: packed. asker: as whom it asks."""

    __slots__ = ("area", "asker", "source", "table")

    def __init__(self, source: bytes, asker: Any, area: Any, table: CacheTable) -> None:
        self.source = source
        self.asker = asker
        self.area = area
        self.table = table


class MissPort:
    """An EID-facing port as misses come from it. senders: by MAC address and packed EID."""

    __slots__ = ("port", "senders")

    def __init__(self, port: AttachedPort) -> None:
        self.port = port
        self.senders: dict[bytes, Sender] = {}


class Express:
    """The lane of one xTR. answers: None with another Map-Resolver than ours.

    asker: as whom the xTR asks for a source EID. ports: by the octets with which the switch
    describes such a miss, for whoever reads them; forgotten when the topology changes.
    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        topology: Callable[[], Topology],
        hosts: Hosts,
        cache: MapCache,
        neighbours: Neighbours,
        resolutions: Resolutions,
        hold: HoldQueue,
        program: Program,
        briefs: Briefs,
    ) -> None:
        self.name = name
        self.ports: dict[bytes, MissPort] = {}
        self._out = outbox
        self._topology = topology
        self._hosts = hosts
        self._cache = cache
        self._neighbours = neighbours
        self._resolutions = resolutions
        self._hold = hold
        self._program = program
        self._briefs = briefs
        self._answers: ReadyAnswers | None = None
        self._asker: Callable[[EidPrefix | None], Any] = lambda source: None
        self._shapes: dict[tuple[ReadyAnswer, int], FlowShape] = {}
        self._added: list[tuple[Brief, int]] = []
        self._seen: tuple[object, ...] = ()
        self._open = False
        self._quiet = False

    def opened(self, answers: ReadyAnswers, asker: Callable[[EidPrefix | None], Any]) -> None:
        """Our own Map-Resolver answers."""
        self._answers, self._asker = answers, asker

    def begin(self, now: float) -> None:
        """Look at everything that does not change while only misses are answered here."""
        answers, topology = self._answers, self._topology()
        ready = self._out.connected and self._program.installed is not None
        self._open = answers is not None and ready
        self._quiet = not len(self._resolutions) and not len(self._hold)
        if answers is None:
            return
        seen = (topology, answers.epoch, self._hosts.departures, self._program.installed)
        if seen != self._seen:
            self._seen = seen
            self.ports.clear()
            self._shapes.clear()

    def port(self, event: PacketIn) -> MissPort | None:
        """The port of a packet that is a map-cache miss; None for any other packet."""
        port = self._topology().port(event.in_port)
        if (
            port is None
            or not self._open
            or event.cookie != _MISS_COOKIE
            or event.metadata & FROM_TUNNEL
            or event.invalid_ttl
        ):
            return None
        return MissPort(port)

    def miss(self, port: MissPort, frame: bytes, now: float) -> tuple[FlowShape, int] | None:
        """Answer a miss: the flow that was added, by shape and code of its EID-prefix.

        The flow is to be sent, then the frame through the tables. None: nothing has happened.
        """
        seen = peek(frame)
        answers = self._answers
        if seen is None or answers is None or not self._open:
            return None
        name, version, address = seen
        sender = port.senders.get(name) or self._sender(port, name, version)
        if sender is None:
            return None
        table = sender.table
        if table.version != version or table.find(address) is not None:
            return None
        if not self._quiet and self._waited_for(port.port.iid, version, address):
            return None
        found = answers.find(sender.area, address, sender.asker, now)
        if found is None:
            return None
        code, ready = found
        shape = self._shapes.get((ready, code & 0xFF))
        if shape is None or not self._program.has_number(shape.rlocs, shape.number):
            shape = self._shape(ready, table, code)
        if shape is None or (now >= shape.check_at and not self._settled(shape, now)):
            return None
        if table.has_inside(code) or len(self._cache) >= self._cache.limit:
            return None
        ready.hits += 1
        brief = Brief(code, shape, now, sender.source)
        self._briefs.add(brief, shape, table)
        self._added.append((brief, address))
        return shape, code

    def end(self) -> list[tuple[Brief, int]]:
        """The entries added since the last call, each with the EID that was asked for."""
        entries, self._added = self._added, []
        if entries:
            counters = self._out.counters
            for counter in (*COUNTED, "express-set-ups"):
                counters[counter] += len(entries)
        return entries

    # --- what a switch holds -----------------------------------------------------------------

    def confirm(self, flows: Alike, now: float) -> Callable[[int], FlowShape | None]:
        """For flows found on the switch: the shape of the entry for which one of them is right.

        The function takes the code of an EID-prefix. None: the answer is not ready or another.
        """
        answers, eid = self._answers, plain_destination(flows.rule)
        if answers is None or eid is None or is_gleaned(flows.rule):
            return lambda code: None
        answers.begin(now)
        area = answers.area(eid.iid, eid.version)
        asker = self._asker(nobody(eid.iid, eid.version))
        shapes: dict[ReadyAnswer, FlowShape | None] = {}
        topology = self._topology()

        def shape_for(code: int) -> FlowShape | None:
            found = None if area is None else answers.find(area, code >> 8, asker, now)
            if found is None or found[0] != code:
                return None
            ready = found[1]
            if ready not in shapes:
                mapping = replace(ready.mapping, eid=eid)
                shape = make_shape(self.name, mapping, topology)
                same = shape is not None and shape.rule == flows.rule
                shapes[ready] = shape if same else None
            return shapes[ready]

        return shape_for

    # --- what is found out once --------------------------------------------------------------

    def _sender(self, port: MissPort, name: bytes, version: int) -> Sender | None:
        """A sender that the full path knows to be where it is."""
        at, iid, answers = port.port, port.port.iid, self._answers
        assert answers is not None
        value = int.from_bytes(name[6:], "big")
        host = self._hosts.get((iid, _address(version, value)))
        if host is None or (host.port, host.mac) != (at.number, name[:6].hex(":")):
            return None
        area = answers.area(iid, version)
        if area is None:
            return None
        if len(port.senders) >= MAX_SENDERS:
            port.senders.clear()
        asker = self._asker(eid_of(iid, version, value << 8 | BITS[version]))
        sender = Sender(name[6:], asker, area, self._cache.table(iid, version))
        port.senders[name] = sender
        return sender

    def _waited_for(self, iid: int, version: int, address: int) -> bool:
        """Whether packets to an EID are held, or a question for it is under way."""
        eid = _address(version, address)
        waits = self._resolutions.miss(host_eid(iid, eid)) is not None
        return waits or self._hold.count((iid, eid)) > 0

    def _shape(self, ready: ReadyAnswer, table: CacheTable, code: int) -> FlowShape | None:
        self._shapes.pop((ready, code & 0xFF), None)
        mapping = replace(ready.mapping, eid=table.eid(code))
        rlocs = normalise(mapping.locators)
        if not self._program.in_use(rlocs):
            return None
        number = self._program.number(rlocs)
        shape = make_shape(self.name, mapping, self._topology(), number)
        if shape is not None:
            self._shapes[ready, code & 0xFF] = shape
        return shape

    def _settled(self, shape: FlowShape, now: float) -> bool:
        until = self._neighbours.settled_until(shape.hops, now)
        shape.check_at = min(until, now + CHECK_INTERVAL)
        return until > now


def _address(version: int, value: int) -> IPAddress:
    return ipv4(value) if version == 4 else ipv6(value)
