"""Sites joined in memory: xTR cores, simulated switches, hosts, and a small mapping system."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

from lisp_sdn.actions import (
    ApplyRules,
    Dropped,
    Event,
    FlowRemoved,
    PacketOut,
    PortInfo,
    ReadRules,
)
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Config, load
from lisp_sdn.model import Act, Mapping
from lisp_sdn.wire import EidRecord, MapReply, MapRequest
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_arp, parse_ethernet, parse_ip
from lisp_sdn.xtr.requests import Register, Resolve
from lisp_sdn.xtr.simulate import Sent, SimulatedSwitch, Trace
from lisp_sdn.xtr.xtr import Xtr

TUNNEL = 100
NATIVE = 200
NATIVE_MAC = "02:00:00:00:02:00"

CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret-a}]
    eid_prefixes:
      - {prefix: 10.1.0.0/16, iid: 1}
      - {prefix: 10.1.0.0/16, iid: 2}
      - {prefix: 2001:db8:1::/48, iid: 1}
  - name: b
    authentication_keys: [{key: secret-b}]
    eid_prefixes:
      - {prefix: 10.2.0.0/16, iid: 1}
      - {prefix: 10.2.0.0/16, iid: 2}
      - {prefix: 2001:db8:2::/48, iid: 1}
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}, {rloc: "2001:db8:ffff::1"}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.1.0.254/24, "2001:db8:1::fe/64"]}
      - {name: p2, iid: 2, gateways: [10.1.0.254/24]}
  - name: xb
    site: b
    datapath_id: 0xb
    rlocs: [{rloc: 192.0.2.2}, {rloc: "2001:db8:ffff::2"}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.2.0.254/24, "2001:db8:2::fe/64"]}
      - {name: p2, iid: 2, gateways: [10.2.0.254/24]}
"""


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text)


class FakeMappingSystem:
    """Answers at once: the longest registered prefix, or the widest hole around the EID."""

    def __init__(self) -> None:
        self.mappings: dict[EidPrefix, Mapping] = {}
        self.requests: list[MapRequest] = []
        self.silent = False

    def register(self, records: Iterable[EidRecord]) -> list[EidPrefix]:
        changed = []
        for record in records:
            if self.mappings.get(record.mapping.eid) != record.mapping:
                self.mappings[record.mapping.eid] = record.mapping
                changed.append(record.mapping.eid)
        return changed

    def resolve(self, request: MapRequest) -> MapReply | None:
        self.requests.append(request)
        if self.silent:
            return None
        asked = request.records[0].eid
        assert isinstance(asked, EidPrefix)
        covering = [item for item in self.mappings.values() if item.eid.covers(asked)]
        if covering:
            best = max(covering, key=lambda item: item.eid.prefixlen)
            more = [m for m in self.mappings.values() if best.eid.covers(m.eid) and m is not best]
            records = tuple(EidRecord.from_mapping(item) for item in (best, *more))
        else:
            hole = Mapping(self._hole(asked), (), 15, Act.NATIVELY_FORWARD)
            inside = [item for item in self.mappings.values() if hole.eid.covers(item.eid)]
            records = tuple(EidRecord.from_mapping(item) for item in (hole, *inside))
        return MapReply(request.nonce, records)

    def _hole(self, asked: EidPrefix) -> EidPrefix:
        network = asked.network
        while network.prefixlen:
            wider = EidPrefix(asked.iid, network.supernet())
            if any(wider.covers(item) for item in self.mappings):
                break
            network = wider.network
        return EidPrefix(asked.iid, network)


@dataclass
class Host:
    """A host behind an EID-facing port. received: IP packets, oldest first."""

    iid: int
    address: IPAddress
    mac: str
    gateway_mac: str = "02:00:5e:00:00:fe"
    answers: bool = True
    received: list[bytes] = field(default_factory=list)

    def frame(self, destination: str, data: bytes = b"", ttl: int = 64) -> bytes:
        """A UDP-like packet to an EID, in a frame to the gateway."""
        target = ip_address(destination)
        if isinstance(self.address, IPv4Address):
            packet = replies.ipv4(self.address, target, 253, data, ttl=ttl)
        else:
            packet = replies.ipv6(self.address, target, 253, data, hop_limit=ttl)
        return replies.ip_frame(self.gateway_mac, self.mac, target.version, packet)


