"""Where a query ends: registered, configured but not registered, or nowhere (RFC 9301 8.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lisp_sdn.address import EidPrefix
from lisp_sdn.mapping.database import Database, Family, Registration, SourceKeyed
from lisp_sdn.mapping.effective import match_keyed
from lisp_sdn.mapping.holes import Neighbours, free_length
from lisp_sdn.mapping.sites import ConfiguredPrefix, Sites
from lisp_sdn.prefixtable import BITS, PrefixTable, code_of, eid_of, last_inside, shorten


@dataclass(frozen=True, slots=True)
class Match:
    """What the mapping database says about one EID.

    eid: the EID-prefix that matched; the query itself when nothing did. head: its registrations.
    configured: the configured EID-prefix when it is the longer match and nobody registered it.
    source: the source prefix of a source-keyed match. alone: the widest prefix around the query
    for which the same holds, inside `eid`; None when there are more-specifics inside the query.
    """

    eid: EidPrefix
    head: Registration | None = None
    configured: ConfiguredPrefix | None = None
    source: EidPrefix | None = None
    alone: EidPrefix | None = None


class Lookup:
    """Longest match over registrations, static mappings and configured EID-prefixes."""

    def __init__(self, sites: Sites, database: Database) -> None:
        self._sites = sites
        self._database = database

    def match(self, eid: EidPrefix, source: EidPrefix | None) -> Match:
        """The longest match for `eid`, asked for by the source EID `source`, if one is known."""
        code = code_of(eid.network)
        family = self._database.family(eid.iid, eid.version)
        configured_table = self._sites.configured(eid.iid, eid.version)
        head = family.table.longest(code) if family is not None else None
        keyed = self._keyed(family, code, eid, source)
        configured = configured_table.longest(code) if configured_table is not None else None
        length = head.code & 0xFF if head is not None else -1
        keyed_source: EidPrefix | None = None
        if keyed is not None and keyed[0].code & 0xFF >= length:
            place, head = keyed
            length = place.code & 0xFF
            keyed_source = place.table.eid(head.code)
        if configured is not None and configured.code & 0xFF > length:
            head, keyed_source = None, None
            length = configured.code & 0xFF
        else:
            configured = None
        alone = free_length(code, self._tables(eid.iid, eid.version), max(length, 0))
        return Match(
            eid if length < 0 else _cut(eid, code, length),
            head,
            configured,
            keyed_source,
            None if alone is None else _cut(eid, code, alone),
        )

    def _keyed(
        self, family: Family | None, code: int, eid: EidPrefix, source: EidPrefix | None
    ) -> tuple[SourceKeyed, Registration] | None:
        if family is None or source is None or not family.keyed:
            return None
        if source.iid != eid.iid or source.version != eid.version:
            return None
        return match_keyed(family, code, code_of(source.network))

    def _tables(self, iid: int, version: int) -> Iterator[Neighbours]:
        family = self._database.family(iid, version)
        if family is not None:
            yield family.table
            if family.keyed:
                yield family.keyed
        configured = self._sites.configured(iid, version)
        if configured is not None:
            yield configured

    def source_scope(self, match: Match, eid: EidPrefix, source: EidPrefix) -> EidPrefix | None:
        """For which source EIDs around `source` the match for `eid` holds; None: for all.

        Where source-keyed registrations cover `eid`, it is the widest source prefix around
        `source` that holds none of their source prefixes and stays inside the one that matched.
        """
        family = self._database.family(eid.iid, eid.version)
        if family is None or not family.keyed or source.iid != eid.iid:
            return None
        tables = [
            keyed.table
            for keyed in family.keyed.covering(code_of(eid.network))
            if keyed.code & 0xFF >= match.eid.prefixlen and keyed.table.version == source.version
        ]
        if not tables:
            return None
        code = code_of(source.network)
        length = free_length(code, tables, match.source.prefixlen if match.source else 0)
        return source if length is None else _cut(source, code, length)

    def more_specifics(self, eid: EidPrefix, limit: int) -> list[EidPrefix] | None:
        """Every registered EID-prefix inside `eid`, in order.

        None when there are more than `limit`, or when some of them cannot be said in plain
        EID-records beside a less-specific one: not registered, or keyed by source EID.
        """
        code = code_of(eid.network)
        family = self._database.family(eid.iid, eid.version)
        configured = self._sites.configured(eid.iid, eid.version)
        if family is None:
            return None
        if family.keyed and _any_inside(family.keyed, code):
            return None
        found: list[EidPrefix] = []
        for inside in family.table.codes_inside(code):
            if len(found) == limit:
                return None
            found.append(family.table.eid(inside))
        if configured is not None:
            for inside in configured.codes_inside(code):
                if family.table.get(inside) is None:
                    return None
        return found


def _any_inside(table: PrefixTable[SourceKeyed], code: int) -> bool:
    return next(table.codes_from(code), last_inside(code, table.bits) + 1) <= last_inside(
        code, table.bits
    )


def _cut(eid: EidPrefix, code: int, length: int) -> EidPrefix:
    """The prefix of `length` bits that covers `code`, in the table of `eid`."""
    return eid_of(eid.iid, eid.version, shorten(code, length, BITS[eid.version]))
