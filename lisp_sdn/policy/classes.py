"""The finitely many classes of requesters that two policies of a site tell apart.

A class is what the rules can tell about a requester: one value per kind of condition. Classes
are enumerated one kind after the other, values that the same candidate rules are for go together,
and a branch ends as soon as no differing rule is left among its candidates.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
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
class RequesterClass:
    """Requesters that the rules treat alike. who: in words. requester: a member.

    parts: for a class that needs two ITR-RLOCs, the same requester with only one of them.
    """

    who: str
    requester: Requester
    parts: tuple[Requester, ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two policies, and the lookups that go with it."""

    index: SiteIndex
    sites: Sites


@dataclass(frozen=True, slots=True)
class _Option:
    """One value for a kind of condition: its name, a requester that has it, the rules left."""

    label: str
    requester: Requester
    rules: Pair


class Enumeration:
    """Enumerates the classes of requesters for the EID-prefixes of one family.

    changed: the rules that differ between the two sides.
    """

    def __init__(self, old: Side, new: Side, changed: Pair, version: int) -> None:
        self._old = old
        self._new = new
        self._changed = changed
        self._version = version

    def classes(self, candidates: Pair, eid: EidPrefix) -> Iterator[RequesterClass]:
        """Every class that a differing rule can reach.

        candidates: the rules that destination, time, health and load leave. Source EIDs are
        taken from the instance-ID of `eid`.
        """
        places = _grouped(self._places(candidates))
        for place in places:
            yield from self._descend(place.rules, place.requester, (place.label,), eid)
        for one, other in combinations(places, 2):
            if one.requester.xtr is None and other.requester.xtr is None:
                yield from self._two_places(one, other, eid)

    def _two_places(self, one: _Option, other: _Option, eid: EidPrefix) -> Iterator[RequesterClass]:
        rules = (one.rules[0] | other.rules[0], one.rules[1] | other.rules[1])
        if rules in (one.rules, other.rules) or not self._differ(rules):
            return  # gets what a requester with one of the two gets
        rlocs = (one.requester.itr_rlocs, other.requester.itr_rlocs)
        if not all(rlocs):
            return
        both = Requester(itr_rlocs=rlocs[0] + rlocs[1])
        label = f"both {one.label} and {other.label}"
        for found in self._descend(rules, both, (label,), eid):
            parts = tuple(replace(found.requester, itr_rlocs=part) for part in rlocs)
            yield replace(found, parts=parts)

    def _descend(
        self, rules: Pair, requester: Requester, labels: tuple[str, ...], eid: EidPrefix
    ) -> Iterator[RequesterClass]:
        if not self._differ(rules):
            return
        depth = len(labels)
        kinds: tuple[Callable[[Pair, Requester], Iterable[_Option]], ...] = (
            self._xtr_ids,
            self._authenticated,
            self._pitr,
            lambda rules, requester: self._sources(rules, requester, eid.iid),
        )
        if depth > len(kinds):
            who = ", ".join(label for label in labels if label) or "every requester"
            yield RequesterClass(who, requester)
            return
        for option in _grouped(kinds[depth - 1](rules, requester)):
            yield from self._descend(option.rules, option.requester, (*labels, option.label), eid)

    def _differ(self, rules: Pair) -> bool:
        return bool(rules[0] & self._changed[0] or rules[1] & self._changed[1])

    def _asked(self, rules: Pair) -> Iterator[Match]:
        """The matches of all candidates of both sides."""
        for side, mask in zip((self._old, self._new), rules, strict=True):
            for i in bits(mask):
                yield side.index.rules[i].match

    # --- the kinds of conditions ---------------------------------------------------------

    def _places(self, rules: Pair) -> Iterator[_Option]:
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

    def _place(self, label: str, requester: Requester, rules: Pair) -> _Option:
        old, new = (side.index.place(requester, side.sites) for side in (self._old, self._new))
        return _Option(label, requester, (rules[0] & old, rules[1] & new))

    def _xtr_ids(self, rules: Pair, requester: Requester) -> Iterator[_Option]:
        known = sorted({xtr_id for match in self._asked(rules) for xtr_id in match.xtr_ids})
        yield self._limited(rules, "other xTR-IDs" if known else "", requester, None)
        for xtr_id in known:
            asking = replace(requester, xtr_id=xtr_id)
            yield self._limited(rules, f"xTR-ID {xtr_id_text(xtr_id)}", asking, xtr_id)

    def _limited(
        self, rules: Pair, label: str, requester: Requester, xtr_id: int | None
    ) -> _Option:
        old, new = (side.index.xtr_id(xtr_id) for side in (self._old, self._new))
        return _Option(label, requester, (rules[0] & old, rules[1] & new))

    def _authenticated(self, rules: Pair, requester: Requester) -> Iterator[_Option]:
        if all(match.authenticated is None for match in self._asked(rules)):
            yield _Option("", requester, rules)
            return
        for value in (False, True):
            label = "authenticated" if value else "not authenticated"
            keep = self._flagged(rules, "authenticated", value)
            yield _Option(label, replace(requester, authenticated=value), keep)

    def _pitr(self, rules: Pair, requester: Requester) -> Iterator[_Option]:
        if all(match.pitr is None for match in self._asked(rules)):
            yield _Option("", requester, rules)
            return
        for value in (False, True):
            keep = self._flagged(rules, "pitr", value)
            yield _Option("PITR" if value else "ITR", replace(requester, pitr=value), keep)

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

    def _sources(self, rules: Pair, requester: Requester, iid: int) -> Iterator[_Option]:
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
            yield _Option("", requester, free)
            return
        yield _Option("no source EID", requester, free)
        for label, address in _representatives(networks, "source EID"):
            if address.version != self._version:
                continue
            old, new = (
                side.index.sources[self._version].rules(int(address), address.max_prefixlen)
                for side in (self._old, self._new)
            )
            asking = replace(requester, source_eid=EidPrefix.host(iid, address))
            yield _Option(label, asking, (rules[0] & old, rules[1] & new))


def _grouped(options: Iterable[_Option]) -> list[_Option]:
    """Options that leave the same rules, as one; our own xTRs stay by themselves."""
    groups: dict[tuple[Pair, str | None], list[_Option]] = {}
    for option in options:
        groups.setdefault((option.rules, option.requester.xtr), []).append(option)
    result = []
    for members in groups.values():
        labels = list(dict.fromkeys(member.label for member in members))
        if len(labels) > SHOWN:
            labels = [*labels[:SHOWN], f"{len(labels) - SHOWN} more"]
        result.append(replace(members[0], label=" or ".join(labels)))
    return result


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
