"""The source guard of one xTR: may this port, or this RLOC, send for this source EID?

RFC 9300 section 16 lets an ETR check that source EID and source RLOC are a mapping of the mapping
system. A pair that is met for the first time is verified while its packets wait; the verdict
becomes a flow for as many source EIDs as it holds for, and follows the mapping from then on. What
enters by an EID-facing port has to come from a subnet of the port, or from a host that was learned
there.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lisp_sdn.actions import FlowCounter, FlowRemoved, PacketIn, ReadCounters
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.guard_settings import GuardMode
from lisp_sdn.model import Mapping
from lisp_sdn.rules import CookieClass, FlowRule, Output, Port, Ruleset, SetField
from lisp_sdn.xtr import guard_rules
from lisp_sdn.xtr.compiled import Compiled
from lisp_sdn.xtr.frames import Ip
from lisp_sdn.xtr.guard_ask import Questions
from lisp_sdn.xtr.guard_rules import Guarding
from lisp_sdn.xtr.guard_table import Entry, Ground, Verdicts
from lisp_sdn.xtr.guard_wait import Waiting, WaitingRoom
from lisp_sdn.xtr.hosts import HostKey, Hosts
from lisp_sdn.xtr.outbox import Outbox, Owner
from lisp_sdn.xtr.queue import host_eid
from lisp_sdn.xtr.requests import Verify
from lisp_sdn.xtr.timers import TimerName, Timers
from lisp_sdn.xtr.topology import Topology
from lisp_sdn.xtr.verdicts import GuardKey, SourceReason, SourceVerdict

KIND = "guard"
BASE: Owner = (KIND, None)
"""Owner of the rules that depend on settings and ports only."""

GRACE = 180.0
"""Seconds after a restart in which an RLOC that was allowed before may send for a source EID that
nobody has registered again yet; registrations are renewed in this time (RFC 9301 section 8.2)."""

COUNT_INTERVAL = 2.0
"""Seconds between two looks at what the flows of refused sources have met."""

_IN_FLIGHT = 2.0
_BATCH = 500
_BATCH_INTERVAL = 0.01
_COUNT, _VERIFY, _EXPIRE = "guard-count", "guard-verify", "guard-expire"


class SourceGuard:
    """per_pair: packets that wait for one verdict.

    ask: sends a Map-Request for a source EID-prefix, answered by `answered`; embedded: the
    Map-Resolver is ours, and its database is asked first. glean: is told of every (source EID,
    RLOC) that may send. reassert: sends the flow of a verdict again.
    """

    def __init__(
        self,
        guarding: Guarding,
        outbox: Outbox,
        timers: Timers,
        topology: Callable[[], Topology],
        hosts: Hosts,
        per_pair: int,
        *,
        ask: Callable[[EidPrefix, float], None],
        glean: Callable[[EidPrefix, IPAddress, float], None],
        reassert: Callable[[Owner], None],
        embedded: bool,
    ) -> None:
        self.guarding = guarding
        self._out = outbox
        self._timers = timers
        self._topology = topology
        self._hosts = hosts
        self._glean = glean
        self._reassert = reassert
        self._embedded = embedded
        settings = guarding.settings
        self.verdicts = Verdicts(settings.entries, settings.refused_entries)
        self._room = WaitingRoom(outbox, settings.entries, per_pair, settings.held_packets)
        self._questions = Questions(ask)
        self._again: OrderedDict[GuardKey, None] = OrderedDict()
        self.packets: Counter[SourceReason] = Counter()

    # --- packets -----------------------------------------------------------------------------

    def packet(self, event: PacketIn, packet: Ip, iid: int, now: float) -> None:
        """A packet whose source has no verdict on the switch."""
        source = host_eid(iid, packet.source)
        if self._topology().port(event.in_port) is not None:
            self._from_port(GuardKey(source, event.in_port), event, now)
            return
        rloc = event.tunnel_source
        if rloc is None:
            self._out.drop("no-outer-source", str(packet.destination), str(source))
            return
        known = self.verdicts.match(source, rloc)
        if known is not None:
            self._repeated(known, event, iid, now)
        elif self.guarding.checks:
            self._wait(GuardKey(source, rloc), event, iid, now)
        else:
            self._put(Entry(GuardKey(source, rloc), None, Ground.GLEANED, now, now))
            self._glean(source, rloc, now)

    def _from_port(self, key: GuardKey, event: PacketIn, now: float) -> None:
        entry = self.verdicts.get(key)
        if entry is not None:
            self._repeated(entry, event, key.source.iid, now)
            return
        entry = Entry(key, self._of_port(key), Ground.PORT, now, now)
        self._put(entry)
        self._settle(entry, self._single(event, key.source.iid))

    def _of_port(self, key: GuardKey) -> SourceReason | None:
        host = self._hosts.get((key.source.iid, key.source.network.network_address))
        if host is not None and host.port == key.origin:
            return None
        return SourceReason.NOT_OF_PORT

    def _single(self, event: PacketIn, iid: int) -> Waiting:
        return Waiting(iid, 1, [event] if self.guarding.enforces else [])

    def _repeated(self, entry: Entry, event: PacketIn, iid: int, now: float) -> None:
        """It was on its way to us when the flow came, or the flow is not there."""
        if now - entry.programmed > _IN_FLIGHT:
            entry.programmed = now
            self._out.counters["flows-reasserted"] += 1
            self._reassert((KIND, entry.key))
        self._settle(entry, self._single(event, iid))

    def _wait(self, key: GuardKey, event: PacketIn, iid: int, now: float) -> None:
        if self._room.add(key, event, iid, hold=self.guarding.enforces):
            self._verify(key, now)

    def _settle(self, entry: Entry, waiting: Waiting) -> None:
        """What becomes of packets whose verdict is there."""
        reason, key = entry.reason, entry.key
        if reason is not None:
            entry.packets += waiting.count
            self.packets[reason] += waiting.count
        for event in waiting.packets:
            if reason is None:
                self._release(event, waiting.iid)
            else:
                self._out.drop(reason, str(key.source), self.origin(key))

    def _release(self, event: PacketIn, iid: int) -> None:
        """Through the tables, as it came in."""
        self._out.counters["packets-released"] += 1
        rloc, own = event.tunnel_source, event.tunnel_destination
        outer: tuple[SetField, ...] = ()
        if rloc is not None and own is not None:
            outer = (
                SetField("tunnel_id", iid),
                SetField(f"tun_ipv{rloc.version}_src", rloc),
                SetField(f"tun_ipv{own.version}_dst", own),
            )
        self._out.packet(event.frame, event.in_port, *outer, Output(Port.TABLE))

    def origin(self, key: GuardKey) -> str:
        """The RLOC, or the name of the port."""
        if not isinstance(key.origin, int):
            return str(key.origin)
        port = self._topology().port(key.origin)
        return port.name if port is not None else str(key.origin)

    # --- verdicts ----------------------------------------------------------------------------

    def _verify(self, key: GuardKey, now: float) -> None:
        assert not isinstance(key.origin, int)
        if self._embedded:
            self._out.act(Verify(self._out.name, key.source, key.origin))
        else:
            self._questions.put(key.source, key.origin, now)

    def judged(
        self, eid: EidPrefix, rloc: IPAddress, verdict: SourceVerdict | None, now: float
    ) -> None:
        """The answer to `Verify`. verdict: None when only a Map-Request can tell."""
        if verdict is None:
            self._questions.put(eid, rloc, now)
        else:
            self._decide(eid, rloc, verdict, Ground.DATABASE, None, now)

    def answered(self, eid: EidPrefix, mappings: Iterable[Mapping] | None, now: float) -> None:
        """The Map-Reply about a source EID-prefix. mappings: None when none came."""
        proxies = self.guarding.proxies
        for rloc, verdict, until in self._questions.answered(eid, mappings, proxies, now):
            self._decide(eid, rloc, verdict, Ground.MAP_REPLY, until, now)

    def _decide(
        self,
        eid: EidPrefix,
        rloc: IPAddress,
        verdict: SourceVerdict,
        ground: Ground,
        expires: float | None,
        now: float,
    ) -> None:
        asked = GuardKey(eid, rloc)
        waiting = self._room.take(asked)
        known = self.verdicts.get(asked)
        if known is not None and self._believed(known, verdict, now):
            return
        if known is not None and verdict.eid != eid:
            self._remove(asked)
        if waiting is None and known is None:
            return
        if waiting is None and not verdict.eid.covers(eid):
            # It holds for a part of what it held for; the rest is asked for by its packets.
            return
        entry = Entry(GuardKey(verdict.eid, rloc), verdict.reason, ground, now, now, expires)
        same = self.verdicts.get(entry.key)
        if same is not None and same.reason == entry.reason:
            same.ground, same.expires, same.grace = ground, expires, 0.0
            entry = same
            self._schedule(entry)
        else:
            self._put(entry)
        if waiting is not None:
            self._settle(entry, waiting)
            if entry.reason is None:
                self._glean(eid, rloc, now)

    @staticmethod
    def _believed(known: Entry, verdict: SourceVerdict, now: float) -> bool:
        """After a restart registrations come back one by one; what was allowed goes on so long."""
        away = verdict.reason in (SourceReason.NOT_REGISTERED, SourceReason.UNKNOWN)
        return away and known.reason is None and now < known.grace

    def _put(self, entry: Entry) -> None:
        gone = self.verdicts.put(entry)
        if gone is None:
            self._out.counters["source-guard-unlisted"] += 1
            self._out.touch(KIND, entry.key)
            return
        for old in gone:
            self._out.counters["source-guard-evictions"] += 1
            self._gone(old)
        self._out.touch(KIND, entry.key)
        self._schedule(entry)
        if entry.reason is not None:
            self._out.event(
                "source-guard.refused",
                str(entry.key.source),
                origin=self.origin(entry.key),
                reason=str(entry.reason),
                mode=str(self.guarding.mode),
            )
            if self._timers.when((_COUNT, 0)) is None:
                self._timers.schedule((_COUNT, 0), entry.since + COUNT_INTERVAL)

    def _schedule(self, entry: Entry) -> None:
        if entry.expires is not None:
            self._timers.schedule((_EXPIRE, entry.key), entry.expires)
        elif entry.grace:
            self._timers.schedule((_EXPIRE, entry.key), entry.grace)
        else:
            self._timers.cancel((_EXPIRE, entry.key))

    def _remove(self, key: GuardKey) -> None:
        entry = self.verdicts.remove(key)
        if entry is not None:
            self._gone(entry)

    def _gone(self, entry: Entry) -> None:
        self._timers.cancel((_EXPIRE, entry.key))
        self._again.pop(entry.key, None)
        self._out.touch(KIND, entry.key)

    # --- things changed ----------------------------------------------------------------------

    def mapping_changed(self, eid: EidPrefix, now: float) -> None:
        """What the mapping system knows about (part of) `eid` may be another."""
        if not self.guarding.checks:
            return
        for key in self.verdicts.overlapping(eid):
            if not isinstance(key.origin, int):
                self._again[key] = None
        self._verify_again(now)

    def verify_all(self, now: float) -> None:
        """Every verdict may be another."""
        if self.guarding.checks:
            keys = [e.key for e in self.verdicts if not isinstance(e.key.origin, int)]
            self._again.update(dict.fromkeys(keys))
            self._verify_again(now)

    def _verify_again(self, now: float) -> None:
        for _ in range(min(_BATCH, len(self._again))):
            key, _ = self._again.popitem(last=False)
            self._verify(key, now)
        if self._again:
            self._timers.schedule((_VERIFY, 0), now + _BATCH_INTERVAL)

    def hosts_changed(self, keys: Iterable[HostKey]) -> None:
        """Hosts were learned, moved or forgotten: verdicts about them are void."""
        for iid, address in keys:
            for key in list(self.verdicts.covering(host_eid(iid, address))):
                if isinstance(key.origin, int):
                    self._remove(key)

    def set_mode(self, mode: GuardMode, now: float) -> None:
        """Guard in another way from now on."""
        self.guarding = replace(self.guarding, mode=mode)
        if not self.guarding.checks:
            self._room.clear("source-guard-off")
            for entry in list(self.verdicts):
                self._remove(entry.key)
        self._out.dirty.update(dict.fromkeys(self.owners()))
        self._out.event("source-guard.mode", self._out.name, mode=str(mode))

    def ports_changed(self) -> None:
        """A number may stand for another port now."""
        for key in [e.key for e in self.verdicts if isinstance(e.key.origin, int)]:
            self._remove(key)

    def disconnected(self) -> None:
        """The switch is away: nothing can be released."""
        self._room.clear("switch-disconnected")

    def adopt(self, installed: Ruleset, now: float) -> None:
        """Take over the verdicts that the switch holds; each is verified again."""
        if not self.guarding.looks:
            return
        for key, reason in guard_rules.read_back(installed, self._topology()):
            of_port = isinstance(key.origin, int)
            if key in self.verdicts or (of_port and reason != self._of_port(key)):
                continue
            ground = Ground.PORT if of_port else Ground.ADOPTED
            grace = 0.0 if of_port or reason is not None else now + GRACE
            entry = Entry(key, reason, ground, now, now, counted=None, grace=grace)
            self._put(entry)
            if not of_port and self.guarding.checks:
                self._again[key] = None
        self._timers.schedule((_VERIFY, 0), now)

    def take_over(self, old: SourceGuard, now: float) -> None:
        """Go on where another guard of the same switch was."""
        self.packets.update(old.packets)
        if not self.guarding.looks:
            return
        topology = self._topology()
        for entry in old.verdicts:
            if guard_rules.match_of(entry.key, topology) is not None:
                self._put(replace(entry))
        self.verify_all(now)

    def waiting(self) -> list[PacketIn]:
        """The packets that wait, as they came; they wait no longer."""
        return self._room.empty()

    def due(self, name: TimerName, now: float) -> None:
        """A timer of the guard."""
        kind, key = name
        if kind == _VERIFY:
            self._verify_again(now)
        elif kind == _EXPIRE:
            entry = self.verdicts.get(key)
            if entry is not None:
                entry.grace = 0.0
                self._verify(key, now)
        elif kind == _COUNT and self.verdicts.refused:
            if self._out.connected:
                self._out.act(ReadCounters(self._out.datapath_id, CookieClass.SOURCE_GUARD))
            self._timers.schedule((_COUNT, 0), now + COUNT_INTERVAL)

    # --- rules and counters ------------------------------------------------------------------

    def owners(self) -> Iterator[Owner]:
        """Every owner of rules of the guard."""
        yield BASE
        for entry in self.verdicts:
            yield (KIND, entry.key)

    def owners_of(self, source: EidPrefix) -> Iterator[Owner]:
        """Those whose rules packets from a source EID can meet."""
        yield BASE
        for key in self.verdicts.covering(source):
            yield (KIND, key)

    def compile(self, key: GuardKey | None) -> Compiled:
        """The rules of an owner."""
        if key is None:
            return guard_rules.base(self._topology(), self.guarding)
        entry = self.verdicts.get(key)
        if entry is None:
            return Compiled()
        return guard_rules.verdict(key, entry.reason, self._topology(), self.guarding)

    def allowance(self, iid: int, source: IPAddress, rloc: IPAddress) -> frozenset[FlowRule]:
        """The flow that there would be if this RLOC may send for this source EID."""
        key = GuardKey(host_eid(iid, source), rloc)
        return frozenset(guard_rules.verdict(key, None, self._topology(), self.guarding).flows)

    def flow_removed(self, key: GuardKey | None, event: FlowRemoved) -> None:
        """The flow of a verdict left; an idle one takes the verdict with it."""
        if key is None:
            return
        self._count(key, event.packets)
        entry = self.verdicts.get(key)
        if entry is not None:
            entry.counted = 0
        if event.idle:
            self._remove(key)

    def counted(self, flows: Iterable[FlowCounter]) -> None:
        """The answer to `ReadCounters`."""
        topology = self._topology()
        for found in flows:
            key = guard_rules.key_of(found.match, topology)
            if key is not None:
                self._count(key, found.packets)

    def _count(self, key: GuardKey, packets: int) -> None:
        entry = self.verdicts.get(key)
        if entry is None or entry.reason is None:
            return
        before = packets if entry.counted is None else entry.counted
        new = packets - before if packets >= before else packets
        entry.counted = packets
        entry.packets += new
        self.packets[entry.reason] += new
