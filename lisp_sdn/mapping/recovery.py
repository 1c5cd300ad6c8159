"""Start from the store: nonces and registrations as they were (RFC 9301 section 5.6).

While we were away nobody could refresh a registration with us, so silence says nothing: every
recovered registration gets a full timeout from now. What the configuration no longer allows is
left out and deleted.
"""

from __future__ import annotations

from lisp_sdn.actions import Action, Event
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.database import Database, Registrar, destination_of
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.server import MapServer
from lisp_sdn.mapping.sites import ConfiguredPrefix, Refused, Sites
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
            actions.append(report.drop("store-unreadable", str(error), None, now))
            continue
        site = sites.by_name.get(site_name)
        if site is not None:
            site.nonces.accept(key_id, identity, nonce)
    reader = codec.RegistrationReader(database)
    for key, value in store.load(Table.REGISTRATIONS):
        try:
            refused = _restore(sites, server, reader, key, value, now)
        except StoreError as error:
            refused = Refused("store-unreadable", str(error))
        if refused is not None:
            actions.append(report.drop(refused.reason, refused.hint, None, now))
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
) -> Refused | None:
    site_name, key, identity = codec.read_registration_key(name)
    site = sites.by_name.get(site_name)
    if site is None or site.settings.shutdown:
        return Refused("site-gone", f"{key}: site {site_name} is no longer configured or is down")
    owner = sites.admission(site, destination_of(key))
    if not isinstance(owner, ConfiguredPrefix):
        return owner
    stored = reader.read(value)
    problem = site.rloc_problem(stored.rloc_set.locators)
    if problem is not None:
        return problem
    registrar = site.registrars.get(identity)
    if registrar is None:
        xtr_id, site_id = (None, None) if isinstance(identity, str) else (identity[1], identity[0])
        registrar = site.registrar(Registrar(site, stored.source, xtr_id, site_id))
        if registrar is None:
            return Refused("too-many-etrs", f"{key}: site {site_name} has the most ETRs")
        registrar.key_id, registrar.algorithm = stored.key_id, stored.algorithm
    entry = codec.restored(key, stored, registrar)
    entry.refreshed = now
    server.insert(key, entry, owner)
    return None
