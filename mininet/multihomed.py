"""A site with two uplinks and two sites that send to it: where ingress policy is seen at work.

sudo .venv/bin/python mininet/multihomed.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import byhand  # noqa: E402
import labrun  # noqa: E402
from lispnet import LispNet  # noqa: E402

from lisp_sdn import config  # noqa: E402

CONFIG = HERE / "multihomed.yaml"
UPLINKS = {"athens": [["198.18.1.1"], ["198.18.2.1"]]}

PICTURE = """\
                              up1 198.18.1.1 ───┐
  web 10.1.0.1 ───[ athens ]                   core ─── 198.51.100.1 [ berlin ] ─┬─ b1 10.2.0.1
                              up2 198.18.2.1 ───┘ │                              └─ b2 10.2.0.2
                                                  └──── 203.0.113.1 [ corinth ] ─── c1 10.3.0.1
"""

CLI_HELP = """\
  core tshark -n -i athens-1 -d udp.port==4341,lisp-data     what enters athens by uplink 1
  b1 ping web                                                   (IPv6: b1 ping 2001:db8:e1::1)
  ctl lispctl policy apply my.yaml --why "trying it"            a policy of docs/policy.md
  ctl lispctl policy explain --xtr='berlin' --from "[42] 10.2.0.1" --to "[42] 10.1.0.1"
  ctl lispctl show map-cache --xtr='berlin'                           what berlin's xTR was answered
  exit                                                          removes everything

  my.yaml, for instance: berlin enters by uplink 1, everybody else by uplink 2

    policies:
      - site: athens
        rules:
          - {name: berlin, match: {sites: [berlin]}, action: {prefer: [198.18.1.1]}}
          - {name: others, action: {prefer: [198.18.2.1]}}
"""


def build() -> LispNet:
    """The network of multihomed.yaml with its hosts; nothing of it started yet."""
    net = LispNet(config.load(CONFIG.read_text(), str(CONFIG)), UPLINKS)
    try:
        net.add_eid_host("web", "athens", "web1", "10.1.0.1", "2001:db8:e1::1")
        net.add_eid_host("b1", "berlin", "desk1", "10.2.0.1", "2001:db8:e2::1")
        net.add_eid_host("b2", "berlin", "desk2", "10.2.0.2", "2001:db8:e2::2")
        net.add_eid_host("c1", "corinth", "desk1", "10.3.0.1", "2001:db8:e3::1")
    except BaseException:
        net.stop()
        raise
    return net


def controller_config(net: LispNet) -> dict[str, Any]:
    """The controller's configuration; policies outlive a restart, in the run's directory."""
    return net.controller_config({"store": {"path": str(net.ctl.dir / "lisp.db")}})


def ready(net: LispNet) -> bool:
    """Whether all switches are connected and nothing is wrong with them."""
    status = net.ctl.rest("GET", "/lisp/v1/status").body
    return status["xtrs_connected"] == len(net.xtrs) and not status["problems"]


def prompt() -> None:
    """The network, its controller, and Mininet's prompt."""
    print("Building a multihomed LISP site and two others ...", flush=True)
    with build() as net:
        net.start()
        net.ctl.start(controller_config(net))
        labrun.poll("every switch to connect", lambda: ready(net), 15)
        print(f"\n{PICTURE}\n{CLI_HELP}\nThe controller's log: {net.ctl.log}\n")
        byhand.command_line(net)


def main() -> int:
    """Run; 0 when all went well, else a plain reason on stderr and 1."""
    return byhand.run(prompt)


if __name__ == "__main__":
    sys.exit(main())
