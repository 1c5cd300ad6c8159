"""What BGP tells of the ALT: filters, limits, sessions; and what the controller announces."""

from __future__ import annotations

import ipaddress
import random

from lisp_sdn.actions import (
    Action,
    Announce,
    BgpRoute,
    BgpSession,
    Dropped,
    Event,
    MappingChanged,
    SendControl,
    ShutNeighbour,
    Withdraw,
)
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.alt.alt import Alt
from lisp_sdn.config import Config
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire import (
    Ecm,
    EidRecord,
    MapRegister,
    MapReply,
    MapRequest,
    RequestRecord,
    auth,
    decode,
)

NOW = 1_700_000_000.0
PEER, OTHER = ipaddress.ip_address("10.99.0.2"), ipaddress.ip_address("10.99.0.6")
RLOC = ipaddress.ip_address("192.0.2.1")
CONFIG = {
    "sites": [
        {
            "name": "athens",
            "authentication_keys": [{"key": "a-test-key"}],
            "eid_prefixes": [
                {"prefix": "10.1.0.0/16", "accept_more_specifics": True},
                {"prefix": "10.1.0.0/16", "iid": 7},
            ],
        }
    ],
    "bgp": {
        "as_number": 64512,
        "router_id": "10.99.0.1",
        "neighbours": [
            {
                "address": str(PEER),
                "as_number": 64513,
                "maximum_prefixes": 2,
                "prefixes_in": [
                    {"prefix": "10.66.0.0/16", "action": "deny"},
                    {"prefix": "10.0.0.0/8", "minimum_length": 8},
                ],
            },
            {"address": str(OTHER), "as_number": 64514},
        ],
    },
    "alt": {"hold_down": 60},
}


def config(**changes: object) -> Config:
    return Config.model_validate({**CONFIG, **changes})


def alt() -> Alt:
    return Alt(config(), lambda eid: False)


def route(prefix: str, peer: ipaddress.IPv4Address | ipaddress.IPv6Address = PEER) -> BgpRoute:
    return BgpRoute(ipaddress.ip_network(prefix), peer, peer, (64513,))


def changed(prefix: str) -> MappingChanged:
    return MappingChanged(EidPrefix.from_text(prefix))


def reasons(actions: list[Action]) -> list[str]:
    return [a.reason if isinstance(a, Dropped) else type(a).__name__ for a in actions]


def test_a_permitted_route_is_kept_and_a_filtered_one_is_not() -> None:
    core = alt()
    assert core.route(route("10.20.0.0/16"), NOW) == [changed("10.20.0.0/16")]
    # Another path to the same changes nothing.
    assert core.route(route("10.20.0.0/16", OTHER), NOW) == []
    dropped, *rest = core.route(route("10.66.0.0/16"), NOW)
    assert rest == []
    assert dropped == Dropped("alt", "bgp-prefix-filtered", "10.66.0.0/16", str(PEER))
    assert [str(r.prefix) for r in core.rib] == ["10.20.0.0/16"]


def test_a_best_route_that_becomes_a_filtered_one_is_not_used_any_longer() -> None:
    core = alt()
    core.route(route("10.66.0.0/16", OTHER), NOW)
    assert reasons(core.route(route("10.66.0.0/16"), NOW)) == ["bgp-prefix-filtered"]
    assert len(core.rib) == 0


def test_a_stranger_is_not_believed() -> None:
    core = alt()
    stranger = ipaddress.ip_address("10.99.0.99")
    assert reasons(core.route(route("10.20.0.0/16", stranger), NOW)) == ["bgp-unknown-neighbour"]
    assert core.session(BgpSession(stranger, True), NOW) == []
    assert len(core.rib) == 0


def test_too_many_prefixes_shut_the_session_and_leave_the_others_alone() -> None:
    core = alt()
    core.route(route("10.30.0.0/16", OTHER), NOW)
    for prefix in ("10.20.0.0/16", "10.21.0.0/16", "10.21.0.0/16"):
        core.route(route(prefix), NOW)
    actions = core.route(route("10.22.0.0/16"), NOW)
    assert reasons(actions[:2]) == ["bgp-maximum-prefixes", "Event"]
    assert actions[2:] == [ShutNeighbour(PEER)]
    assert [str(r.prefix) for r in core.rib] == ["10.30.0.0/16"]
    # What the speaker still had on its way.
    assert reasons(core.route(route("10.23.0.0/16"), NOW)) == ["bgp-neighbour-shut"]
    assert core.route_gone(ipaddress.ip_network("10.20.0.0/16"), NOW) == []


def test_a_route_moves_to_another_neighbour_and_goes() -> None:
    core = alt()
    core.route(route("10.20.0.0/16"), NOW)
    core.route(route("10.20.0.0/16", OTHER), NOW)
    assert (core.rib.from_peer(PEER), core.rib.from_peer(OTHER)) == (0, 1)
    # What was learned by it stays good: traffic does not need the ALT.
    assert core.route_gone(ipaddress.ip_network("10.20.0.0/16"), NOW) == []
    assert len(core.rib) == 0
    assert core.counters == {"bgp-routes-in": 2, "bgp-withdrawals-in": 1}


