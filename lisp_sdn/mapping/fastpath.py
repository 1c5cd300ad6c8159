"""Map-Requests answered from octets that are ready: the same answers, several times as fast.

`MapSystem.receive` decodes, looks up, asks the policy and encodes. What it answers to the usual
Map-Request (one host EID, in an ECM, answered with one EID-record) depends on the registration
that matches and on the class of the requester, as the policy sees it. The fast path keeps the
encoded EID-record by these two, learns it from the full path's own Map-Reply, and forgets it when
`MappingChanged` says that an answer may have changed. Everything else it leaves to the full path.

Limits are in force: the same buckets are taken from as by the full path.

    fast.begin(now)                               # once per batch of datagrams
    found = fast.answer(data, version, now)       # (Map-Reply, packed RLOC, port), or None
    actions = fast.receive(data, source, now)     # for None: the full path, and learn from it
    fast.changed(eid)                             # for every MappingChanged
"""

from __future__ import annotations

from collections.abc import Container, Hashable
from ipaddress import ip_address
from math import inf
from struct import Struct
from typing import Protocol, runtime_checkable

from lisp_sdn.actions import Action, SendControl
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.mapping.fastrecords import Hits, KnownRequester, Records, Slot
from lisp_sdn.mapping.intake import LIMIT_HINTS, repeat_key, requester_of, usable_rlocs
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import RegisteredPolicy, Requester
from lisp_sdn.prefixtable import code_of
from lisp_sdn.wire import Ecm, MapRequest, decode
from lisp_sdn.wire.peek import Peeked, peek_map_request

MAX_RECORDS = 1_000_000
"""EID-records kept; with more they are all forgotten and learned again."""

MAX_REQUESTERS = 100_000
"""Requesters kept (source EID and ITR-RLOCs); with more they are all forgotten."""

Found = tuple[bytes, bytes, int]
"""Map-Reply, packed address and port that it goes to."""

REFUSED: Found = (b"", b"", 0)
"""The Map-Request was over a limit: it is counted, nothing is sent."""

_CONTROL_PORT = 4342
_DATA_PORT = 4341
_FRAGMENT = 0x3FFF
_ECM = 0x80
_ECM_TYPE_S_D = 0xFC
_SMR_INVOKED = 0x40
_VERSIONS = {1: 4, 2: 6}

_REPLY_HEAD = b"\x20\0\0\x01"
"""A Map-Reply with one record, before the nonce."""
_HEAD_SIZE = 12
_MASK_LEN_AT = _HEAD_SIZE + 5

_COMMON = Struct("!BxxxBxHxxHxBxxxxxxxxxxHHHHI8s16s4s")
"""An ECM with IPv4 inside, in it a Map-Request with three plain IPv4 addresses: 64 octets."""
_COMMON_WORD = 0x10000001
_COMMON_RECORD = b"\0\x20\0\x01"
"""Reserved, mask length 32, AFI 1."""

_RequesterKey = tuple[int, bytes, int, bytes, bool]
"""IP version it came by, source EID, its instance-ID, ITR-RLOCs, p-bit: see `peek`."""


@runtime_checkable
class ClassedPolicy(Protocol):
    """What the fast path needs of an AnswerPolicy to keep its answers."""

    @property
    def generation(self) -> int:
        """Another number after every change but those that `next_change` foretells."""

    def next_change(self, now: float) -> float | None:
        """When answers change by themselves next, epoch seconds."""

    def group(self, eid: EidPrefix) -> Hashable | None:
        """Whose rules decide about this EID-prefix; None when there are none."""

    def requester_class(self, group: Hashable, requester: Requester) -> Hashable:
        """Requesters of one class get the same answer for every EID-prefix of the group."""


