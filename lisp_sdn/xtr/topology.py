"""What an xTR is attached to: its settings joined with the ports that its switch has now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from lisp_sdn.actions import PortInfo
from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.config import Limits, Subnet, XtrSettings, roaming_gateways
from lisp_sdn.config.xtrs import DEFAULT_MTU

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class AttachedPort:
    """An EID-facing port that exists. number: OpenFlow port number; mac: of the gateway.

    mobility: hosts come and go here. roaming: the gateways of those that are at home elsewhere.
    """

    number: int
    name: str
    iid: int
    mac: str
    gateways: tuple[Interface, ...]
    mobility: bool = False
    roaming: tuple[Interface, ...] = ()

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The gateways of all EIDs that hosts at this port may have; their subnets are those EIDs.

        A host beside that is none of this port's.
        """
        return (*self.gateways, *self.roaming)

    def gateway_for(self, address: IPAddress) -> Interface | None:
        """The gateway of an EID at this port; None if no host here may have it."""
        found = [item for item in self.interfaces if address in item.network]
        return max(found, key=lambda item: item.network.prefixlen, default=None)


@dataclass(frozen=True, slots=True)
class NativeRole:
    """What an xTR does for an instance-ID where it meets what is not LISP (RFC 6832).

    port: name of its native port. proxy_itr: packets that come in by it are encapsulated.
    sources: source EIDs that it forwards for as Proxy-ETR. lisp: EID-prefixes that are LISP's.
    """

    port: str
    iid: int
    proxy_itr: bool = False
    sources: tuple[IPNetwork, ...] = ()
    lisp: tuple[IPNetwork, ...] = ()

    @property
    def proxy_etr(self) -> bool:
        """Whether it forwards natively what ITRs send it."""
        return bool(self.sources)


@dataclass(frozen=True, slots=True)
class AttachedNative:
    """A native port that exists. mac: of the host's side, which takes the packets."""

    role: NativeRole
    number: int
    mac: str
    up: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """The inputs of the compiler that are not cache state.

    tunnel_port: number of the LISP tunnel port, None when the switch has none. rlocs: ours, in
    the order of the configuration. down: RLOCs, ours and others', that carry nothing now.
    drained: RLOCs that carry traffic only where no other RLOC is left. roles: of its native ports
    as configured; natives: those that exist. mtu: of the underlay.
    """

    datapath_id: int
    tunnel_port: int | None
    ports: tuple[AttachedPort, ...]
    rlocs: tuple[IPAddress, ...]
    limits: Limits
    down: frozenset[IPAddress] = frozenset()
    drained: frozenset[IPAddress] = frozenset()
    roles: tuple[NativeRole, ...] = ()
    natives: tuple[AttachedNative, ...] = ()
    mtu: int = DEFAULT_MTU

    def role(self, iid: int) -> NativeRole | None:
        """What it does for this instance-ID beside LISP."""
        return next((role for role in self.roles if role.iid == iid), None)

    def native(self, iid: int) -> AttachedNative | None:
        """The native port of this instance-ID, if the switch has it."""
        return next((port for port in self.natives if port.role.iid == iid), None)

    def native_port(self, number: int) -> AttachedNative | None:
        """The native port with this number."""
        return next((port for port in self.natives if port.number == number), None)

    def asks_for_others(self, iid: int, source: EidPrefix | None) -> bool:
        """Whether it asks as Proxy-ITR for a packet from this source (p-bit, RFC 9301 5.2)."""
        role = self.role(iid)
        if role is None or not role.proxy_itr:
            return False
        return source is None or not self.gateway_ports(iid, source.network.network_address)

    def port(self, number: int) -> AttachedPort | None:
        """The EID-facing port with this number."""
        return next((port for port in self.ports if port.number == number), None)

    def iids(self) -> tuple[int, ...]:
        """The instance-IDs served here."""
        natives = {native.role.iid for native in self.natives}
        return tuple(sorted({port.iid for port in self.ports} | natives))

    def source_rloc(self, version: int) -> IPAddress | None:
        """The outer source towards an RLOC of this family; None when all of ours are down."""
        return next((rloc for rloc in self.sources if rloc.version == version), None)

    @property
    def sources(self) -> tuple[IPAddress, ...]:
        """Our RLOCs that can send, in the order of the configuration, drained ones last."""
        if not self.down and not self.drained:
            return self.rlocs
        up = [rloc for rloc in self.rlocs if rloc not in self.down]
        return tuple(sorted(up, key=lambda rloc: rloc in self.drained))

    def gateway_ports(self, iid: int, address: IPAddress) -> list[tuple[AttachedPort, Interface]]:
        """Ports of the longest connected subnet that holds `address`, with their gateways."""
        found = [
            (port, gateway)
            for port in self.ports
            if port.iid == iid
            for gateway in port.gateways
            if address in gateway.network
        ]
        longest = max((gateway.network.prefixlen for _, gateway in found), default=0)
        return [item for item in found if item[1].network.prefixlen == longest]

    def is_gateway(self, iid: int, address: IPAddress) -> bool:
        """Whether `address` is one of our gateway addresses in this instance-ID."""
        return any(
            gateway.ip == address
            for port in self.ports
            if port.iid == iid
            for gateway in port.interfaces
        )

    @property
    def mobility(self) -> bool:
        """Whether hosts may come and go at some port."""
        return any(port.mobility for port in self.ports)

    def speaker(self, iid: int, version: int, near: IPAddress | None = None) -> Speaker | None:
        """Port and gateway address in whose name an ICMP message is sent, best near `near`."""
        if near is not None:
            for port, gateway in self.gateway_ports(iid, near):
                return Speaker(port, gateway.ip)
            for port in self.ports:
                roaming = port.gateway_for(near) if port.iid == iid else None
                if roaming is not None:
                    return Speaker(port, roaming.ip)
        for port in self.ports:
            if port.iid == iid:
                for gateway in port.gateways:
                    if gateway.version == version:
                        return Speaker(port, gateway.ip)
        return None


