"""One condition after the other, with the reason: the slow twin of the index, used by explain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.model import Requester
from lisp_sdn.policy.conditions import Conditions, Latched
from lisp_sdn.policy.sites import Sites
from lisp_sdn.policy.timewindow import is_open
from lisp_sdn.policy_settings import (
    LoadCondition,
    Match,
    TimeWindow,
    clock_text,
    xtr_id_text,
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One condition of a rule: what it asks for, what it was given, whether it holds."""

    field: str
    expected: str
    found: str
    holds: bool

    def to_text(self) -> str:
        """One line for a person."""
        verb = "is" if self.holds else "is not"
        return f"{self.field} {self.found} {verb} {self.expected}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that a match is judged by."""

    eid: EidPrefix
    requester: Requester
    now: float
    sites: Sites
    conditions: Conditions
    latched: Latched


def reasons(match: Match, asked: Asked) -> Iterator[Reason]:
    """Every condition of a match; the match holds when all of them do."""
    yield from _destination(match, asked)
    yield from _identity(match, asked)
    if match.source_eids:
        source = source_address(asked.eid, asked.requester)
        yield Reason(
            "source EID",
            "in " + _texts(match.source_eids),
            str(asked.requester.source_eid or "(none)"),
            source is not None and any(source in network for network in match.source_eids),
        )
    if match.time:
        wanted = "in " + " or ".join(map(_window_text, match.time))
        yield Reason("time", wanted, f"{asked.now:.0f}", is_open(match.time, asked.now))
    yield from _network(match, asked)


def _destination(match: Match, asked: Asked) -> Iterator[Reason]:
    eid = asked.eid
    if match.eid_prefixes:
        yield Reason(
            "EID-prefix",
            "in " + _texts(match.eid_prefixes),
            str(eid),
            any(prefix.covers(eid) for prefix in match.eid_prefixes),
        )
    if match.iids:
        yield Reason("instance-ID", "in " + _texts(match.iids), str(eid.iid), eid.iid in match.iids)


def _identity(match: Match, asked: Asked) -> Iterator[Reason]:
    requester = asked.requester
    if match.itr_rlocs or match.sites:
        rlocs: tuple[IPAddress | None, ...] = requester.itr_rlocs or (None,)
        places = [(rloc, site_of(asked.sites, requester, rloc)) for rloc in rlocs]
        found = ", ".join(f"{rloc or '(none)'} of site {site or '(none)'}" for rloc, site in places)
        expected = [
            *(["in " + _texts(match.itr_rlocs)] if match.itr_rlocs else []),
            *(["of site " + _texts(match.sites)] if match.sites else []),
        ]
        holds = any(
            (not match.itr_rlocs or (rloc and any(rloc in net for net in match.itr_rlocs)))
            and (not match.sites or site in match.sites)
            for rloc, site in places
        )
        yield Reason("ITR-RLOC", " and ".join(expected), found, holds)
    if match.xtr_ids:
        given = "(none)" if requester.xtr_id is None else xtr_id_text(requester.xtr_id)
        expected_ids = "in " + _texts(map(xtr_id_text, match.xtr_ids))
        yield Reason("xTR-ID", expected_ids, given, requester.xtr_id in match.xtr_ids)
    if match.authenticated is not None:
        yield _flag("authenticated", match.authenticated, requester.authenticated)
    if match.pitr is not None:
        yield _flag("pitr", match.pitr, requester.pitr)


def _network(match: Match, asked: Asked) -> Iterator[Reason]:
    for wanted, rlocs in ((True, match.rlocs_up), (False, match.rlocs_down)):
        for rloc in rlocs:
            reported = asked.conditions.up.get(rloc)
            state = {True: "up", False: "down", None: "without report (counts as up)"}[reported]
            up = asked.conditions.is_up(rloc)
            yield Reason(f"RLOC {rloc}", "up" if wanted else "down", state, up == wanted)
    for condition in match.load:
        load = asked.conditions.load.get(condition.rloc)
        if load is None:
            found = "not measured"
        else:
            found = _amount(condition, load.share if condition.share else load.rate)
        holds = condition in asked.latched
        yield Reason(f"load of {condition.rloc}", _load_text(condition), found, holds)


def site_of(sites: Sites, requester: Requester, rloc: IPAddress | None) -> str | None:
    """The site of a requester: by name when it is one of ours, else by its ITR-RLOC."""
    if requester.xtr is not None:
        return sites.of_xtr(requester.xtr)
    return sites.of_rloc(rloc) if rloc else None


def source_address(eid: EidPrefix, requester: Requester) -> IPAddress | None:
    """The source EID that conditions are judged by: only one that can talk to `eid`.

    A source EID of another instance-ID or address family sends nothing to `eid`.
    """
    source = requester.source_eid
    if source is None or source.iid != eid.iid or source.version != eid.version:
        return None
    return source.network.network_address


def _flag(name: str, wanted: bool, given: bool) -> Reason:
    return Reason(name, str(wanted).lower(), str(given).lower(), wanted == given)


def _texts(values: object) -> str:
    return ", ".join(map(str, values))  # type: ignore[call-overload]


def _window_text(window: TimeWindow) -> str:
    days = ",".join(window.days)
    return f"{days} {clock_text(window.start)}-{clock_text(window.end)} {window.zone}"


def _load_text(condition: LoadCondition) -> str:
    side = "above" if condition.above else "below"
    limit, release = condition.threshold, condition.release
    return f"{side} {_amount(condition, limit)} (until {_amount(condition, release)})"


def _amount(condition: LoadCondition, value: float) -> str:
    return f"{value * 100:.1f}%" if condition.share else f"{value / 1e6:.3f} Mbit/s"
