"""One Open vSwitch as ITR and ETR: events in, actions out, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from lisp_sdn.actions import (
    FlowCounter,
    FlowRemoved,
    PacketIn,
    PortInfo,
    ReadRules,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config
from lisp_sdn.errors import DecodeError
from lisp_sdn.model import Answer
from lisp_sdn.rules import (
    CookieClass,
    FieldValue,
    RuleChange,
    Ruleset,
    cookie_class,
    match,
)
from lisp_sdn.wire import MapReply, MapRequest
from lisp_sdn.xtr import adopt, compiler, replies, topology
from lisp_sdn.xtr.assembly import probe_rate
from lisp_sdn.xtr.brief import TIMER as BRIEFS_TIMER
from lisp_sdn.xtr.cache import CacheKey, Via
from lisp_sdn.xtr.etr import TIMER as REGISTER_TIMER
from lisp_sdn.xtr.frames import Ethernet, parse_ethernet, parse_ip
from lisp_sdn.xtr.guard import KIND as GUARD
from lisp_sdn.xtr.keeper import Record
from lisp_sdn.xtr.outbox import XtrAction
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, IID_MASK, RE_ENCAPSULATED, Punt
from lisp_sdn.xtr.queue import Held
from lisp_sdn.xtr.reconcile import FlowKey, changes_to
from lisp_sdn.xtr.records import records
from lisp_sdn.xtr.requests import Elsewhere, Forgotten, Order, Sighted, Sign, Verify
from lisp_sdn.xtr.resume import TIMER as RESUME_TIMER
from lisp_sdn.xtr.resume import Parts, Resumption
from lisp_sdn.xtr.verdicts import SourceVerdict
from lisp_sdn.xtr.view import View


class Xtr(View):
    """An xTR that the controller plays on one switch.

    Every event method returns actions of `lisp_sdn.actions` and `lisp_sdn.xtr.requests`, to be
    carried out in order. rng: for nonces.
    """

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
        for key in self._unwanted:
            self._itr.forget(key)
        self._unwanted = set()
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

    def _adopt_hosts(self, ruleset: Ruleset) -> None:
        for host in adopt.hosts(ruleset):
            port = self._topology.port(host.port)
            if port is not None and port.iid == host.iid and host.key not in self._hosts:
                self._hosts.learn(host, proven=False)
                if port.mobility:
                    self._out.act(Sighted(self.settings.name, port.name, host, Sign.ADOPTED))
        for key in adopt.away(ruleset) if self._topology.mobility else ():
            if key not in self.away and key not in self._hosts:
                self.away.add(key)
                self._out.act(Elsewhere(self.settings.name, key))

    def checked(self, problems: tuple[str, ...], now: float) -> list[XtrAction]:
        """What the edges found wrong with the switch beyond its ports; () when they looked again
        and nothing is.
        """
        if problems != self._checked:
            self._checked = problems
            self._tell_problems()
        return self._finish()

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
        """Forget the map-cache entry with exactly this key, or all. Returns how many went.

        What the switch holds and has not told yet is forgotten when it has been taken over.
        """
        count = self._itr.forget(key)
        if self._program.installed is None:
            full = len(self._unwanted) >= self._limits.map_cache_entries
            self._unwanted = {None} if full else self._unwanted | {key}
        return count, self._finish()

    def carry_out(self, order: Order, now: float) -> list[XtrAction]:
        """What the controller decided about an EID that comes or goes."""
        self._roaming.carry_out(order, now)
        return self._finish()

    # --- timers ------------------------------------------------------------------------------

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

    def retire(self) -> list[RuleChange]:
        """The changes that leave no rule of ours on its switch; () when it is not there."""
        installed = self._program.installed
        return [] if installed is None else changes_to(installed, (), (), ())

    def take_resolved(self) -> list[float]:
        """When the misses began whose flows were sent since the last call; epoch seconds."""
        return self._itr.take_resolved()
