"""Two providers that find each other over the ALT: ours at both ends, FRR and GoBGP between them.

sudo make lab TOPOLOGY=alt
"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import byhand  # noqa: E402
import labrun  # noqa: E402
import yaml  # noqa: E402
from altnodes import (  # noqa: E402
    AltNode,
    ForeignRouter,
    FrrRouter,
    GobgpRouter,
    ProviderNode,
    TunnelEnd,
    need_gobgp,
    same_subnet,
)
from frrnode import need_frr  # noqa: E402
from labnodes import CoreNode  # noqa: E402
from lispnet import UNDERLAY_MTU, LispNet, gateway_of  # noqa: E402

from lisp_sdn import config  # noqa: E402

CONFIG = HERE / "alt.yaml"

PICTURE = """\
                                  frr ═══════ gobgp                  ═══  GRE tunnel with BGP
                                 ║  ╲       ╱  ║                     ╲ ╱  the same, a longer way
  provider a (AS 64512) ═════════╝    ╲   ╱    ╚═════════ provider b (AS 64513)
     controller, ALT bridge ───────────╱ ╲─────────── controller, ALT bridge
        │                                                  │
   [ athens ] 198.51.100.1 ─────────── core ─────────── 203.0.113.1 [ berlin ]
        │                                                  │
   web 10.1.0.1                                       desk 10.2.0.1
"""

CLI_HELP = """\
  web ping desk                              the first packet asks over frr and gobgp
  a lispctl show alt                         routes, tunnels, what is announced
  a lispctl show bgp                         sessions
  frr tshark -n -i alt-gobgp                 Map-Requests on the ALT
  frr vtysh --vty_socket $FRR -c 'show bgp ipv4 unicast'
  gobgp gobgp global rib
  core ip link set frr-1 down                frr dies: the ALT takes the other way
  exit                                       removes everything
