"""Sites, EID-prefixes and RLOCs that a policy names."""

from __future__ import annotations

from collections.abc import Iterator

from lisp_sdn.config.model import Config
from lisp_sdn.config.references import no_site, unique
from lisp_sdn.config.sites import SiteSettings
from lisp_sdn.policy_settings import PolicyRule, SitePolicy
from lisp_sdn.settings import Problem


def check_policies(config: Config, policies: tuple[SitePolicy, ...]) -> Iterator[Problem]:
    """What a policy's fields alone cannot show: sites, EID-prefixes and RLOCs that it names."""
    yield from unique("policies", "site", [policy.site for policy in policies])
    sites = [site.name for site in config.sites]
    for p, policy in enumerate(policies):
        site = config.site(policy.site)
        if site is None:
            yield f"policies[{p}].site", no_site(policy.site, sites)
            continue
        for r, rule in enumerate(policy.rules):
            path = f"policies[{p}].rules[{r}]"
            for m, name in enumerate(rule.match.sites):
                if config.site(name) is None:
                    yield f"{path}.match.sites[{m}]", no_site(name, sites)
            yield from _check_policy_eids(path, rule, site)
            if not policy.allow_unregistered_rlocs:
                yield from _check_policy_rlocs(config, path, rule, site)


def _check_policy_eids(path: str, rule: PolicyRule, site: SiteSettings) -> Iterator[Problem]:
    owned = [entry.eid for entry in site.eid_prefixes]
    for e, eid in enumerate(rule.match.eid_prefixes):
        if not any(own.covers(eid) or eid.covers(own) for own in owned):
            known = ", ".join(map(str, owned)) or "none"
            message = f"{eid} holds no EID of site {site.name}; its EID-prefixes: {known}"
            yield f"{path}.match.eid_prefixes[{e}]", message
    for i, iid in enumerate(rule.match.iids):
        if all(own.iid != iid for own in owned):
            message = f"{iid} is no instance-ID of site {site.name}"
            yield f"{path}.match.iids[{i}]", message


def _check_policy_rlocs(
    config: Config, path: str, rule: PolicyRule, site: SiteSettings
) -> Iterator[Problem]:
    own = {entry.rloc for xtr in config.xtrs if xtr.site == site.name for entry in xtr.rlocs}
    if not site.allowed_rlocs:
        return  # the site may register any RLOC; the engine judges by what it did register
    for part, rloc in rule.action.rlocs():
        if rloc not in own and all(rloc not in network for network in site.allowed_rlocs):
            yield (
                f"{path}.action.{part}",
                f"{rloc} is no RLOC that site {site.name} may register; name one in its "
                "allowed_rlocs or set allow_unregistered_rlocs",
            )
