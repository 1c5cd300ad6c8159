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

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

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
