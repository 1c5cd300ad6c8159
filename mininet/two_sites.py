"""Two LISP sites on Open vSwitch, with the Mininet prompt, or explained step by step (--demo).

sudo make lab     sudo make demo
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import byhand  # noqa: E402
import labrun  # noqa: E402
from lispnet import UNDERLAY_MTU, LispNet  # noqa: E402

from lisp_sdn import config  # noqa: E402

CONFIG = HERE / "two_sites.yaml"

PICTURE = """\
  h1 10.1.0.1 ─┐                                                         ┌─ h2 10.2.0.1   IID 42
               ├─[ left ]─ 198.51.100.1 ── core ── 203.0.113.1 ─[ right ]─┤
  t1 10.1.0.1 ─┘    │                                             │      └─ t2 10.2.0.1   IID 43
                    └──────── OpenFlow ── controller ─────────────┘
"""

CLI_HELP = """\
  h1 ping h2                        through the overlay (IPv6: h1 ping 2001:db8:e2::1)
  t1 ping t2                        the other tenant, the same addresses
  left ovs-ofctl -O OpenFlow13 dump-flows unix:$OVS_RUNDIR/br0.mgmt
  ctl curl -s localhost:8080/lisp/v1/xtrs/left/map-cache
  core tshark -n -i left-1 -d udp.port==4341,lisp-data
  exit                              removes everything
"""


def build(settings: config.Config | None = None, mtu: int = UNDERLAY_MTU) -> LispNet:
    """The network of two_sites.yaml with its four hosts; nothing of it started yet.

    mtu: of the underlay.
    """
    if settings is None:
        settings = config.load(CONFIG.read_text(), str(CONFIG))
    net = LispNet(settings, mtu=mtu)
    try:
        net.add_eid_host("h1", "left", "blue1", "10.1.0.1", "2001:db8:e1::1")
        net.add_eid_host("h2", "right", "blue2", "10.2.0.1", "2001:db8:e2::1")
        net.add_eid_host("t1", "left", "red1", "10.1.0.1", "2001:db8:e1::1")
        net.add_eid_host("t2", "right", "red2", "10.2.0.1", "2001:db8:e2::1")
    except BaseException:
        net.stop()
        raise
    return net


def connected(net: LispNet) -> bool:
    """Whether both switches are connected and nothing is wrong with them."""
    status = net.ctl.rest("GET", "/lisp/v1/status").body
    if status["problems"] and status["xtrs_connected"] == len(net.xtrs):
        raise labrun.LabError("; ".join(status["problems"]))
    return status["xtrs_connected"] == len(net.xtrs) and not status["problems"]


def prompt() -> None:
    """The network, its controller, and Mininet's prompt."""
    print("Building two LISP sites ...", flush=True)
    with build() as net:
        net.start()
        net.ctl.start(net.controller_config())
        labrun.poll("both switches to connect", lambda: connected(net), 15)
        print(f"\n{PICTURE}\n{CLI_HELP}\nThe controller's log: {net.ctl.log}\n")
        byhand.command_line(net)


def main() -> int:
    """Run; 0 when all went well, else a plain reason on stderr and 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", help="explain what happens, then end")
    arguments = parser.parse_args()
    if not arguments.demo:
        return byhand.run(prompt)
    import demo

    return byhand.run(demo.run)


if __name__ == "__main__":
    sys.exit(main())