class Site:
    """One xTR, its switch and the hosts on its ports."""

    def __init__(self, network: Network, name: str, config: Config) -> None:
        settings = next(item for item in config.xtrs if item.name == name)
        self.network = network
        self.name = name
        self.settings = settings
        self.config = config
        self.switch = SimulatedSwitch(settings.datapath_id)
        self.ports = (
            PortInfo(TUNNEL, "lisp0", "02:00:00:00:00:01", True),
            *(
                PortInfo(number, port.name, "02:00:00:00:00:02", True)
                for number, port in enumerate(settings.eid_ports, 1)
            ),
            *(
                PortInfo(NATIVE + number, port.name, NATIVE_MAC, True)
                for number, port in enumerate(settings.native_ports)
            ),
        )
        self.sent_natively: list[Sent] = []
        self.hosts: dict[int, list[Host]] = {}
        self.xtr = Xtr(settings, config, random.Random(1))

    def add(self, port: int, address: str, mac: str, *, answers: bool = True) -> Host:
        iid = self.settings.eid_ports[port - 1].iid
        host = Host(iid, ip_address(address), mac, answers=answers)
        self.hosts.setdefault(port, []).append(host)
        return host

    def connect(self) -> None:
        self.network.do(self, self.xtr.connected(self.ports, self.network.now))

    def restart_controller(self) -> None:
        """A new controller that knows nothing finds the switch as it is."""
        self.xtr = Xtr(self.settings, self.config, random.Random(2))


