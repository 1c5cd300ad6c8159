"""The switches: OpenFlow connections that Ryu keeps, written to without ever waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import eventlet
from ryu.ofproto import ofproto_v1_3, ofproto_v1_3_parser

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    Dropped,
    Event,
    FlowCounters,
    FlowRemoved,
    PacketIn,
    PacketOut,
    PortInfo,
    ReadCounters,
    ReadRules,
    SwitchConnected,
)
from lisp_sdn.apps import openflow, readback
from lisp_sdn.apps.backlog import Backlog, is_miss
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.eager import EagerSocket
from lisp_sdn.apps.express import ExpressEdge
from lisp_sdn.apps.switch import MEASURE_FIRST, Switch
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import Ruleset

TURN = 64
"""Flow set-ups of the express lane, and misses that are read to wait, before other green threads
get their turn; each takes as long as two Map-Requests."""

USUAL = 8
"""So many of these takes any other message of a switch; a part of what it holds, more."""


class SwitchBrain(Protocol):
    """The part of the controller that switches talk to."""

    def switch_connected(self, event: SwitchConnected, now: float) -> list[Action]:
        """A switch finished its handshake."""

    def switch_disconnected(self, datapath_id: int, now: float) -> list[Action]:
        """The connection ended."""

    def installed(
        self, datapath_id: int, ports: tuple[PortInfo, ...], ruleset: Ruleset, now: float
    ) -> list[Action]:
        """The answer to ReadRules."""

    def packet_in(self, event: PacketIn, now: float) -> list[Action]:
        """A packet for the controller."""

    def flow_removed(self, event: FlowRemoved, now: float) -> list[Action]:
        """A flow left."""

    def port_changed(self, datapath_id: int, port: PortInfo, now: float) -> list[Action]:
        """A port changed."""

    def counters(self, event: FlowCounters, now: float) -> list[Action]:
        """The answer to ReadCounters."""

    def switch_measured(
        self, datapath_id: int, seconds: float, lookups: dict[int, int], now: float
    ) -> list[Action]:
        """How long a switch took to answer, and the packets that its tables have seen."""


class Switches:
    """Every connected switch by datapath id.

    connected: called with each new one, after the brain knows of it. express: takes packet-ins
    before the brain is told of them.
    """

    def __init__(
        self,
        brain: SwitchBrain,
        dispatcher: Dispatcher,
        connected: Callable[[Switch], None] = lambda switch: None,
        express: ExpressEdge | None = None,
    ) -> None:
        self._express = express
        self._brain = brain
        self._dispatcher = dispatcher
        self._connected = connected
        self._switches: dict[int, Switch] = {}
        self._handled = 0
        self._backlog = Backlog(self._miss, self._no_room)

    # --- what the brain wants ---

    def apply_rules(self, action: ApplyRules) -> None:
        """Send modifications in order."""
        switch = self._switches.get(action.datapath_id)
        if switch is None:
            self._away(action.datapath_id, f"{len(action.changes)} rule changes")
            return
        switch.apply(action.changes, barrier=action.barrier)

    def packet_out(self, action: PacketOut) -> None:
        """Send a frame."""
        switch = self._switches.get(action.datapath_id)
        if switch is None:
            self._away(action.datapath_id, "a packet-out")
            return
        switch.packet_out(action)

    def read_rules(self, action: ReadRules) -> None:
        """Ask for everything of ours; `installed` is called when it is complete."""
        switch = self._switches.get(action.datapath_id)
        if switch is None:
            self._away(action.datapath_id, "a request to read rules")
            return
        switch.read()

    def read_counters(self, action: ReadCounters) -> None:
        """Ask what flows have carried; `counters` is called with the answer.

        A switch that is away has nothing to tell, and saying so every time would help nobody.
        """
        switch = self._switches.get(action.datapath_id)
        if switch is not None:
            switch.read_counters(action.kind)

    def _away(self, datapath_id: int, what: str) -> None:
        self._dispatcher.report(
            Dropped("openflow", "switch_not_connected", what, f"{datapath_id:016x}")
        )

    # --- what Ryu tells ---

    def up(self, datapath: Any) -> Switch:
        """The handshake of a connection is done; harmless when repeated."""
        switch: Switch | None = self._switches.get(datapath.id)
        if switch is not None and switch.datapath is datapath:
            return switch
        # A second connection with the same id: the switch restarted before we saw the end of
        # the first, or two switches were given one id.
        if switch is not None:
            self.down(switch.datapath)
        new = Switch(datapath, lambda *drop: self._dispatcher.report(Dropped("openflow", *drop)))
        self._switches[datapath.id] = new
        datapath.socket = EagerSocket(datapath.socket, self._read)
        new.on_read = lambda rules: self._dispatcher.event(
            self._brain.installed, new.datapath_id, new.ports, rules
        )
        new.on_counters = lambda counters: self._dispatcher.event(self._brain.counters, counters)
        new.on_measured = lambda seconds, lookups: self._dispatcher.event(
            self._brain.switch_measured, new.datapath_id, seconds, lookups
        )
        new.measure_after(MEASURE_FIRST)
        self._dispatcher.report(
            Event("switch.connected", new.name, {"address": datapath.address[0]})
        )
        self._dispatcher.event(
            self._brain.switch_connected, SwitchConnected(new.datapath_id, new.ports)
        )
        self._connected(new)
        return new

    def down(self, datapath: Any) -> None:
        """A connection ended; harmless for one that was replaced or never came up."""
        switch = self._switches.get(datapath.id)
        if switch is None or switch.datapath is not datapath:
            return
        del self._switches[datapath.id]
        switch.closed()
        self._backlog.forget(switch.datapath_id)
        self._dispatcher.report(Event("switch.disconnected", switch.name))
        self._dispatcher.event(self._brain.switch_disconnected, switch.datapath_id)

    def close(self) -> None:
        """Send what is still to be sent is Ryu's job; forget the switches."""
        self._backlog.close()
        for switch in list(self._switches.values()):
            switch.closed()
        self._switches.clear()

    def each(self, look: Callable[[Switch], None]) -> None:
        """Call for every connected switch."""
        for switch in list(self._switches.values()):
            look(switch)

    def port_status(self, datapath: Any, port: Any, *, gone: bool) -> Switch | None:
        """A port came, went or changed: whose? A port that went is told as one that is down."""
        switch = self._switches.get(datapath.id)
        if switch is None or switch.datapath is not datapath:
            return None
        info = readback.port_info(port, gone=gone)
        self._dispatcher.event(self._brain.port_changed, switch.datapath_id, info)
        return switch

    def error(self, datapath: Any, kind: int, code: int, xid: int) -> None:
        """The switch refused a message of ours."""
        switch = self._switches.get(datapath.id)
        if switch is not None and switch.datapath is datapath:
            switch.refused(kind, code, xid)

    def message(self, datapath: Any, kind: int, xid: int, data: bytes) -> bool:
        """A packet-in, flow-removed or multipart reply; False to leave it to Ryu."""
        if datapath.id is None or datapath.state != MAIN:
            return False
        # Ryu's own event about the end of the handshake can come after the first packet-in.
        switch = self.up(datapath)
        took = 1
        try:
            if kind != openflow.MESSAGE_PACKET_IN or not self._at_once(switch, data):
                usual = TURN if kind == openflow.MESSAGE_MULTIPART_REPLY else USUAL
                took = 1 if self._message(switch, kind, xid, data) else usual
        except DecodeError as error:
            self._dispatcher.report(Dropped("openflow", error.reason, str(error), switch.name))
        self._handled += took
        if self._handled >= TURN:
            self._handled = 0
            self._read()
            eventlet.sleep(0)
        return True

    def _at_once(self, switch: Switch, data: bytes) -> bool:
        """Whether the express lane has answered; an exception in it must not end the connection."""
        try:
            return self._express is not None and self._express.take(switch, data)
        except DecodeError:
            return False
        except Exception as error:
            self._dispatcher.bug(f"express: {error!r}")
            return False

    def _read(self) -> None:
        """All that was read from a switch so far is handled."""
        if self._express is not None:
            self._express.handled()

    def _miss(self, packet: PacketIn) -> None:
        self._dispatcher.event(self._brain.packet_in, packet)

    def _no_room(self, packet: PacketIn) -> None:
        where = f"{packet.datapath_id:016x}"
        self._dispatcher.report(
            Dropped("openflow", "miss-backlog", f"port {packet.in_port}", where)
        )

    def _message(self, switch: Switch, kind: int, xid: int, data: bytes) -> bool:
        """Handle a message; True if it is a miss that waits."""
        if kind == openflow.MESSAGE_PACKET_IN:
            packet = readback.decode_packet_in(switch.datapath_id, data)
            if is_miss(packet):
                self._backlog.put(packet)
                return True
            self._dispatcher.event(self._brain.packet_in, packet)
        elif kind == openflow.MESSAGE_FLOW_REMOVED:
            removed = readback.decode_flow_removed(switch.datapath_id, data)
            self._dispatcher.event(self._brain.flow_removed, removed)
        else:
            switch.multipart(xid, data)
        return False


