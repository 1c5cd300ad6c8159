"""The ETR of one xTR: registers its EID-prefixes with its RLOCs (RFC 9301 sections 5.6, 8.2).

Map-Requests for these prefixes are answered by the mapping system.
"""

from __future__ import annotations

from lisp_sdn.address import EidPrefix
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.requests import Register
from lisp_sdn.xtr.timers import Timers

REGISTER_INTERVAL = 60.0
"""Seconds between Map-Registers; a Map-Server forgets after three of them."""

TIMER = ("register", 0)


class Etr:
    """Registers while the switch is there, and once at start, before it is."""

    def __init__(
        self, settings: XtrSettings, config: Config, outbox: Outbox, timers: Timers
    ) -> None:
        self._settings = settings
        self._config = config
        self._out = outbox
        self._timers = timers

    def prefixes(self) -> tuple[EidPrefix, ...]:
        """The EID-prefixes that it registers."""
        return tuple(entry.eid for entry in self._config.registered_prefixes(self._settings))

    def records(self) -> tuple[EidRecord, ...]:
        """What is registered: every EID-prefix with our RLOCs."""
        locators = tuple(
            Locator(item.rloc, item.priority, item.weight, local=True)
            for item in self._settings.rlocs
        )
        return tuple(
            EidRecord.from_mapping(Mapping(eid).with_locators(locators)) for eid in self.prefixes()
        )

    def serves(self, eid: EidPrefix) -> bool:
        """Whether it is, or is in, one of these EID-prefixes."""
        return any(own.covers(eid) for own in self.prefixes())

    def register(self, now: float) -> None:
        """Send the Map-Register that is due, and note when the next one is."""
        records = self.records()
        if not records:
            return
        self._timers.schedule(TIMER, now + REGISTER_INTERVAL)
        self._out.counters["map-registers-out"] += 1
        self._out.act(Register(self._settings.name, records))

    def due(self, now: float) -> None:
        """An xTR whose switch is away stops registering; its registration runs out by itself."""
        if self._out.connected:
            self.register(now)
        else:
            self._out.event("registration.stopped", self._settings.name, reason="switch away")
