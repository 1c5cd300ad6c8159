"""A packet followed through the whole brain in memory: what works, and every way to stop."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from test_controller import ControlledNetwork
from xtr_network import CONFIG

from lisp_sdn.actions import BgpSession
from lisp_sdn.address import EidPrefix
from lisp_sdn.api import Api, Request
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.trace import Mark, Packet, Step, StepName, Trace, Verdict
from lisp_sdn.xtr.frames import UDP

LEFT, RIGHT = "[1] 10.1.0.1", "[1] 10.2.0.1"


@pytest.fixture
def network() -> ControlledNetwork:
    made = ControlledNetwork()
    made.start()
    return made


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text)


def trace(network: ControlledNetwork, source: str = LEFT, destination: str = RIGHT) -> Trace:
    """Also proves that looking changes nothing."""
    before = [site.switch.ruleset() for site in network.sites.values()]
    wanted = [network.controller.management.wanted(name) for name in network.sites]
    packet = Packet(eid(source), eid(destination), UDP, 1000, 2000)
    found = network.controller.management.trace(packet, network.now)
    assert [network.controller.management.wanted(name) for name in network.sites] == wanted
    assert [site.switch.ruleset() for site in network.sites.values()] == before
    return found


def stopped(found: Trace, name: StepName, reason: str) -> Step:
    """It stops at this step, which is the last one and says what to do."""
    assert found.verdict is Verdict.STOPPED
    step = found.stopped_at
    assert step is found.steps[-1]
    assert (step.name, step.reason) == (name, reason), step
    assert step.suggestion
    return step


def ping(network: ControlledNetwork) -> None:
    """Both hosts have talked: their caches are filled."""
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    right = network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xa", 1, left.frame("10.2.0.1", b"ping"))
    network.advance(1.0)
    network.send("xb", 1, right.frame("10.1.0.1", b"pong"))
    network.advance(1.0)


def test_a_packet_that_arrives(network: ControlledNetwork) -> None:
    ping(network)
    found = trace(network)
    assert found.verdict is Verdict.DELIVERED
    assert [step.name for step in found.steps] == list(StepName)
    assert {step.mark for step in found.steps} == {Mark.OK}
    assert (found.xtr, found.etr) == ("xa", "xb")
    assert str(found.rloc) in ("192.0.2.2", "2001:db8:ffff::2")
    texts = {step.name: step.text for step in found.steps}
    assert "port p1 of xTR xa, site a, MAC address 02:00:00:00:01:01" in texts[StepName.SOURCE]
    assert "[1] 10.2.0.0/16 by map-reply, 2.0 s old" in texts[StepName.MAP_CACHE]
    (beside,) = next(step for step in found.steps if step.name is StepName.RLOC).details
    assert beside.startswith("beside it: RLOC ")
    assert "up, priority 1, weight 100" in beside
    assert texts[StepName.DELIVERY].endswith("by port p1 of xTR xb to 02:00:00:00:02:01")


def test_the_rloc_is_the_one_that_the_switch_takes(network: ControlledNetwork) -> None:
    ping(network)
    found = trace(network)
    mac, gateway = "02:00:00:00:01:01", "02:00:5e:00:00:fe"
    walked = network["xa"].switch.receive(1, found.packet.frame(mac, gateway))
    assert walked.sent[0].tunnel_destination == found.rloc
    tables = next(step for step in found.steps if step.name is StepName.FLOW_TABLES)
    assert len([line for line in tables.details if line.startswith("table")]) == len(walked.rules)


def test_a_miss_goes_the_way_of_the_answer(network: ControlledNetwork) -> None:
    network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    right = network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    network.send("xb", 1, right.frame("172.16.0.1", b"hello"))
    found = trace(network)
    assert found.verdict is Verdict.RESOLVES
    notes = {step.name: step.reason for step in found.steps if step.mark is Mark.NOTE}
    assert notes == {
        StepName.SOURCE: "host-not-seen",
        StepName.MAP_CACHE: "miss",
        StepName.FLOW_TABLES: "miss",
    }
    assert found.steps[-1].text.endswith("to 02:00:00:00:02:01")


def test_what_nobody_registered(network: ControlledNetwork) -> None:
    step = stopped(trace(network, destination="[1] 172.16.0.1"), StepName.MAPPING, "no-mapping")
    assert "natively-forward" in step.text


def test_what_a_static_mapping_drops(network: ControlledNetwork) -> None:
    mapping = Mapping(eid("[1] 10.2.0.0/24"), action=Act.DROP_NO_REASON)
    network.carry_out(network.controller.management.set_mapping(mapping, network.now))
    step = stopped(trace(network), StepName.MAPPING, "negative")
    assert "lispctl mapping delete '[1] 10.2.0.0/24'" in step.suggestion


POLICY = """
- site: b
  rules:
    - name: not-for-a
      match: {sites: [a]}
      action: {deny: policy-denied}
