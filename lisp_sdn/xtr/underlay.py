"""The underlay bridge of one xTR: its uplinks, and LISP control messages by its own RLOCs.

The controller plays the xTR, so what other routers send to UDP port 4342 of an RLOC of ours is
taken from the bridge, and what the xTR answers leaves by the bridge with that RLOC as source.
Everything else goes as the bridge would send it without us (NORMAL).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.actions import (
    Action,
    ApplyRules,
    Dropped,
    Event,
    PacketIn,
    PacketOut,
    PortInfo,
    ReadRules,
)
from lisp_sdn.address import Endpoint, IPAddress
from lisp_sdn.config import XtrRloc, XtrSettings
from lisp_sdn.errors import DecodeError, Truncated
from lisp_sdn.rules import (
    CookieClass,
    FieldValue,
    FlowRule,
    MeterRule,
    Output,
    Port,
    RuleAction,
    Ruleset,
    ToController,
    cookie,
    match,
)
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMPV6,
    ND_ADVERT,
    UDP,
    Ip,
    parse_arp,
    parse_ethernet,
    parse_ip,
    parse_neighbour,
)
from lisp_sdn.xtr.reconcile import Installed, changes_to

CONTROL_PORT = 4342
METER = 1
CONTROL_RATE, CONTROL_BURST = 2000, 500
"""Control messages per second that reach the controller from one underlay bridge."""

NEIGHBOUR_LIFETIME = 60.0
"""Seconds that a next hop's MAC address is used before it is asked for again."""

MAX_NEIGHBOURS = 4096
MAX_WAITING = 64
"""Messages that wait for one next hop; the oldest go first."""

_HOPS = 64


@dataclass(frozen=True, slots=True)
class ControlFrame:
    """A control message that another router sent to an RLOC of ours."""

    xtr: str
    data: bytes
    source: Endpoint
    destination: Endpoint


@dataclass(frozen=True, slots=True)
class RlocChanged:
    """An RLOC of ours lost its last uplink, or got one back."""

    xtr: str
    rloc: IPAddress
    up: bool


UnderlayAction = Action | ControlFrame | RlocChanged


@dataclass(frozen=True, slots=True)
class _Hop:
    mac: str
    port: int
    until: float


