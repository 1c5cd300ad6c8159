"""The mapping database: who registered which EID-prefix with which RLOC-set.

Made for a million EID-prefixes in one process. A registration is one slotted object; what many
share is shared: the RLOC-set, the ETR that registered, the time of the Map-Register. Several
registrations of one EID-prefix are a linked list whose head is the value in the trie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.model import Act, Locator, locator_sort_key
from lisp_sdn.prefixtable import PrefixTable, code_of

if TYPE_CHECKING:
    from lisp_sdn.mapping.sites import Site

PROXY_REPLY = 1
MERGE = 2
USE_TTL = 4
WANT_NOTIFY = 8

REGISTRATION_TIMEOUT = 180.0
"""Seconds without a valid Map-Register after which one is removed (RFC 9301 section 8.2)."""


class RlocSet:
    """An RLOC-set as it goes into Map-Replies: sorted, L- and p-bits cleared. Shared, immutable.

    records: the RLOC-records as octets, made by the first reply that needs them; None before.
    as_registered: as the last Map-Register had it, so that a refresh is recognised at once.
    """

    __slots__ = ("__weakref__", "_texts", "as_registered", "locators", "records")

    def __init__(self, locators: tuple[Locator, ...]) -> None:
        self.locators = locators
        self.records: bytes | None = None
        self.as_registered: tuple[Locator, ...] | None = None
        self._texts: tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The RLOCs as text."""
        if self._texts is None:
            self._texts = tuple(str(locator.rloc) for locator in self.locators)
        return self._texts


class Registrar:
    """One ETR as one site's Map-Server knows it, told apart as open decision Q-08 says.

    xtr_id, site_id: None without the I-bit; the ETR is then known by its address. source: where
    its last accepted Map-Register came from; Map-Requests are forwarded there. key_id, algorithm:
    of that Map-Register. count: registrations that it holds now. last: fingerprint of its last
    accepted Map-Register.
    """

    __slots__ = (
        "algorithm",
        "count",
        "key_id",
        "last",
        "site",
        "site_id",
        "source",
        "xtr_id",
    )

    def __init__(
        self,
        site: Site | None,
        source: Endpoint | None,
        xtr_id: int | None = None,
        site_id: int | None = None,
    ) -> None:
        self.site = site
        self.source = source
        self.xtr_id = xtr_id
        self.site_id = site_id
        self.key_id = 0
        self.algorithm = 0
        self.count = 0
        self.last = b""

    @property
    def identity(self) -> tuple[int, int] | str:
        """What tells two ETRs of a site apart."""
        if self.xtr_id is not None:
            return (self.site_id or 0, self.xtr_id)
        return str(self.source.address) if self.source else ""

    def moves_to(self, source: Endpoint, key_id: int, algorithm: int) -> bool:
        """Note where a Map-Register came from; whether address or key differ from before."""
        same = (
            self.source is not None
            and self.source.address == source.address
            and self.key_id == key_id
            and self.algorithm == algorithm
        )
        self.source, self.key_id, self.algorithm = source, key_id, algorithm
        return not same


STATIC = Registrar(None, None)
"""The registrar of static mappings."""


class Registration:
    """One ETR's registration of one EID-prefix, or a static mapping (`registrar` is `STATIC`).

    code: see `prefixtable`. flags: PROXY_REPLY, MERGE, USE_TTL, WANT_NOTIFY. registered: when
    first; changed: when its contents last changed; refreshed: last Map-Register. Epoch seconds.
    due: the second in which the expiry wheel looks at it; 0 once it is removed. action: for a
    static mapping without locators. next: another registration of the EID-prefix.
    """

    __slots__ = (
        "action",
        "changed",
        "code",
        "due",
        "flags",
        "map_version",
        "next",
        "refreshed",
        "registered",
        "registrar",
        "rloc_set",
        "ttl_minutes",
    )

    def __init__(
        self,
        code: int,
        registrar: Registrar,
        rloc_set: RlocSet,
        ttl_minutes: int,
        flags: int,
        now: float,
        map_version: int = 0,
        action: Act = Act.NO_ACTION,
    ) -> None:
        self.code = code
        self.registrar = registrar
        self.rloc_set = rloc_set
        self.ttl_minutes = ttl_minutes
        self.flags = flags
        self.registered = self.changed = self.refreshed = now
        self.map_version = map_version
        self.action = action
        self.due = 0
        self.next: Registration | None = None

    @property
    def timeout(self) -> float:
        """Seconds from the last Map-Register to its removal; T-bit: the Record TTL."""
        if self.registrar is STATIC:
            return float("inf")
        return self.ttl_minutes * 60.0 if self.flags & USE_TTL else REGISTRATION_TIMEOUT

    @property
    def expires(self) -> float:
        """When it is removed without another Map-Register."""
        return self.refreshed + self.timeout

    def __iter__(self) -> Iterator[Registration]:
        found: Registration | None = self
        while found is not None:
            yield found
            found = found.next


Key = EidPrefix | SourceDestPrefix
"""What a registration is for: a destination EID-prefix, or a (source, destination) pair."""

RegistrationTable = PrefixTable[Registration]


