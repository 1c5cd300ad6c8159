"""The verdicts of the source guard: may an RLOC send for a source EID?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config
from lisp_sdn.mapping.origins import Origins
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.xtr.requests import Verify
from lisp_sdn.xtr.verdicts import ProxyItrs, SourceReason, SourceVerdict


class Senders:
    """A function of the mapping database and the configuration; keeps nothing.

    An RLOC may send for an EID that is registered with it, or as one of our own xTRs of the EID's
    site, or where the site's policy may and does name RLOCs that are not registered; a Proxy-ITR
    for what is no EID at all; an xTR of ours that hosts may leave for all EIDs of the instance-ID.
    policies: those in force.
    """

    def __init__(
        self,
        config: Config,
        mapping: MapSystem,
        policies: Callable[[], tuple[SitePolicy, ...]] = tuple,
    ) -> None:
        self._mapping = mapping
        self._policies = policies
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go by another configuration."""
        self._proxies = ProxyItrs.of(config)
        # EIDs that are unknown here may be known to whom our Map-Resolver asks in turn.
        self._asks_others = config.alt is not None
        own: defaultdict[str, set[IPAddress]] = defaultdict(set)
        for xtr in config.xtrs:
            if xtr.site is not None:
                own[xtr.site].update(entry.rloc for entry in xtr.rlocs)
        self._own = {site: frozenset(rlocs) for site, rlocs in own.items()}
        # What arrives for a host that has left is encapsulated once more, see `xtr.mobile_rules`.
        self._relays = {
            (port.iid, entry.rloc)
            for xtr in config.xtrs
            for port in xtr.eid_ports
            if port.allow_mobility
            for entry in xtr.rlocs
        }

    def judge(self, asked: Verify) -> SourceVerdict | None:
        """None: not known here, only a Map-Request can tell."""
        found = self._mapping.origins(asked.eid)
        if not found.registered and found.site is None:
            if self._proxies.may_send(asked.eid.iid, asked.rloc):
                return SourceVerdict(found.eid)
            return None if self._asks_others else SourceVerdict(found.eid, SourceReason.UNKNOWN)
        return SourceVerdict(found.eid, self._reason(found, asked.rloc))

    def _reason(self, found: Origins, rloc: IPAddress) -> SourceReason | None:
        if rloc in found.rlocs:
            return None
        if (found.eid.iid, rloc) in self._relays:
            return None
        if not found.registered:
            return SourceReason.NOT_REGISTERED
        site = found.site
        if site is not None and (rloc in self._own.get(site, ()) or self._named(site, rloc)):
            return None
        return SourceReason.RLOC_MISMATCH

    def _named(self, site: str, rloc: IPAddress) -> bool:
        return any(
            rloc == named
            for policy in self._policies()
            if policy.site == site and policy.allow_unregistered_rlocs
            for rule in policy.rules
            for _, named in rule.action.rlocs()
        )