class Underlay:
    """Events in, actions out. Made only for an xTR with `underlay.datapath_id`."""

    def __init__(self, settings: XtrSettings, datapath_id: int) -> None:
        self.settings = settings
        self.datapath_id = datapath_id
        self.connected = False
        self._ports: dict[str, PortInfo] = {}
        self._rlocs = {entry.rloc: entry for entry in settings.rlocs}
        self._up = dict.fromkeys(self._rlocs, True)
        self._hops: OrderedDict[IPAddress, _Hop] = OrderedDict()
        self._waiting: dict[IPAddress, deque[tuple[IPAddress, Endpoint, int, bytes]]] = {}

    def take_over(self, old: Underlay) -> list[UnderlayAction]:
        """Go on where `old`, the same bridge under other settings, is."""
        self.connected = old.connected
        self._ports, self._hops = old._ports, old._hops
        self._up.update({rloc: up for rloc, up in old._up.items() if rloc in self._up})
        reading = [ReadRules(self.datapath_id)] if self.connected else []
        return [*reading, *self._look()]

    # --- the switch --------------------------------------------------------------------------

    def switch_connected(self, ports: tuple[PortInfo, ...], now: float) -> list[UnderlayAction]:
        """The bridge finished its handshake."""
        self._ports = {port.name: port for port in ports}
        return [ReadRules(self.datapath_id), *self._look()]

    def installed(
        self, ports: tuple[PortInfo, ...], ruleset: Ruleset, now: float
    ) -> list[UnderlayAction]:
        """What the bridge holds of ours: send the difference."""
        self._ports = {port.name: port for port in ports}
        self.connected = True
        wanted = self.wanted()
        changes = changes_to(Installed(ruleset), wanted.flows, wanted.groups, wanted.meters)
        actions: list[UnderlayAction] = self._look()
        if changes:
            actions.insert(0, ApplyRules(self.datapath_id, tuple(changes)))
        return actions

    def disconnected(self, now: float) -> list[UnderlayAction]:
        """The connection ended; nothing is known of the uplinks until it is back."""
        self.connected = False
        return []

    def port_changed(self, port: PortInfo, now: float) -> list[UnderlayAction]:
        """A port came, went or changed its link state."""
        self._ports[port.name] = port
        if not port.up:
            for hop in [ip for ip, known in self._hops.items() if known.port == port.number]:
                del self._hops[hop]
        return self._look()

    def up(self, rloc: IPAddress) -> bool:
        """Whether an RLOC of ours has an uplink."""
        return self._up.get(rloc, True)

    def _look(self) -> list[UnderlayAction]:
        actions: list[UnderlayAction] = []
        for rloc, entry in self._rlocs.items():
            up = self._has_uplink(entry)
            if up != self._up[rloc]:
                self._up[rloc] = up
                actions.append(RlocChanged(self.settings.name, rloc, up))
                kind = "rloc.up" if up else "rloc.down"
                data = {"xtr": self.settings.name, "reason": "uplink"}
                actions.append(Event(kind, str(rloc), data))
        return actions

    def _has_uplink(self, entry: XtrRloc) -> bool:
        if entry.uplink is not None:
            port = self._ports.get(entry.uplink)
            return port is not None and port.up
        uplinks = [port for port in self._ports.values() if port.number != Port.LOCAL]
        # No uplink at all is a bridge whose uplink is not a port of it, for instance LOCAL only.
        return not uplinks or any(port.up for port in uplinks)

    # --- rules -------------------------------------------------------------------------------

    def wanted(self) -> Ruleset:
        """NORMAL for everything; control messages and what tells next hops come to us too."""
        meter = MeterRule(METER, CONTROL_RATE, CONTROL_BURST)
        flows = [_flow(0, (Output(Port.NORMAL),))]
        for rloc in self._rlocs:
            flows.extend(_punts(rloc))
        return Ruleset(frozenset(flows), meters=frozenset((meter,)))

    # --- in ----------------------------------------------------------------------------------

    def packet_in(self, event: PacketIn, now: float) -> list[UnderlayAction]:
        """A frame that the bridge sent us. Anything malformed is counted."""
        try:
            frame = parse_ethernet(event.frame)
            if frame.ethertype == ETH_ARP:
                arp = parse_arp(frame.payload)
                return self._learned(arp.sender, arp.sender_mac, event.in_port, now)
            packet = parse_ip(frame.payload)
            if packet.protocol == ICMPV6:
                neighbour = parse_neighbour(packet)
                mac = neighbour.mac or frame.source
                return self._learned(neighbour.target, mac, event.in_port, now)
            return [*self._control(packet), *self._seen(packet, frame.source, event, now)]
        except DecodeError as error:
            return [self._drop(error.reason, str(error))]

    def _control(self, packet: Ip) -> list[UnderlayAction]:
        if packet.protocol != UDP or packet.fragment:
            return [self._drop("control-not-udp", f"protocol {packet.protocol}")]
        if packet.destination not in self._rlocs:
            return [self._drop("control-not-for-us", str(packet.destination))]
        if len(packet.payload) < 8:
            raise Truncated("udp", 0, f"{len(packet.payload)} octets, expected at least 8")
        head = packet.payload
        source, target, length = (int.from_bytes(head[i : i + 2], "big") for i in (0, 2, 4))
        if not 8 <= length <= len(head):
            raise Truncated("udp.length", 4, f"{length}, {len(head)} octets are there")
        if not _checksum_fits(packet, head[:length]):
            return [self._drop("control-bad-checksum", str(packet.source))]
        return [
            ControlFrame(
                self.settings.name,
                head[8:length],
                Endpoint(packet.source, source),
                Endpoint(packet.destination, target),
            )
        ]

    def _seen(self, packet: Ip, mac: str, event: PacketIn, now: float) -> list[UnderlayAction]:
        """Who wrote to us can be answered the same way."""
        return self._learned(packet.source, mac, event.in_port, now)

    def _learned(self, address: IPAddress, mac: str, port: int, now: float) -> list[UnderlayAction]:
        self._hops[address] = _Hop(mac, port, now + NEIGHBOUR_LIFETIME)
        self._hops.move_to_end(address)
        while len(self._hops) > MAX_NEIGHBOURS:
            self._hops.popitem(last=False)
        waiting = self._waiting.pop(address, deque())
        return [self._frame(*item, self._hops[address]) for item in waiting]

    # --- out ---------------------------------------------------------------------------------

    def send(
        self, data: bytes, source: IPAddress, destination: Endpoint, port: int, now: float
    ) -> list[UnderlayAction]:
        """Send a control message from an RLOC of ours. port: UDP source port."""
        if not self.connected:
            return [self._drop("underlay-disconnected", str(destination))]
        if not self.up(source):
            return [self._drop("rloc-without-uplink", str(source))]
        address = destination.address
        if address.version != source.version:
            return [self._drop("address-family", f"{source} to {destination}")]
        direct = self._hops.get(address)
        hop_address = self._rlocs[source].next_hop or address
        hop = self._hops.get(hop_address) or direct
        item = (source, destination, port, data)
        if hop is not None and hop.until > now:
            return [self._frame(*item, hop)]
        waiting = self._waiting.setdefault(hop_address, deque(maxlen=MAX_WAITING))
        actions: list[UnderlayAction] = []
        if len(waiting) == MAX_WAITING:
            actions.append(self._drop("next-hop-queue-full", str(hop_address)))
        waiting.append(item)
        if hop is not None:
            # Still likely to be right: use it once more while asking.
            waiting.pop()
            actions.append(self._frame(*item, hop))
        actions.append(self._ask(source, hop_address))
        while len(self._waiting) > MAX_NEIGHBOURS:
            self._waiting.pop(next(iter(self._waiting)))
        return actions

    def _ask(self, source: IPAddress, target: IPAddress) -> PacketOut:
        if isinstance(target, IPv4Address):
            assert isinstance(source, IPv4Address)
            frame = replies.arp_request(self._mac, source, target)
        else:
            assert isinstance(source, IPv6Address)
            frame = replies.neighbour_solicitation(self._mac, source, target)
        return PacketOut(self.datapath_id, frame, int(Port.LOCAL), (self._output(source),))

    def _output(self, source: IPAddress) -> Output:
        uplink = self._rlocs[source].uplink
        port = self._ports.get(uplink) if uplink else None
        return Output(port.number if port else int(Port.NORMAL))

    @property
    def _mac(self) -> str:
        local = next((p for p in self._ports.values() if p.number == Port.LOCAL), None)
        return local.mac if local else "02:00:00:00:00:00"

    def _frame(
        self, source: IPAddress, destination: Endpoint, port: int, data: bytes, hop: _Hop
    ) -> PacketOut:
        packet = udp(Endpoint(source, port), destination, data)
        frame = replies.ip_frame(hop.mac, self._mac, source.version, packet)
        return PacketOut(self.datapath_id, frame, int(Port.LOCAL), (Output(hop.port),))

    def _drop(self, reason: str, detail: str) -> Dropped:
        return Dropped(f"underlay.{self.settings.name}", reason, detail)


