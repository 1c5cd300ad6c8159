"""Gleaning: map-cache entries from received packets, until they are verified (RFC 9300 section 9).

The source EID of a packet out of the tunnel is reached by the RLOC that it came from, for
`gleaning.lifetime` seconds at most: a Map-Request for it goes out at once, and what is answered
takes the place of what was gleaned. Where the map-cache holds a verified entry, also a negative
one, nothing is gleaned. Off by default, and only for trusted networks (RFC 9300 section 4.1).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.guard_settings import GleaningSettings, bad_rloc
from lisp_sdn.xtr.cache import Via
from lisp_sdn.xtr.keeper import CacheKeeper
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.topology import Topology

_LOOK_AT = 16
"""Entries that a packet without room looks at; the next packet looks at the next ones."""


class Gleaner:
    """keeper: of the map-cache, whose `asker` sends the Map-Request."""

    def __init__(
        self,
        settings: GleaningSettings,
        outbox: Outbox,
        topology: Callable[[], Topology],
        keeper: CacheKeeper,
    ) -> None:
        self._settings = settings
        self._out = outbox
        self._topology = topology
        self._keeper = keeper
        self._gleaned: OrderedDict[EidPrefix, None] = OrderedDict()

    def seen(self, eid: EidPrefix, rloc: IPAddress, now: float) -> None:
        """A packet from this source EID came from this RLOC."""
        topology, cache = self._topology(), self._keeper.cache
        if not self._settings.enabled or cache.get(eid) is not None or cache.covering(eid):
            return
        if bad_rloc(rloc) is not None or rloc in topology.rlocs:
            self._out.drop("gleaned-rloc", f"{eid} from {rloc}", str(rloc))
            return
        if topology.gateway_ports(eid.iid, eid.network.network_address):
            self._out.drop("gleaned-local-eid", f"{eid} from {rloc}", str(rloc))
            return
        if len(self._gleaned) >= self._settings.entries and not self._room():
            self._out.drop("gleaned-entries", f"{eid} from {rloc}", str(rloc))
            return
        self._gleaned[eid] = None
        self._out.counters["map-cache-gleaned"] += 1
        self._keeper.glean(eid, rloc, self._settings.lifetime, now)
        self._keeper.asker.ask_again(eid, None, eid, now)

    def _room(self) -> bool:
        """Forget some of those that are verified, replaced or expired."""
        for _ in range(min(_LOOK_AT, len(self._gleaned))):
            eid, _ = self._gleaned.popitem(last=False)
            entry = self._keeper.cache.get(eid)
            if entry is not None and entry.via is Via.GLEANED:
                self._gleaned[eid] = None
        return len(self._gleaned) < self._settings.entries
