"""The nodes of a LISP lab: each a Mininet node in a network namespace of its own."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from labrun import LabError, Run, in_namespace, poll  # first: it finds Mininet
from mininet.node import Node

from lisp_sdn.config import XtrSettings

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
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
REPOSITORY = Path(__file__).resolve().parents[1]


def offloads_off(node: LispNode, interface: str) -> None:
    """Userspace OVS neither computes nor checks offloaded checksums; with them on, TCP stalls."""
    node.do("ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")


class LispNode(Node):
    """A Mininet node with what a lab needs beside the interactive shell."""

    def __init__(self, name: str, *, run: Run, **params: Any) -> None:
        super().__init__(name, inNamespace=True, **params)
        self.run = run
        run.record(self.pid)
        self.dir = run.node_dir(name)
        self.do("ip", "link", "set", "lo", "up")
        # Addresses are usable at once, and no router is looked for.
        for scope in ("all", "default"):
            self.sysctl(f"ipv6.conf.{scope}.accept_dad", 0)
            self.sysctl(f"ipv6.conf.{scope}.accept_ra", 0)
            self.sysctl(f"ipv4.conf.{scope}.rp_filter", 0)

    def do(self, *argv: str, timeout: float = 30, check: bool = True) -> str:
        """Run a command in this node and return what it printed. Raises LabError if it fails."""
        command = ["mnexec", "-a", str(self.pid), *argv]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
                env=self.environment(),
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {' '.join(argv)} took over {timeout:g} s") from None
        if check and done.returncode:
            raise LabError(f"{self.name}: {' '.join(argv)}: {done.stdout.strip()}")
        return done.stdout

    def spawn(self, *argv: str, **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a command in this node; it ends with the lab at the latest."""
        kwargs.setdefault("env", self.environment())
        return self.run.spawn(argv, inside=self.pid, **kwargs)

    def environment(self) -> dict[str, str]:
        """The environment of this node's commands."""
        return dict(os.environ)

    def sysctl(self, key: str, value: int) -> None:
        """Set net.KEY in this namespace."""
        with in_namespace(self.pid):
            Path("/proc/sys/net", *key.split(".")).write_text(str(value))

    def add_address(self, interface: str, address: Interface) -> None:
        """Give an interface an address, usable at once."""
        nodad = ["nodad"] if address.version == 6 else []
        self.do("ip", "addr", "replace", str(address), "dev", interface, *nodad)
        known = self.nameToIntf.get(interface)
        if known is not None and address.version == 4 and not known.ip:
            known.ip, known.prefixLen = str(address.ip), address.network.prefixlen

    def add_default_route(self, gateway: Address, *options: str) -> None:
        """Add a default route."""
        self.do(
            "ip", f"-{gateway.version}", "route", "add", "default", "via", str(gateway), *options
        )

    def ping(self, target: str, count: int = 5, interval: float = 0.2, *options: str) -> Pings:
        """Ping and wait for the result; lost packets are in it, no error."""
        argv = ["ping", "-n", "-c", str(count), "-i", str(interval), "-W", "1", *options, target]
        return Pings.read(self.do(*argv, timeout=count * interval + 30, check=False))


@dataclass(frozen=True)
class Pings:
    """What one run of ping saw. times: milliseconds by sequence number."""

    sent: int
    received: int
    times: dict[int, float]
    text: str

    @classmethod
    def read(cls, text: str) -> Pings:
        """Parse the output of ping."""
        times = {
            int(seq): float(ms)
            for seq, ms in re.findall(r"icmp_seq=(\d+) .*?time=([\d.]+) ms", text)
        }
        found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        if found is None:
            raise LabError(f"ping said: {text.strip()}")
        return cls(int(found[1]), int(found[2]), times, text)


class EidHost(LispNode):
    """An end host: EIDs on eth0, default routes to the site's gateway."""

    port: str

    def add_eid(self, eid: Address, gateway: Interface) -> None:
        """Add an EID and, the first time in a family, the default route."""
        first = not self.do(
            "ip", f"-{eid.version}", "addr", "show", "dev", "eth0", "scope", "global"
        )
        self.add_address("eth0", ipaddress.ip_interface(f"{eid}/{gateway.network.prefixlen}"))
        if first:
            self.add_default_route(gateway.ip)

    def forget_neighbours(self) -> None:
        """Empty the ARP and neighbour caches, as after a long silence."""
        self.do("ip", "neigh", "flush", "all")