"""


def test_what_a_policy_denies(network: ControlledNetwork) -> None:
    policing = network.controller.policing
    _, actions = policing.apply(policing.parse(POLICY), who="t", why="test", now=network.now)
    network.carry_out(actions)
    step = stopped(trace(network), StepName.POLICY, "policy-denied")
    assert step.text == "rule not-for-a of site b decides: drop-policy-denied"
    assert "rule not-for-a: decided" in step.details
    stopped(trace(network, RIGHT, LEFT), StepName.DELIVERY, "host-unknown")


def test_a_switch_that_is_not_connected(network: ControlledNetwork) -> None:
    ping(network)
    network.carry_out(network.controller.switch_disconnected(0xA, network.now))
    step = stopped(trace(network), StepName.SWITCH, "switch-not-connected")
    assert "000000000000000a" in step.text
    step = stopped(trace(network, RIGHT, LEFT), StepName.ETR, "switch-not-connected")
    assert "xTR xa" in step.text


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        ("[1] 10.1.7.1", "unknown-source", "site a has the EID-prefix"),
        ("[1] 198.51.100.1", "unknown-source", "no connected subnet"),
        ("[3] 10.1.0.1", "wrong-iid", "instance-ID 1 (xTR xa, port p1)"),
        ("[1] 10.1.0.254", "gateway-address", "gateway address of port p1"),
    ],
)
def test_a_source_that_is_nowhere(
    network: ControlledNetwork, source: str, reason: str, words: str
) -> None:
    destination = RIGHT.replace("[1]", source.split()[0])
    step = stopped(trace(network, source, destination), StepName.SOURCE, reason)
    assert words in step.text


def test_a_destination_host_that_nobody_has_seen(network: ControlledNetwork) -> None:
    ping(network)
    found = trace(network, destination="[1] 10.2.0.9")
    step = stopped(found, StepName.DELIVERY, "host-unknown")
    assert "behind port p1 of xTR xb" in step.text
    assert found.steps[-2].mark is Mark.OK


def test_a_destination_outside_of_every_connected_subnet(network: ControlledNetwork) -> None:
    ping(network)
    stopped(trace(network, destination="[1] 10.2.9.9"), StepName.DELIVERY, "eid-not-local")


def test_the_gateway_of_the_other_site(network: ControlledNetwork) -> None:
    ping(network)
    packet = Packet(eid(LEFT), eid("[1] 10.2.0.254"))
    found = network.controller.management.trace(packet, network.now)
    assert found.verdict is Verdict.DELIVERED
    assert "the controller answers" in found.steps[-1].text


def test_a_neighbour_behind_the_same_xtr(network: ControlledNetwork) -> None:
    ping(network)
    stopped(trace(network, destination="[1] 10.1.0.2"), StepName.DELIVERY, "host-unknown")
    other = network["xa"].add(1, "10.1.0.2", "02:00:00:00:01:02")
    network.send("xa", 1, other.frame("172.16.0.1", b"1"))
    found = trace(network, destination="[1] 10.1.0.2")
    assert found.verdict is Verdict.DELIVERED
    assert found.etr == "xa"
    assert StepName.MAPPING not in {step.name for step in found.steps}


def test_an_rloc_of_nobody_we_know(network: ControlledNetwork) -> None:
    ping(network)
    mapping = Mapping(eid("[1] 10.2.0.0/16"), (Locator(eid("192.0.2.77").network[0]),))
    network.carry_out(network.controller.management.set_mapping(mapping, network.now))
    network.advance(1.0)
    found = trace(network)
    assert found.verdict is Verdict.HANDED_OVER
    assert (str(found.rloc), found.etr) == ("192.0.2.77", None)


def test_a_request_that_is_not_answered(network: ControlledNetwork) -> None:
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    mapping = network.controller.mapping
    answer, mapping.resolve = mapping.resolve, lambda *_: (None, [])  # type: ignore[method-assign]
    network.send("xa", 1, left.frame("10.2.0.1", b"1"))
    found = trace(network)
    assert [step.reason for step in found.steps if step.name is StepName.MAP_CACHE] == ["pending"]
    assert found.verdict is Verdict.STOPPED
    assert found.steps[-1].reason == "host-unknown"
    network.now += 10
    stopped(trace(network), StepName.MAP_CACHE, "unanswered")
    mapping.resolve = answer  # type: ignore[method-assign]


def test_a_cache_that_still_says_no(network: ControlledNetwork) -> None:
    """Between a change of the database and the controller's own correction of the cache."""
    left = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network.send("xa", 1, left.frame("172.16.0.1", b"1"))
    mapping = Mapping(eid("[1] 172.16.0.0/16"), (Locator(eid("192.0.2.77").network[0]),))
    network.controller.mapping.set_static(mapping, network.now)
    step = stopped(
        trace(network, destination="[1] 172.16.0.1"), StepName.MAP_CACHE, "negative-entry"
    )
    assert "lispctl clear map-cache xa" in step.suggestion