@dataclass(frozen=True, slots=True)
class Speaker:
    """A gateway address and its port."""

    port: AttachedPort
    address: IPAddress


def build(
    settings: XtrSettings,
    limits: Limits,
    ports: Iterable[PortInfo],
    down: frozenset[IPAddress] = frozenset(),
    drained: frozenset[IPAddress] = frozenset(),
    roles: tuple[NativeRole, ...] = (),
    mobile: Sequence[Subnet] = (),
) -> Topology:
    """Join settings with a switch's ports; configured ports that it lacks are left out.

    mobile: the subnets whose EIDs may roam.
    """
    there = {port.name: port for port in ports}
    numbers = {name: port.number for name, port in there.items()}
    attached = tuple(
        AttachedPort(
            numbers[port.name],
            port.name,
            port.iid,
            port.mac,
            port.gateways,
            port.allow_mobility,
            roaming_gateways(port, mobile),
        )
        for port in sorted(settings.eid_ports, key=lambda port: port.name)
        if port.name in numbers
    )
    return Topology(
        settings.datapath_id,
        numbers.get(settings.tunnel_port),
        attached,
        tuple(locator.rloc for locator in settings.rlocs),
        limits,
        down,
        drained,
        roles,
        tuple(
            AttachedNative(role, port.number, port.mac, port.up)
            for role in roles
            if (port := there.get(role.port)) is not None and port.number
        ),
        settings.underlay.mtu,
    )


def renumbered(numbers: dict[str, int], ports: Iterable[PortInfo]) -> dict[int, int | None]:
    """Which ports have other numbers than they had, for instance after a switch restarted.

    numbers: the last known ones by name; brought up to date. None: the port is gone, and another
    one has its number now. A port that is merely gone keeps its number until it is back.
    """
    now = {port.name: port.number for port in ports if port.number}
    taken = set(now.values())
    moved: dict[int, int | None] = {}
    for name, number in list(numbers.items()):
        if name in now:
            if now[name] != number:
                moved[number] = now[name]
        elif number in taken:
            moved[number] = None
            del numbers[name]
    numbers.update(now)
    return moved
