"""What is asked and what is found: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.errors import FieldError
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import ICMP, ICMPV6, TCP, UDP

PROTOCOLS = {"tcp": TCP, "udp": UDP}
_TTL = 64


@dataclass(frozen=True, slots=True)
class Packet:
    """The packet that is followed: one EID to another, in one instance-ID.

    protocol: IP protocol number; None for an echo request. ports: of TCP and UDP.
    Raises FieldError.
    """

    source: EidPrefix
    destination: EidPrefix
    protocol: int | None = None
    source_port: int = 0
    destination_port: int = 0

    def __post_init__(self) -> None:
        for name in ("source", "destination"):
            eid = getattr(self, name)
            if not eid.is_host:
                raise FieldError(name, str(eid), "one EID, not an EID-prefix")
        if self.source.iid != self.destination.iid:
            raise FieldError(
                "destination", str(self.destination), f"an EID in instance-ID {self.iid}"
            )
        if self.source.version != self.destination.version:
            raise FieldError(
                "destination", str(self.destination), f"an IPv{self.source.version} EID"
            )
        if self.protocol is not None and not 0 <= self.protocol <= 255:
            raise FieldError("protocol", self.protocol, "0..255")
        for name in ("source_port", "destination_port"):
            if not 0 <= getattr(self, name) <= 0xFFFF:
                raise FieldError(name, getattr(self, name), "0..65535")

    @property
    def iid(self) -> int:
        """The instance-ID of both EIDs."""
        return self.source.iid

    @property
    def from_address(self) -> IPAddress:
        """The source EID."""
        return self.source.network.network_address

    @property
    def to_address(self) -> IPAddress:
        """The destination EID."""
        return self.destination.network.network_address

    def frame(self, mac: str, gateway_mac: str) -> bytes:
        """The packet as the host with this MAC address sends it to its gateway."""
        source, destination = self.from_address, self.to_address
        data, protocol = bytes(8), self.protocol
        if protocol in (TCP, UDP):
            ports = (self.source_port, self.destination_port)
            data = b"".join(port.to_bytes(2, "big") for port in ports) + bytes(16)
        if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
            if protocol is None:
                data = replies.icmp(8, 0, bytes(4))
            number = ICMP if protocol is None else protocol
            packet = replies.ipv4(source, destination, number, data, ttl=_TTL)
        else:
            assert isinstance(source, IPv6Address)
            assert isinstance(destination, IPv6Address)
            if protocol is None:
                data = replies.icmpv6(source, destination, 128, 0, bytes(4))
            number = ICMPV6 if protocol is None else protocol
            packet = replies.ipv6(source, destination, number, data, hop_limit=_TTL)
        return replies.ip_frame(gateway_mac, mac, source.version, packet)


class StepName(StrEnum):
    """The stages of the way, in order."""

    SOURCE = "source"
    SWITCH = "switch"
    POLICY = "policy"
    MAPPING = "mapping"
    MAP_CACHE = "map-cache"
    FLOW_TABLES = "flow-tables"
    RLOC = "rloc"
    ETR = "etr"
    DELIVERY = "delivery"


class Mark(StrEnum):
    """What a step means for the packet. NOTE: it goes on, but something is worth knowing."""

    OK = "ok"
    NOTE = "note"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Step:
    """One stage. text: what was found, a sentence; reason: a stable code, "" for OK.

    suggestion: what to do about it, "" when there is nothing to do. details: what the sentence
    rests on, one line each.
    """

    name: StepName
    mark: Mark
    text: str
    reason: str = ""
    suggestion: str = ""
    details: tuple[str, ...] = ()


class Verdict(StrEnum):
    """What becomes of the packet.

    RESOLVES: it waits for a Map-Request first, then goes the way that the steps show.
    HANDED_OVER: it leaves natively, or for an ETR that is not ours: beyond, nothing is known.
    """

    DELIVERED = "delivered"
    RESOLVES = "resolves"
    HANDED_OVER = "handed-over"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of a packet. xtr, etr: names of our xTRs at both ends; rloc: where it is sent."""

    packet: Packet
    steps: tuple[Step, ...]
    verdict: Verdict
    xtr: str | None = None
    rloc: IPAddress | None = None
    etr: str | None = None

    @property
    def stopped_at(self) -> Step | None:
        """The step at which it stops."""
        return next((step for step in self.steps if step.mark is Mark.STOP), None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An EID that stands for a place. xtr: None where no xTR of ours is.

    known: a host with this EID was seen there; otherwise it is any address of the subnet.
    """

    eid: EidPrefix
    site: str | None
    xtr: str | None
    known: bool
