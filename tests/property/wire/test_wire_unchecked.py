"""What is built without checks is what the constructors build."""

from __future__ import annotations

import copy
import ipaddress
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

import pytest
import wire_strategies as ws
from hypothesis import given

from lisp_sdn.address import EidPrefix, ipv4, ipv6
from lisp_sdn.errors import FieldError
from lisp_sdn.model import Locator
from lisp_sdn.unchecked import unchecked
from lisp_sdn.wire import EidRecord


@given(ws.ip)
def test_addresses(address):
    build = ipv4 if address.version == 4 else ipv6
    built = build(int(address))
    assert built == address
    assert hash(built) == hash(address)
    assert str(built) == str(address)
    assert built.packed == address.packed
    assert pickle.loads(pickle.dumps(built)) == address
    assert getattr(built, "scope_id", None) is None


@given(ws.prefixes())
def test_prefixes(built):
    kind = IPv4Network if built.version == 4 else IPv6Network
    network = kind((int(built.network.network_address), built.prefixlen))
    plain = EidPrefix(built.iid, network)
    assert built == plain
    assert hash(built) == hash(plain)
    assert repr(built) == repr(plain)
    assert {built: 1}[plain] == 1
    for copied in (copy.copy(built), copy.deepcopy(built)):
        assert copied == plain
    assert replace(built, iid=5) == EidPrefix(5, network)
    assert vars(built.network).keys() == vars(network).keys()
    assert hash(built.network) == hash(network)
    assert built.network.broadcast_address == network.broadcast_address
    assert built.network.hostmask == network.hostmask
    if network.num_addresses <= 256:
        assert list(built.network.hosts()) == list(network.hosts())
    assert built.covers(plain)


def test_host_bits_are_cleared():
    built = EidPrefix.trusted(0, 4, int(ipaddress.ip_address("10.1.2.3")), 8)
    assert built == EidPrefix.from_text("10.0.0.0/8")
    built = EidPrefix.trusted(0, 6, int(ipaddress.ip_address("2001:db8::1")), 32)
    assert built == EidPrefix.from_text("2001:db8::/32")


def test_values_are_frozen_and_of_their_class():
    build = unchecked(Locator)
    built = build(ipv4(1), weight=7)
    assert type(built) is Locator
    assert built == Locator(ipv4(1), weight=7)
    assert pickle.loads(pickle.dumps(built)) == built
    with pytest.raises(FrozenInstanceError):
        built.weight = 1
    with pytest.raises(FieldError):
        replace(built, weight=256)


def test_nothing_is_checked_and_a_missing_field_still_noticed():
    assert unchecked(Locator)(None, 999).priority == 999
    with pytest.raises(TypeError):
        unchecked(EidRecord)()


def test_default_factories():
    @dataclass(frozen=True, slots=True)
    class Value:
        items: list[int] = field(default_factory=list)

    build = unchecked(Value)
    assert build() == Value()
    assert build().items is not build().items
