"""An xTR of a lab: a Mininet node with an Open vSwitch of its own."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from labnodes import Interface, LispNode
from ovsnode import OpenVSwitch

from lisp_sdn.config import XtrSettings

LISP_PORT_OPTIONS = (
    "options:exts=gpe",
    "options:dst_port=4341",
    "options:packet_type=legacy_l3",
    "options:key=flow",
    "options:remote_ip=flow",
    "options:local_ip=flow",
    # RFC 9300 section 5.3: the outer header takes the inner DSCP, ECN and TTL.
    "options:tos=inherit",
    "options:ttl=inherit",
)


@dataclass
class Uplink:
    """One uplink of an xTR. core_port: the other end, in the core."""

    name: str
    rlocs: list[Interface]
    core_port: str
    gateway_mac: str = ""


class XtrNode(OpenVSwitch, LispNode):
    """An xTR: its own ovsdb-server and ovs-vswitchd with the userspace datapath.

    Overlay bridge br0: EID ports and the LISP tunnel port. Underlay bridge (br-phy): the uplinks,
    and the RLOCs on its LOCAL port.
    """

    settings: XtrSettings
    index: int
    controller: str

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        # The kernel sees the frames of OVS's ports too. Without this it would answer ARP for an
        # RLOC with the MAC of an uplink, and packets to that MAC never enter the tunnel.
        self.sysctl("ipv4.conf.all.arp_ignore", 1)
        self.uplinks: list[Uplink] = []

    def add_uplink(self, name: str, rlocs: list[Interface], core_port: str) -> None:
        """Declare an uplink; the cable itself is laid by the network."""
        self.uplinks.append(Uplink(name, rlocs, core_port))

    # --- Open vSwitch ----------------------------------------------------------------------

    def provision(self, mtu: int) -> None:
        """Create both bridges with all their ports in one transaction, then the RLOCs."""
        settings, underlay = self.settings, self.settings.underlay
        phy = underlay.bridge
        argv = [*self._bridge(phy, underlay.datapath_id), "--", "set", "interface", phy]
        argv += [f"mtu_request={mtu}"]
        for uplink in self.uplinks:
            argv += ["--", "--may-exist", "add-port", phy, uplink.name]
            argv += ["--", "set", "interface", uplink.name, f"mtu_request={mtu}"]
        argv += ["--", *self._bridge("br0", settings.datapath_id)]
        present = set(self.nameToIntf)
        for number, port in enumerate(settings.eid_ports, 1):
            if port.name in present:
                argv += ["--", "--may-exist", "add-port", "br0", port.name]
                argv += ["--", "set", "interface", port.name, f"ofport_request={number}"]
        argv += [
            "--",
            "--may-exist",
            "add-port",
            "br0",
            settings.tunnel_port,
            "--",
            "set",
            "interface",
        ]
        argv += [settings.tunnel_port, "type=vxlan", "ofport_request=100", *LISP_PORT_OPTIONS]
        self.vsctl(*argv)
        self._underlay_flows(phy)
        self.address()

    def address(self) -> None:
        """What the system does beside Open vSwitch: RLOCs and routes, on the underlay bridge."""
        phy = self.settings.underlay.bridge
        for name in set(self.nameToIntf) - {"mgmt0"}:
            self.sysctl(f"ipv6.conf.{name}.disable_ipv6", 1)
        self.do("ip", "link", "set", phy, "up")
        for uplink in self.uplinks:
            for rloc in uplink.rlocs:
                self.add_address(phy, rloc)
        for metric, uplink in enumerate(self.uplinks, 1):
            for rloc in uplink.rlocs:
                gateway = ipaddress.ip_address(rloc.network.network_address + 0xFE)
                version = f"-{rloc.version}"
                route = ["default", "via", str(gateway), "dev", phy, "metric", str(metric)]
                self.do("ip", version, "route", "replace", *route)

    def _bridge(self, name: str, datapath_id: int | None) -> list[str]:
        role = 0 if name == "br0" else 1
        argv = ["--may-exist", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"]
        argv += ["fail_mode=secure", "protocols=OpenFlow13", "other-config:disable-in-band=true"]
        argv += [f'other-config:hwaddr="02:00:00:0b:{self.index:02x}:{role:02x}"']
        if datapath_id is not None:
            argv += [f"other-config:datapath-id={datapath_id:016x}"]
            # Out of band: no hidden flows. A short back-off: a restarted controller is found soon.
            argv += ["--", f"--id=@{name}", "create", "controller", f'target="{self.controller}"']
            argv += ["connection-mode=out-of-band", "max_backoff=1000"]
            argv += ["--", "set", "bridge", name, f"controller=@{name}"]
        return argv

    def _underlay_flows(self, phy: str) -> None:
        """What a plain underlay needs before, and without, a controller."""
        self.ofctl("add-flow", phy, "priority=0,actions=NORMAL")
        if len(self.uplinks) < 2:
            return
        # Several providers: what is sent from an RLOC leaves by the uplink of that RLOC.
        for uplink in self.uplinks:
            for rloc in uplink.rlocs:
                family = "ip,nw_src" if rloc.version == 4 else "ipv6,ipv6_src"
                self.ofctl(
                    "add-flow",
                    phy,
                    f"priority=10,in_port=LOCAL,{family}={rloc.ip},"
                    f"actions=set_field:{uplink.gateway_mac}->eth_dst,output:{uplink.name}",
                )

    def dpctl(self, command: str, *argv: str) -> str:
        """For Mininet's `dpctl`: ovs-ofctl on the overlay bridge."""
        return self.ofctl(command, "br0", *argv)