class CoreNode(LispNode):
    """The underlay: one router between all uplinks."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.sysctl("ipv4.ip_forward", 1)
        self.sysctl("ipv6.conf.all.forwarding", 1)
        # An uplink answers for its own address only, also when a bridge floods into two of them.
        for scope in ("all", "default"):
            self.sysctl(f"ipv4.conf.{scope}.arp_ignore", 1)
            self.sysctl(f"ipv4.conf.{scope}.arp_announce", 2)

    def blackhole(self, rloc: str, on: bool = True) -> None:
        """Lose packets to an RLOC in silence: no link goes down, nobody is told."""
        address = ipaddress.ip_address(rloc)
        self.do(
            "ip",
            f"-{address.version}",
            "route",
            "replace" if on else "del",
            "blackhole",
            f"{address}/{address.max_prefixlen}",
        )


@dataclass
class Uplink:
    """One uplink of an xTR. core_port: the other end, in the core."""

    name: str
    rlocs: list[Interface]
    core_port: str
    gateway_mac: str = ""


class XtrNode(LispNode):
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
        self._daemons: list[subprocess.Popen[Any]] = []

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "OVS_RUNDIR": str(self.dir),
            "OVS_DBDIR": str(self.dir),
            "OVS_LOGDIR": str(self.dir),
        }

    def add_uplink(self, name: str, rlocs: list[Interface], core_port: str) -> None:
        """Declare an uplink; the cable itself is laid by the network."""
        self.uplinks.append(Uplink(name, rlocs, core_port))

    # --- Open vSwitch ----------------------------------------------------------------------

    def launch(self) -> None:
        """Start ovsdb-server and ovs-vswitchd, on the database of an earlier start if any."""
        database = self.dir / "conf.db"
        if not database.exists():
            self.do("ovsdb-tool", "create", str(database), str(OVS_SCHEMA))
        self._daemon(
            "ovsdb-server",
            str(database),
            f"--remote=punix:{self.dir}/db.sock",
            f"--unixctl={self.dir}/ovsdb.ctl",
        )
        poll("ovsdb-server", lambda: (self.dir / "db.sock").exists())
        self.do("ovs-vsctl", f"--db=unix:{self.dir}/db.sock", "--no-wait", "init")
        self._daemon(
            "ovs-vswitchd", f"unix:{self.dir}/db.sock", f"--unixctl={self.dir}/vswitchd.ctl"
        )
        poll("ovs-vswitchd", lambda: (self.dir / "vswitchd.ctl").exists())

    def _daemon(self, name: str, *argv: str) -> None:
        log = self.dir / f"{name}.log"
        common = [
            "--no-chdir",
            f"--log-file={log}",
            f"--pidfile={self.dir}/{name}.pid",
            "-vconsole:off",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._daemons.append(self.spawn(name, *argv, *common, **quiet))

    def kill_switch(self) -> None:
        """End ovs-vswitchd and ovsdb-server at once; `launch` and `provision` start them again."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        for name in ("db.sock", "vswitchd.ctl", "ovsdb.ctl"):
            (self.dir / name).unlink(missing_ok=True)

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
        for name in present - {"mgmt0"}:
            self.sysctl(f"ipv6.conf.{name}.disable_ipv6", 1)
        self._underlay_flows(phy)
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

    def vsctl(self, *argv: str) -> str:
        """ovs-vsctl on this xTR's database."""
        return self.do("ovs-vsctl", f"--db=unix:{self.dir}/db.sock", *argv)

    def ofctl(self, command: str, bridge: str, *argv: str) -> str:
        """ovs-ofctl, OpenFlow 1.3, on a bridge of this xTR."""
        target = f"unix:{self.dir}/{bridge}.mgmt"
        return self.do("ovs-ofctl", "-O", "OpenFlow13", command, target, *argv)

    def dpctl(self, command: str, *argv: str) -> str:
        """For Mininet's `dpctl`: ovs-ofctl on the overlay bridge."""
        return self.ofctl(command, "br0", *argv)

    def appctl(self, *argv: str) -> str:
        """ovs-appctl on this xTR's ovs-vswitchd."""
        return self.do("ovs-appctl", "-t", f"{self.dir}/vswitchd.ctl", *argv)

    def flows(self, bridge: str = "br0") -> list[str]:
        """The flows of a bridge, one text each, with statistics."""
        text = self.ofctl("dump-flows", bridge)
        return [line.strip() for line in text.splitlines() if "cookie=" in line]

    def groups(self, bridge: str = "br0") -> list[str]:
        """The groups of a bridge, one text each."""
        text = self.ofctl("dump-groups", bridge)
        return [line.strip() for line in text.splitlines() if "group_id=" in line]


@dataclass(frozen=True)
class Reply:
    """A REST answer. body: decoded JSON, or text."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class ControllerNode(LispNode):
    """Where `ryu-manager lisp_sdn.apps` runs; REST is on 127.0.0.1:8080 of this node."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        self.process: subprocess.Popen[Any] | None = None
        self.log = self.dir / "ryu.log"

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}

    @staticmethod
    def ryu_manager() -> str:
        """The ryu-manager of the running Python's environment."""
        beside = Path(sys.executable).with_name("ryu-manager")
        found = str(beside) if beside.exists() else shutil.which("ryu-manager")
        if not found:
            raise LabError("ryu-manager is not installed; make setup installs it")
        return found

    def start(self, config: dict[str, Any] | None, *, wait: float = 30) -> None:
        """Start the controller. config: content of lisp.yaml; None starts it without any."""
        argv = [self.ryu_manager()]
        if config is not None:
            (self.dir / "lisp.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
            (self.dir / "ryu.conf").write_text(f"[lisp_sdn]\nconfig = {self.dir}/lisp.yaml\n")
            argv += ["--config-file", str(self.dir / "ryu.conf")]
        with self.log.open("ab") as log:
            self.process = self.spawn(
                *argv, "lisp_sdn.apps", stdout=log, stderr=subprocess.STDOUT, cwd=self.dir
            )
        if wait:
            poll("the controller's REST interface", self._ready, wait)

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(
                f"the controller ended with status {self.process.returncode}:\n{tail}"
            )
        reply = self.rest("GET", "/lisp/v1/status")
        if reply.status != 200:
            raise LabError(f"GET /lisp/v1/status: {reply.status} {reply.body}")
        return True

    def kill(self) -> None:
        """kill -9, without a chance to say goodbye."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def rest(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One REST request, JSON in and out."""
        client = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        with in_namespace(self.pid):
            client.connect()
        try:
            payload = None if body is None else json.dumps(body)
            kind = {"Content-Type": "application/json"} if body is not None else {}
            client.request(method, path, payload, {**kind, **(headers or {})})
            answer = client.getresponse()
            text = answer.read().decode()
        finally:
            client.close()
        try:
            decoded: Any = json.loads(text) if text else None
        except ValueError:
            decoded = text
        return Reply(answer.status, decoded, {k.lower(): v for k, v in answer.getheaders()})
