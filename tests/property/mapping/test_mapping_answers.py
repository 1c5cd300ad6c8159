"""Whatever is registered: an answer is true of all EIDs that it covers, and state is no history."""

from __future__ import annotations

import ipaddress
import random
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "mapping"))

from mapping_helpers import NOW, Etr, locators, site, system

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.mapping.chain import Query
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Act, Answer, Mapping, Requester
from lisp_sdn.wire import EidRecord

BASE = int(ipaddress.ip_address("10.0.0.0"))
RLOCS = ("203.0.113.1", "203.0.113.2", "203.0.113.3")


def prefix(value: int, length: int) -> EidPrefix:
    """A prefix in a universe of 16 hosts, 10.0.0.0/28, and what is around it."""
    return EidPrefix.trusted(0, 4, BASE | value, length)


PREFIXES = st.builds(prefix, st.integers(0, 15), st.integers(27, 32))
HOSTS = [prefix(n, 32) for n in range(32)]
RLOC_SETS = st.sampled_from([RLOCS[:1], RLOCS[1:2], RLOCS])
MAPPINGS = st.dictionaries(PREFIXES, RLOC_SETS, max_size=6)
KEYED = st.dictionaries(st.tuples(PREFIXES, PREFIXES), RLOC_SETS, max_size=3)
OWNED = st.frozensets(PREFIXES, max_size=3)


def built(
    owned: frozenset[EidPrefix],
    plain: dict[EidPrefix, tuple[str, ...]],
    keyed: dict[tuple[EidPrefix, EidPrefix], tuple[str, ...]],
    static: dict[EidPrefix, tuple[str, ...]],
) -> MapSystem:
    """Site one owns everything; the others own parts of it that nobody registers."""
    settings = [{"prefix": str(entry.network)} for entry in sorted(owned)]
    ms = system(
        site(prefixes=["10.0.0.0/24"]),
        site("other", prefixes=settings, keys=[{"key_id": 1, "key": "nobody"}]),
    )
    etr = Etr()
    for key, rlocs in [*plain.items(), *keyed.items()]:
        name = SourceDestPrefix(*key) if isinstance(key, tuple) else key
        data = etr.register(EidRecord(name, locators(*rlocs)))
        ms.receive(data, etr.source, NOW)
    for eid, rlocs in static.items():
        ms.set_static(Mapping(eid, locators(*rlocs)), NOW)
    return ms


def meaning(answer: Answer) -> tuple[object, ...]:
    return answer.mapping.locators, answer.mapping.action


def best(answers: tuple[Answer, ...], host: EidPrefix) -> Answer | None:
    covering = [answer for answer in answers if answer.mapping.eid.covers(host)]
    return max(covering, key=lambda answer: answer.mapping.eid.prefixlen, default=None)


def resolved(ms: MapSystem, eid: EidPrefix, source: EidPrefix, octets: int) -> tuple[Answer, ...]:
    return ms.resolver.resolve(Query(eid, Requester(source_eid=source), octets), NOW).answers


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    OWNED, MAPPINGS, KEYED, MAPPINGS, PREFIXES, st.sampled_from(HOSTS), st.sampled_from([0, 9999])
)
def test_an_answer_is_true_of_every_eid_that_it_covers(
    owned: frozenset[EidPrefix],
    plain: dict[EidPrefix, tuple[str, ...]],
    keyed: dict[tuple[EidPrefix, EidPrefix], tuple[str, ...]],
    static: dict[EidPrefix, tuple[str, ...]],
    query: EidPrefix,
    source: EidPrefix,
    octets: int,
) -> None:
    ms = built(owned, plain, keyed, static)
    answers = resolved(ms, query, source, octets)
    first = answers[0].mapping.eid
    assert first.covers(query) or first.covers(prefix(int(query.network.network_address), 32))
    assert len({answer.mapping.ttl_minutes for answer in answers}) == 1
    for host in HOSTS:
        found = best(answers, host)
        if found is None:
            continue
        (truth, *_) = resolved(ms, host, source, 0)
        assert meaning(found) == meaning(truth), (str(host), [str(a.mapping) for a in answers])
        # Every other source EID in the scope that it names gets the same; without one, all do.
        scope = found.scope.source if found.scope is not None else prefix(0, 0)
        assert scope.covers(source)
        for other in HOSTS:
            if scope.covers(other):
                (same, *_) = resolved(ms, host, other, 0)
                assert meaning(same) == meaning(found), (str(host), str(other), str(scope))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(OWNED, MAPPINGS, MAPPINGS, st.sampled_from(HOSTS))
def test_the_truth_by_brute_force(
    owned: frozenset[EidPrefix],
    plain: dict[EidPrefix, tuple[str, ...]],
    static: dict[EidPrefix, tuple[str, ...]],
    host: EidPrefix,
) -> None:
    ms = built(owned, plain, {}, static)
    configured = {prefix(0, 24), *owned}

    def owner(eid: EidPrefix) -> EidPrefix:
        covering = (entry for entry in configured if entry.covers(eid))
        return max(covering, key=lambda entry: entry.prefixlen)

    allowed = {eid: rlocs for eid, rlocs in plain.items() if owner(eid) not in owned}
    known = {**allowed, **static}
    matches = [eid for eid in {*known, *configured} if eid.covers(host)]
    answer = resolved(ms, host, HOSTS[0], 0)[0]
    longest = max(matches, key=lambda eid: eid.prefixlen)
    if longest in known:
        assert [str(x.rloc) for x in answer.mapping.locators] == list(known[longest])
    else:
        assert meaning(answer) == ((), Act.NATIVELY_FORWARD)
        assert answer.mapping.ttl_minutes == 1


@settings(max_examples=25, deadline=None, derandomize=True)
@given(MAPPINGS, MAPPINGS, st.randoms(use_true_random=False))
def test_the_order_of_registrations_leaves_no_trace(
    wanted: dict[EidPrefix, tuple[str, ...]],
    passing: dict[EidPrefix, tuple[str, ...]],
    rng: random.Random,
) -> None:
    straight = built(frozenset(), wanted, {}, {})
    ms = system(site(prefixes=["10.0.0.0/24"]))
    etr = Etr()
    steps = [(eid, rlocs, 1440) for eid, rlocs in passing.items()]
    steps += [(eid, (), 0) for eid in passing if eid not in wanted]
    last = [(eid, rlocs, 1440) for eid, rlocs in wanted.items()]
    rng.shuffle(last)
    for eid, rlocs, ttl in steps + last:
        ms.receive(etr.register(EidRecord(eid, locators(*rlocs), ttl)), etr.source, NOW)
    assert [e.mapping for e in ms.inventory.mappings(None)] == [
        e.mapping for e in straight.inventory.mappings(None)
    ]
    for host in HOSTS:
        assert resolved(ms, host, HOSTS[0], 9999) == resolved(straight, host, HOSTS[0], 9999)
    (configured,) = ms.sites.by_name["one"].settings.eid_prefixes
    owner = ms.sites.owner(configured.eid)
    assert owner is not None
    assert owner.more_specifics == len(wanted)
    for eid in wanted:
        ms.receive(etr.register(EidRecord(eid, ttl_minutes=0)), etr.source, NOW)
    assert (ms.database.registered, owner.more_specifics, owner.site.registrations) == (0, 0, 0)
    assert list(ms.inventory.mappings(None)) == []
