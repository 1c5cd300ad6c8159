"""An Open vSwitch of a lab node's own: its daemons, and the tools that talk to them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from labnodes import LispNode
from labrun import poll

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class OpenVSwitch(LispNode):
    """Its own ovsdb-server and ovs-vswitchd, with the userspace datapath."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        self._daemons: list[subprocess.Popen[Any]] = []

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "OVS_RUNDIR": str(self.dir),
            "OVS_DBDIR": str(self.dir),
            "OVS_LOGDIR": str(self.dir),
        }

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

    def kill_switch(self, *, forget: bool = False) -> None:
        """End ovs-vswitchd and ovsdb-server at once; `launch` and `provision` start them again.

        forget: and remove the database, so that `launch` starts with an empty one.
        """
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        for name in ("db.sock", "vswitchd.ctl", "ovsdb.ctl"):
            (self.dir / name).unlink(missing_ok=True)
        if forget:
            (self.dir / "conf.db").unlink(missing_ok=True)

    def vsctl(self, *argv: str) -> str:
        """ovs-vsctl on this xTR's database."""
        return self.do("ovs-vsctl", f"--db=unix:{self.dir}/db.sock", *argv)

    def ofctl(self, command: str, bridge: str, *argv: str) -> str:
        """ovs-ofctl, OpenFlow 1.3, on a bridge of this xTR."""
        target = f"unix:{self.dir}/{bridge}.mgmt"
        return self.do("ovs-ofctl", "-O", "OpenFlow13", command, target, *argv)

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
