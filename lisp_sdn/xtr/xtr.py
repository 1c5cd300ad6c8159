"""One Open vSwitch as ITR and ETR: events in, actions out, no I/O."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    FlowRemoved,
    PacketIn,
    PortInfo,
    ReadRules,
)
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, SourceDestPrefix
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.errors import DecodeError
from lisp_sdn.model import Act, Answer, Mapping
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
    Counter,
    LocatorState,
    LocatorStatus,
    MapCacheEntry,
    XtrState,
)
from lisp_sdn.wire import EidRecord, MapReply, MapRequest
from lisp_sdn.xtr import adopt, compiler, replies, rlocsets, topology
from lisp_sdn.xtr.cache import Entry
from lisp_sdn.xtr.compiler import Compiled, GroupOf
from lisp_sdn.xtr.etr import TIMER as REGISTER_TIMER
from lisp_sdn.xtr.etr import Etr
from lisp_sdn.xtr.frames import Ethernet, parse_ethernet, parse_ip
from lisp_sdn.xtr.gateway import Gateway
from lisp_sdn.xtr.hosts import Hosts
from lisp_sdn.xtr.itr import ADOPTED_LIFETIME, Itr, Record
from lisp_sdn.xtr.neighbours import Neighbours
from lisp_sdn.xtr.outbox import Outbox, Owner, XtrAction
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, IID_MASK, Punt
from lisp_sdn.xtr.program import Program
from lisp_sdn.xtr.queue import Held, HoldQueue
from lisp_sdn.xtr.rlocsets import RlocSet
from lisp_sdn.xtr.timers import Timers

_STATIC: Owner = ("static", 0)


class Xtr:
    """An xTR that the controller plays on one switch.

    Every event method returns actions of `lisp_sdn.actions` and `lisp_sdn.xtr.requests`, to be
    carried out in order. rng: for nonces.
    """

    def __init__(self, settings: XtrSettings, config: Config, rng: random.Random) -> None:
        limits = config.limits
        self.settings = settings
        self.connected_since: float | None = None
        self._limits = limits
        self._ports: dict[str, PortInfo] = {}
        self._topology = topology.build(settings, limits, ())
        self._out = Outbox(settings.name, settings.datapath_id)
        self._timers = Timers()
        self._hold = HoldQueue(limits.held_packets_per_eid, limits.held_packets_total)
        self._program = Program(self._compile, self._rloc_sets)
        self._neighbours = Neighbours(
            self._out,
            self._timers,
            lambda: self._topology,
            lambda rloc: rloc in self._itr.next_hops_in_use(),
            limits.neighbour_prime_delay,
        )
        self._gateway = Gateway(
            self._out,
            self._timers,
            lambda: self._topology,
            Hosts(limits.map_cache_entries),
            self._hold,
            limits.pending_resolutions,
        )
        self._itr = Itr(
            settings.name,
            self._out,
            self._timers,
            rng,
            limits,
            lambda: self._topology,
            self._neighbours,
            self._hold,
            embedded=not settings.map_resolvers,
            actions_of=self._actions_of,
            reassert=lambda entry: self._reassert(("cache", entry.destination)),
            tell=self._gateway.tell,
        )
        self._etr = Etr(settings, config, self._out, self._timers)

    # --- the switch --------------------------------------------------------------------------

    def start(self, now: float) -> list[XtrAction]:
        """The controller starts: register at once, the switch may be forwarding already."""
        self._etr.register(now)
        return self._finish()

    def connected(self, ports: tuple[PortInfo, ...], now: float) -> list[XtrAction]:
        """The switch finished its handshake; its rules are read before any is sent."""
        self._set_ports(ports)
        self.connected_since = now
        self._program.stop()
        self._out.act(ReadRules(self.settings.datapath_id))
        return self._finish()

    def installed(
        self, ports: tuple[PortInfo, ...], ruleset: Ruleset, now: float
    ) -> list[XtrAction]:
        """What the switch holds: take over what forwards, send only the difference."""
        self._set_ports(ports)
        if self.connected_since is None:
            self.connected_since = now
        self._out.connected = True
        adopted = self._itr.adopt(adopt.entries(ruleset, now, ADOPTED_LIFETIME))
        for host in adopt.hosts(ruleset):
            port = self._topology.port(host.port)
            if (
                port is not None
                and port.iid == host.iid
                and self._gateway.hosts.get(host.key) is None
            ):
                self._gateway.hosts.learn(host, proven=False)
        self._neighbours.reconnected(self._itr.next_hops_in_use(), now)
        changes = self._program.start(self._owners(), ruleset)
        self._out.dirty.clear()
        self._out.event(
            "switch.reconciled",
            self.settings.name,
            adopted=adopted,
            changes=len(changes),
            kept=len(ruleset.flows),
        )
        for problem in self.problems():
            self._out.event("xtr.problem", self.settings.name, problem=problem)
        self._etr.register(now)
        self._itr.revalidate_some(now)
        return self._finish(changes)

    def disconnected(self, now: float) -> list[XtrAction]:
        """The connection is gone; the switch goes on forwarding with what it has."""
        self.connected_since = None
        self._out.connected = False
        self._program.stop()
        for key in self._hold.destinations():
            self._itr.held_dropped(key, "switch-disconnected")
        return self._finish()

    def port_changed(self, port: PortInfo, now: float) -> list[XtrAction]:
        """A port came or changed; `up` False with number 0 means that it is gone."""
        self._ports[port.name] = port
        if port.number == 0:
            del self._ports[port.name]
        self._rebuild(now)
        return self._finish()

    def _set_ports(self, ports: Iterable[PortInfo]) -> None:
        self._ports = {port.name: port for port in ports}
        self._topology = topology.build(self.settings, self._limits, self._ports.values())

    def _rebuild(self, now: float) -> None:
        before = self._topology
        self._topology = topology.build(self.settings, self._limits, self._ports.values())
        if self._topology == before:
            return
        for owner in self._owners():
            self._out.dirty[owner] = None
        if self._topology.tunnel_port != before.tunnel_port:
            self._neighbours.reconnected(self._itr.next_hops_in_use(), now)
        for problem in self.problems():
            self._out.event("xtr.problem", self.settings.name, problem=problem)

    def problems(self) -> tuple[str, ...]:
        """Why the switch does not forward as configured, one sentence each."""
        if not self._ports:
            return ()
        found = []
        if self._topology.tunnel_port is None:
            found.append(f"the switch has no tunnel port {self.settings.tunnel_port!r}")
        for port in self.settings.eid_ports:
            if port.name not in self._ports:
                found.append(f"the switch has no EID-facing port {port.name!r}")
            elif not self._ports[port.name].up:
                found.append(f"EID-facing port {port.name!r} is down")
        return tuple(found)

    # --- packets -----------------------------------------------------------------------------

    def packet_in(self, event: PacketIn, now: float) -> list[XtrAction]:
        """A packet that a flow sent to the controller; the flow's cookie says why."""
        self._out.counters["packet-ins"] += 1
        try:
            self._packet(event, now)
        except DecodeError as error:
            self._out.drop(error.reason, str(error), f"port {event.in_port}")
        return self._finish()

    def _packet(self, event: PacketIn, now: float) -> None:
        frame = parse_ethernet(event.frame)
        from_tunnel = event.in_port == self._topology.tunnel_port
        port = self._topology.port(event.in_port)
        if port is None and not from_tunnel:
            self._out.drop("unknown-port", f"port {event.in_port}")
            return
        kind = cookie_class(event.cookie)
        punt = event.cookie & 0xFF if kind is CookieClass.PIPELINE else Punt.MISS
        if kind not in (CookieClass.PIPELINE, CookieClass.PENDING, CookieClass.MAP_CACHE):
            self._out.drop("unexpected-packet-in", f"cookie {event.cookie:#x}")
        elif punt in (Punt.ARP, Punt.NEIGHBOUR) and port is not None:
            handle = self._gateway.arp if punt == Punt.ARP else self._gateway.neighbour
            handle(frame, port, now)
        else:
            self._ip_packet(event, frame, port, punt, now)

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
        if port is not None:
            self._gateway.seen(frame, packet, port, now)
        held = Held(event.frame, event.in_port, packet.source, port is None)
        if punt == Punt.TTL:
            self._out.counters["ttl-exceeded"] += 1
            self._gateway.tell(replies.TTL_EXCEEDED, iid, event.frame)
        elif punt == Punt.GATEWAY:
            self._gateway.echo(packet, iid)
        elif punt == Punt.LOCAL:
            self._gateway.deliver(packet, iid, held, now)
        elif punt != Punt.MISS:
            self._out.drop("unexpected-packet-in", f"cookie {event.cookie:#x}")
        elif port is None or event.metadata & FROM_TUNNEL:
            # An ETR never encapsulates again what it has decapsulated.
            self._out.drop("miss-from-tunnel", str(packet.destination), str(packet.source))
        else:
            self._itr.miss(packet, iid, held, now)

    def flow_removed(self, event: FlowRemoved, now: float) -> list[XtrAction]:
        """A flow left the switch: by idle timeout with its entry, otherwise it is sent again."""
        table, priority, fields = event.rule_key
        key = (table, priority, match(**cast("dict[str, FieldValue]", dict(fields))))
        owner = self._program.owner(key)
        if owner is None:
            return self._finish()
        self._program.forget(key)
        if not event.idle:
            self._out.counters["flows-reasserted"] += 1
            self._out.dirty[owner] = None
        elif owner[0] == "host":
            self._gateway.hosts.forget(owner[1])
            self._out.dirty[owner] = None
        elif owner[0] == "cache":
            self._idle_entry(owner[1], key)
        return self._finish()

    def _idle_entry(self, destination: EidPrefix, key: tuple[int, int, object]) -> None:
        node = self._itr.cache.node(destination)
        for entry in list(node.entries.values()) if node else ():
            if key[1] == compiler.cache_priority(destination, entry.source) and any(
                rule.key == key for rule in self._entry_rules(entry).flows
            ):
                self._itr.remove(entry.key, "idle")

    # --- control messages --------------------------------------------------------------------

    def expects(self, nonce: int) -> bool:
        """Whether a Map-Request with this nonce waits for its Map-Reply."""
        return self._itr.resolutions.expects(nonce)

    def serves(self, eid: EidPrefix) -> bool:
        """Whether this ETR registers the EID-prefix or one that covers it."""
        return any(own.covers(eid) for own in self._etr.prefixes())

    def source_rloc(self, version: int) -> IPAddress | None:
        """Our first RLOC of this family, 4 or 6."""
        return self._topology.source_rloc(version)

    def receive(
        self, message: MapReply | MapRequest, source: Endpoint | None, now: float
    ) -> list[XtrAction]:
        """A Map-Reply to one of our Map-Requests, or a Solicit-Map-Request."""
        if isinstance(message, MapReply):
            self._itr.answer(message.nonce, list(self._records(message.records)), now)
        elif message.smr:
            self._solicited(message, now)
        else:
            self._out.drop("map-request-unexpected", "not an SMR", str(source or ""))
        return self._finish()

    def _records(self, records: Iterable[EidRecord]) -> Iterator[Record]:
        for record in records:
            eid = record.eid
            if isinstance(eid, EidPrefix):
                yield eid, record.mapping
            elif isinstance(eid, SourceDestPrefix):
                yield eid, replace(record, eid=eid.destination).mapping
            else:
                self._out.drop("eid-not-ip", str(eid))

    def _solicited(self, message: MapRequest, now: float) -> None:
        # RFC 9301 6.1 does not say which field names the changed prefix: either may.
        named = [record.eid for record in message.records]
        if isinstance(message.source_eid, EidPrefix):
            named.append(message.source_eid)
        cached = [eid for eid in named if isinstance(eid, EidPrefix) and self._is_cached(eid)]
        for eid in cached:
            self._itr.solicited(eid, now)
        if not cached:
            self._out.drop("smr-not-cached", ", ".join(map(str, named)))

    def _is_cached(self, eid: EidPrefix) -> bool:
        return bool(self._itr.cache.covered_by(eid) or self._itr.cache.covering(eid))

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
        return self._finish()

    def rlocs_known(self, rlocs: Iterable[IPAddress], now: float) -> list[XtrAction]:
        """RLOCs of the network, whose next hops are resolved before the first packet."""
        self._neighbours.know(rlocs, now)
        return self._finish()

    def clear(self, eid: EidPrefix | None, now: float) -> list[XtrAction]:
        """Forget map-cache entries: all, those under `eid`, or the one that an EID uses."""
        self._itr.clear(eid, now)
        return self._finish()

    def forget(self, key: EidPrefix | SourceDestPrefix | None) -> tuple[int, list[XtrAction]]:
        """Forget the map-cache entry with exactly this key, or all. Returns how many went."""
        count = self._itr.forget(key)
        return count, self._finish()

    # --- timers ------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` must be called; None for never."""
        return self._timers.next()

    def handle_timer(self, now: float) -> list[XtrAction]:
        """Do what is due."""
        for name in self._timers.due(now):
            kind, key = name
            if kind == "retry":
                self._itr.retry(key, now)
            elif kind == "ready":
                self._itr.activate(key, now)
            elif kind == "refresh":
                self._itr.refresh_due(key, now)
            elif kind == "expire":
                self._itr.remove(key, "expired")
            elif kind == "revalidate":
                self._itr.revalidate_some(now)
            elif kind == "prime":
                self._neighbours.due(key, now)
            elif kind == "ask":
                self._gateway.ask_due(key, now)
            elif name == REGISTER_TIMER:
                self._etr.due(now)
        return self._finish()

    # --- rules -------------------------------------------------------------------------------

    def wanted(self) -> Ruleset:
        """Every rule that the switch should hold: a function of settings, ports and state."""
        return self._program.wanted(self._owners())

    def _owners(self) -> Iterator[Owner]:
        yield _STATIC
        for host in self._gateway.hosts:
            yield ("host", host.key)
        for node in self._itr.cache.nodes():
            yield ("cache", node.destination)
        for resolution in self._itr.resolutions.misses():
            yield ("pending", (resolution.eid.iid, resolution.eid.network.network_address))

    def _compile(self, owner: Owner, group_of: GroupOf) -> Compiled:
        kind, key = owner
        if kind == "static":
            return compiler.static(self._topology)
        if kind == "host":
            host = self._gateway.hosts.get(key)
            return compiler.local_eid(host, self._topology) if host else Compiled()
        if kind == "cache":
            node = self._itr.cache.node(key)
            return compiler.destination(node, self._topology, group_of) if node else Compiled()
        iid, address = key
        resolution = self._itr.resolutions.miss(EidPrefix.host(iid, address))
        if resolution is None or not resolution.announced:
            return Compiled()
        full = self._hold.count((iid, address)) >= self._limits.held_packets_per_eid
        return compiler.pending(iid, address, resolution.paused or full)

    def _rloc_sets(self, owner: Owner) -> tuple[RlocSet, ...]:
        node = self._itr.cache.node(owner[1]) if owner[0] == "cache" else None
        return compiler.rloc_sets(node, self._topology) if node else ()

    def _entry_rules(self, entry: Entry) -> Compiled:
        return compiler.cache_entry(entry, self._topology, self._program.number)

    def _actions_of(self, entry: Entry) -> tuple[RuleAction, ...]:
        if self._program.installed is None:
            return ()
        flows = self._entry_rules(entry).flows
        return flows[0].actions if flows else ()

    def _reassert(self, owner: Owner) -> None:
        self._program.forget_owner(owner)
        self._out.dirty[owner] = None

    def _finish(self, changes: Sequence[RuleChange] = ()) -> list[XtrAction]:
        dirty, self._out.dirty = self._out.dirty, {}
        changes = [*changes, *self._program.update(dirty)]
        rules: list[Action] = []
        if changes:
            self._out.counters["rule-changes"] += len(changes)
            rules.append(ApplyRules(self.settings.datapath_id, tuple(changes)))
        return self._out.take(rules)

    # --- what it shows -----------------------------------------------------------------------

    def map_cache_entries(self, now: float) -> tuple[MapCacheEntry, ...]:
        """The map-cache, resolutions under way included, in the order of their EID-prefixes."""
        rows = [
            (entry.destination.sort_key, _row(entry, self._topology)) for entry in self._itr.cache
        ]
        for resolution in self._itr.resolutions.misses():
            row = MapCacheEntry(resolution.eid, now, complete=False, via="pending")
            rows.append((resolution.eid.sort_key, row))
        return tuple(row for _, row in sorted(rows, key=lambda item: item[0]))

    def state(self) -> XtrState:
        """What changes about this xTR."""
        wanted = self.wanted()
        return XtrState(
            connected_since=self.connected_since,
            problems=self.problems(),
            rlocs=tuple(
                LocatorStatus(
                    item.locator,
                    LocatorState.UP if self._out.connected else LocatorState.UNKNOWN,
                    self.connected_since,
                )
                for item in self.settings.rlocs
            ),
            ports=tuple(self._ports.values()),
            map_cache_entries=len(self._itr.cache),
            pending_resolutions=len(self._itr.resolutions.misses()),
            held_packets=len(self._hold),
            flows=len(wanted.flows),
            groups=len(wanted.groups),
            meters=len(wanted.meters),
        )

    def held_packets(self) -> int:
        """Packets held now."""
        return len(self._hold)

    def counters(self) -> Iterator[Counter]:
        """Counters of this xTR."""
        for name, value in sorted(self._out.counters.items()):
            yield Counter(f"xtr-{name}", value, (("xtr", self.settings.name),))


def _row(entry: Entry, where: topology.Topology) -> MapCacheEntry:
    mapping: Mapping = entry.active or entry.mapping
    best = {item.rloc for item in rlocsets.best(rlocsets.normalise(mapping.locators), where)}
    return MapCacheEntry(
        entry.key,
        entry.added,
        tuple(
            LocatorStatus(
                item,
                LocatorState.UP if item.rloc in best or item.usable else LocatorState.DOWN,
                entry.updated,
            )
            for item in mapping.locators
        ),
        mapping.action if mapping.negative else Act.NO_ACTION,
        entry.expires,
        entry.installed,
        str(entry.via),
        packets=entry.packets,
    )
