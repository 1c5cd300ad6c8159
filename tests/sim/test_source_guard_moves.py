"""The source guard whatever happens: verdicts of the mapping system, and the rules wanted."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from test_source_guard_sim import arrive, guarded, received, register, unregister

from lisp_sdn.address import EidPrefix
from lisp_sdn.xtr.requests import Verify

RLOCS = ("203.0.113.66", "203.0.113.67", "192.0.2.2")
EIDS = ("[1] 10.9.0.0/16", "[1] 10.9.1.0/24", "[1] 10.9.1.128/25", "[1] 10.8.0.0/13")
SOURCES = ("10.9.0.1", "10.9.1.1", "10.9.1.129", "10.12.0.1", "10.2.0.1", "172.16.0.1")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("packet"), st.sampled_from(SOURCES), st.sampled_from(RLOCS)),
        st.tuples(
            st.just("set"), st.sampled_from(EIDS), st.sets(st.sampled_from(RLOCS), min_size=1)
        ),
        st.tuples(st.just("remove"), st.sampled_from(EIDS), st.none()),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_every_verdict_is_what_the_mapping_system_says_now(
    moves: list[tuple[str, str, object]],
) -> None:
    network = guarded(guard={"entries": 6, "refused_entries": 4})
    known: set[str] = set()
    for what, name, more in moves:
        before = received(network)
        if what == "packet":
            arrive(network, name, str(more))
            asked = Verify("xa", EidPrefix.from_text(f"[1] {name}/32"), ip_address(str(more)))
            verdict = network.controller.senders.judge(asked)
            assert verdict is not None
            assert received(network) - before == (verdict.reason is None)
        elif what == "set":
            assert isinstance(more, set)
            register(network, name, *sorted(more))
            known.add(name)
        elif name in known:
            unregister(network, name)
            known.discard(name)
        for entry in network["xa"].xtr.guard.verdicts:
            assert not isinstance(entry.key.origin, int)
            asked = Verify("xa", entry.key.source, entry.key.origin)
            verdict = network.controller.senders.judge(asked)
            assert verdict is not None
            assert verdict.eid.covers(entry.key.source)
            assert verdict.reason == entry.reason
        assert network["xa"].switch.ruleset() == network["xa"].xtr.wanted()
        assert len(network["xa"].xtr.guard.verdicts) <= 6
        assert network["xa"].xtr.guard.verdicts.refused <= 4
