"""The rules of one site as bit vectors: one bit per rule, one table per kind of condition.

A lookup in each table gives the rules whose condition of that kind holds; their intersection is
the set of rules that match, and its lowest bit is the first of them. Rules that cannot match are
never looked at. (T. V. Lakshman and D. Stiliadis, "High-speed policy-based packet forwarding
using efficient multi-dimensional range matching", SIGCOMM 1998.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytricia

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.model import Requester
from lisp_sdn.policy.conditions import Conditions, Latched
from lisp_sdn.policy.masktree import Block, MaskTree, tree
from lisp_sdn.policy.sites import Sites, lpm
from lisp_sdn.policy.timewindow import is_open, next_change
from lisp_sdn.policy_settings import Match, PolicyRule, SitePolicy

NEVER = float("inf")


class SiteIndex:
    """The compiled policy of one site; immutable. Bit i of a mask is `rules[i]`."""

    def __init__(self, policy: SitePolicy) -> None:
        self.policy = policy
        self.rules = policy.rules
        self.every = (1 << len(self.rules)) - 1
        self._eids = _eid_tables(self.rules)
        self._any_eid = _without(self.rules, "eid_prefixes")
        self.more_specifics = _eid_trees(self.rules)
        self._iids = _choices(self.rules, lambda match: match.iids)
        self._any_iid = _without(self.rules, "iids")
        self._rlocs = {version: _network_table(self.rules, version) for version in (4, 6)}
        self._any_rloc = _without(self.rules, "itr_rlocs")
        self._sites = _choices(self.rules, lambda match: match.sites)
        self._any_site = _without(self.rules, "sites")
        self._xtr_ids = _choices(self.rules, lambda match: match.xtr_ids)
        self._any_xtr_id = _without(self.rules, "xtr_ids")
        self._flags = [
            _flag(self.rules, authenticated, pitr)
            for authenticated in (False, True)
            for pitr in (False, True)
        ]
        self.any_source = _without(self.rules, "source_eids")
        self.sources = {version: _source_tree(self.rules, version) for version in (4, 6)}
        self.timed = self.every & ~_without(self.rules, "time")
        self._conditional = tuple(
            i for i, rule in enumerate(self.rules) if _asks_network(rule.match)
        )

    # --- what the request decides --------------------------------------------------------

    def destination(self, eid: EidPrefix) -> int:
        """The rules whose EID-prefix and instance-ID hold for a mapping."""
        table = self._eids.get((eid.iid, eid.version))
        rules = self._any_eid
        if table is not None:
            found = table.get((eid.network.network_address.packed, eid.prefixlen))
            rules = rules if found is None else found
        return rules & (self._iids.get(eid.iid, 0) | self._any_iid)

    def asking(self, requester: Requester) -> int:
        """The rules whose conditions on xTR-ID, authentication and p-bit hold."""
        flags = self._flags[requester.authenticated << 1 | requester.pitr]
        return flags & (self._xtr_ids.get(requester.xtr_id, 0) | self._any_xtr_id)

    def place(self, requester: Requester, sites: Sites) -> int:
        """The rules whose conditions on ITR-RLOC and site hold, both for the same ITR-RLOC."""
        rules = 0
        if requester.xtr is not None:
            for rloc in requester.itr_rlocs:
                rules |= self.rloc(rloc)
            return (rules or self._any_rloc) & self.site(sites.of_xtr(requester.xtr))
        if not requester.itr_rlocs:
            return self._any_rloc & self._any_site
        for rloc in requester.itr_rlocs:
            rules |= self.rloc(rloc) & self.site(sites.of_rloc(rloc))
        return rules

    def xtr_id(self, xtr_id: int | None) -> int:
        """The rules that are for this xTR-ID."""
        return self._xtr_ids.get(xtr_id, 0) | self._any_xtr_id

    def rloc(self, rloc: IPAddress) -> int:
        """The rules whose ITR-RLOC prefixes hold this RLOC."""
        found = self._rlocs[rloc.version].get(rloc)
        return self._any_rloc if found is None else found

    def site(self, name: str | None) -> int:
        """The rules that are for requesters of this site."""
        return self._sites.get(name, 0) | self._any_site

    # --- what the state decides ----------------------------------------------------------

    def holding(self, conditions: Conditions, latched: Latched) -> int:
        """The rules whose health and load conditions hold."""
        rules = self.every
        for i in self._conditional:
            match = self.rules[i].match
            if not (
                all(conditions.is_up(rloc) for rloc in match.rlocs_up)
                and not any(conditions.is_up(rloc) for rloc in match.rlocs_down)
                and all(condition in latched for condition in match.load)
            ):
                rules &= ~(1 << i)
        return rules

    def open(self, now: float) -> int:
        """The rules with an open time window, or without one."""
        rules = self.every
        for i in bits(self.timed):
            if not is_open(self.rules[i].match.time, now):
                rules &= ~(1 << i)
        return rules

    def changes(self, now: float) -> dict[int, float]:
        """Rule -> the next time at which its windows open or close."""
        moments = {i: next_change(self.rules[i].match.time, now) for i in bits(self.timed)}
        return {i: moment for i, moment in moments.items() if moment is not None}

    def block_inside(self, eid: EidPrefix, asked: EidPrefix) -> EidPrefix:
        """The widest part of `eid` around `asked` whose EIDs the same rules are for."""
        found = self.more_specifics.get((eid.iid, eid.version))
        if found is None or asked.iid != eid.iid or asked.version != eid.version:
            return eid
        value = int(eid.network.network_address)
        relevant = found.inside(value, eid.prefixlen)
        if not relevant:
            return eid
        known: dict[int, object] = {}
        start, length = found.widest(
            int(asked.network.network_address),
            lambda rules: known.setdefault(rules, object()),
            relevant,
        )
        if length <= eid.prefixlen:
            return eid
        kind = type(eid.network)
        return EidPrefix(eid.iid, kind((start, length)))


def bits(mask: int) -> Iterator[int]:
    """The rules of a mask, in order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def block(network: IPNetwork) -> Block:
    """A prefix as the trees hold it."""
    return int(network.network_address), network.prefixlen


