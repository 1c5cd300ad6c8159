"""Tables against their plain definitions: longest match, group numbers, timers, held packets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.config import Limits
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import match
from lisp_sdn.xtr import base_rules, compiler, rlocsets
from lisp_sdn.xtr.cache import CacheKey, Entry, MapCache
from lisp_sdn.xtr.compiled import Compiled
from lisp_sdn.xtr.program import merge
from lisp_sdn.xtr.queue import Held, HoldQueue
from lisp_sdn.xtr.replies import ip_frame, ipv4
from lisp_sdn.xtr.rlocsets import GroupNumbers, RlocSet
from lisp_sdn.xtr.simulate import SimulatedSwitch, fields_of
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import Topology

few = settings(max_examples=max(30, settings.default.max_examples // 3))
"""A third of what the profile asks for: these run in every gate."""

NOWHERE = IPv4Address("10.0.0.0")


def prefix(iid: int, value: int, length: int) -> EidPrefix:
    """A prefix in 10.0.0.0/28, so that prefixes nest and addresses hit."""
    mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return EidPrefix(iid, IPv4Network(((int(NOWHERE) | value) & mask, length)))


prefixes = st.builds(prefix, st.sampled_from([1, 2]), st.integers(0, 15), st.integers(26, 32))
lengths = st.integers(26, 32)


@st.composite
def keys(draw: st.DrawFn) -> CacheKey:
    destination = draw(prefixes)
    if draw(st.booleans()):
        return destination
    source = prefix(destination.iid, draw(st.integers(0, 15)), draw(lengths))
    return SourceDestPrefix(source, destination)


addresses = st.integers(0, 15).map(lambda value: IPv4Address(int(NOWHERE) + value))


def entry(key: CacheKey) -> Entry:
    destination = key.destination if isinstance(key, SourceDestPrefix) else key
    mapping = Mapping(destination, (), 15, Act.DROP_NO_REASON)
    return Entry(key, mapping, 0.0, 0.0, 900.0, active=mapping)


def expected(
    stored: set[CacheKey], iid: int, source: IPv4Address, destination: IPv4Address
) -> CacheKey | None:
    """Section by section: the longest destination, and in it the longest source."""
    covering = [
        (dest.prefixlen, -1 if src is None else src.prefixlen, key, src)
        for key in stored
        for dest, src in [
            (key.destination, key.source) if isinstance(key, SourceDestPrefix) else (key, None)
        ]
        if dest.iid == iid and dest.contains(destination)
    ]
    if not covering:
        return None
    longest = max(item[0] for item in covering)
    fits = [i for i in covering if i[0] == longest and (i[3] is None or i[3].contains(source))]
    return max(fits, key=lambda item: item[1])[2] if fits else None


@few
@given(
    st.sets(keys(), max_size=12),
    st.sets(keys(), max_size=6),
    st.sampled_from([1, 2]),
    addresses,
    addresses,
)
def test_lookup_is_the_longest_match(
    stored: set[CacheKey],
    removed: set[CacheKey],
    iid: int,
    source: IPv4Address,
    destination: IPv4Address,
) -> None:
    cache = MapCache(1000)
    for key in sorted(stored | removed, key=str):
        cache.insert(entry(key))
    for key in sorted(removed - stored, key=str):
        cache.remove(key)
    found = cache.lookup(iid, source, destination)
    assert (found.key if found else None) == expected(stored, iid, source, destination)
    assert len(cache) == len(stored)


TOPOLOGY = Topology(1, 100, (), (ip_address("192.0.2.1"),), Limits())


@few
@given(st.sets(keys(), max_size=12), st.sampled_from([1, 2]), addresses, addresses)
def test_the_switch_finds_the_same_entry_as_the_cache(
    stored: set[CacheKey], iid: int, source: IPv4Address, destination: IPv4Address
) -> None:
    cache = MapCache(1000)
    for key in stored:
        cache.insert(entry(key))
    parts = [base_rules.static(TOPOLOGY)]
    nodes = [node for found in cache.destinations() if (node := cache.view(found))]
    parts += [compiler.destination(node, TOPOLOGY, lambda rlocs: 1) for node in nodes]
    switch = SimulatedSwitch(1, merge(parts))
    frame = ip_frame(
        "02:00:00:00:00:fe", "02:00:00:00:00:01", 4, ipv4(source, destination, 253, b"")
    )
    fields = {**fields_of(frame), "metadata": iid, "in_port": 1}
    rule = switch.lookup(3, fields)
    found = cache.lookup(iid, source, destination)
    assert rule is not None
    if found is None:
        assert rule.goto == 4
    else:
        assert rule.goto is None
        assert (rule.priority, rule.match) == (
            compiler.cache_priority(found.destination, found.source),
            compiler.cache_match(found.destination, found.source),
        )


@few
@given(keys(), st.booleans())
def test_a_cache_match_is_in_the_one_form_of_a_match(key: CacheKey, everything: bool) -> None:
    destination = key.destination if isinstance(key, SourceDestPrefix) else key
    source = key.source if isinstance(key, SourceDestPrefix) else None
    if everything:
        destination = EidPrefix(destination.iid, IPv4Network("0.0.0.0/0"))
    assert compiler.cache_match(destination, source) == match(
        eth_type=0x800,
        metadata=(destination.iid, 0x1FFFFFF),
        ipv4_dst=destination.network,
        ipv4_src=None if source is None else source.network,
    )


@few
@given(st.lists(keys(), max_size=20), st.integers(1, 6))
def test_the_cache_keeps_the_most_recent_entries(inserted: list[CacheKey], limit: int) -> None:
    cache = MapCache(limit)
    for key in inserted:
        cache.insert(entry(key))
        assert len(cache) <= limit
    recent = list(dict.fromkeys(reversed(inserted)))[:limit]
    assert {item.key for item in cache} == set(recent)


@few
@given(st.sets(keys(), max_size=12), prefixes)
def test_overlapping_is_what_overlaps(stored: set[CacheKey], eid: EidPrefix) -> None:
    cache = MapCache(1000)
    for key in stored:
        cache.insert(entry(key))

    def destination(key: CacheKey) -> EidPrefix:
        return key.destination if isinstance(key, SourceDestPrefix) else key

    below = {item.key for item in cache.covered_by(eid)}
    above = {item.key for item in cache.covering(eid)}
    assert below == {key for key in stored if eid.covers(destination(key))}
    assert above == {k for k in stored if destination(k).covers(eid) and destination(k) != eid}
    assert {item.key for item in cache.overlapping(eid)} == below | above
    # Looking did not change anything.
    assert {item.key for item in cache} == stored


locators = st.builds(
    Locator,
    st.sampled_from([ip_address(t) for t in ("192.0.2.2", "192.0.2.3", "2001:db8::2")]),
    st.sampled_from([1, 2, 255]),
    st.sampled_from([0, 50, 100]),
    reachable=st.booleans(),
)
rloc_sets = st.lists(locators, min_size=1, max_size=3).map(tuple).map(rlocsets.normalise)


def crowded(rlocs: RlocSet) -> int:
    """A hash with three values, so that sets collide."""
    return len(rlocs)


@few
@given(st.lists(rloc_sets, max_size=12), st.randoms(use_true_random=False))
def test_group_numbers_do_not_depend_on_the_order(sets: list[RlocSet], rng: object) -> None:
    shuffled = list(sets)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    for hashing in (rlocsets.digest, crowded):
        numbers = rlocsets.assign(sets, hashing)
        assert numbers == rlocsets.assign(shuffled, hashing)
        assert len(set(numbers.values())) == len(numbers)


@few
@given(st.lists(st.tuples(st.booleans(), rloc_sets), max_size=25))
def test_group_numbers_kept_up_to_date_are_the_same(steps: list[tuple[bool, RlocSet]]) -> None:
    live: set[RlocSet] = set()
    numbers = GroupNumbers((), crowded)
    for add, rlocs in steps:
        before = {item: numbers[item] for item in live}
        if add and rlocs not in live:
            live.add(rlocs)
            moved = numbers.change([rlocs], [])
        elif not add and rlocs in live:
            live.discard(rlocs)
            moved = numbers.change([], [rlocs])
        else:
            continue
        wanted = rlocsets.assign(live, crowded)
        assert {item: numbers[item] for item in live} == wanted
        assert moved == {i for i in live if i in before and before[i] != wanted[i]}


@few
@given(rloc_sets)
def test_a_group_uses_the_best_usable_locators_only(rlocs: RlocSet) -> None:
    topology = Topology(
        1, 100, (), (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")), Limits()
    )
    best = rlocsets.best(rlocs, topology)
    usable = [item for item in rlocs if item.usable]
    assert bool(best) == bool(usable)
    if best:
        assert {item.priority for item in best} == {min(item.priority for item in usable)}
        weights = {item.weight for item in best}
        assert weights == {0} or 0 not in weights


@few
@given(st.lists(st.integers(0, 255), min_size=1, max_size=32))
def test_slots_are_handed_out_once_and_by_weight(weights: list[int]) -> None:
    found = list(rlocsets.blocks(weights))
    owner: dict[int, int] = {}
    for first, mask, index in found:
        assert first & mask == first, "a block begins at a multiple of its size"
        for slot in range(rlocsets.SLOTS):
            if slot & mask == first:
                assert slot not in owner
                owner[slot] = index
    assert len(owner) == rlocsets.SLOTS
    used = weights if any(weights) else [1] * len(weights)
    for index, weight in enumerate(used):
        slots = sum(of == index for of in owner.values())
        exact = rlocsets.SLOTS * weight / sum(used)
        assert (slots > 0) == (weight > 0)
        # A weight too small for a slot gets one all the same, at the cost of others.
        assert abs(slots - exact) <= 1 + sum(0 < rlocsets.SLOTS * w < sum(used) for w in used)


names = st.tuples(st.just("timer"), st.integers(0, 5))
timer_steps = st.lists(
    st.one_of(
        st.tuples(st.just("schedule"), names, st.integers(0, 50)),
        st.tuples(st.just("cancel"), names, st.just(0)),
        st.tuples(st.just("due"), names, st.integers(0, 50)),
    ),
    max_size=60,
)


@few
@given(timer_steps)
def test_timers_are_a_table_of_deadlines(steps: list[tuple[str, tuple[str, int], int]]) -> None:
    timers, model = Timers(), {}
    for kind, name, when in steps:
        if kind == "schedule":
            timers.schedule(name, when)
            model[name] = when
        elif kind == "cancel":
            timers.cancel(name)
            model.pop(name, None)
        else:
            due = list(timers.due(when))
            assert sorted(due) == sorted(n for n, t in model.items() if t <= when)
            assert [model[n] for n in due] == sorted(model[n] for n in due)
            for found in due:
                del model[found]
        assert timers.next() == min(model.values(), default=None)
        assert len(timers) == len(model)


@few
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60),
    st.integers(0, 4),
    st.integers(0, 8),
)
def test_the_hold_queue_keeps_order_and_bounds(
    steps: list[tuple[int, bool]], per_eid: int, total: int
) -> None:
    queue = HoldQueue(per_eid, total)
    model: dict[int, list[bytes]] = {}
    for number, (key, put) in enumerate(steps):
        where = (1, IPv4Address(key))
        if put:
            frame = number.to_bytes(2, "big")
            reason = queue.put(where, Held(frame, 1, IPv4Address(0), False))
            waiting = sum(map(len, model.values()))
            fits = len(model.get(key, ())) < per_eid and waiting < total
            assert (reason is None) == fits
            if fits:
                model.setdefault(key, []).append(frame)
        else:
            assert [held.frame for held in queue.take(where)] == model.pop(key, [])
        assert len(queue) == sum(map(len, model.values()))
        assert sorted(int(address) for _, address in queue.destinations()) == sorted(model)


def test_merge_prefers_what_is_wanted() -> None:
    kept = rlocsets.group(7, rlocsets.normalise((Locator(ip_address("192.0.2.2")),)), TOPOLOGY)
    wanted = rlocsets.group(7, rlocsets.normalise((Locator(ip_address("192.0.2.3")),)), TOPOLOGY)
    parts = [Compiled(groups=(wanted,)), Compiled(kept_groups=(kept,))]
    assert merge(parts).groups == merge(reversed(parts)).groups == frozenset((wanted,))
