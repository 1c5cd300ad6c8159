"""RLOC-sets as OpenFlow rules, shared by all EIDs behind the set.

The only place that knows how a locator becomes outer addresses. A set of which one locator
carries the traffic is a group. A set that spreads traffic by weight is a few rules of the SPREAD
table over 64 slots of a hash that includes UDP ports, which the hash of a SELECT group does not
(docs/decisions/0004). The number of a set is a hash of the set as it was mapped, so that a
restarted controller arrives at the same numbers.

What a set is, a group or slots, depends on its mapping alone. Where its traffic goes depends on
which RLOCs are up as well, so that a failure changes the rules of the set and of no EID behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain

from lisp_sdn.address import IPAddress
from lisp_sdn.model import Locator, locator_sort_key
from lisp_sdn.rules import (
    Bucket,
    CookieClass,
    FieldValue,
    FlowRule,
    GroupRule,
    GroupType,
    Multipath,
    RuleAction,
    SetField,
    match,
)
from lisp_sdn.xtr.compiled import flow
from lisp_sdn.xtr.pipeline import TableId
from lisp_sdn.xtr.size import encapsulate
from lisp_sdn.xtr.topology import Topology


class RlocSet(tuple[Locator, ...]):
    """Locators in the order of RFC 9301 section 5.5; made by `normalise`.

    It is looked up several times for every packet that misses, so it hashes only once.
    """

    _hash: int | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash


SLOTS = 64
"""Slots of the hash; a weight is kept to the nearest 64th."""

SLOT_REGISTER, SET_REGISTER = "reg0", "reg1"
HASH_FIELDS = 3
"""NX_HASH_FIELDS_SYMMETRIC_L3L4_UDP: addresses, protocol, ports of TCP, SCTP and UDP."""

_MAX_GROUP = 0x7FFFFFFF


@lru_cache(maxsize=4096)
def normalise(locators: tuple[Locator, ...]) -> RlocSet:
    """The same set for locators that carry unicast traffic the same way, in whatever order."""
    plain = (
        Locator(item.rloc, item.priority, item.weight, reachable=item.reachable)
        for item in locators
    )
    return RlocSet(sorted(plain, key=locator_sort_key))


def best(rlocs: RlocSet, topology: Topology) -> tuple[Locator, ...]:
    """The locators that carry traffic when all are up: of the best priority (RFC 9300 section 9).

    Our own RLOCs are left out, or packets would come back; so are families without an RLOC of
    ours to send from. Weight 0 beside other weights carries nothing, all zero means equal.
    """
    return next(iter(_levels(rlocs, topology.rlocs)), ())


@lru_cache(maxsize=4096)
def _levels(rlocs: RlocSet, own: tuple[IPAddress, ...]) -> tuple[tuple[Locator, ...], ...]:
    """The usable locators by priority, best first."""
    families = {rloc.version for rloc in own}
    levels: dict[int, list[Locator]] = {}
    for locator in rlocs:
        rloc = locator.rloc
        if (
            locator.usable
            and isinstance(rloc, IPAddress)
            and rloc not in own
            and rloc.version in families
        ):
            levels.setdefault(locator.priority, []).append(locator)
    return tuple(
        tuple([item for item in level if item.weight] or level)
        for _, level in sorted(levels.items())
    )


def carrying(rlocs: RlocSet, topology: Topology) -> tuple[Locator, ...]:
    """The locators that carry traffic now: those that are up, of the best priority that has any.

    A drained RLOC carries traffic only when nothing else is up.
    """
    levels = _levels(rlocs, topology.rlocs)
    if not topology.down and not topology.drained:
        return next(iter(levels), ())
    families = {rloc.version for rloc in topology.sources}
    up = [
        [x for x in level if x.rloc not in topology.down and _version(x) in families]
        for level in levels
    ]
    preferred = ([x for x in level if x.rloc not in topology.drained] for level in up)
    return tuple(next((level for level in (*preferred, *up) if level), ()))


def _version(locator: Locator) -> int:
    assert isinstance(locator.rloc, IPAddress)
    return locator.rloc.version


def why_unusable(rlocs: RlocSet, topology: Topology) -> str | None:
    """The reason code for an RLOC-set that carries no traffic; None if it does."""
    if best(rlocs, topology):
        return None if carrying(rlocs, topology) else "rlocs-unreachable"
    addresses = [item.rloc for item in rlocs if item.usable and isinstance(item.rloc, IPAddress)]
    if not addresses:
        return "no-usable-rloc"
    if all(rloc in topology.rlocs for rloc in addresses):
        return "own-rloc"
    return "no-source-rloc"


def next_hops(rlocs: RlocSet, topology: Topology) -> tuple[IPAddress, ...]:
    """The RLOCs whose neighbour must be known before traffic goes there."""
    return _addresses(carrying(rlocs, topology))


def candidates(rlocs: RlocSet, topology: Topology) -> tuple[IPAddress, ...]:
    """The RLOCs that traffic may ever go to, those that stand by included."""
    return _addresses(chain.from_iterable(_levels(rlocs, topology.rlocs)))


def _addresses(locators: Iterable[Locator]) -> tuple[IPAddress, ...]:
    return tuple(item.rloc for item in locators if isinstance(item.rloc, IPAddress))


def group(group_id: int, rlocs: RlocSet, topology: Topology) -> GroupRule:
    """The group of an RLOC-set of which one locator carries the traffic.

    INDIRECT: for SELECT, Open vSwitch hashes and recirculates, and a held packet that is released
    at once then meets what the datapath still has cached from before the group.
    """
    assert topology.tunnel_port is not None
    actions: tuple[RuleAction, ...] = ()
    for rloc in next_hops(rlocs, topology):
        actions = encapsulate(rloc, topology)
    return GroupRule(group_id, GroupType.INDIRECT, (Bucket(actions),))


def spreads(rlocs: RlocSet, topology: Topology) -> bool:
    """Whether several locators share the traffic, or would if others failed."""
    return any(len(level) > 1 for level in _levels(rlocs, topology.rlocs))


def blocks(weights: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Hand out the slots by weight, as few aligned blocks as can be: (first, mask, index).

    Every weight above 0 gets at least one slot; all zero means equal. At most SLOTS weights.
    """
    chunks = [
        (size, index) for index, count in enumerate(_shares(weights)) for size in _powers(count)
    ]
    first = 0
    # Largest first: every block then begins at a multiple of its size.
    for size, index in sorted(chunks, key=lambda chunk: (-chunk[0], chunk[1])):
        yield first, SLOTS - size, index
        first += size


