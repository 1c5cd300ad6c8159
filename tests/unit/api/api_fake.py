"""A `Backend` in memory, and a shorthand to call the API."""

from __future__ import annotations

import bisect
import ipaddress
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from lisp_sdn.actions import Action, Dropped, Event, MappingChanged, PortInfo, Reconfigured
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, IPNetwork, SourceDestPrefix
from lisp_sdn.alt_views import (
    AltRoute,
    AltState,
    AltTunnelState,
    BgpNeighbourState,
    BgpState,
    HeldDown,
)
from lisp_sdn.api import Api, Request, Response
from lisp_sdn.api.backend import PolicyBackend
from lisp_sdn.config import Config, load
from lisp_sdn.guard_settings import GuardMode
from lisp_sdn.ledger import Ledger
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Act, Answer, BgpScope, Locator, Mapping, Requester
from lisp_sdn.policing import Policing
from lisp_sdn.policy import PolicyBook, PolicyEngine, Sites
from lisp_sdn.reloading import Reloading
from lisp_sdn.rules import (
    Bucket,
    CookieClass,
    FlowRule,
    GroupRule,
    GroupType,
    MeterRule,
    Output,
    Ruleset,
    SetField,
    ToGroup,
    cookie,
    match,
)
from lisp_sdn.trace import Endpoint as Place
from lisp_sdn.trace import Packet, Step, Trace, Tracer, Verdict
from lisp_sdn.views import (
    Announcement,
    CachedAnswer,
    Carried,
    Counter,
    Distribution,
    EventEntry,
    Exchange,
    Inbound,
    LocatorState,
    LocatorStatus,
    MapCacheEntry,
    MappingEntry,
    MobileEid,
    MobileState,
    NativePortState,
    Origin,
    PetrState,
    PetrUser,
    ProbedRloc,
    ProxyItrState,
    Refusal,
    RegistrationEntry,
    SiteState,
    SourceGuardState,
    SourceVerdictEntry,
    Status,
    XtrState,
)
from lisp_sdn.xtr.verdicts import SourceVerdict
from lisp_sdn.xtr.xtr import Xtr

NOW = 1_800_000_000.0

CONFIG = """
sites:
  - name: east
    authentication_keys: [{key_id: 1, key: very-secret}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 42, accept_more_specifics: true}]
  - name: west
    authentication_keys: [{key: very-secret-too}]
    eid_prefixes: [{prefix: 10.2.0.0/16, iid: 42}]
xtrs:
  - name: xtr-east
    site: east
    datapath_id: "1"
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: eth1, iid: 42, gateways: [10.1.0.1/24]}]
  - name: xtr-west
    site: west
    datapath_id: "2"
    rlocs: [{rloc: 192.0.2.2, priority: 2, weight: 30}]
"""

SETTINGS = load(CONFIG)


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text)


def locator(rloc: str, priority: int = 1, weight: int = 100) -> Locator:
    return Locator(ipaddress.ip_address(rloc), priority, weight)


