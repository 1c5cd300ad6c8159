"""Ryu's BGP speaker as an edge: what it is told, and what it tells."""

from __future__ import annotations

import ipaddress
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from edge_fakes import FakeBrain, FakeSinks
from ryu.lib.packet.bgp import RF_IPv4_UC, RF_IPv6_UC
from ryu.services.protocols.bgp.rtconf import neighbors

from lisp_sdn.actions import (
    Announce,
    BgpRoute,
    BgpSession,
    ShutNeighbour,
    Withdraw,
)
from lisp_sdn.address import Endpoint
from lisp_sdn.alt_settings import BgpSettings
from lisp_sdn.apps.bgp import Bgp, Password, check_port, set_tcp_md5
from lisp_sdn.apps.control import ListenError
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.model import BgpScope

NET = ipaddress.ip_network("10.1.0.0/16")
PEERS = ("10.99.0.2", "10.99.0.6", "192.0.2.9")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


class FakeSpeaker:
    """Notes every call of Ryu's speaker."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.made = (arguments, named)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: self.calls.append((name, arguments, named))


@pytest.fixture
def brain() -> FakeBrain:
    return FakeBrain()


@pytest.fixture
def bgp(brain: FakeBrain) -> Bgp:
    settings = BgpSettings.model_validate(
        {
            "as_number": 64512,
            "router_id": "10.99.0.1",
            "listen": "127.0.0.1:0",
            "neighbours": [
                {
                    "address": "10.99.0.2",
                    "as_number": 64513,
                    "password": "a-secret",
                    "prefixes_in": [{"prefix": "10.0.0.0/8", "minimum_length": 8}],
                },
                {"address": "10.99.0.6", "as_number": 4200000001, "port": 1179},
                {"address": "192.0.2.9", "as_number": 65010, "scope": "underlay", "hold_time": 9},
            ],
        }
    )
    dispatcher = Dispatcher(brain, clock=lambda: 100.0)
    dispatcher.sinks = FakeSinks()
    made = Bgp(settings, brain, dispatcher, FakeSpeaker)
    made.start()
    return made


def test_every_neighbour_is_added_with_its_password_and_filters(bgp: Bgp) -> None:
    speaker = bgp._speaker
    assert speaker.made[0] == (64512, "10.99.0.1")
    assert speaker.made[1]["bgp_server_hosts"] == ("127.0.0.1",)
    names = [(name, arguments[0]) for name, arguments, _ in speaker.calls]
    order = ["neighbor_add", "in_filter_set", "out_filter_set"]
    assert names == [(name, peer) for peer in PEERS for name in order]
    first, second, _ = (named for name, _, named in speaker.calls if name == "neighbor_add")
    assert first["password"] == b"a-secret"
    assert "a-secret" not in f"{first!r} {first['password']!s} {speaker.calls}"
    assert (second["password"], second["remote_port"]) == (None, 1179)
    assert first["enable_ipv4"]
    assert first["enable_ipv6"]


@pytest.mark.parametrize(
    ("prefix", "family", "denied"),
    [
        ("10.1.0.0/16", RF_IPv4_UC, False),
        ("172.16.0.0/12", RF_IPv4_UC, True),
        ("2001:db8::/32", RF_IPv6_UC, True),
    ],
)
def test_filters_are_ours_in_both_families(
    bgp: Bgp, prefix: str, family: Any, denied: bool
) -> None:
    filters = next(args[1] for name, args, _ in bgp._speaker.calls if name == "in_filter_set")
    path = SimpleNamespace(nlri=SimpleNamespace(prefix=prefix))
    (mine,) = [entry.clone() for entry in filters if family == entry.ROUTE_FAMILY]
    assert mine.evaluate(path) == (mine.POLICY_DENY, denied)


def test_every_neighbour_has_its_own_hold_time(bgp: Bgp, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        FakeSpeaker,
        "neighbor_add",
        lambda *_, **__: seen.append(neighbors.DEFAULT_HOLD_TIME),
        raising=False,
    )
    bgp.start()
    assert seen == [40, 40, 9]


def test_actions_are_carried_out(bgp: Bgp, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = bgp._speaker
    speaker.calls.clear()
    bgp.announce(Announce(NET))
    bgp.withdraw(Withdraw(NET))
    called: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        "lisp_sdn.apps.bgp.call", lambda name, **named: called.append((name, named))
    )
    bgp.shut_neighbour(ShutNeighbour(ipaddress.ip_address("10.99.0.2")))
    assert called == [
        ("neighbor.update", {"ip_address": "10.99.0.2", "changes": {"enabled": False}})
    ]
    bgp.close()
    assert speaker.calls == [
        ("prefix_add", ("10.1.0.0/16", None), {}),
        ("prefix_del", ("10.1.0.0/16",), {}),
        ("shutdown", (), {}),
    ]


def denied(
    bgp: Bgp,
    neighbour: str,
    direction: str,
    prefix: str,
    source: str | None,
    withdrawal: bool = False,
) -> bool:
    """Whether any filter of a neighbour denies a path. source: the neighbour it came from."""
    filters = next(
        args[1] for name, args, _ in bgp._speaker.calls if (name, args[0]) == (direction, neighbour)
    )
    peer = None if source is None else SimpleNamespace(ip_address=source)
    path = SimpleNamespace(nlri=SimpleNamespace(prefix=prefix), source=peer, is_withdraw=withdrawal)
    mine = [entry.clone() for entry in filters if RF_IPv4_UC == entry.ROUTE_FAMILY]
    return any(entry.evaluate(path) == (entry.POLICY_DENY, True) for entry in mine)


def test_the_alt_and_the_underlay_do_not_hear_of_each_other(bgp: Bgp) -> None:
    alt, underlay = "10.99.0.6", "192.0.2.9"
    out = "out_filter_set"
    bgp.announce(Announce(NET))
    assert not denied(bgp, alt, out, "10.1.0.0/16", None)
    assert denied(bgp, underlay, out, "10.1.0.0/16", None)
    # A route of one ALT-Router goes on to the others, and nowhere else.
    assert not denied(bgp, alt, out, "10.7.0.0/16", "10.99.0.2")
    assert denied(bgp, underlay, out, "10.7.0.0/16", "10.99.0.2")
    assert denied(bgp, alt, out, "10.7.0.0/16", underlay)
    assert denied(bgp, underlay, "in_filter_set", "0.0.0.0/0", underlay)


def test_a_prefix_of_both_scopes_has_one_path(bgp: Bgp) -> None:
    out, hop = "out_filter_set", ipaddress.ip_address("192.0.2.1")
    bgp.announce(Announce(NET))
    bgp.announce(Announce(NET, BgpScope.UNDERLAY, hop))
    assert not denied(bgp, "192.0.2.9", out, "10.1.0.0/16", None)
    assert not denied(bgp, "10.99.0.6", out, "10.1.0.0/16", None)
    bgp.withdraw(Withdraw(NET))
    assert denied(bgp, "10.99.0.6", out, "10.1.0.0/16", None)
    assert bgp._speaker.calls[-4:] == [
        ("prefix_add", ("10.1.0.0/16", None), {}),
        ("prefix_add", ("10.1.0.0/16", "192.0.2.1"), {}),
        ("prefix_del", ("10.1.0.0/16",), {}),
        ("prefix_add", ("10.1.0.0/16", "192.0.2.1"), {}),
    ]
    bgp.withdraw(Withdraw(NET, BgpScope.UNDERLAY))
    assert denied(bgp, "192.0.2.9", out, "10.1.0.0/16", None)
    assert bgp._speaker.calls[-1] == ("prefix_del", ("10.1.0.0/16",), {})
    # Ryu asks its filters about the withdrawal too, and sends it later.
    for neighbour in ("192.0.2.9", "10.99.0.6"):
        assert not denied(bgp, neighbour, out, "10.1.0.0/16", None, withdrawal=True)
        assert denied(bgp, neighbour, out, "10.2.0.0/16", None, withdrawal=True)


def test_routes_and_sessions_reach_the_brain(bgp: Bgp, brain: FakeBrain) -> None:
    handlers = bgp._speaker.made[1]
    path = SimpleNamespace(
        source=SimpleNamespace(ip_address="10.99.0.2"),
        nexthop="::ffff:10.99.0.2",
        get_pattr=lambda number: SimpleNamespace(path_seg_list=[[64513, 64600], {64700}]),
    )
    peer = ipaddress.ip_address("10.99.0.2")
    network = ipaddress.ip_network("2001:db8::/32")
    bgp._best_path(network, path)
    expected = BgpRoute(network, peer, peer, (64513, 64600, 64700))
    assert brain.named("bgp_route") == [(expected, 100.0)]
    bgp._best_path(network, None)
    assert brain.named("bgp_route_gone") == [(network, 100.0)]
    handlers["peer_up_handler"]("10.99.0.2", 64513)
    handlers["peer_down_handler"]("10.99.0.2", 64513)
    told = [call[0] for call in brain.named("bgp_session")]
    assert told == [BgpSession(peer, True), BgpSession(peer, False)]


def test_a_port_in_use_ends_the_start_with_a_plain_reason() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"BGP: cannot listen on TCP 127.0.0.1:{port}"):
            check_port(Endpoint(LOOPBACK, port))


class NotedSocket:
    """Keeps what the kernel would be told."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.options: list[tuple[int, int, bytes]] = []

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append((level, option, value))


@pytest.mark.parametrize(
    ("address", "family", "offset"),
    [("10.99.0.2", socket.AF_INET, 4), ("2001:db8::2", socket.AF_INET6, 8)],
)
def test_the_md5_key_is_laid_out_as_the_kernel_wants_it(
    address: str, family: int, offset: int
) -> None:
    sock = NotedSocket(family)
    set_tcp_md5(sock, address, Password(b"a-secret"))
    set_tcp_md5(sock, address, "")
    (level, option, value), (_, _, ended) = sock.options
    packed = ipaddress.ip_address(address).packed
    assert (level, option, len(value)) == (socket.IPPROTO_TCP, 14, 216)
    assert value[offset : offset + len(packed)] == packed
    assert int.from_bytes(value[130:132], "little") == len(b"a-secret")
    assert value[136:216].rstrip(b"\0") == b"a-secret"
    assert ended[130:132] == b"\0\0"
