"""Flow set-ups at full speed: the lanes of all xTRs, and what is told of what passed there.

A lane (`xtr.express`) answers the usual map-cache miss from an answer that is ready
(`mapping.ready`). Nothing else happens between `begin` and `end`, so what all these set-ups have in
common, and what is told of them, is done once for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from lisp_sdn.actions import Event
from lisp_sdn.address import EidPrefix
from lisp_sdn.exchanges import Exchanges
from lisp_sdn.ledger import Ledger
from lisp_sdn.mapping.ready import Asker, ReadyAnswers
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.measures import Measures
from lisp_sdn.model import Requester
from lisp_sdn.xtr.express import Express
from lisp_sdn.xtr.keeper import ADDED
from lisp_sdn.xtr.xtr import Xtr


class ExpressLanes:
    """The lanes of the xTRs whose Map-Resolver is the embedded one.

    xtrs: by name, always the same object. requester: as whom an xTR asks for a source EID.
    """

    def __init__(
        self,
        xtrs: Mapping[str, Xtr],
        system: MapSystem,
        requester: Callable[[str, EidPrefix | None], Requester],
        ledger: Ledger,
        exchanges: Exchanges,
        measures: Measures,
    ) -> None:
        self._answers = ReadyAnswers(system)
        self._ledger = ledger
        self._exchanges = exchanges
        self._measures = measures
        self._xtrs = xtrs
        self._requester = requester
        self._lanes: dict[int, Express] = {}
        self._began: float | None = None
        self._open()

    def _open(self) -> None:
        self._lanes = {
            xtr.settings.datapath_id: xtr.express
            for xtr in self._xtrs.values()
            if not xtr.settings.map_resolvers
        }
        for lane in self._lanes.values():
            lane.opened(self._answers, partial(self._asker, lane.name))

    def _asker(self, xtr: str, source: EidPrefix | None) -> Asker:
        return Asker(self._requester(xtr, source))

    def configure(self) -> None:
        """Go on under another configuration, which the xTRs and the mapping system follow."""
        self._answers.configure()
        self._open()

    def lane(self, datapath_id: int, now: float) -> Express | None:
        """The lane for a packet-in of this switch; begins a batch if none has begun."""
        if self._began is None:
            self._began = now
            self._answers.begin(now)
            for lane in self._lanes.values():
                lane.begin(now)
        return self._lanes.get(datapath_id)

    def end(self, now: float) -> tuple[Event, int] | None:
        """The batch is over: an event for its newest entry, and how many there are.

        Called before anything else happens, and when the flows have been sent.
        """
        began, self._began = self._began, None
        if began is None:
            return None
        told: tuple[Event, int] | None = None
        for lane in self._lanes.values():
            entries = lane.end()
            if entries:
                self._measures.resolved(lane.name, now - began, len(entries))
                self._ledger.note_later(ADDED, [entry for entry, _ in entries], began)
                self._exchanges.note_ready(lane.name, entries)
                told = (entries[-1][0].event(), len(entries) + (told[1] if told else 0))
        return told

    def report(self) -> None:
        """Count the answers that were given."""
        self._answers.report()
