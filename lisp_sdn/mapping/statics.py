"""Static mappings: configured ones, and those that an operator sets at runtime."""

from __future__ import annotations

from lisp_sdn.actions import Action, Event
from lisp_sdn.address import EidPrefix
from lisp_sdn.config import Config
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.database import (
    STATIC,
    Database,
    Key,
    Registration,
    code_of_key,
    destination_of,
)
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.store import Change, Store, Table
from lisp_sdn.model import Mapping


class Statics:
    """The static mappings in the database; those set at runtime outlive a restart."""

    def __init__(self, config: Config, database: Database, store: Store, report: Report) -> None:
        self._database = database
        self._store = store
        self._report = report
        self._configured: dict[EidPrefix, Mapping] = {}
        self._set: set[EidPrefix] = set()
        self.configure(config, 0.0)

    def configure(self, config: Config, now: float) -> list[EidPrefix]:
        """Go on with the static mappings of this configuration; those set at runtime win.

        Returns the EID-prefixes whose mapping is another one, came or went.
        """
        before = self._configured
        self._configured = {entry.mapping.eid: entry.mapping for entry in config.mappings}
        changed = [
            eid
            for eid in before.keys() | self._configured.keys()
            if eid not in self._set and before.get(eid) != self._configured.get(eid)
        ]
        for eid in changed:
            mapping = self._configured.get(eid)
            if mapping is None:
                self._database.remove(eid, STATIC)
            else:
                self._put(eid, self._entry(mapping, now))
        return changed

    def recover(self, now: float) -> list[Action]:
        """Read back those set at runtime; they win over the configured ones."""
        reader = codec.RegistrationReader(self._database)
        actions: list[Action] = []
        for name, value in self._store.load(Table.STATIC_MAPPINGS):
            try:
                key, stored = codec.read_static_key(name), reader.read(value)
            except StoreError as error:
                actions.append(self._report.drop("store-unreadable", str(error), None))
                continue
            self._put(key, codec.restored(key, stored, STATIC))
            self._set.add(destination_of(key))
        return actions

    def put(self, mapping: Mapping, now: float) -> Event:
        """Add or replace. Raises StoreError when it cannot be kept."""
        entry = self._entry(mapping, now)
        value = codec.registration_value(entry, STATIC)
        self._store.append([Change(Table.STATIC_MAPPINGS, codec.static_key(mapping.eid), value)])
        self._put(mapping.eid, entry)
        self._set.add(mapping.eid)
        rlocs = [str(locator.rloc) for locator in mapping.locators]
        return Event("mapping.set", str(mapping.eid), {"rlocs": rlocs})

    def remove(self, eid: EidPrefix, now: float) -> Event:
        """Remove. Raises LookupError when there is none, StoreError when it cannot be kept."""
        if self._database.find(eid, STATIC) is None:
            raise LookupError(f"{eid} has no static mapping")
        self._store.append([Change(Table.STATIC_MAPPINGS, codec.static_key(eid), None)])
        self._database.remove(eid, STATIC)
        self._set.discard(eid)
        return Event("mapping.removed", str(eid))

    def _put(self, key: Key, entry: Registration) -> None:
        self._database.remove(key, STATIC)
        self._database.add(key, entry)

    def _entry(self, mapping: Mapping, now: float) -> Registration:
        return Registration(
            code_of_key(mapping.eid),
            STATIC,
            self._database.intern(mapping.locators),
            mapping.ttl_minutes,
            0,
            now,
            mapping.map_version,
            mapping.action,
        )