MAIN = "main"
"""Ryu's name for the state after the handshake."""


def take_messages(receiver: Callable[[Any, int, int, bytes], bool]) -> None:
    """Have Ryu's parser of OpenFlow 1.3 hand packet-in, flow-removed and multipart replies to us.

    Ryu would decode every field of every match into text, and put the result through the queue
    of each application: at a few thousand packet-ins a second that is most of the work. What
    `receiver` does not take goes Ryu's way. This table is not a public interface of Ryu; Ryu 4.34
    is its last release, and a test notices if the table is another one.
    """
    parsers = ofproto_v1_3_parser._MSG_PARSERS
    for kind in (
        ofproto_v1_3.OFPT_PACKET_IN,
        ofproto_v1_3.OFPT_FLOW_REMOVED,
        ofproto_v1_3.OFPT_MULTIPART_REPLY,
    ):
        # A second call, as in tests, wraps Ryu's parser and not ours.
        original = getattr(parsers[kind], "original", parsers[kind])
        parsers[kind] = _parser(original, receiver)


def _parser(original: Any, receiver: Callable[[Any, int, int, bytes], bool]) -> Any:
    def parse(datapath: Any, version: int, kind: int, length: int, xid: int, data: bytes) -> Any:
        if receiver(datapath, kind, xid, data):
            return None
        return original(datapath, version, kind, length, xid, data)

    parse.original = original  # type: ignore[attr-defined]
    return parse
