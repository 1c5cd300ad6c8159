"""LISP sites and the rest of the Internet: native forwarding, Proxy-ITRs, Proxy-ETRs, and FRR.

sudo .venv/bin/python mininet/interworking.py
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import byhand  # noqa: E402
import labrun  # noqa: E402
import native  # noqa: E402
import yaml  # noqa: E402
from frrnode import FrrNode, need_frr  # noqa: E402
from labnodes import ControllerNode, CoreNode, LispNode  # noqa: E402
from lispnet import UNDERLAY_MTU, LispNet, gateway_of  # noqa: E402

from lisp_sdn import config  # noqa: E402

CONFIG = HERE / "interworking.yaml"
AGGREGATES = ("10.0.0.0/14", "2001:db8:e0::/44")
WWW = ("198.19.0.80/24", "2001:db8:99::80/64")

PICTURE = """\
                 native │                                   PETR only: uRPF, no IPv6
   h1 10.1.0.1 ──[ left ] 198.51.100.1 ── core ── 203.0.113.1 [ right ]── h2 10.2.0.1
                                           │
        ctl1 ── [ gate1 ] 198.18.1.1 ──  edge  ────────────────────────── www 198.19.0.80
        ctl ─── [ gate2 ] 198.18.2.1 ── (FRR)                             2001:db8:99::80
                PITR, PETR
"""

CLI_HELP = """\
  www ping h1                                     in by a PITR, back natively
  h2 ping www                                     out by a PETR
  h2 ping 2001:db8:99::80                         IPv6 over IPv4-only providers
  ctl lispctl show petr                           PETRs, PITRs and their announcements
  edge vtysh --vty_socket $FRR -c 'show bgp ipv4 unicast'
  edge tshark -n -i gate1-1 -d udp.port==4341,lisp-data
  edge ip link set gate1-1 down                   gate1 loses its uplink: gate2 takes over
  exit                                            removes everything
"""

BGPD = """\
hostname bgpd
router bgp 65010
 bgp router-id 198.18.0.2
 no bgp ebgp-requires-policy
 timers bgp 3 9
 neighbor 198.18.253.1 remote-as 64512
 neighbor 198.18.253.1 timers connect 1
 neighbor 198.18.254.1 remote-as 64513
 neighbor 198.18.254.1 timers connect 1
 address-family ipv4 unicast
  neighbor 198.18.253.1 activate
  neighbor 198.18.254.1 activate
  neighbor 198.18.254.1 weight 200
 exit-address-family
 address-family ipv6 unicast
  neighbor 198.18.253.1 activate
  neighbor 198.18.254.1 activate
  neighbor 198.18.254.1 weight 200
 exit-address-family
