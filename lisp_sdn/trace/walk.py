"""The steps of the way: source, switch, map-cache and flow tables of the ITR.

Policy and mapping are in `answers`; RLOC, ETR and delivery in `arrival`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from lisp_sdn.address import IPAddress
from lisp_sdn.config import EidPort
from lisp_sdn.config.interworking import NativePort
from lisp_sdn.model import Answer, Locator
from lisp_sdn.rules import CookieClass
from lisp_sdn.trace import native, tables
from lisp_sdn.trace.answers import ask
from lisp_sdn.trace.arrival import Flight, arrive, deliver
from lisp_sdn.trace.journal import Ended, Journal, duration, locators_text
from lisp_sdn.trace.places import (
    Core,
    Network,
    Place,
    Snapshot,
    endpoints,
    gates,
    gateway_of,
    other_iids,
    owner,
    places,
    port_info,
)
from lisp_sdn.trace.tables import End
from lisp_sdn.trace.values import Endpoint, Packet, StepName, Trace, Verdict
from lisp_sdn.views import MapCacheEntry
from lisp_sdn.xtr.pipeline import TableId

PATIENCE = 5.0
"""Seconds after which a Map-Request that is not answered is a fault, and no longer a wait."""

UNKNOWN_MAC = "02:00:00:00:00:01"
"""Stands for the MAC address of a host that was not seen yet."""


class Tracer:
    """Follows packets. network: what is known centrally; cores: our xTRs by name."""

    def __init__(self, network: Network, cores: Mapping[str, Core]) -> None:
        self._network = network
        self._cores = cores

    def trace(self, packet: Packet, now: float) -> Trace:
        """The way of a packet as things are. now: epoch seconds. Changes and sends nothing."""
        cores = {name: Snapshot(core) for name, core in self._cores.items()}
        walk = _Walk(self._network, cores, packet, now)
        verdict = walk.go()
        journal = walk.journal
        return Trace(packet, tuple(journal.steps), verdict, journal.xtr, journal.rloc, journal.etr)

    def endpoints(self) -> Iterator[Endpoint]:
        """An EID for each place that packets come from and go to."""
        return endpoints(self._network.config, self._cores)


@dataclass
class _Walk:
    """One packet on its way."""

    network: Network
    cores: Mapping[str, Core]
    packet: Packet
    now: float
    journal: Journal = field(default_factory=Journal)

    def go(self) -> Verdict:
        """All steps, until one stops it."""
        try:
            place = self._source()
            self._switch(place)
            if self._is_local(place):
                return self._to_neighbour(place)
            answer = ask(self.journal, self.network, self.packet, place, self.now)
            cached = self._map_cache(place, answer)
            flight = self._tables(place, answer, cached)
            arrive(self.journal, self.network, self.cores, flight)
        except Ended as end:
            return end.verdict
        return self.journal.verdict

    # --- at the source -------------------------------------------------------------------

    def _source(self) -> Place:
        step, packet = StepName.SOURCE, self.packet
        address, config = packet.from_address, self.network.config
        found = places(config, self.cores, packet.iid, address)
        if not found:
            outside = gates(config, self.cores, packet.source, packet.to_address)
            if outside:
                return native.from_outside(self.journal, outside, packet)
            self._nowhere(address)
        place = found[0]
        xtr, port = place.xtr, place.port
        self.journal.xtr = xtr.name
        if gateway_of(xtr, packet.iid, address) is not None:
            self.journal.stop(
                step,
                f"{address} is the gateway address of port {port.name} of xTR {xtr.name}",
                "gateway-address",
                "trace from the EID of a host",
            )
        where = f"{packet.source} is behind port {port.name} of xTR {xtr.name}"
        site = f", site {xtr.site}" if xtr.site else ""
        others = tuple(f"also possible: port {o.port.name} of xTR {o.xtr.name}" for o in found[1:])
        if place.host is None:
            text = f"{where}{site}, by its subnet; no host with this EID was seen there yet"
            self.journal.note(
                step, text, "host-not-seen", "its first packet makes it known", details=others
            )
        else:
            roams = "" if place.home else ", where it roams"
            self.journal.ok(step, f"{where}{site}{roams}, MAC address {place.host.mac}", others)
        return place

    def _nowhere(self, address: IPAddress) -> NoReturn:
        step, packet, config = StepName.SOURCE, self.packet, self.network.config
        elsewhere = other_iids(config, packet.iid, address)
        if elsewhere:
            self.journal.stop(
                step,
                f"{address} is behind no port of instance-ID {packet.iid}, but of "
                + " and ".join(elsewhere),
                "wrong-iid",
                "name the instance-ID of the source: --iid",
            )
        site = owner(config, packet.source)
        if site is not None and not any(xtr.site == site for xtr in config.xtrs):
            self.journal.stop(
                step,
                f"{packet.source} is of site {site}, which has no xTR of ours",
                "not-ours",
                "trace towards it, or look at the ITR of that site",
            )
        text = f"{packet.source} is in no connected subnet of an EID-facing port"
        if site is not None:
            text += f", though site {site} has the EID-prefix"
        self.journal.stop(
            step,
            text,
            "unknown-source",
            "give its port a gateway address of that subnet: xtrs[].eid_ports[].gateways",
        )

    def _switch(self, place: Place) -> None:
        state = self.cores[place.xtr.name].state()
        self.journal.check_switch(StepName.SWITCH, place.xtr, state)
        port = port_info(state, place.port.name)
        if port is None:
            self.journal.stop(
                StepName.SWITCH,
                f"the switch of xTR {place.xtr.name} has no port {place.port.name!r}",
                "no-port",
                "add the port to the bridge, or correct xtrs[].eid_ports[].name",
            )
        elif not port.up:
            self.journal.stop(
                StepName.SWITCH,
                f"port {port.name} of xTR {place.xtr.name} is down",
                "port-down",
                f"bring it up on the switch: ip link set {port.name} up; is the cable in?",
            )
        assert state.connected_since is not None
        text = f"connected for {duration(self.now - state.connected_since)}, port {port.name} up"
        if state.problems:
            problems = "; ".join(state.problems)
            self.journal.note(StepName.SWITCH, f"{text}, but {problems}", "switch-problem")
        else:
            self.journal.ok(StepName.SWITCH, text)

    def _is_local(self, place: Place) -> bool:
        core, key = self.cores[place.xtr.name], (self.packet.iid, self.packet.to_address)
        if core.is_away(*key):
            return False
        return core.local_eid(*key) is not None or any(
            port.iid == self.packet.iid
            and any(self.packet.to_address in gateway.network for gateway in port.gateways)
            for port in place.xtr.eid_ports
        )

    def _to_neighbour(self, place: Place) -> Verdict:
        """The destination is in a connected subnet of the same xTR: no mapping is asked for."""
        outcome = self._enter(place)
        step = StepName.FLOW_TABLES
        if outcome.end is End.DROPPED:
            self._dropped(outcome)
        self.journal.ok(
            step,
            f"the destination is in a connected subnet of the same xTR: {outcome.table_text}",
            outcome.details,
        )
        self.journal.etr = place.xtr.name
        deliver(self.journal, place.xtr, self.packet, outcome)
        return self.journal.verdict

    # --- the ITR -------------------------------------------------------------------------

    def _map_cache(self, place: Place, answer: Answer | None) -> MapCacheEntry | None:
        """The entry that the switch forwards by; None while the packet must wait."""
        step, packet, xtr = StepName.MAP_CACHE, self.packet, place.xtr.name
        core = self.cores[xtr]
        entry = core.cached(packet.iid, packet.from_address, packet.to_address)
        if entry is not None and not entry.complete:
            self._waiting(place, entry)
            entry = None
        elif entry is None:
            self.journal.resolves(
                step,
                f"xTR {xtr} has no entry: the first packet goes to the controller and waits "
                "until its Map-Request is answered",
                "miss",
            )
        if entry is None:
            if answer is None:
                raise Ended(Verdict.RESOLVES)
            return None
        age = duration(self.now - entry.created)
        expires = "never" if entry.expires is None else f"in {duration(entry.expires - self.now)}"
        text = f"{entry.eid} by {entry.via}, {age} old, expires {expires}"
        port = native.natively(entry.action, place.xtr, packet.iid)
        if not entry.locators and port is not None:
            self.journal.ok(step, f"{text}: negative, {entry.action.text}")
            return entry
        if not entry.locators:
            self.journal.stop(
                step,
                f"{text}: negative, {entry.action.text}",
                "negative-entry",
                f"lispctl clear map-cache {xtr} '{entry.eid}'",
            )
        held = tuple(status.locator for status in entry.locators)
        text += f": {locators_text(held)}"
        if answer is not None and _shape(held) != _shape(answer.mapping.locators):
            self.journal.note(
                step, f"{text}, which is not today's answer", "differs", "it is being asked again"
            )
        else:
            self.journal.ok(step, text)
        return entry

    def _waiting(self, place: Place, entry: MapCacheEntry) -> None:
        step, xtr = StepName.MAP_CACHE, place.xtr.name
        age = self.now - entry.created
        if entry.via != "pending":
            self.journal.resolves(
                step, f"{entry.eid}: the next hops of its RLOCs are being resolved", "next-hop"
            )
            return
        text = f"a Map-Request for {entry.eid} is unanswered since {duration(age)}"
        if age > PATIENCE:
            asked = ", ".join(map(str, place.xtr.map_resolvers))
            self.journal.stop(
                step,
                text,
                "unanswered",
                (f"does the Map-Resolver {asked} answer? " if asked else "")
                + f"lispctl show map-requests {xtr}; lispctl show refusals",
            )
        self.journal.resolves(step, f"{text}; packets wait for it", "pending")

    def _frame(self, place: Place) -> bytes:
        gateway = place.port.mac if isinstance(place.port, EidPort) else UNKNOWN_MAC
        return self.packet.frame(place.host.mac if place.host else UNKNOWN_MAC, gateway)

    def _enter(self, place: Place) -> tables.Outcome:
        packet, core = self.packet, self.cores[place.xtr.name]
        state = core.state()
        port = port_info(state, place.port.name)
        assert port is not None
        frame = self._frame(place)
        rules = core.rules_for(packet.iid, packet.from_address, packet.to_address)
        if place.host is None:
            rules = tables.once_known(rules)
        return tables.enter(place.xtr, state, rules, port, frame)

    def _tables(self, place: Place, answer: Answer | None, cached: MapCacheEntry | None) -> Flight:
        """Through the tables of the ITR; what waits goes where the answer will send it."""
        step, outcome = StepName.FLOW_TABLES, self._enter(place)
        packet, state = self.packet, self.cores[place.xtr.name].state()
        port = self._native_port(place, answer, cached)
        if port is not None and (outcome.end is not End.DROPPED or outcome.table == TableId.NATIVE):
            self.journal.ok(step, f"{outcome.table_text}: what is not LISP", outcome.details)
            native.leave(self.journal, place.xtr, state, port)
        if port_info(state, place.xtr.tunnel_port) is None:
            self.journal.no_tunnel_port(step, place.xtr)
        if outcome.end is End.ENCAPSULATED:
            assert outcome.rloc is not None
            spread = ", one of those that the switch's hash spreads flows over" * _spreads(cached)
            self.journal.ok(
                step,
                f"{outcome.table_text}: from {outcome.source} to RLOC {outcome.rloc}{spread}",
                outcome.details,
            )
            return Flight(packet, outcome.frame, outcome.source, outcome.rloc, cached)
        if outcome.end is not End.MISS or self.journal.verdict is not Verdict.RESOLVES:
            self._dropped(outcome, cached)
        assert answer is not None
        self.journal.note(
            step,
            f"{outcome.table_text}: to the controller; what follows is the way after the answer",
            "miss",
            details=outcome.details,
        )
        locators = answer.mapping.locators
        outer = _outer(place, locators)
        if outer is None:
            own = ", ".join(str(entry.rloc) for entry in place.xtr.rlocs)
            self.journal.stop(
                StepName.RLOC,
                f"none of {locators_text(locators)} can be reached from xTR {place.xtr.name}, "
                f"whose RLOCs are {own}",
                "no-route",
                "both xTRs need an RLOC of one address family",
            )
        return Flight(packet, outcome.frame or self._frame(place), *outer, cached)

    @staticmethod
    def _native_port(
        place: Place, answer: Answer | None, cached: MapCacheEntry | None
    ) -> NativePort | None:
        """The native port by which the packet leaves, or will when it is answered."""
        iid = place.port.iid
        if place.outside:
            return None
        if cached is not None:
            held = bool(cached.locators)
            return None if held else native.natively(cached.action, place.xtr, iid)
        if answer is None or not answer.mapping.negative:
            return None
        return native.natively(answer.mapping.action, place.xtr, iid)

    def _dropped(self, outcome: tables.Outcome, cached: MapCacheEntry | None = None) -> NoReturn:
        text, suggestion = f"{outcome.table_text}: {outcome.end.value}", "lispctl show refusals"
        reason = f"{outcome.end.value}-in-table-{outcome.table}"
        if outcome.kind is CookieClass.PENDING:
            text = f"{outcome.table_text}: dropped while as many packets wait as may"
            reason, suggestion = "held-full", "raise limits.held_packets_per_eid"
        elif outcome.table == TableId.CLASSIFY:
            text += ", as addresses that no router forwards are"
            reason, suggestion = "not-classified", "trace between unicast EIDs"
        elif outcome.table == TableId.SOURCE_GUARD:
            text += ": the source EID is not one of this port"
            reason = "source-guard"
        elif outcome.table == TableId.NATIVE:
            text += ": it came in by a native port and would leave by one"
            reason = "not-an-eid"
        elif outcome.table in (TableId.MAP_CACHE, TableId.SPREAD):
            text += ": no RLOC of the entry can carry traffic now" + _states(cached)
            reason, suggestion = "no-rloc-up", "lispctl status; lispctl show topology"
        self.journal.stop(StepName.FLOW_TABLES, text, reason, suggestion, outcome.details)


def _spreads(entry: MapCacheEntry | None) -> bool:
    """Whether the switch may choose among several RLOCs."""
    usable = _usable(tuple(status.locator for status in entry.locators)) if entry else []
    best = min((locator.priority for locator in usable), default=0)
    return sum(locator.priority == best for locator in usable) > 1


def _states(entry: MapCacheEntry | None) -> str:
    if entry is None:
        return ""
    found = (f"{status.locator.rloc} {status.state.value}" for status in entry.locators)
    return f" ({', '.join(found)})"


def _usable(locators: tuple[Locator, ...]) -> list[Locator]:
    """Those that unicast traffic may be sent to."""
    return [x for x in locators if x.usable and isinstance(x.rloc, IPAddress)]


def _outer(place: Place, locators: tuple[Locator, ...]) -> tuple[IPAddress, IPAddress] | None:
    """Our RLOC and the best other one that it can send to, as the ITR will choose."""
    own = [entry.rloc for entry in place.xtr.rlocs]
    for locator in sorted(_usable(locators), key=lambda x: (x.priority, -x.weight)):
        rloc = locator.rloc
        if isinstance(rloc, IPAddress) and rloc not in own:
            source = next((mine for mine in own if mine.version == rloc.version), None)
            if source is not None:
                return source, rloc
    return None


def _shape(locators: tuple[Locator, ...]) -> set[tuple[str, int, int]]:
    return {(str(item.rloc), item.priority, item.weight) for item in locators if item.usable}
