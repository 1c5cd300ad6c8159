"""Matches have one form, the one that a switch reports."""

from ipaddress import ip_address, ip_network

from lisp_sdn.rules import Alike, FlowRule, match


def test_fields_are_sorted_and_none_is_left_out() -> None:
    assert match(metadata=1, eth_type=0x800, in_port=None) == (("eth_type", 0x800), ("metadata", 1))


def test_a_network_of_one_address_is_the_address() -> None:
    assert match(ipv4_dst=ip_network("10.0.0.1/32")) == (("ipv4_dst", ip_address("10.0.0.1")),)
    assert match(ipv6_dst=ip_network("2001:db8::1")) == (("ipv6_dst", ip_address("2001:db8::1")),)


def test_a_network_of_everything_is_left_out() -> None:
    assert match(ipv4_dst=ip_network("0.0.0.0/0"), eth_type=0x800) == (("eth_type", 0x800),)
    assert match(ipv6_dst=ip_network("::/0")) == ()


def test_bits_outside_of_the_mask_are_zero() -> None:
    assert match(metadata=(0xFF, 0x0F)) == (("metadata", (0x0F, 0x0F)),)


def test_a_destination_with_bits_outside_of_its_mask_is_its_network() -> None:
    rule = FlowRule(4, 1000, match(ipv4_dst=ip_network("10.1.0.0/16")))
    assert Alike(rule, ()).flow(0x0A020001).match == match(ipv4_dst=ip_network("10.2.0.0/16"))
