"""Brings GoBGP's best paths of one address family into the kernel's table, until it is ended.

GoBGP speaks BGP only and leaves forwarding to others. Runs in the network namespace of gobgpd:
`gobgp_kernel.py ipv4` or `gobgp_kernel.py ipv6`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def paths(text: str) -> list[Any]:
    """The paths in one line of `gobgp monitor`."""
    decoded = json.loads(text)
    return decoded if isinstance(decoded, list) else [decoded]


def port_to(neighbour: str) -> str:
    """The port by which a neighbour is reached; on a tunnel that says it all."""
    text = subprocess.run(
        ["ip", "-j", "route", "get", neighbour], capture_output=True, text=True, check=True
    ).stdout
    return str(json.loads(text)[0]["dev"])


def follow(path: Any, family: str) -> list[str]:
    """The `ip route` command for a best path."""
    ip = ["ip", "-6" if family == "ipv6" else "-4", "route"]
    prefix = path["nlri"]["prefix"]
    if path.get("isWithdraw") or path.get("withdrawal"):
        return [*ip, "del", prefix, "proto", "bgp"]
    return [*ip, "replace", prefix, "dev", port_to(path["neighbor-ip"]), "proto", "bgp"]


def main(family: str) -> None:
    """Follow gobgpd until it ends."""
    command = ["gobgp", "monitor", "global", "rib", "-a", family, "-j", "--current"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        for line in monitor.stdout:
            for path in paths(line):
                argv = follow(path, family)
                print(" ".join(argv), flush=True)
                subprocess.run(argv, check=False)


if __name__ == "__main__":
    main(sys.argv[1])
