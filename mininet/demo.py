"""The demonstration of `make demo`: one ping through two LISP sites, and all that it led to."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import two_sites
from capture import Capture
from labnodes import ControllerNode, Pings
from labrun import LabError, poll
from lispnet import LispNet
from xtrnode import XtrNode

H2, H2_V6 = "10.2.0.1", "2001:db8:e2::1"
UNMAPPED = "10.99.0.1"
WIDTH = 96
_CLASSES = {2: "local EID", 3: "map-cache", 4: "pending"}


def run() -> None:
    """Build, send, explain. Raises LabError with the reason when something is not as it should."""
    began = time.monotonic()
    title("Two LISP sites on Open vSwitch, one controller")
    print(two_sites.PICTURE, flush=True)
    with progress("building namespaces, hosts and cables"):
        net = two_sites.build()
    with net:
        with progress("starting two Open vSwitch"):
            net.start()
        try:
            with progress("starting ryu-manager lisp_sdn.apps"):
                net.ctl.start(net.controller_config())
            with progress("waiting for both switches to connect"):
                poll("both switches to connect", lambda: two_sites.connected(net), 15)
            tell(net)
        except (LabError, RuntimeError):
            print_log(net.ctl)
            raise
    print()
    title(f"Done in {time.monotonic() - began:.0f} s; everything is removed")
    say("sudo make lab opens the same network with the Mininet prompt.")


def tell(net: LispNet) -> None:
    """The story, step by step."""
    h1, left = net.nameToNode["h1"], net.xtrs["left"]
    mark = last_event(net.ctl)
    before = set(cached(left))
    counted = counters(net.ctl)
    with Capture(net.core, "left-1", "udp port 4341") as wire:
        step(1, "A first ping: h1 -> h2, nothing is known yet")
        first = h1.ping(H2, 5, 0.2)
        show_pings(first)
    expect(first.received == first.sent, "a ping was lost on the cold map-cache", first.text)

    step(2, "What the first packet led to")
    say("The switch of site left had no flow for 10.2.0.1: a map-cache miss. It sent the packet")
    say("to the controller, which held it and asked, as ITR of site left, where that EID is:")
    show_exchange(net.ctl, "left")
    say("The reply became a map-cache entry, and the held packet was released through its flow.")
    say("The answer of h2 led to the same at site right:")
    say("")
    show_story(net.ctl, mark, counted)

    step(3, "What was programmed into the switch of site left")
    show_rules(left, before)

    step(4, "One packet between the sites, as tshark decodes it")
    show_packet(wire)

    step(5, "The map-cache of site left (GET /lisp/v1/xtrs/left/map-cache)")
    show_map_cache(net.ctl, "left")

    step(6, "IPv6 hosts, the same way")
    six = h1.ping(H2_V6, 3, 0.2)
    show_pings(six)
    expect(six.received == six.sent, "an IPv6 ping was lost", six.text)

    step(7, "Another tenant with the same addresses: t1 -> t2, instance-ID 43")
    show_tenants(net)

    step(8, f"A destination without a mapping: {UNMAPPED}")
    show_negative(net)


# --- the parts of the story ------------------------------------------------------------------


def show_pings(pings: Pings) -> None:
    """One line a reply, with a bar as long as it took."""
    slowest = max(pings.times.values(), default=1.0)
    for seq in range(1, pings.sent + 1):
        ms = pings.times.get(seq)
        if ms is None:
            say(f"ping {seq}: lost")
        else:
            note = "   <- resolved on the way" if seq == 1 and ms > 5 else ""
            say(f"ping {seq}: {ms:7.2f} ms  {'#' * max(1, round(40 * ms / slowest))}{note}")
    say(f"{pings.received} of {pings.sent} answered")


def show_exchange(ctl: ControllerNode, xtr: str) -> None:
    """The newest Map-Request of an xTR and its Map-Reply."""
    kept = rest(ctl, f"/xtrs/{xtr}/map-requests")["items"]
    expect(bool(kept), f"xTR {xtr} sent no Map-Request", "")
    asked = kept[-1]
    expect(asked["answers"] is not None, f"the Map-Request of xTR {xtr} was not answered", "")
    say("")
    say(f"  Map-Request   nonce {asked['nonce']}")
    say(f"                EID          {', '.join(asked['eids'])}")
    say(f"                source EID   {asked['source_eid']}")
    say(f"                ITR-RLOCs    {', '.join(asked['itr_rlocs'])}")
    say(f"  Map-Reply     nonce {asked['nonce']}")
    for mapping in asked["answers"]:
        say(f"                EID-prefix   {mapping['eid']}, TTL {mapping['ttl_minutes']} minutes")
        for locator in mapping["locators"]:
            weights = f"priority {locator['priority']} weight {locator['weight']}"
            say(f"                RLOC         {locator['rloc']:<16} {weights}")
    say("")


def show_story(ctl: ControllerNode, mark: int, before: dict[str, float]) -> None:
    """Events since `mark`, and which counters moved."""
    for event in events(ctl, mark):
        clock = datetime.fromisoformat(event["time"].replace("Z", "+00:00")).strftime("%H:%M:%S.%f")
        data = {k: v for k, v in event["data"].items() if k in ("port", "rlocs", "reason")}
        where = event["data"].get("xtr", "")
        what = f"{clock[:-3]}  {where:<6} {event['kind']:<16} {event['subject']:<17}"
        say(f"{what} {compact(data)}".rstrip())
    say("")
    moved = {k: v - before.get(k, 0) for k, v in counters(ctl).items() if v != before.get(k, 0)}
    for name in ("map-cache-misses", "map-requests-out", "map-replies-in", "packets-released"):
        parts = [f"{k.split('=')[-1]} {v:.0f}" for k, v in sorted(moved.items()) if name in k]
        if parts:
            say(f"{name.replace('-', ' '):<18} {', '.join(parts)}")


def show_rules(node: XtrNode, before: set[str]) -> None:
    """Flows of the map-cache that were not there before, and their groups."""
    new = [text for text in cached(node) if text not in before]
    expect(bool(new), "no flow was added to the switch of site left", "\n".join(node.flows()))
    groups = {found[1] for text in new if (found := re.search(r"group:(\d+)", text))}
    for text in new:
        matched, _, actions = text.partition(" actions=")
        say(f"flow    match    {matched}")
        say(f"        actions  {actions}")
    for text in node.groups():
        found = re.search(r"group_id=(\d+)", text)
        if found and found[1] in groups:
            head, *buckets = text.split(",bucket=")
            say(f"group   {head}")
            for bucket in buckets:
                say(f"        bucket   {bucket}")
    say("metadata holds the instance-ID (0x2a is 42); the group is shared by all EIDs behind these")
    say("RLOCs, so an RLOC that fails is one message to the switch.")


def show_packet(wire: Capture) -> None:
    """The echo request, protocol by protocol."""
    text = wire.decoded("lisp-data && icmp.type == 8", "lisp-data")
    expect("Instance ID: 42" in text, "tshark did not decode a LISP packet of IID 42", text)
    for line in text.splitlines():
        if not line.startswith(("Frame ", "Ethernet")):
            say(line)


def show_map_cache(ctl: ControllerNode, xtr: str) -> None:
    """The way `show lisp map-cache` prints it everywhere."""
    for entry in rest(ctl, f"/xtrs/{xtr}/map-cache")["items"]:
        expires = left_until(entry["expires"])
        state = "complete" if entry["complete"] else "incomplete"
        action = f", {entry['action']}" if entry["negative"] else ""
        say(f"{entry['eid']}, expires: {expires}, via {entry['via']}, {state}{action}")
        if entry["locators"]:
            say(f"  {'Locator':<20} {'State':<12} Pri/Wgt")
        for locator in entry["locators"]:
            weights = f"{locator['priority']}/{locator['weight']}"
            say(f"  {locator['rloc']:<20} {locator['state']:<12} {weights}")


def show_tenants(net: LispNet) -> None:
    """t1's pings reach t2 and never h2."""
    t1, t2, h2 = (net.nameToNode[name] for name in ("t1", "t2", "h2"))
    with (
        Capture(t2, "eth0", "icmp[0] = 8") as meant,
        Capture(h2, "eth0", "icmp[0] = 8") as strayed,
    ):
        pings = t1.ping(H2, 3, 0.2)
    say(f"t1 sent {pings.sent}: t2 saw {meant.count()}, h2 saw {strayed.count()}")
    expect(pings.received == pings.sent, "a ping of t1 was lost", pings.text)
    expect(strayed.count() == 0, "a packet of one tenant reached the other", "")