"""


class InterworkingNet(LispNet):
    """Both sites around the core, the gates and the non-LISP site around an FRR router."""

    def __init__(self) -> None:
        need_frr()
        data = yaml.safe_load(CONFIG.read_text())
        self.parts = {name: config.load(yaml.safe_dump(part)) for name, part in data.items()}
        super().__init__(self.parts["ctl"])

    def _build(self, uplinks: Any) -> None:
        self.core: CoreNode = self._add("core", CoreNode, self.hosts)
        self.edge: FrrNode = self._add("edge", FrrNode, self.hosts)
        self.ctl: ControllerNode = self._add("ctl", ControllerNode, self.controllers)
        self.ctl1: ControllerNode = self._add("ctl1", ControllerNode, self.controllers)
        self.xtrs = {}
        self._connect_controller_to_underlay()
        self._link(self.core, "edge", "198.18.0.1/24", self.edge, "core", "198.18.0.2/24")
        self._link(self.ctl, "bgp0", "198.18.253.1/30", self.edge, "ctl", "198.18.253.2/30")
        self._link(self.ctl1, "bgp0", "198.18.254.1/30", self.edge, "ctl1", "198.18.254.2/30")
        self.ctl1.add_default_route(ipaddress.ip_address("198.18.254.2"))
        main, second = self.parts["ctl"].xtrs, self.parts["ctl1"].xtrs
        for index, settings in enumerate((*main, *second), 1):
            self._attached(settings.name, lambda i=index, s=settings: self._add_one(i, s))
        self.www: LispNode = self._add("www", LispNode, self.hosts)
        self.veth(self.www, "eth0", self.edge, "www", 1500)
        for text in WWW:
            own = ipaddress.ip_interface(text)
            self.www.add_address("eth0", own)
            self.edge.add_address("www", gateway_of(own))
            self.www.add_default_route(gateway_of(own).ip)
        self.h1 = self.add_eid_host("h1", "left", "left1", "10.1.0.1", "2001:db8:e1::1")
        self.h2 = self.add_eid_host("h2", "right", "right1", "10.2.0.1", "2001:db8:e2::1")
        self._route(self.core, "198.18.0.2", "198.18.0.0/16", "198.19.0.0/24")
        self._route(self.edge, "198.18.0.1", "198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")
        # The provider of right: only its own addresses may be a source (BCP 38).
        self.core.sysctl("ipv4.conf.right-1.rp_filter", 1)

    def _add_one(self, index: int, settings: Any) -> None:
        self._add_xtr(index, settings, [[str(entry.rloc) for entry in settings.rlocs]])

    def _attached(self, xtr: str, work: Callable[[], None]) -> None:
        """Do something with the router and the controller that an xTR is attached to."""
        before = self.core, self.ctl
        if xtr.startswith("gate"):
            self.core = self.edge
        if xtr == "gate1":
            self.ctl = self.ctl1
        try:
            work()
        finally:
            self.core, self.ctl = before

    def _link(self, a: LispNode, name1: str, ip1: str, b: LispNode, name2: str, ip2: str) -> None:
        self.veth(a, name1, b, name2, UNDERLAY_MTU)
        a.add_address(name1, ipaddress.ip_interface(ip1))
        b.add_address(name2, ipaddress.ip_interface(ip2))

    @staticmethod
    def _route(node: LispNode, via: str, *prefixes: str) -> None:
        for prefix in prefixes:
            node.do("ip", "route", "add", prefix, "via", via)

    def start(self) -> None:
        """Everything but the controllers."""
        super().start()
        native.attach(self.xtrs["left"], ("10.1.0.0/24", "2001:db8:e1::/64"))
        for name in ("gate1", "gate2"):
            native.attach(self.xtrs[name], AGGREGATES)
        # How natively forwarded packets come back from the core to left's own prefix: not at all,
        # no EID-prefix is in the underlay's routing; they come by a PITR.
        self.edge.start_frr(BGPD)

    def start_controllers(self) -> None:
        """Both; each knows its own part only."""
        for node in (self.ctl, self.ctl1):
            node.start(self.configuration(node.name), wait=0)
        for node in (self.ctl, self.ctl1):
            labrun.poll(f"the controller {node.name}", node._ready, 30)

    def configuration(self, name: str) -> dict[str, Any]:
        """The configuration of one controller."""
        self.config = self.parts[name]
        return self.controller_config()

    def cut(self, xtr: str, uplink: int = 1) -> None:
        """Unplug an uplink: both ends lose carrier."""
        cut = super().cut
        self._attached(xtr, lambda: cut(xtr, uplink))

    def mend(self, xtr: str, uplink: int = 1) -> None:
        """Plug it in again."""
        mend = super().mend
        self._attached(xtr, lambda: mend(xtr, uplink))

    def ready(self) -> bool:
        """Whether all switches are connected, and BGP has told what it should."""
        for node, count in ((self.ctl, 3), (self.ctl1, 1)):
            status = node.rest("GET", "/lisp/v1/status").body
            if status["xtrs_connected"] != count or status["problems"]:
                return False
        return all(len(self.edge.bgp(version)[prefix]) == 2 for version, prefix in FAMILIES)


FAMILIES = tuple((ipaddress.ip_network(prefix).version, prefix) for prefix in AGGREGATES)


def build() -> InterworkingNet:
    """The network; nothing of it started yet."""
    return InterworkingNet()


def prompt() -> None:
    """The network, its controllers, and Mininet's prompt."""
    print("Building LISP sites, gates and a non-LISP site ...", flush=True)
    with build() as net:
        net.start()
        net.start_controllers()
        labrun.poll("switches and BGP", net.ready, 30)
        print(f"\n{PICTURE}\n{CLI_HELP}\nThe controllers' logs: {net.ctl.log} {net.ctl1.log}\n")
        byhand.command_line(net)


def main() -> int:
    """Run; 0 when all went well, else a plain reason on stderr and 1."""
    return byhand.run(prompt)


if __name__ == "__main__":
    sys.exit(main())
