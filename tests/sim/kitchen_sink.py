"""Four xTRs with everything configured at once, on which anything may happen in any order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import yaml
from mobile_network import CONFIG, MobileNetwork
from test_resume_in_parts import as_told
from xtr_network import NATIVE, NATIVE_MAC, TUNNEL, Host, Site

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    PacketIn,
    PacketOut,
    PortInfo,
    SwitchConnected,
)
from lisp_sdn.address import EidPrefix
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.rules import Output, Port, Ruleset
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.simulate import Trace

OUTSIDE = ("203.0.113.80", "2001:db8:feed::80")
FOREIGN = (
    *(f"10.8.{number}.0/24" for number in range(1, 10)),
    *(f"2001:db8:8:{number}::/64" for number in range(1, 5)),
    "10.8.0.0/16",
)
RLOC_SETS = (
    (("198.51.100.1", 1, 100),),
    (("198.51.100.1", 1, 30), ("198.51.100.2", 1, 70)),
    (("198.51.100.1", 1, 100), ("198.51.100.2", 2, 100), ("2001:db8:ffff::77", 1, 50)),
)
RULES = {
    "denied-pair": {
        "match": {"source_eids": ["10.1.0.1/32"], "eid_prefixes": ["[1] 10.2.0.0/31"]},
        "action": {"deny": "policy-denied"},
    },
    "one-for-a-source": {
        "match": {"source_eids": ["10.3.0.0/24"]},
        "action": {"pin": ["192.0.2.2"]},
    },
    "other-for-all": {"match": {}, "action": {"prefer": ["2001:db8:ffff::2"]}},
    "by-weight": {
        "match": {"sites": ["c"]},
        "action": {
            "locators": [
                {"rloc": "192.0.2.2", "priority": 1, "weight": 30},
                {"rloc": "2001:db8:ffff::2", "priority": 1, "weight": 70},
            ]
        },
    },
}
"""For what goes to site b."""


def everything() -> dict[str, Any]:
    """Source guard, gleaning, mobility, native ports, both proxies, PETRs, policy."""
    made: dict[str, Any] = yaml.safe_load(CONFIG)
    for number, xtr in enumerate(made["xtrs"]):
        xtr["underlay"] = {"mtu": 1500 if number else 1450}
    made["xtrs"] = made["xtrs"][:3]
    made["sites"] = made["sites"][:3]
    made["xtrs"][2]["native_ports"] = [{"iid": 1}]
    gate = {
        "name": "gate",
        "datapath_id": 0xC0,
        "rlocs": [{"rloc": "192.0.2.9"}, {"rloc": "2001:db8:ffff::99"}],
        "native_ports": [
            {
                "name": "native0",
                "iid": 1,
                "proxy_itr": {"eid_prefixes": ["10.0.0.0/8", "2001:db8::/40"]},
                "proxy_etr": {},
            }
        ],
    }
    made["xtrs"].append(gate)
    made["bgp"] = {
        "as_number": 64512,
        "router_id": "192.0.2.9",
        "neighbours": [{"address": "192.0.2.254", "as_number": 65001, "scope": "underlay"}],
    }
    made["use_petr"] = [{"iid": 1, "xtrs": ["xa"], "locators": [{"rloc": "192.0.2.9"}]}]
    made["source_guard"] = {"mode": "enforce", "entries": 50, "refused_entries": 10}
    made["gleaning"] = {"enabled": True, "entries": 5}
    made["limits"] = {"map_cache_entries": 40}
    made["policies"] = [{"site": "b", "rules": [{"name": "denied-pair", **RULES["denied-pair"]}]}]
    return made


EDITS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "guard off": {"source_guard": {"mode": "off"}},
    "guard counts": {"source_guard": {"mode": "count"}},
    "no gleaning": {"gleaning": {"enabled": False}},
    "no PETR": {"use_petr": []},
    "other PETR": {"use_petr": [{"iid": 1, "locators": [{"rloc": "198.51.100.9"}]}]},
    "few entries": {"limits": {"map_cache_entries": 6}},
    "flapping soon": {"mobility": {"probe_interval": 5, "hold_down": 3, "forward_time": 9}},
}


class KitchenSink(MobileNetwork):
    """Everything on; misses take the express lane where it lets them."""

    def __init__(self) -> None:
        self.lane_taken = 0
        self.file = yaml.safe_dump(everything())
        super().__init__(self.file)
        self._readable()
        self.resolved |= {
            (site, ip_address(rloc[0])) for site in self.sites for s in RLOC_SETS for rloc in s
        }
        self.resolved |= {
            (site, ip_address(rloc))
            for site in self.sites
            for rloc in ("198.51.100.9", "192.0.2.9", "2001:db8:ffff::99")
        }
        self.people = [
            self.host("xa", "10.1.0.1", "02:00:00:00:01:01"),
            self.host("xa", "2001:db8:1::1", "02:00:00:00:01:02"),
            self.host("xb", "10.2.0.1", "02:00:00:00:02:01"),
            self.host("xb", "2001:db8:2::1", "02:00:00:00:02:02"),
            self.host("xb", "10.2.0.2", "02:00:00:00:02:03"),
            self.host("xc", "10.3.0.1", "02:00:00:00:03:01"),
            self.host("xc", "10.3.0.2", "02:00:00:00:03:02"),
            self.host("xc", "2001:db8:3::1", "02:00:00:00:03:03"),
        ]

    def _readable(self) -> None:
        self.controller.reloading.read = lambda: ("lisp.yaml", self.file)

    def start(self) -> None:
        """The controller, and what the edges tell it of every switch."""
        self.carry_out(self.controller.start(self.now))
        for number, site in self.by_datapath.items():
            self._connect(number, site)
        MobileNetwork.advance(self, 1.0)

    def _connect(self, number: int, site: Site) -> None:
        event = SwitchConnected(number, site.ports)
        self.carry_out(self.controller.switch_connected(event, self.now))

    def told(self, site: Site) -> Ruleset:
        return as_told(super().told(site))

    def carry_out(self, actions: Iterable[Action]) -> None:
        super().carry_out(actions)
        self.controller.performed(self.now)

    def follow(self, site: Site, trace: Trace) -> None:
        punted, trace.punted[:] = list(trace.punted), []
        super().follow(site, trace)
        for punt in punted:
            self.punts += 1
            if not self._at_once(site, punt):
                self.carry_out(self.controller.packet_in(punt, self.now))

    def _at_once(self, site: Site, punt: PacketIn) -> bool:
        lane = self.controller.express.lane(punt.datapath_id, self.now)
        port = lane.port(punt) if lane is not None else None
        found = lane.miss(port, punt.frame, self.now) if lane and port else None
        self.controller.express.end(self.now)
        if found is None:
            return False
        self.lane_taken += 1
        shape, code = found
        number = site.switch.datapath_id
        packet = PacketOut(number, punt.frame, punt.in_port, (Output(Port.TABLE),))
        self.carry_out([ApplyRules(number, (shape.change(code),)), packet])
        return True

    # --- what may happen ---

    def talk(self, one: int, other: int) -> None:
        sender, target = self.people[one], self.people[other]
        if sender.address.version == target.address.version:
            self.say(sender, str(target.address))

    def abroad(self, one: int, number: int) -> None:
        sender = self.people[one]
        v4 = sender.address.version == 4
        self.say(sender, f"10.8.{number}.1" if v4 else f"2001:db8:8:{number}::1")

    def outside(self, one: int) -> None:
        sender = self.people[one]
        self.say(sender, OUTSIDE[sender.address.version == 6])

    def large(self, one: int, other: int) -> None:
        sender, target = self.people[one], self.people[other]
        if sender.address.version == target.address.version:
            self.say(sender, str(target.address), bytes(1470))

    def spoof(self, one: int) -> None:
        sender = self.people[one]
        if sender.address.version == 4:
            other = Host(1, ip_address("172.16.0.1"), sender.mac)
            self.send(self.where(sender), 1, other.frame("10.2.0.1"))

    def arrive(self, one: int, source: str, rloc: str) -> None:
        """Out of the tunnel, from somebody who may lie."""
        target, origin, outer = self.people[one], ip_address(source), ip_address(rloc)
        site = self[self.where(target)]
        if target.address.version != origin.version:
            return
        build: Any = replies.ipv4 if origin.version == 4 else replies.ipv6
        packet = build(origin, target.address, 253, b"x")
        zero = "00:00:00:00:00:00"
        rlocs = [item.rloc for item in site.settings.rlocs]
        own = next(item for item in rlocs if item.version == outer.version)
        trace = site.switch.receive(
            TUNNEL,
            replies.ip_frame(zero, zero, origin.version, packet),
            tunnel_id=1,
            tunnel_source=outer,
            tunnel_destination=own,
        )
        self.follow(site, trace)
        self._arrive()

    def from_outside(self, where: str, other: int) -> None:
        """A packet by a native port."""
        target = self.people[other].address
        origin = ip_address(OUTSIDE[target.version == 6])
        build: Any = replies.ipv4 if target.version == 4 else replies.ipv6
        packet = build(origin, target, 253, b"in")
        self.send(where, NATIVE, replies.ip_frame(NATIVE_MAC, NATIVE_MAC, target.version, packet))

    def move(self, one: int, where: str, loudly: bool) -> None:
        person = self.people[one]
        self.plug(person, where)
        if loudly:
            self.announce(person)

    def drain(self, rloc: str, on: bool) -> None:
        act = self.controller.drain if on else self.controller.undrain
        self.carry_out(act(ip_address(rloc), self.now))

    def tunnel(self, where: str, up: bool) -> None:
        site = self[where]
        port = PortInfo(TUNNEL, "lisp0", "02:00:00:00:00:01", up)
        site.ports = (port, *site.ports[1:])
        self.carry_out(self.controller.port_changed(site.switch.datapath_id, port, self.now))

    def policy(self, *names: str) -> None:
        rules = [{"name": name, **RULES[name]} for name in dict.fromkeys(names)]
        document = yaml.safe_dump([{"site": "b", "rules": rules}])
        policing = self.controller.policing
        _, actions = policing.apply(policing.parse(document), who="t", why="t", now=self.now)
        self.carry_out(actions)

    def static(self, number: int, prefix: str | None = None) -> None:
        for item in (prefix,) if prefix else FOREIGN:
            locators = tuple(
                Locator(ip_address(rloc), priority=priority, weight=weight)
                for rloc, priority, weight in RLOC_SETS[number]
            )
            mapping = Mapping(EidPrefix.from_text(f"[1] {item}")).with_locators(locators)
            actions = self.controller.mapping.set_static(mapping, self.now)
            self.carry_out(self.controller.settle(actions, self.now))

    def unstatic(self, prefix: str) -> None:
        try:
            actions = self.controller.mapping.remove_static(
                EidPrefix.from_text(f"[1] {prefix}"), self.now
            )
        except LookupError:
            return
        self.carry_out(self.controller.settle(actions, self.now))

    def clear(self, where: str) -> None:
        _, actions = self.controller.management.clear_map_cache(where, None, self.now)
        self.carry_out(actions)

    def idle(self, where: str, text: str) -> None:
        self.idle_out(where, text)

    def reload(self, edit: str) -> None:
        self.file = yaml.safe_dump(everything() | EDITS[edit])
        _, actions = self.controller.reloading.reload(self.now, who="test")
        self.config = self.controller.config
        for name, site in self.sites.items():
            site.xtr = self.controller.xtrs[name]
        self.carry_out(actions)

    def reconnect(self, where: str) -> None:
        number = self[where].switch.datapath_id
        self.carry_out(self.controller.switch_disconnected(number, self.now))
        self._connect(number, self[where])

    def restart(self) -> None:
        """A new controller with the old one's store finds the switches as they are."""
        store = self.controller.store
        self.config = load(self.file)
        self.controller = Controller(self.config, store=store, rng=random.Random(8))
        self._readable()
        for name, site in self.sites.items():
            site.xtr = self.controller.xtrs[name]
        self.start()

    # --- what must hold ---

    def agrees(self) -> None:
        """The switches hold what is wanted; nothing is larger than it may be."""
        for name, site in self.sites.items():
            xtr = self.controller.xtrs[name]
            if xtr._resumption is not None:
                continue
            wanted, held = xtr.wanted(), site.switch.ruleset()
            assert wanted == held, (
                name,
                sorted(map(str, wanted.flows - held.flows)),
                sorted(map(str, held.flows - wanted.flows)),
            )
            limits = self.config.limits
            assert len(xtr._cache) <= limits.map_cache_entries
            assert len(xtr.guard.verdicts) <= 50
            assert xtr.state().held_packets <= limits.held_packets_total

    def permitted(self, one: Host, other: Host) -> bool:
        """Whether the policy of site b lets one talk to the other, wherever that is now."""
        rules = [rule for policy in self.controller.policing.policies for rule in policy.rules]
        if (str(one.address), str(other.address)) != ("10.1.0.1", "10.2.0.1"):
            return True
        return not any(rule.name == "denied-pair" for rule in up_to_the_last(rules))


def up_to_the_last(rules: list[Any]) -> list[Any]:
    """The rules up to the first that is for everybody."""
    found = []
    for rule in rules:
        found.append(rule)
        if rule.name == "other-for-all":
            break
    return found