def show_negative(net: LispNet) -> None:
    """The negative entry, and how little the controller hears of it."""
    h1 = net.nameToNode["h1"]
    pings = h1.ping(UNMAPPED, 3, 0.2)
    say(f"{pings.received} of {pings.sent} answered, as it should be")
    entry = poll(
        "the negative entry",
        lambda: [e for e in rest(net.ctl, "/xtrs/left/map-cache")["items"] if e["negative"]],
        5,
    )[0]
    say(f"{entry['eid']}: {entry['action']}, expires: {left_until(entry['expires'])}")
    say("No site has this EID. The entry answers for the whole prefix around it that nobody has:")
    say("later packets to any of it stay in the switch.")


# --- asking the network -------------------------------------------------------------------------


def rest(ctl: ControllerNode, path: str) -> Any:
    """The body of a GET; LabError when it is refused."""
    reply = ctl.rest("GET", f"/lisp/v1{path}")
    if reply.status != 200:
        raise LabError(f"GET /lisp/v1{path}: {reply.status} {reply.body}")
    return reply.body


def last_event(ctl: ControllerNode) -> int:
    """The id of the newest event."""
    return int(rest(ctl, "/status")["last_event"])


def events(ctl: ControllerNode, after: int) -> list[dict[str, Any]]:
    """Events of the xTRs since."""
    return list(rest(ctl, f"/events?after={after}")["items"])


