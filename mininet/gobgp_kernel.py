"""Brings GoBGP's best paths into the kernel's routing table, until it is ended.

GoBGP speaks BGP only and leaves forwarding to others. Runs in the network namespace of gobgpd.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any


def paths(text: str) -> list[Any]:
    """The paths in one line of `gobgp monitor`."""
    decoded = json.loads(text)
    return decoded if isinstance(decoded, list) else [decoded]


def next_hop(path: Any) -> str | None:
    """The next hop among the attributes of a path."""
    hops: Iterator[str] = (a["nexthop"] for a in path.get("attrs", ()) if a.get("nexthop"))
    return next(hops, None)


def follow(path: Any) -> list[str] | None:
    """The `ip route` command for a best path; None where there is nothing to do."""
    prefix = path["nlri"]["prefix"]
    if path.get("withdrawal") or path.get("isWithdraw"):
        return ["ip", "route", "del", prefix, "proto", "bgp"]
    hop = next_hop(path)
    if hop is None or hop in ("0.0.0.0", "::"):
        return None
    return ["ip", "route", "replace", prefix, "via", hop, "proto", "bgp"]


def main() -> None:
    """Follow gobgpd until it ends."""
    command = ["gobgp", "monitor", "global", "rib", "-j", "--current"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        for line in monitor.stdout:
            print(line.strip(), flush=True)
            for path in paths(line):
                argv = follow(path)
                if argv is not None:
                    print(" ".join(argv), flush=True)
                    subprocess.run(argv, check=False)


if __name__ == "__main__":
    main()
