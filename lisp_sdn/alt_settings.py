"""BGP and the Alternative Topology in the configuration (RFC 4271, RFC 6836)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from netaddr import IPNetwork as NetaddrNetwork
from netaddr import IPSet
from pydantic import AfterValidator, Field, SecretStr, model_validator

from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, IPNetwork
from lisp_sdn.model import BgpScope
from lisp_sdn.settings import (
    AddressField,
    DatapathId,
    EndpointField,
    Iid,
    NetworkField,
    OvsdbTarget,
    PortName,
    Problem,
    Settings,
)

MAX_PASSWORD = 80
"""Octets of a TCP MD5 key, at most (Linux; RFC 2385 section 4.5 wants at least 80)."""

PRIVATE_AS = ((64512, 65534), (4200000000, 4294967294))
"""AS numbers for private use (RFC 6996)."""


def _password(value: SecretStr) -> SecretStr:
    octets = len(value.get_secret_value().encode())
    if not 1 <= octets <= MAX_PASSWORD:
        raise ValueError(f"{octets} octets, expected 1..{MAX_PASSWORD}")
    return value


AsNumber = Annotated[int, Field(ge=1, le=0xFFFFFFFE)]
Password = Annotated[SecretStr, AfterValidator(_password)]


class PrefixRule(Settings):
    """One line of a prefix filter.

    prefix: it is for this prefix itself, and with one of the lengths for what is inside of it.
    action: what to do with it. minimum_length, maximum_length: mask lengths, both included.
    """

    prefix: NetworkField
    action: Literal["permit", "deny"] = "permit"
    minimum_length: int | None = Field(default=None, ge=0, le=128)
    maximum_length: int | None = Field(default=None, ge=0, le=128)

    @model_validator(mode="after")
    def _check_lengths(self) -> PrefixRule:
        low, high = self.lengths
        if not self.prefix.prefixlen <= low <= high <= self.prefix.max_prefixlen:
            raise ValueError(
                f"mask lengths {low}..{high} for {self.prefix}, expected some of "
                f"{self.prefix.prefixlen}..{self.prefix.max_prefixlen}"
            )
        return self

    @property
    def lengths(self) -> tuple[int, int]:
        """The mask lengths that it is for, both included."""
        own = self.prefix.prefixlen
        if self.minimum_length is None and self.maximum_length is None:
            return own, own
        low = own if self.minimum_length is None else self.minimum_length
        high = self.prefix.max_prefixlen if self.maximum_length is None else self.maximum_length
        return low, high

    def is_for(self, network: IPNetwork) -> bool:
        """Whether this line decides about `network`."""
        low, high = self.lengths
        return (
            network.version == self.prefix.version
            and low <= network.prefixlen <= high
            and network.network_address in self.prefix
        )


PrefixFilter = tuple[PrefixRule, ...]


def permitted(rules: PrefixFilter, network: IPNetwork) -> bool:
    """What a prefix filter says: the first line that is for `network` decides.

    A filter without lines permits everything; one with lines denies what no line is for.
    """
    return next((rule.action == "permit" for rule in rules if rule.is_for(network)), not rules)


class BgpNeighbour(Settings):
    """A BGP session. It is on a tunnel or a common subnet, never multihop (RFC 6836 section 4).

    address: of the neighbour. as_number: of the neighbour. scope: alt for an ALT-Router; underlay
    for a router of the network that RLOCs are in, which hears the EID-prefixes of our Proxy-ITRs,
    nothing of the ALT, and is not listened to. port: TCP port of the neighbour. password: TCP MD5
    (RFC 2385). hold_time: seconds, the lower one of both ends counts (RFC 4271 section 4.2).
    prefixes_in, prefixes_out: filters, the first line that is for a prefix decides.
    maximum_prefixes: with more the session is shut until the controller starts anew.
    """

    address: AddressField
    as_number: AsNumber
    scope: BgpScope = BgpScope.ALT
    port: int = Field(default=179, ge=1, le=65535)
    password: Password | None = None
    hold_time: int = Field(default=40, ge=3, le=65535)
    prefixes_in: PrefixFilter = ()
    prefixes_out: PrefixFilter = ()
    maximum_prefixes: int = Field(default=10_000, ge=1)


class BgpSettings(Settings):
    """The BGP speaker.

    as_number: ours. router_id: an IPv4 address; it need not be one of an interface. listen: for
    sessions that neighbours open. neighbours: the sessions.
    """

    as_number: AsNumber
    router_id: AddressField
    listen: EndpointField = Endpoint(ipaddress.IPv4Address("0.0.0.0"), 179)
    neighbours: tuple[BgpNeighbour, ...] = Field(min_length=1, max_length=1000)


class AltAggregate(Settings):
    """A prefix that is announced at all times, instead of the EID-prefixes inside of it.

    prefix: what is announced. holes: what is inside and in no EID-prefix of a site or static
    mapping. "refuse" makes them a mistake of the configuration; "natively-forward" says that a
    Negative Map-Reply with this action is the right answer for them (RFC 6836 section 4.2).
    """

    prefix: NetworkField
    holes: Literal["refuse", "natively-forward"] = "refuse"


class AltTunnel(Settings):
    """A GRE tunnel to a neighbouring ALT-Router (RFC 6836 section 4.3): a port of the ALT bridge.

    port: the GRE port. host_port: the internal port by which the kernel of the speaker's host has
    our end of the tunnel. address: ours, inside of the tunnel. neighbour: the other end, one of
    bgp.neighbours. local, remote: outer addresses, only to verify the options of the GRE port.
    """

    port: PortName
    host_port: PortName
    address: AddressField
    neighbour: AddressField
    local: AddressField | None = None
    remote: AddressField | None = None


class AltBridge(Settings):
    """The bridge that carries ALT Datagrams from tunnel to tunnel.

    datapath_id: of the bridge. ovsdb: "tcp:ADDR:PORT" or "unix:PATH" of its database, to verify
    the GRE ports' options. tunnels: one to each ALT-Router. map_requests_per_second: taken from
    each neighbour, handed to the Map-Server, and sent by the Map-Resolver; each of them on its
    own (RFC 6836 section 4.1).
    """

    datapath_id: DatapathId
    ovsdb: OvsdbTarget | None = None
    tunnels: tuple[AltTunnel, ...] = Field(min_length=1, max_length=1000)
    map_requests_per_second: int = Field(default=500, ge=1, le=1_000_000)


class AltSettings(Settings):
    """What the Map-Server announces into the ALT, and the bridge that Map-Requests travel by.

    iid: the instance-ID whose EID-prefixes these are; BGP carries none. aggregates: announced at
    all times. hold_down: seconds from the end of the last registration inside an EID-prefix until
    it is withdrawn. allow_public_as: AS numbers of neighbours need not be private. bridge: the
    switch with the tunnels; without one Map-Requests do not travel over the ALT.
    """

    iid: Iid = 0
    aggregates: tuple[AltAggregate, ...] = ()
    hold_down: float = Field(default=600, ge=0, le=86400)
    allow_public_as: bool = False
    bridge: AltBridge | None = None


def check_bgp(bgp: BgpSettings) -> Iterator[Problem]:
    """What the fields of `bgp` alone cannot show."""
    if bgp.router_id.version != 4 or bgp.router_id.is_unspecified:
        yield "bgp.router_id", f"{bgp.router_id} is not an IPv4 address other than 0.0.0.0"
    addresses = [neighbour.address for neighbour in bgp.neighbours]
    for n, neighbour in enumerate(bgp.neighbours):
        path, address = f"bgp.neighbours[{n}]", neighbour.address
        first = addresses.index(address)
        if first != n:
            yield f"{path}.address", f"{address} is already bgp.neighbours[{first}]"
        if address.is_multicast or address.is_unspecified:
            yield f"{path}.address", f"{address} cannot be a neighbour, expected a unicast address"
        if neighbour.scope is BgpScope.UNDERLAY and neighbour.prefixes_in:
            message = "a neighbour of scope underlay is not listened to, expected no filter"
            yield f"{path}.prefixes_in", message
        if neighbour.as_number == bgp.as_number:
            # RFC 6836 section 4.3: every ALT-Router is an AS hop of its own.
            yield f"{path}.as_number", f"{neighbour.as_number} is our own, expected another"


def check_alt(
    alt: AltSettings, bgp: BgpSettings | None, owned: Sequence[EidPrefix]
) -> list[Problem]:
    """What the fields of `alt` alone cannot show. owned: every EID-prefix that we answer for."""
    if bgp is None:
        return [("alt", "needs a BGP speaker, expected bgp beside it")]
    problems = [] if alt.allow_public_as else list(_public_as(bgp))
    if alt.bridge is not None:
        problems += _check_tunnels(alt.bridge, bgp)
    networks = [eid.network for eid in owned if eid.iid == alt.iid]
    seen: list[IPNetwork] = []
    for a, aggregate in enumerate(alt.aggregates):
        path, prefix = f"alt.aggregates[{a}].prefix", aggregate.prefix
        overlapping = [other for other in seen if other.overlaps(prefix)]
        if overlapping:
            problems.append((path, f"{prefix} overlaps the aggregate {overlapping[0]}"))
        seen.append(prefix)
        inside = [n for n in networks if n.version == prefix.version and n.subnet_of(prefix)]  # type: ignore[arg-type]
        if not inside:
            problems.append((path, f"{prefix} holds no EID-prefix of instance-ID {alt.iid}"))
        elif aggregate.holes == "refuse":
            hole = next(iter(_holes(prefix, inside)), None)
            if hole is not None:
                message = (
                    f"{prefix} holds {hole}, which is in no EID-prefix of a site; "
                    "set holes: natively-forward if nobody else has it"
                )
                problems.append((path, message))
    return problems


def _check_tunnels(bridge: AltBridge, bgp: BgpSettings) -> Iterator[Problem]:
    """Every ALT-Router is a neighbour with a tunnel of its own."""
    routers = [n.address for n in bgp.neighbours if n.scope is BgpScope.ALT]
    ports: dict[str, str] = {}
    ends: dict[IPAddress, str] = {}
    for t, tunnel in enumerate(bridge.tunnels):
        path = f"alt.bridge.tunnels[{t}]"
        for key, name in (("port", tunnel.port), ("host_port", tunnel.host_port)):
            if name in ports:
                yield f"{path}.{key}", f"{name} is already {ports[name]}"
            ports.setdefault(name, f"{path}.{key}")
        for key, end in (("address", tunnel.address), ("neighbour", tunnel.neighbour)):
            if end in ends:
                yield f"{path}.{key}", f"{end} is already {ends[end]}"
            ends.setdefault(end, f"{path}.{key}")
        if tunnel.neighbour not in routers:
            known = ", ".join(map(str, routers)) or "none"
            yield (
                f"{path}.neighbour",
                f"{tunnel.neighbour} is no bgp.neighbours[] with scope alt: {known}",
            )
        if tunnel.address.version != tunnel.neighbour.version:
            yield f"{path}.address", f"{tunnel.address} is not of the family of {tunnel.neighbour}"
        for key, outer in (("local", tunnel.local), ("remote", tunnel.remote)):
            if outer is not None and outer.version != 4:
                # Open vSwitch: ip6gre takes no packet_type.
                yield f"{path}.{key}", f"{outer} is not an IPv4 address"
    for n, neighbour in enumerate(bgp.neighbours):
        if neighbour.scope is BgpScope.ALT and neighbour.address not in ends:
            yield (
                f"bgp.neighbours[{n}].address",
                f"{neighbour.address} has no tunnel in alt.bridge.tunnels",
            )


def _public_as(bgp: BgpSettings) -> Iterator[Problem]:
    """RFC 6836 section 6.1: AS numbers of the ALT are none of the global routing system."""
    numbers = [("bgp.as_number", bgp.as_number)]
    numbers += [
        (f"bgp.neighbours[{n}].as_number", neighbour.as_number)
        for n, neighbour in enumerate(bgp.neighbours)
        if neighbour.scope is BgpScope.ALT
    ]
    for path, number in numbers:
        if not any(low <= number <= high for low, high in PRIVATE_AS):
            ranges = " or ".join(f"{low}..{high}" for low, high in PRIVATE_AS)
            yield path, f"{number} is not private, expected {ranges}, or alt.allow_public_as"


def _holes(prefix: IPNetwork, inside: Sequence[IPNetwork]) -> Iterator[NetaddrNetwork]:
    whole = IPSet([str(prefix)])
    return iter((whole - IPSet([str(network) for network in inside])).iter_cidrs())
