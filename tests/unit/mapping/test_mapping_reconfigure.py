"""Another configuration of the sites: what was registered stays, what is not admitted goes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_helpers import (
    ETR,
    ETR2,
    ITR,
    KEY,
    NOW,
    Etr,
    config,
    eid,
    record,
    request,
    site,
    system,
)

from lisp_sdn.actions import Event, MappingChanged, SendControl
from lisp_sdn.address import Endpoint
from lisp_sdn.config import Config
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Requester
from lisp_sdn.wire import MapNotify, decode

CHOICES: dict[str, list[dict[str, Any]]] = {
    "two sites": [site("one"), site("two", prefixes=["10.2.0.0/16"])],
    "split": [site("one", prefixes=["10.1.0.0/16", "10.1.4.0/22"])],
    "split between sites": [site("one"), site("two", prefixes=["10.1.4.0/22", "10.2.0.0/16"])],
    "wider": [site("one", prefixes=["10.0.0.0/8"])],
    "exact only": [site("one", prefixes=[{"prefix": "10.1.0.0/16"}])],
    "other RLOCs": [
        site("one", allowed_rlocs=["203.0.113.1/32"]),
        site("two", prefixes=["10.2.0.0/16"]),
    ],
    "shut down": [site("one", shutdown=True), site("two", prefixes=["10.2.0.0/16"])],
    "nobody": [],
    "swapped": [site("two", prefixes=["10.1.0.0/16"]), site("one", prefixes=["10.2.0.0/16"])],
    "other tenant": [
        site("one", prefixes=[{"prefix": "10.1.0.0/16", "iid": 5, "accept_more_specifics": True}])
    ],
}
EIDS = ("10.1.0.0/16", "10.1.4.0/24", "10.1.5.1/32", "10.1.9.0/24", "10.2.0.0/16", "10.2.3.0/24")


def registered(made: MapSystem) -> set[tuple[str, str, str]]:
    return {
        (str(entry.eid), entry.site, str(entry.source))
        for entry in made.inventory.registrations(None)
    }


def counts(made: MapSystem) -> dict[str, tuple[int, list[int]]]:
    found = {}
    for name, one in made.sites.by_name.items():
        entries = (made.sites.prefixes.get(entry.eid) for entry in one.settings.eid_prefixes)
        found[name] = (one.registrations, [e.more_specifics for e in entries if e is not None])
    return found


def of(name: str) -> Config:
    return config(*CHOICES[name]) if CHOICES[name] else Config()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(CHOICES)), min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(EIDS), st.sampled_from([ETR, ETR2])), max_size=8),
)
def test_it_ends_as_a_restart_with_that_configuration_would(
    names: list[str], wanted: list[tuple[str, str]]
) -> None:
    """The store is the oracle: a new core that recovers from it admits the same."""
    store = MemoryStore()
    made = system(*CHOICES["two sites"], store=store)
    etrs = {address: Etr(address) for address in (ETR, ETR2)}
    for text, address in wanted:
        etr = etrs[address]
        made.receive(etr.register(record(text, address), merge=True), etr.source, NOW)
    for name in names:
        made.reconfigure(of(name), NOW)
        fresh = MapSystem(
            of(name), store=store, policy=made.resolver.policy, rng=made.solicitor._rng
        )
        fresh.start(NOW)
        assert registered(fresh) == registered(made)
        assert counts(fresh) == counts(made)


def test_the_same_configuration_does_nothing() -> None:
    made = system()
    etr = Etr()
    made.receive(etr.register(record("10.1.0.0/16", ETR)), etr.source, NOW)
    assert made.reconfigure(config(), NOW) == []
    assert registered(made)


def test_what_is_not_admitted_goes_with_its_reason_and_is_told() -> None:
    made = system(*CHOICES["two sites"])
    etr = Etr()
    for text in ("10.1.4.0/24", "10.2.0.0/16"):
        made.receive(etr.register(record(text, ETR)), etr.source, NOW)
    actions = made.reconfigure(of("exact only"), NOW)
    events = {(a.subject, a.data["reason"]) for a in actions if isinstance(a, Event)}
    assert events == {("10.1.4.0/24", "more-specific"), ("10.2.0.0/16", "site-gone")}
    told = {action.eid for action in actions if isinstance(action, MappingChanged)}
    assert told == {eid("10.1.0.0/16"), eid("10.2.0.0/16")}


def test_a_key_rolls_over_without_touching_what_is_registered() -> None:
    made = system()
    old, new = Etr(), Etr(key_id=2, key=b"the-next-psk-002", nonce=500)
    made.receive(old.register(record("10.1.0.0/16", ETR)), old.source, NOW)
    both = [{"key_id": 1, "key": KEY.decode()}, {"key_id": 2, "key": new.key.decode()}]
    for keys, accepted in (((both), (True, True)), (both[1:], (False, True))):
        assert made.reconfigure(config(site(keys=keys)), NOW) == []
        for etr, takes in zip((old, new), accepted, strict=True):
            data = etr.register(record("10.1.0.0/16", ETR), want_notify=True)
            sent = [a for a in made.receive(data, etr.source, NOW) if isinstance(a, SendControl)]
            assert bool(sent) == takes
            assert all(isinstance(decode(item.data), MapNotify) for item in sent)
    assert registered(made)


def test_static_mappings_follow_and_those_set_at_runtime_win() -> None:
    def with_mapping(rloc: str) -> Config:
        return config(mappings=[{"eid_prefix": "10.8.0.0/16", "locators": [{"rloc": rloc}]}])

    def answer() -> list[str]:
        mapping = made.answer(eid("10.8.0.1/32"), Requester(), NOW).mapping
        return [str(item.rloc) for item in mapping.locators]

    made = system()
    made.reconfigure(with_mapping("192.0.2.7"), NOW)
    assert answer() == ["192.0.2.7"]
    made.reconfigure(with_mapping("192.0.2.8"), NOW)
    assert answer() == ["192.0.2.8"]
    set_now = with_mapping("192.0.2.9").mappings[0].mapping
    made.set_static(set_now, NOW)
    made.reconfigure(with_mapping("192.0.2.7"), NOW)
    assert answer() == ["192.0.2.9"]
    made.reconfigure(config(), NOW)
    assert answer() == ["192.0.2.9"]
    made.remove_static(set_now.eid, NOW)
    assert answer() == []


def test_limits_follow() -> None:
    made = system(limits={"map_requests_per_source": 1})
    where = Endpoint(made.config.control.listen[0].address, 4342)
    many = [request("10.1.0.1/32", nonce=n, itr=(ITR,)).serialize() for n in range(1, 4)]

    def answered() -> int:
        replies = [made.receive(data, where, NOW) for data in many]
        return sum(isinstance(a, SendControl) for actions in replies for a in actions)

    assert answered() == 1
    made.reconfigure(config(), NOW)
    assert answered() == 3
