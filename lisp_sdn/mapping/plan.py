"""Which records of a Map-Register are accepted, and what each does to the database.

Planning changes nothing, so that a Map-Register can still be refused as a whole when the store is
full. Open decision Q-20: the good records are taken, the bad ones refused one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from lisp_sdn.address import SourceDestPrefix
from lisp_sdn.mapping.database import (
    MERGE,
    PROXY_REPLY,
    USE_TTL,
    WANT_NOTIFY,
    Database,
    Key,
    Registrar,
    Registration,
    RlocSet,
    code_of_key,
    destination_of,
)
from lisp_sdn.mapping.sites import ConfiguredPrefix, Refused, Site, Sites
from lisp_sdn.wire import Eid, EidRecord, MapRegister, OtherEid


class Kind(Enum):
    """What a record of a Map-Register does."""

    ADDED = "added"
    CHANGED = "changed"
    REFRESHED = "refreshed"
    REMOVED = "removed"
    ABSENT = "absent"


@dataclass(slots=True)
class Plan:
    """One accepted record. entry: what is in the database now; made: what it is to become."""

    kind: Kind
    key: Key
    record: EidRecord
    entry: Registration | None = None
    made: Registration | None = None
    owner: ConfiguredPrefix | None = None


@dataclass(slots=True)
class Batch:
    """All records of one Map-Register. adding: how many are new, below: of which under whom."""

    plans: dict[Key, Plan] = field(default_factory=dict)
    refused: list[tuple[Eid, Refused]] = field(default_factory=list)
    adding: int = 0
    below: dict[ConfiguredPrefix, int] = field(default_factory=dict)


class Planner:
    """Judges the records of Map-Registers that are authentic and new."""

    def __init__(self, sites: Sites, database: Database) -> None:
        self._sites = sites
        self._database = database

    def plan(self, message: MapRegister, registrar: Registrar, now: float) -> Batch:
        """What a Map-Register of this ETR will do."""
        batch = Batch()
        flags = flags_of(message)
        for record in message.records:
            plan = self._plan(record, flags, registrar, batch, now)
            if isinstance(plan, Refused):
                batch.refused.append((record.eid, plan))
            else:
                batch.plans[plan.key] = plan
        return batch

    def _plan(
        self, record: EidRecord, flags: int, registrar: Registrar, batch: Batch, now: float
    ) -> Plan | Refused:
        key = record.eid
        if isinstance(key, OtherEid):
            return Refused("unsupported-eid", "only IPv4 and IPv6 EID-prefixes are registered")
        entry = self._database.find(key, registrar)
        if entry is None:
            return self._plan_new(key, record, flags, registrar, batch, now)
        if record.ttl_minutes == 0:
            return Plan(Kind.REMOVED, key, record, entry)
        # What it holds was allowed before, and the configuration has not changed since.
        rloc_set = entry.rloc_set
        if record.locators != rloc_set.as_registered:
            assert registrar.site is not None
            refused = registrar.site.rloc_problem(record.locators)
            if refused is not None:
                return refused
            rloc_set = self._interned(record)
        refused = version_problem(entry.map_version, record.map_version)
        if refused is not None:
            return refused
        if (
            rloc_set is entry.rloc_set
            and entry.ttl_minutes == record.ttl_minutes
            and entry.map_version == record.map_version
            and (entry.flags ^ flags) & ~WANT_NOTIFY == 0
        ):
            return Plan(Kind.REFRESHED, key, record, entry)
        made = _registration(key, record, rloc_set, registrar, flags, now)
        made.registered = entry.registered
        return Plan(Kind.CHANGED, key, record, entry, made)

    def _plan_new(
        self,
        key: Key,
        record: EidRecord,
        flags: int,
        registrar: Registrar,
        batch: Batch,
        now: float,
    ) -> Plan | Refused:
        site = registrar.site
        assert site is not None
        if isinstance(key, SourceDestPrefix) and key.source.version != key.destination.version:
            return Refused("unsupported-eid", "source and destination are of two families")
        owner = self._sites.admission(site, destination_of(key))
        if isinstance(owner, Refused):
            return owner
        if record.ttl_minutes == 0:
            return Plan(Kind.ABSENT, key, record)
        refused = site.rloc_problem(record.locators) or self._quota(site, key, owner, batch)
        if refused is not None:
            return refused
        rloc_set = self._interned(record)
        made = _registration(key, record, rloc_set, registrar, flags, now)
        return Plan(Kind.ADDED, key, record, None, made, owner)

    def _interned(self, record: EidRecord) -> RlocSet:
        rloc_set = self._database.intern(record.locators)
        rloc_set.as_registered = record.locators
        return rloc_set

    def _quota(self, site: Site, key: Key, owner: ConfiguredPrefix, batch: Batch) -> Refused | None:
        """Count one more new registration, if site and EID-prefix have room for it."""
        if key in batch.plans:
            return None
        most = site.settings.max_registrations
        if site.registrations + batch.adding >= most:
            return Refused("too-many-registrations", f"max_registrations is {most}")
        if destination_of(key) != owner.eid and self._database.head(key) is None:
            below = batch.below.get(owner, 0)
            most = owner.settings.max_more_specifics
            if owner.more_specifics + below >= most:
                detail = f"max_more_specifics of {owner.eid} is {most}"
                return Refused("too-many-more-specifics", detail)
            batch.below[owner] = below + 1
        batch.adding += 1
        return None


def flags_of(message: MapRegister) -> int:
    """The bits of a Map-Register that are kept with a registration."""
    return (
        PROXY_REPLY * message.proxy_reply
        | MERGE * message.merge
        | USE_TTL * message.use_ttl
        | WANT_NOTIFY * message.want_notify
    )


def _registration(
    key: Key, record: EidRecord, rloc_set: RlocSet, registrar: Registrar, flags: int, now: float
) -> Registration:
    return Registration(
        code_of_key(key), registrar, rloc_set, record.ttl_minutes, flags, now, record.map_version
    )


def version_problem(stored: int, offered: int) -> Refused | None:
    """RFC 9302 section 5: an old map-version is dropped and logged; 0 means none."""
    if not stored or not offered or stored == offered:
        return None
    # RFC 9302 section 6, serial order in 12 bits; at distance 2048 the larger is newer.
    distance = (offered - stored) & 0xFFF
    if distance < 2048 or (distance == 2048 and offered > stored):
        return None
    return Refused("old-map-version", f"map-version {offered} is older than {stored}")
