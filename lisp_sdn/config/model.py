"""The whole configuration as one frozen value."""

from __future__ import annotations

import ipaddress
from typing import Literal

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.alt_settings import AltSettings, BgpSettings
from lisp_sdn.config.limits import Limits, Reachability
from lisp_sdn.config.mobility import MobilitySettings, Subnet, mobile_subnets
from lisp_sdn.config.sites import EidPrefixSettings, SiteSettings, StaticMapping
from lisp_sdn.config.xtrs import UsePetr, XtrSettings
from lisp_sdn.guard_settings import GleaningSettings, SourceGuardSettings
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.rest_settings import RestSettings
from lisp_sdn.settings import EndpointField, Settings


class ControlSettings(Settings):
    """LISP control sockets (UDP).

    listen: where Map-Registers and Map-Requests are taken.
    """

    listen: tuple[EndpointField, ...] = (
        Endpoint(ipaddress.IPv4Address("0.0.0.0"), 4342),
        Endpoint(ipaddress.IPv6Address("::"), 4342),
    )


class StoreSettings(Settings):
    """Where registrations and nonces are kept. path: SQLite file; None keeps them in memory."""

    path: str | None = None


class LogSettings(Settings):
    """Log lines. format: text for people, or json: one document a line. level: the least wanted."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Settings):
    """The whole configuration.

    sites: LISP sites that register here. xtrs: the switches that we are ITR and ETR for. mappings:
    configured instead of registered. use_petr: Proxy-ETRs, by instance-ID. policies: ingress
    policy, one for each site. control: the LISP control sockets. rest: the REST interface. store:
    what outlives a restart. limits: every bound. log: log lines. bgp: the BGP speaker. alt: what is
    announced into the ALT. reachability: which RLOCs carry traffic. source_guard: who may send for
    which source EID. gleaning: map-cache entries from received packets. mobility: hosts that
    move between ports and sites.
    """

    sites: tuple[SiteSettings, ...] = ()
    xtrs: tuple[XtrSettings, ...] = ()
    mappings: tuple[StaticMapping, ...] = ()
    use_petr: tuple[UsePetr, ...] = ()
    policies: tuple[SitePolicy, ...] = ()
    control: ControlSettings = ControlSettings()
    rest: RestSettings = RestSettings()
    store: StoreSettings = StoreSettings()
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    bgp: BgpSettings | None = None
    alt: AltSettings | None = None
    reachability: Reachability = Reachability()
    source_guard: SourceGuardSettings = SourceGuardSettings()
    gleaning: GleaningSettings = GleaningSettings()
    mobility: MobilitySettings = MobilitySettings()

    def site(self, name: str) -> SiteSettings | None:
        """The site of this name."""
        return next((site for site in self.sites if site.name == name), None)

    def owned_prefixes(self) -> tuple[EidPrefix, ...]:
        """Every EID-prefix that is ours to answer for: of sites and of static mappings."""
        sites = [entry.eid for site in self.sites for entry in site.eid_prefixes]
        return (*sites, *(mapping.mapping.eid for mapping in self.mappings))

    def registered_prefixes(self, xtr: XtrSettings) -> tuple[EidPrefixSettings, ...]:
        """The EID-prefixes that this xTR registers."""
        if xtr.eid_prefixes or xtr.site is None:
            return xtr.eid_prefixes
        site = self.site(xtr.site)
        return site.eid_prefixes if site else ()

    @property
    def mobile_subnets(self) -> tuple[Subnet, ...]:
        """The subnets whose EIDs may roam."""
        return mobile_subnets(self.xtrs, self.mobility)

    def subnets_at(self, xtr: XtrSettings) -> tuple[Subnet, ...]:
        """Those whose EIDs may come to this xTR."""
        comes = any(port.allow_mobility for port in xtr.eid_ports)
        return self.mobile_subnets if comes else ()

    def owner(self, eid: EidPrefix) -> tuple[SiteSettings, EidPrefixSettings] | None:
        """The site whose EID-prefix covers an EID-prefix, the most specific one."""
        found = [
            (site, entry)
            for site in self.sites
            for entry in site.eid_prefixes
            if entry.eid.covers(eid)
        ]
        return max(found, key=lambda item: item[1].eid.prefixlen, default=None)
