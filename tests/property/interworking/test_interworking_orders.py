"""Whatever happens to Proxy-ITRs, BGP tells what their health allows, and nothing twice."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.actions import Announce, Withdraw
from lisp_sdn.config import load
from lisp_sdn.interworking.proxies import Proxies
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import BgpScope
from lisp_sdn.rlocs import Rlocs

NAMES = ("one", "two", "three")
PREFIXES = {
    "one": ("10.0.0.0/8",),
    "two": ("10.0.0.0/8", "172.16.0.0/12"),
    "three": ("172.16.0.0/12",),
}
ORDER = ("two", "one", "three")
"""By preference."""

CONFIG = load(
    "xtrs:\n"
    + "".join(
        f"  - name: {name}\n    datapath_id: {number}\n"
        f"    rlocs: [{{rloc: 192.0.2.{number}}}, {{rloc: 198.51.100.{number}}}]\n"
        f"    native_ports:\n      - proxy_itr: {{eid_prefixes: [{', '.join(PREFIXES[name])}], "
        f"preference: {100 - ORDER.index(name)}, hold_down: 2}}\n"
        for number, name in enumerate(NAMES, 1)
    )
    + "bgp:\n  as_number: 64512\n  router_id: 192.0.2.1\n  listen: 192.0.2.1:179\n"
    + "  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]\n"
)
RLOCS = [entry.rloc for xtr in CONFIG.xtrs for entry in xtr.rlocs]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("trouble"), st.sampled_from(NAMES)),
        st.tuples(st.just("rloc"), st.sampled_from(RLOCS)),
        st.tuples(st.just("wait"), st.floats(0, 20)),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_bgp_follows_health(steps: list[tuple[str, object]]) -> None:
    rlocs = Rlocs(CONFIG, MemoryStore())
    broken: set[object] = set()
    proxies = Proxies(CONFIG, rlocs, lambda name, iid: "broken" if name in broken else None)
    told: dict[str, object] = {}
    now = 1000.0

    def take(actions: list[object]) -> None:
        for action in actions:
            if isinstance(action, Announce):
                assert action.scope is BgpScope.UNDERLAY
                assert told.get(str(action.prefix)) != action.next_hop
                told[str(action.prefix)] = action.next_hop
            elif isinstance(action, Withdraw):
                del told[str(action.prefix)]

    take([*proxies.start(now)])
    for kind, what in steps:
        if kind == "trouble":
            broken ^= {what}
        elif kind == "rloc":
            rlocs.down ^= {ip_address(str(what))}
        else:
            assert isinstance(what, float)
            now += what
        take([*proxies.look(now)])
        states = {state.xtr: state for state in proxies.states()}
        for name, state in states.items():
            works = name not in broken and any(
                entry.rloc not in rlocs.down
                for x in CONFIG.xtrs
                if x.name == name
                for entry in x.rlocs
            )
            # Held down it may be; announced while it cannot forward, never.
            assert works or not state.healthy
        wanted = {}
        for name in reversed(ORDER):
            for prefix in PREFIXES[name] if states[name].healthy else ():
                (xtr,) = (x for x in CONFIG.xtrs if x.name == name)
                wanted[prefix] = next(e.rloc for e in xtr.rlocs if e.rloc not in rlocs.down)
        assert told == wanted
    broken.clear()
    rlocs.down = frozenset()
    take([*proxies.look(now)])
    take([*proxies.look(now + 61)])
    assert set(told) == {"10.0.0.0/8", "172.16.0.0/12"}
    assert all(state.healthy for state in proxies.states())
