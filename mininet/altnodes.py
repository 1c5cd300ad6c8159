"""The nodes of an ALT: routers on GRE tunnels (RFC 6836 section 4.3), ours and of FRR and GoBGP.

Every tunnel end is an Open vSwitch of the node's own: a GRE port for the tunnel, and an internal
port by which the node's kernel has an address in it. No GRE module of the kernel is needed.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frrnode import FrrDaemons
from labnodes import ControllerNode, Interface
from labrun import LabError, poll
from ovsnode import OpenVSwitch

BRIDGE, UNDERLAY = "br-alt", "br-phy"


@dataclass(frozen=True)
class TunnelEnd:
    """One end of a GRE tunnel. peer: name of the node at the other end.

    address, neighbour: inside of the tunnel. address6, neighbour6: the same for IPv6, which needs
    no session of its own. local, remote: outer addresses. remote_as: the
    neighbour's. password: of the BGP session (RFC 2385), if it has one. backup: the AS path by
    this tunnel is made longer, in both directions.
    """

    peer: str
    address: Interface
    neighbour: str
    address6: Interface
    neighbour6: str
    local: str
    remote: str
    remote_as: int
    password: str | None = None
    backup: bool = False

    @property
    def port(self) -> str:
        """The GRE port."""
        return f"gre-{self.peer}"

    @property
    def host_port(self) -> str:
        """The internal port."""
        return f"alt-{self.peer}"


class AltNode(OpenVSwitch):
    """A node with an uplink and ends of GRE tunnels."""

    index: int
    as_number: int
    datapath_id: int | None = None

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.sysctl("ipv4.conf.all.arp_ignore", 1)
        self.tunnels: list[TunnelEnd] = []

    def build(self, uplink: str, outer: Interface, gateway: Interface, mtu: int) -> None:
        """Both bridges with all their ports, in one transaction; then the addresses."""
        argv = self._bridge(UNDERLAY, 1)
        argv += ["--", "add-port", UNDERLAY, uplink]
        argv += ["--", "set", "interface", UNDERLAY, f"mtu_request={mtu}"]
        argv += ["--", "set", "interface", uplink, f"mtu_request={mtu}"]
        argv += ["--", *self._bridge(BRIDGE, 0)]
        for number, end in enumerate(self.tunnels, 1):
            argv += ["--", "add-port", BRIDGE, end.port, "--", "set", "interface", end.port]
            argv += ["type=gre", f"ofport_request={number}", "options:packet_type=legacy_l3"]
            argv += [f"options:local_ip={end.local}", f"options:remote_ip={end.remote}"]
            argv += ["--", "add-port", BRIDGE, end.host_port]
            argv += ["--", "set", "interface", end.host_port, "type=internal"]
            argv += [f"ofport_request={number + 100}", "mtu_request=1400"]
        self.vsctl(*argv)
        self.ofctl("add-flow", UNDERLAY, "priority=0,actions=NORMAL")
        self.sysctl(f"ipv6.conf.{uplink}.disable_ipv6", 1)
        self.do("ip", "link", "set", UNDERLAY, "up")
        self.add_address(UNDERLAY, outer)
        self.add_default_route(gateway.ip)
        for end in self.tunnels:
            self.sysctl(f"ipv6.conf.{end.host_port}.keep_addr_on_down", 1)
            self.do("ip", "link", "set", end.host_port, "arp", "off", "up")
            self.add_address(end.host_port, end.address)
            self.add_address(end.host_port, end.address6)

    def _bridge(self, name: str, role: int) -> list[str]:
        argv = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"]
        argv += ["fail_mode=secure", "protocols=OpenFlow13", "other-config:disable-in-band=true"]
        return [*argv, f'other-config:hwaddr="02:00:00:0a:{self.index:02x}:{role:02x}"']


class ProviderNode(AltNode, ControllerNode):
    """A provider's controller, and the ALT bridge that it controls, on one machine."""

    def control_bridge(self, datapath_id: int) -> None:
        """Let the controller have the ALT bridge."""
        self.datapath_id = datapath_id
        target = 'target="tcp:127.0.0.1:6653"'
        argv = ["set", "bridge", BRIDGE, f"other-config:datapath-id={datapath_id:016x}"]
        argv += ["--", "--id=@c", "create", "controller", target]
        argv += ["connection-mode=out-of-band", "max_backoff=1000"]
        self.vsctl(*argv, "--", "set", "bridge", BRIDGE, "controller=@c")


class ForeignRouter(AltNode):
    """An ALT-Router that is none of ours: its kernel forwards, its BGP fills the kernel's table."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.sysctl("ipv4.ip_forward", 1)
        self.sysctl("ipv6.conf.all.forwarding", 1)
        self._running: list[subprocess.Popen[Any]] = []

    def start_routing(self) -> None:
        """Start its BGP."""
        raise NotImplementedError

    def attach_kernel(self) -> None:
        """Join each GRE port with the internal port beside it."""
        for end in self.tunnels:
            mac = self.do("cat", f"/sys/class/net/{end.host_port}/address").strip()
            down = f"in_port={end.port},actions=set_field:{mac}->eth_dst,output:{end.host_port}"
            self.ofctl("add-flow", BRIDGE, down)
            self.ofctl("add-flow", BRIDGE, f"in_port={end.host_port},actions=output:{end.port}")

    def routes(self) -> dict[str, str]:
        """The kernel's routes that BGP made: prefix -> interface."""
        texts = [self.do("ip", "-j", f, "route", "show", "proto", "bgp") for f in ("-4", "-6")]
        rows = [row for text in texts for row in json.loads(text or "[]")]
        return {row["dst"]: row["dev"] for row in rows}

    def _daemon_of(self, name: str, *argv: str) -> None:
        log = (self.dir / f"{name}.out").open("ab")
        self._running.append(self.spawn(*argv, stdout=log, stderr=subprocess.STDOUT))

    def kill_routing(self) -> None:
        """End its routing daemons; the kernel keeps what they left."""
        for process in self._running:
            process.kill()
            process.wait()
        self._running.clear()