def test_an_instance_id_that_the_etr_does_not_serve() -> None:
    head, port, tail = CONFIG.rpartition("      - {name: p2, iid: 2, gateways: [10.2.0.254/24]}\n")
    network = ControlledNetwork(head + tail)
    network.start()
    assert port
    found = trace(network, "[2] 10.1.0.1", "[2] 10.2.0.1")
    step = stopped(found, StepName.ETR, "iid-not-served")
    assert "does not serve instance-ID 2, but 1" in step.text


def test_a_destination_of_another_instance_id_only() -> None:
    port = "      - {name: p2, iid: 2, gateways: [10.2.0.254/24]}\n"
    prefix = "      - {prefix: 10.2.0.0/16, iid: 2}\n"
    network = ControlledNetwork(CONFIG.replace(port, "").replace(prefix, ""))
    network.start()
    step = stopped(trace(network, "[2] 10.1.0.1", "[2] 10.2.0.1"), StepName.MAPPING, "other-iid")
    assert "it is in instance-ID 1 (xTR xb, port p1)" in step.text


def test_a_site_that_has_not_registered() -> None:
    sites = "sites:\n  - name: c\n    authentication_keys: [{key: secret-c}]\n"
    sites += "    eid_prefixes: [{prefix: 10.3.0.0/16, iid: 1}]\n"
    network = ControlledNetwork(CONFIG.replace("sites:\n", sites))
    network.start()
    step = stopped(trace(network, destination="[1] 10.3.0.1"), StepName.MAPPING, "not-registered")
    assert "site c may register it and has not (never)" in step.text
    stopped(trace(network, "[1] 10.3.0.1", LEFT), StepName.SOURCE, "not-ours")
    (foreign,) = (e for e in network.controller.management.endpoints() if e.xtr is None)
    assert (str(foreign.eid), foreign.site) == ("[1] 10.3.0.1/32", "c")


def test_rlocs_without_an_uplink(network: ControlledNetwork) -> None:
    """One that is down is avoided; without any, the trace names them all."""
    ping(network)
    ours = [entry.rloc for entry in network["xb"].settings.rlocs]
    xtr = network["xa"].xtr
    network.do(network["xa"], xtr.rlocs_changed(frozenset(ours[:1]), frozenset(), network.now))
    found = trace(network)
    assert (found.verdict, found.rloc) == (Verdict.DELIVERED, ours[1])
    network.do(network["xa"], xtr.rlocs_changed(frozenset(ours), frozenset(), network.now))
    step = stopped(trace(network), StepName.FLOW_TABLES, "no-rloc-up")
    assert "192.0.2.2 unreachable, 2001:db8:ffff::2 unreachable" in step.text


def test_a_drained_rloc_that_is_the_last(network: ControlledNetwork) -> None:
    ping(network)
    ours = frozenset(entry.rloc for entry in network["xb"].settings.rlocs)
    xtr = network["xa"].xtr
    network.do(network["xa"], xtr.rlocs_changed(frozenset(), ours, network.now))
    found = trace(network)
    assert found.verdict is Verdict.DELIVERED
    assert [step.reason for step in found.steps if step.mark is Mark.NOTE] == ["rloc-drained"]


def test_no_common_address_family() -> None:
    """The mapping has an IPv6 RLOC only, and the ITR has none."""
    text = CONFIG.replace('[{rloc: 192.0.2.1}, {rloc: "2001:db8:ffff::1"}]', "[{rloc: 192.0.2.1}]")
    network = ControlledNetwork(text)
    network.start()
    mapping = Mapping(eid("[1] 10.2.0.0/16"), (Locator(eid("2001:db8:ffff::2").network[0]),))
    network.carry_out(network.controller.management.set_mapping(mapping, network.now))
    step = stopped(trace(network), StepName.RLOC, "no-route")
    assert "whose RLOCs are 192.0.2.1" in step.text


