"""What the running system measures of its own speed. Nothing here looks at a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lisp_sdn.histogram import Histogram
from lisp_sdn.views import Counter, Distribution
from lisp_sdn.xtr.pipeline import TableId


class Measures:
    """Histograms by xTR, from 0 on so that rates can be told before the first observation."""

    def __init__(self, xtrs: Mapping[str, int]) -> None:
        """xtrs: name -> datapath id."""
        self._resolutions: dict[str, Histogram] = {}
        self._round_trips: dict[str, Histogram] = {}
        self._lookups: dict[str, dict[TableId, int]] = {}
        self.configure(xtrs)

    def configure(self, xtrs: Mapping[str, int]) -> None:
        """Go on with these xTRs; what was measured of those that stay, stays."""
        self._names = {number: name for name, number in xtrs.items()}
        none = dict.fromkeys(TableId, 0)
        self._resolutions = {name: self._resolutions.get(name, Histogram()) for name in xtrs}
        self._round_trips = {name: self._round_trips.get(name, Histogram()) for name in xtrs}
        self._lookups = {name: self._lookups.get(name, none) for name in xtrs}

    def resolved(self, xtr: str, seconds: float, times: int = 1) -> None:
        """From a map-cache miss until its flow was sent to the switch. times: so many misses."""
        self._resolutions[xtr].observe(seconds, times)

    def switch(self, datapath_id: int, seconds: float, lookups: Mapping[int, int]) -> None:
        """A switch's answer to a question for table statistics; of one that is no xTR, nothing.

        seconds: until it came. lookups: table -> packets looked up in it since the switch started.
        """
        name = self._names.get(datapath_id)
        if name is not None:
            self._round_trips[name].observe(seconds)
            self._lookups[name] = {table: lookups.get(table, 0) for table in TableId}

    def counters(self) -> Iterator[Counter]:
        """Packets by table; they begin at 0 again when a switch does."""
        for xtr, lookups in self._lookups.items():
            for table, packets in lookups.items():
                labels = (("table", table.name.lower().replace("_", "-")), ("xtr", xtr))
                yield Counter("xtr-table-packets", packets, labels)

    def distributions(self) -> Iterator[Distribution]:
        """Every histogram."""
        for what, histograms in (
            ("xtr-resolution-seconds", self._resolutions),
            ("openflow-round-trip-seconds", self._round_trips),
        ):
            for xtr, histogram in histograms.items():
                yield Distribution(what, histogram.cumulative(), histogram.total, (("xtr", xtr),))
