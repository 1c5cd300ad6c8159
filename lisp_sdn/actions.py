"""What cores ask the edges to do, and what the edges tell the cores.

A core takes an event and `now` (seconds since the epoch) and returns a list of actions; the
edge carries them out in order. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field

from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, IPNetwork
from lisp_sdn.model import BgpScope
from lisp_sdn.rules import CookieClass, Match, RuleAction, RuleChange

# --- actions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendControl:
    """Send a LISP control message by UDP from the controller's own socket (port 4342)."""

    data: bytes
    destination: Endpoint


@dataclass(frozen=True, slots=True)
class ApplyRules:
    """Send flow-, group- and meter-mods to a switch, in this order.

    barrier: ask for a barrier reply afterwards.
    """

    datapath_id: int
    changes: tuple[RuleChange, ...]
    barrier: bool = False


@dataclass(frozen=True, slots=True)
class PacketOut:
    """Send a frame through a switch: `actions`, or through its tables with Output(Port.TABLE)."""

    datapath_id: int
    frame: bytes
    in_port: int
    actions: tuple[RuleAction, ...]


@dataclass(frozen=True, slots=True)
class ReadRules:
    """Read back ports, flows, groups and meters with our cookie; answered by `Installed`."""

    datapath_id: int


@dataclass(frozen=True, slots=True)
class ReadCounters:
    """Read packets and octets of our flows of one class; answered by `FlowCounters`."""

    datapath_id: int
    kind: CookieClass


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something was dropped or refused. reason: a stable code; where: the component."""

    where: str
    reason: str
    detail: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth knowing happened (log line, event stream, journal).

    kind: dotted, for instance "map-cache.added", "registration.refused", "rloc.down".
    """

    kind: str
    subject: str
    data: MappingABC[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MappingChanged:
    """The mapping system's answer for (part of) an EID-prefix may have changed.

    Emitted by mapping and policy; the composition root hands it to every xTR of ours, which asks
    again for the map-cache entries that it concerns.
    """

    eid: EidPrefix


@dataclass(frozen=True, slots=True)
class Announce:
    """Announce a prefix to the BGP neighbours of a scope whose filter permits it.

    It lasts until `Withdraw`. next_hop: None for our own address of the session.
    """

    prefix: IPNetwork
    scope: BgpScope = BgpScope.ALT
    next_hop: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Announce a prefix no longer in this scope."""

    prefix: IPNetwork
    scope: BgpScope = BgpScope.ALT


@dataclass(frozen=True, slots=True)
class ShutNeighbour:
    """Close a BGP session and do not open it again."""

    address: IPAddress


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """Another configuration is in force: edges that read it follow. config: a `Config`."""

    config: object


Action = (
    SendControl
    | ApplyRules
    | PacketOut
    | ReadRules
    | ReadCounters
    | Dropped
    | Event
    | MappingChanged
    | Announce
    | Withdraw
    | ShutNeighbour
    | Reconfigured
)

# --- events from switches ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PortInfo:
    """One OpenFlow port. mac: "aa:bb:.." as the switch tells it; up: link and admin state.

    A port that was removed is told as one that is down.
    """

    number: int
    name: str
    mac: str
    up: bool


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet that a flow sent to the controller.

    cookie: of the flow that sent it. metadata: the pipeline's metadata register.
    tunnel_source, tunnel_destination, tunnel_id: set when it came out of the tunnel.
    """

    datapath_id: int
    table: int
    cookie: int
    in_port: int
    frame: bytes
    metadata: int = 0
    tunnel_id: int = 0
    tunnel_source: IPAddress | None = None
    tunnel_destination: IPAddress | None = None
    invalid_ttl: bool = False


@dataclass(frozen=True, slots=True)
class FlowRemoved:
    """A flow with notify_removed left the switch. idle: by idle timeout (not by our delete)."""

    datapath_id: int
    rule_key: tuple[int, int, tuple[tuple[str, object], ...]]
    cookie: int
    idle: bool
    packets: int
    bytes: int
    duration: float


@dataclass(frozen=True, slots=True)
class FlowCounter:
    """What one flow has carried since it was installed."""

    match: Match
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class FlowCounters:
    """The answer to `ReadCounters`: every flow of the class."""

    datapath_id: int
    kind: CookieClass
    flows: tuple[FlowCounter, ...]


@dataclass(frozen=True, slots=True)
class SwitchConnected:
    """A switch finished its OpenFlow handshake."""

    datapath_id: int
    ports: tuple[PortInfo, ...]


# --- events from BGP ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BgpRoute:
    """The best route for a prefix, as the BGP speaker chose it.

    peer: the neighbour that it came from. as_path: the neighbour's AS number first.
    """

    prefix: IPNetwork
    next_hop: IPAddress
    peer: IPAddress
    as_path: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BgpSession:
    """A BGP session with a neighbour came up or went down."""

    peer: IPAddress
    up: bool
