"""Solicit-Map-Requests to ITRs that hold a changed mapping (RFC 9301 section 6.1).

An SMR is repeated every 3 seconds, `ATTEMPTS` times in all, until the SMR-invoked Map-Request (or
any other for the EID) comes from the same ITR-RLOC. An RLOC gets one SMR per `smr_interval` over
time, `smr_burst` at once, and never two for one EID-prefix within `smr_interval`.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Container, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from lisp_sdn.actions import Action, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config
from lisp_sdn.mapping.limits import SourceLimiter
from lisp_sdn.mapping.report import Report
from lisp_sdn.mapping.requesters import Holder, PrefixKey
from lisp_sdn.prefixtable import BITS, covers, eid_of, shorten
from lisp_sdn.wire import MapRequest, RequestRecord

CONTROL_PORT = 4342
ATTEMPTS = 3
MAX_PENDING = 50_000
"""SMRs that may wait for their Map-Request at once; beyond it ITRs are not told."""

MAX_SCAN = 64
SMRS_PER_TIMER = 1000


@dataclass(slots=True)
class _Pending:
    source: bytes | None
    due: float
    attempts: int = 0
    done: bool = False


class Solicitor:
    """The SMRs that are under way."""

    def __init__(self, config: Config, rng: random.Random, report: Report) -> None:
        self._rng = rng
        self._report = report
        self.configure(config)
        self._pending: dict[bytes, dict[PrefixKey, _Pending]] = {}
        self._count = 0
        self._queue: list[tuple[float, bytes, PrefixKey]] = []

    def __len__(self) -> int:
        return self._count

    def configure(self, config: Config) -> None:
        """Go on under the limits of this configuration."""
        self._interval = config.limits.smr_interval
        self._limiter = SourceLimiter(1 / self._interval, config.limits.smr_burst, 65_536)
        self._own = _own_addresses(config)

    def solicit(self, holders: Sequence[Holder], prefix: PrefixKey, now: float) -> list[Action]:
        """Tell these ITRs that answers about `prefix` have changed."""
        iid, version, code = prefix
        for holder in holders:
            # What is looked up in the ITR's map-cache has to be in the entry that it holds.
            narrow = holder.held if holder.held & 0xFF > code & 0xFF else code
            self._add(holder, (iid, version, narrow), now)
        return self.handle_timer(now)

    def _add(self, holder: Holder, prefix: PrefixKey, now: float) -> None:
        of_rloc = self._pending.setdefault(holder.rloc, {})
        known = of_rloc.get(prefix)
        if known is not None:
            # It keeps its appointment: no second SMR within the interval.
            known.done, known.attempts = False, 0
            return
        if self._count >= MAX_PENDING:
            self._report.count("smrs-not-sent")
            if not of_rloc:
                del self._pending[holder.rloc]
            return
        of_rloc[prefix] = _Pending(holder.source, now)
        self._count += 1
        heappush(self._queue, (now, holder.rloc, prefix))

    @property
    def awaited(self) -> Container[bytes]:
        """The packed ITR-RLOCs with an SMR under way, so that `heard` has something to do.

        Always the same object, always up to date.
        """
        return self._pending

    def heard(self, rloc: bytes, prefix: PrefixKey) -> None:
        """A Map-Request for `prefix` came from this ITR-RLOC."""
        of_rloc = self._pending.get(rloc)
        if of_rloc is None:
            return
        iid, version, code = prefix
        bits = BITS[version]
        for length in range((code & 0xFF) + 1):
            pending = of_rloc.get((iid, version, shorten(code, length, bits)))
            if pending is not None:
                pending.done = True
        if code & 0xFF < bits and len(of_rloc) <= MAX_SCAN:
            for other, pending in of_rloc.items():
                if other[:2] == (iid, version) and covers(code, other[2], bits):
                    pending.done = True

    def next_timer(self) -> float | None:
        """When `handle_timer` has work to do, epoch seconds."""
        return self._queue[0][0] if self._queue else None

    def handle_timer(self, now: float) -> list[Action]:
        """Send and repeat what is due."""
        actions: list[Action] = []
        for _ in range(SMRS_PER_TIMER):
            if not self._queue or self._queue[0][0] > now:
                break
            due, rloc, prefix = heappop(self._queue)
            pending = self._pending.get(rloc, {}).get(prefix)
            if pending is None or pending.due != due:
                continue
            if pending.done or pending.attempts >= ATTEMPTS:
                if not pending.done:
                    self._report.count("smrs-unanswered")
                self._forget(rloc, prefix)
                continue
            if self._limiter.take(rloc, now):
                pending.attempts += 1
                actions.append(self._message(rloc, prefix, pending))
                self._report.count("smrs-out")
            pending.due = now + self._interval
            heappush(self._queue, (pending.due, rloc, prefix))
        return actions

    def _forget(self, rloc: bytes, prefix: PrefixKey) -> None:
        of_rloc = self._pending[rloc]
        del of_rloc[prefix]
        self._count -= 1
        if not of_rloc:
            del self._pending[rloc]

    def _message(self, rloc: bytes, prefix: PrefixKey, pending: _Pending) -> SendControl:
        """Open decision Q-04: the changed EID in Source-EID, the ITR's own one in the record."""
        iid, version, code = prefix
        changed = eid_of(iid, version, code)
        record = changed
        if pending.source is not None:
            record = EidPrefix.host(iid, ipaddress.ip_address(pending.source))
        target = ipaddress.ip_address(rloc)
        message = MapRequest(
            self._rng.getrandbits(64),
            EidPrefix.host(iid, changed.network.network_address),
            (self._own.get(target.version, target),),
            (RequestRecord(record),),
            smr=True,
            dont_reply=True,
        )
        return SendControl(message.serialize(), Endpoint(target, CONTROL_PORT))


def _own_addresses(config: Config) -> dict[int, IPAddress]:
    """An address of ours for each family, for the ITR-RLOC that an SMR has to have."""
    listening = [endpoint.address for endpoint in config.control.listen]
    rlocs = [locator.rloc for xtr in config.xtrs for locator in xtr.rlocs]
    own: dict[int, IPAddress] = {}
    for address in (*listening, *rlocs):
        if not address.is_unspecified:
            own.setdefault(address.version, address)
    return own
