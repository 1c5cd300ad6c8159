"""What native ports carry, from the counters of their flows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lisp_sdn.actions import FlowCounter, FlowCounters, ReadCounters
from lisp_sdn.config import Config
from lisp_sdn.rules import CookieClass, Match
from lisp_sdn.views import Carried, Counter
from lisp_sdn.xtr.pipeline import FROM_NATIVE, FROM_TUNNEL, IID_MASK, METADATA_MASK, ORIGIN_MASK
from lisp_sdn.xtr.topology import Topology

INTERVAL = 5.0
"""Seconds between two looks."""

WAYS = ("native-in", "native-out", "native-refused", "petr-out", "petr-refused")
"""in: by a native port. out: of local EIDs. petr-out: of what ITRs have sent. native-refused: in by
a native port and for no EID. petr-refused: source not of a LISP site, or destination LISP."""

_Key = tuple[str, int, str]


class Traffic:
    """Adds up what the switches tell; a flow that was installed anew begins at zero again."""

    def __init__(self, config: Config) -> None:
        self._names: dict[int, str] = {}
        self._carried: defaultdict[_Key, Carried] = defaultdict(Carried)
        self._last: dict[tuple[int, Match], FlowCounter] = {}
        self._due: float | None = None
        self._read(config)

    def _read(self, config: Config) -> None:
        self._names = {xtr.datapath_id: xtr.name for xtr in config.xtrs if xtr.native_ports}
        for xtr in config.xtrs:
            for port in xtr.native_ports:
                for way in WAYS:
                    self._carried[xtr.name, port.iid, way] += Carried()

    def start(self, now: float) -> None:
        """Begin to look, if there is anything to see."""
        self._due = now + INTERVAL if self._names else None

    def configure(self, config: Config, now: float) -> None:
        """Look at the native ports of another configuration; what was counted stays."""
        self._read(config)
        self._last = {key: flow for key, flow in self._last.items() if key[0] in self._names}
        self.start(now)

    def soon(self, now: float) -> None:
        """Look without waiting: what is counted from now on belongs to now."""
        self._due = now if self._names else None

    def next_timer(self) -> float | None:
        """When it wants to look again."""
        return self._due

    def ask(self, connected: Iterable[int], now: float) -> list[ReadCounters]:
        """Questions to those of these switches that have native ports."""
        self._due = now + INTERVAL
        asked = sorted(set(connected) & set(self._names))
        return [ReadCounters(number, CookieClass.INTERWORKING) for number in asked]

    def take(self, answer: FlowCounters, topology: Topology) -> None:
        """Take an answer. topology: of the xTR, which tells its native ports."""
        name = self._names.get(answer.datapath_id)
        for flow in answer.flows if name is not None else ():
            found = _way(flow.match, topology)
            key = (answer.datapath_id, flow.match)
            before, self._last[key] = self._last.get(key), flow
            if found is not None and name is not None:
                self._carried[name, *found] += _since(before, flow)

    def of(self, xtr: str, iid: int, way: str) -> Carried:
        """Packets and octets since the controller started. way: one of WAYS."""
        return self._carried[xtr, iid, way]

    def counters(self) -> Iterable[Counter]:
        """As counters, by xTR, instance-ID and way."""
        for (xtr, iid, way), carried in sorted(self._carried.items()):
            labels = (("iid", str(iid)), ("way", way), ("xtr", xtr))
            yield Counter("interworking-packets", carried.packets, labels)
            yield Counter("interworking-octets", carried.octets, labels)


def _since(before: FlowCounter | None, flow: FlowCounter) -> Carried:
    if before is None:
        # Carried before we looked: nobody knows when.
        return Carried()
    if flow.packets < before.packets:
        return Carried(flow.packets, flow.octets)
    return Carried(flow.packets - before.packets, flow.octets - before.octets)


_LEAVING = {0: "native-out", FROM_TUNNEL: "petr-out", FROM_NATIVE: "native-refused"}


def _way(matching: Match, topology: Topology) -> tuple[int, str] | None:
    """Instance-ID and way that a flow of class INTERWORKING stands for; None if another tells."""
    fields = dict(matching)
    number, metadata = fields.get("in_port"), fields.get("metadata")
    if isinstance(number, int):
        native = topology.native_port(number)
        return None if native is None else (native.role.iid, "native-in")
    if not isinstance(metadata, tuple):
        return None
    value, mask = metadata
    iid, origin = value & IID_MASK, value & ~IID_MASK
    if mask == ORIGIN_MASK:
        return iid, _LEAVING[origin]
    if mask == METADATA_MASK and not {"ipv4_src", "ipv6_src"} & fields.keys():
        return iid, "petr-refused"
    return (iid, "native-refused") if mask == FROM_NATIVE | IID_MASK else None
