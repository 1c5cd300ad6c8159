"""State from octets: after a restart from the store, in a follower from its leader.

RFC 9301 section 5.6 wants the nonces back. While we were away nobody could refresh a registration
with us, so silence says nothing: every recovered registration gets a full timeout from now. What
the configuration no longer allows is left out and deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisp_sdn.actions import Action, Event
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.database import (
    STATIC,
    Database,
    Key,
    Place,
    Registrar,
    RlocSet,
    destination_of,
)
from lisp_sdn.mapping.effective import signature
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.server import MapServer
from lisp_sdn.mapping.sites import ConfiguredPrefix, Refused, Site, Sites
from lisp_sdn.mapping.store import Change, Store, Table


def recover(
    sites: Sites,
    database: Database,
    server: MapServer,
    store: Store,
    report: Report,
    now: float,
) -> list[Action]:
    """Fill nonces and database from the store. now: epoch seconds."""
    actions: list[Action] = []
    gone: list[Change] = []
    for key, value in store.load(Table.NONCES):
        try:
            site_name, key_id, identity, nonce = codec.read_nonce(key, value)
        except StoreError as error:
            actions.append(report.drop("store-unreadable", str(error), None))
            continue
        site = sites.by_name.get(site_name)
        if site is not None:
            site.nonces.accept(key_id, identity, nonce)
    reader = codec.RegistrationReader(database)
    allowed: set[tuple[Site, RlocSet]] = set()
    for key, value in store.load(Table.REGISTRATIONS):
        try:
            refused = _restore(sites, server, reader, key, value, now, allowed)
        except StoreError as error:
            refused = Refused("store-unreadable", str(error))
        if refused is not None:
            actions.append(report.drop(refused.reason, refused.hint, None))
            gone.append(Change(Table.REGISTRATIONS, key, None))
    store.append(gone)
    if database.registered:
        data = {"registrations": database.registered, "left_out": len(gone)}
        actions.append(Event("registration.recovered", "store", data))
    return actions


def _restore(
    sites: Sites,
    server: MapServer,
    reader: codec.RegistrationReader,
    name: bytes,
    value: bytes,
    now: float,
    allowed: set[tuple[Site, RlocSet]],
) -> Refused | None:
    site_name, key, identity = codec.read_registration_key(name)
    found = _place(sites, site_name, key)
    if isinstance(found, Refused):
        return found
    site, owner = found
    stored = reader.read(value)
    if (site, stored.rloc_set) not in allowed:
        problem = site.rloc_problem(stored.rloc_set.locators)
        if problem is not None:
            return problem
        allowed.add((site, stored.rloc_set))
    registrar = _registrar(site, identity, stored)
    if registrar is None:
        return Refused("too-many-etrs", f"{key}: site {site_name} has the most ETRs")
    entry = codec.restored(key, stored, registrar)
    entry.refreshed = now
    server.insert(key, entry, owner)
    return None


def _place(sites: Sites, name: str, key: Key) -> tuple[Site, ConfiguredPrefix] | Refused:
    site = sites.by_name.get(name)
    if site is None or site.settings.shutdown:
        return Refused("site-gone", f"{key}: site {name} is no longer configured or is shut down")
    owner = sites.admission(site, destination_of(key))
    return owner if isinstance(owner, Refused) else (site, owner)


def _registrar(
    site: Site, identity: tuple[int, int] | str, stored: codec.Stored
) -> Registrar | None:
    registrar = site.registrars.get(identity)
    if registrar is None:
        xtr_id, site_id = (None, None) if isinstance(identity, str) else (identity[1], identity[0])
        registrar = site.registrar(Registrar(site, stored.source, xtr_id, site_id))
    if registrar is not None:
        registrar.source = stored.source
        registrar.key_id, registrar.algorithm = stored.key_id, stored.algorithm
    return registrar


def snapshot(database: Database) -> Iterator[Change]:
    """The changes that make an empty follower hold what `database` holds. Lazy."""
    for place, code in _all_places(database):
        key = place.key(code)
        for entry in place.table.get(code) or ():
            value = codec.registration_value(entry, entry.registrar)
            if entry.registrar is STATIC:
                yield Change(Table.STATIC_MAPPINGS, codec.static_key(key), value)
            elif entry.registrar.site is not None:
                site = entry.registrar.site.name
                name = codec.registration_key(site, key, entry.registrar.identity)
                yield Change(Table.REGISTRATIONS, name, value)


def _all_places(database: Database) -> Iterator[tuple[Place, int]]:
    for family in database.families():
        # Copies of the codes: the database goes on changing while this is read.
        for code in tuple(family.table.codes_from(0)):
            yield family, code
        for destination in tuple(family.keyed.codes_from(0)):
            keyed = family.keyed.get(destination)
            if keyed is not None:
                for code in tuple(keyed.table.codes_from(0)):
                    yield keyed, code


class Follower:
    """Applies the changes of another core to the database of this one."""

    def __init__(self, sites: Sites, database: Database, server: MapServer) -> None:
        self._sites = sites
        self._database = database
        self._server = server
        self._reader = codec.RegistrationReader(database)

    def apply(self, changes: Iterable[Change]) -> list[tuple[Key, bool]]:
        """Make the changes; the keys whose answer differs, and whether each came or went.

        Raises StoreError for octets that are none of ours.
        """
        changed: list[tuple[Key, bool]] = []
        for table, name, value in changes:
            if table is Table.NONCES:
                continue
            if table is Table.STATIC_MAPPINGS:
                key = codec.read_static_key(name)
                was = signature(self._database, key)
                self._apply_static(key, value)
            else:
                site, key, identity = codec.read_registration_key(name)
                was = signature(self._database, key)
                self._apply_registration(site, key, identity, value)
            now_is = signature(self._database, key)
            if now_is != was:
                changed.append((key, was is None or now_is is None))
        return changed

    def _apply_static(self, key: Key, value: bytes | None) -> None:
        self._database.remove(key, STATIC)
        if value is not None:
            self._database.add(key, codec.restored(key, self._reader.read(value), STATIC))

    def _apply_registration(
        self, name: str, key: Key, identity: tuple[int, int] | str, value: bytes | None
    ) -> None:
        found = _place(self._sites, name, key)
        if isinstance(found, Refused):
            return
        site, owner = found
        known = site.registrars.get(identity)
        if known is not None:
            self._server.remove(key, known)
        if value is None:
            return
        stored = self._reader.read(value)
        registrar = _registrar(site, identity, stored)
        if registrar is not None:
            self._server.insert(key, codec.restored(key, stored, registrar), owner, expires=False)
