"""Ports that go down and come up: a host that says nothing after its move is asked for."""

from __future__ import annotations

import itertools

from lisp_sdn.mobility.directory import Directory, Place, PortName
from lisp_sdn.xtr.requests import Ask
from lisp_sdn.xtr.timers import Timers

AGAIN = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between the questions at a port that came up: the host may not hear the first."""

MOVE_TIME = 3.0
"""Seconds between the ends of one move: a port that goes down, and one that comes up."""

AT_MOST = 64
"""EIDs asked for at a port that came up."""

TIMER = "seek"


class PortWatch:
    """Which ports that allow mobility are down, and which came up lately.

    ports: they, with their instance-IDs.
    """

    def __init__(self, ports: dict[PortName, int], directory: Directory, timers: Timers) -> None:
        self.ports = ports
        self._directory = directory
        self._timers = timers
        self._down: set[PortName] = set()
        self._came_up: dict[PortName, float] = {}

    def configure(self, ports: dict[PortName, int]) -> None:
        """Go on with the ports of another configuration."""
        self.ports = ports
        self._down &= ports.keys()
        self._came_up = {port: since for port, since in self._came_up.items() if port in ports}

    def is_down(self, place: Place) -> bool:
        """Whether nobody can be at a place now."""
        return place.port_name in self._down

    def changed(self, port: PortName, now: float, *, up: bool) -> list[Ask]:
        """A port came, went, or changed its link state.

        EIDs of ports that are down are asked for at ports that came up, whichever is told first.
        """
        if port not in self.ports:
            return []
        if up:
            self._down.discard(port)
            self._came_up[port] = now
            return self.seek(port, 0, now)
        self._down.add(port)
        lately = [p for p, since in self._came_up.items() if now - since < MOVE_TIME]
        return [ask for other in lately for ask in self.seek(other, 0, now)]

    def seek(self, port: PortName, attempt: int, now: float) -> list[Ask]:
        """Ask at a port that came up, and note when to ask again."""
        if port not in self.ports:
            return []
        if attempt < len(AGAIN) and now - self._came_up.get(port, 0.0) < MOVE_TIME:
            self._timers.schedule((TIMER, (port, attempt + 1)), now + AGAIN[attempt])
        elsewhere = self._down - {port}
        if not elsewhere:
            return []
        iid = self.ports[port]
        lost = (
            entry.host.key
            for entry in self._directory
            if entry.host.iid == iid and entry.place.port_name in elsewhere
        )
        return [Ask(port[0], key, port[1]) for key in itertools.islice(lost, AT_MOST)]