class FrrRouter(FrrDaemons, ForeignRouter):
    """FRR: zebra and bgpd, nothing of them outside of the node's directory."""

    def start_routing(self) -> None:
        """Start zebra and bgpd."""
        self._running += self.start_frr(self._configuration())

    def _configuration(self) -> str:
        lines = [
            "hostname bgpd",
            "route-map LONGER permit 10",
            f" set as-path prepend {self.as_number} {self.as_number}",
            *self._route_maps(),
            f"router bgp {self.as_number}",
            f" bgp router-id {self.tunnels[0].address.ip}",
            " no bgp ebgp-requires-policy",
            " timers bgp 1 3",
        ]
        for end in self.tunnels:
            lines.append(f" neighbor {end.neighbour} remote-as {end.remote_as}")
            lines.append(f" neighbor {end.neighbour} timers connect 1")
            if end.password is not None:
                lines.append(f" neighbor {end.neighbour} password {end.password}")
        lines.append(" address-family ipv4 unicast")
        for end in self.tunnels:
            lines.append(f"  neighbor {end.neighbour} activate")
            if end.backup:
                lines.append(f"  neighbor {end.neighbour} route-map LONGER in")
                lines.append(f"  neighbor {end.neighbour} route-map LONGER out")
        lines += [" exit-address-family", " address-family ipv6 unicast"]
        for end in self.tunnels:
            lines.append(f"  neighbor {end.neighbour} activate")
            lines.append(f"  neighbor {end.neighbour} route-map {end.peer}-6 in")
            if end.backup:
                lines.append(f"  neighbor {end.neighbour} route-map LONGER out")
        return "\n".join([*lines, " exit-address-family", ""])

    def _route_maps(self) -> Iterator[str]:
        """For IPv6: the next hop that comes over a session by IPv4 is an IPv4-mapped address."""
        for end in self.tunnels:
            yield f"route-map {end.peer}-6 permit 10"
            yield f" set ipv6 next-hop global {end.neighbour6}"
            if end.backup:
                yield f" set as-path prepend {self.as_number} {self.as_number}"


class GobgpRouter(ForeignRouter):
    """GoBGP speaks BGP only: a script beside it brings its best paths into the kernel."""

    def start_routing(self) -> None:
        """Start gobgpd and the script."""
        path = self.dir / "gobgp.json"
        path.write_text(json.dumps(self._configuration()))
        api = "127.0.0.1:50051"
        self._daemon_of("gobgpd", "gobgpd", "-t", "json", "-f", str(path), "--api-hosts", api)
        poll("gobgpd", lambda: self.gobgp("neighbor"))
        script = str(Path(__file__).with_name("gobgp_kernel.py"))
        for family in ("ipv4", "ipv6"):
            self._daemon_of(f"gobgp_kernel_{family}", sys.executable, script, family)

    def gobgp(self, *argv: str) -> str:
        """One command of GoBGP's client. Raises LabError while the daemon does not answer."""
        return self.do("gobgp", *argv)

    def _configuration(self) -> dict[str, Any]:
        longer_by = {"as": str(self.as_number), "repeat-n": 2}
        longer = [end.neighbour for end in self.tunnels if end.backup]
        return {
            "global": {
                "config": {"as": self.as_number, "router-id": str(self.tunnels[0].address.ip)},
                "apply-policy": {
                    "config": {"import-policy-list": ["longer"], "export-policy-list": ["longer"]}
                },
            },
            "neighbors": [self._neighbour(end) for end in self.tunnels],
            "defined-sets": {
                "neighbor-sets": [{"neighbor-set-name": "backup", "neighbor-info-list": longer}]
            },
            "policy-definitions": [
                {
                    "name": "longer",
                    "statements": [
                        {
                            "name": "longer",
                            "conditions": {"match-neighbor-set": {"neighbor-set": "backup"}},
                            "actions": {
                                "bgp-actions": {"set-as-path-prepend": longer_by},
                                "route-disposition": "accept-route",
                            },
                        }
                    ],
                }
            ],
        }

    @staticmethod
    def _neighbour(end: TunnelEnd) -> dict[str, Any]:
        config = {"neighbor-address": end.neighbour, "peer-as": end.remote_as}
        if end.password is not None:
            config["auth-password"] = end.password
        return {
            "config": config,
            "afi-safis": [
                {"config": {"afi-safi-name": name}} for name in ("ipv4-unicast", "ipv6-unicast")
            ],
            "timers": {"config": {"connect-retry": 1, "hold-time": 3, "keepalive-interval": 1}},
            "transport": {"config": {"local-address": str(end.address.ip)}},
        }


def same_subnet(address: str) -> Interface:
    """An address of a tunnel: /30."""
    return ipaddress.ip_interface(f"{address}/30")


def need_gobgp() -> None:
    """Raises LabError when GoBGP is not installed."""
    if not all(map(shutil.which, ("gobgpd", "gobgp"))):
        raise LabError("missing Debian package: gobgpd")
