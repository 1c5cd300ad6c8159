"""The Map-Server's and Map-Resolver's half that answers queries (RFC 9301 sections 5.5, 8.3, 8.4).

What is answered is a function of the database, the configuration, the policy, the requester and
`now`; nothing here remembers who asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lisp_sdn.actions import SendControl
from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.mapping.chain import CONTROL_PORT, Kind, Outcome, Query, Source, encapsulated
from lisp_sdn.mapping.database import STATIC, Database, Key, Registrar, Registration
from lisp_sdn.mapping.effective import effective, mapping_of, proxy_wanted
from lisp_sdn.mapping.lookup import Lookup, Match
from lisp_sdn.mapping.reachable import Reachable
from lisp_sdn.mapping.sites import ConfiguredPrefix, Site, Sites
from lisp_sdn.model import Act, Answer, AnswerPolicy, Mapping
from lisp_sdn.prefixtable import code_of, eid_of, shorten
from lisp_sdn.wire import EidRecord

NEGATIVE_TTL = 15
"""Minutes: the EID is not in the mapping system (RFC 9301 section 8.3)."""

UNREGISTERED_TTL = 1
"""Minutes: the EID-prefix is configured and nobody registers it now."""

MAX_MORE_SPECIFICS = 32
"""EID-records beside the matching one; with more inside it the answer is narrowed instead."""

CACHED_MAPPINGS = 20_000


class Resolver:
    """Answers queries: own mappings, then the sources plugged in, then a negative answer."""

    def __init__(
        self,
        sites: Sites,
        database: Database,
        policy: AnswerPolicy,
        sources: Sequence[Source] = (),
    ) -> None:
        self.policy = policy
        self.sources = tuple(sources)
        self._sites = sites
        self._database = database
        self.lookup = Lookup(sites, database)
        self.reachable = Reachable()
        self._mappings: dict[Registration, Mapping] = {}
        self._turn = 0

    def forget(self) -> None:
        """The database has changed."""
        self._mappings.clear()

    def resolve(self, query: Query, now: float) -> Outcome:
        """What becomes of a query. now: epoch seconds."""
        match = self.lookup.match(query.eid, query.requester.source_eid)
        if match.head is not None:
            return self._registered(query, match, match.head, now)
        if match.configured is not None:
            return self._negative(query, match, match.configured, now)
        # Without a Map-Request there is nothing that could be sent on.
        for source in self.sources if query.request is not None else ():
            outcome = source.ask(query, now)
            if outcome is not None:
                return outcome
        return self._negative(query, match, None, now)

    def registered(self, eid: EidPrefix) -> Mapping | None:
        """The registered mapping that an answer for `eid` is made from."""
        match = self.lookup.match(eid, None)
        return None if match.head is None else self._mapping(match.eid, match.head)

    # --- registered ---

    def _registered(self, query: Query, match: Match, head: Registration, now: float) -> Outcome:
        answer = self._positive(query, match, head, now)
        if not answer.mapping.negative:
            sent = self._forward(query, head)
            if sent is not None:
                return Outcome(Kind.FORWARDED, actions=(sent,))
        return Outcome(Kind.REGISTERED, self._complete(query, match, answer, now))

    def _complete(
        self, query: Query, match: Match, answer: Answer, now: float
    ) -> tuple[Answer, ...]:
        """RFC 9301 section 5.5: with all more-specifics, or narrowed until there are none."""
        alone = match.alone
        if alone is not None and alone.prefixlen <= answer.mapping.eid.prefixlen:
            return (answer,)
        if match.source is None:
            more = self._with_more_specifics(query, answer, now)
            if more is not None:
                return more
        if alone is not None:
            return (_cut(answer, alone),)
        # More-specifics inside the query itself, too many to name: answer for its first EID.
        return self.resolve(replace(query, eid=_first_host(query.eid)), now).answers

    def _with_more_specifics(
        self, query: Query, first: Answer, now: float
    ) -> tuple[Answer, ...] | None:
        inside = self.lookup.more_specifics(first.mapping.eid, MAX_MORE_SPECIFICS)
        if inside is None:
            return None
        answers = [first]
        left = query.octets - _octets(first)
        for eid in inside:
            head = self._database.head(eid)
            if head is None:
                return None
            answer = self._positive(query, Match(eid, head, alone=eid), head, now)
            left -= _octets(answer)
            if answer.mapping.eid != eid or left < 0 or not self._proxied(head):
                return None
            answers.append(answer)
        # RFC 9301 section 5.5: all with one TTL, so that they leave the map-cache together.
        ttl = min(answer.ttl_minutes(now) for answer in answers)
        return tuple(
            replace(answer, mapping=replace(answer.mapping, ttl_minutes=ttl)) for answer in answers
        )

    def _positive(self, query: Query, match: Match, head: Registration, now: float) -> Answer:
        mapping = self._mapping(match.eid, head)
        part = self.policy.narrow(mapping, query.eid if match.eid.covers(query.eid) else match.eid)
        answer = self.policy.evaluate(part, query.requester, now)
        if query.requester.xtr is None:
            answer = self.reachable.mark(answer)
        site = self._site(match.eid, head)
        if site is not None and site.settings.legacy_actions:
            answer = _legacy(answer)
        return self._within_scope(query, match, answer)

    def _within_scope(self, query: Query, match: Match, answer: Answer) -> Answer:
        """Say for which source EIDs the answer holds, where registrations depend on them."""
        source_eid = query.requester.source_eid
        if source_eid is None:
            return answer
        scope = self.lookup.source_scope(match, query.eid, source_eid)
        return answer if scope is None else _scoped(answer, scope)

    def _mapping(self, eid: EidPrefix, head: Registration) -> Mapping:
        known = self._mappings.get(head)
        if known is not None:
            return known
        mapping = mapping_of(eid, effective(head, self._database))
        if len(self._mappings) >= CACHED_MAPPINGS:
            self._mappings.clear()
        self._mappings[head] = mapping
        return mapping

    def _site(self, eid: EidPrefix, head: Registration) -> Site | None:
        if head.registrar.site is not None:
            return head.registrar.site
        owner = self._sites.owner(eid)
        return owner.site if owner is not None else None

    # --- forwarding to an ETR ---

    def _proxied(self, head: Registration) -> bool:
        """Whether we answer for the ETRs (RFC 9301 section 8.3)."""
        site = head.registrar.site
        return proxy_wanted(head) or (site is not None and site.settings.proxy_reply)

    def _forward(self, query: Query, head: Registration) -> SendControl | None:
        """Send the Map-Request to an ETR, if an ETR is to answer it and can be reached."""
        if query.request is None:
            return None
        # Open decision Q-03: with the A-bit the site answers, unless it cannot be reached.
        if self._proxied(head) and not query.request.authoritative:
            return None
        targets = [entry.registrar for entry in head if _reachable(entry.registrar)]
        if not targets:
            return None
        self._turn += 1
        source = targets[self._turn % len(targets)].source
        assert source is not None
        data = encapsulated(query, source.address)
        if data is None:
            return None
        return SendControl(data, Endpoint(source.address, CONTROL_PORT))

    # --- negative ---

    def _negative(
        self, query: Query, match: Match, configured: ConfiguredPrefix | None, now: float
    ) -> Outcome:
        kind, ttl, action = Kind.NEGATIVE, NEGATIVE_TTL, Act.NATIVELY_FORWARD
        if configured is not None:
            kind, ttl = Kind.UNREGISTERED, UNREGISTERED_TTL
            action = configured.unregistered_action
        answer = Answer(Mapping(match.eid, ttl_minutes=ttl, action=action))
        answer = self._within_scope(query, match, answer)
        if match.alone is not None:
            return Outcome(kind, (_cut(answer, self._clear_of_sources(match.alone, query.eid)),))
        # Known EIDs inside the query: say that the rest of it is not known, and name them.
        first = _cut(answer, query.eid)
        answers = self._with_more_specifics(query, first, now)
        if answers is not None:
            return Outcome(kind, answers)
        return self.resolve(replace(query, eid=_first_host(query.eid)), now)

    def _clear_of_sources(self, hole: EidPrefix, eid: EidPrefix) -> EidPrefix:
        length = max((source.free_length(eid) for source in self.sources), default=0)
        if length <= hole.prefixlen:
            return hole
        bits = eid.network.max_prefixlen
        code = shorten(code_of(eid.network), min(length, eid.prefixlen), bits)
        return eid_of(eid.iid, eid.version, code)


def _reachable(registrar: Registrar) -> bool:
    """Whether a Map-Request can be sent to this ETR; our own xTRs are not asked over the wire."""
    source = registrar.source
    return registrar is not STATIC and source is not None and not source.address.is_loopback


def _octets(answer: Answer) -> int:
    return len(EidRecord.from_mapping(answer.mapping).serialize())


def _first_host(eid: EidPrefix) -> EidPrefix:
    return EidPrefix.host(eid.iid, eid.network.network_address)


def _cut(answer: Answer, eid: EidPrefix) -> Answer:
    """The same answer for the narrower prefix `eid`."""
    scope = answer.scope
    if scope is not None:
        scope = SourceDestPrefix(scope.source, eid)
    return replace(answer, mapping=replace(answer.mapping, eid=eid), scope=scope)


def _scoped(answer: Answer, source: EidPrefix) -> Answer:
    """The answer holds for no other source EIDs than `source`."""
    if answer.scope is not None and source.covers(answer.scope.source):
        return answer
    return replace(answer, scope=SourceDestPrefix(source, answer.mapping.eid))


def _legacy(answer: Answer) -> Answer:
    """For routers that know no action above 3: they fail on Policy-Denied and Auth-Failure."""
    if answer.mapping.action <= Act.DROP_NO_REASON:
        return answer
    return replace(answer, mapping=replace(answer.mapping, action=Act.DROP_NO_REASON))


def record_of(answer: Answer, asked: Key, now: float) -> EidRecord:
    """The EID-record of an answer; with a source prefix when one was asked for."""
    mapping = answer.mapping
    eid: Key = mapping.eid
    if isinstance(asked, SourceDestPrefix):
        source = answer.scope.source if answer.scope is not None else asked.source
        eid = SourceDestPrefix(source, mapping.eid)
    return EidRecord(
        eid,
        mapping.locators,
        answer.ttl_minutes(now),
        int(mapping.action),
        map_version=mapping.map_version,
    )