def _asks_network(match: Match) -> bool:
    return bool(match.rlocs_up or match.rlocs_down or match.load)


def _without(rules: Iterable[PolicyRule], name: str) -> int:
    """The rules that do not have a condition."""
    return sum(1 << i for i, rule in enumerate(rules) if not getattr(rule.match, name))


def _choices(
    rules: Iterable[PolicyRule], values: Callable[[Match], tuple[object, ...]]
) -> dict[object, int]:
    table: dict[object, int] = {}
    for i, rule in enumerate(rules):
        for value in values(rule.match):
            table[value] = table.get(value, 0) | 1 << i
    return table


def _flag(rules: Iterable[PolicyRule], authenticated: bool, pitr: bool) -> int:
    return sum(
        1 << i
        for i, rule in enumerate(rules)
        if rule.match.authenticated in (None, authenticated) and rule.match.pitr in (None, pitr)
    )


def _table(version: int, entries: Iterable[tuple[IPNetwork, int]], everywhere: int) -> object:
    own: dict[IPNetwork, int] = {}
    for network, rules in entries:
        own[network] = own.get(network, 0) | rules
    table = lpm(version)
    for network in sorted(own, key=lambda network: network.prefixlen):
        key = (network.network_address.packed, network.prefixlen)
        covering = table.get(key)
        table[network] = own[network] | (everywhere if covering is None else covering)
    return table


def _network_table(rules: tuple[PolicyRule, ...], version: int) -> pytricia.PyTricia:
    entries = (
        (network, 1 << i)
        for i, rule in enumerate(rules)
        for network in rule.match.itr_rlocs
        if network.version == version
    )
    return _table(version, entries, _without(rules, "itr_rlocs"))


def _by_family(rules: tuple[PolicyRule, ...]) -> dict[tuple[int, int], list[tuple[IPNetwork, int]]]:
    families: dict[tuple[int, int], list[tuple[IPNetwork, int]]] = {}
    for i, rule in enumerate(rules):
        for eid in rule.match.eid_prefixes:
            families.setdefault((eid.iid, eid.version), []).append((eid.network, 1 << i))
    return families


def _eid_tables(rules: tuple[PolicyRule, ...]) -> dict[tuple[int, int], pytricia.PyTricia]:
    everywhere = _without(rules, "eid_prefixes")
    return {
        family: _table(family[1], entries, everywhere)
        for family, entries in _by_family(rules).items()
    }


def _eid_trees(rules: tuple[PolicyRule, ...]) -> dict[tuple[int, int], MaskTree]:
    return {
        family: tree(
            32 if family[1] == 4 else 128,
            ((block(network), mask) for network, mask in entries),
            _without(rules, "eid_prefixes"),
        )
        for family, entries in _by_family(rules).items()
    }


def _source_tree(rules: tuple[PolicyRule, ...], version: int) -> MaskTree:
    entries = (
        (block(network), 1 << i)
        for i, rule in enumerate(rules)
        for network in rule.match.source_eids
        if network.version == version
    )
    everywhere = _without(rules, "source_eids")
    return tree(32 if version == 4 else 128, entries, everywhere)
