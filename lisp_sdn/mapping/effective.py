"""What several registrations of one EID-prefix amount to.

Three kinds of effective RLOC-set (RFC 9301 section 5.6, open decision Q-08):

- a static mapping wins over every registration of exactly its EID-prefix;
- the newest registration without the merge bit is taken as it is, newest by its last *change*, so
  that two ETRs that refresh in turn do not make the answer flap;
- otherwise the union of all registrations with the merge bit.
"""

from __future__ import annotations

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.mapping.database import (
    MERGE,
    PROXY_REPLY,
    STATIC,
    Database,
    Family,
    Key,
    Registration,
    SourceKeyed,
)
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire.understood import ip_of


def effective(head: Registration, database: Database) -> Registration:
    """The registration that answers for its EID-prefix; made up for a union of several."""
    if head.next is None:
        return head
    newest = head
    for entry in head:
        if entry.registrar is STATIC:
            return entry
        if (entry.changed, str(entry.registrar.identity)) > (
            newest.changed,
            str(newest.registrar.identity),
        ):
            newest = entry
    if not newest.flags & MERGE:
        return newest
    return _union([entry for entry in head if entry.flags & MERGE], newest, database)


def _union(entries: list[Registration], newest: Registration, database: Database) -> Registration:
    by_rloc: dict[object, Locator] = {}
    flags = 0
    for entry in sorted(entries, key=lambda e: (e.changed, str(e.registrar.identity))):
        flags |= entry.flags
        for locator in entry.rloc_set.locators:
            by_rloc[locator.rloc] = locator
    return Registration(
        newest.code,
        newest.registrar,
        database.intern(by_rloc.values()),
        min(entry.ttl_minutes for entry in entries),
        flags,
        newest.changed,
        newest.map_version,
    )


def signature(database: Database, key: Key) -> tuple[object, ...] | None:
    """What an answer for this key depends on: two equal ones are the same answer."""
    head = database.head(key)
    if head is None:
        return None
    entry = effective(head, database)
    proxy = proxy_wanted(head)
    etrs = () if proxy else tuple(e.registrar for e in head)
    # Replaced registrations are no part of the answer, but their ETRs may send (see `origins`).
    senders = rlocs_of(head) if head.next is not None else None
    answer = (entry.rloc_set, entry.ttl_minutes, entry.action, entry.map_version, proxy, etrs)
    return (*answer, senders)


def rlocs_of(head: Registration | None) -> frozenset[IPAddress]:
    """The RLOCs of every registration of one key, also of those that another one replaces."""
    return frozenset(
        rloc
        for entry in head or ()
        for locator in entry.rloc_set.locators
        if (rloc := ip_of(locator.rloc)) is not None
    )


def proxy_wanted(head: Registration) -> bool:
    """Whether any registered ETR asked for proxy replies (RFC 9301 section 8.3)."""
    return any(entry.flags & PROXY_REPLY or entry.registrar is STATIC for entry in head)


def mapping_of(eid: EidPrefix, entry: Registration) -> Mapping:
    """A registration as the value that policy and views work with."""
    return Mapping(
        eid,
        entry.rloc_set.locators,
        entry.ttl_minutes,
        entry.action,
        map_version=entry.map_version,
    )


def match_keyed(
    family: Family, code: int, source_code: int | None
) -> tuple[SourceKeyed, Registration] | None:
    """The longest destination, then the longest source match among source-keyed registrations."""
    if source_code is None or not family.keyed:
        return None
    for keyed in family.keyed.covering(code):
        found = keyed.table.longest(source_code)
        if found is not None:
            return keyed, found
    return None
