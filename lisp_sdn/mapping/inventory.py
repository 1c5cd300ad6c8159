"""What REST and CLI see of the mapping database: lazily, in order, from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby

from lisp_sdn.address import EidPrefix
from lisp_sdn.mapping.database import (
    MERGE,
    PROXY_REPLY,
    STATIC,
    WANT_NOTIFY,
    Database,
    Family,
    Registration,
)
from lisp_sdn.mapping.effective import effective, mapping_of
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.sites import Sites
from lisp_sdn.prefixtable import code_of
from lisp_sdn.views import Counter, MappingEntry, Origin, RegistrationEntry, SiteState


class Inventory:
    """Reads the database; changes and counts nothing."""

    def __init__(self, sites: Sites, database: Database, report: Report) -> None:
        self._sites = sites
        self._database = database
        self._report = report

    @property
    def registrations_now(self) -> int:
        """Live registrations."""
        return self._database.registered

    @property
    def static_now(self) -> int:
        """Static mappings."""
        return self._database.static

    def site_state(self, name: str) -> SiteState:
        """The state of a configured site. Raises KeyError."""
        site = self._sites.by_name[name]
        return SiteState(site.registrations, site.last_registration)

    def mapping(self, eid: EidPrefix) -> MappingEntry | None:
        """The entry with exactly this EID-prefix."""
        head = self._database.head(eid)
        return None if head is None else self._mapping_entry(eid, head)

    def mappings(self, start: EidPrefix | None) -> Iterator[MappingEntry]:
        """Entries in the order of `EidPrefix.sort_key`, from `start` on."""
        for family, code in self._families(start):
            for found in family.table.codes_from(code):
                head = family.table.get(found)
                assert head is not None
                yield self._mapping_entry(family.table.eid(found), head)

    def holds(self, eid: EidPrefix) -> bool:
        """Whether an EID-prefix inside of `eid`, or `eid` itself, is registered or static."""
        mapping = next(self.mappings(eid), None)
        if mapping is not None and eid.covers(mapping.mapping.eid):
            return True
        # Those for certain source EIDs only are not among the mappings.
        registration = next(self.registrations(eid), None)
        return registration is not None and eid.covers(registration.mapping.eid)

    def registrations(self, start: EidPrefix | None) -> Iterator[RegistrationEntry]:
        """Live registrations in the order of their EID-prefixes, from `start` on.

        Those of one EID-prefix by ETR, those for certain source EIDs only last.
        """
        for family, code in self._families(start):
            codes = merge(family.table.codes_from(code), family.keyed.codes_from(code))
            for found, _ in groupby(codes):
                yield from _entries(family.table.eid(found), family.table.get(found), None)
                keyed = family.keyed.get(found)
                for source in keyed.table.codes_from(0) if keyed is not None else ():
                    assert keyed is not None
                    head = keyed.table.get(source)
                    yield from _entries(keyed.destination, head, keyed.table.eid(source))

    def counters(self) -> Iterator[Counter]:
        """Counters, named after draft-ietf-lisp-yang."""
        for name, value in sorted(self._report.counters.items()):
            yield Counter(name, value)
        for (site, rule), value in sorted(self._report.rule_hits.items()):
            yield Counter("policy-rule-hits", value, (("rule", rule), ("site", site)))

    def _families(self, start: EidPrefix | None) -> Iterator[tuple[Family, int]]:
        """The families in order, and the code from which on each one is wanted."""
        for family in self._database.families():
            name = (family.iid, family.version)
            if start is None or name > (start.iid, start.version):
                yield family, 0
            elif name == (start.iid, start.version):
                yield family, code_of(start.network)

    def _mapping_entry(self, eid: EidPrefix, head: Registration) -> MappingEntry:
        entry = effective(head, self._database)
        static = entry.registrar is STATIC
        site = entry.registrar.site
        if site is None:
            owner = self._sites.owner(eid)
            site = owner.site if owner is not None else None
        return MappingEntry(
            mapping_of(eid, entry),
            Origin.STATIC if static else Origin.REGISTERED,
            site.name if site is not None else None,
        )


def _entries(
    eid: EidPrefix, head: Registration | None, source: EidPrefix | None
) -> Iterator[RegistrationEntry]:
    entries = [entry for entry in head or () if entry.registrar is not STATIC]
    for entry in sorted(entries, key=lambda found: str(found.registrar.identity)):
        yield _registration_entry(eid, entry, source)


def _registration_entry(
    eid: EidPrefix, entry: Registration, source: EidPrefix | None
) -> RegistrationEntry:
    etr = entry.registrar
    return RegistrationEntry(
        mapping_of(eid, entry),
        site=etr.site.name if etr.site is not None else "",
        registered=entry.registered,
        refreshed=entry.refreshed,
        expires=entry.expires,
        etr=etr.source,
        xtr_id=etr.xtr_id,
        site_id=etr.site_id,
        key_id=etr.key_id,
        proxy_reply=bool(entry.flags & PROXY_REPLY),
        want_map_notify=bool(entry.flags & WANT_NOTIFY),
        merge=bool(entry.flags & MERGE),
        source=source,
    )
