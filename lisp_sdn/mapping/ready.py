"""Answers for our own xTRs that are ready: what thousands of EID-prefixes are answered, once.

What an xTR of ours is answered for a registered EID-prefix depends on the RLOC-set and the TTL
that were registered, on whose policy decides, and on the class of the requester as that policy
sees it. The EID-prefix itself is only copied; where rules name EID-prefixes, it depends on which of
them are for it. So an answer that `MapSystem.resolve` gave for one is the answer for all that are
registered alike, also for those that nobody has asked for yet. Everything else is left to
`MapSystem.resolve`: negative answers, more-specific EID-prefixes, several registrations, answers
that depend on the source EID.

    answers.begin(now)                              # before a batch of questions
    found = answers.find(area, address, asker, now) # (code, Ready), or None
    answers.report()                                # count what was answered
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Protocol, runtime_checkable

from lisp_sdn.address import EidPrefix
from lisp_sdn.mapping.chain import Kind, Query
from lisp_sdn.mapping.database import PROXY_REPLY, STATIC, Family, Registration
from lisp_sdn.mapping.fastpath import ClassedPolicy
from lisp_sdn.mapping.resolver import record_of
from lisp_sdn.mapping.sites import ConfiguredPrefix
from lisp_sdn.mapping.system import OWN_OCTETS, MapSystem
from lisp_sdn.model import Mapping, RegisteredPolicy, Requester
from lisp_sdn.prefixtable import PrefixTable, eid_of

MAX_ANSWERS = 10_000
"""Answers kept; with more they are all forgotten and made again."""

_UNKNOWN = object()


@runtime_checkable
class EvenPolicy(ClassedPolicy, Protocol):
    """What is needed of an AnswerPolicy to give one answer for many EID-prefixes."""

    def even(self, eid: EidPrefix) -> bool:
        """Whether no rule tells EID-prefixes inside `eid` apart."""

    def ground(self, eid: EidPrefix) -> Hashable | None:
        """The rules that are for an EID-prefix; None when some are for a part of it only."""


class Ready:
    """One answer. mapping: for one of the EID-prefixes. site, rule: whose rule decided, if any.

    hits: questions answered with it that are not counted yet.
    """

    __slots__ = ("hits", "mapping", "rule", "site")

    def __init__(self, mapping: Mapping, site: str, rule: str | None) -> None:
        self.mapping = mapping
        self.site = site
        self.rule = rule
        self.hits = 0


class Asker:
    """A source EID behind an xTR of ours. classes: of the requester, by configured EID-prefix."""

    __slots__ = ("classes", "requester")

    def __init__(self, requester: Requester) -> None:
        self.requester = requester
        self.classes: dict[ConfiguredPrefix | None, Hashable] = {}


class Area:
    """An instance-ID and IP version: what is registered in it, and whose its EIDs are."""

    __slots__ = ("configured", "find", "iid", "keyed", "table", "version")

    def __init__(self, family: Family, configured: PrefixTable[ConfiguredPrefix] | None) -> None:
        self.iid = family.iid
        self.version = family.version
        self.table = family.table
        self.find = family.table.find
        self.keyed = family.keyed
        self.configured = configured


class ReadyAnswers:
    """The answers of one MapSystem that are ready.

    epoch: another number once an `Asker` of before must not be used any more.
    """

    def __init__(self, system: MapSystem) -> None:
        self.epoch = 0
        self._system = system
        self._answers: dict[Hashable, Ready | None] = {}
        self._even: dict[ConfiguredPrefix, bool] = {}
        self._areas: dict[tuple[int, int], Area] = {}
        policy = system.resolver.policy
        self._policy = policy if isinstance(policy, EvenPolicy) else None
        self._usable = self._policy is not None or type(policy) is RegisteredPolicy
        self._generation = self._policy.generation if self._policy else 0
        self._deadline = inf

    def begin(self, now: float) -> None:
        """Before questions are asked: see to it that nothing outdated is answered."""
        policy = self._policy
        changed = policy is not None and policy.generation != self._generation
        if changed or now >= self._deadline:
            self._forget()
        if policy is not None:
            self._generation = policy.generation

    def configure(self) -> None:
        """Go on after `system.reconfigure`."""
        self._forget()
        self._areas.clear()

    def _forget(self) -> None:
        self.report()
        self._answers.clear()
        self._even.clear()
        self._deadline = inf
        self.epoch += 1

    def area(self, iid: int, version: int) -> Area | None:
        """An instance-ID and IP version; None while nothing was ever registered in it."""
        known = self._areas.get((iid, version))
        if known is None and self._usable:
            family = self._system.database.family(iid, version)
            if family is None:
                return None
            known = Area(family, self._system.sites.configured(iid, version))
            self._areas[iid, version] = known
        return known

    def find(self, area: Area, address: int, asker: Asker, now: float) -> tuple[int, Ready] | None:
        """The answer for an EID, and the code of the EID-prefix that it is for."""
        entry = area.find(address)
        if entry is None or entry.next is not None or area.keyed:
            return None
        code = entry.code
        configured = None
        if area.configured is not None:
            configured = area.configured.find(address)
            if configured is not None and configured.code & 0xFF > code & 0xFF:
                return None
            if area.configured.has_inside(code):
                return None
        if area.table.has_inside(code):
            return None
        kind = asker.classes.get(configured, _UNKNOWN)
        if kind is _UNKNOWN:
            kind = self._class_of(area, configured, asker)
        ground: Hashable = None
        if configured is not None and not self._is_even(configured):
            ground = self._ground(area, code)
            if ground is None:
                return None
        key = (
            entry.rloc_set,
            configured,
            kind,
            ground,
            entry.ttl_minutes,
            entry.map_version,
            entry.flags,
            entry.registrar.site or entry.registrar,
        )
        ready = self._answers.get(key, _UNKNOWN)
        if ready is _UNKNOWN:
            ready = self._learn(key, area, entry, address, asker, now)
        return (code, ready) if isinstance(ready, Ready) else None

    def _class_of(self, area: Area, configured: ConfiguredPrefix | None, asker: Asker) -> Hashable:
        """The class of a requester for all EID-prefixes under a configured one."""
        found: Hashable = None
        policy = self._policy
        if policy is not None and configured is not None:
            group = policy.group(configured.eid)
            if group is not None:
                found = policy.requester_class(group, asker.requester)
        asker.classes[configured] = found
        return found

    def _is_even(self, configured: ConfiguredPrefix) -> bool:
        even = self._even.get(configured)
        if even is None:
            policy = self._policy
            even = self._even[configured] = policy is None or policy.even(configured.eid)
        return even

    def _ground(self, area: Area, code: int) -> Hashable | None:
        return None if self._policy is None else self._policy.ground(area.table.eid(code))

    def _learn(
        self,
        key: Hashable,
        area: Area,
        entry: Registration,
        address: int,
        asker: Asker,
        now: float,
    ) -> Ready | None:
        if len(self._answers) >= MAX_ANSWERS:
            self._forget()
        ready = self._answers[key] = self._ask(area, entry, address, asker, now)
        return ready

    def _ask(
        self, area: Area, entry: Registration, address: int, asker: Asker, now: float
    ) -> Ready | None:
        """What the full path answers, if that holds for all EID-prefixes registered alike."""
        policy, eid = self._policy, area.table.eid(entry.code)
        site = self._system.sites.owner(eid)
        if not self._proxied(entry):
            return None
        asked = eid_of(area.iid, area.version, address << 8 | area.table.bits)
        outcome = self._system.resolver.resolve(Query(asked, asker.requester, OWN_OCTETS), now)
        if outcome.kind is not Kind.REGISTERED or len(outcome.answers) != 1:
            return None
        (answer,) = outcome.answers
        mapping = answer.mapping
        if answer.scope is not None or mapping.eid != eid or mapping.negative:
            return None
        ttl = answer.ttl_minutes(now)
        if not ttl:
            return None
        if policy is not None:
            until = policy.next_change(now)
            if answer.valid_until is not None:
                # Its TTL is shorter a minute later.
                until = min(until or inf, answer.valid_until - 60 * (ttl - 1))
            if until is not None and until <= now:
                return None
            self._deadline = min(self._deadline, until or inf)
        name = site.site.name if site is not None else ""
        return Ready(record_of(answer, eid, now).mapping, name, answer.rule)

    @staticmethod
    def _proxied(entry: Registration) -> bool:
        """Whether the Map-Server answers for the ETR, see `Resolver`."""
        site = entry.registrar.site
        if entry.registrar is STATIC or entry.flags & PROXY_REPLY:
            return True
        return site is not None and site.settings.proxy_reply

    def report(self) -> None:
        """Add what was answered here to the counters of the MapSystem."""
        report = self._system.report
        for ready in self._answers.values():
            if ready is not None and ready.hits:
                report.count("map-requests-in", ready.hits)
                report.count("proxy-reply-records-out", ready.hits)
                if ready.rule is not None:
                    report.rule_hits[ready.site, ready.rule] += ready.hits
                ready.hits = 0