"""

# name: (address in the underlay, AS number)
NODES = {
    "a": ("192.0.2.53/24", 64512),
    "b": ("192.0.3.53/24", 64513),
    "frr": ("198.18.10.1/24", 64520),
    "gobgp": ("198.18.20.1/24", 64530),
}
# (one end, its address, the other end, its address, whether it is a longer way)
TUNNELS = (
    ("a", "10.254.1.1", "frr", "10.254.1.2", False),
    ("a", "10.254.2.1", "gobgp", "10.254.2.2", True),
    ("frr", "10.254.3.1", "gobgp", "10.254.3.2", False),
    ("b", "10.254.4.1", "gobgp", "10.254.4.2", False),
    ("b", "10.254.5.1", "frr", "10.254.5.2", True),
)
BRIDGES = {"a": 0xA0, "b": 0xB0}


class AltNet(LispNet):
    """Both providers with their sites around one core, and the ALT between them."""

    def __init__(self) -> None:
        need_frr()
        need_gobgp()
        data = yaml.safe_load(CONFIG.read_text())
        self.providers = {name: config.load(yaml.safe_dump(part)) for name, part in data.items()}
        self._passwords = {
            neighbour["address"]: neighbour["password"]
            for part in data.values()
            for neighbour in part["bgp"]["neighbours"]
        }
        super().__init__(self.providers["a"])

    def _build(self, uplinks: Any) -> None:
        self.core: CoreNode = self._add("core", CoreNode, self.hosts)
        self.xtrs = {}
        self.alt: dict[str, AltNode] = {}
        kinds = {"a": ProviderNode, "b": ProviderNode, "frr": FrrRouter, "gobgp": GobgpRouter}
        for index, (name, kind) in enumerate(kinds.items(), 1):
            self._add_alt_node(index, name, kind)
        for number, (one, address, other, neighbour, backup) in enumerate(TUNNELS, 1):
            six = f"fd00:254:{number}::1", f"fd00:254:{number}::2"
            self._tunnel(one, (address, six[0]), other, (neighbour, six[1]), backup)
            self._tunnel(other, (neighbour, six[1]), one, (address, six[0]), backup)
        index = 0
        for name, settings in self.providers.items():
            for xtr in settings.xtrs:
                index += 1
                self.ctl = self.alt[name]
                self._add_xtr(index, xtr, [[str(entry.rloc) for entry in xtr.rlocs]])
        self.web = self.add_eid_host("web", "athens", "web1", "10.1.0.1", "2001:db8:e1::1")
        self.desk = self.add_eid_host("desk", "berlin", "desk1", "10.2.0.1", "2001:db8:e2::1")

    def _add_alt_node(self, index: int, name: str, kind: type[AltNode]) -> None:
        text, number = NODES[name]
        node = self._add(name, kind, self.controllers)
        node.index, node.as_number = index, number
        self.alt[name] = node
        self.veth(node, "up1", self.core, f"{name}-1", UNDERLAY_MTU)
        self.core.add_address(f"{name}-1", gateway_of(ipaddress.ip_interface(text)))

    def _tunnel(
        self, one: str, here: tuple[str, str], other: str, there: tuple[str, str], backup: bool
    ) -> None:
        (address, address6), (neighbour, neighbour6) = here, there
        local, remote = (NODES[name][0].split("/")[0] for name in (one, other))
        inner, number = same_subnet(address), NODES[other][1]
        password = self._passwords.get(address) or self._passwords.get(neighbour)
        end = TunnelEnd(
            other,
            inner,
            neighbour,
            ipaddress.ip_interface(f"{address6}/64"),
            neighbour6,
            local,
            remote,
            number,
            password,
            backup,
        )
        self.alt[one].tunnels.append(end)

    def start(self) -> None:
        """Everything but the controllers."""
        for node in self.alt.values():
            node.launch()
        for name, node in self.alt.items():
            outer = ipaddress.ip_interface(NODES[name][0])
            node.build("up1", outer, gateway_of(outer), UNDERLAY_MTU)
        for name, datapath_id in BRIDGES.items():
            self.provider(name).control_bridge(datapath_id)
        super().start()
        for name in ("frr", "gobgp"):
            router = self.router(name)
            router.attach_kernel()
            router.start_routing()

    def start_controllers(self) -> None:
        """Each provider's own."""
        for name in BRIDGES:
            self.provider(name).start(self.configuration(name), wait=0)
        for name in BRIDGES:
            node = self.provider(name)
            labrun.poll(f"the controller of {name}", node._ready, 30)

    def converged(self) -> bool:
        """Whether BGP has found the usual ways: over both foreign routers."""
        frr, gobgp = self.router("frr").routes(), self.router("gobgp").routes()
        ours, theirs = ("10.1.0.0/16", "2001:db8:e1::/48"), ("10.2.0.0/16", "2001:db8:e2::/48")
        near = {**dict.fromkeys(ours, "alt-a"), **dict.fromkeys(theirs, "alt-gobgp")}
        far = {**dict.fromkeys(ours, "alt-frr"), **dict.fromkeys(theirs, "alt-b")}
        foreign = near.items() <= frr.items() and far.items() <= gobgp.items()
        return foreign and all(
            self._ways(name, prefixes) == {port}
            for name, prefixes, port in (("a", theirs, "gre-frr"), ("b", ours, "gre-gobgp"))
        )

    def _ways(self, name: str, prefixes: tuple[str, ...]) -> set[str | None]:
        """By which ports a provider sends Map-Requests for these."""
        items = self.provider(name).rest("GET", "/lisp/v1/alt/routes").body["items"]
        ports = {item["prefix"]: item["port"] for item in items}
        return {ports.get(prefix) for prefix in prefixes}

    def router(self, name: str) -> ForeignRouter:
        """A foreign ALT-Router."""
        node = self.alt[name]
        assert isinstance(node, ForeignRouter)
        return node

    def provider(self, name: str) -> ProviderNode:
        """A provider's machine."""
        node = self.alt[name]
        assert isinstance(node, ProviderNode)
        return node

    def configuration(self, name: str) -> dict[str, Any]:
        """A provider's configuration, with the tunnels that were built."""
        self.config = self.providers[name]
        data = self.controller_config()
        for neighbour in data["bgp"]["neighbours"]:
            neighbour["password"] = self._passwords[neighbour["address"]]
        node = self.provider(name)
        data["alt"]["bridge"] = {
            "datapath_id": f"{BRIDGES[name]:x}",
            "ovsdb": f"unix:{node.dir}/db.sock",
            "tunnels": [
                {
                    "port": end.port,
                    "host_port": end.host_port,
                    "address": str(end.address.ip),
                    "neighbour": end.neighbour,
                    "local": end.local,
                    "remote": end.remote,
                }
                for end in node.tunnels
            ],
        }
        return data


def build() -> AltNet:
    """The network; nothing of it started yet."""
    return AltNet()


def prompt() -> None:
    """The network, its controllers, and Mininet's prompt."""
    print("Building two providers and the ALT between them ...", flush=True)
    with build() as net:
        net.start()
        net.start_controllers()
        labrun.poll("BGP to converge", net.converged, 60)
        print(f"\n{PICTURE}\n{CLI_HELP}")
        byhand.command_line(net)


def main() -> int:
    """Run; 0 when all went well, else a plain reason on stderr and 1."""
    return byhand.run(prompt)


if __name__ == "__main__":
    sys.exit(main())