def udp(source: Endpoint, destination: Endpoint, data: bytes) -> bytes:
    """An IP packet with a UDP datagram; the checksum is always there (RFC 9301 section 5)."""
    length = 8 + len(data)
    ports = source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")
    size = length.to_bytes(2, "big")
    pseudo = _pseudo_header(source.address, destination.address, length)
    total = replies.checksum(pseudo + ports + size + b"\0\0" + data) or 0xFFFF
    segment = ports + size + total.to_bytes(2, "big") + data
    first, second = source.address, destination.address
    if isinstance(first, IPv4Address) and isinstance(second, IPv4Address):
        return replies.ipv4(first, second, UDP, segment, ttl=_HOPS)
    assert isinstance(first, IPv6Address)
    assert isinstance(second, IPv6Address)
    return replies.ipv6(first, second, UDP, segment, hop_limit=_HOPS)


def _pseudo_header(source: IPAddress, destination: IPAddress, length: int) -> bytes:
    if source.version == 4:
        tail = bytes((0, UDP)) + length.to_bytes(2, "big")
    else:
        tail = length.to_bytes(4, "big") + bytes((0, 0, 0, UDP))
    return source.packed + destination.packed + tail


def _checksum_fits(packet: Ip, segment: bytes) -> bool:
    """CP-003: a wrong checksum is a drop. Zero is allowed only over IPv4: none was computed."""
    if segment[6:8] == b"\0\0":
        return packet.version == 4
    pseudo = _pseudo_header(packet.source, packet.destination, len(segment))
    return replies.checksum(pseudo + segment) == 0


def _flow(priority: int, actions: tuple[RuleAction, ...], **fields: FieldValue) -> FlowRule:
    punted = any(isinstance(action, ToController) for action in actions)
    return FlowRule(
        0,
        priority,
        match(**fields),
        actions,
        meter=METER if punted and len(actions) == 1 else None,
        cookie=cookie(CookieClass.UNDERLAY),
    )


def _punts(rloc: IPAddress) -> Iterator[FlowRule]:
    """RFC 9301 section 5: a control message has port 4342 at one end."""
    version = rloc.version
    ethertype = ETH_IPV4 if version == 4 else ETH_IPV6
    ours: dict[str, FieldValue] = {"eth_type": ethertype, f"ipv{version}_dst": rloc}
    for port in ("udp_dst", "udp_src"):
        fields = {**ours, "ip_proto": UDP, port: CONTROL_PORT}
        yield _flow(310 if port == "udp_dst" else 300, (ToController(),), **fields)
    both = (Output(Port.NORMAL), ToController())
    if isinstance(rloc, IPv4Address):
        yield _flow(290, both, eth_type=ETH_ARP, arp_op=2, arp_tpa=rloc)
    else:
        yield _flow(290, both, **ours, ip_proto=ICMPV6, icmpv6_type=ND_ADVERT)
