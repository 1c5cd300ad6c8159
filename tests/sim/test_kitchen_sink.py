"""Everything configured at once, anything in any order: what must hold afterwards."""

from __future__ import annotations

import random

import pytest
from kitchen_sink import EDITS, FOREIGN, OUTSIDE, RULES, KitchenSink
from mobile_network import eid_of, packets
from test_xtr_path_mtu import large

from lisp_sdn.address import EidPrefix
from lisp_sdn.rules import CookieClass, FlowRule, GroupRule, MeterRule, cookie_class
from lisp_sdn.trace import Packet, Verdict
from lisp_sdn.xtr import reconcile, resume
from lisp_sdn.xtr.frames import parse_ip
from lisp_sdn.xtr.requests import Verify

XTRS = ("xa", "xb", "xc")
OWN = ("192.0.2.1", "192.0.2.2", "2001:db8:ffff::2", "192.0.2.3", "2001:db8:ffff::1")
PEOPLE = 8
ARRIVES = (Verdict.DELIVERED, Verdict.RESOLVES)


def anything(net: KitchenSink, rng: random.Random) -> tuple[str, tuple[object, ...]]:
    """One step; talk more often than anything else."""
    who, whom = rng.randrange(PEOPLE), rng.randrange(PEOPLE)
    where = rng.choice((*XTRS, "gate"))
    steps: list[tuple[str, tuple[object, ...], int]] = [
        ("talk", (who, whom), 12),
        ("abroad", (who, rng.randrange(1, 11)), 16),
        ("outside", (who,), 3),
        ("large", (who, whom), 1),
        ("spoof", (who,), 1),
        (
            "arrive",
            (
                who,
                rng.choice(("10.8.1.1", "10.8.2.7", "10.2.0.1", "172.16.3.4", OUTSIDE[0])),
                rng.choice(("198.51.100.1", "198.51.100.2", "192.0.2.9", "203.0.113.66")),
            ),
            4,
        ),
        ("from_outside", (rng.choice(("gate", "xc")), whom), 3),
        ("move", (who, rng.choice(XTRS), rng.random() < 0.5), 3),
        ("drain", (rng.choice(OWN), rng.random() < 0.4), 2),
        ("tunnel", (rng.choice(XTRS), rng.random() < 0.7), 1),
        ("policy", tuple(rng.sample(sorted(RULES), rng.randrange(4))), 2),
        ("static", (rng.randrange(3), rng.choice(FOREIGN)), 2),
        ("unstatic", (rng.choice(FOREIGN),), 1),
        ("clear", (where,), 1),
        ("idle", (where, rng.choice(("10.2.0", "10.8", "2001:db8", "10.1.0.1", "172.16"))), 1),
        ("reload", (rng.choice(sorted(EDITS)),), 1),
        ("reconnect", (where,), 1),
        ("restart", (), 1),
        ("advance", (rng.choice((0.01, 1.0, 1.0, 5.0, 70.0)),), 6),
    ]
    ((name, arguments, _),) = rng.choices(steps, [weight for _, _, weight in steps])
    return name, arguments


@pytest.mark.parametrize("seed", range(12))
def test_it_settles_as_a_fresh_controller_would_have_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    if seed % 2:
        # As with many flows: what a switch holds is compared in parts, while things go on.
        monkeypatch.setattr(resume, "AT_ONCE", 0)
        monkeypatch.setattr(resume, "BRIEF_PART", 2)
        monkeypatch.setattr(reconcile.parts_of, "__defaults__", (2,))
    net = KitchenSink()
    net.static(0)
    for _ in range(70):
        name, arguments = anything(net, rng)
        getattr(net, name)(*arguments)
        net.agrees()
    settled(net)
    everybody_reaches_whom_policy_allows(net)
    what_is_not_lisp_comes_and_goes(net)
    what_is_too_large_is_told(net)
    restarted_wants_the_same(net)
    everybody_reaches_whom_policy_allows(net)
    what_is_not_lisp_comes_and_goes(net)


