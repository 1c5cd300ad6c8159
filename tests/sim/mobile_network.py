"""Three sites between which hosts roam, and a subnet that is at two of them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from test_controller import ControlledNetwork
from xtr_network import Host, Site

from lisp_sdn.actions import Action, Event
from lisp_sdn.address import EidPrefix
from lisp_sdn.controller import Controller
from lisp_sdn.views import MobileEid
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.simulate import Sent, Trace

GATEWAY_MAC = "02:00:5e:00:00:fe"

_SITE = """
  - name: {name}
    authentication_keys: [{{key: secret-{name}}}]
    eid_prefixes:
      - {{prefix: 10.{n}.0.0/16, iid: 1, accept_more_specifics: true}}
      - {{prefix: "2001:db8:{n}::/48", iid: 1, accept_more_specifics: true}}
"""
_XTR = """
  - name: {xtr}
    site: {site}
    datapath_id: 0x{n}0
    rlocs: [{{rloc: 192.0.2.{n}}}, {{rloc: "2001:db8:ffff::{n}", priority: 2}}]
    eid_ports:
      - name: p1
        iid: 1
        allow_mobility: true
        gateways: [10.{net}.0.254/24, "2001:db8:{net}::fe/64"]
"""
CONFIG = (
    "sites:"
    + "".join(_SITE.format(name=name, n=n) for n, name in enumerate("abcs", 1))
    + "xtrs:"
    + "".join(_XTR.format(xtr=f"x{name}", site=name, n=n, net=n) for n, name in enumerate("abc", 1))
    + "".join(_XTR.format(xtr=f"xs{n - 6}", site="s", n=n, net=4) for n in (7, 8))
    + "mobility: {probe_interval: 30, hold_down: 20, forward_time: 100}\n"
)


class MobileNetwork(ControlledNetwork):
    """Hosts can be unplugged and plugged in elsewhere."""

    def __init__(self, config_text: str = CONFIG) -> None:
        self._todo: deque[Action] = deque()
        self._busy = False
        super().__init__(config_text)
        self.frames: list[bytes] = []
        self.start()
        for site in self.sites:
            for xtr in self.config.xtrs:
                self.resolved |= {(site, item.rloc) for item in xtr.rlocs}

    def carry_out(self, actions: Iterable[Action]) -> None:
        """In the order in which they were decided, whatever a packet leads to on its way."""
        self._todo.extend(actions)
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo:
                super().carry_out([self._todo.popleft()])
        finally:
            self._busy = False
            self._todo.clear()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.controller.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.carry_out(self.controller.handle_timer(self.now))
            self._arrive()
        self.now = end

    def restarted(self, late: str = "") -> Controller:
        """A new controller with the old one's store, which finds the switches as they are.

        late: a switch that is not connected again yet.
        """
        store = self.controller.store
        self.controller = Controller(self.config, store=store, rng=random.Random(8))
        for name, site in self.sites.items():
            site.xtr = self.controller.xtrs[name]
        self.carry_out(self.controller.start(self.now))
        for name, site in self.sites.items():
            if name != late:
                site.connect()
        self.advance(1.0)
        return self.controller

    def host(self, site: str, address: str, mac: str) -> Host:
        return self[site].add(1, address, mac)

    def unplug(self, host: Host) -> None:
        """It is at no port any more."""
        for site in self.sites.values():
            for hosts in site.hosts.values():
                if host in hosts:
                    hosts.remove(host)

    def plug(self, host: Host, site: str) -> None:
        """It is at port 1 of another site, and says nothing yet."""
        self.unplug(host)
        self[site].hosts.setdefault(1, []).append(host)

    def where(self, host: Host) -> str:
        return next(
            site.name for site in self.sites.values() for at in site.hosts.values() if host in at
        )

    def say(
        self, host: Host, destination: str, data: bytes = b"x", mac: str = GATEWAY_MAC
    ) -> Trace:
        """It sends a packet from where it is."""
        frame = replies.mac_bytes(mac) + host.frame(destination, data)[6:]
        return self.send(self.where(host), 1, frame)

    def announce(self, host: Host) -> None:
        """Gratuitous ARP, or an unsolicited neighbour advertisement."""
        address = host.address
        if isinstance(address, IPv4Address):
            frame = replies.arp(1, host.mac, address, host.mac, address, replies.BROADCAST)
        else:
            frame = replies.proxy_advertisement(host.mac, address, IPv6Address(0), "")
        self.send(self.where(host), 1, frame)
        self._arrive()

    def arp(self, host: Host, target: str) -> list[bytes]:
        """What comes back by its port when it asks who has an address."""
        assert isinstance(host.address, IPv4Address)
        wanted = IPv4Address(target)
        frame = replies.arp(
            1, host.mac, host.address, "00:00:00:00:00:00", wanted, replies.BROADCAST
        )
        return self.back(host, frame)

    def back(self, host: Host, frame: bytes) -> list[bytes]:
        """What comes back by its port when it sends a frame."""
        self.frames.clear()
        self.send(self.where(host), 1, frame)
        return [frame for frame in self.frames if frame[:6].hex(":") == host.mac]

    def _to_hosts(self, site: Site, sent: Sent) -> None:
        self.frames.append(sent.frame)
        super()._to_hosts(site, sent)

    def mobile(self, host: Host) -> MobileEid | None:
        return self.controller.mobility.eid(host.iid, host.address, self.now)

    def place(self, host: Host) -> str:
        found = self.mobile(host)
        assert found is not None
        return found.xtr

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def event(self, kind: str) -> Event:
        (found,) = (event for event in self.events if event.kind == kind)
        return found

    def registered(self, text: str) -> dict[str, str]:
        """Who registers exactly this EID-prefix: xTR and site."""
        wanted = EidPrefix.from_text(text)
        return {
            str(entry.xtr): entry.site
            for entry in self.controller.management.registrations(wanted, self.now)
            if entry.eid == wanted
        }


def packets(host: Host) -> list[bytes]:
    """The payloads that a host got, and forgets them."""
    offset = 20 if host.address.version == 4 else 40
    got = [packet[offset:] for packet in host.received]
    host.received.clear()
    return got


def eid_of(host: Host) -> str:
    return f"[{host.iid}] {host.address}/{ip_address(host.address).max_prefixlen}"
