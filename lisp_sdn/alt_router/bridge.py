"""The ALT bridge: one switch whose flows follow the BGP best paths (RFC 6836 section 5).

Events in, actions out. What it should hold is a function of its ports, of what we announce and of
the routes; after an event the difference is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    Dropped,
    Event,
    FlowCounters,
    PacketIn,
    PacketOut,
    PortInfo,
    ReadCounters,
    ReadRules,
)
from lisp_sdn.address import IPAddress, IPNetwork
from lisp_sdn.alt.alt import Alt
from lisp_sdn.alt.announce import Role
from lisp_sdn.alt_router import rules
from lisp_sdn.alt_router.datagrams import AltDatagram, frame, received
from lisp_sdn.alt_router.rules import Attached, TableId
from lisp_sdn.alt_settings import AltBridge
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import CookieClass, FlowRule, Match, Output, Port, Ruleset, match
from lisp_sdn.xtr.reconcile import FlowKey, Installed, changes_to

WHERE = "alt"

COUNT_INTERVAL = 5.0
"""Seconds between two looks at what the flows have carried."""

BridgeAction = Action | AltDatagram


class Bridge:
    """One switch. alt: what is announced, and the routes.

    packets: what the flows have carried since the controller started, by what it was. by_prefix,
    by_tunnel: packets of a route, Map-Requests from a tunnel, as the switch told last.
    """

    def __init__(self, settings: AltBridge, alt: Alt) -> None:
        self.settings = settings
        self.datapath_id = settings.datapath_id
        self.connected_since: float | None = None
        self.packets: Counter[str] = Counter()
        self.by_prefix: dict[IPNetwork, int] = {}
        self.by_tunnel: dict[IPAddress, int] = {}
        self._alt = alt
        self._ports: dict[str, PortInfo] = {}
        self._indices = _indices(settings)
        self._base: dict[FlowKey, FlowRule] = {}
        self._routes: dict[Match, IPNetwork] = {}
        self._installed: Installed | None = None
        self._last: dict[Match, int] = {}
        self._timer: float | None = None
        self._problems: tuple[str, ...] = ()

    # --- the switch --------------------------------------------------------------------------

    @property
    def attached(self) -> dict[int, Attached]:
        """The tunnels whose ports are there, by index."""
        return rules.attach(self.settings, self._ports.values())

    def up(self, neighbour: IPAddress) -> bool:
        """Whether the tunnel to an ALT-Router can carry anything."""
        index = self._indices.get(neighbour)
        attached = self.attached.get(index) if index is not None else None
        port = self._ports.get(attached.settings.port) if attached else None
        return self._installed is not None and port is not None and port.up

    def problems(self) -> list[str]:
        """Why it does not forward as configured, one sentence each."""
        if self.connected_since is None:
            return ["its switch is not connected"]
        found = []
        for name in rules.port_names(self.settings):
            port = self._ports.get(name)
            if port is None:
                found.append(f"the bridge has no port {name}")
            elif not port.up:
                found.append(f"the port {name} of the bridge is down")
        return [*found, *self._problems]

    def switch_connected(self, ports: tuple[PortInfo, ...], now: float) -> list[Action]:
        """The bridge finished its handshake."""
        self._ports = {port.name: port for port in ports}
        self.connected_since = now
        return [ReadRules(self.datapath_id)]

    def installed(self, ports: tuple[PortInfo, ...], ruleset: Ruleset, now: float) -> list[Action]:
        """What the bridge holds of ours: send the difference."""
        self._ports = {port.name: port for port in ports}
        # One that was there before it was configured has not told of its handshake.
        self.connected_since = self.connected_since or now
        self._installed = Installed(ruleset)
        self._last.clear()
        self._timer = now
        return self._correct()

    def _correct(self) -> list[Action]:
        assert self._installed is not None
        wanted = self.wanted()
        changes = changes_to(self._installed, wanted.flows, wanted.groups, wanted.meters)
        return [ApplyRules(self.datapath_id, tuple(changes))] if changes else []

    def reconfigure(self, settings: AltBridge) -> list[Action]:
        """Go on with other tunnels or limits, on the same switch."""
        if settings == self.settings:
            return []
        self.settings = settings
        self._indices = _indices(settings)
        return self._correct() if self._installed is not None else []

    def retire(self) -> list[Action]:
        """It is configured no longer: leave nothing of ours behind."""
        if self._installed is None:
            return []
        changes = changes_to(self._installed, (), (), ())
        self._installed = None
        return [ApplyRules(self.datapath_id, tuple(changes))] if changes else []

    def disconnected(self, now: float) -> list[Action]:
        """The connection ended; the switch goes on forwarding by the flows that it has."""
        self.connected_since = None
        self._installed = None
        self._timer = None
        return []

    def port_changed(self, port: PortInfo, now: float) -> list[Action]:
        """A port came, went or changed."""
        # A port that was removed is told as one that is down, until its number is another's.
        others = self._ports.values()
        self._ports = {known.name: known for known in others if known.number != port.number}
        self._ports[port.name] = port
        if self._installed is None:
            return []
        before = set(self._base)
        base = self._compile_base()
        gone = before - set(self._base)
        return self._apply(base.flows, gone, base)

    def checked(self, problems: tuple[str, ...], now: float) -> list[Action]:
        """What the edges found wrong with the switch's database; () when nothing is."""
        new = set(problems) - set(self._problems)
        self._problems = problems
        return [Event("alt.problem", WHERE, {"problem": problem}) for problem in sorted(new)]

    # --- rules -------------------------------------------------------------------------------

    def wanted(self) -> Ruleset:
        """Everything that it should hold."""
        base = self._compile_base()
        self._routes.clear()
        routes = [self._route(prefix) for prefix in self._alt.prefixes()]
        flows = base.flows | {flow for flow in routes if flow is not None}
        return Ruleset(flows, meters=base.meters)

    def follow(self, prefixes: Iterable[IPNetwork], now: float) -> list[Action]:
        """What is known of these prefixes may have changed."""
        if self._installed is None:
            return []
        flows: list[FlowRule] = []
        gone: list[FlowKey] = []
        for prefix in prefixes:
            flow = self._route(prefix)
            if flow is None:
                gone.append(rules.key(prefix))
            else:
                flows.append(flow)
        return self._apply(flows, gone)

    def _compile_base(self) -> Ruleset:
        base = rules.base(self.settings, self.attached)
        self._base = {flow.key: flow for flow in base.flows}
        return base

    def _route(self, prefix: IPNetwork) -> FlowRule | None:
        """The flow of a prefix; None where there is none."""
        decided = self._alt.decide(prefix)
        matching = rules.destination(prefix)
        self._routes.pop(matching, None)
        if decided is Role.NONE:
            return None
        if isinstance(decided, Role):
            flow = rules.to_map_server(prefix)
        else:
            index = self._indices.get(decided.peer)
            if index is None:
                return None
            flow = rules.to_tunnel(prefix, index)
        self._routes[matching] = prefix
        return flow

    def _apply(
        self, flows: Iterable[FlowRule], gone: Iterable[FlowKey], base: Ruleset | None = None
    ) -> list[Action]:
        assert self._installed is not None
        meters = base.meters if base is not None else ()
        changes = self._installed.change(flows, (), meters, gone)
        return [ApplyRules(self.datapath_id, tuple(changes))] if changes else []

    # --- datagrams ---------------------------------------------------------------------------

    def send(self, version: int, packet: bytes) -> PacketOut:
        """A packet of the Map-Resolver: it goes by the same flows as those of others."""
        out = (Output(Port.TABLE),)
        return PacketOut(self.datapath_id, frame(version, packet), int(Port.CONTROLLER), out)

    def packet_in(self, event: PacketIn, now: float) -> list[BridgeAction]:
        """A Map-Request for an EID-prefix of ours. Anything else is counted."""
        if event.table != TableId.ROUTES:
            # A packet whose TTL was spent between two tables; its flow has counted it.
            return []
        try:
            datagram = received(event.frame, self._alt.iid)
        except DecodeError as error:
            return [Dropped(WHERE, error.reason, str(error))]
        self.packets["map-requests-in"] += 1
        return [datagram]

    # --- what the flows have carried ---------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called, epoch seconds."""
        return self._timer

    def handle_timer(self, now: float) -> list[Action]:
        """Ask what the flows have carried."""
        if self._timer is None or self._timer > now:
            return []
        self._timer = now + COUNT_INTERVAL
        return [ReadCounters(self.datapath_id, CookieClass.ALT)]

    def counters(self, event: FlowCounters) -> None:
        """The answer."""
        meaning = self._meanings()
        totals: Counter[IPAddress] = Counter()
        for flow in event.flows:
            prefix = self._routes.get(flow.match)
            if prefix is not None:
                self.by_prefix[prefix] = flow.packets
                continue
            known = meaning.get(flow.match)
            if known is None:
                continue
            kind, neighbour = known
            before = self._last.get(flow.match, flow.packets if not self._last else 0)
            more = flow.packets - before if flow.packets >= before else flow.packets
            if kind:
                self.packets[kind] += more
            if neighbour is not None:
                totals[neighbour] += flow.packets
        self._last = {flow.match: flow.packets for flow in event.flows}
        self.by_tunnel = dict(totals)
        known_prefixes = set(self._routes.values())
        for prefix in [p for p in self.by_prefix if p not in known_prefixes]:
            del self.by_prefix[prefix]

    def _meanings(self) -> dict[Match, tuple[str, IPAddress | None]]:
        """What packets of the flows outside of table 1 were; and Map-Requests of whom."""
        found: dict[Match, tuple[str, IPAddress | None]] = {match(): ("alt-no-route", None)}
        for rule in self._base.values():
            if rule.table == TableId.TUNNELS and rules.spent(rule.match):
                found[rule.match] = ("alt-ttl", None)
        for tunnel in self.attached.values():
            found[match(in_port=tunnel.port)] = ("alt-not-a-map-request", None)
            for matching in rules.onward(tunnel):
                found[matching] = ("map-requests-out", None)
            found[rules.back(tunnel)] = ("alt-loop", None)
            for matching in rules.map_requests(tunnel.port):
                found[matching] = ("", tunnel.settings.neighbour)
        return found


def _indices(settings: AltBridge) -> dict[IPAddress, int]:
    """By neighbour: which tunnel leads to it."""
    return {tunnel.neighbour: number for number, tunnel in enumerate(settings.tunnels, 1)}
