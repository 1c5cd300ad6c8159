"""RLOC-probes of one xTR (RFC 9301 section 7.1): which RLOCs answer, and how fast.

Every RLOC that a map-cache entry may use is probed on a jittered timer. A probe that is not
answered in time is repeated at once, from the next RLOC of ours, so that a way back that is broken
does not condemn the way there. Without an answer to any of them the RLOC is unreachable, until it
has answered for a while. An RLOC that never answered is unknown, and used: not every ETR answers
probes, and a probe may lack a `next_hop` that the data does not need. RLOCs of our own xTRs do
answer, so for them that silence is told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Reachability
from lisp_sdn.views import LocatorState
from lisp_sdn.wire import EidRecord, MapReply, MapRequest, RequestRecord
from lisp_sdn.xtr.damping import Damping
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.requests import Probe
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

SCAN_INTERVAL = 1.0
"""Seconds until it is looked again which RLOCs are in use."""

_LATE = 0.05
"""Seconds. A timer that is later than this was held up, and the answers with it."""

_OUTSTANDING = 16
_JITTER = 0.25
_RTT_GAIN = 0.25


@dataclass(slots=True)
class Target:
    """One RLOC. since: when it came into its state; rtt: seconds, smoothed; due: of its timer.

    sent: nonce -> when, newest last. waiting: for the answer to the newest one. tries: probes
    without an answer in a row. answering: since when it answers again. told: that it never did.
    """

    rloc: IPAddress
    eid: EidPrefix
    damping: Damping
    since: float
    state: LocatorState = LocatorState.UNKNOWN
    rtt: float | None = None
    due: float = 0.0
    waiting: bool = False
    tries: int = 0
    answering: float | None = None
    told: bool = False
    sent: dict[int, float] = field(default_factory=dict)


class Prober:
    """targets: the RLOCs in use, each with an EID-prefix behind it. rate: probes per second."""

    def __init__(
        self,
        settings: Reachability,
        rate: float,
        outbox: Outbox,
        timers: Timers,
        topology: Callable[[], Topology],
        rng: random.Random,
        targets: Callable[[], dict[IPAddress, EidPrefix]],
    ) -> None:
        self._settings = settings
        self._rate = rate
        self._out = outbox
        self._timers = timers
        self._topology = topology
        self._rng = rng
        self._wanted = targets
        self._targets: dict[IPAddress, Target] = {}
        self._by_nonce: dict[int, Target] = {}
        self._eids: set[EidPrefix] = set()
        self._answering: frozenset[IPAddress] = frozenset()
        self._silent: frozenset[IPAddress] = frozenset()
        self._enabled = False
        self.down: frozenset[IPAddress] = frozenset()

    def take_over(self, old: Prober) -> None:
        """Go on where another one ends, under other times: what is unreachable stays so."""
        settings = self._settings
        for rloc, target in old._targets.items() if settings.probes else ():
            target.damping.configure(settings.recovery, settings.recovery_limit)
            self._targets[rloc] = target
            self._by_nonce.update(dict.fromkeys(target.sent, target))
            self._appoint(target, target.due)
        self._look()

    def pace(self, rate: float) -> None:
        """From now on at most so many probes per second."""
        self._rate = rate

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets.values())

    def __getitem__(self, rloc: IPAddress) -> Target | None:
        return self._targets.get(rloc)

    def enable(
        self,
        enabled: bool,
        answering: frozenset[IPAddress],
        silent: frozenset[IPAddress],
        now: float,
    ) -> None:
        """enabled: whether probes can be sent. answering: RLOCs of our own xTRs that do answer.

        silent: those whose switch is away. It goes on forwarding, but nobody answers for it.
        """
        self._answering, self._silent = answering, silent
        enabled = enabled and self._settings.probes
        if enabled and not self._enabled:
            self._timers.schedule(("probes", 0), now)
        self._enabled = enabled

    def scan(self, now: float) -> None:
        """Follow the map-cache: probe what is used, forget what is not."""
        if not self._enabled:
            return
        wanted = self._wanted()
        for rloc in [rloc for rloc in self._targets if rloc not in wanted]:
            self._forget(self._targets.pop(rloc))
        for rloc, eid in wanted.items():
            target = self._targets.get(rloc)
            if target is None:
                damping = Damping(self._settings.recovery, self._settings.recovery_limit)
                target = self._targets[rloc] = Target(rloc, eid, damping, now)
                self._appoint(target, now + self._rng.random() * self._settings.probe_interval)
            target.eid = eid
        self._eids = set(wanted.values())
        self._look()
        self._timers.schedule(("probes", 0), now + SCAN_INTERVAL)

    def changed(self, eid: EidPrefix) -> None:
        """A map-cache entry is another one now, or gone: its RLOCs may not answer for it any more.

        Where it is what they are asked for, they are asked for something else at once.
        """
        if eid in self._eids:
            self._timers.schedule(("probes", 0), 0.0)

    def _forget(self, target: Target) -> None:
        self._timers.cancel(("probe", target.rloc))
        for nonce in target.sent:
            self._by_nonce.pop(nonce, None)

    def _appoint(self, target: Target, when: float) -> None:
        target.due = when
        self._timers.schedule(("probe", target.rloc), when)

    def _rest(self, target: Target, now: float) -> None:
        """The next probe, one interval from now."""
        interval = max(self._settings.probe_interval, len(self._targets) / self._rate)
        target.waiting, target.tries = False, 0
        self._appoint(target, now + interval * (1 + _JITTER * (2 * self._rng.random() - 1)))

    def due(self, rloc: IPAddress, now: float) -> None:
        """Send the probe that is due, or note that one was not answered."""
        target = self._targets.get(rloc)
        if target is None:
            return
        if not self._enabled or rloc in self._silent or self._source(target) is None:
            target.answering = None
            self._rest(target, now)
        elif not target.waiting:
            self._send(target, now)
        elif now - target.due > _LATE:
            self._appoint(target, now + self._timeout(target))
        else:
            self._unanswered(target, now)

    def _unanswered(self, target: Target, now: float) -> None:
        self._out.counters["probes-unanswered"] += 1
        target.tries += 1
        target.answering = None
        unreachable = target.state is LocatorState.UNREACHABLE
        if target.tries <= self._settings.probe_retries and not unreachable:
            self._send(target, now)
            return
        if target.state is LocatorState.UNKNOWN:
            self._never_answered(target)
        elif not unreachable:
            target.damping.failed(now)
            self._enter(target, LocatorState.UNREACHABLE, now)
        self._rest(target, now)

    def _never_answered(self, target: Target) -> None:
        if target.told or target.rloc not in self._answering:
            return
        target.told = True
        hint = "is it reached through a router? then xtrs[].rlocs[].next_hop must name it"
        self._out.event("rloc.silent", str(target.rloc), reason="no answer to any probe", hint=hint)

    def _enter(self, target: Target, state: LocatorState, now: float) -> None:
        if state is LocatorState.UNREACHABLE:
            self._out.event("rloc.unreachable", str(target.rloc), reason="probe")
        elif target.state is LocatorState.UNREACHABLE:
            self._out.event("rloc.reachable", str(target.rloc), reason="probe")
        target.state, target.since = state, now
        self._look()

    def _look(self) -> None:
        self.down = frozenset(
            rloc for rloc, t in self._targets.items() if t.state is LocatorState.UNREACHABLE
        )

    def _source(self, target: Target) -> IPAddress | None:
        sources = [x for x in self._topology().sources if x.version == target.rloc.version]
        return sources[target.tries % len(sources)] if sources else None

    def _timeout(self, target: Target) -> float:
        return max(self._settings.probe_timeout, 3 * (target.rtt or 0.0))

    def _send(self, target: Target, now: float) -> None:
        source = self._source(target)
        assert source is not None
        nonce = self._rng.getrandbits(64)
        target.sent[nonce] = now
        self._by_nonce[nonce] = target
        if len(target.sent) > _OUTSTANDING:
            oldest = next(iter(target.sent))
            del target.sent[oldest]
            self._by_nonce.pop(oldest, None)
        request = MapRequest(nonce, None, (source,), (RequestRecord(target.eid),), probe=True)
        self._out.counters["probes-out"] += 1
        self._out.act(Probe(self._out.name, source, target.rloc, request))
        target.waiting = True
        self._appoint(target, now + self._timeout(target))

    # --- answers -----------------------------------------------------------------------------

    def expects(self, nonce: int) -> bool:
        """Whether a probe with this nonce may still be answered."""
        return nonce in self._by_nonce

    def answer(self, reply: MapReply, now: float) -> tuple[EidRecord, ...]:
        """A Map-Reply with the P-bit. Returns the records that may be believed.

        Section 5.4: every record carries the A-bit, and the p-bit says which locator answered,
        whatever address the reply came from.
        """
        asked = self._by_nonce.pop(reply.nonce, None)
        if asked is None:
            self._out.drop("unknown-nonce", f"{reply.nonce:016x}")
            return ()
        sent = asked.sent.pop(reply.nonce)
        if not all(record.authoritative for record in reply.records):
            self._out.drop("probe-not-authoritative", str(asked.rloc))
            return ()
        probed = [x.rloc for record in reply.records for x in record.locators if x.probed]
        if not probed:
            self._out.drop("probe-without-p-bit", str(asked.rloc))
            return ()
        self._out.counters["probes-answered"] += 1
        rloc = probed[0]
        target = self._targets.get(rloc) if isinstance(rloc, IPAddress) else None
        if target is None:
            self._out.drop("probe-of-unused-rloc", str(probed[0]))
        else:
            if target is asked:
                self._measure(target, now - sent)
            self._answered(target, now)
        return reply.records

    def _measure(self, target: Target, rtt: float) -> None:
        old = target.rtt
        target.rtt = rtt if old is None else old + _RTT_GAIN * (rtt - old)

    def _answered(self, target: Target, now: float) -> None:
        for nonce in target.sent:
            self._by_nonce.pop(nonce, None)
        target.sent.clear()
        if target.answering is None:
            target.answering = now
        if target.state is LocatorState.UNKNOWN or (
            target.state is LocatorState.UNREACHABLE
            and now - target.answering >= target.damping.wait
        ):
            self._enter(target, LocatorState.UP, now)
        self._rest(target, now)