def test_sessions_are_known_and_told() -> None:
    core = alt()
    (event,) = core.session(BgpSession(PEER, True), NOW)
    assert event == Event("bgp.session-up", str(PEER), {"as_number": 64513})
    assert core.sessions == {PEER: True, OTHER: False}
    (event,) = core.session(BgpSession(PEER, False), NOW)
    assert isinstance(event, Event)
    assert event.kind == "bgp.session-down"


def test_an_alt_router_without_a_session_is_a_problem() -> None:
    brain = controller(config())
    brain.bgp_session(BgpSession(OTHER, True), NOW)
    (problem,) = brain.management.status(NOW).problems
    assert problem.endswith(f"no BGP session with the ALT-Router {PEER}")
    brain.bgp_session(BgpSession(PEER, True), NOW)
    assert brain.management.status(NOW).problems == ()


# --- with the mapping system ---


def register(brain: Controller, prefix: str, now: float, ttl_minutes: int = 1440) -> list[Action]:
    mapping = Mapping(EidPrefix.from_text(prefix), (Locator(RLOC),), ttl_minutes=ttl_minutes)
    message = MapRegister(int(now), (EidRecord.from_mapping(mapping),), proxy_reply=True)
    data = auth.sign(message, 1, b"a-test-key", 3)
    return bgp(brain.receive(data, Endpoint(RLOC, 4342), now))


def bgp(actions: list[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, Announce | Withdraw)]


def controller(configuration: Config, store: MemoryStore | None = None) -> Controller:
    return Controller(configuration, store=store or MemoryStore(), rng=random.Random(1))


def test_a_registration_is_announced_and_withdrawn_after_the_hold_down() -> None:
    brain = controller(config())
    assert bgp(brain.start(NOW)) == []
    network = ipaddress.ip_network("10.1.0.0/16")
    assert register(brain, "10.1.2.0/24", NOW) == [Announce(network)]
    assert register(brain, "10.1.3.0/24", NOW + 1) == []
    assert register(brain, "10.1.2.0/24", NOW + 2, ttl_minutes=0) == []
    assert brain.alt.held_down == {}
    assert register(brain, "10.1.3.0/24", NOW + 3, ttl_minutes=0) == []
    assert brain.alt.held_down == {network: NOW + 63}
    timer = brain.next_timer()
    assert timer is not None
    assert timer <= NOW + 63
    assert bgp(brain.handle_timer(NOW + 62.9)) == []
    assert bgp(brain.handle_timer(NOW + 63)) == [Withdraw(network)]


def test_another_instance_id_is_not_announced() -> None:
    brain = controller(config())
    brain.start(NOW)
    assert register(brain, "[7] 10.1.0.0/16", NOW) == []


def test_after_a_restart_recovered_registrations_are_announced() -> None:
    store = MemoryStore()
    brain = controller(config(), store)
    brain.start(NOW)
    register(brain, "10.1.2.0/24", NOW)
    again = controller(config(), store)
    assert bgp(again.start(NOW + 10)) == [Announce(ipaddress.ip_network("10.1.0.0/16"))]


def test_without_alt_bgp_announces_nothing() -> None:
    brain = controller(config(alt=None))
    brain.start(NOW)
    assert register(brain, "10.1.2.0/24", NOW) == []
    assert brain.bgp_route(route("10.20.0.0/16"), NOW) == []
    assert len(brain.alt.rib) == 1
    assert brain.bgp_route_gone(ipaddress.ip_network("10.20.0.0/16"), NOW) == []
    assert len(brain.alt.rib) == 0
    assert len(brain.bgp_session(BgpSession(PEER, True), NOW)) == 1


def negative(brain: Controller, eid: str) -> str:
    """The EID-prefix of the Negative Map-Reply to a host of another provider."""
    question = Ecm(
        Endpoint(OTHER, 61000),
        Endpoint(ipaddress.ip_address("10.200.1.1"), 4342),
        MapRequest(9, None, (OTHER,), (RequestRecord(EidPrefix.from_text(eid)),)).serialize(),
    )
    data, source = question.serialize(), Endpoint(OTHER, 61000)
    quick = brain.quick(data, 4, NOW)
    if quick is not None:
        octets = quick[0]
    else:
        (octets,) = [a.data for a in brain.receive(data, source, NOW) if isinstance(a, SendControl)]
    reply = decode(octets)
    assert isinstance(reply, MapReply)
    (record,) = reply.records
    assert record.mapping.negative
    return str(record.eid)


def test_a_negative_answer_stays_clear_of_the_routes_of_the_alt() -> None:
    brain = controller(config(limits={"map_replies_per_eid": 100}))
    brain.start(NOW)
    for _ in range(3):
        assert negative(brain, "10.200.1.1") == "10.128.0.0/9"
    brain.bgp_route(route("10.200.128.0/17", OTHER), NOW)
    for _ in range(3):
        assert negative(brain, "10.200.1.1") == "10.200.0.0/17"
    # Inside of a route it is for no more than the route.
    assert negative(brain, "10.200.200.1") == "10.200.128.0/17"
    assert negative(brain, "[7] 10.200.1.1") == "[7] 10.128.0.0/9"
    brain.bgp_route_gone(ipaddress.ip_network("10.200.128.0/17"), NOW)
    assert negative(brain, "10.200.1.1") == "10.128.0.0/9"
