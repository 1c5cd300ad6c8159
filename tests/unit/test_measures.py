"""Histograms and what is measured with them."""

from lisp_sdn.histogram import Histogram
from lisp_sdn.measures import Measures


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 30.0, -1.0):
        histogram.observe(seconds)
    assert histogram.cumulative() == ((0.1, 3), (1.0, 4), (float("inf"), 5))
    assert abs(histogram.total - 30.65) < 1e-9


def test_every_xtr_is_there_before_anything_was_measured() -> None:
    measures = Measures({"east": 1, "west": 2})
    shown = {(item.name, dict(item.labels)["xtr"]) for item in measures.distributions()}
    assert len(shown) == 4
    assert all(item.buckets[-1] == (float("inf"), 0) for item in measures.distributions())
    tables = {dict(counter.labels)["table"] for counter in measures.counters()}
    assert {"map-cache", "miss"} < tables


def test_what_a_switch_tells() -> None:
    measures = Measures({"east": 1, "west": 2})
    measures.switch(1, 0.003, {3: 100, 4: 7, 200: 5})
    measures.switch(99, 0.003, {3: 100})
    counts = {counter.labels: counter.value for counter in measures.counters()}
    assert counts[("table", "map-cache"), ("xtr", "east")] == 100
    assert counts[("table", "miss"), ("xtr", "east")] == 7
    assert counts[("table", "miss"), ("xtr", "west")] == 0
    totals = {
        dict(item.labels)["xtr"]: item.total
        for item in measures.distributions()
        if item.name == "openflow-round-trip-seconds"
    }
    assert totals == {"east": 0.003, "west": 0.0}
