"""What is announced into the ALT, and when it is withdrawn."""

from __future__ import annotations

import ipaddress

import pytest

from lisp_sdn.address import IPNetwork
from lisp_sdn.alt.announce import Announcer, announced

NOW = 1_700_000_000.0


def nets(*texts: str) -> frozenset[IPNetwork]:
    return frozenset(ipaddress.ip_network(text) for text in texts)


@pytest.mark.parametrize(
    ("live", "aggregates", "expected"),
    [
        ([], [], []),
        (["10.1.0.0/17", "10.1.128.0/17"], [], ["10.1.0.0/16"]),
        (["10.1.0.0/17", "10.2.0.0/17"], [], ["10.1.0.0/17", "10.2.0.0/17"]),
        (["10.1.0.0/16", "10.1.2.0/24"], [], ["10.1.0.0/16"]),
        (["10.1.0.0/24"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        ([], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        # An aggregate is never widened, whatever lies beside it.
        (["10.0.0.0/16"], ["10.1.0.0/16"], ["10.0.0.0/16", "10.1.0.0/16"]),
        (
            ["2001:db8::/33", "2001:db8:8000::/33", "10.0.0.0/8"],
            [],
            ["2001:db8::/32", "10.0.0.0/8"],
        ),
    ],
)
def test_prefixes_are_merged_where_that_hides_nothing(
    live: list[str], aggregates: list[str], expected: list[str]
) -> None:
    assert announced(nets(*live), nets(*aggregates)) == nets(*expected)


class Sites:
    """Two neighbouring EID-prefixes whose registrations come and go."""

    def __init__(self, hold_down: float = 60.0) -> None:
        self.registered: set[IPNetwork] = set()
        owned = nets("10.1.0.0/17", "10.1.128.0/17")
        self.announcer = Announcer(owned, (), hold_down, lambda net: net in self.registered)

    def register(self, text: str, now: float) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        (network,) = nets(text)
        self.registered.add(network)
        return self.announcer.changed(network, now)

    def leave(self, text: str, now: float) -> tuple[frozenset[IPNetwork], frozenset[IPNetwork]]:
        (network,) = nets(text)
        self.registered.discard(network)
        return self.announcer.changed(network, now)


def test_what_was_recovered_is_announced_at_the_start() -> None:
    sites = Sites()
    sites.registered |= nets("10.1.0.0/17")
    assert sites.announcer.start() == (nets("10.1.0.0/17"), nets())


def test_the_merged_prefix_takes_the_place_of_its_parts() -> None:
    sites = Sites()
    assert sites.register("10.1.0.0/17", NOW) == (nets("10.1.0.0/17"), nets())
    assert sites.register("10.1.128.0/17", NOW) == (nets("10.1.0.0/16"), nets("10.1.0.0/17"))


def test_a_site_that_comes_back_in_time_is_not_withdrawn() -> None:
    sites = Sites()
    sites.register("10.1.0.0/17", NOW)
    assert sites.leave("10.1.0.0/17", NOW + 1) == (nets(), nets())
    # Further changes do not begin the hold-down anew.
    assert sites.leave("10.1.0.0/17", NOW + 30) == (nets(), nets())
    assert sites.announcer.next_timer() == NOW + 61
    assert sites.announcer.handle_timer(NOW + 60) == (nets(), nets())
    sites.register("10.1.0.0/17", NOW + 60)
    assert sites.announcer.next_timer() is None
    assert sites.announcer.announced == nets("10.1.0.0/17")


def test_a_site_that_is_gone_for_good_is_withdrawn_after_the_hold_down() -> None:
    sites = Sites()
    sites.register("10.1.0.0/17", NOW)
    sites.register("10.1.128.0/17", NOW)
    sites.leave("10.1.0.0/17", NOW + 1)
    assert sites.announcer.held_down == {ipaddress.ip_network("10.1.0.0/17"): NOW + 61}
    assert sites.announcer.handle_timer(NOW + 61) == (nets("10.1.128.0/17"), nets("10.1.0.0/16"))
    assert sites.announcer.held_down == {}


def test_what_was_never_registered_is_neither_announced_nor_held_down() -> None:
    sites = Sites()
    assert sites.leave("10.1.0.0/17", NOW) == (nets(), nets())
    assert sites.announcer.next_timer() is None
