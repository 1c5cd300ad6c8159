"""Host mobility at one xTR: carries out what the controller decided about EIDs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.address import IPAddress
from lisp_sdn.errors import DecodeError
from lisp_sdn.rules import Output, Port
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.etr import Etr
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip
from lisp_sdn.xtr.gateway import Gateway
from lisp_sdn.xtr.hosts import HostKey, Hosts, Learned
from lisp_sdn.xtr.itr import Itr
from lisp_sdn.xtr.outbox import Outbox
from lisp_sdn.xtr.queue import Held, HoldQueue, host_eid
from lisp_sdn.xtr.requests import Admit, Ask, HostRoute, Leave, Order
from lisp_sdn.xtr.topology import AttachedPort, Topology


class Roaming:
    """Carries out orders. away: EIDs that are elsewhere, as `Gateway` and the compiler see them."""

    def __init__(
        self,
        outbox: Outbox,
        topology: Callable[[], Topology],
        hosts: Hosts,
        gateway: Gateway,
        itr: Itr,
        etr: Etr,
        hold: HoldQueue,
        away: set[HostKey],
    ) -> None:
        self._out = outbox
        self._topology = topology
        self._hosts = hosts
        self._gateway = gateway
        self._itr = itr
        self._etr = etr
        self._hold = hold
        self._away = away

    def carry_out(self, order: Order, now: float) -> None:
        """Do what the controller decided."""
        if isinstance(order, Admit):
            self._admit(order)
        elif isinstance(order, Leave):
            self._leave(order, now)
        elif isinstance(order, Ask):
            self._ask(order)
        elif isinstance(order, HostRoute):
            self._etr.host_route(order.eid, order.site, now)

    def _admit(self, order: Admit) -> None:
        self._here_again(order.host.key)
        ports = self._ports(*order.host.key, order.port)
        if not ports:
            address = str(order.host.address)
            self._out.drop("port-gone", address, address)
            return
        host = replace(order.host, port=ports[0].number)
        learned = self._gateway.learned(host)
        if learned in (Learned.NEW, Learned.MOVED):
            self._out.counters["hosts-admitted"] += 1
        if order.held is not None:
            self._out.counters["packets-released"] += 1
            self._out.packet(order.held.frame, order.held.in_port, Output(Port.TABLE))

    def _here_again(self, key: HostKey) -> None:
        if key in self._away:
            self._away.discard(key)
            self._out.touch("away", key)

    def _leave(self, order: Leave, now: float) -> None:
        key = order.key
        if self._hosts.forget(key) is not None:
            self._out.touch("host", key)
        if not order.away:
            self._here_again(key)
            return
        if key in self._away:
            return
        self._away.add(key)
        self._out.touch("away", key)
        iid, address = key
        # Before the first packet: those that are on their way arrive at once.
        self._itr.ask_again(host_eid(iid, address), None, None, now)
        self._correct_neighbours(iid, address)
        self._send_on(key, now)

    def _correct_neighbours(self, iid: int, address: IPAddress) -> None:
        """Hosts of its subnet that know it by its own MAC address: from now on by the gateway's."""
        for port, _ in self._topology().gateway_ports(iid, address):
            if isinstance(address, IPv4Address):
                frame = replies.arp(1, port.mac, address, _NO_MAC, address, replies.BROADCAST)
            else:
                frame = replies.proxy_advertisement(port.mac, address, IPv6Address(0), "")
            self._out.packet(frame, Port.CONTROLLER, Output(port.number))

    def _send_on(self, key: HostKey, now: float) -> None:
        """Packets that waited for the host to answer here go to where it is."""
        self._hosts.stop_asking(key)
        for held in self._hold.take(key):
            self.send_on(key[0], held, now)

    def send_on(self, iid: int, held: Held, now: float) -> None:
        """A packet for an EID that is elsewhere."""
        try:
            packet = parse_ip(parse_ethernet(held.frame).payload)
        except DecodeError as error:
            self._out.drop(error.reason, str(error), str(held.source))
            return
        self._itr.miss(packet, iid, held, now)

    def _ask(self, order: Ask) -> None:
        iid, address = order.key
        for port in self._ports(iid, address, order.port):
            self._gateway.ask_at(port, address)

    def _ports(self, iid: int, address: IPAddress, name: str) -> list[AttachedPort]:
        topology = self._topology()
        if name:
            return [port for port in topology.ports if (port.iid, port.name) == (iid, name)]
        return [port for port, _ in topology.gateway_ports(iid, address)]


_NO_MAC = "00:00:00:00:00:00"
