"""Flows read by what they have in common are the flows that are there."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import pytest

from lisp_sdn.apps import openflow, readback
from lisp_sdn.apps.alike import FlowReader
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import (
    CookieClass,
    DecTtl,
    FlowRule,
    Output,
    RuleChange,
    SetField,
    ToGroup,
    Verb,
    cookie,
    match,
)


def entry(rule: FlowRule, packets: int) -> bytes:
    """A flow as a switch tells it: the octets of its flow-mod, with counters."""
    mod = openflow.encode_change(RuleChange(Verb.ADD, rule), 1)
    priority = mod[30:32]
    head = struct.pack("!HBxII", len(mod), rule.table, packets, 7)
    return (
        head + priority + mod[26:30] + mod[44:46] + bytes(4) + mod[8:16]
        + struct.pack("!QQ", packets, packets * 100) + mod[48:]
    )  # fmt: skip


def cached(
    destination: object, group: int = 5, kind: CookieClass = CookieClass.MAP_CACHE
) -> FlowRule:
    version = 6 if ":" in str(destination) else 4
    plain = str(destination).partition("/")[0] == str(destination)
    value = ip_address(str(destination)) if plain else ip_network(str(destination))
    return FlowRule(
        3,
        1000,
        match(**{"eth_type": 0x0800, f"ipv{version}_dst": value, "metadata": (1, 0x1FFFFFF)}),
        (DecTtl(), SetField("tunnel_id", 1), ToGroup(group)),
        cookie=cookie(kind, 1),
        idle_timeout=300,
        notify_removed=True,
    )


RULES = [
    *(cached(f"10.2.{n}.0/24") for n in range(5)),
    *(cached(f"10.3.0.{n}") for n in range(5)),
    *(cached(f"10.4.{n}.0/24", group=6) for n in range(2)),
    *(cached(f"2001:db8:{n}::/48") for n in range(3)),
    *(cached(f"2001:db8::{n + 1}") for n in range(3)),
    cached("0.0.0.0/0"),
    cached("10.9.0.0/16", kind=CookieClass.PENDING),
    FlowRule(0, 5, match(in_port=1), (Output(2),)),
]


def test_they_are_the_same_flows() -> None:
    reader = FlowReader()
    body = b"".join(entry(rule, number) for number, rule in enumerate(RULES))
    reader.take(body[: len(entry(RULES[0], 0))])
    reader.take(body[len(entry(RULES[0], 0)) :])
    alike = reader.alike()
    spelled = [item.flow(address) for item in alike for address in item.addresses]
    assert sorted([*reader.rules, *spelled], key=repr) == sorted(RULES, key=repr)
    assert {*readback.decode_flows(body)} == {*RULES}
    assert sorted(len(item.addresses) for item in alike) == [2, 3, 3, 5, 5]
    assert len(reader.rules) == 3


def test_octets_raise_decode_errors_only() -> None:
    whole = entry(RULES[0], 1)
    for cut in range(1, len(whole)):
        with pytest.raises(DecodeError):
            FlowReader().take(whole[:cut])
