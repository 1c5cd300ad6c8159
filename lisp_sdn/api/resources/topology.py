"""The network at a glance: sites, xTRs, uplinks, who sends to whom by which RLOC.

One bounded answer, made for a picture that is drawn anew every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from pydantic import Field

from lisp_sdn.address import AnyAddress, EidPrefix, IPAddress
from lisp_sdn.api.backend import Backend
from lisp_sdn.api.fields import EidField, Model, Octet, RlocField, TimeField
from lisp_sdn.api.resources.map_cache import destination
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route
from lisp_sdn.config import SiteSettings, XtrSettings
from lisp_sdn.model import Locator, Requester
from lisp_sdn.views import Inbound, LocatorState, LocatorStatus, MapCacheEntry, XtrState

TAG = "status"

MAX_ENTRIES = 4_000
"""Map-cache entries of all xTRs together that one answer looks at."""

MIN_ENTRIES = 20
"""Map-cache entries of each xTR that are looked at, however many xTRs there are."""

MAX_PREFIXES = 16
"""EID-prefixes of a site that are shown."""

State = Literal["up", "drained", "down", "unreachable", "no-route", "unknown"]


class EidPlace(Model):
    """An EID-prefix of a site. endpoint: an EID of it to trace a packet from or to."""

    eid: EidField
    endpoint: EidField | None


class UplinkModel(Model):
    """One RLOC of a site, as traffic comes in by it. Shares are parts of the site's, 0..1.

    xtr: ours, None for another one. offered: what a requester gets of whom nothing is known.
    told: what the map-caches of our xTRs say, on average. measured: of the octets that came in.
    """

    rloc: RlocField
    xtr: str | None
    state: State
    since: TimeField | None
    priority: Octet
    weight: Octet
    offered: float | None
    told: float | None
    measured: float | None
    octets: int | None = Field(description="received since the controller started")
    octets_per_second: float | None = Field(description="when last looked at")


class SiteTopology(Model):
    """A site with its uplinks. policy: there are rules of its own.

    eid_prefixes: the first 16; more_eid_prefixes: how many others.
    """

    name: str
    eid_prefixes: list[EidPlace]
    more_eid_prefixes: int
    registrations: int
    last_registration: TimeField | None
    shutdown: bool
    policy: bool
    uplinks: list[UplinkModel]


class XtrTopology(Model):
    """An xTR of ours. problems: why it does not forward as configured."""

    name: str
    site: str | None
    connected: bool
    problems: list[str]
    map_cache_entries: int
    pending_resolutions: int


class PathModel(Model):
    """An RLOC that an xTR sends to. share: of the flows to that site, 0..1."""

    rloc: RlocField
    state: State
    rtt_seconds: float | None
    share: float


class LinkModel(Model):
    """What one xTR of ours knows about one site: whom it sends to, and by which RLOC.

    site: None for EIDs of no configured site. entries: map-cache entries; negative: those of
    them without RLOCs; pending: resolutions under way.
    """

    xtr: str
    site: str | None
    entries: int
    negative: int
    pending: int
    paths: list[PathModel]


class TopologyModel(Model):
    """The network at a glance. more: map-caches hold more than was looked at for the links."""

    sites: list[SiteTopology]
    xtrs: list[XtrTopology]
    links: list[LinkModel]
    more: bool


def shares(locators: Iterable[Locator]) -> dict[AnyAddress, float]:
    """The part of the flows that each RLOC gets (RFC 9301 section 5.4): weights of the lowest
    priority; all of them zero means equal parts."""
    usable = [locator for locator in locators if locator.usable]
    best = min((locator.priority for locator in usable), default=0)
    chosen = [locator for locator in usable if locator.priority == best]
    total = sum(locator.weight for locator in chosen)
    if total:
        return {locator.rloc: locator.weight / total for locator in chosen}
    return {locator.rloc: 1 / len(chosen) for locator in chosen}


def _in_use(statuses: Iterable[LocatorStatus]) -> dict[AnyAddress, float]:
    """The same of what an xTR holds: RLOCs that are up, else those that are drained."""
    known = tuple(statuses)
    for state in (LocatorState.UP, LocatorState.DRAINED):
        found = shares(status.locator for status in known if status.state is state)
        if found:
            return found
    return {}


@dataclass
class _Link:
    """A link while it is added up. parts: RLOC -> sum of the shares of all entries."""

    entries: int = 0
    negative: int = 0
    pending: int = 0
    parts: dict[AnyAddress, float] = field(default_factory=dict)
    statuses: dict[AnyAddress, LocatorStatus] = field(default_factory=dict)

    def add(self, entry: MapCacheEntry) -> None:
        """One map-cache entry."""
        if not entry.complete and not entry.locators:
            self.pending += 1
            return
        self.entries += 1
        if not entry.locators:
            self.negative += 1
        for status in entry.locators:
            if status.rtt is not None or status.locator.rloc not in self.statuses:
                self.statuses[status.locator.rloc] = status
        for rloc, share in _in_use(entry.locators).items():
            self.parts[rloc] = self.parts.get(rloc, 0.0) + share

    def model(self, xtr: str, site: str | None) -> LinkModel:
        """As REST shows it."""
        positive = max(self.entries - self.negative, 1)
        return LinkModel.build(
            xtr=xtr,
            site=site,
            entries=self.entries,
            negative=self.negative,
            pending=self.pending,
            paths=[
                PathModel.build(
                    rloc=rloc,
                    state=status.state.value,
                    rtt_seconds=status.rtt,
                    share=round(self.parts.get(rloc, 0.0) / positive, 4),
                )
                for rloc, status in self.statuses.items()
            ],
        )


class _Owners:
    """Which site an EID belongs to."""

    def __init__(self, sites: Iterable[SiteSettings]) -> None:
        self._sites = {entry.eid: site.name for site in sites for entry in site.eid_prefixes}
        lengths = {(eid.network.version, eid.prefixlen) for eid in self._sites}
        self._lengths = sorted(lengths, reverse=True)

    def of(self, eid: EidPrefix) -> str | None:
        """By the longest EID-prefix that covers it."""
        for version, length in self._lengths:
            if version == eid.network.version and length <= eid.prefixlen:
                covering = EidPrefix(eid.iid, eid.network.supernet(new_prefix=length))
                if covering in self._sites:
                    return self._sites[covering]
        return None


_Links = dict[tuple[str, str | None], _Link]
_States = dict[str, XtrState]
_Told = dict[tuple[str, AnyAddress], float]


def _links(backend: Backend, owners: _Owners, now: float) -> tuple[_Links, bool]:
    """(xTR, site) -> link, and whether there is more than was looked at."""
    xtrs = backend.config.xtrs
    each = max(MAX_ENTRIES // max(len(xtrs), 1), MIN_ENTRIES)
    links: _Links = {}
    more = False
    for xtr in xtrs:
        entries = iter(backend.map_cache(xtr.name, now))
        for entry in islice(entries, each):
            site = owners.of(destination(entry.eid))
            links.setdefault((xtr.name, site), _Link()).add(entry)
        more = more or next(entries, None) is not None
    return links, more


def _told(links: _Links) -> _Told:
    """(site, RLOC) -> its part on average of all map-cache entries for the site."""
    parts: _Told = {}
    entries: dict[str, int] = {}
    for (_, site), link in links.items():
        if site is not None and link.entries > link.negative:
            entries[site] = entries.get(site, 0) + link.entries - link.negative
            for rloc, part in link.parts.items():
                parts[site, rloc] = parts.get((site, rloc), 0.0) + part
            for rloc in link.statuses:
                parts.setdefault((site, rloc), 0.0)
    return {key: part / entries[key[0]] for key, part in parts.items()}


@dataclass(frozen=True)
class _Offer:
    """What an unknown requester gets of a site: its RLOCs, and their average part."""

    locators: dict[AnyAddress, Locator]
    parts: dict[AnyAddress, float]


def _offer(backend: Backend, site: SiteSettings, now: float) -> _Offer:
    locators: dict[AnyAddress, Locator] = {}
    found: list[dict[AnyAddress, float]] = []
    for entry in site.eid_prefixes[:MAX_PREFIXES]:
        mapping = backend.answer(entry.eid, Requester(), now).mapping
        if mapping.locators:
            found.append(shares(mapping.locators))
            locators.update({item.rloc: item for item in mapping.locators})
    parts = {rloc: sum(one.get(rloc, 0.0) for one in found) / len(found) for rloc in locators}
    return _Offer(locators, parts)


class _Uplinks:
    """The uplinks of a site: those of our xTRs, then what other ETRs of it registered."""

    def __init__(self, backend: Backend, now: float, links: _Links, states: _States) -> None:
        self._backend = backend
        self._now = now
        self._told = _told(links)
        self._probed = {
            rloc: status for link in links.values() for rloc, status in link.statuses.items()
        }
        self._inbound = {entry.rloc: entry for entry in backend.inbound()}
        self._own: dict[str, list[tuple[str, LocatorStatus]]] = {}
        for xtr in backend.config.xtrs:
            if xtr.site is not None:
                known = states[xtr.name].rlocs or [LocatorStatus(e.locator) for e in xtr.rlocs]
                of_site = self._own.setdefault(xtr.site, [])
                of_site += [(xtr.name, status) for status in known]

    def of(self, site: SiteSettings) -> list[UplinkModel]:
        """In the order of the configuration."""
        own = self._own.get(site.name, [])
        offer = _offer(self._backend, site, self._now)
        known = {status.locator.rloc for _, status in own}
        others = [
            (None, self._probed.get(rloc) or LocatorStatus(locator))
            for rloc, locator in offer.locators.items()
            if rloc not in known
        ]
        came_in = [
            self._inbound[rloc]
            for rloc in known
            if isinstance(rloc, IPAddress) and rloc in self._inbound
        ]
        return [
            self._uplink(site.name, xtr, status, offer, came_in) for xtr, status in (*own, *others)
        ]

    def _uplink(
        self,
        site: str,
        xtr: str | None,
        status: LocatorStatus,
        offer: _Offer,
        came_in: list[Inbound],
    ) -> UplinkModel:
        rloc = status.locator.rloc
        told = self._told.get((site, rloc))
        inbound = self._inbound.get(rloc) if isinstance(rloc, IPAddress) else None
        rate = None if inbound is None else inbound.rate
        return UplinkModel.build(
            rloc=rloc,
            xtr=xtr,
            state=status.state.value,
            since=status.since,
            priority=status.locator.priority,
            weight=status.locator.weight,
            offered=round(offer.parts.get(rloc, 0.0), 4) if offer.parts else None,
            told=None if told is None else round(told, 4),
            measured=_measured(inbound, came_in),
            octets=None if inbound is None else inbound.octets,
            octets_per_second=None if rate is None else round(rate, 1),
        )


def _measured(inbound: Inbound | None, came_in: list[Inbound]) -> float | None:
    """The part of an RLOC in what comes in now; None while nothing does."""
    total = sum(entry.rate or 0.0 for entry in came_in)
    if inbound is None or not total:
        return None
    return round((inbound.rate or 0.0) / total, 4)


def _places(backend: Backend, owners: Iterable[SiteSettings]) -> dict[EidPrefix, EidPrefix]:
    """EID-prefix of a site -> an EID in it; where a host was seen, that one."""
    prefixes = {entry.eid for site in owners for entry in site.eid_prefixes}
    lengths = {eid.prefixlen for eid in prefixes}
    found: dict[EidPrefix, EidPrefix] = {}
    for place in sorted(backend.endpoints(), key=lambda place: not place.known):
        for length in lengths:
            if length <= place.eid.prefixlen:
                covering = EidPrefix(place.eid.iid, place.eid.network.supernet(new_prefix=length))
                if covering in prefixes:
                    found.setdefault(covering, place.eid)
    return found


def _sites(backend: Backend, links: _Links, states: _States, now: float) -> Iterator[SiteTopology]:
    config = backend.config
    uplinks = _Uplinks(backend, now, links, states)
    places = _places(backend, config.sites)
    policies = {policy.site for policy in backend.policy.policies}
    for site in config.sites:
        state = backend.site_state(site.name, now)
        yield SiteTopology.build(
            name=site.name,
            eid_prefixes=[
                EidPlace.build(eid=entry.eid, endpoint=places.get(entry.eid))
                for entry in site.eid_prefixes[:MAX_PREFIXES]
            ],
            more_eid_prefixes=max(len(site.eid_prefixes) - MAX_PREFIXES, 0),
            registrations=state.registrations,
            last_registration=state.last_registration,
            shutdown=site.shutdown,
            policy=site.name in policies,
            uplinks=uplinks.of(site),
        )


def _xtr(xtr: XtrSettings, state: XtrState) -> XtrTopology:
    return XtrTopology.build(
        name=xtr.name,
        site=xtr.site,
        connected=state.connected_since is not None,
        problems=list(state.problems),
        map_cache_entries=state.map_cache_entries,
        pending_resolutions=state.pending_resolutions,
    )


def get_topology(call: Call[NoQuery, None]) -> Reply:
    """Everything at once."""
    backend, now = call.backend, call.now
    config = backend.config
    links, more = _links(backend, _Owners(config.sites), now)
    states = {xtr.name: backend.xtr_state(xtr.name, now) for xtr in config.xtrs}
    return Reply(
        TopologyModel.build(
            sites=list(_sites(backend, links, states, now)),
            xtrs=[_xtr(xtr, states[xtr.name]) for xtr in config.xtrs],
            links=[link.model(xtr, site) for (xtr, site), link in links.items()],
            more=more,
        )
    )


ROUTES = (
    Route(
        "GET",
        "/topology",
        "Show the network at a glance: sites, uplinks with their shares, who sends to whom",
        get_topology,
        TAG,
        response=TopologyModel,
    ),
)
