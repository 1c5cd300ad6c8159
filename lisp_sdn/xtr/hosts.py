"""Local EIDs: which host is behind which EID-facing port, and who is being asked for.

Learned from what hosts send: ARP, neighbour discovery, the source of their first packets. Asked
for by the gateway when a packet for an unknown EID of a connected subnet arrives.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lisp_sdn.address import IPAddress

ASK_INTERVAL = 1.0
ASK_ATTEMPTS = 3

HostKey = tuple[int, IPAddress]
"""(instance-ID, EID)."""


@dataclass(frozen=True, slots=True)
class Host:
    """A local EID. port: OpenFlow port number. mac: of the host.

    kept: it has a host route, and stays until the controller lets it go (host mobility).
    """

    iid: int
    address: IPAddress
    port: int
    mac: str
    kept: bool = False

    @property
    def key(self) -> HostKey:
        """Instance-ID and EID."""
        return (self.iid, self.address)


class Learned(StrEnum):
    """What a sighting of a host told."""

    NOTHING = "nothing"
    NEW = "new"
    MOVED = "moved"
    CONFLICT = "conflict"


class Hosts:
    """The local EIDs of one xTR. limit: how many; the longest unchanged makes room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._hosts: OrderedDict[HostKey, Host] = OrderedDict()
        self._asked: dict[HostKey, int] = {}
        self.departures = 0
        """How often a host went or moved: what was true of one may no longer be."""

    def __len__(self) -> int:
        return len(self._hosts)

    def __contains__(self, key: object) -> bool:
        return key in self._hosts

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def get(self, key: HostKey) -> Host | None:
        """The host with this EID."""
        return self._hosts.get(key)

    def learn(self, host: Host, *, proven: bool) -> tuple[Learned, Host | None]:
        """Note a sighting; returns what changed and the host that had to make room.

        proven: the host itself said so by ARP or neighbour discovery. The source address of a
        data packet is weaker: it finds new hosts, but cannot move a known one.
        """
        old = self._hosts.get(host.key)
        if old == host:
            return Learned.NOTHING, None
        if old is not None and not proven:
            return Learned.CONFLICT, None
        self.departures += old is not None
        self._hosts[host.key] = host
        self._hosts.move_to_end(host.key)
        self._asked.pop(host.key, None)
        evicted = None
        if len(self._hosts) > self._limit:
            _, evicted = self._hosts.popitem(last=False)
            self.departures += 1
        return Learned.MOVED if old else Learned.NEW, evicted

    def renumber(self, moved: Mapping[int, int | None]) -> list[HostKey]:
        """Ports have other numbers than before, None: are gone. Returns whom it concerns."""
        concerned = [host for host in self._hosts.values() if host.port in moved]
        self.departures += len(concerned)
        for host in concerned:
            number = moved[host.port]
            if number is None:
                del self._hosts[host.key]
            else:
                self._hosts[host.key] = replace(host, port=number)
        return [host.key for host in concerned]

    def forget(self, key: HostKey) -> Host | None:
        """The host is gone or silent."""
        self.departures += 1
        return self._hosts.pop(key, None)

    # --- asking ------------------------------------------------------------------------------

    @property
    def asking(self) -> int:
        """How many EIDs are being asked for."""
        return len(self._asked)

    def is_asked(self, key: HostKey) -> bool:
        """Whether an answer is awaited."""
        return key in self._asked

    def ask(self, key: HostKey) -> bool:
        """Count one more question; False when there were enough."""
        attempts = self._asked.get(key, 0)
        if attempts >= ASK_ATTEMPTS:
            del self._asked[key]
            return False
        self._asked[key] = attempts + 1
        return True

    def stop_asking(self, key: HostKey) -> None:
        """No answer is awaited any more."""
        self._asked.pop(key, None)
