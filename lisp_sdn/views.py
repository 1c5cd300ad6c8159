"""What the running system shows of itself: plain values, read by REST and CLI, made by the parts.

Times are seconds since the epoch, as floats; None where nothing happened yet.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from enum import StrEnum

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, IPNetwork, SourceDestPrefix
from lisp_sdn.guard_settings import GuardMode
from lisp_sdn.model import Act, Answer, Locator, Mapping


@dataclass(frozen=True, slots=True)
class Status:
    """The controller as a whole.

    started: when. mappings, registrations: entries now. last_event: id of the newest event, 0
    when there was none. problems: what an operator should mend, one sentence each. unreachable:
    RLOCs that lost their uplink or answer no RLOC-probes, one sentence each.
    """

    started: float
    mappings: int = 0
    registrations: int = 0
    last_event: int = 0
    problems: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteState:
    """What changes about a site; its settings are in the configuration.

    registrations: live ones. last_registration: when the last Map-Register was accepted.
    """

    registrations: int = 0
    last_registration: float | None = None


class LocatorState(StrEnum):
    """Whether an RLOC is used now. DRAINED: it is up, and carries traffic only as the last one."""

    UP = "up"
    DRAINED = "drained"
    DOWN = "down"
    UNREACHABLE = "unreachable"
    NO_ROUTE = "no-route"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LocatorStatus:
    """One RLOC with its state. since: when it came into this state. rtt: seconds, of the probe."""

    locator: Locator
    state: LocatorState = LocatorState.UNKNOWN
    since: float | None = None
    rtt: float | None = None


@dataclass(frozen=True, slots=True)
class ProbedRloc:
    """An RLOC that an xTR sends RLOC-probes to. rtt: seconds, smoothed; None without an answer."""

    rloc: IPAddress
    state: LocatorState
    rtt: float | None = None


@dataclass(frozen=True, slots=True)
class XtrState:
    """What changes about an xTR; its settings are in the configuration.

    connected_since: None while the switch is away. problems: why it does not forward as
    configured, for instance a missing tunnel port. ports: as the switch tells them.
    flows, groups, meters: how many rules it should hold. probed: the RLOCs that it sends to.
    """

    connected_since: float | None = None
    problems: tuple[str, ...] = ()
    rlocs: tuple[LocatorStatus, ...] = ()
    ports: tuple[PortInfo, ...] = ()
    map_cache_entries: int = 0
    pending_resolutions: int = 0
    held_packets: int = 0
    flows: int = 0
    groups: int = 0
    meters: int = 0
    probed: tuple[ProbedRloc, ...] = ()


class Origin(StrEnum):
    """Where a mapping comes from."""

    STATIC = "static"
    REGISTERED = "registered"


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """One entry of the mapping database. site: None for a static mapping outside every site."""

    mapping: Mapping
    origin: Origin
    site: str | None = None

    @property
    def eid(self) -> EidPrefix:
        """The key."""
        return self.mapping.eid


@dataclass(frozen=True, slots=True)
class RegistrationEntry:
    """One accepted registration (RFC 9301 section 5.6): of one ETR for one EID-prefix.

    etr: where the Map-Register came from. xtr: name of the ETR when it is one of ours.
    xtr_id, site_id: None without the I-bit. registered: first; refreshed: last; expires: when it
    is forgotten without another Map-Register. source: the source EID-prefix of a registration that
    holds only for requests from it.
    """

    mapping: Mapping
    site: str
    registered: float
    refreshed: float
    expires: float
    etr: Endpoint | None = None
    xtr: str | None = None
    xtr_id: int | None = None
    site_id: int | None = None
    key_id: int | None = None
    proxy_reply: bool = False
    want_map_notify: bool = False
    merge: bool = False
    source: EidPrefix | None = None

    @property
    def eid(self) -> EidPrefix:
        """The EID-prefix; several ETRs may have registered the same one."""
        return self.mapping.eid


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """What an xTR of ours asked for and holds: enough to ask the same question once more.

    eid: the map-cache key. asked: the source EID of the Map-Request.
    """

    xtr: str
    eid: EidPrefix | SourceDestPrefix
    asked: EidPrefix | None = None

    @property
    def destination(self) -> EidPrefix:
        """The destination EID-prefix of the key."""
        return self.eid.destination if isinstance(self.eid, SourceDestPrefix) else self.eid


@dataclass(frozen=True, slots=True)
class FlowChange:
    """A map-cache flow on a switch that a candidate policy would change.

    eid: the map-cache key as it is now. old, new: the answer that the flow follows.
    """

    xtr: str
    datapath_id: int
    eid: EidPrefix | SourceDestPrefix
    old: Answer
    new: Answer


@dataclass(frozen=True, slots=True)
class MapCacheEntry:
    """One map-cache entry of an xTR of ours.

    eid: (source, destination) when the answer depends on the source EID. action: for an entry
    without locators. complete: False while the Map-Request is unanswered. via: how it came, for
    instance "map-reply", "static". created, expires: epoch. rule: the policy rule that decided.
    packets, octets: as last reported by the switch; None when not known.
    """

    eid: EidPrefix | SourceDestPrefix
    created: float
    locators: tuple[LocatorStatus, ...] = ()
    action: Act = Act.NO_ACTION
    expires: float | None = None
    complete: bool = True
    via: str = "map-reply"
    rule: str | None = None
    packets: int | None = None
    octets: int | None = None


@dataclass(frozen=True, slots=True)
class SourceVerdictEntry:
    """A verdict of the source guard of an xTR of ours.

    rloc, port: the outer source RLOC, or the name of the EID-facing port. reason: None when
    allowed. via: what it rests on, for instance "database". packets: refused ones.
    """

    eid: EidPrefix
    rloc: IPAddress | None
    port: str | None
    reason: str | None
    via: str
    since: float
    expires: float | None
    packets: int


@dataclass(frozen=True, slots=True)
class SourceGuardState:
    """The source guard of an xTR of ours. verdicts: in no particular order."""

    mode: GuardMode
    verdicts: tuple[SourceVerdictEntry, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A Map-Request of an xTR of ours and its Map-Reply (RFC 9301 sections 5.2 and 5.4).

    time: when it was sent. eids: asked for. answers: the mappings of the Map-Reply; None while
    there is none.
    """

    time: float
    nonce: int
    eids: tuple[EidPrefix | SourceDestPrefix, ...]
    source_eid: EidPrefix | None
    itr_rlocs: tuple[IPAddress, ...]
    answers: tuple[Mapping, ...] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Drops and refusals of one kind from one source, counted together.

    where, reason, detail, source: as in `actions.Dropped`; detail is the newest.
    """

    where: str
    reason: str
    source: str
    detail: str
    count: int
    first_seen: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class EventEntry:
    """One `actions.Event` as kept. id: rises by one with every event, first is 1."""

    id: int
    time: float
    kind: str
    subject: str
    data: MappingABC[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter with its labels, named as in metrics; never falls while the process lives."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """One histogram with its labels. buckets: (upper bound, observations not above it).

    total: sum of all observations, seconds.
    """

    name: str
    buckets: tuple[tuple[float, int], ...]
    total: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """Packets and octets, without tunnel headers."""

    packets: int = 0
    octets: int = 0

    def __add__(self, other: Carried) -> Carried:
        return Carried(self.packets + other.packets, self.octets + other.octets)


@dataclass(frozen=True, slots=True)
class Announcement:
    """An EID-prefix of a Proxy-ITR. next_hop: as BGP tells it, or would, None where none is up.

    announced: False while it cannot forward, or where another one is preferred.
    """

    prefix: IPNetwork
    next_hop: IPAddress | None
    announced: bool


@dataclass(frozen=True, slots=True)
class ProxyItrState:
    """A Proxy-ITR of ours. healthy: it can forward; reason: a stable code, why not.

    since: when it came into this state.
    """

    xtr: str
    iid: int
    port: str
    preference: int
    healthy: bool
    reason: str
    since: float
    announcements: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class NativePortState:
    """A native port of an xTR of ours. up: None where the switch does not have it.

    proxy_etr: source EIDs that it forwards for; () where it is no Proxy-ETR.
    """

    xtr: str
    iid: int
    port: str
    up: bool | None
    received: Carried
    sent: Carried
    refused: Carried
    proxy_etr: tuple[IPNetwork, ...]
    petr_sent: Carried
    petr_refused: Carried


@dataclass(frozen=True, slots=True)
class PetrUser:
    """An ITR of ours that uses a Proxy-ETR, and how it sees its RLOC."""

    xtr: str
    status: LocatorStatus


@dataclass(frozen=True, slots=True)
class PetrState:
    """A Proxy-ETR that ITRs of ours use. xtr: its name when it is one of ours."""

    iid: int
    when: str
    locator: Locator
    xtr: str | None
    users: tuple[PetrUser, ...]


@dataclass(frozen=True, slots=True)
class Inbound:
    """Octets that came in by an RLOC of an xTR of ours, without tunnel headers.

    weight: as configured; what a policy balances is in `policy.BalanceStatus`. rate: octets a
    second when last looked at, None while that is not known.
    """

    xtr: str
    rloc: IPAddress
    site: str | None
    octets: int
    priority: int
    weight: int
    rate: float | None = None


class MobileState(StrEnum):
    """Where an EID that may roam is, and whether it may move.

    HOME: at the only xTR of its subnet. STRETCHED: at one of several. AWAY: elsewhere.
    HELD_DOWN: it moved too often, and stays. DUPLICATE: it was seen at two places at once.
    """

    HOME = "home"
    STRETCHED = "stretched"
    AWAY = "away"
    HELD_DOWN = "held-down"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class MobileEid:
    """An EID of a subnet whose hosts may roam.

    homes: the xTRs of its subnet. since: it is there; seen: last sign of it there; epoch seconds.
    held_until: it does not move before. newcomer: the place that a duplicate was seen at.
    """

    eid: EidPrefix
    xtr: str
    port: str
    mac: str
    state: MobileState
    homes: tuple[str, ...]
    since: float
    seen: float
    moves: int
    held_until: float | None = None
    newcomer: str | None = None
