"""What the source guard asks by Map-Requests, where no database of ours tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.model import Mapping
from lisp_sdn.wire.understood import ip_of
from lisp_sdn.xtr.cache import lifetime
from lisp_sdn.xtr.verdicts import ProxyItrs, SourceReason, SourceVerdict

UNANSWERED = 60.0
"""Seconds that a refusal stands for which no Map-Reply came."""


class Questions:
    """RLOCs that wait for the Map-Reply about a source EID-prefix. ask: sends the Map-Request."""

    def __init__(self, ask: Callable[[EidPrefix, float], None]) -> None:
        self._ask = ask
        self._asked: dict[EidPrefix, dict[IPAddress, None]] = {}

    def put(self, eid: EidPrefix, rloc: IPAddress, now: float) -> None:
        """May this RLOC send for it? One Map-Request serves all who ask."""
        asked = self._asked.setdefault(eid, {})
        asked[rloc] = None
        if len(asked) == 1:
            self._ask(eid, now)

    def answered(
        self,
        eid: EidPrefix,
        mappings: Iterable[Mapping] | None,
        proxies: ProxyItrs,
        now: float,
    ) -> Iterator[tuple[IPAddress, SourceVerdict, float]]:
        """RLOC, verdict, and until when it holds. mappings: None when no Map-Reply came."""
        covering = [mapping for mapping in mappings or () if mapping.eid.covers(eid)]
        best = max(covering, key=lambda mapping: mapping.eid.prefixlen, default=None)
        for rloc in self._asked.pop(eid, ()):
            if best is None:
                yield rloc, SourceVerdict(eid, SourceReason.UNVERIFIED), now + UNANSWERED
            else:
                verdict = SourceVerdict(best.eid, _reason(best, rloc, proxies))
                yield rloc, verdict, now + max(1.0, lifetime(best.ttl_minutes))


def _reason(mapping: Mapping, rloc: IPAddress, proxies: ProxyItrs) -> SourceReason | None:
    if mapping.negative:
        return None if proxies.may_send(mapping.eid.iid, rloc) else SourceReason.UNKNOWN
    fits = any(ip_of(locator.rloc) == rloc for locator in mapping.locators)
    return None if fits else SourceReason.RLOC_MISMATCH
