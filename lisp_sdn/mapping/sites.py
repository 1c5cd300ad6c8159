"""LISP sites as the Map-Server knows them: keys, EID-prefixes, ETRs, limits (RFC 9301 8.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import AuthenticationKey, Config, EidPrefixSettings, SiteSettings
from lisp_sdn.mapping.database import Registrar
from lisp_sdn.mapping.nonces import Nonces
from lisp_sdn.model import Act, Locator
from lisp_sdn.prefixtable import PrefixTable, code_of

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")

MAX_REGISTRARS = 10_000
"""ETRs per site that may hold registrations; every one has shown a valid key."""


class ConfiguredPrefix:
    """An EID-prefix that a site may register. more_specifics: EID-prefixes registered below it."""

    __slots__ = ("code", "eid", "more_specifics", "settings", "site")

    def __init__(self, site: Site, settings: EidPrefixSettings) -> None:
        self.site = site
        self.settings = settings
        self.eid = settings.eid
        self.code = code_of(settings.prefix)
        self.more_specifics = 0

    @property
    def unregistered_action(self) -> Act:
        """What a requester is told while nobody registers it."""
        return Act.from_text(self.settings.unregistered_action)


class Site:
    """A configured site and what changes about it.

    keys: by Key ID. registrars: its ETRs by identity. registrations: live ones.
    last_registration: when the last Map-Register was accepted, epoch seconds.
    """

    __slots__ = (
        "_allowed_rlocs",
        "keys",
        "last_registration",
        "name",
        "nonces",
        "registrars",
        "registrations",
        "settings",
    )

    def __init__(self, settings: SiteSettings) -> None:
        self.name = settings.name
        self.nonces = Nonces(settings.nonce_check)
        self.registrars: dict[tuple[int, int] | str, Registrar] = {}
        self.registrations = 0
        self.last_registration: float | None = None
        self.configure(settings)

    def configure(self, settings: SiteSettings) -> None:
        """Go on under these settings; ETRs, nonces and registrations stay."""
        self.settings = settings
        self.keys = {key.key_id: key for key in settings.authentication_keys}
        self.nonces.rule = settings.nonce_check
        self._allowed_rlocs = settings.allowed_rlocs

    def key(self, key_id: int) -> AuthenticationKey | None:
        """The key with this Key ID."""
        return self.keys.get(key_id)

    def registrar(self, candidate: Registrar) -> Registrar | None:
        """The known ETR with the identity of `candidate`, or `candidate` as a new one.

        None when the site has `MAX_REGISTRARS` ETRs already.
        """
        known = self.registrars.get(candidate.identity)
        if known is not None:
            return known
        if len(self.registrars) >= MAX_REGISTRARS and not self._forget_idle():
            return None
        self.registrars[candidate.identity] = candidate
        return candidate

    def _forget_idle(self) -> bool:
        idle = [name for name, etr in self.registrars.items() if not etr.count]
        for name in idle:
            del self.registrars[name]
        return bool(idle)

    def rloc_problem(self, locators: Iterable[Locator]) -> Refused | None:
        """Why these RLOCs may not be registered; None when they may."""
        for locator in locators:
            rloc = locator.rloc
            if not isinstance(rloc, IPAddress):
                if self._allowed_rlocs:
                    return Refused("rloc-not-allowed", f"{rloc} is no address in allowed_rlocs")
                continue
            if rloc.is_multicast or rloc.is_unspecified or rloc == _BROADCAST:
                return Refused("bad-rloc", f"{rloc} cannot be an RLOC, expected a unicast address")
            if self._allowed_rlocs and not any(rloc in net for net in self._allowed_rlocs):
                allowed = ", ".join(str(net) for net in self._allowed_rlocs)
                return Refused("rloc-not-allowed", f"{rloc} is not in allowed_rlocs ({allowed})")
        return None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why something was refused. reason: stable code. hint: what a person can do about it."""

    reason: str
    hint: str


class ConfiguredPrefixes:
    """The EID-prefixes of all sites, by instance-ID and IP version."""

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], PrefixTable[ConfiguredPrefix]] = {}

    def add(self, prefix: ConfiguredPrefix) -> None:
        """Add an EID-prefix of a site."""
        name = (prefix.eid.iid, prefix.eid.version)
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = PrefixTable(*name)
        table.put(prefix)

    def table(self, iid: int, version: int) -> PrefixTable[ConfiguredPrefix] | None:
        """Those of an instance-ID and IP version."""
        return self._tables.get((iid, version))

    def get(self, eid: EidPrefix) -> ConfiguredPrefix | None:
        """Exactly this one."""
        table = self._tables.get((eid.iid, eid.version))
        return table.get(code_of(eid.network)) if table is not None else None

    def owner(self, eid: EidPrefix) -> ConfiguredPrefix | None:
        """The longest one that covers `eid`."""
        table = self._tables.get((eid.iid, eid.version))
        return table.longest(code_of(eid.network)) if table is not None else None


class Sites:
    """All configured sites, and whose an EID is."""

    def __init__(self, config: Config) -> None:
        self.by_name: dict[str, Site] = {}
        self.prefixes = ConfiguredPrefixes()
        self.configure(config)

    def configure(self, config: Config) -> ConfiguredPrefixes:
        """Go on with the sites of this configuration. Returns the EID-prefixes of before."""
        sites, before = self.by_name, self.prefixes
        self.by_name, self.prefixes = {}, ConfiguredPrefixes()
        for settings in config.sites:
            site = sites.get(settings.name) or Site(settings)
            site.configure(settings)
            self.by_name[settings.name] = site
            for entry in settings.eid_prefixes:
                prefix = ConfiguredPrefix(site, entry)
                known = before.get(prefix.eid)
                prefix.more_specifics = known.more_specifics if known is not None else 0
                self.prefixes.add(prefix)
        return before

    def configured(self, iid: int, version: int) -> PrefixTable[ConfiguredPrefix] | None:
        """The configured EID-prefixes of an instance-ID and IP version."""
        return self.prefixes.table(iid, version)

    def owner(self, eid: EidPrefix) -> ConfiguredPrefix | None:
        """The longest configured EID-prefix that covers `eid`."""
        return self.prefixes.owner(eid)

    def admission(self, site: Site, eid: EidPrefix) -> ConfiguredPrefix | Refused:
        """Whether `site` may register `eid`, and under which configured EID-prefix."""
        owner = self.owner(eid)
        if owner is None:
            return Refused("eid-not-configured", f"no site has an EID-prefix that covers {eid}")
        if owner.site is not site:
            return Refused(
                "eid-of-other-site",
                f"{eid} belongs to {owner.eid} of site {owner.site.name}, not to {site.name}",
            )
        if owner.eid != eid and not owner.settings.accept_more_specifics:
            return Refused(
                "more-specific",
                f"{eid} is more specific than {owner.eid}: set accept_more_specifics to allow it",
            )
        return owner
