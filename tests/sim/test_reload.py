"""Another configuration while everything runs: what changes, and what must not notice it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_controller import ControlledNetwork, ask
from xtr_network import CONFIG

from lisp_sdn.actions import Event, SwitchConnected
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import load
from lisp_sdn.config.changes import diff
from lisp_sdn.errors import ConfigError, StaleConfiguration
from lisp_sdn.rules import Ruleset
from lisp_sdn.wire import MapReply, decode

GUEST = """
  - name: xc
    site: b
    datapath_id: 0xc
    rlocs: [{rloc: 192.0.2.3}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.2.9.254/24]}
"""

EDITS = {
    "another site": CONFIG.replace(
        "xtrs:",
        "  - {name: c, authentication_keys: [{key: secret-c}], "
        "eid_prefixes: [{prefix: 10.3.0.0/16, iid: 1}]}\nxtrs:",
    ),
    "another key": CONFIG.replace("secret-b", "another-secret"),
    "more specifics": CONFIG.replace(
        "{prefix: 10.2.0.0/16, iid: 1}",
        "{prefix: 10.2.0.0/16, iid: 1, accept_more_specifics: true}",
    ),
    "a static mapping": CONFIG
    + "mappings: [{eid_prefix: 10.9.0.0/16, iid: 1, locators: [{rloc: 192.0.2.77}]}]\n",
    "another priority": CONFIG.replace("{rloc: 192.0.2.2}", "{rloc: 192.0.2.2, priority: 9}"),
    "one RLOC less": CONFIG.replace(', {rloc: "2001:db8:ffff::2"}', ""),
    "another RLOC": CONFIG.replace("192.0.2.2}", "192.0.2.22}"),
    "a tenant less": CONFIG.replace("      - {name: p2, iid: 2, gateways: [10.2.0.254/24]}\n", ""),
    "other limits": CONFIG + "limits: {map_cache_entries: 500, miss_rate: 77}\n",
    "source guard": CONFIG + "source_guard: {mode: enforce}\n",
    "gleaning": CONFIG + "gleaning: {enabled: true}\n",
    "other probes": CONFIG + "reachability: {probe_interval: 2}\n",
    "a Proxy-ETR": CONFIG + "use_petr: [{iid: 1, locators: [{rloc: 192.0.2.88}]}]\n",
    "a policy": CONFIG
    + "policies: [{site: b, rules: [{name: r, match: {}, action: {pin: [192.0.2.2]}}]}]\n",
    "another xTR": CONFIG + GUEST,
    "a site less": CONFIG.split("  - name: b\n")[0]
    + "xtrs:"
    + CONFIG.split("xtrs:")[1].split("  - name: xb")[0],
}
"""What people do to a configuration."""


class Reloaded(ControlledNetwork):
    """The network with a configuration file that can be written."""

    def __init__(self, text: str = CONFIG) -> None:
        super().__init__(text)
        self.file = text
        self.controller.reloading.read = lambda: ("lisp.yaml", self.file)

    def start(self) -> None:
        super().start()
        for number, site in self.by_datapath.items():
            event = SwitchConnected(number, site.ports)
            self.carry_out(self.controller.switch_connected(event, self.now))

    def reload(self, text: str) -> list[object]:
        self.file = text
        _, actions = self.controller.reloading.reload(self.now, who="test")
        self.carry_out(actions)
        for name, site in self.sites.items():
            site.xtr = self.controller.xtrs.get(name, site.xtr)
        return [a for a in actions if not isinstance(a, Event)]

    def busy(self) -> None:
        """Everybody has talked to everybody."""
        self.left = self["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
        self.right = self["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
        self.tenant = self["xa"].add(2, "10.1.0.1", "02:00:00:00:01:02")
        self["xb"].add(2, "10.2.0.1", "02:00:00:00:02:02")
        self.talk()
        self.talk()

    def talk(self) -> None:
        for _ in range(2):
            self.send("xa", 1, self.left.frame("10.2.0.1", b"x"))
            self.send("xa", 1, self.left.frame("172.16.0.1", b"x"))
            self.send("xa", 2, self.tenant.frame("10.2.0.1", b"x"))
            self.send("xb", 1, self.right.frame("10.1.0.1", b"x"))
            self.advance(5.0)

    def rules(self) -> dict[str, Ruleset]:
        return {name: site.switch.ruleset() for name, site in self.sites.items()}

    def settled(self) -> None:
        """The switches hold what is wanted, and nothing else."""
        for name, xtr in self.controller.xtrs.items():
            if name in self.sites:
                assert self.sites[name].switch.ruleset() == xtr.wanted(), name

    def registered(self) -> set[str]:
        entries = self.controller.management.registrations(None, self.now)
        return {f"{entry.eid} {entry.site} {entry.xtr}" for entry in entries}


@pytest.fixture
def net() -> Reloaded:
    made = Reloaded()
    made.start()
    made.busy()
    return made


def test_the_same_file_again_sends_nothing(net: Reloaded) -> None:
    before = net.rules()
    assert net.reload(CONFIG) == []
    assert net.reload(CONFIG + "# a comment\n") == []
    assert net.rules() == before


@pytest.mark.parametrize("edit", EDITS)
def test_there_and_back_ends_where_it_began(net: Reloaded, edit: str) -> None:
    wanted, registered = net.rules(), net.registered()
    net.reload(EDITS[edit])
    net.advance(5.0)
    net.settled()
    net.reload(CONFIG)
    net.advance(5.0)
    net.settled()
    net.talk()
    net.settled()
    assert net.registered() == registered
    assert net.rules() == wanted


@pytest.mark.parametrize("edit", sorted(set(EDITS) - {"a site less", "another RLOC"}))
def test_no_packet_is_lost(net: Reloaded, edit: str) -> None:
    """Right behind the reload, before any timer."""
    net.right.received.clear()
    for text in (EDITS[edit], CONFIG):
        net.reload(text)
        net.send("xa", 1, net.left.frame("10.2.0.1", b"still"))
        net.advance(1.0)
    assert [packet[20:] for packet in net.right.received] == [b"still", b"still"]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=5))
def test_the_way_there_does_not_matter(edits: list[str]) -> None:
    """Whatever was in force between: the same configuration means the same rules."""
    straight, around = Reloaded(), Reloaded()
    for net in (straight, around):
        net.start()
    for edit in edits:
        around.reload(EDITS[edit])
    for net in (straight, around):
        net.reload(EDITS[edits[-1]])
        net.advance(5.0)
        net.settled()
    assert around.registered() == straight.registered()
    assert around.controller.config == straight.controller.config
    for name, xtr in straight.controller.xtrs.items():
        assert around.controller.xtrs[name].wanted().flows == xtr.wanted().flows


def test_an_untouched_xtr_is_the_same_object_and_hears_nothing(net: Reloaded) -> None:
    before = net.controller.xtrs["xa"]
    entries = len(list(net.controller.management.map_cache("xa", net.now)))
    net.reload(EDITS["another priority"])
    assert net.controller.xtrs["xa"] is before
    assert len(list(net.controller.management.map_cache("xa", net.now))) == entries


def test_a_changed_xtr_keeps_what_it_knows(net: Reloaded) -> None:
    old = net.controller.xtrs["xa"]
    cached = {row.eid for row in old.map_cache_entries(net.now)}
    hosts = set(old.local_eids())
    counted = {c.name: c.value for c in old.counters()}
    net.reload(EDITS["other limits"])
    new = net.controller.xtrs["xa"]
    assert new is not old
    assert {row.eid for row in new.map_cache_entries(net.now)} == cached
    assert set(new.local_eids()) == hosts
    assert all(c.value >= counted.get(c.name, 0) for c in new.counters())
    net.settled()


def test_a_packet_that_waits_goes_on_waiting(net: Reloaded) -> None:
    """Its host is being asked for; the answer comes after the reload."""
    silent = net["xb"].add(1, "10.2.0.9", "02:00:00:00:02:09", answers=False)
    net.send("xa", 1, net.left.frame("10.2.0.9", b"held"))
    assert net.controller.xtrs["xb"].state().held_packets == 1
    net.reload(EDITS["other limits"])
    assert net.controller.xtrs["xb"].state().held_packets == 1
    silent.answers = True
    net.advance(2.0)
    assert [packet[20:] for packet in silent.received] == [b"held"]


def test_what_a_removed_xtr_left_is_taken_away(net: Reloaded) -> None:
    net.reload(EDITS["a site less"])
    assert net["xb"].switch.ruleset() == Ruleset()
    assert net.registered() == {
        f"{eid} a xa" for eid in ("[1] 10.1.0.0/16", "[2] 10.1.0.0/16", "[1] 2001:db8:1::/48")
    }
    gone = [e for e in net.events if e.kind == "registration.removed"]
    assert len(gone) == 3
    (answer,) = net.datagram(ask("[1] 10.2.0.1"), Endpoint(_ip("192.0.2.99"), 4342))
    reply = decode(answer.data)
    assert isinstance(reply, MapReply)
    assert not reply.records[0].locators


def test_an_xtr_of_another_name_goes_on_with_what_its_switch_holds(net: Reloaded) -> None:
    before = net.rules()["xb"]
    net.file = CONFIG.replace("name: xb", "name: xz")
    _, actions = net.controller.reloading.reload(net.now, who="test")
    net["xb"].xtr = net.controller.xtrs["xz"]
    net.carry_out(actions)
    held = net["xb"].switch.ruleset()
    assert held == net.controller.xtrs["xz"].wanted()
    assert before.groups <= held.groups
    net.right.received.clear()
    net.send("xa", 1, net.left.frame("10.2.0.1", b"to the renamed one"))
    assert [packet[20:] for packet in net.right.received] == [b"to the renamed one"]


def test_an_xtr_whose_switch_is_there_already_begins_at_once(net: Reloaded) -> None:
    event = SwitchConnected(0xC, ())
    net.carry_out(net.controller.switch_connected(event, net.now))
    assert net.drops[-1].reason == "switch-not-configured"
    net.file = EDITS["another xTR"]
    _, actions = net.controller.reloading.reload(net.now, who="test")
    assert [a.datapath_id for a in actions if type(a).__name__ == "ReadRules"] == [0xC]


def test_mistakes_change_nothing_and_all_are_named(net: Reloaded) -> None:
    before, rules = net.controller.config, net.rules()
    broken = CONFIG.replace("datapath_id: 0xb", "datapath_id: 0xa").replace("site: b", "site: q")
    with pytest.raises(ConfigError) as caught:
        net.reload(broken)
    paths = [path for path, _ in caught.value.problems]
    assert {"xtrs[1].datapath_id", "xtrs[1].site"} <= set(paths)
    assert net.controller.config is before
    assert net.rules() == rules
    net.carry_out(net.controller.reloading.signalled(net.now))
    assert net.events[-1].kind == "configuration.refused"
    assert len(net.events[-1].data["problems"]) == len(paths)  # type: ignore[arg-type]


def test_what_needs_a_restart_stays_and_is_told(net: Reloaded) -> None:
    text = CONFIG + 'store: {path: "/tmp/other"}\ncontrol: {listen: ["127.0.0.1:1"]}\n'
    assert net.reload(text) == []
    assert net.controller.config.store.path is None
    (problem,) = (p for p in net.controller.management.status(net.now).problems if "restart" in p)
    assert "store.path" in problem
    assert "control.listen" in problem
    net.reload(CONFIG)
    assert not any("restart" in p for p in net.controller.management.status(net.now).problems)


def test_what_would_be_open_beside_what_needs_a_restart_is_refused() -> None:
    """Tokens go at once, the address to listen on does not: it would be open to everybody."""
    guarded = CONFIG + (
        "rest: {listen: '0.0.0.0:8080', tokens: [{name: a, token: 0123456789abcdef}]}\n"
    )
    net = Reloaded(guarded)
    net.start()
    with pytest.raises(ConfigError, match=r"rest\.tokens.*needs a restart"):
        net.reload(CONFIG)
    assert net.controller.config.rest.tokens


def test_policies_of_rest_stay_until_those_of_the_file_are_edited(net: Reloaded) -> None:
    rule = "- {site: b, rules: [{name: by-rest, match: {}, action: {pin: ['2001:db8:ffff::2']}}]}"
    policing = net.controller.policing
    net.carry_out(policing.apply(policing.parse(rule), who="t", why="t", now=net.now)[1])
    net.reload(EDITS["other limits"])
    assert [r.name for p in policing.policies for r in p.rules] == ["by-rest"]
    net.reload(EDITS["a policy"])
    assert [r.name for p in policing.policies for r in p.rules] == ["r"]
    net.reload(CONFIG)
    assert policing.policies == ()


def test_a_policy_in_force_for_a_site_that_goes_refuses_the_reload(net: Reloaded) -> None:
    rule = "- {site: b, rules: [{name: by-rest, match: {}, action: {pin: ['2001:db8:ffff::2']}}]}"
    policing = net.controller.policing
    net.carry_out(policing.apply(policing.parse(rule), who="t", why="t", now=net.now)[1])
    with pytest.raises(ConfigError, match="policies in force"):
        net.reload(EDITS["a site less"])
    assert "xb" in net.controller.xtrs


def test_a_file_that_was_changed_since_it_was_shown_is_refused(net: Reloaded) -> None:
    net.file = EDITS["other limits"]
    digest = net.controller.reloading.candidate().digest
    net.file = EDITS["another key"]
    with pytest.raises(StaleConfiguration):
        net.controller.reloading.reload(net.now, who="t", digest=digest)


def test_every_edit_is_told_with_its_path() -> None:
    old = load(CONFIG)
    for text in EDITS.values():
        new = load(text)
        there, back = diff(old, new), diff(new, old)
        assert there
        assert {change.path for change in there} == {change.path for change in back}
        assert not any(change.restart for change in there)
        assert "secret" not in " ".join(map(str, there))


def _ip(text: str) -> IPAddress:
    return EidPrefix.from_text(text).network.network_address


def test_edits_are_edits() -> None:
    assert all(load(a) != load(b) for a, b in itertools.combinations([CONFIG, *EDITS.values()], 2))
