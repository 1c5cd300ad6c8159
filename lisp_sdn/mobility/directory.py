"""The EIDs that are followed, and where each of them is."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lisp_sdn.address import EidPrefix
from lisp_sdn.config import Config, MobilitySettings, Subnet
from lisp_sdn.views import MobileEid, MobileState
from lisp_sdn.xtr.damping import Damping
from lisp_sdn.xtr.hosts import Host, HostKey
from lisp_sdn.xtr.requests import Sighted

PortName = tuple[str, str]
"""(xTR, port)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is: xTR, name of the port, its MAC address."""

    xtr: str
    port: str
    mac: str

    def __str__(self) -> str:
        return f"{self.xtr} {self.port} {self.mac}"

    @property
    def port_name(self) -> PortName:
        """The port without the host."""
        return (self.xtr, self.port)


def place_of(sighted: Sighted) -> Place:
    """Where an EID was seen."""
    return Place(sighted.xtr, sighted.port, sighted.host.mac)


@dataclass(slots=True)
class Entry:
    """What is known of one EID; times are epoch seconds.

    since: when it came to its place; seen: last sign of it there. routed: it has a host route.
    moves: all of them; recent: times of those that count for hold-down, held_until: no other
    before. previous: the place that is being asked after a move, and since when it was there.
    contender: a newcomer that waits for the answer of the place, duplicate: the newest that was
    refused. contested: until when newcomers wait; challenged: when one was last. asked: questions
    to the previous place or about a contender, silent: to its own place, without an answer.
    """

    subnet: Subnet
    place: Place
    host: Host
    since: float
    seen: float
    damping: Damping
    routed: bool = False
    moves: int = 0
    recent: list[float] = field(default_factory=list)
    held_until: float = 0.0
    previous: tuple[Place, float] | None = None
    contender: Sighted | None = None
    duplicate: Place | None = None
    contested: float = 0.0
    challenged: float = 0.0
    asked: int = 0
    silent: int = 0

    @property
    def eid(self) -> EidPrefix:
        """Its EID as /32 or /128."""
        return EidPrefix.host(*self.host.key)

    def state(self, now: float) -> MobileState:
        """Where it is, and whether it may move."""
        if now < self.held_until:
            return MobileState.HELD_DOWN
        if now < self.contested:
            return MobileState.DUPLICATE
        if not self.routed:
            return MobileState.HOME
        at_home = self.subnet.stretched and self.place.xtr in self.subnet.homes
        return MobileState.STRETCHED if at_home else MobileState.AWAY

    def view(self, now: float) -> MobileEid:
        """As REST and CLI show it."""
        return MobileEid(
            self.eid,
            self.place.xtr,
            self.place.port,
            self.place.mac,
            self.state(now),
            self.subnet.homes,
            self.since,
            self.seen,
            self.moves,
            self.held_until if now < self.held_until else None,
            str(self.duplicate) if now < self.contested else None,
        )


class Directory:
    """Entries by EID, and how many there are at each port."""

    def __init__(self) -> None:
        self._entries: dict[HostKey, Entry] = {}
        self._at: Tally[PortName] = Tally()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: HostKey) -> Entry | None:
        """What is known of an EID."""
        return self._entries.get(key)

    def has_room(self, port: PortName, settings: MobilitySettings) -> bool:
        """Whether one more may be followed that is at this port."""
        return (
            len(self._entries) < settings.max_eids and self._at[port] < settings.max_eids_per_port
        )

    def add(self, entry: Entry) -> None:
        """Follow it."""
        self._entries[entry.host.key] = entry
        self._at[entry.place.port_name] += 1

    def move(self, entry: Entry, place: Place) -> None:
        """It is somewhere else."""
        self._leave(entry.place)
        self._at[place.port_name] += 1
        entry.place = place

    def remove(self, entry: Entry) -> None:
        """Follow it no longer."""
        del self._entries[entry.host.key]
        self._leave(entry.place)

    def _leave(self, place: Place) -> None:
        self._at[place.port_name] -= 1
        if not self._at[place.port_name]:
            del self._at[place.port_name]


def mobile_ports(config: Config) -> dict[PortName, int]:
    """The ports that allow mobility, with their instance-IDs."""
    return {
        (xtr.name, port.name): port.iid
        for xtr in config.xtrs
        for port in xtr.eid_ports
        if port.allow_mobility
    }


def subnet_of(key: HostKey, subnets: Iterable[Subnet]) -> Subnet | None:
    """The subnet of an EID, if it may roam."""
    iid, address = key
    return next((subnet for subnet in subnets if subnet.holds(iid, address)), None)
