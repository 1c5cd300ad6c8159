"""The ETR of one xTR: registers its EID-prefixes with its RLOCs (RFC 9301 sections 5.6, 8.2).

Map-Requests for these prefixes are answered by the mapping system.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.requests import Register
from lisp_sdn.xtr.timers import Timers

REGISTER_INTERVAL = 60.0
"""Seconds between Map-Registers; a Map-Server forgets after three of them."""

RECORD_ROOM = 576 - 20 - 8 - 16 - 32 - 24
"""Octets for the records of a Map-Register: RFC 9301 section 5 allows 576 without knowledge of
the path, less IPv4 and UDP header, its own header, the longest Authentication Data, and the
xTR-ID with the Site-ID."""

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
        self._down: frozenset[IPAddress] = frozenset()
        self._host_routes: dict[EidPrefix, str] = {}

    def take_over(self, old: Etr) -> None:
        """Go on where another one ends: what is down stays so, and EIDs that came here too."""
        self._down = old._down
        self._host_routes = dict(old._host_routes)

    def prefixes(self) -> tuple[EidPrefix, ...]:
        """The EID-prefixes that it registers."""
        return tuple(entry.eid for entry in self._config.registered_prefixes(self._settings))

    def records(self) -> tuple[EidRecord, ...]:
        """What is registered: every EID-prefix with our RLOCs."""
        return self._with_locators(self.prefixes())

    def _with_locators(self, eids: Iterable[EidPrefix]) -> tuple[EidRecord, ...]:
        locators = tuple(
            Locator(
                item.rloc,
                item.priority,
                item.weight,
                local=True,
                reachable=item.rloc not in self._down,
            )
            for item in self._settings.rlocs
        )
        return tuple(EidRecord.from_mapping(Mapping(eid).with_locators(locators)) for eid in eids)

    def serves(self, eid: EidPrefix) -> bool:
        """Whether it is, or is in, one of these EID-prefixes."""
        return eid in self._host_routes or any(own.covers(eid) for own in self.prefixes())

    def register(self, now: float) -> None:
        """Send the Map-Register that is due, and note when the next one is."""
        records = self.records()
        if not records and not self._host_routes:
            return
        self._timers.schedule(TIMER, now + REGISTER_INTERVAL)
        if records:
            self._send(records)
        for site in sorted(set(self._host_routes.values())):
            eids = [eid for eid, owner in self._host_routes.items() if owner == site]
            self._send(self._with_locators(eids), site)

    def _send(
        self, records: tuple[EidRecord, ...], site: str | None = None, *, news: bool = False
    ) -> None:
        """site: of host routes, of which the newest registration counts and no union."""
        for part in split(records):
            self._out.counters["map-registers-out"] += 1
            merge = site is None
            self._out.act(Register(self._settings.name, part, site, merge=merge, news=news))

    def host_route(self, eid: EidPrefix, site: str | None, now: float) -> None:
        """Register an EID that is here, whatever site it is of; site None: no longer."""
        known = self._host_routes.get(eid)
        if site is not None:
            self._host_routes[eid] = site
            self._send(self._with_locators((eid,)), site, news=True)
            if self._timers.when(TIMER) is None:
                self._timers.schedule(TIMER, now + REGISTER_INTERVAL)
        elif known is not None:
            del self._host_routes[eid]
            self._send((EidRecord(eid, ttl_minutes=0),), known, news=True)

    def rlocs_changed(self, down: frozenset[IPAddress], now: float) -> None:
        """Tell Map-Servers of others, by the R-bit, which of our RLOCs are down.

        Ours knows it already, and keeps what is registered apart from what is reachable.
        """
        if self._settings.map_servers:
            self._down = down
            self.register(now)

    def due(self, now: float) -> None:
        """An xTR whose switch is away stops registering; its registration runs out by itself."""
        if self._out.connected:
            self.register(now)
        else:
            self._out.event("registration.stopped", self._settings.name, reason="switch away")


def split(records: tuple[EidRecord, ...]) -> Iterator[tuple[EidRecord, ...]]:
    """As many records a message as fit a control packet whose path is not known."""
    part: list[EidRecord] = []
    room = RECORD_ROOM
    for record in records:
        size = len(record.serialize())
        if part and size > room:
            yield tuple(part)
            part, room = [], RECORD_ROOM
        part.append(record)
        room -= size
    yield tuple(part)
