"""Packet-ins at full speed: read at fixed offsets, answered by octets that are ready.

What the brain decides about the usual map-cache miss (`lisp_sdn.express`) is a flow like many
others. Its flow-mod is encoded once for all of these, as a template with a gap for the destination;
the packet-out behind it differs by port and frame. Between two reads from the switch there are
many of them, and what follows an event follows them together.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from lisp_sdn.actions import Event
from lisp_sdn.apps import openflow, oxm, readback
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.instructions import encode_actions
from lisp_sdn.apps.switch import Switch
from lisp_sdn.rules import Output, Port
from lisp_sdn.xtr.brief import FlowShape
from lisp_sdn.xtr.express import Express

MAX_TEMPLATES = 10_000
MAX_PORTS = 1024
"""Templates, and descriptions of misses by a switch, that are kept; then they are made again."""

_MATCH_AT = 24
_DESCRIBED_AT = 14
"""Of a packet-in: reason, table, cookie and match describe why it came and from where."""

_PACKET_OUT = Struct("!BBHIIIH6x16s")
_THROUGH_TABLES = encode_actions((Output(Port.TABLE),))


class Lanes(Protocol):
    """The part of the brain that answers."""

    def lane(self, datapath_id: int, now: float) -> Express | None:
        """The lane of a switch; begins a batch."""

    def end(self, now: float) -> tuple[Event, int] | None:
        """The batch is over: one of its events, and how many there are."""


class Template:
    """The flow-mod of a shape with gaps for transaction id and destination."""

    __slots__ = ("after", "before", "head", "width")

    def __init__(self, shape: FlowShape) -> None:
        octets = openflow.encode_change(shape.change(shape.code), 0)
        self.width = 4 if shape.version == 4 else 16
        name = f"ipv{shape.version}_dst"
        field = oxm.encode_field(name, dict(shape.rule.match)[name])
        at = octets.index(field) + 4
        self.head = octets[:4]
        self.before = octets[8:at]
        self.after = octets[at + self.width :]


class ExpressEdge:
    """Takes packet-ins; what it leaves goes the usual way."""

    def __init__(self, lanes: Lanes, dispatcher: Dispatcher) -> None:
        self._lanes = lanes
        self._dispatcher = dispatcher
        self._clock: Callable[[], float] = dispatcher.clock
        self._templates: dict[FlowShape, Template] = {}
        self._now: float | None = None
        dispatcher.before.append(self.end)

    def take(self, switch: Switch, data: bytes) -> bool:
        """Answer a packet-in, a whole message; False when nothing was done about it."""
        now = self._now
        if now is None:
            now = self._now = self._clock()
        lane = self._lanes.lane(switch.datapath_id, now)
        if lane is None or len(data) < _MATCH_AT + 4:
            return False
        data = bytes(data)
        match_end = _MATCH_AT + ((data[26] << 8 | data[27]) + 7 & ~7)
        described = data[_DESCRIBED_AT:match_end]
        port = lane.ports.get(described)
        if port is None:
            port = lane.port(readback.decode_packet_in(switch.datapath_id, data))
            if port is None:
                return False
            if len(lane.ports) >= MAX_PORTS:
                lane.ports.clear()
            lane.ports[described] = port
        frame = data[match_end + 2 :]
        if len(frame) != data[12] << 8 | data[13]:
            return False
        found = lane.miss(port, frame, now)
        if found is None:
            return False
        shape, code = found
        template = self._templates.get(shape) or self._template(shape)
        xid = switch.set_up(shape, code)
        switch.write(
            b"".join(
                (
                    template.head,
                    xid.to_bytes(4, "big"),
                    template.before,
                    (code >> 8).to_bytes(template.width, "big"),
                    template.after,
                    _PACKET_OUT.pack(
                        openflow.VERSION,
                        openflow.MESSAGE_PACKET_OUT,
                        _PACKET_OUT.size + len(frame),
                        xid + 1,
                        openflow.NO_BUFFER,
                        port.port.number,
                        len(_THROUGH_TABLES),
                        _THROUGH_TABLES,
                    ),
                    frame,
                )
            )
        )
        return True

    def _template(self, shape: FlowShape) -> Template:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        template = self._templates[shape] = Template(shape)
        return template

    def end(self) -> None:
        """Before anything else is handled: tell what was answered here."""
        if self._now is None:
            return
        self._now = None
        now = self._clock()
        try:
            told = self._lanes.end(now)
            if told is not None:
                self._dispatcher.tell(*told, now)
        except Exception as error:
            self._dispatcher.bug(f"express: {error!r}")

    def handled(self) -> None:
        """All that was read from a switch is handled: what follows every event follows."""
        if self._now is not None:
            self.end()
            self._dispatcher.done()
