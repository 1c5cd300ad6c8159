"""What the host of a switch needs so that its native ports work; see docs/interworking.md."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from xtrnode import XtrNode

FIRST_PORT = 200
MTU = 1500


def attach(node: XtrNode, eid_prefixes: Iterable[str]) -> None:
    """Make the native ports of an xTR, and route these EID-prefixes into the first of them."""
    for number, port in enumerate(node.settings.native_ports, FIRST_PORT):
        argv = ["--may-exist", "add-port", "br0", port.name, "--", "set", "interface", port.name]
        node.vsctl(*argv, "type=internal", f"mtu_request={MTU}", f"ofport_request={number}")
        # Whoever is routed there is behind the switch: nobody answers ARP.
        node.do("ip", "link", "set", port.name, "arp", "off", "up")
        # ICMP errors of the xTR come in by it too, from an RLOC, which is an address of the host.
        node.sysctl(f"ipv4.conf.{port.name}.accept_local", 1)
    node.sysctl("ipv4.ip_forward", 1)
    node.sysctl("ipv6.conf.all.forwarding", 1)
    first = node.settings.native_ports[0].name
    for prefix in eid_prefixes:
        version = ipaddress.ip_network(prefix).version
        node.do("ip", f"-{version}", "route", "replace", prefix, "dev", first)
