"""The last steps: the RLOC that was chosen, the ETR behind it, and the destination itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lisp_sdn.address import IPAddress
from lisp_sdn.config import XtrSettings
from lisp_sdn.trace import native, tables
from lisp_sdn.trace.journal import Journal
from lisp_sdn.trace.places import Core, Network, gateway_of, port_info
from lisp_sdn.trace.tables import End, Outcome
from lisp_sdn.trace.values import Packet, StepName
from lisp_sdn.views import LocatorState, LocatorStatus, MapCacheEntry
from lisp_sdn.xtr.pipeline import TableId

_SENDS_NOTHING = {
    LocatorState.DOWN: "it is reported down (R-bit) or has priority 255",
    LocatorState.UNREACHABLE: "it has no uplink, or does not answer RLOC-probes",
    LocatorState.NO_ROUTE: "the ITR has no RLOC of its address family",
}


@dataclass(frozen=True, slots=True)
class Flight:
    """A packet between ITR and ETR. source, rloc: outer addresses; cached: the ITR's entry."""

    packet: Packet
    frame: bytes
    source: IPAddress | None
    rloc: IPAddress
    cached: MapCacheEntry | None


def arrive(journal: Journal, network: Network, cores: Mapping[str, Core], flight: Flight) -> None:
    """From the RLOC to the destination. Raises Ended where it stops."""
    journal.rloc = flight.rloc
    etr = next(
        (x for x in network.config.xtrs if any(e.rloc == flight.rloc for e in x.rlocs)), None
    )
    _rloc(journal, flight, cores[etr.name] if etr else None)
    if etr is None:
        journal.handed_over(
            StepName.ETR, f"{flight.rloc} is of no xTR of ours: beyond it nothing is known here"
        )
    journal.etr = etr.name
    core = cores[etr.name]
    outcome = _decapsulate(journal, network, etr, core, flight)
    port = native.native_port(etr, flight.packet.iid)
    if port is not None and outcome.table == TableId.NATIVE:
        native.leave(journal, etr, core.state(), port)
    if outcome.end is End.DROPPED:
        native.refused_by_petr(journal, etr, flight.packet.iid, outcome.details)
    if outcome.end is End.ENCAPSULATED and outcome.rloc is not None:
        packet = flight.packet
        journal.note(
            StepName.ETR,
            f"{packet.destination} has left xTR {etr.name}, which sends on to RLOC {outcome.rloc}",
            "sent-on",
            "lispctl show mobile-eids; the ITR will be told of the new place",
        )
        if outcome.rloc in journal.sent_on:
            journal.stop(StepName.ETR, "it was there before", "loop", "lispctl show mobile-eids")
        journal.sent_on.add(outcome.rloc)
        cached = core.cached(packet.iid, packet.from_address, packet.to_address)
        onward = Flight(packet, outcome.frame, outcome.source, outcome.rloc, cached)
        arrive(journal, network, cores, onward)
        return
    deliver(journal, etr, flight.packet, outcome)


def _rloc(journal: Journal, flight: Flight, core: Core | None) -> None:
    step, rloc = StepName.RLOC, flight.rloc
    status = _status(flight, core)
    state = LocatorState.UNKNOWN if status is None else status.state
    rtt = "" if status is None or status.rtt is None else f", RTT {status.rtt * 1000:.1f} ms"
    text = f"RLOC {rloc} is {state.value}{rtt}"
    why = _SENDS_NOTHING.get(state)
    if why is not None:
        journal.stop(
            step, f"{text}: {why}", f"rloc-{state.value}", "lispctl show xtr; check the underlay"
        )
    if state is LocatorState.UNKNOWN:
        journal.note(step, f"nothing tells whether RLOC {rloc} is up", "rloc-unknown")
    elif state is LocatorState.DRAINED:
        journal.note(
            step, f"{text}: used because no other is left", "rloc-drained", "lispctl xtr undrain"
        )
    else:
        journal.ok(step, text, _others(flight))


def _others(flight: Flight) -> tuple[str, ...]:
    """The other RLOCs of the entry: the switch may spread other flows over them."""
    return tuple(
        f"beside it: RLOC {status.locator.rloc} {status.state.value}, priority "
        f"{status.locator.priority}, weight {status.locator.weight}"
        for status in (flight.cached.locators if flight.cached else ())
        if status.locator.rloc != flight.rloc
    )


def _status(flight: Flight, core: Core | None) -> LocatorStatus | None:
    """As the ITR sees it; before there is an entry, as its owner does."""
    seen = list(flight.cached.locators) if flight.cached else []
    seen += core.state().rlocs if core else ()
    found = [status for status in seen if status.locator.rloc == flight.rloc]
    known = [status for status in found if status.state is not LocatorState.UNKNOWN]
    return next(iter(known or found), None)


