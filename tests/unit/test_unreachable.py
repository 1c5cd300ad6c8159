"""Which RLOCs carry nothing, in sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from lisp_sdn.address import IPAddress
from lisp_sdn.config import XtrSettings, load
from lisp_sdn.unreachable import MOST, unreachable
from lisp_sdn.xtr.topology import Topology

CONFIG = """
sites:
  - {name: a, authentication_keys: [{key: secret-of-a}], eid_prefixes: [{prefix: 10.1.0.0/16}]}
xtrs:
  - name: xa
    site: a
    datapath_id: "1"
    rlocs: [{rloc: 192.0.2.1, uplink: up1, next_hop: 192.0.2.254}, {rloc: "2001:db8::1"}]
    underlay: {bridge: br-phy, datapath_id: "11"}
  - {name: xb, site: a, datapath_id: "2", rlocs: [{rloc: 192.0.2.2}]}
"""

ONE, OURS_V6, TWO, THEIRS = map(
    ip_address, ("192.0.2.1", "2001:db8::1", "192.0.2.2", "203.0.113.9")
)


@dataclass
class Seen:
    """An xTR and what it does not reach."""

    settings: XtrSettings
    topology: Topology
    connected_since: float | None = 1.0


def network(**down: list[IPAddress]) -> list[Seen]:
    config = load(CONFIG)
    found = []
    for xtr in config.xtrs:
        rlocs = tuple(entry.rloc for entry in xtr.rlocs)
        topology = Topology(1, 100, (), rlocs, config.limits)
        missing = frozenset(down.get(xtr.name, ()))
        found.append(Seen(xtr, replace(topology, down=missing)))
    return found


def test_nothing_to_tell() -> None:
    assert unreachable(network()) == ()


def test_an_uplink_without_link_is_told_once_and_not_as_silence() -> None:
    assert unreachable(network(xa=[ONE], xb=[ONE])) == (
        "RLOC 192.0.2.1 of xTR xa: uplink up1 has no link, or came back just now",
    )


def test_an_rloc_without_a_named_uplink() -> None:
    (told,) = unreachable(network(xa=[OURS_V6]))
    assert told.startswith("RLOC 2001:db8::1 of xTR xa: its uplink has no link")


def test_silent_rlocs_of_ours_and_of_others() -> None:
    assert unreachable(network(xa=[TWO, THEIRS], xb=[THEIRS])) == (
        "RLOC 192.0.2.2 of xTR xb does not answer RLOC-probes of xTR xa",
        "RLOC 203.0.113.9 does not answer RLOC-probes of xTR xa, xb",
    )


def test_a_switch_that_is_away_tells_nothing() -> None:
    seen = network(xa=[ONE, THEIRS])
    seen[0].connected_since = None
    assert unreachable(seen) == ()


def test_the_list_is_bounded() -> None:
    many = [ip_address("203.0.113.0") + n for n in range(MOST + 5)]
    told = unreachable(network(xa=many))
    assert len(told) == MOST + 1
    assert told[-1] == "and 5 more RLOCs, see lispctl show topology"