class FastPath:
    """Stands in front of one MapSystem. max_records, max_requesters: see the constants.

    own: packed addresses that Map-Replies do not go to by UDP: those requesters are left to the
    full path. answered: Map-Requests answered here. learned: EID-records taken from the full path.
    """

    def __init__(
        self,
        system: MapSystem,
        *,
        max_records: int = MAX_RECORDS,
        max_requesters: int = MAX_REQUESTERS,
        own: Container[bytes] = frozenset(),
    ) -> None:
        self.system = system
        self.answered = 0
        self.learned = 0
        self._max_records = max_records
        self._max_requesters = max_requesters
        self._over_rate = system.intake.over_rate
        self._first_few = system.intake.first_few
        self._told = system.requesters
        self._awaited = system.solicitor.awaited
        self.configure(own)
        self._records: dict[tuple[int, int], Records] = {}
        self._plain: Records | None = None
        self._requesters: dict[_RequesterKey, KnownRequester] = {}
        self._common: dict[bytes, KnownRequester] = {}
        policy = system.resolver.policy
        self._classed = policy if isinstance(policy, ClassedPolicy) else None
        self._usable = self._classed is not None or type(policy) is RegisteredPolicy
        self._generation = self._classed.generation if self._classed else 0
        self._groups: dict[Hashable, Hashable] = {}
        self._kept = 0
        self._deadline = inf
        self._timed: list[tuple[Records, int]] = []
        self._refused: dict[str, tuple[int, bytes]] = {}
        self._counted = 0
        self._hits: dict[tuple[str, str], Hits] = {}

    def configure(self, own: Container[bytes]) -> None:
        """Go on after `system.reconfigure`."""
        self._own = own
        self._amplification = self.system.config.limits.amplification

    # --- before a batch ---

    def begin(self, now: float) -> None:
        """Before a batch of datagrams: see to it that nothing outdated is answered."""
        policy = self._classed
        if policy is not None and policy.generation != self._generation:
            self._generation = policy.generation
            self.forget()
        if now >= self._deadline:
            self._expire()

    def forget(self) -> None:
        """Forget everything that was learned."""
        for records in self._records.values():
            records.clear()
        self._report_hits()
        self._hits.clear()
        self._forget_requesters()
        self._groups.clear()
        self._expire()
        self._kept = 0

    def _forget_requesters(self) -> None:
        self._requesters.clear()
        self._common.clear()

    def _expire(self) -> None:
        """A time window, or a TTL that it shortens, has changed."""
        for records, code in self._timed:
            records.drop(code)
        self._timed.clear()
        self._deadline = inf

    def changed(self, eid: EidPrefix) -> None:
        """The answer for (part of) an EID-prefix may have changed."""
        records = self._records.get((eid.iid, eid.version))
        if records is not None:
            records.changed(code_of(eid.network))

    # --- answering ---

    def answer(self, data: bytes, version: int, now: float) -> Found | None:
        """The Map-Reply to a datagram; None when the full path has to look at it.

        version: IP version that the datagram came by. now: epoch seconds.
        """
        if len(data) == 64 and version == 4:
            (
                flags, head, total, fragment, protocol, port, to, length, checksum,
                word, nonce, key, eid,
            ) = _COMMON.unpack_from(data)  # fmt: skip
            requester = self._common.get(key)
            records = self._plain
            if (
                requester is not None
                and records is not None
                and word == _COMMON_WORD
                and flags & _ECM_TYPE_S_D == _ECM
                and head == 0x45
                and total == 60
                and not fragment & _FRAGMENT
                and protocol == 17
                and to == _CONTROL_PORT
                and port
                and port != _DATA_PORT
                and length == 40
                and not (checksum and (int.from_bytes(data[16:], "big") + 57) % 0xFFFF)
            ):
                return self._reply(requester, records, eid, nonce, port, 64, now)
        return self._answer_other(data, version, now)

    def _answer_other(self, data: bytes, version: int, now: float) -> Found | None:
        peeked = _peek(data)
        if peeked is None:
            return None
        nonce, iid, afi, eid, _, source_eid, source_iid, _, rlocs, port, pitr = peeked
        requester = self._requesters.get((version, source_eid, source_iid, rlocs, pitr))
        records = self._records.get((iid, _VERSIONS[afi]))
        if records is None or requester is None:
            return None
        return self._reply(requester, records, eid, nonce, port, len(data), now)

    def _reply(
        self,
        requester: KnownRequester,
        records: Records,
        eid: bytes,
        nonce: bytes,
        port: int,
        size: int,
        now: float,
    ) -> Found | None:
        slot = records.hosts.get(eid)
        if slot is None:
            entry = records.find(eid)
            slot = records.prefixes.get(entry.code) if entry is not None else None
            if slot is None:
                return None
        record: bytes | None = slot.record
        hits = slot.hits
        group = slot.group
        if group is not None:
            if requester.group is group:
                found = requester.found
            else:
                found = self._class_of(requester, group)
            if found != slot.found:
                other = slot.others.get(found) if slot.others is not None else None
                record, hits = other if other is not None else (None, None)
        rloc = requester.rloc
        if (
            record is None
            or len(record) + _HEAD_SIZE > self._amplification * size
            or rloc in self._awaited
        ):
            return None
        reason = self._over_rate(rloc, now)
        if reason is None:
            if requester.records is not records:
                requester.records = records
                requester.repeat = repeat_key(rloc, records.iid, records.bits)
            if self._first_few(requester.repeat + eid, now):
                if (
                    slot.generation is not self._told.generation
                    or slot.told.get(rloc, b"") != requester.source
                ):
                    self._note(slot, requester, records)
                self.answered += 1
                if hits is not None:
                    hits[0] += 1
                return _REPLY_HEAD + nonce + record, rloc, port
            reason = "rate-limited-eid"
        self._refused[reason] = (self._refused.get(reason, (0, b""))[0] + 1, rloc)
        return REFUSED

    def _class_of(self, requester: KnownRequester, group: Hashable) -> Hashable:
        found = requester.classes.get(group)
        if found is None and self._classed is not None:
            found = self._classed.requester_class(group, requester.itself)
            requester.classes[group] = found
        requester.group, requester.found = group, found
        return found

    def _note(self, slot: Slot, requester: KnownRequester, records: Records) -> None:
        """Remember who was told, as `MapSystem.told` does."""
        source = requester.source
        if source is not None and len(source) != records.width:
            source = None
        rloc = requester.rloc
        # Read before: `note` may begin another generation.
        generation = self._told.generation
        if slot.generation is generation and rloc in slot.told:
            slot.told[rloc] = source
        else:
            slot.told = self._told.note(slot.prefix, rloc, source)
            slot.generation = generation

    # --- learning ---

    def receive(self, data: bytes, source: Endpoint, now: float) -> list[Action]:
        """The full path for a datagram; what it answered is learned."""
        actions = self.system.receive(data, source, now)
        if self._usable and len(actions) == 1 and isinstance(actions[0], SendControl):
            self._learn(data, source, actions[0], now)
        return actions

    def _learn(self, data: bytes, source: Endpoint, sent: SendControl, now: float) -> None:
        """Keep the EID-record of a Map-Reply when it answers every such Map-Request."""
        peeked = _peek(data)
        reply = sent.data
        rloc = sent.destination.address.packed
        if (
            rloc in self._own
            or peeked is None
            or len(reply) <= _MASK_LEN_AT
            or reply[:4] != _REPLY_HEAD
        ):
            return
        _, iid, afi, eid, _, source_eid, source_iid, _, rlocs, _, pitr = peeked
        version = _VERSIONS[afi]
        family = self.system.database.family(iid, version)
        entry = family.table.find_packed(eid) if family is not None else None
        # Of another length: a negative answer, or a part of the registered EID-prefix. Where
        # registrations are keyed by source EID, more than class and EID-prefix decide.
        if (
            family is None
            or family.keyed
            or entry is None
            or entry.code & 0xFF != reply[_MASK_LEN_AT]
        ):
            return
        self._make_room()
        key = (source.address.version, source_eid, source_iid, rlocs, pitr)
        requester = self._requester(key, data, rloc)
        records = self._records.get((iid, version))
        if records is None:
            records = self._records[iid, version] = Records(family.table)
            if (iid, version) == (0, 4):
                self._plain = records
        self._keep(records, entry.code, requester, reply[_HEAD_SIZE:], now)

    def _make_room(self) -> None:
        if len(self._requesters) >= self._max_requesters:
            self._forget_requesters()
        if self._kept >= self._max_records:
            # Changes have dropped some meanwhile.
            self._kept = sum(len(records) for records in self._records.values())
            if self._kept >= self._max_records:
                self.forget()

    def _requester(self, key: _RequesterKey, data: bytes, rloc: bytes) -> KnownRequester:
        known = self._requesters.get(key)
        if known is not None:
            return known
        ecm = decode(data)
        assert isinstance(ecm, Ecm)
        request = decode(ecm.payload)
        assert isinstance(request, MapRequest)
        version, source_eid, source_iid, rlocs, pitr = key
        known = KnownRequester(requester_of(request, usable_rlocs(request)), rloc, source_eid)
        self._requesters[key] = known
        if version == 4 and len(source_eid) == 4 and not source_iid and not pitr:
            # What `_COMMON` finds between the nonce and a plain IPv4 EID, if the rest fits.
            self._common[b"\0\x01" + source_eid + rlocs + _COMMON_RECORD] = known
        return known

    def _keep(
        self, records: Records, code: int, requester: KnownRequester, record: bytes, now: float
    ) -> None:
        eid = records.table.eid(code)
        until = self._holds_until(eid, requester, now)
        if until <= now:
            return
        slot = records.get(code)
        known = slot is not None
        if slot is None:
            group = self._classed.group(eid) if self._classed is not None else None
            if group is not None:
                # One object for each, so that `is` compares them.
                group = self._groups.setdefault(group, group)
            slot = Slot((records.iid, eid.version, code), group, record)
            records.put(code, slot)
            self._kept += 1
        found = None if slot.group is None else self._class_of(requester, slot.group)
        if not known:
            slot.found = found
        slot.learn(found, record, self._hits_of(eid, requester, now) if found is not None else None)
        self.learned += 1
        if until < inf:
            self._timed.append((records, code))
            self._deadline = min(self._deadline, until)

    def _hits_of(self, eid: EidPrefix, requester: KnownRequester, now: float) -> Hits | None:
        """Where the rule counts that decides for this requester."""
        rule = self.system.answer(eid, requester.itself, now).rule
        owner = self.system.sites.owner(eid)
        if rule is None or owner is None:
            return None
        return self._hits.setdefault((owner.site.name, rule), [0])

    def _holds_until(self, eid: EidPrefix, requester: KnownRequester, now: float) -> float:
        """Until when the same octets are right: a time window also shortens the TTL."""
        change = self._classed.next_change(now) if self._classed is not None else None
        if change is None:
            return inf
        answer = self.system.answer(eid, requester.itself, now)
        if answer.valid_until is None:
            return change
        return min(change, answer.valid_until - 60 * (answer.ttl_minutes(now) - 1))

    # --- counters ---

    def report(self, now: float) -> list[Action]:
        """Add what was answered and refused here to the counters of the MapSystem."""
        report = self.system.report
        self._report_hits()
        answered, self._counted = self.answered - self._counted, self.answered
        refused, self._refused = self._refused, {}
        asked = answered + sum(count for count, _ in refused.values())
        actions: list[Action] = []
        if asked:
            report.count("encapsulated-map-requests-in", asked)
            report.count("map-requests-in", asked)
            report.count("proxy-reply-records-out", answered)
        for reason, (count, rloc) in refused.items():
            hint = LIMIT_HINTS[reason]
            actions.append(report.drop(reason, f"{hint} ({count} times)", ip_address(rloc)))
            report.count(f"dropped-{reason}", count - 1)
        return actions

    def _report_hits(self) -> None:
        for rule, hits in self._hits.items():
            self.system.report.rule_hits[rule] += hits[0]
            hits[0] = 0


def _peek(data: bytes) -> Peeked | None:
    """The fields of an encapsulated Map-Request for one host EID; None for anything else."""
    peeked = peek_map_request(data)
    if peeked is None or data[0] & 0xF0 != _ECM:
        return None
    _, _, afi, _, mask_len, _, _, _, _, port, _ = peeked
    at = 26 if data[4] >> 4 == 4 else 46
    if (
        not port
        or mask_len != (32 if afi == 1 else 128)
        or int.from_bytes(data[at : at + 2], "big") != _CONTROL_PORT
        or data[at + 7] & _SMR_INVOKED
    ):
        return None
    return peeked
