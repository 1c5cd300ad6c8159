"""Settings of host mobility: which EIDs may roam, and how much moving is believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

from pydantic import Field

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config.xtrs import EidPort, InterfaceField, XtrSettings
from lisp_sdn.settings import Iid, Problem, Settings

if TYPE_CHECKING:
    from lisp_sdn.config.model import Config

Interface = IPv4Interface | IPv6Interface


class MobileSubnet(Settings):
    """A subnet whose EIDs may roam although no EID-facing port of ours is its home.

    gateway: the address, with the length of the subnet, that its hosts have as their gateway. iid:
    instance-ID of its hosts.
    """

    gateway: InterfaceField
    iid: Iid = 0


class MobilitySettings(Settings):
    """Host mobility between the EID-facing ports with `allow_mobility`; times in seconds.

    subnets: that may roam, beside those of these ports themselves. max_moves, window: an EID that
    moves more often than max_moves times in window is held down (RFC 7432 section 15.1 has the same
    numbers). hold_down: for how long it then stays where it is. hold_down_limit: the most, as it is
    twice as long each time that the EID flaps again soon. probe_interval: between two questions, by
    ARP or neighbour discovery, whether an EID with a host route is still there. forward_time: how
    long a place that an EID has left sends on what still arrives there. max_eids: EIDs followed at
    once.
    """

    subnets: tuple[MobileSubnet, ...] = ()
    max_moves: int = Field(default=5, ge=1, le=1000)
    window: float = Field(default=180.0, gt=0, le=86400)
    hold_down: float = Field(default=60.0, gt=0, le=86400)
    hold_down_limit: float = Field(default=900.0, gt=0, le=86400)
    probe_interval: float = Field(default=60.0, ge=1, le=86400)
    forward_time: float = Field(default=300.0, ge=0, le=86400)
    max_eids: int = Field(default=10_000, ge=1)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet whose EIDs may roam. homes: xTRs with an EID-facing port of it."""

    iid: int
    gateway: Interface
    homes: tuple[str, ...] = ()

    @property
    def eid(self) -> EidPrefix:
        """The subnet as an EID-prefix."""
        return EidPrefix(self.iid, self.gateway.network)

    @property
    def stretched(self) -> bool:
        """Whether it is at several sites, so that only host routes tell where an EID is."""
        return len(self.homes) > 1

    def holds(self, iid: int, address: IPAddress) -> bool:
        """Whether an EID is of this subnet."""
        return iid == self.iid and address in self.gateway.network


def mobile_subnets(xtrs: Sequence[XtrSettings], mobility: MobilitySettings) -> tuple[Subnet, ...]:
    """Every subnet whose EIDs may roam: those of ports that allow mobility, those listed beside."""
    homes: dict[tuple[int, Interface], dict[str, None]] = {
        (entry.iid, entry.gateway): {} for entry in mobility.subnets
    }
    for xtr in xtrs:
        for port in xtr.eid_ports:
            if port.allow_mobility:
                for gateway in port.gateways:
                    homes.setdefault((port.iid, gateway), {})[xtr.name] = None
    return tuple(Subnet(iid, gateway, tuple(names)) for (iid, gateway), names in homes.items())


def roaming_gateways(port: EidPort, subnets: Sequence[Subnet]) -> tuple[Interface, ...]:
    """The gateways of EIDs that may come to a port beside those of its own subnets."""
    if not port.allow_mobility:
        return ()
    return tuple(
        subnet.gateway
        for subnet in subnets
        if subnet.iid == port.iid and subnet.gateway not in port.gateways
    )


# --- checks ------------------------------------------------------------------------------


def check_mobility(config: Config) -> Iterator[Problem]:
    """What would keep a host from roaming."""
    yield from _check_same_mac(config)
    for path, subnet in _placed(config):
        yield from _check_overlap(config, path, subnet)
        yield from _check_owner(config, path, subnet)


def _ports(config: Config) -> Iterator[tuple[str, XtrSettings, EidPort]]:
    for x, xtr in enumerate(config.xtrs):
        for p, port in enumerate(xtr.eid_ports):
            if port.allow_mobility:
                yield f"xtrs[{x}].eid_ports[{p}]", xtr, port


def _check_same_mac(config: Config) -> Iterator[Problem]:
    """A host that moves keeps the MAC address of its gateway."""
    first: dict[int, tuple[str, str]] = {}
    for path, _, port in _ports(config):
        where, mac = first.setdefault(port.iid, (path, port.mac))
        if port.mac != mac:
            yield (
                f"{path}.mac",
                f"{port.mac} differs from {mac} of {where}; hosts that roam between ports of an "
                "instance-ID keep the MAC address of their gateway",
            )


def _placed(config: Config) -> Iterator[tuple[str, Subnet]]:
    """Each subnet that may roam, with the place that names it first."""
    subnets = {(s.iid, s.gateway): s for s in config.mobile_subnets}
    named = [
        (f"mobility.subnets[{n}].gateway", entry.iid, entry.gateway)
        for n, entry in enumerate(config.mobility.subnets)
    ]
    named += [
        (f"{path}.gateways[{g}]", port.iid, gateway)
        for path, _, port in _ports(config)
        for g, gateway in enumerate(port.gateways)
    ]
    for path, iid, gateway in named:
        subnet = subnets.pop((iid, gateway), None)
        if subnet is not None:
            yield path, subnet


def _check_overlap(config: Config, path: str, subnet: Subnet) -> Iterator[Problem]:
    for other in config.mobile_subnets:
        if other == subnet:
            return
        if other.eid.covers(subnet.eid) or subnet.eid.covers(other.eid):
            yield (
                path,
                f"{subnet.gateway} and {other.gateway} may both roam in instance-ID {subnet.iid} "
                "and overlap; expected one subnet with one gateway address",
            )
            return


def _check_owner(config: Config, path: str, subnet: Subnet) -> Iterator[Problem]:
    owner = config.owner(subnet.eid)
    if owner is None:
        yield path, f"subnet {subnet.eid} may roam, but is in no EID-prefix of a site"
        return
    site, prefix = owner
    if not prefix.accept_more_specifics:
        yield (
            path,
            f"subnet {subnet.eid} may roam, so {prefix.eid} of site {site.name} needs "
            "accept_more_specifics: true",
        )
    if not site.allowed_rlocs:
        return
    for _, xtr, port in _ports(config):
        for entry in xtr.rlocs if port.iid == subnet.iid else ():
            if all(entry.rloc not in network for network in site.allowed_rlocs):
                yield (
                    path,
                    f"subnet {subnet.eid} may roam to xTR {xtr.name}, whose RLOC {entry.rloc} is "
                    f"not in allowed_rlocs of site {site.name}",
                )
                return