def test_rlocs_that_may_not_be_used(network: ControlledNetwork) -> None:
    mapping = Mapping(eid("[1] 10.2.0.0/16"), (Locator(eid("192.0.2.2").network[0], 255),))
    network.carry_out(network.controller.management.set_mapping(mapping, network.now))
    stopped(trace(network), StepName.MAPPING, "no-usable-rloc")


def test_a_map_resolver_of_others() -> None:
    """Its answer is not known here before the ITR has it."""
    network = ControlledNetwork(
        CONFIG.replace("site: a\n", "site: a\n    map_resolvers: [198.51.100.1]\n")
    )
    network.start()
    found = trace(network)
    assert found.verdict is Verdict.RESOLVES
    assert found.steps[-1].name is StepName.MAP_CACHE
    assert [step.reason for step in found.steps[2:]] == ["not-embedded", "not-embedded", "miss"]


def test_every_pair_over_rest(network: ControlledNetwork) -> None:
    """The endpoints that REST names can be traced there and back."""
    ping(network)
    api = Api(network.controller.management)

    def get(path: str, **query: str) -> Any:
        request = Request("GET", f"/lisp/v1{path}", query, {}, b"")
        response, actions = api.handle(request, network.now)
        assert (response.status, actions) == (200, []), response.body
        return json.loads(response.body)

    places = get("/trace/endpoints")["items"]
    verdicts = {}
    for one, other in itertools.permutations(places, 2):
        same = one["eid"].split()[0] == other["eid"].split()[0]
        if same and (":" in one["eid"]) == (":" in other["eid"]):
            found = get("/trace", source=one["eid"], destination=other["eid"])
            verdicts[one["xtr"], one["eid"]] = (found["verdict"], found["steps"][-1]["reason"])
    assert verdicts == {
        ("xa", "[1] 10.1.0.1/32"): ("delivered", None),
        ("xb", "[1] 10.2.0.1/32"): ("delivered", None),
        ("xa", "[2] 10.1.0.1/32"): ("stopped", "host-unknown"),
        ("xb", "[2] 10.2.0.1/32"): ("stopped", "host-unknown"),
        ("xa", "[1] 2001:db8:1::1/128"): ("stopped", "host-unknown"),
        ("xb", "[1] 2001:db8:2::1/128"): ("stopped", "host-unknown"),
    }


def test_a_port_that_is_down_or_gone(network: ControlledNetwork) -> None:
    port = replace(network["xa"].ports[1], up=False)
    network.carry_out(network.controller.port_changed(0xA, port, network.now))
    stopped(trace(network), StepName.SWITCH, "port-down")
    site = network["xa"]
    for gone, reason in (("p1", "no-port"), ("lisp0", "no-tunnel-port")):
        ports = tuple(port for port in site.ports if port.name != gone)
        rules = site.switch.ruleset()
        network.carry_out(network.controller.installed(0xA, ports, rules, network.now))
        found = trace(network)
        assert found.verdict is Verdict.STOPPED
        assert found.steps[-1].reason == reason
        back = trace(network, RIGHT, LEFT).steps[-1]
        assert back.reason == ("not-decapsulated" if gone == "p1" else reason)
        assert repr(gone) in back.text


def test_ipv6_too(network: ControlledNetwork) -> None:
    found = trace(network, "[1] 2001:db8:1::1", "[1] 2001:db8:2::1")
    stopped(found, StepName.DELIVERY, "host-unknown")
    packet = Packet(eid("[1] 2001:db8:1::1"), eid("[1] 2001:db8:2::fe"))
    found = network.controller.management.trace(packet, network.now)
    assert found.verdict is Verdict.RESOLVES


def test_endpoints_name_known_hosts_first(network: ControlledNetwork) -> None:
    ping(network)
    found = {
        (e.xtr, e.eid.iid, e.eid.version): e for e in network.controller.management.endpoints()
    }
    assert len(found) == 6
    assert str(found["xa", 1, 4].eid) == "[1] 10.1.0.1/32"
    assert found["xa", 1, 4].known
    assert str(found["xb", 2, 4].eid) == "[2] 10.2.0.1/32"
    assert not found["xb", 2, 4].known
    assert str(found["xb", 1, 6].eid) == "[1] 2001:db8:2::1/128"


# --- what is not LISP ----------------------------------------------------------------------------

