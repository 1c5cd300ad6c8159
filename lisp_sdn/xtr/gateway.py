"""The anycast gateway of the EID-facing ports: ARP, neighbour discovery, ICMP, local delivery.

ARP requests for a gateway address are answered by the switch itself (`compiler`); what is left
for the controller is in here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.address import IPAddress
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import Output, Port
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.compiler import host_actions
from lisp_sdn.xtr.dhcp import requested_address
from lisp_sdn.xtr.frames import (
    ND_SOLICIT,
    Ethernet,
    Ip,
    is_icmp_error,
    parse_arp,
    parse_ethernet,
    parse_ip,
    parse_neighbour,
)
from lisp_sdn.xtr.hosts import ASK_INTERVAL, Host, HostKey, Hosts, Learned
from lisp_sdn.xtr.outbox import Outbox, Owner
from lisp_sdn.xtr.queue import Held, HoldKey, HoldQueue
from lisp_sdn.xtr.requests import Forgotten, Sighted, Sign, Sought
from lisp_sdn.xtr.timers import Timers
from lisp_sdn.xtr.topology import AttachedNative, AttachedPort, Interface, Topology

_GROUP_BIT = 0x01
_NOBODY = IPv4Address(0)
_SOLICITED = 0x40
"""The S-flag of a neighbour advertisement (RFC 4861 section 4.4)."""


class Gateway:
    """Speaks to the hosts of one xTR. asking_limit: EIDs asked for at once.

    away: EIDs that are elsewhere. reassert: sends an owner's flows again. Where hosts come and go,
    what is seen of them is reported, and the controller decides.
    """

    def __init__(
        self,
        outbox: Outbox,
        timers: Timers,
        topology: Callable[[], Topology],
        hosts: Hosts,
        hold: HoldQueue,
        asking_limit: int,
        away: Collection[HostKey],
        reassert: Callable[[Owner], None],
    ) -> None:
        self._out = outbox
        self._timers = timers
        self._topology = topology
        self.hosts = hosts
        self._hold = hold
        self._asking_limit = asking_limit
        self._away = away
        self._reassert = reassert

    # --- learning ----------------------------------------------------------------------------

    def arp(self, frame: Ethernet, port: AttachedPort) -> None:
        """ARP that the switch did not answer itself: replies to us, announcements."""
        arp = parse_arp(frame.payload)
        if arp.sender_mac != frame.source:
            self._out.drop("arp-mismatch", f"{arp.sender_mac} in {frame.source}", str(arp.sender))
            return
        self._out.counters["arp-in"] += 1
        asks = arp.operation == 1
        # An ARP probe shows the address that its sender is about to use (RFC 5227 section 2.1.1).
        address = arp.target if arp.sender == _NOBODY else arp.sender
        answers = not asks and arp.sender != arp.target
        self._sighted(port, address, arp.sender_mac, Sign.ANSWER if answers else Sign.ARP)
        if asks and arp.target != address and self._stands_in(port, arp.target):
            self._out.counters["proxy-arp-out"] += 1
            answer = replies.arp(
                2, port.mac, arp.target, arp.sender_mac, arp.sender, arp.sender_mac
            )
            self._out.packet(answer, Port.CONTROLLER, Output(port.number))

    def neighbour(self, frame: Ethernet, port: AttachedPort) -> None:
        """A solicitation, or an advertisement (RFC 4861 section 7.2)."""
        packet = parse_ip(frame.payload)
        message = parse_neighbour(packet)
        asker = packet.source
        assert isinstance(asker, IPv6Address)
        self._out.counters["neighbour-discovery-in"] += 1
        if message.kind != ND_SOLICIT:
            solicited = bool(packet.payload[4] & _SOLICITED)
            sign = Sign.ANSWER if solicited else Sign.NEIGHBOUR
            self._sighted(port, message.target, message.mac or frame.source, sign)
            return
        mac = message.mac or frame.source
        if asker.is_unspecified:
            self._sighted(port, message.target, mac, Sign.NEIGHBOUR)
        else:
            self._sighted(port, asker, mac, Sign.NEIGHBOUR)
        if any(gateway.ip == message.target for gateway in port.interfaces):
            answer = replies.neighbour_advertisement(port.mac, message.target, asker, mac)
        elif not asker.is_unspecified and self._stands_in(port, message.target):
            self._out.counters["proxy-arp-out"] += 1
            answer = replies.proxy_advertisement(port.mac, message.target, asker, mac)
        else:
            if not port.mobility:
                self._out.drop("neighbour-not-gateway", str(message.target), str(asker))
            return
        self._out.packet(answer, Port.CONTROLLER, Output(port.number))

    def _stands_in(self, port: AttachedPort, address: IPAddress) -> bool:
        """Whether what a host asks for is not on its link, but reached through the gateway."""
        key = (port.iid, address)
        host = self.hosts.get(key)
        if host is not None:
            return host.port != port.number
        if key in self._away:
            return True
        gateway = port.gateway_for(address)
        if gateway is None or not port.mobility or gateway.ip == address:
            return False
        if gateway in port.roaming:
            return True
        self._out.act(Sought(self._out.name, key))
        return False

    def seen(self, frame: Ethernet, packet: Ip, port: AttachedPort) -> None:
        """A data packet entered by an EID-facing port: its source may be a new local EID."""
        self._sighted(port, packet.source, frame.source, Sign.PACKET)

    def arrival(self, frame: Ethernet, packet: Ip, port: AttachedPort, held: Held) -> None:
        """Where hosts come and go, a packet of a host that the switch does not know there."""
        known = self.hosts.get((port.iid, packet.source))
        if known is not None and (known.port, known.mac) == (port.number, frame.source):
            # It was on its way to us when the flow came, or the flow is not there.
            self._reassert(("host", known.key))
            self._out.counters["packets-released"] += 1
            self._out.packet(held.frame, held.in_port, Output(Port.TABLE))
        elif not self._sighted(port, packet.source, frame.source, Sign.PACKET, held):
            self._out.drop("source-not-a-host", f"{packet.source} on {port.name}", frame.source)

    def dhcp(self, frame: Ethernet, packet: Ip, port: AttachedPort) -> None:
        """Where hosts come and go, a DHCP request: it shows the address that a host will have."""
        found = requested_address(packet.payload)
        if found is None:
            self._out.drop("dhcp-no-address", "no DHCP request for an address", frame.source)
            return
        address, mac = found
        if mac != frame.source:
            self._out.drop("arp-mismatch", f"{mac} in {frame.source}", str(address))
            return
        self._sighted(port, address, mac, Sign.DHCP)

    def _sighted(
        self,
        port: AttachedPort,
        address: IPAddress,
        mac: str,
        sign: Sign,
        held: Held | None = None,
    ) -> bool:
        """Whether a host of this port may have the EID."""
        group = int(mac[:2], 16) & _GROUP_BIT
        if group or self._topology().is_gateway(port.iid, address):
            return False
        known = self.hosts.get((port.iid, address))
        same = known is not None and (known.port, known.mac) == (port.number, mac)
        if port.mobility:
            fits = port.gateway_for(address) is not None
            if fits and (not same or sign is Sign.ANSWER):
                host = Host(port.iid, address, port.number, mac)
                self._out.act(Sighted(self._out.name, port.name, host, sign, held))
            return fits
        connected = any(port is found for found, _ in self._gateway_ports(port.iid, address))
        if connected and not same:
            # The source of a packet proves nothing: it cannot move a known host.
            proven = sign is not Sign.PACKET
            self.learned(Host(port.iid, address, port.number, mac), proven=proven)
        return connected

    def learned(self, host: Host, *, proven: bool = True) -> Learned:
        """A host is at a port of ours. proven: it may be known elsewhere."""
        before = self.hosts.get(host.key)
        learned, evicted = self.hosts.learn(host, proven=proven)
        address, port = host.address, self._topology().port(host.port)
        name = port.name if port is not None else str(host.port)
        if evicted is not None:
            self._out.counters["hosts-evicted"] += 1
            self._out.touch("host", evicted.key)
            if self._topology().mobility:
                self._out.act(Forgotten(self._out.name, evicted.key))
        if learned is Learned.CONFLICT:
            self._out.drop("host-conflict", f"{address} from {host.mac} on {name}", str(address))
        if learned in (Learned.CONFLICT, Learned.NOTHING):
            return learned
        self._timers.cancel(("ask", host.key))
        self._out.touch("host", host.key)
        if before is None or (before.port, before.mac) != (host.port, host.mac):
            kind = f"host.{learned.value}"
            self._out.event(kind, f"[{host.iid}] {address}", port=name, mac=host.mac)
        self._deliver_held(host)
        return learned

    def _gateway_ports(self, iid: int, address: IPAddress) -> list[tuple[AttachedPort, Interface]]:
        return self._topology().gateway_ports(iid, address)

    # --- delivery ----------------------------------------------------------------------------

    def deliver(self, packet: Ip, iid: int, held: Held, now: float) -> None:
        """A packet to an EID of a connected subnet for which the switch has no flow."""
        key = (iid, packet.destination)
        host = self.hosts.get(key)
        if host is not None and self._topology().port(host.port) is not None:
            self._send(host, held)
            return
        if self._network_address(iid, packet.destination):
            self._out.drop("not-a-host-address", str(packet.destination), str(packet.source))
            return
        if not self.hosts.is_asked(key) and self.hosts.asking >= self._asking_limit:
            self._out.drop("pending-resolutions", str(packet.destination), str(packet.source))
            return
        reason = self._hold.put(key, held)
        if reason is None:
            self._out.counters["packets-held"] += 1
        else:
            self._out.drop(reason, str(packet.destination), str(packet.source))
        if not self.hosts.is_asked(key):
            self._ask(key, now)
            if any(port.mobility for port, _ in self._gateway_ports(iid, packet.destination)):
                self._out.act(Sought(self._out.name, key))

    def _network_address(self, iid: int, address: IPAddress) -> bool:
        """Whether it is the network or broadcast address of its subnet, where no host is."""
        return any(
            isinstance(address, IPv4Address)
            and gateway.network.prefixlen < 31
            and address in (gateway.network.network_address, gateway.network.broadcast_address)
            for _, gateway in self._gateway_ports(iid, address)
        )

    def _send(self, host: Host, held: Held) -> None:
        port = self._topology().port(host.port)
        if port is None:
            self._out.drop("port-gone", str(host.address), str(held.source))
            return
        in_port = Port.CONTROLLER if held.from_tunnel else held.in_port
        self._out.counters["packets-released"] += 1
        self._out.packet(held.frame, in_port, *host_actions(host, port, in_port))

    def _deliver_held(self, host: Host) -> None:
        for held in self._hold.take(host.key):
            self._send(host, held)

    def _ask(self, key: HostKey, now: float) -> None:
        iid, address = key
        if not self.hosts.ask(key):
            self.give_up(key)
            return
        self._timers.schedule(("ask", key), now + ASK_INTERVAL)
        for port, _ in self._gateway_ports(iid, address):
            self.ask_at(port, address)

    def ask_at(self, port: AttachedPort, address: IPAddress) -> None:
        """Ask at a port, by ARP or neighbour discovery, who has an EID."""
        gateway = port.gateway_for(address)
        if gateway is None:
            return
        source = gateway.ip
        if isinstance(source, IPv4Address) and isinstance(address, IPv4Address):
            frame = replies.arp_request(port.mac, source, address)
        else:
            assert isinstance(source, IPv6Address)
            assert isinstance(address, IPv6Address)
            frame = replies.neighbour_solicitation(port.mac, source, address)
        self._out.packet(frame, Port.CONTROLLER, Output(port.number))

    def ask_due(self, key: HostKey, now: float) -> None:
        """Nobody answered yet."""
        if self.hosts.is_asked(key):
            self._ask(key, now)

    def give_up(self, key: HoldKey) -> None:
        """Nobody has this EID: tell the senders, once each."""
        self.hosts.stop_asking(key)
        told: set[IPAddress] = set()
        for held in self._hold.take(key):
            self._out.drop("no-such-host", str(key[1]), str(held.source))
            if held.source not in told:
                told.add(held.source)
                self.tell(replies.HOST_UNREACHABLE, key[0], held)

    # --- ICMP --------------------------------------------------------------------------------

    def echo(self, packet: Ip, iid: int) -> None:
        """A ping of a gateway address."""
        if not replies.is_echo_request(packet):
            self._out.drop("not-an-echo", str(packet.destination), str(packet.source))
            return
        self._inject(replies.echo_reply(packet), iid, packet.version, packet.destination)

    def tell(self, kind: str, iid: int, held: Held, mtu: int = 0) -> None:
        """Send an ICMP error about a packet. kind: of `replies`; mtu: for TOO_BIG."""
        try:
            about = parse_ip(parse_ethernet(held.frame).payload)
        except DecodeError as error:
            self._out.drop(error.reason, str(error))
            return
        if is_icmp_error(about) or about.source.is_multicast or about.source.is_unspecified:
            return
        native = self._topology().native_port(held.in_port)
        if native is not None:
            self._tell_natively(kind, native, about, mtu)
            return
        # In the name of the gateway that the sender knows, if it is a host of ours.
        speaker = self._topology().speaker(iid, about.version, about.source)
        speaker = speaker or self._topology().speaker(iid, about.version, about.destination)
        if speaker is None:
            self._out.drop("no-gateway-address", str(about.source))
            return
        self._out.counters["icmp-errors-out"] += 1
        packet = replies.icmp_error(kind, speaker.address, about, mtu)
        self._inject(packet, iid, about.version, speaker.address)

    def _tell_natively(self, kind: str, native: AttachedNative, about: Ip, mtu: int) -> None:
        """The sender is not LISP: it knows us by our RLOC."""
        source = self._topology().source_rloc(about.version)
        if source is None:
            self._out.drop("no-gateway-address", str(about.source))
            return
        self._out.counters["icmp-errors-out"] += 1
        packet = replies.icmp_error(kind, source, about, mtu)
        frame = replies.ip_frame(native.mac, native.mac, about.version, packet)
        self._out.packet(frame, Port.CONTROLLER, Output(native.number))

    def _inject(self, packet: bytes, iid: int, version: int, gateway: IPAddress) -> None:
        """Send a packet of our own through the tables, as if it entered by an EID-facing port."""
        speaker = self._topology().speaker(iid, version, gateway)
        if speaker is None:
            self._out.drop("no-gateway-address", str(gateway))
            return
        port = speaker.port
        frame = replies.ip_frame(port.mac, port.mac, version, packet)
        self._out.packet(frame, port.number, Output(Port.TABLE))
