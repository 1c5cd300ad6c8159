"""What a policy denies to some source EIDs stays denied when nobody has asked since a restart."""

from __future__ import annotations

import random

import pytest
from test_controller import ControlledNetwork
from test_resume_in_parts import as_told
from xtr_network import CONFIG, Host, Site

from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.rules import Ruleset

DENY = "{name: r, match: {source_eids: [10.1.0.1/32]}, action: {deny: policy-denied}}"


class Restarted(ControlledNetwork):
    """Two hosts that talk to a third, and a controller that starts anew meanwhile."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.start()
        self.denied = self["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
        self.other = self["xa"].add(1, "10.1.0.2", "02:00:00:00:01:02")
        self.target = self["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
        for host in (self.other, self.denied) * 2:
            self.arrived(host)

    def arrived(self, host: Host) -> bool:
        """Whether a packet to the third one arrives."""
        self.target.received.clear()
        self.send("xa", 1, host.frame("10.2.0.1"))
        self.advance(2.0)
        return bool(self.target.received)

    def told(self, site: Site) -> Ruleset:
        return as_told(super().told(site))

    def restart(self, text: str | None = None) -> None:
        """text: another configuration."""
        if text is not None:
            self.config = load(text)
        store = self.controller.store
        self.controller = Controller(self.config, store=store, rng=random.Random(8))
        for name, site in self.sites.items():
            site.xtr = self.controller.xtrs[name]
        self.start()
        self.advance(5.0)


def test_a_restart_changes_no_rule_for_a_source() -> None:
    net = Restarted(CONFIG + f"policies: [{{site: b, rules: [{DENY}]}}]\n")
    before = net["xa"].switch.ruleset()
    net.restart()
    assert net["xa"].switch.ruleset() == before
    assert (net.arrived(net.denied), net.arrived(net.other)) == (False, True)


@pytest.mark.parametrize("talks_first", [True, False])
def test_what_was_found_on_the_switch_follows_a_policy_for_some_sources(talks_first: bool) -> None:
    net = Restarted(CONFIG)
    net.restart()
    if talks_first:
        assert net.arrived(net.denied)
    policing = net.controller.policing
    rules = policing.parse(f"- {{site: b, rules: [{DENY}]}}")
    net.carry_out(policing.apply(rules, who="t", why="t", now=net.now)[1])
    assert (net.arrived(net.denied), net.arrived(net.other)) == (False, True)


def test_what_was_found_on_the_switch_follows_a_policy_of_meanwhile() -> None:
    net = Restarted(CONFIG)
    net.restart(CONFIG + f"policies: [{{site: b, rules: [{DENY}]}}]\n")
    assert (net.arrived(net.denied), net.arrived(net.other)) == (False, True)