def settled(net: KitchenSink) -> None:
    """Links come back, nobody is held down any more, and whoever is somewhere has said so."""
    for where in XTRS:
        net.tunnel(where, True)
    net.reload("nothing")
    net.advance(1000.0)
    for person in net.people:
        net.say(person, "10.3.0.254" if person.address.version == 4 else "2001:db8:3::fe")
        net.announce(person)
        net.advance(5.0)
    net.advance(100.0)
    net.agrees()


def everybody_reaches_whom_policy_allows(net: KitchenSink) -> None:
    for one, sender in enumerate(net.people):
        for other, target in enumerate(net.people):
            if sender is target or sender.address.version != target.address.version:
                continue
            target.received.clear()
            net.talk(one, other)
            net.advance(1.5)
            target.received.clear()
            net.talk(one, other)
            net.advance(1.5)
            net.agrees()
            near = net.where(sender) == net.where(target)
            allowed = net.permitted(sender, target) or near
            pair = (str(sender.address), str(target.address))
            assert bool(target.received) is allowed, pair
            packet = Packet(*(EidPrefix.from_text(eid_of(host)) for host in (sender, target)))
            found = net.controller.management.trace(packet, net.now)
            assert (found.verdict in ARRIVES) is allowed, (pair, found)


def what_is_not_lisp_comes_and_goes(net: KitchenSink) -> None:
    """In by the Proxy-ITR, out by the Proxy-ETR, or by the native port where there is one."""
    for one, person in enumerate(net.people):
        for _ in range(2):
            person.received.clear()
            net.from_outside("gate", one)
            net.advance(1.5)
        assert person.received, str(person.address)
        where = net.where(person)
        way_out = {"xa": "gate", "xc": "xc"}.get(where)
        for site in net.sites.values():
            site.sent_natively.clear()
        for _ in range(2):
            net.outside(one)
            net.advance(1.5)
        left_by = {name for name, site in net.sites.items() if site.sent_natively}
        assert left_by == ({way_out} if way_out else set()), (str(person.address), where)
    net.agrees()


def what_is_too_large_is_told(net: KitchenSink) -> None:
    """By whichever RLOC a packet goes, and whoever may send it."""
    for sender in net.people:
        for target in net.people:
            near = net.where(sender) == net.where(target)
            same_version = sender.address.version == target.address.version
            if near or not same_version or not net.permitted(sender, target):
                continue
            net.advance(2.0)
            packets(target), sender.received.clear()
            net.send(net.where(sender), 1, large(sender, str(target.address), 1500))
            told = parse_ip(sender.received[-1])
            assert tuple(told.payload[:2]) == ((3, 4) if sender.address.version == 4 else (2, 0))
            room = int.from_bytes(told.payload[4:8], "big")
            assert 1350 < room < 1500
            assert not target.received
            net.send(net.where(sender), 1, large(sender, str(target.address), room))
            assert len(target.received) == 1
            net.send(net.where(sender), 1, large(sender, str(target.address), room + 1))
            assert len(target.received) == 1


def restarted_wants_the_same(net: KitchenSink) -> None:
    before = {name: comparable(net, name) for name in net.sites}
    net.restart()
    net.advance(30.0)
    net.agrees()
    for name, (held, groups, meters) in before.items():
        now, now_groups, now_meters = comparable(net, name)
        assert held - now == set(), name
        # The home of those who are elsewhere asks where, to send on what comes for them.
        hosts = {person.address for person in net.people}
        more = [dict(rule.match) for rule in now - held]
        assert all({*fields.values()} & hosts for fields in more), (name, more)
        assert groups <= now_groups
        assert meters == now_meters


def comparable(net: KitchenSink, name: str) -> tuple[set[FlowRule], set[GroupRule], set[MeterRule]]:
    """All rules but verdicts of the source guard, which are right whatever their scope."""
    ruleset = net[name].switch.ruleset()
    for entry in net.controller.xtrs[name].guard.verdicts:
        origin = entry.key.origin
        if not isinstance(origin, int):
            verdict = net.controller.senders.judge(Verify(name, entry.key.source, origin))
            assert verdict is not None
            assert (verdict.reason is None) == (entry.reason is None), (name, entry)
    verdicts = CookieClass.SOURCE_GUARD
    flows = {rule for rule in ruleset.flows if cookie_class(rule.cookie) is not verdicts}
    return flows, set(ruleset.groups), set(ruleset.meters)