def counters(ctl: ControllerNode) -> dict[str, float]:
    """Every counter, by "name label=value"."""
    return {
        f"{c['name']} " + ",".join(f"{k}={v}" for k, v in sorted(c["labels"].items())): c["value"]
        for c in rest(ctl, "/counters")["items"]
    }


def cached(node: XtrNode) -> list[str]:
    """The map-cache flows of a switch, without statistics."""
    texts = []
    for text in node.flows():
        found = re.search(r"cookie=(0x[0-9a-f]+)", text)
        if found and _CLASSES.get(int(found[1], 16) >> 40 & 0xFF) == "map-cache":
            texts.append("priority" + text.split("priority", 1)[1])
    return texts


def left_until(when: str | None) -> str:
    """hh:mm:ss until a time."""
    if when is None:
        return "never"
    moment = datetime.fromisoformat(when.replace("Z", "+00:00"))
    seconds = max(0, int((moment - datetime.now(moment.tzinfo)).total_seconds()))
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def compact(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, list):
        return "; ".join(compact(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{k}={compact(v)}" for k, v in value.items())
    return str(value)


def expect(condition: bool, reason: str, evidence: str) -> None:
    """Stop with a plain reason unless the condition holds."""
    if not condition:
        raise LabError(reason + (f"\n{evidence.strip()}" if evidence else ""))


# --- printing ------------------------------------------------------------------------------------


def title(text: str) -> None:
    """A line of its own, with a rule."""
    print(f"{bold(text)}\n{'=' * min(WIDTH, len(text))}", flush=True)


def step(number: int, text: str) -> None:
    """The heading of a step."""
    print(f"\n{bold(f'{number}. {text}')}", flush=True)


def say(text: str) -> None:
    """A line of text, indented."""
    print(f"   {text}", flush=True)


def bold(text: str) -> str:
    """Bold where that is a terminal's."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def print_log(ctl: ControllerNode) -> None:
    """The end of the controller's log: it would vanish with the lab."""
    print("\nThe controller's last lines:", file=sys.stderr)
    for line in ctl.log.read_text(errors="replace").splitlines()[-20:]:
        print(f"   {line}", file=sys.stderr)


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    began = time.monotonic()
    print(f"   {what} ...", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - began:.1f} s", flush=True)
