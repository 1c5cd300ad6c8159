"""Routers that run FRR, with nothing of it outside of the node's own directory."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from labnodes import CoreNode, LispNode
from labrun import LabError, poll

FRR = Path("/usr/lib/frr")


def need_frr() -> None:
    """Raises LabError when FRR is not installed."""
    if not (FRR / "bgpd").exists() or not shutil.which("vtysh"):
        raise LabError("missing Debian packages: frr")


class FrrDaemons(LispNode):
    """zebra and bgpd of a node."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "FRR": str(self.home)}

    @property
    def home(self) -> Path:
        """Where FRR has its files and sockets."""
        return self.dir / "frr"

    def start_frr(self, bgpd: str) -> list[subprocess.Popen[Any]]:
        """Start zebra and bgpd as the user that Debian made for them. bgpd: its configuration."""
        self.home.mkdir()
        (self.home / "zebra.conf").write_text("hostname zebra\n")
        (self.home / "bgpd.conf").write_text(bgpd)
        self.do("chown", "-R", "frr:frr", str(self.home))
        common = ["--vty_socket", str(self.home), "-P", "0", "-z", f"{self.home}/zserv.api"]
        running = []
        for name in ("zebra", "bgpd"):
            files = ["-f", f"{self.home}/{name}.conf", "-i", f"{self.home}/{name}.pid"]
            log = (self.dir / f"{name}.out").open("ab")
            argv = (str(FRR / name), *common, *files)
            running.append(self.spawn(*argv, stdout=log, stderr=subprocess.STDOUT))
            if name == "zebra":
                poll("zebra", lambda: (self.home / "zserv.api").exists())
        return running

    def vtysh(self, command: str) -> str:
        """One command of FRR's shell."""
        return self.do("vtysh", "--vty_socket", str(self.home), "-c", command)


class FrrNode(FrrDaemons, CoreNode):
    """The kernel forwards, zebra and bgpd fill its routing table."""

    def bgp(self, version: int = 4) -> dict[str, dict[str, str]]:
        """What BGP was told: prefix -> next hop by neighbour."""
        text = self.vtysh(f"show bgp ipv{version} unicast json")
        found: dict[str, dict[str, str]] = {}
        for prefix, paths in json.loads(text)["routes"].items():
            for path in paths:
                hops = [hop["ip"] for hop in path["nexthops"] if hop.get("scope") != "link-local"]
                found.setdefault(prefix, {})[path["peerId"]] = hops[0]
        return found

    def routes(self, version: int = 4) -> dict[str, str]:
        """The kernel's routes that BGP made: prefix -> next hop."""
        text = self.do("ip", f"-{version}", "-j", "route", "show", "proto", "bgp")
        return {row["dst"]: row["gateway"] for row in json.loads(text or "[]")}
