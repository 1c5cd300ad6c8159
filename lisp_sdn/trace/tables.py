"""The flow tables of one switch: the simulator's way of a packet, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import IPAddress
from lisp_sdn.config import XtrSettings
from lisp_sdn.rules import (
    CheckPktLarger,
    CookieClass,
    DecTtl,
    FieldValue,
    FlowRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    RuleAction,
    Ruleset,
    SetField,
    ToController,
    ToGroup,
    cookie,
    cookie_class,
)
from lisp_sdn.views import XtrState
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, IID_MASK, METADATA_MASK, Punt, TableId
from lisp_sdn.xtr.simulate import SimulatedSwitch
from lisp_sdn.xtr.simulate import Trace as Walked

_HEXADECIMAL = frozenset(("eth_type", "metadata", "reg0", "reg1"))


class End(StrEnum):
    """Where the tables leave a packet."""

    ENCAPSULATED = "encapsulated"
    TO_PORT = "to-port"
    MISS = "miss"
    ASKED_FOR = "asked-for"
    GATEWAY = "gateway"
    VERIFIED = "verified"
    PUNTED = "punted"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tables do with a packet. port: name of the port it left by.

    frame: as it left; source, rloc: the outer addresses of an encapsulated one. table: the last.
    """

    end: End
    details: tuple[str, ...]
    table: int | None
    port: str = ""
    frame: bytes = b""
    source: IPAddress | None = None
    rloc: IPAddress | None = None
    kind: CookieClass | None = None
    ended: str = ""

    @property
    def table_text(self) -> str:
        """The last table by number and name."""
        return "no table" if self.table is None else table_text(self.table)


def table_text(number: int) -> str:
    """A table by number and name: "table 3 (map cache)"."""
    return f"table {number} ({TableId(number).name.lower().replace('_', ' ')})"


def once_known(rules: Ruleset) -> Ruleset:
    """As if the host were known at its port: its first packet goes on when it is (mobility)."""
    arrival = cookie(CookieClass.PIPELINE, Punt.ARRIVAL)
    flows = frozenset(rule for rule in rules.flows if rule.cookie != arrival)
    return Ruleset(flows, rules.groups, rules.meters)


def enter(
    settings: XtrSettings,
    state: XtrState,
    rules: Ruleset,
    port: PortInfo,
    frame: bytes,
) -> Outcome:
    """A host's frame enters by an EID-facing port."""
    switch = SimulatedSwitch(settings.datapath_id, rules)
    return _outcome(settings, state, switch.receive(port.number, frame))


def arrive(
    settings: XtrSettings,
    state: XtrState,
    rules: Ruleset,
    port: PortInfo,
    frame: bytes,
    iid: int,
    outer: tuple[IPAddress | None, IPAddress],
) -> Outcome:
    """A frame arrives through the tunnel port. outer: (source, destination) RLOC."""
    switch = SimulatedSwitch(settings.datapath_id, rules)
    walked = switch.receive(
        port.number,
        frame,
        tunnel_id=iid,
        tunnel_source=outer[0],
        tunnel_destination=outer[1],
    )
    return _outcome(settings, state, walked)


def _outcome(settings: XtrSettings, state: XtrState, walked: Walked) -> Outcome:
    names = {port.number: port.name for port in state.ports}
    details = [rule_text(rule, names) for rule in walked.rules]
    details += [f"group {number}: bucket {index}" for number, index in walked.groups]
    table = walked.rules[-1].table if walked.rules else None
    kind = cookie_class(walked.rules[-1].cookie) if walked.rules else None
    ended = walked.ended
    if walked.sent:
        sent = walked.sent[0]
        port = names.get(sent.port, str(sent.port))
        tunnel = port == settings.tunnel_port
        details.append(
            f"leaves by {port} from {sent.tunnel_source} to {sent.tunnel_destination}"
            if tunnel
            else f"leaves by {port}"
        )
        outer = (sent.tunnel_source, sent.tunnel_destination) if tunnel else (None, None)
        end = End.ENCAPSULATED if tunnel else End.TO_PORT
        return Outcome(end, tuple(details), table, port, sent.frame, *outer, kind)
    if ended:
        details.append(ended)
    # What was sent to the controller as a copy on the way is not where the packet ended.
    punted = bool(walked.punted) and walked.punted[-1].table == table
    end = _punted(walked) if punted else End.DROPPED
    return Outcome(end, tuple(details), table, kind=kind, ended=ended)


_PUNTED = {
    Punt.LOCAL: End.ASKED_FOR,
    Punt.GATEWAY: End.GATEWAY,
    Punt.SOURCE: End.VERIFIED,
}


def _punted(walked: Walked) -> End:
    said = walked.punted[-1].cookie
    kind = cookie_class(said)
    if kind is CookieClass.PENDING or (kind is CookieClass.PIPELINE and said & 0xFF == Punt.MISS):
        return End.MISS
    if kind is CookieClass.PIPELINE:
        return _PUNTED.get(Punt(said & 0xFF), End.PUNTED)
    return End.PUNTED


# --- words ---------------------------------------------------------------------------------


def rule_text(rule: FlowRule, ports: dict[int, str]) -> str:
    """A flow in one line. ports: names by number."""
    fields = ", ".join(f"{name}={_value(name, value, ports)}" for name, value in rule.match)
    does = [_action(action, ports) for action in rule.actions]
    if rule.goto is not None:
        does.append(f"goto table {rule.goto}")
    return f"{table_text(rule.table)}: {fields or 'every packet'}: {', '.join(does) or 'drop'}"


def _value(name: str, value: FieldValue, ports: dict[int, str]) -> str:
    if name == "in_port" and isinstance(value, int):
        return ports.get(value, str(value))
    if isinstance(value, tuple):
        number, mask = value
        if name == "metadata" and mask == IID_MASK:
            return f"instance-ID {number}"
        if name == "metadata" and mask == METADATA_MASK:
            way = "out of" if number & FROM_TUNNEL else "not from"
            return f"instance-ID {number & IID_MASK} {way} the tunnel"
        return f"{number:#x}/{mask:#x}"
    if name in _HEXADECIMAL and isinstance(value, int):
        return f"{value:#x}"
    return str(value)


def _action(action: RuleAction, ports: dict[int, str]) -> str:
    match action:
        case Output(port):
            return (
                "back by the same port" if port == Port.IN_PORT else f"to {ports.get(port, port)}"
            )
        case ToController():
            return "to the controller"
        case ToGroup(group_id):
            return f"group {group_id}"
        case SetField(field, value):
            return f"set {field}={_value(field, value, ports)}"
        case MoveField(source, destination):
            return f"copy {source} to {destination}"
        case DecTtl():
            return "decrement TTL"
        case Multipath(register, buckets):
            return f"hash of the flow, one of {buckets} slots, to {register}"
        case CheckPktLarger(octets, register):
            return f"whether larger than {octets} octets to {register}"
        case Resubmit(table):
            return f"look up in table {table}"
