"""Who is who: which site owns an EID-prefix, and to which site a requester belongs."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6

import pytricia

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.config import Config
from lisp_sdn.model import Requester


@dataclass(frozen=True, slots=True)
class KnownXtr:
    """An xTR of ours, as a requester."""

    name: str
    site: str | None
    rlocs: tuple[IPAddress, ...]

    @property
    def requester(self) -> Requester:
        """How it asks."""
        return Requester(itr_rlocs=self.rlocs, xtr=self.name, authenticated=True)


@dataclass(frozen=True, slots=True)
class Sites:
    """The lookups that policy needs. Immutable: build a new one when something registers.

    eids: EID-prefix -> name of the site that owns it. rlocs: underlay prefix -> site behind it,
    the longest match counts. xtrs: ours.
    """

    eids: Mapping[EidPrefix, str] = field(default_factory=dict)
    rlocs: Mapping[IPNetwork, str] = field(default_factory=dict)
    xtrs: tuple[KnownXtr, ...] = ()
    _owners: dict[tuple[int, int], pytricia.PyTricia] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _rlocs4: pytricia.PyTricia = field(
        init=False, repr=False, compare=False, default_factory=lambda: lpm(4)
    )
    _rlocs6: pytricia.PyTricia = field(
        init=False, repr=False, compare=False, default_factory=lambda: lpm(6)
    )
    _by_xtr: dict[str, KnownXtr] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for eid, name in self.eids.items():
            key = (eid.iid, eid.version)
            if key not in self._owners:
                self._owners[key] = lpm(eid.version)
            self._owners[key][eid.network] = name
        for network, name in self.rlocs.items():
            (self._rlocs4 if network.version == 4 else self._rlocs6)[network] = name
        self._by_xtr.update((xtr.name, xtr) for xtr in self.xtrs)

    @classmethod
    def from_config(
        cls, config: Config, registered: Mapping[IPAddress, str] | None = None
    ) -> Sites:
        """From the configuration. registered: RLOC -> site, as the Map-Server knows it.

        `allowed_rlocs` count as the site's RLOCs unless they are the default route, which says
        only that the site may register anything.
        """
        rlocs: dict[IPNetwork, str] = {}
        for site in config.sites:
            for network in site.allowed_rlocs:
                if network.prefixlen:
                    rlocs.setdefault(network, site.name)
        for rloc, name in (registered or {}).items():
            rlocs[ipaddress.ip_network(rloc)] = name
        for xtr in config.xtrs:
            for entry in xtr.rlocs:
                if xtr.site:
                    rlocs[ipaddress.ip_network(entry.rloc)] = xtr.site
        eids = {entry.eid: site.name for site in config.sites for entry in site.eid_prefixes}
        for xtr in config.xtrs:
            for prefix in config.registered_prefixes(xtr):
                if xtr.site:
                    eids.setdefault(prefix.eid, xtr.site)
        known = tuple(
            KnownXtr(xtr.name, xtr.site, tuple(entry.rloc for entry in xtr.rlocs))
            for xtr in config.xtrs
        )
        return cls(eids, rlocs, known)

    def owner(self, eid: EidPrefix) -> str | None:
        """The site whose EID-prefix covers this one."""
        trie = self._owners.get((eid.iid, eid.version))
        if trie is None:
            return None
        return trie.get((eid.network.network_address.packed, eid.prefixlen))  # type: ignore[no-any-return]

    def of_rloc(self, rloc: IPAddress) -> str | None:
        """The site behind an RLOC."""
        return (self._rlocs4 if rloc.version == 4 else self._rlocs6).get(rloc)  # type: ignore[no-any-return]

    def of_xtr(self, name: str) -> str | None:
        """The site of one of our xTRs."""
        xtr = self._by_xtr.get(name)
        return xtr.site if xtr else None

    def prefixes(self, site: str) -> tuple[EidPrefix, ...]:
        """The EID-prefixes of a site."""
        return tuple(eid for eid, name in self.eids.items() if name == site)


def lpm(version: int) -> pytricia.PyTricia:
    """An empty longest-prefix-match table for one address family."""
    return pytricia.PyTricia(32, AF_INET) if version == 4 else pytricia.PyTricia(128, AF_INET6)
