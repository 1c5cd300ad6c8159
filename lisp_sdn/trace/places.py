"""Which xTR and port an EID is behind, and EIDs that stand for each place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.alt_views import AltRoute
from lisp_sdn.config import Config, EidPort, XtrSettings
from lisp_sdn.config.interworking import NativePort
from lisp_sdn.config.proxies import proxies
from lisp_sdn.model import Answer, Requester
from lisp_sdn.policy import Explanation
from lisp_sdn.rules import Ruleset
from lisp_sdn.trace.values import Endpoint
from lisp_sdn.views import MapCacheEntry, MappingEntry, SiteState, XtrState
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.verdicts import SourceVerdict


class Core(Protocol):
    """An xTR of ours, as far as one packet needs it. `lisp_sdn.xtr.xtr.Xtr` is one."""

    def state(self) -> XtrState:
        """Connection, ports, RLOCs."""

    def local_eid(self, iid: int, address: IPAddress) -> Host | None:
        """The host with this EID, if one was seen here."""

    def is_away(self, iid: int, address: IPAddress) -> bool:
        """Whether it is known that this EID is at another xTR (host mobility)."""

    def local_eids(self) -> Iterable[Host]:
        """The hosts that were seen here."""

    def cached(self, iid: int, source: IPAddress, destination: IPAddress) -> MapCacheEntry | None:
        """The map-cache entry for a packet, or the resolution that it would wait for."""

    def rules_for(
        self,
        iid: int,
        source: IPAddress,
        destination: IPAddress,
        verified: IPAddress | None = None,
    ) -> Ruleset:
        """The rules that the switch should hold and this packet can meet.

        verified: an RLOC whose source guard verdict is taken to allow this source already.
        """


class Snapshot:
    """A core whose state is put together once: counting its rules takes time."""

    def __init__(self, core: Core) -> None:
        self._state: XtrState | None = None
        self._core = core
        self.local_eid = core.local_eid
        self.is_away = core.is_away
        self.local_eids = core.local_eids
        self.cached = core.cached
        self.rules_for = core.rules_for

    def state(self) -> XtrState:
        """As it was when it was first asked for."""
        if self._state is None:
            self._state = self._core.state()
        return self._state


class Explaining(Protocol):
    """The ingress policies."""

    def explain(self, eid: EidPrefix, requester: Requester, at: float) -> Explanation | None:
        """Why a requester gets his answer; None when nothing is registered."""


class Network(Protocol):
    """What is known centrally. now: epoch seconds."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def policy(self) -> Explaining:
        """The ingress policies."""

    def site_state(self, name: str, now: float) -> SiteState:
        """The state of a configured site."""

    def mapping(self, eid: EidPrefix, now: float) -> MappingEntry | None:
        """The entry of the mapping database with exactly this EID-prefix."""

    def requester(self, xtr: str, source: EidPrefix | None) -> Requester:
        """As whom an xTR of ours asks."""

    def answer(self, eid: EidPrefix, requester: Requester, now: float) -> Answer:
        """What it would be answered."""

    def alt_route(self, eid: EidPrefix) -> AltRoute | None:
        """By which a Map-Request for an EID travels over the ALT; None where it does not."""

    def judge(self, xtr: str, source: EidPrefix, rloc: IPAddress) -> SourceVerdict | None:
        """What the source guard of an xTR would find; None: it has to ask, or does not guard."""


@dataclass(frozen=True, slots=True)
class Place:
    """An EID-facing port whose connected subnet holds an EID, or where it was seen.

    host: as it was seen, if it was. home: whether the subnet is the port's; else the host roams.

    Or the native port of a Proxy-ITR, for a source that is not LISP.
    """

    xtr: XtrSettings
    port: EidPort | NativePort
    host: Host | None
    home: bool = True

    @property
    def outside(self) -> bool:
        """Whether the source is not LISP."""
        return isinstance(self.port, NativePort)


