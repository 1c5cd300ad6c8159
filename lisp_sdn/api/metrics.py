"""The metrics, in the text format 0.0.4 of Prometheus. Nothing is kept here between two looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import lisp_sdn
from lisp_sdn.api import metric_names as names
from lisp_sdn.api.backend import Backend
from lisp_sdn.views import Counter, Inbound, LocatorState, XtrState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PREFIX = "lisp_"

Labels = tuple[tuple[str, str], ...]
Series = list[tuple[dict[str, str], float]]


class HasMetrics(Protocol):
    """What the edges add of their own, for instance about the process."""

    def collect(self) -> Iterable[Metric]:
        """The metrics, as `prometheus_client` has them."""


def exposition(backend: Backend, now: float, more: Iterable[HasMetrics] = ()) -> bytes:
    """Everything there is to measure. now: epoch seconds."""
    return generate_latest(_All(backend, now, tuple(more)))


class _All(Collector):
    def __init__(self, backend: Backend, now: float, more: tuple[HasMetrics, ...]) -> None:
        self._backend = backend
        self._now = now
        self._more = more

    def collect(self) -> Iterator[Metric]:
        backend, now = self._backend, self._now
        states = {xtr.name: backend.xtr_state(xtr.name, now) for xtr in backend.config.xtrs}
        yield from _controller(backend, now)
        yield from _counters(backend)
        yield from _sites(backend, now)
        yield from _xtrs(states)
        yield from _rlocs(states, backend.inbound())
        yield from _balance(backend)
        yield from _proxy_itrs(backend)
        yield from _alt(backend)
        yield from _distributions(backend)
        for collector in self._more:
            yield from collector.collect()


# --- the controller ---


def _controller(backend: Backend, now: float) -> Iterator[Metric]:
    status = backend.status(now)
    yield _gauge("build_info", "The version that runs", [({"version": lisp_sdn.__version__}, 1)])
    yield _gauge("start_time_seconds", "When the controller started", [({}, status.started)])
    yield _gauge("mappings", "Entries of the mapping database", [({}, status.mappings)])
    yield _gauge("registrations", "Live registrations", [({}, status.registrations)])
    problems = "What an operator should mend, as in the status"
    yield _gauge("problems", problems, [({}, len(status.problems))])
    gauges = backend.gauges()
    for name, text in names.MAPPING_GAUGES.items():
        yield _gauge(name, text, [({}, gauges.get(name, 0))])


def _sites(backend: Backend, now: float) -> Iterator[Metric]:
    states = {site.name: backend.site_state(site.name, now) for site in backend.config.sites}
    yield _gauge(
        "site_registrations",
        "Live registrations of a site",
        [({"site": name}, state.registrations) for name, state in states.items()],
    )
    yield _gauge(
        "site_last_registration_timestamp_seconds",
        "When the last Map-Register of a site was accepted",
        [
            ({"site": name}, state.last_registration)
            for name, state in states.items()
            if state.last_registration is not None
        ],
    )


# --- counters ---


def _counters(backend: Backend) -> Iterator[Metric]:
    values: dict[str, dict[Labels, float]] = {name: {(): 0} for name in names.MAPPING_COUNTERS}
    values.update((name, {(): 0}) for name in names.MOBILITY_COUNTERS)
    values["requesters-forgotten"] = {(): backend.gauges().get("requesters-forgotten", 0)}
    labelled = [name for name in names.XTR_COUNTERS if name != "table-packets"]
    for name in labelled:
        values[f"xtr-{name}"] = {(("xtr", xtr.name),): 0 for xtr in backend.config.xtrs}
    values.update((name, {}) for name in names.LABELLED_COUNTERS)
    values["policy-rule-hits"] = {
        (("rule", rule.name), ("site", policy.site)): 0
        for policy in backend.policy.policies
        for rule in policy.rules
    }
    for counter in map(_renamed, backend.counters()):
        series = values.setdefault(counter.name, {})
        labels = tuple(sorted(counter.labels))
        series[labels] = series.get(labels, 0) + counter.value
    for name, series in sorted(values.items()):
        yield _counter(name, series)


def _renamed(counter: Counter) -> Counter:
    """A reason belongs into a label."""
    name, dropped, reason = counter.name.partition("dropped-")
    if dropped and not name and not counter.labels:
        return Counter("mapping-dropped", counter.value, (("reason", reason),))
    return Counter(counter.name.replace("_", "-"), counter.value, counter.labels)


def _counter(name: str, series: dict[Labels, float]) -> Metric:
    label_names = [key for key, _ in next(iter(series), ())]
    family = CounterMetricFamily(_name(name), _help(name), labels=label_names)
    for labels, value in sorted(series.items()):
        family.add_metric([text for _, text in labels], value)
    return family


def _help(name: str) -> str:
    known = {
        **names.MAPPING_COUNTERS,
        **names.MOBILITY_COUNTERS,
        **{f"xtr-{key}": text for key, text in names.XTR_COUNTERS.items()},
        **names.LABELLED_COUNTERS,
    }
    return known.get(name, name.replace("-", " ").capitalize())


# --- switches ---


_XTR_GAUGES: tuple[tuple[str, str, Callable[[XtrState], float]], ...] = (
    ("connected", "Whether the switch is connected", lambda s: s.connected_since is not None),
    ("problems", "Why it does not forward as configured", lambda s: len(s.problems)),
    ("map_cache_entries", "Map-cache entries", lambda s: s.map_cache_entries),
    ("pending_resolutions", "EIDs that packets wait for", lambda s: s.pending_resolutions),
    ("held_packets", "Packets held now", lambda s: s.held_packets),
    ("flows", "Flows that the switch should hold", lambda s: s.flows),
    ("groups", "Groups that the switch should hold", lambda s: s.groups),
    ("meters", "Meters that the switch should hold", lambda s: s.meters),
)
"""Name, help text, what is read."""


def _xtrs(states: dict[str, XtrState]) -> Iterator[Metric]:
    for name, text, read in _XTR_GAUGES:
        series = [({"xtr": xtr}, float(read(state))) for xtr, state in states.items()]
        yield _gauge(f"xtr_{name}", text, series)
    ports = [
        ({"xtr": xtr, "port": port.name}, float(port.up))
        for xtr, state in states.items()
        for port in state.ports
    ]
    yield _gauge("xtr_port_up", "Whether a port of the switch has link", ports)


def _rlocs(states: dict[str, XtrState], inbound: Iterable[Inbound]) -> Iterator[Metric]:
    known = [
        ({"xtr": xtr, "rloc": str(status.locator.rloc)}, status)
        for xtr, state in states.items()
        for status in state.rlocs
    ]
    yield _gauge(
        "rloc_state",
        "1 for the state that an RLOC of ours is in, 0 for the others",
        [
            ({**labels, "state": state.value}, float(status.state is state))
            for labels, status in known
            for state in LocatorState
        ],
    )
    probed = [
        ({"xtr": xtr, "rloc": str(item.rloc)}, item)
        for xtr, state in states.items()
        for item in state.probed
    ]
    yield _gauge(
        "rloc_rtt_seconds",
        "Round trip of RLOC-probes from an xTR of ours to an RLOC that it sends to",
        [(labels, item.rtt) for labels, item in probed if item.rtt is not None],
    )
    yield _gauge(
        "rloc_reachable",
        "Whether an RLOC that an xTR of ours sends to answers its RLOC-probes; not of those that "
        "never did",
        [
            (labels, float(item.state is LocatorState.UP))
            for labels, item in probed
            if item.state is not LocatorState.UNKNOWN
        ],
    )
    entries = [
        ({"xtr": item.xtr, "rloc": str(item.rloc), "site": item.site or ""}, item)
        for item in inbound
    ]
    yield _gauge(
        "rloc_weight",
        "Configured weight of an RLOC of ours",
        [(labels, item.weight) for labels, item in entries],
    )
    yield _gauge(
        "rloc_priority",
        "Configured priority of an RLOC of ours",
        [(labels, item.priority) for labels, item in entries],
    )
    received = CounterMetricFamily(
        f"{PREFIX}rloc_received_bytes",
        "Octets that came in by an RLOC of ours, without tunnel headers",
        labels=["xtr", "rloc", "site"],
    )
    for labels, item in entries:
        received.add_metric(list(labels.values()), item.octets)
    yield received


def _balance(backend: Backend) -> Iterator[Metric]:
    """The closed loops of policies: what they set, what came of it, what they want."""
    series: dict[str, Series] = {"weight": [], "share": [], "target": []}
    for loop in backend.policy.balance_status:
        for name, values in (
            ("weight", loop.weights),
            ("share", loop.shares),
            ("target", loop.target),
        ):
            for rloc, value in values.items():
                labels = {"site": loop.site, "rule": loop.rule, "rloc": str(rloc)}
                series[name].append((labels, value))
    texts = {
        "weight": "Weight that a balance rule gives an RLOC now",
        "share": "Share of the inbound load of a balance rule, as measured",
        "target": "Share of the inbound load that a balance rule wants",
    }
    for name, text in texts.items():
        yield _gauge(f"policy_balance_{name}", text, series[name])


def _proxy_itrs(backend: Backend) -> Iterator[Metric]:
    healthy: Series = []
    announced: Series = []
    for state in backend.proxy_itrs():
        labels = {"xtr": state.xtr, "iid": str(state.iid)}
        healthy.append((labels, state.healthy))
        announced.append((labels, sum(entry.announced for entry in state.announcements)))
    yield _gauge("proxy_itr_healthy", "Whether a Proxy-ITR can forward", healthy)
    yield _gauge("proxy_itr_announced", "EID-prefixes in BGP for a Proxy-ITR", announced)


def _alt(backend: Backend) -> Iterator[Metric]:
    alt, up, routes = backend.alt(), [], []
    for neighbour in backend.bgp().neighbours:
        labels = {"neighbour": str(neighbour.address), "scope": neighbour.scope.value}
        up.append((labels, float(neighbour.up)))
        routes.append((labels, float(neighbour.routes)))
    yield _gauge("bgp_session_up", "Whether a BGP session is established", up)
    yield _gauge("bgp_routes", "Best routes from a BGP neighbour", routes)
    if alt.iid is None:
        return
    yield _gauge("alt_announced", "Prefixes announced into the ALT", [({}, len(alt.announced))])
    held = "EID-prefixes announced without a registration"
    yield _gauge("alt_held_down", held, [({}, len(alt.held_down))])
    tunnels = [({"port": entry.port}, float(entry.up)) for entry in alt.tunnels]
    yield _gauge("alt_tunnel_up", "Whether the tunnel to an ALT-Router has link", tunnels)


def _distributions(backend: Backend) -> Iterator[Metric]:
    found = list(backend.distributions())
    for name, text in names.DISTRIBUTIONS.items():
        mine = [item for item in found if item.name == name]
        keys = [key for key, _ in chain.from_iterable(item.labels for item in mine[:1])]
        family = HistogramMetricFamily(_name(name), text, labels=keys)
        for item in mine:
            buckets = [(_bound(bound), float(count)) for bound, count in item.buckets]
            family.add_metric([value for _, value in item.labels], buckets, item.total)
        yield family


# --- the format ---


def _gauge(name: str, text: str, series: Iterable[tuple[dict[str, str], float]]) -> Metric:
    entries = list(series)
    family = GaugeMetricFamily(_name(name), text, labels=list(entries[0][0]) if entries else [])
    for labels, value in entries:
        family.add_metric(list(labels.values()), value)
    return family


def _name(name: str) -> str:
    return PREFIX + name.replace("-", "_")


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)
