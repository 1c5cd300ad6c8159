"""A host moves between sites, on real Open vSwitch, under a running ping."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from labrun import poll

from lisp_sdn.xtr import replies

if TYPE_CHECKING:  # it needs Mininet, and without it these tests skip
    from mobility import MobileNet

MOVES = 6
WEB, WEB_V6, C1 = "10.1.0.1", "2001:db8:e1::1", "10.3.0.1"


class Lab:
    """The network of mininet/mobility.py, in which an EID may move eight times and no more."""

    def __init__(self) -> None:
        import mobility

        self.mobility = mobility
        settings = mobility.config.MobilitySettings(
            max_moves=MOVES + 4, window=600, hold_down=2, probe_interval=2
        )
        self.net: MobileNet = mobility.build(settings)

    def __enter__(self) -> Lab:
        try:
            self.net.start()
            self.net.ctl.start(self.net.controller_config())
            poll("every switch to connect", lambda: self.mobility.connected(self.net), 20)
            for target in (WEB, WEB_V6):
                poll("a ping", lambda t=target: self.node("c1").ping(t, 2, 0.1).received == 2, 20)
        except BaseException:
            self.net.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.net.stop()

    def node(self, name: str) -> Any:
        return self.net.nameToNode[name]

    def get(self, path: str) -> Any:
        reply = self.net.ctl.rest("GET", f"/lisp/v1{path}")
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.body}"
        return reply.body

    def eid(self, address: str = WEB) -> dict[str, Any] | None:
        items = self.get(f"/mobile-eids?iid=42&covering={address}")["items"]
        return items[0] if items else None

    def events(self, kind: str) -> list[dict[str, Any]]:
        return list(self.get(f"/events?limit=1000&kind={kind}")["items"])

    def registrations(self) -> list[str]:
        items = self.get("/registrations?limit=1000")["items"]
        return [item["eid"] for item in items if item["eid"].endswith(("/32", "/128"))]

    def go(self, place: tuple[str, str]) -> None:
        """Move web, and wait until it is found."""
        self.net.move("web", *place)
        poll("web to be found", lambda: (self.eid() or {}).get("xtr") == place[0], 10)


@pytest.fixture(scope="module")
def lab(_lab_possible: None) -> Iterator[Lab]:
    with Lab() as made:
        yield made


def test_a_running_ping_survives_moves(lab: Lab) -> None:
    """c1 pings it every 10 ms, and it says nothing by itself."""
    places = (lab.mobility.AWAY, lab.mobility.HOME)
    runs = [lab.mobility.measure(lab.net, *places[n % 2], seconds=1.2) for n in range(MOVES)]
    for family in ("v4", "v6"):
        lost = [run.lost(getattr(run, family)) for run in runs]
        print(f"{family}: lost ms {lost}, cable {[round(run.plugging * 1000) for run in runs]}")
        assert statistics.median(lost) < 150, lost
        assert all(getattr(run, family).received > 0 for run in runs)
    assert not lab.events("eid.duplicate")
    assert not lab.events("rloc.unreachable"), "an ETR is not down because a host has left it"


def test_away_it_reaches_everybody_and_is_reached(lab: Lab) -> None:
    lab.go(lab.mobility.AWAY)
    for peer, addresses in (
        ("a2", ("10.1.0.2", "2001:db8:e1::2")),
        ("b1", ("10.2.0.1", "2001:db8:e2::1")),
        ("c1", (C1, "2001:db8:e3::1")),
    ):
        for own, other in zip((WEB, WEB_V6), addresses, strict=True):
            # Hosts of its own subnet may know it by its MAC address, and it them.
            for node, target in (("web", other), (peer, own)):
                done = lab.node(node).ping(target, 3, 0.1)
                assert done.received >= 2, f"{node} to {target}: {done.text}"
    found = lab.eid()
    assert found is not None
    assert (found["xtr"], found["port"], found["state"]) == ("berlin", "guest", "away")
    assert {f"[42] {WEB}/32", f"[42] {WEB_V6}/128"} <= set(lab.registrations())
    query = f"source={quote(C1)}&destination={quote(WEB)}&iid=42"
    trace = lab.get(f"/trace?{query}")
    assert (trace["verdict"], trace["etr"]) == ("delivered", "berlin"), trace["steps"][-1]


def test_a_stale_itr_is_served_by_the_old_place(lab: Lab) -> None:
    """What comes to athens through the tunnel goes on to berlin: encapsulated once more."""
    web, corinth = lab.node("web"), lab.net.xtrs["corinth"]
    echo = replies.icmp(8, 0, bytes(8))
    packet = replies.ipv4(IPv4Address(C1), IPv4Address(WEB), 1, echo)
    frame = replies.ip_frame("00:00:00:00:00:00", "00:00:00:00:00:00", 4, packet)
    before = _echoes(web)
    for source, destination in (
        ("198.18.3.1->tun_src", "198.51.100.1->tun_dst"),
        ("2001:db8:c::1->tun_ipv6_src", "2001:db8:a::1->tun_ipv6_dst"),
    ):
        outer = f"set_field:42->tun_id,set_field:{source},set_field:{destination}"
        corinth.ofctl(
            *("packet-out", "br0"),
            f"in_port=controller,packet={frame.hex()},actions={outer},output:100",
        )
    poll("both to arrive, from either RLOC", lambda: _echoes(web) >= before + 2, 5)


def _echoes(node: Any) -> int:
    """Echo requests that a host got."""
    head, values = (line.split() for line in _icmp_lines(node))
    return int(values[head.index("InEchos")])


def _icmp_lines(node: Any) -> list[str]:
    text = node.do("cat", "/proc/net/snmp")
    return [line for line in text.splitlines() if line.startswith("Icmp:")]


def test_it_goes_home(lab: Lab) -> None:
    lab.go(lab.mobility.HOME)
    assert lab.node("c1").ping(WEB, 3, 0.1).received == 3
    poll("both host routes to be withdrawn", lambda: not lab.registrations(), 5)
    cached = lab.get("/xtrs/corinth/map-cache")["items"]
    assert not [entry["eid"] for entry in cached if entry["eid"].endswith(f"{WEB}/32")]


def test_a_stolen_address_stays_where_it_is(lab: Lab) -> None:
    b1, c1 = lab.node("b1"), lab.node("c1")
    before = lab.eid()
    assert before is not None
    b1.do("ip", "addr", "add", f"{WEB}/32", "dev", "eth0")
    try:
        stolen = b1.ping(C1, 20, 0.05, "-I", WEB)
        found = lab.eid()
        pinged = c1.ping(WEB, 20, 0.05)
        (event,) = lab.events("eid.duplicate")
    finally:
        b1.do("ip", "addr", "del", f"{WEB}/32", "dev", "eth0")
    assert event["subject"] == f"[42] {WEB}"
    assert (event["data"]["xtr"], event["data"]["mac"]) == ("athens", before["mac"])
    assert event["data"]["newcomer"].startswith("berlin lan1 ")
    assert stolen.received <= 1, stolen.text
    assert pinged.received >= 19, pinged.text
    assert found is not None
    assert (found["xtr"], found["state"]) == ("athens", "duplicate")
    reasons = {entry["reason"] for entry in lab.get("/refusals?where=mobility")["items"]}
    assert "eid-duplicate" in reasons


def test_a_flapping_eid_is_held_down_and_let_go(lab: Lab) -> None:
    poll("the dispute to be over", lambda: (lab.eid() or {}).get("state") == "home", 10)
    moves = (lab.eid() or {})["moves"]
    places = (lab.mobility.AWAY, lab.mobility.HOME)
    for n in range(MOVES + 4 - moves):
        lab.go(places[n % 2])
    place = places[(MOVES + 4 - moves) % 2]
    lab.net.move("web", *place)
    poll("it to be held down", lambda: lab.events("eid.held-down"), 10)
    # The other family is held down as well; both come free, and are found where they are.
    poll("it to be let go", lambda: lab.events("eid.released"), 10)
    poll("web to be reached", lambda: lab.node("c1").ping(WEB, 1, 0.2).received == 1, 15)
    assert (lab.eid() or {})["xtr"] == place[0]


def test_a_host_that_vanishes_leaves_no_host_route(lab: Lab) -> None:
    if lab.net.plugged["web"] != lab.mobility.AWAY:
        lab.go(lab.mobility.AWAY)
    poll("its host route", lambda: f"[42] {WEB}/32" in lab.registrations(), 5)
    lab.node("web").do("ip", "link", "set", "eth0", "down")
    poll("nobody to have it any more", lambda: not lab.registrations(), 15)
    assert {event["subject"] for event in lab.events("eid.gone")} >= {f"[42] {WEB}"}