class FakeBackend:
    """State that tests set directly, and what was asked of it."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.database: dict[EidPrefix, MappingEntry] = {}
        self.live: list[RegistrationEntry] = []
        self.caches: dict[str, list[MapCacheEntry]] = {x.name: [] for x in self.settings.xtrs}
        self.states: dict[str, XtrState] = {}
        self.happened: list[EventEntry] = []
        self.refused: list[Refusal] = []
        self.counts: list[Counter] = []
        self.problems: list[str] = []
        self.unreachable: list[str] = []
        self.ruleset = Ruleset()
        self.exchanged: list[Exchange] = []
        self.asked: list[tuple[EidPrefix, Requester]] = []
        self.steps = 0
        self.noted: list[Dropped] = []
        self.mobile: list[MobileEid] = []
        self.journal = MemoryStore()
        self.told: list[EidPrefix] = []
        self.cores = {x.name: Xtr(x, SETTINGS, random.Random(1)) for x in self.settings.xtrs}
        self.ways: dict[EidPrefix, tuple[Verdict, tuple[Step, ...]]] = {}
        self.places: list[Place] = []
        engine = PolicyEngine((), Sites.from_config(self.settings))
        book = PolicyBook(self.settings, self.journal)
        engine.set_policies(book.start(NOW - 1000))
        self.policing = Policing(
            self.settings,
            book,
            engine,
            mappings=lambda start: self.mappings(start, NOW),
            changed=self._changed,
            settle=lambda actions, now: list(actions),
            cached=self._cached,
            asks=self.requester,
        )
        self._order: list[EidPrefix] = []
        self.ledger = Ledger()
        self.store = self.journal
        self.configuration = Reloading(self)
        self.file = CONFIG
        self.configuration.read = lambda: ("lisp.yaml", self.file)

    def reconfigure(self, config: Config, now: float) -> list[Action]:
        self.settings = config
        return [Reconfigured(config)]

    @property
    def config(self) -> Config:
        return self.settings

    @property
    def policy(self) -> PolicyBackend:
        return self.policing

    def _cached(self) -> Iterator[CachedAnswer]:
        for name, entries in self.caches.items():
            yield from (CachedAnswer(name, entry.eid) for entry in entries)

    def _changed(self, eid: EidPrefix, now: float, **_: object) -> list[Action]:
        self.told.append(eid)
        return [MappingChanged(eid)]

    def status(self, now: float) -> Status:
        counts = (len(self.database), len(self.live), len(self.happened))
        return Status(NOW - 100, *counts, tuple(self.problems), tuple(self.unreachable))

    def site_state(self, name: str, now: float) -> SiteState:
        mine = [entry for entry in self.live if entry.site == name]
        return SiteState(len(mine), max((entry.refreshed for entry in mine), default=None))

    def xtr_state(self, name: str, now: float) -> XtrState:
        return self.states.get(name, XtrState(map_cache_entries=len(self.caches[name])))

    def add(self, *entries: MappingEntry) -> None:
        for entry in entries:
            self.database[entry.eid] = entry
        self._order = sorted(self.database)

    def mappings(self, start: EidPrefix | None, now: float) -> Iterator[MappingEntry]:
        for key in self._order[bisect.bisect_left(self._order, start) if start else 0 :]:
            self.steps += 1
            yield self.database[key]

    def mapping(self, eid: EidPrefix, now: float) -> MappingEntry | None:
        return self.database.get(eid)

    def set_mapping(self, mapping: Mapping, now: float) -> list[Action]:
        self.add(MappingEntry(mapping, Origin.STATIC))
        return [MappingChanged(mapping.eid), Event("mapping.set", str(mapping.eid))]

    def remove_mapping(self, eid: EidPrefix, now: float) -> list[Action]:
        del self.database[eid]
        self._order = sorted(self.database)
        return [MappingChanged(eid)]

    def source_guard(self, xtr: str, now: float) -> SourceGuardState:
        if xtr != "xtr-west":
            return SourceGuardState(GuardMode.OFF, ())
        address = ipaddress.ip_address
        return SourceGuardState(
            GuardMode.ENFORCE,
            (
                SourceVerdictEntry(
                    eid("[42] 10.3.0.0/24"), address("203.0.113.66"), None, "source-rloc-mismatch",
                    "database", NOW - 20, None, 17,
                ),
                SourceVerdictEntry(
                    eid("[42] 10.2.0.0/24"), address("192.0.2.1"), None, None, "map-reply",
                    NOW - 60, NOW + 600, 0,
                ),
                SourceVerdictEntry(
                    eid("[42] 10.9.9.9/32"), None, "p1", "source-eid-not-of-port", "port",
                    NOW - 5, None, 3,
                ),
            ),
        )  # fmt: skip

    def registrations(self, start: EidPrefix | None, now: float) -> Iterator[RegistrationEntry]:
        for entry in sorted(self.live, key=lambda entry: entry.eid):
            if start is None or not entry.eid < start:
                yield entry

    def requester(self, xtr: str, source: EidPrefix | None) -> Requester:
        settings = next(x for x in self.settings.xtrs if x.name == xtr)
        rlocs = tuple(entry.rloc for entry in settings.rlocs)
        return Requester(rlocs, source, settings.datapath_id, xtr=xtr, authenticated=True)

    def judge(self, xtr: str, source: EidPrefix, rloc: IPAddress) -> SourceVerdict | None:
        return None

    def answer(self, eid: EidPrefix, requester: Requester, now: float) -> Answer:
        self.asked.append((eid, requester))
        found = [entry for entry in self.database.values() if entry.eid.covers(eid)]
        if not found:
            return Answer(Mapping(eid, action=Act.NATIVELY_FORWARD, ttl_minutes=15))
        return Answer(max(found, key=lambda e: e.eid.prefixlen).mapping, rule="partner")

    def map_cache(self, xtr: str, now: float) -> Iterable[MapCacheEntry]:
        return self.caches[xtr]

    def clear_map_cache(
        self, xtr: str, eid: EidPrefix | SourceDestPrefix | None, now: float
    ) -> tuple[int, list[Action]]:
        gone = [entry for entry in self.caches[xtr] if eid is None or entry.eid == eid]
        self.caches[xtr] = [entry for entry in self.caches[xtr] if entry not in gone]
        return len(gone), [Event("map-cache.removed", str(entry.eid)) for entry in gone]

    def drain(self, rloc: IPAddress, now: float) -> list[Action]:
        return [Event("rloc.drained", str(rloc))]

    def undrain(self, rloc: IPAddress, now: float) -> list[Action]:
        return [Event("rloc.undrained", str(rloc))]

    def wanted(self, xtr: str) -> Ruleset:
        return self.ruleset

    def trace(self, packet: Packet, now: float) -> Trace:
        if packet.destination not in self.ways:
            return Tracer(self, self.cores).trace(packet, now)
        verdict, steps = self.ways[packet.destination]
        return Trace(packet, steps, verdict, "xtr-east", ipaddress.ip_address("192.0.2.2"))

    def endpoints(self) -> Iterable[Place]:
        return self.places or Tracer(self, self.cores).endpoints()

    def note(self, dropped: Dropped, now: float) -> list[Action]:
        self.noted.append(dropped)
        return [dropped]

    def exchanges(self, xtr: str) -> Iterable[Exchange]:
        return self.exchanged if xtr == "xtr-west" else []

    def refusals(self) -> Iterable[Refusal]:
        return self.refused

    def events(self, after: int) -> Iterable[EventEntry]:
        return [entry for entry in self.happened if entry.id > after]

    def counters(self) -> Iterable[Counter]:
        return self.counts

    def gauges(self) -> dict[str, int]:
        return {"requesters": 5, "requesters-forgotten": 1, "smrs-pending": 2}

    def distributions(self) -> Iterable[Distribution]:
        buckets = ((0.001, 1), (1.0, 3), (float("inf"), 4))
        labels = (("xtr", "xtr-east"),)
        yield Distribution("xtr-resolution-seconds", buckets, 4.5, labels)
        yield Distribution("openflow-round-trip-seconds", buckets, 4.5, labels)

    def petrs(self) -> Iterable[PetrState]:
        petr = locator("192.0.2.200")
        users = (PetrUser("xtr-east", LocatorStatus(petr, LocatorState.UP, NOW - 9, 0.002)),)
        yield PetrState(42, "always", petr, None, users)
        yield PetrState(42, "always", locator("192.0.2.201", 2), "xtr-west", ())

    def proxy_itrs(self) -> Iterable[ProxyItrState]:
        here = ipaddress.ip_network("10.0.0.0/8")
        shown = (Announcement(here, ipaddress.ip_address("192.0.2.2"), True),)
        yield ProxyItrState("xtr-west", 42, "native0", 100, True, "", NOW - 60, shown)
        gone = (Announcement(ipaddress.ip_network("2001:db8::/32"), None, False),)
        yield ProxyItrState("xtr-east", 42, "native0", 50, False, "rlocs-down", NOW - 5, gone)

    def native_ports(self) -> Iterable[NativePortState]:
        some, none = Carried(3, 300), Carried()
        sites = (ipaddress.ip_network("10.1.0.0/16"),)
        yield NativePortState("xtr-west", 42, "native0", True, some, some, none, sites, some, some)
        yield NativePortState("xtr-east", 42, "native0", None, none, none, none, (), none, none)

    def mobile_eids(self, now: float) -> Iterable[MobileEid]:
        return self.mobile

    def alt(self) -> AltState:
        mine = ipaddress.ip_network("10.1.0.0/16")
        near, far = ipaddress.ip_address("10.99.0.1"), ipaddress.ip_address("10.99.0.2")
        outer = ipaddress.ip_address("192.0.2.7")
        tunnel = AltTunnelState("gre1", "alt1", near, far, None, outer, True, True, 2, 7)
        held = (HeldDown(mine, NOW + 60),)
        counted = {"map-requests-out": 5, "alt-no-route": 1}
        down = ("the bridge has no port gre2",)
        return AltState(42, 0xA0, NOW - 60, down, (mine,), held, 2, (tunnel,), counted)

    def alt_routes(self, start: IPNetwork | None) -> Iterator[AltRoute]:
        peer = ipaddress.ip_address("10.99.0.2")
        for text, packets in (("10.2.0.0/16", 5), ("2001:db8:2::/48", None)):
            prefix = ipaddress.ip_network(text)
            if start is None or start.version <= prefix.version:
                yield AltRoute(prefix, peer, peer, (64513, 64514), "gre1", packets)

    def alt_route(self, eid: EidPrefix) -> AltRoute | None:
        return None

    def bgp(self) -> BgpState:
        first, second = map(ipaddress.ip_address, ("10.99.0.2", "192.0.2.9"))
        alt = BgpNeighbourState(first, 64513, BgpScope.ALT, True, NOW - 60, False, True, 40, 2, 100)
        other = BgpNeighbourState(
            second, 64520, BgpScope.UNDERLAY, False, None, True, False, 9, 0, 10
        )
        return BgpState(64512, ipaddress.ip_address("10.99.0.1"), (alt, other))

    def inbound(self) -> Iterable[Inbound]:
        for xtr in self.settings.xtrs:
            for entry in xtr.rlocs:
                yield Inbound(xtr.name, entry.rloc, xtr.site, 1000, entry.priority, entry.weight)


def filled() -> FakeBackend:
    """A backend with a little of everything."""
    backend = FakeBackend()
    east = Mapping(eid("[42] 10.1.0.0/24"), (locator("192.0.2.1"),), authoritative=True)
    west = Mapping(eid("[42] 10.2.0.0/16"), (locator("192.0.2.2", 2, 30),))
    backend.add(
        MappingEntry(east, Origin.REGISTERED, "east"),
        MappingEntry(west, Origin.STATIC),
        MappingEntry(Mapping(eid("2001:db8::/32"), action=Act.DROP_NO_REASON), Origin.STATIC),
    )
    etr = Endpoint(ipaddress.ip_address("192.0.2.1"), 4342)
    times = {"registered": NOW - 500, "refreshed": NOW - 20, "expires": NOW + 160}
    backend.live = [
        RegistrationEntry(east, "east", **times, etr=etr, xtr_id=xtr_id, site_id=7, key_id=1)
        for xtr_id in (2, 1)
    ]
    backend.caches["xtr-west"] = [
        MapCacheEntry(
            eid("[42] 10.1.0.0/24"),
            NOW - 42_445,
            (
                LocatorStatus(locator("192.0.2.1"), LocatorState.UP, NOW - 60),
                LocatorStatus(locator("192.0.2.9", 2, 0), LocatorState.DOWN, NOW - 5),
            ),
            expires=NOW + 390,
            rule="partner",
            packets=7,
            octets=700,
        ),
        MapCacheEntry(
            eid("[42] 10.9.0.0/16"), NOW - 3, action=Act.NATIVELY_FORWARD, expires=NOW + 897
        ),
        MapCacheEntry(eid("[42] 10.8.0.1/32"), NOW - 1, complete=False),
        MapCacheEntry(
            SourceDestPrefix(eid("[42] 10.2.7.0/24"), eid("[42] 10.1.0.0/24")),
            NOW - 3,
            (LocatorStatus(locator("192.0.2.9")),),
        ),
    ]
    backend.states["xtr-east"] = XtrState(
        NOW - 50,
        ("tunnel port lisp0 is missing",),
        (LocatorStatus(locator("192.0.2.1"), LocatorState.UP, NOW - 50, 0.004),),
        (PortInfo(3, "eth1", "02:00:00:00:00:03", True),),
        flows=9,
        groups=1,
        probed=(
            ProbedRloc(ipaddress.ip_address("192.0.2.9"), LocatorState.UP, 0.004),
            ProbedRloc(ipaddress.ip_address("192.0.2.10"), LocatorState.UNREACHABLE, 0.005),
            ProbedRloc(ipaddress.ip_address("192.0.2.11"), LocatorState.UNKNOWN),
        ),
    )
    mac, homes = "02:00:00:00:01:01", ("xtr-east",)
    backend.mobile = [
        MobileEid(eid(text), "xtr-west", "eth1", mac, kind, homes, NOW - since, NOW - 5, 3, *more)
        for text, kind, since, more in (
            ("[42] 10.1.0.7/32", MobileState.AWAY, 90, ()),
            ("[42] 10.1.0.5/32", MobileState.HELD_DOWN, 60, (NOW + 30,)),
            (
                "[42] 10.1.0.6/32",
                MobileState.DUPLICATE,
                60,
                (None, "xtr-east eth1 02:00:00:00:66:66"),
            ),
        )
    ]
    backend.unreachable = ["RLOC 203.0.113.9 does not answer RLOC-probes of xTR xtr-west"]
    backend.problems = [
        "xTR xtr-east: tunnel port lisp0 is missing",
        "xTR xtr-west: the switch is not connected",
    ]
    backend.happened = [
        EventEntry(number, NOW - 10 + number, kind, "[42] 10.1.0.0/24", {"xtr": "xtr-west"})
        for number, kind in enumerate(
            ["registration.added", "map-cache.added", "map-cache.removed"], 1
        )
    ]
    request = (
        (eid("[42] 10.1.0.5/32"),),
        eid("[42] 10.2.0.7/32"),
        (ipaddress.ip_address("192.0.2.2"),),
    )
    backend.exchanged = [
        Exchange(NOW - 3, 0xABC, *request, (east,)),
        Exchange(NOW - 1, 0xDEF, *request, None),
    ]
    backend.refused = [
        Refusal("map-server", "bad_digest", "198.51.100.7:4342", "site east", 3, NOW - 9, NOW - 1),
        Refusal("map-resolver", "truncated", "198.51.100.8:4342", "", 1, NOW - 5, NOW - 5),
    ]
    backend.counts = [
        Counter("map_registers_in", 12.0),
        Counter("dropped", 3.0, (("reason", "bad_digest"), ("where", "map-server"))),
    ]
    flow = FlowRule(
        3,
        100,
        match(eth_type=0x0800, ipv4_dst=ipaddress.ip_network("10.1.0.0/24"), metadata=(42, 0xFFFF)),
        (SetField("tunnel_id", 42), ToGroup(5)),
        cookie=cookie(CookieClass.MAP_CACHE, 77),
        notify_removed=True,
        idle_timeout=300,
    )
    backend.ruleset = Ruleset(
        frozenset({flow, FlowRule(0, 0, ())}),
        frozenset({GroupRule(5, GroupType.SELECT, (Bucket((Output(4),), weight=100),))}),
        frozenset({MeterRule(1, 2000, 200)}),
    )
    return backend


class Client:
    """Calls the API and reads JSON."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.api = Api(backend)
        self.actions: list[Action] = []

    def __call__(
        self, method: str, path: str, body: Any = None, *, now: float = NOW, **headers: str
    ) -> Response:
        """One request. path: below /lisp/v1, with its query. headers: If_Match="..."."""
        path, _, query = path.partition("?")
        pairs = dict(part.split("=", 1) for part in query.split("&") if part)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        request = Request(method, f"/lisp/v1{path}", pairs, sent, data, "198.51.100.1")
        response, self.actions = self.api.handle(request, now)
        return response

    def get(self, path: str) -> Any:
        """The document at a path, which must exist."""
        response = self("GET", path)
        assert response.status == 200, response.body
        return json.loads(response.body)


def problem(response: Response) -> dict[str, Any]:
    """The problem document of a failed request."""
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.body)
    assert document["status"] == response.status >= 400
    assert set(document) == {"type", "title", "status", "detail", "errors"}
    return document
