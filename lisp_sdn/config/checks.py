"""What the fields alone cannot show: references, duplicates, overlaps."""

from __future__ import annotations

from collections.abc import Iterator

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.alt_settings import check_alt, check_bgp
from lisp_sdn.config.mobility_checks import check_mobility
from lisp_sdn.config.model import Config
from lisp_sdn.config.policy_checks import check_policies
from lisp_sdn.config.proxies import check_native, proxy_etr
from lisp_sdn.config.references import no_site, unique
from lisp_sdn.config.xtrs import XtrSettings
from lisp_sdn.guard_settings import check_guard
from lisp_sdn.rest_settings import check_rest
from lisp_sdn.settings import Problem


def check(config: Config) -> Iterator[Problem]:
    """What the fields alone cannot show: references, duplicates, overlaps."""
    yield from unique("sites", "name", [site.name for site in config.sites])
    yield from unique("xtrs", "name", [xtr.name for xtr in config.xtrs])
    yield from _check_prefixes(config)
    yield from _check_keys(config)
    yield from _check_datapaths(config)
    for index, xtr in enumerate(config.xtrs):
        yield from _check_xtr(config, f"xtrs[{index}]", xtr)
        yield from check_native(config, f"xtrs[{index}]", xtr)
    yield from _check_petrs(config)
    yield from check_mobility(config)
    yield from check_policies(config, config.policies)
    yield from check_rest(config.rest, [site.name for site in config.sites])
    yield from check_guard(config.source_guard)
    if config.bgp is not None:
        yield from check_bgp(config.bgp)
    if config.alt is not None:
        yield from check_alt(config.alt, config.bgp, config.owned_prefixes())


def _check_prefixes(config: Config) -> Iterator[Problem]:
    owners: dict[EidPrefix, str] = {}
    for s, site in enumerate(config.sites):
        for p, entry in enumerate(site.eid_prefixes):
            path = f"sites[{s}].eid_prefixes[{p}].prefix"
            if entry.eid in owners:
                yield path, f"{entry.eid} is already {owners[entry.eid]}"
            else:
                owners[entry.eid] = path
    seen: dict[EidPrefix, str] = {}
    for m, mapping in enumerate(config.mappings):
        path = f"mappings[{m}].eid_prefix"
        eid = mapping.mapping.eid
        if eid in seen:
            yield path, f"{eid} is already {seen[eid]}"
        seen.setdefault(eid, path)


def _check_keys(config: Config) -> Iterator[Problem]:
    for s, site in enumerate(config.sites):
        path = f"sites[{s}].authentication_keys"
        ids = [str(key.key_id) for key in site.authentication_keys]
        yield from unique(path, "key_id", ids)
        for k, key in enumerate(site.authentication_keys):
            if key.algorithm not in site.allowed_algorithms:
                yield f"{path}[{k}].algorithm", f"{key.algorithm} is not in allowed_algorithms"


def _check_datapaths(config: Config) -> Iterator[Problem]:
    named: list[tuple[str, int | None]] = []
    for x, xtr in enumerate(config.xtrs):
        named.append((f"xtrs[{x}].datapath_id", xtr.datapath_id))
        named.append((f"xtrs[{x}].underlay.datapath_id", xtr.underlay.datapath_id))
    if config.alt is not None and config.alt.bridge is not None:
        named.append(("alt.bridge.datapath_id", config.alt.bridge.datapath_id))
    owners: dict[int, str] = {}
    for path, number in named:
        if number is None:
            continue
        if number in owners:
            yield path, f"{number:016x} is already {owners[number]}"
        else:
            owners[number] = path
    rlocs: dict[IPAddress, str] = {}
    for x, xtr in enumerate(config.xtrs):
        for r, locator in enumerate(xtr.rlocs):
            path = f"xtrs[{x}].rlocs[{r}].rloc"
            mistake = _rloc_problem(locator.rloc)
            if locator.next_hop is not None and locator.next_hop.version != locator.rloc.version:
                yield (
                    f"xtrs[{x}].rlocs[{r}].next_hop",
                    f"{locator.next_hop} is not of the family of {locator.rloc}",
                )
            if mistake:
                yield path, mistake
            elif locator.rloc in rlocs:
                yield path, f"{locator.rloc} is already {rlocs[locator.rloc]}"
            rlocs.setdefault(locator.rloc, path)


def _rloc_problem(rloc: IPAddress) -> str | None:
    """RFC 9301 section 5.4: an RLOC is never broadcast or link-local multicast."""
    if rloc.is_multicast or rloc.is_unspecified or str(rloc) == "255.255.255.255":
        return f"{rloc} cannot be an RLOC, expected a unicast address"
    return None


def _check_xtr(config: Config, path: str, xtr: XtrSettings) -> Iterator[Problem]:
    site = config.site(xtr.site) if xtr.site else None
    if xtr.site and site is None:
        yield f"{path}.site", no_site(xtr.site, [s.name for s in config.sites])
    yield from unique(f"{path}.eid_ports", "name", [port.name for port in xtr.eid_ports])
    if site:
        owned = [entry.eid for entry in site.eid_prefixes]
        for p, entry in enumerate(xtr.eid_prefixes):
            if not any(own.covers(entry.eid) for own in owned):
                yield f"{path}.eid_prefixes[{p}].prefix", f"{entry.eid} is not of site {site.name}"
    registered = [entry.eid for entry in config.registered_prefixes(xtr)]
    for p, port in enumerate(xtr.eid_ports):
        for g, gateway in enumerate(port.gateways):
            subnet = EidPrefix(port.iid, gateway.network)
            if not any(own.covers(subnet) for own in registered):
                yield (
                    f"{path}.eid_ports[{p}].gateways[{g}]",
                    f"subnet {subnet} is in no EID-prefix that this xTR registers",
                )
    for key, addresses in (("map_resolvers", xtr.map_resolvers), ("map_servers", xtr.map_servers)):
        for a, address in enumerate(addresses):
            if any(own.contains(address) for own in registered if own.iid == 0):
                yield f"{path}.{key}[{a}]", f"{address} is an EID of this site, expected an RLOC"


def _check_petrs(config: Config) -> Iterator[Problem]:
    own = {entry.rloc: xtr for xtr in config.xtrs for entry in xtr.rlocs}
    names = {xtr.name for xtr in config.xtrs}
    seen: dict[tuple[int, str | None], str] = {}
    for p, petr in enumerate(config.use_petr):
        for x, name in enumerate(petr.xtrs):
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                yield f"use_petr[{p}].xtrs[{x}]", f"{name!r} is not an xTR; configured: {known}"
        for whom in petr.xtrs or (None,):
            first = seen.setdefault((petr.iid, whom), f"use_petr[{p}]")
            if first != f"use_petr[{p}]":
                whose = "" if whom is None else f" for xTR {whom}"
                yield f"use_petr[{p}].iid", f"'{petr.iid}' is already {first}{whose}"
        rlocs = [entry.rloc for entry in petr.locators]
        yield from unique(f"use_petr[{p}].locators", "rloc", [str(rloc) for rloc in rlocs])
        for r, rloc in enumerate(rlocs):
            path = f"use_petr[{p}].locators[{r}].rloc"
            mistake = _rloc_problem(rloc)
            if mistake:
                yield path, mistake
            elif rloc in own and proxy_etr(own[rloc], petr.iid) is None:
                message = f"{rloc} is of xTR {own[rloc].name}, which is no Proxy-ETR"
                yield path, f"{message} of instance-ID {petr.iid}"
