"""Our xTRs: one Open vSwitch each, its RLOCs, underlay and EID-facing ports; and the Proxy-ETRs."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lisp_sdn.config.interworking import NativePort
from lisp_sdn.config.sites import EidPrefixSettings, LocatorSettings
from lisp_sdn.guard_settings import GuardModeField
from lisp_sdn.settings import (
    TEXT,
    AddressField,
    DatapathId,
    Iid,
    Name,
    OvsdbTarget,
    PortName,
    Settings,
)

_MAC = re.compile(r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")


def _interface(value: object) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        if "/" not in str(value):
            raise ValueError("the length is missing")
        return ipaddress.ip_interface(str(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not GATEWAY-ADDRESS/LENGTH ({error})") from None


def _mac(value: str) -> str:
    if not _MAC.match(value.lower()):
        raise ValueError(f"{value!r} is not a MAC address like 02:00:00:00:00:fe")
    return value.lower()


InterfaceField = Annotated[
    ipaddress.IPv4Interface | ipaddress.IPv6Interface, BeforeValidator(_interface), TEXT
]
MacField = Annotated[str, AfterValidator(_mac)]


class XtrRloc(LocatorSettings):
    """An RLOC of an xTR of ours, with the way that its packets take.

    rloc: its address. priority: the lowest is used, 255 never. weight: its share of the traffic
    among RLOCs of one priority. uplink: port of the underlay bridge; without it any of its ports,
    the RLOC is up while one is. next_hop: router through which other RLOCs are reached; without it
    they are on the same link.
    """

    uplink: str | None = Field(default=None, min_length=1, max_length=15)
    next_hop: AddressField | None = None


class EidPort(Settings):
    """An EID-facing port of an xTR: hosts of one instance-ID behind an anycast gateway.

    name: interface name on the overlay bridge. iid: instance-ID of its hosts. gateways: the
    addresses, with the length of the subnet, that the xTR answers ARP and neighbour discovery for.
    mac: of the gateway. allow_mobility: whether hosts may move here from other such ports of
    the instance-ID, and leave for them.
    """

    name: str = Field(min_length=1, max_length=15)
    iid: Iid = 0
    gateways: tuple[InterfaceField, ...] = Field(min_length=1)
    mac: MacField = "02:00:5e:00:00:fe"
    allow_mobility: bool = False


DEFAULT_MTU = 1500
"""What RFC 9300 section 7.1 recommends."""


class Underlay(Settings):
    """The bridge that holds the uplinks and, on its LOCAL port, the RLOCs.

    bridge: its name. datapath_id: where the controller is set for it too, which RLOC-probes and
    link state need.
    mtu: octets of the largest packet that reaches every RLOC without fragmentation, outer headers
    included (L of RFC 9300 section 7.1). The least leaves room for the 1280 octets of IPv6.
    """

    bridge: PortName = "br-phy"
    datapath_id: DatapathId | None = None
    mtu: int = Field(default=DEFAULT_MTU, ge=1336, le=65535)


class XtrSettings(Settings):
    """One Open vSwitch for which the controller plays ITR and ETR.

    name: of the xTR. site: whose EID-prefixes it registers. datapath_id: of its overlay bridge.
    rlocs: its own. tunnel_port: the port that encapsulates. underlay: the bridge below. eid_ports:
    where its hosts are. native_ports: to what is not LISP. eid_prefixes: what it registers; none:
    all prefixes of its site. map_resolvers, map_servers: none: the embedded ones. ovsdb:
    "tcp:ADDR:PORT" or "unix:PATH" of its database, to verify the tunnel port's options; without it
    only the port's name can be verified. source_guard: its own mode; None: that of all xTRs.
    """

    name: Name
    site: Name | None = None
    datapath_id: DatapathId
    rlocs: tuple[XtrRloc, ...] = Field(min_length=1)
    tunnel_port: PortName = "lisp0"
    underlay: Underlay = Underlay()
    eid_ports: tuple[EidPort, ...] = ()
    native_ports: tuple[NativePort, ...] = ()
    eid_prefixes: tuple[EidPrefixSettings, ...] = ()
    map_resolvers: tuple[AddressField, ...] = ()
    map_servers: tuple[AddressField, ...] = ()
    source_guard: GuardModeField | None = None
    ovsdb: OvsdbTarget | None = None


class UsePetr(Settings):
    """The Proxy-ETRs of an instance-ID (RFC 6832 section 6): where ITRs send what is to be natively
    forwarded.

    iid: the instance-ID. xtrs: the xTRs of ours that use them, by name; without any, all that no
    other entry of the instance-ID names. when: "ipv6-over-ipv4-only" is for IPv6 EIDs, and only at
    xTRs without an IPv6 RLOC. A Proxy-ITR uses none: what is not LISP would come back to it.
    locators: the RLOC-set of the Proxy-ETRs.
    """

    iid: Iid = 0
    xtrs: tuple[Name, ...] = ()
    when: Literal["always", "ipv6-over-ipv4-only"] = "always"
    locators: tuple[LocatorSettings, ...] = Field(min_length=1, max_length=32)
