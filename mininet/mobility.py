"""Three sites between which a host moves, with its addresses and under a running ping.

sudo .venv/bin/python mininet/mobility.py [--demo]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import byhand  # noqa: E402
import labrun  # noqa: E402
from labnodes import Pings  # noqa: E402
from lispnet import LispNet  # noqa: E402

from lisp_sdn import config  # noqa: E402

CONFIG = HERE / "mobility.yaml"

WEB, WEB_V6 = "10.1.0.1", "2001:db8:e1::1"
C1, C1_V6 = "10.3.0.1", "2001:db8:e3::1"
HOME, AWAY = ("athens", "lan1"), ("berlin", "guest")
INTERVAL = 0.01
"""Seconds between two pings of a measurement."""

PICTURE = """\
  web 10.1.0.1 ─ lan1 [ athens ] ─┐     ┌─ [ berlin ]  lan1 ─ b1 10.2.0.1
  a2  10.1.0.2 ─ lan2             core ─┤              guest ← web will be here
                                        └─ [ corinth ] lan1 ─ c1 10.3.0.1
"""

CLI_HELP = """\
  c1 ping web                            (IPv6: c1 ping 2001:db8:e1::1) let it run, and move web:
  py net.move("web", "berlin", "guest")      unplug it at athens, plug it in at berlin
  py net.move("web", "athens", "lan1")       and back
  ctl lispctl show mobile-eids               where everybody is
  ctl lispctl show events                    what happened
  ctl lispctl trace '[42] 10.3.0.1' 10.1.0.1 which way a packet takes now
  exit                                       removes everything
"""


class MobileNet(LispNet):
    """A LispNet whose hosts can be plugged in elsewhere."""

    def start(self) -> None:
        """Start every Open vSwitch; it takes up ports as soon as they are plugged in."""
        super().start()
        for node in self.xtrs.values():
            # A port is no host of the xTR's own network.
            node.sysctl("ipv6.conf.default.disable_ipv6", 1)
            for number, port in enumerate(node.settings.eid_ports, 1):
                if port.name not in node.nameToIntf:
                    self._wait_for(node.name, port.name, number)
        self.plugged = {host.name: self._first(host.port, host) for host in self.eid_hosts()}

    def eid_hosts(self) -> list[Any]:
        """The hosts with EIDs."""
        return [host for host in self.hosts if hasattr(host, "port")]

    def _first(self, port: str, host: Any) -> tuple[str, str]:
        (link,) = (link for link in self.links if host in (link.intf1.node, link.intf2.node))
        far = link.intf2 if link.intf1.node is host else link.intf1
        return far.node.name, port

    def _wait_for(self, xtr: str, port: str, number: int) -> None:
        """Let Open vSwitch wait for a port that is not there; it says so and does."""
        node = self.xtrs[xtr]
        add = ["add-port", "br0", port, "--", "set", "interface", port, f"ofport_request={number}"]
        node.vsctl(*add)

    def move(self, host: str, xtr: str, port: str) -> float:
        """Unplug a host and plug it in at another port; returns how many seconds that took."""
        old_xtr, old_port = self.plugged[host]
        old, new = self.xtrs[old_xtr], self.xtrs[xtr]
        began = time.monotonic()
        old.do("ip", "link", "set", old_port, "netns", str(new.pid), "name", port)
        new.do("ip", "link", "set", port, "up")
        took = time.monotonic() - began
        self.plugged[host] = (xtr, port)
        # Open vSwitch still has the device that is gone. Two transactions: one would be no change.
        old.vsctl("del-port", "br0", old_port)
        numbers = [item.name for item in old.settings.eid_ports]
        self._wait_for(old_xtr, old_port, numbers.index(old_port) + 1)
        return took


@dataclass(frozen=True)
class Loss:
    """What one move cost, as a ping in each family at `INTERVAL` saw it. plugging: seconds that
    the cable itself was moved, which is part of it."""

    v4: Pings
    v6: Pings
    plugging: float

    def lost(self, pings: Pings) -> float:
        """Milliseconds of traffic that were lost."""
        return (pings.sent - pings.received) * INTERVAL * 1000


def build(mobility: config.MobilitySettings | None = None) -> MobileNet:
    """The network of mobility.yaml with its hosts; nothing of it started yet."""
    settings = config.load(CONFIG.read_text(), str(CONFIG))
    if mobility is not None:
        settings = settings.model_copy(update={"mobility": mobility})
    net = MobileNet(settings)
    try:
        net.add_eid_host("web", *HOME, WEB, WEB_V6)
        net.add_eid_host("a2", "athens", "lan2", "10.1.0.2", "2001:db8:e1::2")
        net.add_eid_host("b1", "berlin", "lan1", "10.2.0.1", "2001:db8:e2::1")
        net.add_eid_host("c1", "corinth", "lan1", C1, C1_V6)
    except BaseException:
        net.stop()
        raise
    return net


def connected(net: LispNet) -> bool:
    """Whether every switch is connected; that nobody is at a port is no problem here."""
    status = net.ctl.rest("GET", "/lisp/v1/status").body
    problems = [text for text in status["problems"] if "EID-facing port" not in text]
    return status["xtrs_connected"] == len(net.xtrs) and not problems


def measure(net: MobileNet, xtr: str, port: str, seconds: float = 1.5) -> Loss:
    """Move web while c1 pings it in both families."""
    c1 = net.nameToNode["c1"]
    count = str(round(seconds / INTERVAL))
    runs = [
        c1.spawn(
            *("ping", "-n", "-i", str(INTERVAL), "-c", count, "-W", "1", target),
            stdout=-1,
            text=True,
        )
        for target in (WEB, WEB_V6)
    ]
    time.sleep(seconds / 5)
    plugging = net.move("web", xtr, port)
    v4, v6 = (Pings.read(run.communicate(timeout=seconds * 10 + 30)[0]) for run in runs)
    return Loss(v4, v6, plugging)


def prompt() -> None:
    """The network, its controller, and Mininet's prompt."""
    print("Building three LISP sites ...", flush=True)
    with build() as net:
        net.start()
        net.ctl.start(net.controller_config())
        labrun.poll("every switch to connect", lambda: connected(net), 15)
        print(f"\n{PICTURE}\n{CLI_HELP}\nThe controller's log: {net.ctl.log}\n")
        byhand.command_line(net)


def main() -> int:
    """Run; 0 when all went well, else a plain reason on stderr and 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", action="store_true", help="explain what happens, then end")
    if not parser.parse_args().demo:
        return byhand.run(prompt)
    import mobility_demo

    return byhand.run(mobility_demo.run)


if __name__ == "__main__":
    sys.exit(main())
