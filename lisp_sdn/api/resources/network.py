"""The controller, its sites and its xTRs: settings and state side by side."""

from __future__ import annotations

from typing import Literal, TypeVar

from lisp_sdn.actions import PortInfo
from lisp_sdn.api.backend import Backend
from lisp_sdn.api.fields import (
    DatapathField,
    EidField,
    Iid,
    Model,
    Octet,
    PrefixField,
    RlocField,
    TimeField,
)
from lisp_sdn.api.paging import Page, Paging, decode_cursor, page_unsorted
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route
from lisp_sdn.config import EidPort, EidPrefixSettings, SiteSettings, XtrSettings
from lisp_sdn.views import LocatorStatus

Named = TypeVar("Named", SiteSettings, XtrSettings)
STATUS_TAG, SITES_TAG, XTRS_TAG = "status", "sites", "xtrs"


class StatusModel(Model):
    """The controller as a whole. problems: what an operator should mend.

    unreachable: RLOCs that lost their uplink or answer no RLOC-probes, a sentence each.
    """

    started: TimeField
    sites: int
    xtrs: int
    xtrs_connected: int
    mappings: int
    registrations: int
    map_cache_entries: int
    pending_resolutions: int
    held_packets: int
    last_event: int
    listen_control: list[str]
    listen_rest: str
    problems: list[str]
    unreachable: list[str]


class EidPrefixModel(Model):
    """An EID-prefix that a site may register."""

    eid: EidField
    accept_more_specifics: bool
    max_more_specifics: int
    unregistered_action: str


class KeyModel(Model):
    """An authentication key, without the key."""

    key_id: Octet
    algorithm: str


class SiteModel(Model):
    """A LISP site: its settings, its xTRs of ours, its state."""

    name: str
    eid_prefixes: list[EidPrefixModel]
    proxy_reply: bool
    allowed_rlocs: list[PrefixField]
    authentication_keys: list[KeyModel]
    allowed_algorithms: list[str]
    nonce_check: str
    mac_length: str
    legacy_actions: bool
    max_registrations: int
    shutdown: bool
    xtrs: list[str]
    registrations: int
    last_registration: TimeField | None


class LocatorStatusModel(Model):
    """One RLOC with its state. rtt_seconds: of the last RLOC-probe."""

    rloc: RlocField
    priority: Octet
    weight: Octet
    state: Literal["up", "drained", "down", "unreachable", "no-route", "unknown"]
    since: TimeField | None
    rtt_seconds: float | None

    @classmethod
    def of(cls, status: LocatorStatus) -> LocatorStatusModel:
        """From the value."""
        return cls.build(
            rloc=status.locator.rloc,
            priority=status.locator.priority,
            weight=status.locator.weight,
            state=status.state.value,
            since=status.since,
            rtt_seconds=status.rtt,
        )


class EidPortModel(Model):
    """An EID-facing port. number, up: as the switch tells them, None while it is away."""

    name: str
    iid: Iid
    gateways: list[str]
    mac: str
    number: int | None
    up: bool | None


class XtrModel(Model):
    """One Open vSwitch. problems: why it does not forward as configured. uplinks: named by RLOCs.

    ovsdb: where its database is.
    """

    name: str
    site: str | None
    datapath_id: DatapathField
    connected: bool
    connected_since: TimeField | None
    problems: list[str]
    rlocs: list[LocatorStatusModel]
    tunnel_port: str
    underlay_bridge: str
    underlay_datapath_id: DatapathField | None
    uplinks: list[str]
    native_ports: list[str]
    ovsdb: str | None
    eid_ports: list[EidPortModel]
    eid_prefixes: list[EidField]
    map_resolvers: list[RlocField]
    map_servers: list[RlocField]
    map_cache_entries: int
    pending_resolutions: int
    held_packets: int
    flows: int
    groups: int
    meters: int


class SitePage(Model):
    """A page of sites, by name."""

    items: list[SiteModel]
    next: str | None


class XtrPage(Model):
    """A page of xTRs, by name."""

    items: list[XtrModel]
    next: str | None


def get_status(call: Call[NoQuery, None]) -> Reply:
    """Counts, listening endpoints, problems."""
    backend, config = call.backend, call.backend.config
    status = backend.status(call.now)
    states = {xtr.name: backend.xtr_state(xtr.name, call.now) for xtr in config.xtrs}
    return Reply(
        StatusModel(
            started=status.started,
            sites=len(config.sites),
            xtrs=len(config.xtrs),
            xtrs_connected=sum(s.connected_since is not None for s in states.values()),
            mappings=status.mappings,
            registrations=status.registrations,
            map_cache_entries=sum(s.map_cache_entries for s in states.values()),
            pending_resolutions=sum(s.pending_resolutions for s in states.values()),
            held_packets=sum(s.held_packets for s in states.values()),
            last_event=status.last_event,
            listen_control=[str(endpoint) for endpoint in config.control.listen],
            listen_rest=str(config.rest.listen),
            problems=list(status.problems),
            unreachable=list(status.unreachable),
        )
    )


