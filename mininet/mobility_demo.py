"""The demonstration of `mininet/mobility.py --demo`: a host moves, is robbed, and flaps."""

from __future__ import annotations

import time
from typing import Any

import mobility
from demo import compact, events, expect, last_event, print_log, progress, rest, say, step, title
from labnodes import Pings
from labrun import LabError, poll
from mobility import AWAY, C1, HOME, WEB, WEB_V6, MobileNet

KINDS = ("eid.", "registration.", "map-cache.")


def run() -> None:
    """Build, move, explain. Raises LabError with the reason when something is not as it should."""
    began = time.monotonic()
    title("A host moves between LISP sites")
    print(mobility.PICTURE, flush=True)
    with progress("building namespaces, hosts and cables"):
        net = mobility.build()
    with net:
        with progress("starting three Open vSwitch"):
            net.start()
        try:
            with progress("starting ryu-manager lisp_sdn.apps"):
                net.ctl.start(net.controller_config())
            with progress("waiting for every switch to connect"):
                poll("every switch to connect", lambda: mobility.connected(net), 15)
            tell(net)
        except (LabError, RuntimeError):
            print_log(net.ctl)
            raise
    print()
    title(f"Done in {time.monotonic() - began:.0f} s; everything is removed")
    say("Without --demo the same network opens with the Mininet prompt.")


def tell(net: MobileNet) -> None:
    """The story, step by step."""
    c1, b1 = net.nameToNode["c1"], net.nameToNode["b1"]
    step(1, "web is at home in athens; c1 of corinth pings it")
    for target in (WEB, WEB_V6):
        first = c1.ping(target, 3, 0.2)
        expect(first.received == first.sent, f"{target} was not reached", first.text)
        say(f"{target:<16} {first.received} of {first.sent} answered")
    show_places(net)

    step(2, "web is unplugged at athens and plugged in at berlin, under pings every 10 ms")
    mark = last_event(net.ctl)
    show_loss(mobility.measure(net, *AWAY))
    say("")
    say("web said nothing: a port went down and another came up, so it was asked for there.")
    show_events(net, mark)
    show_places(net)
    say("")
    say("berlin registered /32 and /128 for it; corinth, which held the EID-prefix of athens,")
    say("has the more specific entries since the same moment, and athens sends on what is late:")
    show_cached(net)

    step(3, "Its neighbours of the same subnet, and berlin's own hosts, reach it as well")
    for name, target in (("a2", WEB), ("a2", WEB_V6), ("b1", WEB)):
        done = net.nameToNode[name].ping(target, 3, 0.2)
        expect(done.received >= 2, f"{name} does not reach {target}", done.text)
        say(f"{name} to {target:<16} {done.received} of {done.sent} answered")

    step(4, "web goes home")
    mark = last_event(net.ctl)
    show_loss(mobility.measure(net, *HOME))
    show_events(net, mark)

    step(5, "b1 of berlin takes the address of web")
    mark = last_event(net.ctl)
    b1.do("ip", "addr", "add", f"{WEB}/32", "dev", "eth0")
    stolen = b1.ping(C1, 10, 0.1, "-I", WEB)
    pinged = c1.ping(WEB, 10, 0.1)
    b1.do("ip", "addr", "del", f"{WEB}/32", "dev", "eth0")
    say(f"b1 as {WEB}: {stolen.received} of {stolen.sent} answered")
    say(f"c1 to web:      {pinged.received} of {pinged.sent} answered")
    show_events(net, mark, ("eid.",))
    show_places(net)
    say("")
    say(
        "It had moved to berlin for the time of one ARP answer: athens was asked and web was there."
    )
    say("Who had the EID first and answers for it keeps it.")

    step(6, "web flaps")
    mark = last_event(net.ctl)
    for n in range(6):
        net.move("web", *(AWAY, HOME)[n % 2])
        time.sleep(1.2)
    show_events(net, mark, ("eid.held",))
    say("Five moves in three minutes are believed; then it stays where it is for a minute.")


def show_loss(loss: mobility.Loss) -> None:
    """What a move cost."""
    say(f"the cable itself was out for {loss.plugging * 1000:.0f} ms")
    for name, pings in (("IPv4", loss.v4), ("IPv6", loss.v6)):
        _check(pings)
        lost = pings.sent - pings.received
        say(f"{name}: {lost} of {pings.sent} pings lost, {loss.lost(pings):.0f} ms of traffic")


def _check(pings: Pings) -> None:
    expect(pings.received > pings.sent / 2, "the host was not found again", pings.text)


def show_events(net: MobileNet, mark: int, kinds: tuple[str, ...] = KINDS) -> None:
    """What happened since."""
    for event in events(net.ctl, mark):
        if event["kind"].startswith(kinds):
            data: dict[str, Any] = event["data"]
            kept = {k: v for k, v in data.items() if k not in ("ttl_minutes", "site")}
            what = f"{event['kind']:<20} {event['subject']:<24}"
            say(f"{event['time'][11:23]}  {what} {compact(kept)}")


def show_places(net: MobileNet) -> None:
    """GET /lisp/v1/mobile-eids."""
    for entry in rest(net.ctl, "/mobile-eids")["items"]:
        where = f"{entry['xtr']} {entry['port']}"
        say(f"{entry['eid']:<28} at {where:<14} {entry['state']:<9} moves {entry['moves']}")


def show_cached(net: MobileNet) -> None:
    """What corinth holds of athens."""
    for entry in rest(net.ctl, "/xtrs/corinth/map-cache")["items"]:
        rlocs = ", ".join(locator["rloc"] for locator in entry["locators"])
        say(f"  corinth   {entry['eid']:<28} {rlocs}")
