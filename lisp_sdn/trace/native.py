"""What is not LISP: by a PETR, or by a native port, beyond which nothing is known (RFC 6832)."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.config.interworking import NativePort
from lisp_sdn.config.proxies import proxy_etr
from lisp_sdn.model import Act, Answer, Mapping
from lisp_sdn.trace.journal import Journal, locators_text
from lisp_sdn.trace.places import Place, port_info
from lisp_sdn.trace.values import Packet, StepName
from lisp_sdn.views import XtrState
from lisp_sdn.xtr.petr import Petrs


def native_port(xtr: XtrSettings, iid: int) -> NativePort | None:
    """The native port of an instance-ID."""
    return next((port for port in xtr.native_ports if port.iid == iid), None)


def natively(action: Act, xtr: XtrSettings, iid: int) -> NativePort | None:
    """The port by which a negative entry sends packets on; None where they are dropped."""
    return native_port(xtr, iid) if action is Act.NATIVELY_FORWARD else None


def used(config: Config, xtr: XtrSettings, answer: Answer) -> Answer:
    """The answer as the xTR uses it: with the RLOC-set of a PETR, where it has one."""
    mapping = Petrs(xtr, config.use_petr).through(answer.mapping)
    return answer if mapping is answer.mapping else replace(answer, mapping=mapping)


def how(xtr: XtrSettings, asked: Mapping, mapping: Mapping) -> str | None:
    """In words, what becomes of packets whose mapping is negative; None when they are dropped.

    asked: as the mapping system told it. mapping: as the xTR uses it.
    """
    if mapping is not asked:
        return f"by way of the PETR: {locators_text(mapping.locators)}"
    port = natively(mapping.action, xtr, mapping.eid.iid) if mapping.negative else None
    return None if port is None else f"by native port {port.name} of xTR {xtr.name}"


def leave(journal: Journal, xtr: XtrSettings, state: XtrState, port: NativePort) -> NoReturn:
    """Hand the packet to the routing of the switch's host. Raises Ended."""
    step, info = StepName.DELIVERY, port_info(state, port.name)
    if info is None:
        journal.stop(
            step,
            f"the switch of xTR {xtr.name} has no native port {port.name!r}",
            "no-native-port",
            f"ovs-vsctl add-port br0 {port.name} -- set interface {port.name} type=internal",
        )
    if not info.up:
        journal.stop(
            step,
            f"native port {port.name} of xTR {xtr.name} is down",
            "native-port-down",
            f"on the switch: ip link set {port.name} up",
        )
    journal.handed_over(
        step,
        f"leaves natively by port {port.name} of xTR {xtr.name}: the routing of its host goes on",
    )


def from_outside(journal: Journal, gates: list[Place], packet: Packet) -> Place:
    """A packet of who knows nothing of LISP, at the Proxy-ITR that takes it in."""
    gate, *others = gates
    journal.xtr = gate.xtr.name
    journal.note(
        StepName.SOURCE,
        f"{packet.from_address} is not LISP: Proxy-ITR {gate.xtr.name} takes its packets in by "
        f"port {gate.port.name}, if routing leads them there",
        "not-lisp",
        "lispctl show petr: which Proxy-ITR is announced",
        tuple(f"also possible: Proxy-ITR {other.xtr.name}" for other in others),
    )
    return gate


def not_an_eid(journal: Journal, xtr: XtrSettings, mapping: Mapping) -> NoReturn:
    """A Proxy-ITR refuses what no site has. Raises Ended."""
    journal.stop(
        StepName.MAPPING,
        f"{mapping.eid}: negative, {mapping.action.text}: Proxy-ITR {xtr.name} refuses what is not "
        "LISP at both ends",
        "not-an-eid",
        "has the site registered it? lispctl show site",
    )


def refused_by_petr(journal: Journal, xtr: XtrSettings, iid: int, details: tuple[str, ...]) -> None:
    """Stop where a Proxy-ETR does not forward. Raises Ended; returns if it is none."""
    if proxy_etr(xtr, iid) is None:
        return
    journal.stop(
        StepName.DELIVERY,
        f"xTR {xtr.name} is a Proxy-ETR, but the source is of no LISP site that it forwards for, "
        "or the destination is LISP",
        "petr-refused",
        "native_ports[].proxy_etr.eid_prefixes; does the site of the destination register it?",
        details,
    )