def _decapsulate(
    journal: Journal, network: Network, etr: XtrSettings, core: Core, flight: Flight
) -> Outcome:
    step, packet, state = StepName.ETR, flight.packet, core.state()
    journal.check_switch(step, etr, state)
    tunnel = port_info(state, etr.tunnel_port)
    if tunnel is None:
        journal.no_tunnel_port(step, etr)
    rules = core.rules_for(packet.iid, packet.from_address, packet.to_address)
    outer = (flight.source, flight.rloc)
    outcome = tables.arrive(etr, state, rules, tunnel, flight.frame, packet.iid, outer)
    if outcome.table is None or outcome.table == TableId.CLASSIFY:
        native_iids = {port.iid for port in etr.native_ports}
        served = sorted({port.iid for port in etr.eid_ports} | native_iids)
        if packet.iid not in served:
            journal.stop(
                step,
                f"xTR {etr.name} does not serve instance-ID {packet.iid}, but "
                f"{', '.join(map(str, served)) or 'none'}: it does not decapsulate",
                "iid-not-served",
                f"give xTR {etr.name} an EID-facing port with iid {packet.iid}",
                outcome.details,
            )
        journal.stop(
            step,
            f"xTR {etr.name} does not decapsulate packets to {flight.rloc}"
            + (f": {'; '.join(state.problems)}" if state.problems else ""),
            "not-decapsulated",
            f"lispctl show flows {etr.name}; lispctl show xtr {etr.name}",
            outcome.details,
        )
    outcome = _guarded(journal, network, etr, core, flight, outcome)
    text = f"xTR {etr.name} decapsulates: instance-ID {packet.iid}, RLOC {flight.rloc}"
    journal.ok(step, text, outcome.details)
    return outcome


def _guarded(
    journal: Journal,
    network: Network,
    etr: XtrSettings,
    core: Core,
    flight: Flight,
    outcome: Outcome,
) -> Outcome:
    """Past the source guard of the ETR, which verifies what it does not know yet."""
    step, packet, rloc = StepName.ETR, flight.packet, flight.source
    if rloc is None:
        return outcome
    verdict = network.judge(etr.name, packet.source, rloc)
    refused = verdict.reason if verdict is not None else None
    if refused is not None and outcome.table != TableId.SOURCE_GUARD:
        text = f"the source guard of xTR {etr.name} counts it: {packet.source} from RLOC {rloc}"
        journal.note(step, text, refused)
    if outcome.table != TableId.SOURCE_GUARD:
        return outcome
    if refused is not None or outcome.end is not End.VERIFIED:
        journal.stop(
            step,
            f"xTR {etr.name} drops it: RLOC {rloc} may not send for {packet.source}",
            refused or "source-guard",
            "does the mapping of the source EID hold the RLOC that it is sent from? "
            f"lispctl show source-guard --xtr {etr.name}",
            outcome.details,
        )
    text = f"xTR {etr.name} verifies that RLOC {rloc} may send for {packet.source}"
    if verdict is None:
        text += ", by a Map-Request; what follows is the way if it may"
    journal.resolves(step, text, "source-verified")
    state = core.state()
    rules = core.rules_for(packet.iid, packet.from_address, packet.to_address, rloc)
    tunnel = port_info(state, etr.tunnel_port)
    assert tunnel is not None
    outer = (rloc, flight.rloc)
    return tables.arrive(etr, state, rules, tunnel, flight.frame, packet.iid, outer)


def deliver(journal: Journal, xtr: XtrSettings, packet: Packet, outcome: Outcome) -> None:
    """What the last xTR does with it. Raises Ended where it stops."""
    step, address = StepName.DELIVERY, packet.to_address
    if outcome.end is End.TO_PORT:
        mac = outcome.frame[:6].hex(":")
        journal.ok(step, f"delivered by port {outcome.port} of xTR {xtr.name} to {mac}")
        return
    gateway = gateway_of(xtr, packet.iid, address)
    if gateway is not None:
        if outcome.end is End.GATEWAY:
            journal.ok(step, f"{address} is the gateway of port {gateway}: the controller answers")
            return
        journal.stop(
            step,
            f"{address} is the gateway of port {gateway}, which answers echo requests only",
            "gateway-address",
            "trace to the EID of a host",
        )
    if outcome.end is End.ASKED_FOR:
        ports = [p for p in xtr.eid_ports if any(address in g.network for g in p.gateways)]
        names = ", ".join(port.name for port in ports if port.iid == packet.iid)
        journal.stop(
            step,
            f"no host with {packet.destination} was seen behind port {names} of xTR {xtr.name}: "
            f"it is asked for by {'ARP' if address.version == 4 else 'neighbour discovery'}",
            "host-unknown",
            "is the host up, with this address and in this instance-ID? lispctl show events",
        )
    journal.stop(
        step,
        f"{packet.destination} is in no connected subnet of xTR {xtr.name} "
        f"({outcome.table_text}: {outcome.end.value})",
        "eid-not-local",
        f"add its subnet to a port of xTR {xtr.name}, or register only what is behind it",
    )