def _shares(weights: Sequence[int]) -> list[int]:
    used = list(weights) if any(weights) else [1] * len(weights)
    total = sum(used)
    exact = [SLOTS * weight // total for weight in used]
    counts = [max(1, count) if weight else 0 for count, weight in zip(exact, used, strict=True)]
    # The largest remainder first, but who got the least of one slot has more than his share; where
    # that took too much, the largest gives.
    order = sorted(range(len(used)), key=lambda i: (not exact[i], -(SLOTS * used[i] % total), i))
    for index in (i for _ in range(SLOTS) for i in order if used[i]):
        if sum(counts) >= SLOTS:
            break
        counts[index] += 1
    while sum(counts) > SLOTS:
        counts[counts.index(max(counts))] -= 1
    return counts


def _powers(count: int) -> Iterator[int]:
    return (1 << bit for bit in range(count.bit_length()) if count >> bit & 1)


def slots(rlocs: RlocSet, topology: Topology) -> Iterator[tuple[int, int, Locator]]:
    """Which slots go where now: (first, mask, locator), as aligned blocks.

    While a locator is down, its slots are with those that carry traffic, by weight; no other slot
    moves, so no other transport flow does. Nothing when there is nowhere to go.
    """
    usual = best(rlocs, topology)[:SLOTS]
    now = carrying(rlocs, topology)[:SLOTS]
    freed: list[tuple[int, int]] = []
    has = [0] * len(now)
    for first, mask, index in blocks([item.weight for item in usual]):
        if usual[index] in now:
            has[now.index(usual[index])] += SLOTS - mask
            yield first, mask, usual[index]
        else:
            freed.append((first, SLOTS - mask))
    if freed and now:
        due = [wanted - got for wanted, got in zip(_shares(_weights(now)), has, strict=True)]
        for first, size, index in _hand_over(freed, due):
            yield first, SLOTS - size, now[index]


def _weights(locators: Sequence[Locator]) -> list[int]:
    return [item.weight for item in locators]


def _hand_over(freed: list[tuple[int, int]], due: list[int]) -> Iterator[tuple[int, int, int]]:
    """Give blocks (first, size) to those that are due most slots: (first, size, index)."""
    todo = sorted(freed, key=lambda block: (block[1], -block[0]))
    while todo:
        first, size = todo.pop()
        index = due.index(max(due))
        if size > 1 and due[index] < size:
            half = size // 2
            todo += [(first + half, half), (first, half)]
            continue
        due[index] -= size
        yield first, size, index


def spread_rules(number: int, rlocs: RlocSet, topology: Topology) -> Iterator[FlowRule]:
    """The rules of a set that `spreads`."""
    assert topology.tunnel_port is not None
    found = False
    for first, mask, locator in slots(rlocs, topology):
        assert isinstance(locator.rloc, IPAddress)
        yield _spread_rule(number, first, mask, *encapsulate(locator.rloc, topology))
        found = True
    if not found:
        # Nothing is up: a rule that drops, and counts, and keeps the set known to a restart.
        yield _spread_rule(number, 0, 0)


def _spread_rule(number: int, first: int, mask: int, *actions: RuleAction) -> FlowRule:
    fields: dict[str, FieldValue] = {SET_REGISTER: number}
    if mask:
        fields[SLOT_REGISTER] = (first, mask)
    return flow(
        TableId.SPREAD,
        100,
        match(**fields),
        *actions,
        kind=CookieClass.RLOC_SET,
        value=number,
    )


def spread_actions(number: int) -> tuple[RuleAction, ...]:
    """What a map-cache flow does before it continues in the SPREAD table."""
    return (SetField(SET_REGISTER, number), Multipath(SLOT_REGISTER, SLOTS, HASH_FIELDS))


def digest(rlocs: RlocSet) -> int:
    """The number that a set gets if no other set has it: 1..2**31-1."""
    octets = hashlib.blake2b(_text(rlocs).encode(), digest_size=4).digest()
    value = int.from_bytes(octets, "big")
    return value % _MAX_GROUP + 1


def assign(
    sets: Iterable[RlocSet], hashing: Callable[[RlocSet], int] = digest
) -> dict[RlocSet, int]:
    """Group numbers, a function of which sets there are and not of the order they came in."""
    numbers: dict[RlocSet, int] = {}
    taken: set[int] = set()
    for rlocs in sorted(set(sets), key=lambda item: (hashing(item), _text(item))):
        number = hashing(rlocs)
        while number in taken:
            number = number % _MAX_GROUP + 1
        taken.add(number)
        numbers[rlocs] = number
    return numbers


class GroupNumbers:
    """`assign`, kept up to date while sets come and go."""

    def __init__(
        self, sets: Iterable[RlocSet] = (), hashing: Callable[[RlocSet], int] = digest
    ) -> None:
        self._hashing = hashing
        self._numbers = assign(sets, hashing)
        self._taken = set(self._numbers.values())
        self._shifted = self._count_shifted()

    def __getitem__(self, rlocs: RlocSet) -> int:
        return self._numbers[rlocs]

    def __contains__(self, rlocs: object) -> bool:
        return rlocs in self._numbers

    def change(self, new: Iterable[RlocSet], gone: Iterable[RlocSet]) -> set[RlocSet]:
        """Add and remove sets; returns those that were there before and have another number."""
        for rlocs in gone:
            number = self._numbers.pop(rlocs, None)
            if number is not None:
                self._taken.discard(number)
        clash = self._shifted > 0
        added = list(new)
        for rlocs in added:
            number = self._hashing(rlocs)
            clash = clash or number in self._taken
            self._numbers[rlocs] = number
            self._taken.add(number)
        if not clash:
            return set()
        before = self._numbers
        self._numbers = assign(before, self._hashing)
        self._taken = set(self._numbers.values())
        self._shifted = self._count_shifted()
        fresh = set(added)
        return {
            rlocs
            for rlocs, number in before.items()
            if rlocs not in fresh and self._numbers[rlocs] != number
        }

    def _count_shifted(self) -> int:
        return sum(number != self._hashing(rlocs) for rlocs, number in self._numbers.items())


def _text(rlocs: RlocSet) -> str:
    return ";".join(
        f"{item.rloc},{item.priority},{item.weight},{int(item.reachable)}" for item in rlocs
    )
