"""The Map-Server's half that takes Map-Registers (RFC 9301 sections 5.6, 5.7 and 8.2).

A Map-Register passes through four steps, and each refusal says which and why:

1. whose is it: the sites that own its EID-prefixes, and a key of theirs that fits its MAC;
2. is it new: the nonce rule of the site;
3. which records are allowed: EID-prefix, RLOCs, quotas, map-version (open decision Q-20: the good
   records are taken, the bad ones refused one by one, the Map-Notify names the good ones);
4. note it in the store, then change the database, then acknowledge once the store is durable.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from lisp_sdn.actions import Action, Event, SendControl
from lisp_sdn.address import Endpoint
from lisp_sdn.config import Algorithm
from lisp_sdn.errors import AuthError
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.database import Database, Key, Registrar, Registration, destination_of
from lisp_sdn.mapping.effective import signature
from lisp_sdn.mapping.expiry import ExpiryWheel
from lisp_sdn.mapping.limits import TokenBucket
from lisp_sdn.mapping.plan import Batch, Kind, Plan, Planner, flags_of
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.sites import ConfiguredPrefix, Refused, Site, Sites
from lisp_sdn.mapping.store import Change, Store, StoreFull, Table
from lisp_sdn.wire import EidRecord, MapNotify, MapRegister, OtherEid, auth

CONTROL_PORT = 4342
MAX_CANDIDATES = 4
"""Sites whose keys are tried for one Map-Register."""

REFUSED_EVENTS = 10
"""Events about refused registrations per second; the refusals themselves are all counted."""

EXPIRIES_PER_TIMER = 2000
"""Registrations looked at in one turn of the expiry timer, so that it never holds up requests."""


class Proof(NamedTuple):
    """Whose key fitted. ids: whether the MAC covers xTR-ID and Site-ID."""

    site: Site
    ids: bool


class Outcome(NamedTuple):
    """What a Map-Register, or time, did.

    changed: keys whose answer may differ now, and whether the key came or went. notify: the
    Map-Notify, to be sent once the store is durable up to `seq`.
    """

    actions: list[Action]
    changed: list[tuple[Key, bool]]
    notify: SendControl | None = None
    seq: int = 0


class MapServer:
    """Registrations of all sites."""

    def __init__(self, sites: Sites, database: Database, store: Store, report: Report) -> None:
        self._sites = sites
        self._database = database
        self._store = store
        self._report = report
        self._planner = Planner(sites, database)
        self._wheel = ExpiryWheel()
        # Anybody can cause refusals; the event log must not drown in them.
        self._refused_events = TokenBucket(REFUSED_EVENTS, 5 * REFUSED_EVENTS)

    # --- Map-Register ---

    def register(self, message: MapRegister, data: bytes, source: Endpoint, now: float) -> Outcome:
        """Handle a Map-Register. data: the octets that it was decoded from."""
        self._report.count("map-registers-in")
        proof = self._authenticate(message, data)
        if isinstance(proof, Refused):
            name = "map-registers-in-auth-failed"
            self._report.count(name)
            return self._refuse(message, None, proof, source, now)
        site = proof.site
        if site.settings.shutdown:
            refused = Refused("site-shutdown", "the site is shut down in the configuration")
            return self._refuse(message, site, refused, source, now)
        registrar = site.registrar(Registrar(site, source, message.xtr_id, message.site_id))
        if registrar is None:
            refused = Refused("too-many-etrs", "the site has the most ETRs that one may have")
            return self._refuse(message, site, refused, source, now)
        digest = blake2b(data, digest_size=16).digest()
        if digest == registrar.last and source == registrar.source:
            return self._acknowledge_again(message, registrar, now)
        problem = site.nonces.refusal(
            message.key_id,
            registrar.identity,
            message.nonce,
            plausible=proof.ids or _is_listed(source, message),
        )
        if problem:
            refused = Refused("replayed_nonce", f"{problem} (nonce_check: {site.nonces.rule})")
            self._report.count("map-registers-in-replayed")
            return self._refuse(message, site, refused, source, now)
        return self._take(message, registrar, source, digest, now)

    def _authenticate(self, message: MapRegister, data: bytes) -> Proof | Refused:
        """RFC 9301 section 5.6: whose key made this MAC."""
        sites = self._candidates(message)
        if not sites:
            eids = ", ".join(str(record.eid) for record in message.records[:3]) or "no record"
            return Refused("eid-not-configured", f"{eids}: in no EID-prefix of a site")
        refused: Refused | None = None
        for site in sites:
            found = self._check_mac(site, message, data)
            if isinstance(found, Proof):
                return found
            refused = refused or found
        assert refused is not None
        return refused

    def _candidates(self, message: MapRegister) -> list[Site]:
        sites: dict[str, Site] = {}
        for record in message.records:
            if isinstance(record.eid, OtherEid):
                continue
            owner = self._sites.owner(destination_of(record.eid))
            if owner is not None:
                sites[owner.site.name] = owner.site
                if len(sites) == MAX_CANDIDATES:
                    break
        return list(sites.values())

    def _check_mac(self, site: Site, message: MapRegister, data: bytes) -> Proof | Refused:
        key = site.key(message.key_id)
        if key is None:
            known = ", ".join(str(key_id) for key_id in site.keys)
            return Refused(
                "unknown_key", f"site {site.name} has no Key ID {message.key_id}, only {known}"
            )
        allowed = [algorithm.number for algorithm in site.settings.allowed_algorithms]
        if message.algorithm not in allowed:
            names = ", ".join(site.settings.allowed_algorithms)
            return Refused(
                "algorithm-not-allowed",
                f"site {site.name} allows {names}, not {_algorithm(message.algorithm)}",
            )
        secret = key.key.get_secret_value().encode()
        try:
            scope = auth.verify(data, message, secret, message.algorithm)
        except AuthError as error:
            return Refused(
                error.reason, f"{error}: not made with Key ID {key.key_id} of site {site.name}"
            )
        covered = message.xtr_id is not None and scope is auth.MacScope.MESSAGE
        return Proof(site, covered)

    def _acknowledge_again(self, message: MapRegister, registrar: Registrar, now: float) -> Outcome:
        """Open decision Q-06: the Map-Notify was lost, nothing is processed again."""
        self._report.count("map-registers-in-repeated")
        records = tuple(
            record
            for record in message.records
            if not isinstance(record.eid, OtherEid)
            and (not record.ttl_minutes or self._database.find(record.eid, registrar))
        )
        return Outcome([], [], self._notify(message, registrar, records), self._store.seq)

    def _take(
        self,
        message: MapRegister,
        registrar: Registrar,
        source: Endpoint,
        digest: bytes,
        now: float,
    ) -> Outcome:
        site = registrar.site
        assert site is not None
        batch = self._planner.plan(message, registrar, now)
        actions: list[Action] = []
        for eid, refused in batch.refused:
            actions += self._refusal(eid, site, refused, source, now)
        before = registrar.source, registrar.key_id, registrar.algorithm
        moved = registrar.moves_to(source, message.key_id, message.algorithm)
        try:
            seq = self._store.append(list(self._changes(message, registrar, batch, moved=moved)))
        except StoreFull as error:
            registrar.source, registrar.key_id, registrar.algorithm = before
            return self._refuse(message, site, Refused(error.reason, str(error)), source, now)
        forgotten = site.nonces.accept(message.key_id, registrar.identity, message.nonce)
        if forgotten is not None:
            self._store.append([Change(Table.NONCES, codec.nonce_key(site.name, *forgotten), None)])
        registrar.last = digest
        site.last_registration = now
        flags = flags_of(message)
        changed: list[tuple[Key, bool]] = []
        for plan in batch.plans.values():
            if plan.kind is Kind.REFRESHED:
                assert plan.entry is not None
                plan.entry.refreshed, plan.entry.flags = now, flags
            elif plan.kind is not Kind.ABSENT:
                was = signature(self._database, plan.key)
                actions.append(self._apply(plan, registrar))
                changed += self._difference(plan.key, was)
        notify = self._notify(
            message, registrar, tuple(plan.record for plan in batch.plans.values())
        )
        return Outcome(actions, changed, notify, seq)

    # --- store, database, acknowledgement ---

    def _changes(
        self, message: MapRegister, registrar: Registrar, batch: Batch, *, moved: bool
    ) -> Iterator[Change]:
        """What the store has to keep. moved: the ETR has another address or key than before."""
        site = registrar.site
        assert site is not None
        identity = registrar.identity
        yield Change(
            Table.NONCES,
            codec.nonce_key(site.name, message.key_id, identity),
            codec.nonce_value(message.nonce),
        )
        for plan in batch.plans.values():
            entry = plan.entry if moved and plan.made is None else plan.made
            if plan.kind is Kind.REMOVED:
                value = None
            elif entry is not None:
                value = codec.registration_value(entry, registrar)
            else:
                continue
            name = codec.registration_key(site.name, plan.key, identity)
            yield Change(Table.REGISTRATIONS, name, value)

    def _apply(self, plan: Plan, registrar: Registrar) -> Event:
        made, entry = plan.made, plan.entry
        if plan.kind is Kind.ADDED:
            assert made is not None
            assert plan.owner is not None
            self.insert(plan.key, made, plan.owner)
        elif plan.kind is Kind.CHANGED:
            assert made is not None
            assert entry is not None
            self._update(plan.key, entry, made)
        else:
            self.remove(plan.key, registrar)
        data: dict[str, object] = {
            "site": registrar.site.name if registrar.site else "",
            "etr": str(registrar.source),
        }
        if made is not None:
            data["rlocs"] = made.rloc_set.texts
        return Event(f"registration.{plan.kind.value}", str(plan.key), data)

    def _update(self, key: Key, entry: Registration, made: Registration) -> None:
        timeout = entry.timeout
        entry.refreshed = entry.changed = made.changed
        entry.flags = made.flags
        entry.rloc_set = made.rloc_set
        entry.ttl_minutes = made.ttl_minutes
        entry.map_version = made.map_version
        if entry.timeout != timeout:
            place = self._database.place(key)
            assert place is not None
            self._wheel.schedule(place, entry)

    def _difference(self, key: Key, was: object) -> list[tuple[Key, bool]]:
        """Whether the answer for a key is another one than it was."""
        now_is = signature(self._database, key)
        return [] if now_is == was else [(key, was is None or now_is is None)]

    def insert(
        self, key: Key, entry: Registration, owner: ConfiguredPrefix, *, expires: bool = True
    ) -> None:
        """Put a registration that the site may hold into the database."""
        place = self._database.add(key, entry)
        if expires:
            self._wheel.schedule(place, entry)
        owner.site.registrations += 1
        if entry.next is None and destination_of(key) != owner.eid:
            owner.more_specifics += 1

    def remove(self, key: Key, registrar: Registrar) -> Registration | None:
        """Take a registration out of the database."""
        entry = self._database.remove(key, registrar)
        owner = self._sites.owner(destination_of(key))
        if entry is None or owner is None:
            return entry
        owner.site.registrations -= 1
        if destination_of(key) != owner.eid and self._database.head(key) is None:
            owner.more_specifics -= 1
        return entry

    def _notify(
        self, message: MapRegister, registrar: Registrar, records: tuple[EidRecord, ...]
    ) -> SendControl | None:
        """The acknowledgement (RFC 9301 section 5.7): to port 4342, naming what was accepted."""
        site, source = registrar.site, registrar.source
        if not message.want_notify or not records or site is None or source is None:
            return None
        key = site.key(message.key_id)
        if key is None:
            return None
        data = auth.sign(
            MapNotify(message.nonce, records),
            message.key_id,
            key.key.get_secret_value().encode(),
            message.algorithm,
            full_length=site.settings.mac_length == "full",
        )
        self._report.count("map-notify-records-out", len(records))
        return SendControl(data, Endpoint(source.address, CONTROL_PORT))

    # --- refusals ---

    def _refuse(
        self,
        message: MapRegister,
        site: Site | None,
        refused: Refused,
        source: Endpoint,
        now: float,
    ) -> Outcome:
        eid = message.records[0].eid if message.records else "no record"
        return Outcome(list(self._refusal(eid, site, refused, source, now)), [])

    def _refusal(
        self, eid: object, site: Site | None, refused: Refused, source: Endpoint, now: float
    ) -> Iterator[Action]:
        self._report.count("registrations-refused")
        name = site.name if site else ""
        text = f"site {name}: {eid}: {refused.hint}" if site else f"{eid}: {refused.hint}"
        yield self._report.drop(refused.reason, text, source.address)
        if not self._refused_events.take(now):
            self._report.count("refusal-events-left-out")
            return
        yield Event(
            "registration.refused",
            str(eid),
            {"site": name, "etr": str(source), "reason": refused.reason, "hint": refused.hint},
        )

    # --- expiry ---

    def next_timer(self) -> float | None:
        """When `expire` has work to do, epoch seconds."""
        return self._wheel.next_time()

    def expire(self, now: float) -> Outcome:
        """Remove the registrations that were not refreshed in time (RFC 9301 section 8.2)."""
        actions: list[Action] = []
        changed: list[tuple[Key, bool]] = []
        changes: list[Change] = []
        for place, entry in self._wheel.due(now, EXPIRIES_PER_TIMER):
            key = place.key(entry.code)
            site = entry.registrar.site
            was = signature(self._database, key)
            if site is None or self.remove(key, entry.registrar) is None:
                continue
            changed += self._difference(key, was)
            name = codec.registration_key(site.name, key, entry.registrar.identity)
            changes.append(Change(Table.REGISTRATIONS, name, None))
            self._report.count("registrations-expired")
            data = {"site": site.name, "etr": str(entry.registrar.source)}
            actions.append(Event("registration.expired", str(key), data))
        try:
            self._store.append(changes)
        except StoreFull as error:
            # The next start finds them again and they expire once more: late, not wrong.
            actions.append(self._report.drop(error.reason, str(error), None))
        return Outcome(actions, changed)


def _is_listed(source: Endpoint, message: MapRegister) -> bool:
    """Whether the sender's address is one that it registers; the loopback is our own xTRs."""
    return source.address.is_loopback or any(
        locator.rloc == source.address for record in message.records for locator in record.locators
    )


def _algorithm(number: int) -> str:
    names = {algorithm.number: algorithm.value for algorithm in Algorithm}
    return names.get(number, f"Algorithm ID {number}")
