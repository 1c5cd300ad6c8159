"""One OpenFlow connection: what goes out, what was refused, what is being read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import eventlet
from ryu.ofproto import ofproto_v1_3

from lisp_sdn.actions import FlowCounter, FlowCounters, PacketOut, PortInfo
from lisp_sdn.apps import openflow, readback
from lisp_sdn.apps.alike import FlowReader
from lisp_sdn.apps.log import LOGGER
from lisp_sdn.errors import FieldError
from lisp_sdn.rules import CookieClass, FlowRule, GroupRule, MeterRule, RuleChange, Ruleset
from lisp_sdn.xtr.brief import FlowShape

MAX_UNSENT = 64 << 20
"""Octets that may wait for a switch; one that falls further behind is disconnected, and gets
the rules that it should hold when it comes back."""

REMEMBERED = 4096
"""Changes remembered by transaction id, so that a refusal can name the rule."""

MEASURE_FIRST, MEASURE_INTERVAL = 2.0, 10.0
"""Seconds from the handshake to the first question for table statistics, and between two."""

READ_TIMEOUT = 30.0
"""Seconds without a further part of what a switch holds, after which it is disconnected."""

RESYNC_FIRST, RESYNC_LONGEST = 1.0, 60.0
"""Seconds from a refused change to reading back and correcting; doubled each time."""

_MAX_XID = 0xFFFFFFFF


class Switch:
    """A switch behind its connection. Nothing here waits.

    drop: called with reason, detail and source for what is refused or lost.
    on_read: called with what the switch holds, after `read`. on_counters: with what flows have
    carried, after `read_counters`. on_measured: with the seconds that the switch took to answer,
    and the packets looked up in each table, after `measure`.
    """

    def __init__(self, datapath: Any, drop: Callable[[str, str, str], None]) -> None:
        self.datapath = datapath
        self.datapath_id: int = datapath.id
        self.on_read: Callable[[Ruleset], None] = lambda rules: None
        self.on_counters: Callable[[FlowCounters], None] = lambda counters: None
        self.on_measured: Callable[[float, dict[int, int]], None] = lambda seconds, lookups: None
        self._drop = drop
        self._measuring: _Measuring | None = None
        self._measure_timer: Any = None
        self._xid = 0
        self._unsent = bytearray()
        self._sending = False
        self._open = True
        self._sent: list[tuple[int, RuleChange | tuple[FlowShape, int]] | None]
        self._sent = [None] * REMEMBERED
        self._reading: _Reading | None = None
        self._counting: dict[CookieClass, _Counting] = {}
        self._resync: Any = None
        self._resync_delay = RESYNC_FIRST

    @property
    def name(self) -> str:
        """The datapath id in its usual form."""
        return f"{self.datapath_id:016x}"

    @property
    def ports(self) -> tuple[PortInfo, ...]:
        """Its ports, as Ryu keeps them up to date, by number."""
        ports = self.datapath.ports
        return tuple(readback.port_info(ports[number]) for number in sorted(ports))

    def closed(self) -> None:
        """The connection is gone: nothing more is sent or awaited."""
        self._open = False
        self._unsent.clear()
        reading = self._reading.timer if self._reading else None
        for timer in (self._resync, reading, self._measure_timer):
            if timer is not None:
                timer.cancel()
        self._reading = self._resync = self._measure_timer = None

    # --- out ---

    def apply(self, changes: Sequence[RuleChange], *, barrier: bool = False) -> None:
        """Send modifications in order; a rule that OpenFlow cannot say is reported and left out."""
        parts = []
        for change in changes:
            xid = self._next_xid()
            try:
                parts.append(openflow.encode_change(change, xid))
            except FieldError as error:
                self._drop("rule_not_encodable", f"{describe(change.rule)}: {error}", self.name)
            self._sent[xid % REMEMBERED] = (xid, change)
        if barrier:
            parts.append(openflow.encode_barrier(self._next_xid()))
        self.write(b"".join(parts))

    def set_up(self, shape: FlowShape, code: int) -> int:
        """The transaction id for a flow-mod of a shape, to be written by the caller.

        The next one is for the packet-out behind it.
        """
        xid = self._xid + 1 if self._xid < _MAX_XID - 1 else 1
        self._xid = xid + 1
        self._sent[xid % REMEMBERED] = (xid, (shape, code))
        return xid

    def packet_out(self, action: PacketOut) -> None:
        """Send a frame. Raises FieldError."""
        self.write(openflow.encode_packet_out(action, self._next_xid()))

    def _next_xid(self) -> int:
        self._xid = self._xid % _MAX_XID + 1
        return self._xid

    def write(self, data: bytes) -> None:
        """Send whole messages, behind what was written before."""
        if not self._open:
            return
        if len(self._unsent) + len(data) > MAX_UNSENT:
            self._drop("switch_too_slow", f"{len(self._unsent)} octets unsent", self.name)
            self._disconnect()
            return
        self._unsent += data
        if not self._sending:
            self._sending = True
            eventlet.spawn_n(self._send)

    def _send(self) -> None:
        """Give everything unsent to Ryu, which may wait, in a green thread of its own."""
        try:
            while self._unsent and self._open:
                data, self._unsent = self._unsent, bytearray()
                if not self.datapath.send(bytes(data)):
                    return
        finally:
            self._sending = False

    def _disconnect(self) -> None:
        self._open = False
        self._unsent.clear()
        # Ryu's receiving thread then sees the end and tells us.
        eventlet.spawn_n(self.datapath.close)

    # --- refusals ---

    def refused(self, kind: int, code: int, xid: int) -> None:
        """OFPT_ERROR: count it by its name, say what was refused, and correct the difference."""
        reason = _error_name(kind, code)
        if self._reading is not None and self._reading.refuse(xid):
            self._drop(reason, "a part of what it holds cannot be read", self.name)
            self._finish_reading()
            return
        known = self._sent[xid % REMEMBERED]
        if known is None or known[0] != xid:
            self._drop(reason, f"transaction {xid}", self.name)
            return
        change = known[1]
        if isinstance(change, tuple):
            shape, code = change
            change = shape.change(code)
        self._drop(reason, f"{change.verb} {describe(change.rule)}", self.name)
        if self._resync is None:
            self._resync = eventlet.spawn_after(self._resync_delay, self._correct)
            self._resync_delay = min(2 * self._resync_delay, RESYNC_LONGEST)

    def _correct(self) -> None:
        self._resync = None
        self.read()

    # --- reading back ---

    def read(self) -> None:
        """Ask for flows, groups and meters; a read that is under way is forgotten."""
        if not self._open:
            return
        if self._reading is not None:
            self._reading.timer.cancel()
        flows, groups, meters = self._next_xid(), self._next_xid(), self._next_xid()
        timer = eventlet.spawn_after(READ_TIMEOUT, self._read_timed_out)
        self._reading = _Reading(flows, groups, meters, timer)
        self.write(
            openflow.encode_read_flows(flows)
            + openflow.encode_read_groups(groups)
            + openflow.encode_read_meters(meters)
        )

    def read_counters(self, kind: CookieClass) -> None:
        """Ask what the flows of a class have carried; an unanswered question is forgotten."""
        counting = self._counting[kind] = _Counting(self._next_xid(), kind)
        self.write(openflow.encode_read_counters(kind, counting.xid))

    def measure_after(self, delay: float) -> None:
        """Go on measuring for as long as the connection lives. delay: seconds to the first."""
        self._measure_timer = eventlet.spawn_after(delay, self._measure_again)

    def _measure_again(self) -> None:
        self.measure()
        self.measure_after(MEASURE_INTERVAL)

    def measure(self) -> None:
        """Ask for table statistics, which is also how the round trip is measured."""
        if self._open:
            self._measuring = _Measuring(self._next_xid(), time.monotonic())
            self.write(openflow.encode_read_tables(self._measuring.xid))

    def multipart(self, xid: int, data: bytes) -> None:
        """A part of an answer. Raises DecodeError, after which the read will time out."""
        measuring = self._measuring
        if measuring is not None and measuring.xid == xid:
            if measuring.part(data, time.monotonic()):
                self._measuring = None
                self.on_measured(measuring.seconds, measuring.lookups)
            return
        counting = next((c for c in self._counting.values() if c.xid == xid), None)
        if counting is not None:
            if counting.part(data):
                del self._counting[counting.kind]
                flows = tuple(counting.flows)
                self.on_counters(FlowCounters(self.datapath_id, counting.kind, flows))
            return
        if self._reading is not None:
            if self._reading.part(xid, data):
                self._reading.timer.cancel()
                self._reading.timer = eventlet.spawn_after(READ_TIMEOUT, self._read_timed_out)
            self._finish_reading()

    def _finish_reading(self) -> None:
        reading = self._reading
        if reading is None or reading.awaited:
            return
        self._reading = None
        reading.timer.cancel()
        if self._resync is None:
            self._resync_delay = max(RESYNC_FIRST, self._resync_delay / 2)
        self.on_read(
            Ruleset(
                frozenset(reading.flows.rules),
                frozenset(reading.groups),
                frozenset(reading.meters),
                reading.flows.alike(),
            )
        )

    def _read_timed_out(self) -> None:
        self._reading = None
        self._drop("read_timeout", f"no answer in {READ_TIMEOUT:.0f} s", self.name)
        LOGGER.warning("switch %s: disconnecting, it does not say what it holds", self.name)
        self._disconnect()


class _Counting:
    """Counters that a switch has told so far."""

    def __init__(self, xid: int, kind: CookieClass) -> None:
        self.xid = xid
        self.kind = kind
        self.flows: list[FlowCounter] = []

    def part(self, data: bytes) -> bool:
        """Take one reply; True with the last. Raises DecodeError."""
        _, more, body = readback.split_multipart(data)
        self.flows.extend(readback.decode_counters(body))
        return not more


class _Measuring:
    """A question for table statistics. sent: monotonic; seconds: until the first part came."""

    def __init__(self, xid: int, sent: float) -> None:
        self.xid = xid
        self.sent = sent
        self.seconds = 0.0
        self.lookups: dict[int, int] = {}

    def part(self, data: bytes, now: float) -> bool:
        """Take one reply; True with the last. Raises DecodeError."""
        if not self.lookups:
            self.seconds = now - self.sent
        _, more, body = readback.split_multipart(data)
        self.lookups.update(readback.decode_tables(body))
        return not more


class _Reading:
    """What a switch has told so far of what it holds."""

    def __init__(self, flows: int, groups: int, meters: int, timer: Any) -> None:
        self.timer = timer
        self.flows = FlowReader()
        self.groups: list[GroupRule] = []
        self.meters: list[MeterRule] = []
        self.awaited: dict[int, Callable[[bytes], None]] = {
            flows: self.flows.take,
            groups: lambda body: self.groups.extend(readback.decode_groups(body)),
            meters: lambda body: self.meters.extend(readback.decode_meters(body)),
        }

    def part(self, xid: int, data: bytes) -> bool:
        """Take one reply; False for one that was not asked for. Raises DecodeError."""
        take = self.awaited.get(xid)
        if take is None:
            return False
        _, more, body = readback.split_multipart(data)
        take(body)
        if not more:
            del self.awaited[xid]
        return True

    def refuse(self, xid: int) -> bool:
        """The switch does not answer this request, for instance because it has no meters."""
        return self.awaited.pop(xid, None) is not None


def describe(rule: FlowRule | GroupRule | MeterRule) -> str:
    """A rule in one line, by what identifies it."""
    match rule:
        case FlowRule():
            fields = ",".join(f"{name}={value}" for name, value in rule.match)
            return f"flow table={rule.table} priority={rule.priority} {fields}".rstrip()
        case GroupRule():
            return f"group {rule.group_id}"
        case MeterRule():
            return f"meter {rule.meter_id}"


def _error_name(kind: int, code: int) -> str:
    """For instance "ofpfmfc_table_full"."""
    name = str(ofproto_v1_3.ofp_error_code_to_str(kind, code))
    return name.partition("(")[0].lower() if name.startswith("OFP") else f"error_{kind}_{code}"
