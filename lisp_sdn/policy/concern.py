"""Which requesters get another answer after a change, so that nobody else is told of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Mapping, Requester
from lisp_sdn.policy.engine import PolicyEngine

MAX_EVALUATIONS = 4_000
"""Answers that are worked out for one change of policy; who comes after that is told anyway."""


Asked = Callable[[Collection[Requester], Collection[EidPrefix | None]], bool]
"""Whether somebody who asks as one of these requesters, for one of these source EIDs, gets another
answer."""


class Concern:
    """Compares answers before and after a change.

    before, then: the engine that was asked and the time at which. registered: the mapping that
    answers for an EID-prefix are made from.
    """

    def __init__(
        self,
        before: PolicyEngine,
        then: float,
        after: PolicyEngine,
        now: float,
        registered: Callable[[EidPrefix], Mapping | None],
    ) -> None:
        # One engine at two times: it would forget everything each time it is asked about the other.
        self._before = before.copy() if before is after else before
        self._then, self._after, self._now = then, after, now
        self._registered = registered
        self._left = MAX_EVALUATIONS

    def of(self, eid: EidPrefix) -> tuple[bool, Asked]:
        """For an EID-prefix with another answer for somebody: whether it is only a part of the
        registered one, and whom the change concerns."""
        mapping = self._registered(eid)
        if mapping is None:
            return False, lambda requesters, sources: True
        part = replace(mapping, eid=eid)
        by_source = self._by_source(eid)

        def differs(
            requesters: Collection[Requester], sources: Collection[EidPrefix | None]
        ) -> bool:
            asking = _asking(requesters, sources) if by_source else requesters
            return any(self._differs(part, requester) for requester in asking)

        return mapping.eid != eid, differs

    def _by_source(self, eid: EidPrefix) -> bool:
        """Whether any rule asks for the source EID."""
        for engine in (self._before, self._after):
            site = engine.sites.owner(eid)
            index = engine.index(site) if site else None
            if index is not None and any(rule.match.source_eids for rule in index.rules):
                return True
        return False

    def _differs(self, part: Mapping, requester: Requester) -> bool:
        self._left -= 1
        if self._left < 0:
            return True
        old = self._before.evaluate(part, requester, self._then)
        new = self._after.evaluate(part, requester, self._now)
        return old.mapping != new.mapping


def _asking(
    requesters: Iterable[Requester], sources: Collection[EidPrefix | None]
) -> Iterable[Requester]:
    return (replace(requester, source_eid=source) for requester in requesters for source in sources)