class SourceKeyed:
    """Registrations of one destination prefix that hold only for certain source EIDs.

    (RFC 8060 section 4.12.) code: of the destination prefix. table: by source prefix.
    """

    __slots__ = ("code", "destination", "table")

    def __init__(self, destination: EidPrefix) -> None:
        self.code = code_of(destination.network)
        self.destination = destination
        self.table: RegistrationTable = PrefixTable(destination.iid, destination.version)

    def key(self, code: int) -> Key:
        """The key of an entry of the table."""
        return SourceDestPrefix(self.table.eid(code), self.destination)


class Family:
    """All registrations of one instance-ID and one IP version.

    table: by destination EID-prefix. keyed: those that depend on the source EID as well.
    """

    __slots__ = ("iid", "keyed", "table", "version")

    def __init__(self, iid: int, version: int) -> None:
        self.iid = iid
        self.version = version
        self.table: RegistrationTable = PrefixTable(iid, version)
        self.keyed: PrefixTable[SourceKeyed] = PrefixTable(iid, version)

    def key(self, code: int) -> Key:
        """The key of an entry of the table."""
        return self.table.eid(code)


Place = Family | SourceKeyed
"""Where a registration lives; together with its code that is its key."""


class Database:
    """Every registration and static mapping, by instance-ID and IP version.

    registered, static: how many there are.
    """

    def __init__(self) -> None:
        self._families: dict[tuple[int, int], Family] = {}
        self._rloc_sets: WeakValueDictionary[tuple[Locator, ...], RlocSet] = WeakValueDictionary()
        self.registered = 0
        self.static = 0

    def families(self) -> Iterable[Family]:
        """All families in order of instance-ID, IPv4 first."""
        return [self._families[key] for key in sorted(self._families)]

    def family(self, iid: int, version: int) -> Family | None:
        """The family, None while nothing was ever registered in it."""
        return self._families.get((iid, version))

    def intern(self, locators: Iterable[Locator]) -> RlocSet:
        """The shared RLOC-set of these locators, in the form in which replies carry it."""
        plain = sorted((_plain(locator) for locator in locators), key=locator_sort_key)
        return self._intern_sorted(tuple(plain))

    def _intern_sorted(self, locators: tuple[Locator, ...]) -> RlocSet:
        found = self._rloc_sets.get(locators)
        if found is None:
            found = RlocSet(locators)
            self._rloc_sets[locators] = found
        return found

    def head(self, key: Key) -> Registration | None:
        """The first registration under exactly this key."""
        place = self.place(key)
        return place.table.get(code_of_key(key)) if place is not None else None

    def find(self, key: Key, registrar: Registrar) -> Registration | None:
        """The registration of this ETR under exactly this key."""
        entry = self.head(key)
        while entry is not None and entry.registrar is not registrar:
            entry = entry.next
        return entry

    def add(self, key: Key, entry: Registration) -> Place:
        """Add a registration; its registrar must not have one under this key yet."""
        place = self._make_place(key)
        entry.next = place.table.get(entry.code)
        if entry.next is None:
            place.table.put_new(entry)
        else:
            place.table.put(entry)
        self._count(entry, 1)
        return place

    def remove(self, key: Key, registrar: Registrar) -> Registration | None:
        """Remove and return the registration of this ETR under this key, if there is one."""
        place = self.place(key)
        head = place.table.get(code_of_key(key)) if place is not None else None
        if place is None or head is None:
            return None
        before: Registration | None = None
        for entry in head:
            if entry.registrar is registrar:
                self._unlink(place, before, entry)
                return entry
            before = entry
        return None

    def _unlink(self, place: Place, before: Registration | None, entry: Registration) -> None:
        if before is not None:
            before.next = entry.next
        elif entry.next is not None:
            place.table.put(entry.next)
        else:
            place.table.remove(entry.code)
            if isinstance(place, SourceKeyed) and not place.table:
                destination = place.destination
                self._families[destination.iid, destination.version].keyed.remove(place.code)
        entry.next = None
        entry.due = 0
        self._count(entry, -1)

    def _count(self, entry: Registration, step: int) -> None:
        if entry.registrar is STATIC:
            self.static += step
        else:
            entry.registrar.count += step
            self.registered += step

    def place(self, key: Key) -> Place | None:
        """Where registrations under this key live, None while there are none."""
        destination = destination_of(key)
        family = self._families.get((destination.iid, destination.version))
        if family is None or isinstance(key, EidPrefix):
            return family
        return family.keyed.get(code_of(destination.network))

    def _make_place(self, key: Key) -> Place:
        destination = destination_of(key)
        name = (destination.iid, destination.version)
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(*name)
        if isinstance(key, EidPrefix):
            return family
        keyed = family.keyed.get(code_of(destination.network))
        if keyed is None:
            keyed = SourceKeyed(destination)
            family.keyed.put(keyed)
        return keyed


def destination_of(key: Key) -> EidPrefix:
    """The destination EID-prefix of a key."""
    return key.destination if isinstance(key, SourceDestPrefix) else key


def code_of_key(key: Key) -> int:
    """The code of a key in the table of its place."""
    return code_of(key.source.network if isinstance(key, SourceDestPrefix) else key.network)


def _plain(locator: Locator) -> Locator:
    """A locator as a proxy reply shows it: L=0, p=0 (RFC 9301 section 5.4)."""
    if locator.local or locator.probed:
        return replace(locator, local=False, probed=False)
    return locator
