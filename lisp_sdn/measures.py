"""What the running system measures of its own speed. Nothing here looks at a clock."""

from __future__ import annotations

from collections.abc import Iterator

from lisp_sdn.histogram import Histogram
from lisp_sdn.views import Distribution


class Measures:
    """Histograms by xTR, from 0 on so that rates can be told before the first observation."""

    def __init__(self, xtrs: dict[str, int]) -> None:
        """xtrs: name -> datapath id."""
        self._names = {number: name for name, number in xtrs.items()}
        self._resolutions = {name: Histogram() for name in xtrs}
        self._round_trips = {name: Histogram() for name in xtrs}

    def resolved(self, xtr: str, seconds: float) -> None:
        """From a map-cache miss until its flow was sent to the switch."""
        self._resolutions[xtr].observe(seconds)

    def round_trip(self, datapath_id: int, seconds: float) -> None:
        """From an OpenFlow echo request to its reply; of a switch that is no xTR, nothing."""
        name = self._names.get(datapath_id)
        if name is not None:
            self._round_trips[name].observe(seconds)

    def distributions(self) -> Iterator[Distribution]:
        """Every histogram."""
        for what, histograms in (
            ("xtr-resolution-seconds", self._resolutions),
            ("openflow-round-trip-seconds", self._round_trips),
        ):
            for xtr, histogram in histograms.items():
                yield Distribution(what, histogram.cumulative(), histogram.total, (("xtr", xtr),))
