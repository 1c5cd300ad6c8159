"""Settings of host mobility: which EIDs may roam, and how much moving is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from pydantic import Field

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config.xtrs import EidPort, InterfaceField, XtrSettings
from lisp_sdn.settings import Iid, Settings

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
    once. max_eids_per_port: of them at one port, so that one port cannot use them all up.
    """

    subnets: tuple[MobileSubnet, ...] = ()
    max_moves: int = Field(default=5, ge=1, le=1000)
    window: float = Field(default=180.0, gt=0, le=86400)
    hold_down: float = Field(default=60.0, gt=0, le=86400)
    hold_down_limit: float = Field(default=900.0, gt=0, le=86400)
    probe_interval: float = Field(default=60.0, ge=1, le=86400)
    forward_time: float = Field(default=300.0, ge=0, le=86400)
    max_eids: int = Field(default=10_000, ge=1)
    max_eids_per_port: int = Field(default=1_000, ge=1)


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
