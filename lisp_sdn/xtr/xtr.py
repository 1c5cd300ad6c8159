"""One Open vSwitch as ITR and ETR: events in, actions out, no I/O."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    FlowCounter,
    FlowRemoved,
    PacketIn,
    PortInfo,
    ReadRules,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.errors import DecodeError
from lisp_sdn.model import Answer, Locator
from lisp_sdn.rules import (
    CookieClass,
    FieldValue,
    RuleAction,
    RuleChange,
    Ruleset,
    cookie_class,
    match,
)
from lisp_sdn.views import (
    CachedAnswer,
    Counter,
    LocatorStatus,
    MapCacheEntry,
    XtrState,
)
from lisp_sdn.wire import MapReply, MapRequest
from lisp_sdn.xtr import adopt, compiler, native, replies, rlocsets, show, topology
from lisp_sdn.xtr.brief import TIMER as BRIEFS_TIMER
from lisp_sdn.xtr.brief import Briefs
from lisp_sdn.xtr.cache import CacheKey, Entry, MapCache, Via
from lisp_sdn.xtr.etr import TIMER as REGISTER_TIMER
from lisp_sdn.xtr.etr import Etr
from lisp_sdn.xtr.express import Express
from lisp_sdn.xtr.frames import Ethernet, parse_ethernet, parse_ip
from lisp_sdn.xtr.gateway import Gateway
from lisp_sdn.xtr.gleaner import Gleaner
from lisp_sdn.xtr.guard import KIND as GUARD
from lisp_sdn.xtr.guard import SourceGuard
from lisp_sdn.xtr.guard_rules import guarding
from lisp_sdn.xtr.hosts import Host, HostKey, Hosts
from lisp_sdn.xtr.itr import Itr
from lisp_sdn.xtr.keeper import CacheKeeper, Record
from lisp_sdn.xtr.neighbours import Neighbours
from lisp_sdn.xtr.outbox import Outbox, Owner, XtrAction
from lisp_sdn.xtr.owners import Owners
from lisp_sdn.xtr.petr import Petrs
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, IID_MASK, RE_ENCAPSULATED, Punt
from lisp_sdn.xtr.program import Program, set_owner
from lisp_sdn.xtr.queue import Held, HoldQueue, host_eid
from lisp_sdn.xtr.reachability import Prober
from lisp_sdn.xtr.reconcile import FlowKey, changes_to
from lisp_sdn.xtr.records import records
from lisp_sdn.xtr.requests import Forgotten, Order, Sighted, Sign, Verify
from lisp_sdn.xtr.resume import TIMER as RESUME_TIMER
from lisp_sdn.xtr.resume import Parts, Resumption
from lisp_sdn.xtr.roaming import Roaming
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.toobig import TooBig
from lisp_sdn.xtr.verdicts import SourceVerdict


def probe_rate(config: Config) -> float:
    """RLOC-probes per second of one xTR."""
    return config.reachability.probes_per_second / max(1, len(config.xtrs))


class Xtr:
    """An xTR that the controller plays on one switch.

    Every event method returns actions of `lisp_sdn.actions` and `lisp_sdn.xtr.requests`, to be
    carried out in order. rng: for nonces.
    """

    def __init__(self, settings: XtrSettings, config: Config, rng: random.Random) -> None:
        limits = config.limits
        embedded = not settings.map_resolvers
        self.settings = settings
        self.connected_since: float | None = None
        self._limits = limits
        self._ports: dict[str, PortInfo] = {}
        self._numbers: dict[str, int] = {}
        self._mobile = config.subnets_at(settings)
        self._topology = topology.build(
            settings, limits, (), roles=native.roles(config, settings), mobile=self._mobile
        )
        self._early: deque[PacketIn] = deque(maxlen=limits.held_packets_total)
        self._resumption: Resumption | None = None
        self._steps: Iterator[list[RuleChange]] = iter(())
        self._checked: tuple[str, ...] = ()
        self._central: frozenset[IPAddress] = frozenset()
        self._out = Outbox(settings.name, settings.datapath_id)
        self._timers = Timers()
        self._hosts = Hosts(limits.map_cache_entries)
        self._cache = MapCache(limits.map_cache_entries)
        hold = self._hold = HoldQueue(limits.held_packets_per_eid, limits.held_packets_total)
        common = (self._out, self._timers, lambda: self._topology)
        self._neighbours = Neighbours(*common, self._next_hops, limits.neighbour_prime_delay)
        self.away: set[HostKey] = set()
        """EIDs of connected subnets, or that were here, which are elsewhere now."""
        self._gateway = Gateway(
            *common, self._hosts, hold, limits.pending_resolutions, self.away, self._reassert
        )
        self._too_big = TooBig(self._out, lambda: self._topology, self._gateway)
        petrs = Petrs(settings, config.use_petr)
        self._keeper = CacheKeeper(self._cache, *common, self._neighbours, petrs, embedded=embedded)
        self._itr = Itr(
            settings.name,
            *common,
            rng,
            limits.pending_resolutions,
            self._keeper,
            hold,
            embedded=embedded,
            actions_of=self._actions_of,
            reassert=lambda entry: self._reassert(("cache", entry.destination)),
            tell=self._gateway.tell,
        )
        self._keeper.asker = self._itr
        self._etr = Etr(settings, config, self._out, self._timers)
        self._gleaner = Gleaner(config.gleaning, self._out, lambda: self._topology, self._keeper)
        self.guard = SourceGuard(
            guarding(settings, config),
            *common,
            self._hosts,
            limits.held_packets_per_eid,
            ask=self._itr.ask_source,
            glean=self._gleaner.seen,
            reassert=self._reassert,
            embedded=embedded,
        )
        self._itr.source_known = self.guard.answered
        self._roaming = Roaming(
            self._out,
            lambda: self._topology,
            self._hosts,
            self._gateway,
            self._itr,
            self._etr,
            hold,
            self.away,
        )
        self._owners = Owners(
            lambda: self._topology,
            self._hosts,
            self._cache,
            self._itr.resolutions,
            hold,
            limits.held_packets_per_eid,
            self.guard,
            self.away,
        )
        self._program = Program(self._owners.compile, self._owners.rloc_sets)
        self._briefs = Briefs(self._cache, self._keeper, self._timers, self._program)
        self.express = Express(
            settings.name,
            self._out,
            lambda: self._topology,
            self._hosts,
            self._cache,
            self._neighbours,
            self._itr.resolutions,
            hold,
            self._program,
            self._briefs,
        )
        reachability = config.reachability
        self._prober = Prober(
            reachability,
            probe_rate(config),
            *common,
            rng,
            self._probe_targets,
        )

    # --- the switch --------------------------------------------------------------------------

    def start(self, now: float) -> list[XtrAction]:
        """The controller starts: register at once, the switch may be forwarding already."""
        self._etr.register(now)
        return self._finish()

    def connected(self, ports: tuple[PortInfo, ...], now: float) -> list[XtrAction]:
        """The switch finished its handshake; its rules are read before any is sent."""
        self._set_ports(ports)
        self.connected_since = now
        self._out.connected = False
        self._program.stop()
        self._stop_resuming()
        self._out.act(ReadRules(self.settings.datapath_id))
        return self._finish()

    def installed(
        self, ports: tuple[PortInfo, ...], ruleset: Ruleset, now: float
    ) -> list[XtrAction]:
        """What the switch holds: take over what forwards, send only the difference.

        With many flows that goes on by timer, see `resume`.
        """
        self._set_ports(ports)
        self.connected_since = self.connected_since or now
        self._out.connected = True
        self._adopt_hosts(ruleset)
        self.guard.adopt(ruleset, now)
        parts = (self._cache, self._keeper, self._briefs, self._program, self._owners, self.express)
        resumption = Resumption(Parts(lambda: self._topology, *parts), ruleset, now)
        self._resumption, self._steps = resumption, resumption.steps()
        actions = self._resume(now)
        while resumption.is_small and self._resumption is resumption:
            actions += self._resume(now)
        return actions

    def _resume(self, now: float) -> list[XtrAction]:
        """One part of what is to be done about a switch that has told what it holds."""
        changes = next(self._steps, None)
        if changes is not None:
            self._timers.schedule(RESUME_TIMER, now)
            return self._finish(changes)
        done, self._resumption = self._resumption, None
        self._timers.cancel(RESUME_TIMER)
        if done is None:
            return []
        self._neighbours.reconnected(done.hops, now)
        self._out.event(
            "switch.reconciled",
            self.settings.name,
            installed=done.ruleset.flow_count,
            adopted=done.adopted,
            changes=done.changes,
        )
        self._tell_problems()
        self._etr.register(now)
        self._keeper.revalidate_some(now)
        actions = self._finish()
        while self._early:
            actions.extend(self.packet_in(self._early.popleft(), now))
        return actions

    def _stop_resuming(self) -> None:
        self._resumption, self._steps = None, iter(())
        self._timers.cancel(RESUME_TIMER)

    def disconnected(self, now: float) -> list[XtrAction]:
        """The connection is gone; the switch goes on forwarding with what it has."""
        self.connected_since = None
        self._out.connected = False
        self._program.stop()
        self._stop_resuming()
        self._early.clear()
        self._itr.disconnected()
        self.guard.disconnected()
        return self._finish()

    def port_changed(self, port: PortInfo, now: float) -> list[XtrAction]:
        """A port came, changed or went; its number may be another than before."""
        before = self._topology
        self._set_ports((*self._ports.values(), port))
        if self._topology != before:
            self.guard.ports_changed()
            self._briefs.follow(self._topology)
            owners = [*self._owners.written_out(), *self._program.set_owners()]
            self._out.dirty.update(dict.fromkeys(owners))
            if self._topology.tunnel_port != before.tunnel_port and self._out.connected:
                self._neighbours.reconnected(self._all_next_hops(), now)
        self._tell_problems()
        return self._finish()

    def _set_ports(self, ports: Iterable[PortInfo]) -> None:
        self._ports = {port.name: port for port in ports}
        for key in self._hosts.renumber(topology.renumbered(self._numbers, self._ports.values())):
            self._out.touch("host", key)
        self._topology = topology.build(
            self.settings,
            self._limits,
            self._ports.values(),
            self._topology.down,
            self._topology.drained,
            self._topology.roles,
            self._mobile,
        )

    # --- reachability ------------------------------------------------------------------------

    def rlocs_changed(
        self, down: frozenset[IPAddress], drained: frozenset[IPAddress], now: float
    ) -> list[XtrAction]:
        """What the controller knows of RLOCs of ours, of all xTRs: without uplink, drained."""
        own = frozenset(self._topology.rlocs) & (down ^ self._central)
        self._central = down
        if own:
            self._etr.rlocs_changed(down, now)
        self._reach(drained)
        return self._finish()

    def pace_probes(self, config: Config) -> None:
        """The configuration has another number of xTRs, which share the rate of probes."""
        self._prober.pace(probe_rate(config))

    def probing(
        self,
        enabled: bool,
        answering: frozenset[IPAddress],
        silent: frozenset[IPAddress],
        now: float,
    ) -> list[XtrAction]:
        """Whether RLOC-probes can be sent, and who answers them; see `reachability`."""
        self._prober.enable(enabled, answering, silent, now)
        return self._finish()

    def _probe_targets(self) -> dict[IPAddress, EidPrefix]:
        """The RLOCs that traffic may go to, each with an EID-prefix behind it."""
        targets: dict[IPAddress, EidPrefix] = {}
        for rlocs in self._program.live_sets():
            for rloc in rlocsets.candidates(rlocs, self._topology):
                if rloc not in targets:
                    targets[rloc] = self._program.user(rlocs)[1]
        return targets

    def _reach(self, drained: frozenset[IPAddress]) -> None:
        """Let RLOC-sets follow: their rules only, however many EIDs are behind them."""
        before, down = self._topology, self._central | self._prober.down
        changed = (down ^ before.down) | (drained ^ before.drained)
        if not changed:
            return
        self._topology = replace(before, down=down, drained=drained)
        every = not changed.isdisjoint(before.rlocs)
        for rlocs in self._program.live_sets():
            if every or any(item.rloc in changed for item in rlocs):
                self._out.dirty[set_owner(rlocs)] = None

    def _adopt_hosts(self, ruleset: Ruleset) -> None:
        for host in adopt.hosts(ruleset):
            port = self._topology.port(host.port)
            if port is not None and port.iid == host.iid and host.key not in self._hosts:
                self._hosts.learn(host, proven=False)
                if port.mobility:
                    self._out.act(Sighted(self.settings.name, port.name, host, Sign.ADOPTED))

    def checked(self, problems: tuple[str, ...], now: float) -> list[XtrAction]:
        """What the edges found wrong with the switch beyond its ports; () when they looked again
        and nothing is.
        """
        if problems != self._checked:
            self._checked = problems
            self._tell_problems()
        return self._finish()

    def problems(self) -> tuple[str, ...]:
        """Why the switch does not forward as configured, one sentence each."""
        if not self._ports:
            return ()
        found = list(self._checked)
        if self._topology.tunnel_port is None:
            found.append(f"the switch has no tunnel port {self.settings.tunnel_port!r}")
        for port in self.settings.eid_ports:
            if port.name not in self._ports:
                found.append(f"the switch has no EID-facing port {port.name!r}")
            elif not self._ports[port.name].up:
                found.append(f"EID-facing port {port.name!r} is down")
        found += native.problems(self._topology)
        return tuple(found)

    def _tell_problems(self) -> None:
        for problem in self.problems():
            self._out.event("xtr.problem", self.settings.name, problem=problem)

    # --- packets -----------------------------------------------------------------------------

    def packet_in(self, event: PacketIn, now: float) -> list[XtrAction]:
        """A packet that a flow sent to the controller; the flow's cookie says why."""
        if not self._out.connected or self._program.installed is None:
            # The rules are still being read, or compared; nothing can be sent before.
            if len(self._early) == self._early.maxlen:
                self._out.drop("held-total", "before the rules were read", f"port {event.in_port}")
                return self._finish()
            self._early.append(event)
            return []
        self._out.counters["packet-ins"] += 1
        try:
            self._packet(event, now)
        except DecodeError as error:
            self._out.drop(error.reason, str(error), f"port {event.in_port}")
        return self._finish()

    def _packet(self, event: PacketIn, now: float) -> None:
        frame = parse_ethernet(event.frame)
        port = self._topology.port(event.in_port)
        known = port or self._topology.native_port(event.in_port)
        through = (self._topology.tunnel_port, RE_ENCAPSULATED)
        if known is None and event.in_port not in through:
            self._out.drop("unknown-port", f"port {event.in_port}")
            return
        kind = cookie_class(event.cookie)
        punt = event.cookie & 0xFF if kind is CookieClass.PIPELINE else Punt.MISS
        if punt == Punt.ARP and port is not None:
            self._gateway.arp(frame, port)
        elif punt == Punt.NEIGHBOUR and port is not None:
            self._gateway.neighbour(frame, port)
        elif kind in (CookieClass.PIPELINE, CookieClass.PENDING, CookieClass.MAP_CACHE):
            self._ip_packet(event, frame, port, punt, now)
        else:
            self._out.drop("unexpected-packet-in", f"cookie {event.cookie:#x}")

    def _ip_packet(
        self,
        event: PacketIn,
        frame: Ethernet,
        port: topology.AttachedPort | None,
        punt: int,
        now: float,
    ) -> None:
        packet = parse_ip(frame.payload)
        iid = port.iid if port else (event.metadata or event.tunnel_id) & IID_MASK
        tunnel = event.in_port in (self._topology.tunnel_port, RE_ENCAPSULATED)
        held = Held(event.frame, event.in_port, packet.source, tunnel)
        if port is not None and punt == Punt.DHCP:
            self._gateway.dhcp(frame, packet, port)
            return
        if port is not None and punt == Punt.ARRIVAL:
            self._gateway.arrival(frame, packet, port, held)
            return
        if port is not None:
            self._gateway.seen(frame, packet, port)
        if punt == Punt.SOURCE:
            self.guard.packet(event, packet, iid, now)
        elif punt == Punt.TTL:
            self._out.counters["ttl-exceeded"] += 1
            self._gateway.tell(replies.TTL_EXCEEDED, iid, held)
        elif punt == Punt.GATEWAY:
            self._gateway.echo(packet, iid)
        elif punt == Punt.TOO_BIG:
            self._too_big.packet(event, packet, iid, held)
        elif punt == Punt.LOCAL:
            self._gateway.deliver(packet, iid, held, now)
        elif punt != Punt.MISS:
            self._out.drop("unexpected-packet-in", f"cookie {event.cookie:#x}")
        elif event.in_port == self._topology.tunnel_port or event.metadata & FROM_TUNNEL:
            # An ETR never encapsulates again what it has decapsulated.
            self._out.drop("miss-from-tunnel", str(packet.destination), str(packet.source))
        else:
            self._itr.miss(packet, iid, held, now)

    def flow_removed(self, event: FlowRemoved, now: float) -> list[XtrAction]:
        """A flow left the switch: by idle timeout with its owner, otherwise it is sent again."""
        table, priority, fields = event.rule_key
        key = (table, priority, match(**cast("dict[str, FieldValue]", dict(fields))))
        destination = adopt.destination(*key)
        if destination is not None:
            self._cache.node(destination)
        self._program.forget(key)
        owner = self._program.owner(key)
        if owner is None:
            return self._finish()
        self._out.dirty[owner] = None
        if owner[0] == GUARD:
            self.guard.flow_removed(owner[1], event)
        if not event.idle:
            self._out.counters["flows-reasserted"] += 1
        elif owner[0] == "host":
            self._hosts.forget(owner[1])
            if self._topology.mobility:
                self._out.act(Forgotten(self.settings.name, owner[1]))
        elif owner[0] == "cache":
            self._idle_entry(owner[1], key)
        return self._finish()

    def _idle_entry(self, destination: EidPrefix, key: FlowKey) -> None:
        node = self._cache.node(destination)
        for entry in list(node.entries.values()) if node else ():
            if (key[1], key[2]) == (
                compiler.cache_priority(destination, entry.source),
                compiler.cache_match(destination, entry.source),
            ):
                self._keeper.remove(entry.key, "idle")

    # --- control messages --------------------------------------------------------------------

    def receive(
        self, message: MapReply | MapRequest, source: Endpoint | None, now: float
    ) -> list[XtrAction]:
        """A Map-Reply to one of our Map-Requests, or a Solicit-Map-Request."""
        if isinstance(message, MapReply) and message.probe:
            self._probe_reply(message, now)
        elif isinstance(message, MapReply):
            self._itr.answer(message.nonce, list(records(message.records, self._out)), now)
        elif message.smr:
            self._solicited(message, now)
        else:
            self._out.drop("map-request-unexpected", "not an SMR", str(source or ""))
        return self._finish()

    def _probe_reply(self, reply: MapReply, now: float) -> None:
        """RFC 9301 section 7.1: it tells of the locator, and of changes to the mapping."""
        found = self._prober.answer(reply, now)
        self._reach(self._topology.drained)
        # A Map-Resolver of ours says what is for this xTR; a foreign ETR says what it has.
        if self.settings.map_resolvers:
            # A PETR tells of its locator only: what is not LISP is the Map-Resolver's to say.
            # What was gleaned is not verified by whom it was gleaned from.
            known = ((r, self._cache.get(r[0])) for r in records(found, self._out))
            apart = (Via.PETR, Via.GLEANED)
            cached = [r for r, entry in known if entry is not None and entry.via not in apart]
            self._keeper.store(cached, None, now)

    def _solicited(self, message: MapRequest, now: float) -> None:
        # RFC 9301 6.1 does not say which field names the changed prefix: either may.
        named = [record.eid for record in message.records]
        if isinstance(message.source_eid, EidPrefix):
            named.append(message.source_eid)
        cached = [e for e in named if isinstance(e, EidPrefix) and self._cache.overlapping(e)]
        for eid in cached:
            self._keeper.solicited(eid, now)
        for changed in named:
            if isinstance(changed, EidPrefix):
                self.guard.mapping_changed(changed, now)
        if not cached:
            self._out.drop("smr-not-cached", ", ".join(map(str, named)))

    def receive_answer(
        self, answer: Answer | Sequence[Answer], nonce: int, now: float
    ) -> list[XtrAction]:
        """The answer of a mapping system of ours, with the source EIDs for which it holds."""
        answers = [answer] if isinstance(answer, Answer) else list(answer)
        records: list[Record] = []
        for item in answers:
            mapping = replace(item.mapping, ttl_minutes=item.ttl_minutes(now))
            records.append((item.scope or mapping.eid, mapping))
        self._itr.answer(nonce, records, now)
        return self._finish()

    def expects(self, nonce: int) -> bool:
        """Whether a Map-Reply with this nonce is awaited."""
        return self._itr.resolutions.expects(nonce) or self._prober.expects(nonce)

    def mapping_changed(self, eid: EidPrefix, now: float) -> list[XtrAction]:
        """The mapping system's answer for (part of) `eid` may have changed."""
        self._itr.mapping_changed(eid, now)
        self.guard.mapping_changed(eid, now)
        return self._finish()

    def judged(self, asked: Verify, verdict: SourceVerdict | None, now: float) -> list[XtrAction]:
        """The answer to `Verify`. verdict: None when only a Map-Request can tell."""
        self.guard.judged(asked.eid, asked.rloc, verdict, now)
        return self._finish()

    def judge_again(self, now: float) -> list[XtrAction]:
        """What decides about sources may be another for all of them."""
        self.guard.verify_all(now)
        return self._finish()

    def counted(self, flows: Iterable[FlowCounter], now: float) -> list[XtrAction]:
        """The answer to `ReadCounters` of the flows of the source guard."""
        self.guard.counted(flows)
        return self._finish()

    def rlocs_known(self, rlocs: Iterable[IPAddress], now: float) -> list[XtrAction]:
        """RLOCs of the network, whose next hops are resolved before the first packet."""
        self._neighbours.know(rlocs, now)
        return self._finish()

    def forget(self, key: CacheKey | None) -> tuple[int, list[XtrAction]]:
        """Forget the map-cache entry with exactly this key, or all. Returns how many went."""
        count = self._itr.forget(key)
        return count, self._finish()

    def carry_out(self, order: Order, now: float) -> list[XtrAction]:
        """What the controller decided about an EID that comes or goes."""
        self._roaming.carry_out(order, now)
        return self._finish()

    # --- timers ------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` must be called; None for never."""
        return self._timers.next()

    def handle_timer(self, now: float) -> list[XtrAction]:
        """Do what is due."""
        actions: list[XtrAction] = []
        for name in self._timers.due(now):
            kind, key = name
            if name == RESUME_TIMER:
                actions += self._resume(now)
            elif kind == "retry":
                self._itr.retry(key, now)
            elif kind == "ready":
                self._keeper.activate(key, now)
            elif kind == "refresh":
                self._keeper.refresh_due(key, now)
            elif kind == "expire":
                self._keeper.remove(key, "expired")
            elif kind == "revalidate":
                self._keeper.revalidate_some(now)
            elif kind == "prime":
                self._neighbours.due(key, now)
            elif kind == "ask":
                self._gateway.ask_due(key, now)
            elif kind == "probe":
                self._prober.due(key, now)
                self._reach(self._topology.drained)
            elif kind == "probes":
                self._prober.scan(now)
                self._reach(self._topology.drained)
            elif kind.startswith(GUARD):
                self.guard.due(name, now)
            elif kind == BRIEFS_TIMER:
                self._briefs.due(key, now)
            elif name == REGISTER_TIMER:
                self._etr.due(now)
        return [*actions, *self._finish()]

    # --- rules -------------------------------------------------------------------------------

    def retire(self) -> list[RuleChange]:
        """The changes that leave no rule of ours on its switch; () when it is not there."""
        installed = self._program.installed
        return [] if installed is None else changes_to(installed, (), (), ())

    def wanted(self) -> Ruleset:
        """Every rule that the switch should hold: a function of settings, ports and state."""
        return self._program.wanted(self._owners)

    def rules_for(
        self,
        iid: int,
        source: IPAddress,
        destination: IPAddress,
        verified: IPAddress | None = None,
    ) -> Ruleset:
        """Those of `wanted` that one packet can meet, however many there are.

        verified: with the verdict of the source guard that this RLOC may send for the source.
        """
        rules = self._program.wanted(self._owners.of_packet(iid, source, destination))
        if verified is None:
            return rules
        return replace(rules, flows=rules.flows | self.guard.allowance(iid, source, verified))

    def _finish(self, changes: Sequence[RuleChange] = ()) -> list[XtrAction]:
        self.guard.hosts_changed([key for kind, key in self._out.dirty if kind == "host"])
        dirty, self._out.dirty = self._out.dirty, {}
        for kind, key in dirty:
            if kind == "cache":
                self._prober.changed(key)
        changes = [*changes, *self._program.update(dirty)]
        rules: list[Action] = []
        if changes:
            self._out.counters["rule-changes"] += len(changes)
            rules.append(ApplyRules(self.settings.datapath_id, tuple(changes)))
        return self._out.take(rules)

    def _actions_of(self, entry: Entry) -> tuple[RuleAction, ...]:
        return compiler.direct_actions(entry, self._topology, self._program.number)

    def _reassert(self, owner: Owner) -> None:
        self._program.forget_owner(owner)
        self._out.dirty[owner] = None

    def _next_hops(self) -> frozenset[IPAddress]:
        return frozenset(
            rloc
            for rlocs in self._program.live_sets()
            for rloc in rlocsets.candidates(rlocs, self._topology)
        )

    def _all_next_hops(self) -> frozenset[IPAddress]:
        """Also of entries that were taken over and not confirmed yet."""
        sets = {rlocsets.normalise(locators) for locators in self._cache.locators()}
        return frozenset(
            rloc for rlocs in sets for rloc in rlocsets.candidates(rlocs, self._topology)
        )

    # --- what it shows -----------------------------------------------------------------------

    def source_rloc(self, version: int) -> IPAddress | None:
        """Our first RLOC of this family."""
        return self._topology.source_rloc(version)

    @property
    def topology(self) -> topology.Topology:
        """What it is attached to now."""
        return self._topology

    def native_trouble(self, iid: int) -> str | None:
        """Why it takes no native packets of this instance-ID in, as a reason code."""
        if not self._out.connected:
            return "switch-not-connected"
        if self._topology.tunnel_port is None:
            return "no-tunnel-port"
        return native.why_not(iid, self._topology)

    def rloc_status(self, locator: Locator) -> LocatorStatus:
        """How it sees an RLOC of another."""
        return show.locator_status(locator, self._topology, self._prober, None)

    def asks_for_others(self, source: EidPrefix) -> bool:
        """Whether it asks as Proxy-ITR for a packet from this source."""
        return self._topology.asks_for_others(source.iid, source)

    def serves(self, eid: EidPrefix) -> bool:
        """Whether it is, or is in, an EID-prefix that we register."""
        return self._etr.serves(eid)

    def map_cache_entries(self, now: float) -> Iterator[MapCacheEntry]:
        """The map-cache, resolutions under way included, in no particular order. Lazy."""
        for entry in self._cache:
            yield show.cache_entry(entry, self._topology, self._prober)
        yield from show.unanswered(self._itr.resolutions.misses())

    def cached(self, iid: int, source: IPAddress, destination: IPAddress) -> MapCacheEntry | None:
        """The map-cache entry for a packet, or the resolution that it would wait for."""
        entry = self._cache.lookup(iid, source, destination)
        if entry is not None:
            return show.cache_entry(entry, self._topology, self._prober)
        waiting = self._itr.resolutions.miss(host_eid(iid, destination))
        return show.unanswered([waiting])[0] if waiting is not None else None

    def local_eid(self, iid: int, address: IPAddress) -> Host | None:
        """The host with this EID, if one was seen here."""
        return self._hosts.get((iid, address))

    def is_away(self, iid: int, address: IPAddress) -> bool:
        """Whether it is known that this EID is at another xTR."""
        return (iid, address) in self.away

    def local_eids(self) -> Iterator[Host]:
        """The hosts that were seen here, in no particular order."""
        return iter(self._hosts)

    def cached_answers(self) -> Iterator[CachedAnswer]:
        """What it has asked for and holds, in no particular order."""
        for entry in self._cache:
            yield CachedAnswer(self.settings.name, entry.key, entry.asked)

    def state(self) -> XtrState:
        """What changes about this xTR."""
        flows, groups, meters = self._program.counts()
        return XtrState(
            connected_since=self.connected_since,
            problems=self.problems(),
            rlocs=tuple(
                show.own_rloc(item.locator, self._topology, self.connected_since)
                for item in self.settings.rlocs
            ),
            ports=tuple(self._ports.values()),
            map_cache_entries=len(self._cache),
            pending_resolutions=len(self._itr.resolutions.misses()),
            held_packets=len(self._hold),
            flows=flows,
            groups=groups,
            meters=meters,
        )

    def take_resolved(self) -> list[float]:
        """When the misses began whose flows were sent since the last call; epoch seconds."""
        return self._itr.take_resolved()

    def counters(self) -> Iterator[Counter]:
        """Counters of this xTR."""
        for name, value in sorted(self._out.counters.items()):
            yield Counter(f"xtr-{name}", value, (("xtr", self.settings.name),))
        for reason, value in sorted(self.guard.packets.items()):
            labels = (("reason", str(reason)), ("xtr", self.settings.name))
            yield Counter("source-guard-packets", value, labels)