def places(config: Config, cores: Mapping[str, Core], iid: int, address: IPAddress) -> list[Place]:
    """Where an EID may be, the likeliest first: seen there, switch connected, as configured."""
    found: list[tuple[bool, int, bool, int, Place]] = []
    for xtr in config.xtrs:
        for port in xtr.eid_ports:
            lengths = [g.network.prefixlen for g in port.gateways if address in g.network]
            if port.iid != iid or not (lengths or port.allow_mobility):
                continue
            core = cores[xtr.name]
            state = core.state()
            host = core.local_eid(iid, address)
            info = port_info(state, port.name)
            here = host if host and info and host.port == info.number else None
            if here is None and not lengths:
                continue
            longest = max(lengths, default=0)
            order = (here is None, -longest, state.connected_since is None, len(found))
            found.append((*order, Place(xtr, port, here, home=bool(lengths))))
    return [place for *_, place in sorted(found, key=lambda item: item[:4])]


def gates(
    config: Config, cores: Mapping[str, Core], source: EidPrefix, destination: IPAddress
) -> list[Place]:
    """The Proxy-ITRs that attract packets for a destination, those whose switch is there first."""
    found = [
        Place(xtr, port, None)
        for xtr, port, role in proxies(config)
        if port.iid == source.iid
        and any(destination in prefix for prefix in role.eid_prefixes)
        and owner(config, source) is None
        and not other_iids(config, source.iid, source.network.network_address)
    ]
    return sorted(found, key=lambda gate: cores[gate.xtr.name].state().connected_since is None)


def other_iids(config: Config, iid: int, address: IPAddress) -> list[str]:
    """Where the same address is an EID of another instance-ID, in words."""
    return [
        f"instance-ID {port.iid} (xTR {xtr.name}, port {port.name})"
        for xtr in config.xtrs
        for port in xtr.eid_ports
        if port.iid != iid and any(address in gateway.network for gateway in port.gateways)
    ]


def gateway_of(xtr: XtrSettings, iid: int, address: IPAddress) -> str | None:
    """The name of the port whose gateway address this is."""
    for port in xtr.eid_ports:
        if port.iid == iid and any(gateway.ip == address for gateway in port.gateways):
            return port.name
    return None


def port_info(state: XtrState, name: str) -> PortInfo | None:
    """A port as the switch tells it."""
    return next((port for port in state.ports if port.name == name), None)


def longest(network: Network, eid: EidPrefix, now: float) -> MappingEntry | None:
    """The most specific entry of the mapping database that covers an EID."""
    for length in range(eid.prefixlen, -1, -1):
        wider = eid.network.supernet(new_prefix=length)
        entry = network.mapping(EidPrefix(eid.iid, wider), now)
        if entry is not None:
            return entry
    return None


def owner(config: Config, eid: EidPrefix) -> str | None:
    """The site whose EID-prefix covers an EID, the most specific one."""
    found = [
        (entry.eid.prefixlen, site.name)
        for site in config.sites
        for entry in site.eid_prefixes
        if entry.eid.covers(eid)
    ]
    return max(found)[1] if found else None


def endpoints(config: Config, cores: Mapping[str, Core]) -> Iterator[Endpoint]:
    """One EID for each xTR, instance-ID and family; one for each EID-prefix of other sites."""
    for xtr in config.xtrs:
        yield from _of_xtr(xtr, cores[xtr.name])
    ours = {xtr.site for xtr in config.xtrs}
    for site in config.sites:
        if site.name not in ours:
            for entry in site.eid_prefixes:
                yield Endpoint(_first(entry.eid), site.name, None, False)


def _of_xtr(xtr: XtrSettings, core: Core) -> Iterator[Endpoint]:
    seen: dict[tuple[int, int], IPAddress] = {}
    for host in core.local_eids():
        key = (host.iid, host.address.version)
        if key not in seen or int(host.address) < int(seen[key]):
            seen[key] = host.address
    told: set[tuple[int, int]] = set()
    for port in xtr.eid_ports:
        for gateway in port.gateways:
            key = (port.iid, gateway.version)
            if key in told:
                continue
            told.add(key)
            known = seen.get(key)
            subnet = EidPrefix(port.iid, gateway.network)
            eid = EidPrefix.host(port.iid, known) if known else _first(subnet, gateway.ip)
            yield Endpoint(eid, xtr.site, xtr.name, known is not None)


def _first(prefix: EidPrefix, gateway: IPAddress | None = None) -> EidPrefix:
    """The lowest host address that is not the gateway."""
    network = prefix.network
    spare = network.num_addresses > 2
    for offset in (1, 2) if spare else (0, 1):
        if offset < network.num_addresses and network[offset] != gateway:
            return EidPrefix.host(prefix.iid, network[offset])
    return EidPrefix.host(prefix.iid, network[0])
