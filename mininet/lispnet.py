"""Mininet nodes for LISP networks: an xTR with its own Open vSwitch, hosts, underlay, controller.

Everything lives in network namespaces of its own, the controller too: nothing touches the root
namespace, other bridges or other labs. `LispNet` builds a network from a lisp_sdn configuration:

    hosts --- EID ports [br0 = lisp0 ... br-phy] uplinks --- core router --- ... other xTRs
                          \\__ OpenFlow (mgmt0) __ controller __/

`with LispNet(config) as net: net.start()`; leaving the block removes all of it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from labnodes import ControllerNode, CoreNode, EidHost, LispNode, offloads_off
from labrun import LabError, Run, poll
from mininet.net import Mininet
from xtrnode import XtrNode

from lisp_sdn.config import Config, XtrSettings

__all__ = ["ControllerNode", "CoreNode", "EidHost", "LabError", "LispNet", "XtrNode", "poll"]

UNDERLAY_MTU = 1600
"""Leaves room for the outer headers: 36 octets with IPv4, 56 with IPv6."""

MAP_SERVER = ("192.0.2.53/24", "2001:db8:53::53/64")
"""The controller's address in the underlay, for LISP control messages of foreign routers."""


class LispNet(Mininet):
    """A network of xTRs around one core router, with a controller.

    config: what the controller gets; its xtrs become XtrNodes. uplinks: for a multihomed xTR, its
    RLOCs grouped by uplink; by default all RLOCs share one uplink. mtu: of the underlay.
    """

    hosts: list[Any]
    switches: list[Any]
    controllers: list[Any]
    nameToNode: dict[str, Any]

    def __init__(
        self,
        config: Config,
        uplinks: Mapping[str, Sequence[Sequence[str]]] | None = None,
        mtu: int = UNDERLAY_MTU,
    ) -> None:
        # Mininet's own init raises limits of the whole machine by sysctl; a lab need not.
        Mininet.inited = True
        super().__init__(topo=None, build=False)
        self.config = config
        self.mtu = mtu
        self.run = Run()
        self._stopped = False
        try:
            self._build(uplinks or {})
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> LispNet:
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self.stop()

    # --- building -------------------------------------------------------------------------

    def _build(self, uplinks: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.core: CoreNode = self._add("core", CoreNode, self.hosts)
        self.ctl: ControllerNode = self._add("ctl", ControllerNode, self.controllers)
        self.xtrs: dict[str, XtrNode] = {}
        self._connect_controller_to_underlay()
        for index, settings in enumerate(self.config.xtrs, 1):
            groups = uplinks.get(settings.name) or [[str(r.rloc) for r in settings.rlocs]]
            self._add_xtr(index, settings, groups)

    def _add(self, name: str, cls: type[Any], register: list[Any]) -> Any:
        if name in self.nameToNode:
            raise LabError(f"two nodes are called {name!r}")
        node = cls(name, run=self.run)
        register.append(node)
        self.nameToNode[name] = node
        return node

    def veth(self, one: LispNode, name1: str, two: LispNode, name2: str, mtu: int) -> None:
        """A cable between two nodes, offloads off: userspace OVS computes no checksums."""
        for name in (name1, name2):
            if len(name) > 15:
                raise LabError(f"interface name {name!r} is longer than 15 characters")
        self.addLink(one, two, intfName1=name1, intfName2=name2)
        for node, name in ((one, name1), (two, name2)):
            node.do("ip", "link", "set", name, "mtu", str(mtu), "up")
            offloads_off(node, name)

    def _connect_controller_to_underlay(self) -> None:
        self.veth(self.ctl, "underlay0", self.core, "ctl", self.mtu)
        for text in MAP_SERVER:
            own = ipaddress.ip_interface(text)
            self.ctl.add_address("underlay0", own)
            self.core.add_address("ctl", gateway_of(own))
            self.ctl.add_default_route(gateway_of(own).ip)

    def _add_xtr(self, index: int, settings: XtrSettings, groups: Sequence[Sequence[str]]) -> None:
        node: XtrNode = self._add(settings.name, XtrNode, self.switches)
        self.xtrs[settings.name] = node
        node.settings = settings
        node.index = index
        self.veth(node, "mgmt0", self.ctl, settings.name, 1500)
        node.add_address("mgmt0", ipaddress.ip_interface(f"172.31.{index}.2/30"))
        self.ctl.add_address(settings.name, ipaddress.ip_interface(f"172.31.{index}.1/30"))
        node.controller = f"tcp:172.31.{index}.1:6653"
        for number, rlocs in enumerate(groups, 1):
            core_port = f"{settings.name}-{number}"
            node.add_uplink(f"up{number}", [rloc_interface(text) for text in rlocs], core_port)
            self.veth(node, f"up{number}", self.core, core_port, self.mtu)
            mac = f"02:00:00:c0:{index:02x}:{number:02x}"
            self.core.do("ip", "link", "set", core_port, "address", mac)
            node.uplinks[-1].gateway_mac = mac
            for rloc in node.uplinks[-1].rlocs:
                self.core.add_address(core_port, gateway_of(rloc))

    def add_eid_host(self, name: str, xtr: str, port: str, *eids: str) -> EidHost:
        """A host with these EIDs on an EID port of the configuration, default routes included."""
        node = self.xtrs[xtr]
        settings = next((p for p in node.settings.eid_ports if p.name == port), None)
        if settings is None:
            raise LabError(f"xTR {xtr} has no EID port {port!r}")
        host: EidHost = self._add(name, EidHost, self.hosts)
        self.veth(host, "eth0", node, port, 1500)
        host.port = port
        for text in eids:
            eid = ipaddress.ip_address(text)
            gateway = next((g for g in settings.gateways if eid in g.network), None)
            if gateway is None:
                raise LabError(f"EID {text} fits no gateway of port {port}")
            host.add_eid(eid, gateway)
        return host

    # --- running --------------------------------------------------------------------------

    def start(self) -> None:
        """Start every Open vSwitch. The controller is started apart: `net.ctl.start(...)`."""
        for node in self.xtrs.values():
            node.launch()
        for node in self.xtrs.values():
            node.provision(self.mtu)

    def stop(self) -> None:
        """Remove everything; harmless when repeated."""
        if self._stopped:
            return
        self._stopped = True
        self.run.close()
        for node in (*self.hosts, *self.switches, *self.controllers):
            with contextlib.suppress(Exception):
                node.terminate()
        self.hosts, self.switches, self.controllers = [], [], []
        self.nameToNode = {}

    def cut(self, xtr: str, uplink: int = 1) -> None:
        """Unplug an uplink: both ends lose carrier."""
        self.core.do("ip", "link", "set", f"{xtr}-{uplink}", "down")

    def mend(self, xtr: str, uplink: int = 1) -> None:
        """Plug it in again; the core forgot its IPv6 addresses with the link."""
        port = f"{xtr}-{uplink}"
        self.core.do("ip", "link", "set", port, "up")
        for rloc in self.xtrs[xtr].uplinks[uplink - 1].rlocs:
            if rloc.version == 6:
                self.core.add_address(port, gateway_of(rloc))

    def controller_config(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the controller of this run gets: also knows databases, uplinks and the MTU."""
        data = self.config.model_dump(mode="json", exclude_unset=True)
        for site, settings in zip(data.get("sites", []), self.config.sites, strict=True):
            for key, value in zip(
                site["authentication_keys"], settings.authentication_keys, strict=True
            ):
                key["key"] = value.key.get_secret_value()
        for entry in data.get("xtrs", []):
            node = self.xtrs[entry["name"]]
            entry["ovsdb"] = f"unix:{node.dir}/db.sock"
            entry.setdefault("underlay", {})["mtu"] = self.mtu
            for uplink in node.uplinks:
                for rloc in uplink.rlocs:
                    found = next(r for r in entry["rlocs"] if r["rloc"] == str(rloc.ip))
                    found.setdefault("uplink", uplink.name)
                    found.setdefault("next_hop", str(gateway_of(rloc).ip))
        data.update(extra or {})
        return data


def rloc_interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """An RLOC with the length of its underlay subnet: /24 or /64."""
    length = 24 if ipaddress.ip_address(text).version == 4 else 64
    return ipaddress.ip_interface(f"{text}/{length}")


def gateway_of(
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface,
) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """The core router's address in a subnet: .254, ::fe."""
    address = interface.network.network_address + 0xFE
    return ipaddress.ip_interface(f"{address}/{interface.network.prefixlen}")


@contextlib.contextmanager
def uninterrupted() -> Any:
    """Ignore Ctrl-C and SIGTERM inside: an impatient second Ctrl-C must not stop the clean-up."""
    old = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def exit_on_sigterm() -> None:
    """Make SIGTERM and SIGHUP unwind like Ctrl-C, so that clean-up runs."""

    def unwind(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, unwind)
    signal.signal(signal.SIGHUP, unwind)