class Network:
    """Everything together. now: seconds; nothing waits, time is moved by `advance`."""

    def __init__(self, config_text: str = CONFIG) -> None:
        self.config = load(config_text)
        self.now = 1_000_000.0
        self.mapping = FakeMappingSystem()
        self.sites = {xtr.name: Site(self, xtr.name, self.config) for xtr in self.config.xtrs}
        self.drops: list[Dropped] = []
        self.events: list[Event] = []
        self.punts = 0
        self.sent_through_tunnel: list[Sent] = []
        self.latency_packets: deque[tuple[Site, int, bytes]] = deque()
        self.unresolved: set[IPAddress] = set()
        """RLOCs whose next hop no switch knows yet: the first packet to one is lost."""
        self.resolved: set[tuple[str, IPAddress]] = set()
        self.lost_to_neighbours = 0

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    def start(self) -> None:
        known = [item.rloc for site in self.sites.values() for item in site.settings.rlocs]
        for site in self.sites.values():
            self.do(site, site.xtr.rlocs_known(known, self.now))
            self.do(site, site.xtr.start(self.now))
        for site in self.sites.values():
            site.connect()
        self.advance(1.0)

    # --- carrying out actions ---

    def do(self, site: Site, actions: Iterable[object]) -> None:
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, ApplyRules):
                site.switch.apply(action.changes)
            elif isinstance(action, PacketOut):
                trace = site.switch.packet_out(action.frame, action.in_port, action.actions)
                self.follow(site, trace)
            elif isinstance(action, ReadRules):
                rules = site.switch.ruleset()
                todo.extend(site.xtr.installed(site.ports, rules, self.now))
            elif isinstance(action, Resolve):
                reply = self.mapping.resolve(action.request)
                if reply is not None:
                    todo.extendleft(reversed(site.xtr.receive(reply, None, self.now)))
            elif isinstance(action, Register):
                for changed in self.mapping.register(action.records):
                    for other in self.sites.values():
                        self.do(other, other.xtr.mapping_changed(changed, self.now))
            elif isinstance(action, Dropped):
                self.drops.append(action)
            elif isinstance(action, Event):
                self.events.append(action)
            else:
                raise AssertionError(action)

    def follow(self, site: Site, trace: Trace) -> None:
        for sent in trace.sent:
            if sent.port == TUNNEL:
                self._through_tunnel(site, sent)
            elif sent.port >= NATIVE:
                site.sent_natively.append(sent)
            else:
                self._to_hosts(site, sent)
        for punt in trace.punted:
            self.punts += 1
            self.do(site, site.xtr.packet_in(punt, self.now))

    def _through_tunnel(self, site: Site, sent: Sent) -> None:
        self.sent_through_tunnel.append(sent)
        assert sent.tunnel_destination is not None
        hop = (site.name, sent.tunnel_destination)
        if hop not in self.resolved:
            # Open vSwitch: the packet that makes it resolve the next hop is dropped.
            self.resolved.add(hop)
            self.lost_to_neighbours += 1
            return
        for other in self.sites.values():
            if any(item.rloc == sent.tunnel_destination for item in other.settings.rlocs):
                self.follow(
                    other,
                    other.switch.receive(
                        TUNNEL,
                        sent.frame,
                        tunnel_id=sent.tunnel_id,
                        tunnel_source=sent.tunnel_source,
                        tunnel_destination=sent.tunnel_destination,
                    ),
                )

    def _to_hosts(self, site: Site, sent: Sent) -> None:
        ethernet = parse_ethernet(sent.frame)
        for host in self.sites[site.name].hosts.get(sent.port, ()):
            if ethernet.ethertype == 0x0806:
                self._arp(site, sent.port, host, sent.frame)
                continue
            packet = parse_ip(ethernet.payload)
            if packet.protocol == 58 and packet.payload[0] == 135:
                self._solicitation(site, sent.port, host, sent.frame)
            elif ethernet.destination == host.mac:
                host.received.append(ethernet.payload)

    def _arp(self, site: Site, port: int, host: Host, frame: bytes) -> None:
        arp = parse_arp(parse_ethernet(frame).payload)
        if arp.operation == 1 and arp.target == host.address and host.answers:
            assert isinstance(host.address, IPv4Address)
            answer = replies.arp(
                2, host.mac, host.address, arp.sender_mac, arp.sender, arp.sender_mac
            )
            self.latency_packets.append((site, port, answer))

    def _solicitation(self, site: Site, port: int, host: Host, frame: bytes) -> None:
        packet = parse_ip(parse_ethernet(frame).payload)
        if packet.payload[8:24] == host.address.packed and host.answers:
            assert not isinstance(host.address, IPv4Address)
            assert not isinstance(packet.source, IPv4Address)
            mac = parse_ethernet(frame).source
            rest = b"\x60\0\0\0" + host.address.packed + b"\x02\x01" + replies.mac_bytes(host.mac)
            message = replies.icmpv6(host.address, packet.source, 136, 0, rest)
            body = replies.ipv6(host.address, packet.source, 58, message, hop_limit=255)
            self.latency_packets.append((site, port, replies.ip_frame(mac, host.mac, 6, body)))

    # --- stimuli ---

    def send(self, site: str, port: int, frame: bytes) -> Trace:
        """A host sends a frame; answers of other hosts arrive before this returns."""
        where = self.sites[site]
        trace = where.switch.receive(port, frame)
        self.follow(where, trace)
        self._arrive()
        return trace

    def _arrive(self) -> None:
        while self.latency_packets:
            site, port, frame = self.latency_packets.popleft()
            self.follow(site, site.switch.receive(port, frame))

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while True:
            timers = [
                (when, site)
                for site in self.sites.values()
                if (when := site.xtr.next_timer()) is not None and when <= end
            ]
            if not timers:
                break
            when, site = min(timers, key=lambda item: item[0])
            self.now = max(self.now, when)
            self.do(site, site.xtr.handle_timer(self.now))
            self._arrive()
        self.now = end

    def idle_out(self, site: str, match_text: str) -> None:
        """Flows with an idle timeout whose match mentions a text leave the switch."""
        where = self.sites[site]
        for key, rule in list(where.switch.flows.items()):
            if rule.idle_timeout and match_text in str(rule.match):
                del where.switch.flows[key]
                removed = FlowRemoved(
                    where.switch.datapath_id, key, rule.cookie, True, 1, 100, 300.0
                )
                if rule.notify_removed:
                    self.do(where, where.xtr.flow_removed(removed, self.now))

    def reasons(self) -> set[str]:
        return {drop.reason for drop in self.drops}
