"""Another configuration of the sites: which registrations it still admits.

Only EID-prefixes that came, went, or are under other settings than before are looked at; every
other registration stays without being touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisp_sdn.actions import Action, Event
from lisp_sdn.address import EidPrefix
from lisp_sdn.config import Config, SiteSettings
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.database import STATIC, Database, Key, Registration, destination_of
from lisp_sdn.mapping.sites import ConfiguredPrefixes, Refused, Sites
from lisp_sdn.mapping.store import Change, Store, Table
from lisp_sdn.prefixtable import code_of

_HOW_ONLY = {
    "authentication_keys",
    "eid_prefixes",
    "allowed_algorithms",
    "nonce_check",
    "mac_length",
    "max_registrations",
}
"""Settings of a site that say how it registers, and nothing about what it has registered."""


def readmit(
    sites: Sites, database: Database, store: Store, old: Config, new: Config
) -> tuple[list[Action], list[EidPrefix]]:
    """Let `sites` follow from `old` to `new`.

    Returns what happened, and the EID-prefixes in which answers may differ.
    """
    regions = _outermost(_changed(old, new))
    before = sites.configure(new)
    refused = [
        (key, entry, problem)
        for region in regions
        for key, head in _inside(database, region)
        for entry in head
        if (problem := _refusal(sites, key, entry)) is not None
    ]
    # Deletions only: a store takes them also when it is full.
    store.append([_deletion(key, entry) for key, entry, _ in refused])
    actions: list[Action] = []
    for region in regions:
        for key, head in _inside(database, region):
            if any(entry.registrar is not STATIC for entry in head):
                _count(before, key, -1, sites)
    for key, entry, problem in refused:
        database.remove(key, entry.registrar)
        site = entry.registrar.site
        assert site is not None
        site.registrations -= 1
        data = {"site": site.name, "etr": str(entry.registrar.source), "reason": problem.reason}
        actions.append(Event("registration.removed", str(key), data))
    for region in regions:
        for key, head in _inside(database, region):
            if any(entry.registrar is not STATIC for entry in head):
                _count(sites.prefixes, key, 1, sites)
    return actions, regions


def _changed(old: Config, new: Config) -> Iterator[EidPrefix]:
    """The configured EID-prefixes that came, went, or are under other settings."""
    before, after = _settings(old), _settings(new)
    for eid in before.keys() | after.keys():
        if before.get(eid) != after.get(eid):
            yield eid


def _settings(config: Config) -> dict[EidPrefix, tuple[object, object]]:
    return {entry.eid: (_what(site), entry) for site in config.sites for entry in site.eid_prefixes}


def _what(site: SiteSettings) -> dict[str, object]:
    return {name: getattr(site, name) for name in SiteSettings.model_fields.keys() - _HOW_ONLY}


def _outermost(prefixes: Iterable[EidPrefix]) -> list[EidPrefix]:
    found: list[EidPrefix] = []
    for eid in sorted(prefixes):
        if not found or not found[-1].covers(eid):
            found.append(eid)
    return found


def _inside(database: Database, region: EidPrefix) -> Iterator[tuple[Key, list[Registration]]]:
    """Every key in an EID-prefix, with its registrations. Copies: they may be removed."""
    family = database.family(region.iid, region.version)
    if family is None:
        return
    code = code_of(region.network)
    for inside in (code, *family.table.codes_inside(code)):
        head = family.table.get(inside)
        if head is not None:
            yield family.key(inside), list(head)
    for inside in (code, *family.keyed.codes_inside(code)):
        keyed = family.keyed.get(inside)
        for source in tuple(keyed.table.codes_from(0)) if keyed is not None else ():
            head = keyed.table.get(source) if keyed is not None else None
            if keyed is not None and head is not None:
                yield keyed.key(source), list(head)


def _refusal(sites: Sites, key: Key, entry: Registration) -> Refused | None:
    site = entry.registrar.site
    if entry.registrar is STATIC or site is None:
        return None
    if sites.by_name.get(site.name) is not site:
        return Refused("site-gone", f"{key}: site {site.name} is no longer configured")
    if site.settings.shutdown:
        return Refused("site-shutdown", f"{key}: site {site.name} is shut down")
    admitted = sites.admission(site, destination_of(key))
    if isinstance(admitted, Refused):
        return admitted
    return site.rloc_problem(entry.rloc_set.locators)


def _deletion(key: Key, entry: Registration) -> Change:
    site = entry.registrar.site
    assert site is not None
    name = codec.registration_key(site.name, key, entry.registrar.identity)
    return Change(Table.REGISTRATIONS, name, None)


def _count(prefixes: ConfiguredPrefixes, key: Key, step: int, sites: Sites) -> None:
    """Count a key among the more-specifics of the configured EID-prefix that it belongs to."""
    destination = destination_of(key)
    owner = prefixes.owner(destination)
    counted = sites.prefixes.get(owner.eid) if owner is not None else None
    if counted is not None and counted.eid != destination:
        counted.more_specifics += step