WEB = "[1] 203.0.113.80"
NATIVE = CONFIG.replace(
    "    datapath_id: 0xa\n", "    datapath_id: 0xa\n    native_ports: [{iid: 1}]\n"
)
GATE = """
  - name: gate
    datapath_id: 0xc
    rlocs: [{rloc: 192.0.2.3}]
    native_ports: [{iid: 1, proxy_etr: {eid_prefixes: [10.1.0.0/16]}}]
use_petr: [{iid: 1, locators: [{rloc: 192.0.2.3}]}]
"""


def started(text: str) -> ControlledNetwork:
    made = ControlledNetwork(text)
    made.start()
    return made


@pytest.mark.parametrize("seen", [False, True])
def test_natively_out_of_sight(seen: bool) -> None:
    network = started(NATIVE)
    if seen:
        host = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
        network.send("xa", 1, host.frame("203.0.113.80", b"ping"))
        network.advance(1.0)
    found = trace(network, LEFT, WEB)
    assert found.verdict is (Verdict.HANDED_OVER if seen else Verdict.RESOLVES)
    last = found.steps[-1]
    assert (last.name, last.mark) == (StepName.DELIVERY, Mark.OK)
    assert last.text.startswith("leaves natively by port native0 of xTR xa")


def test_a_native_port_that_is_down_stops_it() -> None:
    network = started(NATIVE)
    site = network["xa"]
    port = next(item for item in site.ports if item.name == "native0")
    network.do(site, site.xtr.port_changed(replace(port, up=False), network.now))
    stopped(trace(network, LEFT, WEB), StepName.DELIVERY, "native-port-down")
    network.do(site, site.xtr.port_changed(replace(port, number=0, up=False), network.now))
    found = trace(network, LEFT, WEB)
    assert found.stopped_at is not None
    assert found.stopped_at.reason in ("no-native-port", "native-port-down")


@pytest.mark.parametrize("seen", [False, True])
def test_by_a_petr_and_out_of_sight(seen: bool) -> None:
    network = started(CONFIG + GATE)
    if seen:
        host = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
        network.send("xa", 1, host.frame("203.0.113.80", b"ping"))
        network.advance(1.0)
    found = trace(network, LEFT, WEB)
    assert found.verdict is (Verdict.HANDED_OVER if seen else Verdict.RESOLVES)
    assert (found.etr, str(found.rloc)) == ("gate", "192.0.2.3")
    assert "by way of the PETR: 192.0.2.3 1/100" in next(
        step.text for step in found.steps if step.name is StepName.MAPPING
    )
    assert found.steps[-1].text.startswith("leaves natively by port native0 of xTR gate")


def test_a_petr_that_does_not_forward_for_this_site() -> None:
    found = trace(started(CONFIG + GATE), RIGHT, WEB)
    stopped(found, StepName.DELIVERY, "petr-refused")


PITR = """
  - name: gate
    datapath_id: 0xc
    rlocs: [{rloc: 192.0.2.3}]
    native_ports: [{iid: 1, proxy_itr: {eid_prefixes: [10.0.0.0/8]}}]
bgp:
  as_number: 64512
  router_id: 192.0.2.3
  listen: 192.0.2.3:179
  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]
"""


@pytest.mark.parametrize("seen", [False, True])
def test_from_outside_through_a_proxy_itr(seen: bool) -> None:
    network = started(CONFIG + PITR)
    host = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network.send("xa", 1, host.frame("10.2.0.1"))
    if seen:
        frame = Packet(eid(WEB), eid(LEFT)).frame("02:00:00:00:00:01", "02:00:00:00:00:02")
        network.send("gate", 200, frame)
        network.advance(1.0)
    found = trace(network, WEB, LEFT)
    assert found.verdict is (Verdict.DELIVERED if seen else Verdict.RESOLVES)
    assert (found.xtr, found.etr) == ("gate", "xa")
    assert found.steps[0].text.startswith("203.0.113.80 is not LISP: Proxy-ITR gate takes")


def test_from_outside_to_what_no_site_has() -> None:
    found = trace(started(CONFIG + PITR), WEB, "[1] 10.200.0.1")
    stopped(found, StepName.MAPPING, "not-an-eid")
    # Nobody attracts packets for it.
    stopped(trace(started(CONFIG + PITR), WEB, "[1] 172.16.0.1"), StepName.SOURCE, "unknown-source")


def test_a_proxy_itr_that_nobody_hears_is_a_problem() -> None:
    network = started(CONFIG + PITR)
    problem = "no router hears the Proxy-ITRs: BGP is not up with 192.0.2.254"
    assert problem in network.controller.management.status(network.now).problems
    session = BgpSession(ip_address("192.0.2.254"), up=True)
    network.controller.bgp_session(session, network.now)
    assert problem not in network.controller.management.status(network.now).problems