def _prefix(entry: EidPrefixSettings) -> EidPrefixModel:
    return EidPrefixModel(
        eid=entry.eid,
        accept_more_specifics=entry.accept_more_specifics,
        max_more_specifics=entry.max_more_specifics,
        unregistered_action=entry.unregistered_action,
    )


def show_site(backend: Backend, site: SiteSettings, now: float) -> SiteModel:
    """A site as REST shows it; the keys stay inside."""
    state = backend.site_state(site.name, now)
    return SiteModel(
        name=site.name,
        eid_prefixes=[_prefix(entry) for entry in site.eid_prefixes],
        proxy_reply=site.proxy_reply,
        allowed_rlocs=list(site.allowed_rlocs),
        authentication_keys=[
            KeyModel(key_id=key.key_id, algorithm=key.algorithm.value)
            for key in site.authentication_keys
        ],
        allowed_algorithms=[algorithm.value for algorithm in site.allowed_algorithms],
        nonce_check=site.nonce_check.value,
        mac_length=site.mac_length,
        legacy_actions=site.legacy_actions,
        max_registrations=site.max_registrations,
        shutdown=site.shutdown,
        xtrs=[xtr.name for xtr in backend.config.xtrs if xtr.site == site.name],
        registrations=state.registrations,
        last_registration=state.last_registration,
    )


def _eid_port(port: EidPort, found: PortInfo | None) -> EidPortModel:
    return EidPortModel(
        name=port.name,
        iid=port.iid,
        gateways=[str(gateway) for gateway in port.gateways],
        mac=port.mac,
        number=found.number if found else None,
        up=found.up if found else None,
    )


def show_xtr(backend: Backend, xtr: XtrSettings, now: float) -> XtrModel:
    """An xTR as REST shows it."""
    state = backend.xtr_state(xtr.name, now)
    ports = {port.name: port for port in state.ports}
    rlocs = state.rlocs or tuple(LocatorStatus(entry.locator) for entry in xtr.rlocs)
    return XtrModel(
        name=xtr.name,
        site=xtr.site,
        datapath_id=xtr.datapath_id,
        connected=state.connected_since is not None,
        connected_since=state.connected_since,
        problems=list(state.problems),
        rlocs=[LocatorStatusModel.of(status) for status in rlocs],
        tunnel_port=xtr.tunnel_port,
        underlay_bridge=xtr.underlay.bridge,
        underlay_datapath_id=xtr.underlay.datapath_id,
        uplinks=sorted({entry.uplink for entry in xtr.rlocs if entry.uplink is not None}),
        native_ports=[port.name for port in xtr.native_ports],
        ovsdb=xtr.ovsdb,
        eid_ports=[_eid_port(port, ports.get(port.name)) for port in xtr.eid_ports],
        eid_prefixes=[entry.eid for entry in backend.config.registered_prefixes(xtr)],
        map_resolvers=list(xtr.map_resolvers),
        map_servers=list(xtr.map_servers),
        map_cache_entries=state.map_cache_entries,
        pending_resolutions=state.pending_resolutions,
        held_packets=state.held_packets,
        flows=state.flows,
        groups=state.groups,
        meters=state.meters,
    )


def list_sites(call: Call[Paging, None]) -> Reply:
    """By name."""
    page = _by_name(call.backend.config.sites, call.query)
    items = [show_site(call.backend, site, call.now) for site in page.items]
    return Reply(SitePage(items=items, next=page.next), next=page.next)


def list_xtrs(call: Call[Paging, None]) -> Reply:
    """By name."""
    page = _by_name(call.backend.config.xtrs, call.query)
    items = [show_xtr(call.backend, xtr, call.now) for xtr in page.items]
    return Reply(XtrPage(items=items, next=page.next), next=page.next)


def _by_name(entries: tuple[Named, ...], query: Paging) -> Page[Named]:
    after = decode_cursor(query.after, (str,)) if query.after is not None else None
    return page_unsorted(entries, lambda entry: (entry.name,), query.limit, after)


def get_site(call: Call[NoQuery, None]) -> Reply:
    """One site."""
    return Reply(show_site(call.backend, call.site(), call.now))


def get_xtr(call: Call[NoQuery, None]) -> Reply:
    """One xTR."""
    return Reply(show_xtr(call.backend, call.xtr(), call.now))


ROUTES = (
    Route("GET", "/status", "Show the controller", get_status, STATUS_TAG, response=StatusModel),
    Route("GET", "/sites", "List sites", list_sites, SITES_TAG, query=Paging, response=SitePage),
    Route("GET", "/sites/{name}", "Show one site", get_site, SITES_TAG, response=SiteModel),
    Route("GET", "/xtrs", "List xTRs", list_xtrs, XTRS_TAG, query=Paging, response=XtrPage),
    Route("GET", "/xtrs/{name}", "Show one xTR", get_xtr, XTRS_TAG, response=XtrModel),
)
