"""The finitely many classes of requesters that two policies of a site tell apart.

A class is what the rules can tell about a requester: one value per kind of condition. Classes
are enumerated one kind after the other, values that the same candidate rules are for go together,
and a branch ends as soon as no differing rule is left among its candidates.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.model import Requester
from lisp_sdn.policy.index import SiteIndex, bits, block
from lisp_sdn.policy.masktree import tree
from lisp_sdn.policy.sites import Sites
from lisp_sdn.policy_settings import Match, xtr_id_text

Pair = tuple[int, int]
"""Rules of the old policy, rules of the new one."""

SHOWN = 4
"""Values named in the description of a class; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two policies, and the lookups that go with it."""

    index: SiteIndex
    sites: Sites


@dataclass(frozen=True, slots=True)
class Option:
    """One value for a kind of condition, or for several.

    labels: the value in words, per kind. requester: one that has it. rules: the candidates left.
    """

    labels: tuple[str, ...]
    requester: Requester
    rules: Pair


class Enumeration:
    """Enumerates the classes of requesters for EID-prefixes with the same candidates.

    changed: the rules that differ between the two sides. candidates: the rules that destination,
    time, health and load leave. Source EIDs are taken from the instance-ID and family of `eid`.
    """

    def __init__(
        self, old: Side, new: Side, changed: Pair, candidates: Pair, eid: EidPrefix
    ) -> None:
        self._old = old
        self._new = new
        self._changed = changed
        self._version = eid.version
        self.places: tuple[Option, ...] = ()
        self._found: list[tuple[Option, Option, Pair]] = []
        self._rest: Iterator[tuple[Option, Option, Pair]] = iter(())
        if self._differ(candidates):
            self.places = tuple(_grouped(self._places(candidates)))
            self._rest = self._reach(candidates, eid.iid)

    def reached(self) -> Iterator[tuple[Option, Option, Pair]]:
        """(place, everything else, candidates left) wherever a differing rule is among these.

        Found as they are asked for, and kept for the next mapping.
        """
        position = 0
        while True:
            if position == len(self._found):
                found = next(self._rest, None)
                if found is None:
                    return
                self._found.append(found)
            yield self._found[position]
            position += 1

    @property
    def size(self) -> int:
        """How many classes are kept."""
        return len(self._found) + len(self.places) + 1

    def _reach(self, candidates: Pair, iid: int) -> Iterator[tuple[Option, Option, Pair]]:
        places = [place for place in self.places if self._differ(place.rules)]
        for other in self._others(Option((), Requester(), candidates), iid):
            for place in places:
                rules = both(place.rules, other.rules)
                if self._differ(rules):
                    yield place, other, rules

    def _others(self, option: Option, iid: int) -> Iterator[Option]:
        """Every combination of the kinds of conditions besides the place."""
        kinds = (self._xtr_ids, self._authenticated, self._pitr, self._sources)
        if not self._differ(option.rules):
            return
        if len(option.labels) == len(kinds):
            yield option
            return
        for value in _grouped(kinds[len(option.labels)](option.rules, option.requester, iid)):
            labels = option.labels + value.labels
            yield from self._others(Option(labels, value.requester, value.rules), iid)

    def _differ(self, rules: Pair) -> bool:
        return bool(rules[0] & self._changed[0] or rules[1] & self._changed[1])

    def _asked(self, rules: Pair) -> Iterator[Match]:
        """The matches of all candidates of both sides."""
        for side, mask in zip((self._old, self._new), rules, strict=True):
            for i in bits(mask):
                yield side.index.rules[i].match

    # --- the kinds of conditions ---------------------------------------------------------

    def _places(self, rules: Pair) -> Iterator[Option]:
        """Where a requester can sit: everywhere, in a prefix, or be one of our xTRs."""
        matches = list(self._asked(rules))
        networks = {network for match in matches for network in match.itr_rlocs}
        by_site = any(match.sites for match in matches)
        if not networks and not by_site:
            yield self._place("", Requester(), rules)
            return
        xtrs = {xtr.name: xtr for side in (self._new, self._old) for xtr in side.sites.xtrs}
        if by_site:
            networks |= {*self._old.sites.rlocs, *self._new.sites.rlocs}
        for label, rloc in _representatives(networks, "ITR-RLOC"):
            site = self._new.sites.of_rloc(rloc)
            text = f"{label} (site {site})" if by_site and site else label
            yield self._place(text, Requester(itr_rlocs=(rloc,)), rules)
        yield self._place("no ITR-RLOC", Requester(), rules)
        for xtr in xtrs.values():
            for rlocs in _subsets(xtr.rlocs):
                asking = replace(xtr.requester, itr_rlocs=rlocs)
                yield self._place(f"xTR {xtr.name}", asking, rules)

    def _place(self, label: str, requester: Requester, rules: Pair) -> Option:
        old, new = (side.index.place(requester, side.sites) for side in (self._old, self._new))
        return Option((label,), requester, (rules[0] & old, rules[1] & new))

    def _xtr_ids(self, rules: Pair, requester: Requester, _iid: int) -> Iterator[Option]:
        known = sorted({xtr_id for match in self._asked(rules) for xtr_id in match.xtr_ids})
        yield self._limited(rules, "other xTR-IDs" if known else "", requester, None)
        for xtr_id in known:
            asking = replace(requester, xtr_id=xtr_id)
            yield self._limited(rules, f"xTR-ID {xtr_id_text(xtr_id)}", asking, xtr_id)

    def _limited(self, rules: Pair, label: str, requester: Requester, xtr_id: int | None) -> Option:
        old, new = (side.index.xtr_id(xtr_id) for side in (self._old, self._new))
        return Option((label,), requester, (rules[0] & old, rules[1] & new))

    def _authenticated(self, rules: Pair, requester: Requester, _iid: int) -> Iterator[Option]:
        if all(match.authenticated is None for match in self._asked(rules)):
            yield Option(("",), requester, rules)
            return
        for value in (False, True):
            label = "authenticated" if value else "not authenticated"
            keep = self._flagged(rules, "authenticated", value)
            yield Option((label,), replace(requester, authenticated=value), keep)

    def _pitr(self, rules: Pair, requester: Requester, _iid: int) -> Iterator[Option]:
        if all(match.pitr is None for match in self._asked(rules)):
            yield Option(("",), requester, rules)
            return
        for value in (False, True):
            keep = self._flagged(rules, "pitr", value)
            label = "PITR" if value else "ITR"
            yield Option((label,), replace(requester, pitr=value), keep)

    def _flagged(self, rules: Pair, name: str, value: bool) -> Pair:
        old, new = (
            sum(
                1 << i
                for i in bits(mask)
                if getattr(side.index.rules[i].match, name) in (None, value)
            )
            for side, mask in zip((self._old, self._new), rules, strict=True)
        )
        return old, new

    def _sources(self, rules: Pair, requester: Requester, iid: int) -> Iterator[Option]:
        networks = {
            network
            for match in self._asked(rules)
            for network in match.source_eids
            if network.version == self._version
        }
        free = (
            rules[0] & self._old.index.any_source,
            rules[1] & self._new.index.any_source,
        )
        if not networks:
            yield Option(("",), requester, free)
            return
        yield Option(("no source EID",), requester, free)
        for label, address in _representatives(networks, "source EID"):
            if address.version != self._version:
                continue
            old, new = (
                side.index.sources[self._version].rules(int(address), address.max_prefixlen)
                for side in (self._old, self._new)
            )
            asking = replace(requester, source_eid=EidPrefix.host(iid, address))
            yield Option((label,), asking, (rules[0] & old, rules[1] & new))


def both(one: Pair, other: Pair) -> Pair:
    """The rules in both pairs."""
    return one[0] & other[0], one[1] & other[1]


def _grouped(options: Iterable[Option]) -> Iterator[Option]:
    """Options that leave the same rules, as one; our own xTRs stay by themselves."""
    groups: dict[tuple[Pair, str | None], list[Option]] = {}
    for option in options:
        groups.setdefault((option.rules, option.requester.xtr), []).append(option)
    for members in groups.values():
        label = joined(member.labels[0] for member in members)
        yield replace(members[0], labels=(label,))


def joined(labels: Iterable[str]) -> str:
    """Values as one text; beyond a few only their number."""
    known = list(dict.fromkeys(labels))
    if len(known) > SHOWN:
        known = [*known[:SHOWN], f"{len(known) - SHOWN} more"]
    return " or ".join(known)


def _subsets(rlocs: tuple[IPAddress, ...]) -> Iterator[tuple[IPAddress, ...]]:
    """The ITR-RLOCs with which an xTR of ours can ask, as far as they make a difference."""
    yield rlocs
    for size in (1, 2):
        if size < len(rlocs):
            yield from combinations(rlocs, size)


def _representatives(networks: set[IPNetwork], what: str) -> Iterator[tuple[str, IPAddress]]:
    """One address, with a description, for every part of the address space."""
    for version, bits_, kind in ((4, 32, ipaddress.IPv4Network), (6, 128, ipaddress.IPv6Network)):
        known = {block(network) for network in networks if network.version == version}
        for value, (start, length) in tree(bits_, ((prefix, 1) for prefix in known)).samples():
            inside = (start, length) in known
            label = (
                f"{what} in {kind((start, length))}" if inside else f"other IPv{version} {what}s"
            )
            address: IPAddress = kind((value, bits_)).network_address
            yield label, address
