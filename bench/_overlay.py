"""What controllers are measured with: configuration, registrations, `ryu-manager`."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import HERE, cpu_seconds, free_port, process, random_prefixes

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.mapping import codec
from lisp_sdn.mapping.database import PROXY_REPLY, USE_TTL, Database, Registrar, Registration
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import Change, Table
from lisp_sdn.model import Locator
from lisp_sdn.prefixtable import code_of

KEY = "bench-key"
SITE = "bench"
ETRS = 1000
LOOPBACK = ipaddress.ip_address("127.0.0.1")

IID = 42
DATAPATH_ID = 1

REMOTE_SITES = 64
"""Sites of instance-ID `IID`, each with a /9 of 64.0.0.0/3, two RLOCs and a policy of its own."""


def policy(site: str, rloc: str) -> dict[str, Any]:
    """Two rules that look at who asks; every request is judged by them."""
    rules = [
        {
            "name": "partner",
            "match": {"itr_rlocs": ["198.51.100.0/24"]},
            "action": {"deny": "policy-denied"},
        },
        {
            "name": "local",
            "match": {"itr_rlocs": ["127.0.0.0/8", "192.0.2.0/24"]},
            "action": {"prefer": [rloc]},
        },
    ]
    return {"site": site, "rules": rules}


def _site(name: str, prefix: str, iid: int) -> dict[str, Any]:
    return {
        "name": name,
        "authentication_keys": [{"key": KEY, "algorithm": "hmac-sha-256-128"}],
        "eid_prefixes": [
            {
                "prefix": prefix,
                "iid": iid,
                "accept_more_specifics": True,
                "max_more_specifics": 2_000_000,
            }
        ],
        "max_registrations": 2_000_000,
    }


def _remote(number: int) -> str:
    return f"remote-{number}"


def _rlocs(number: int) -> tuple[str, str]:
    return f"203.0.113.{2 * number + 1}", f"203.0.113.{2 * number + 2}"


def configuration(directory: Path, *, switch: bool = False) -> dict[str, Any]:
    """A site that owns half of IPv4, its policy, and limits that are in force but not reached.

    switch: also an xTR, whose one EID-facing port is in instance-ID `IID`, and `REMOTE_SITES`.
    """
    settings: dict[str, Any] = {
        "sites": [_site(SITE, "0.0.0.0/1", 0)],
        "policies": [policy(SITE, "203.0.113.2")],
        "limits": {
            "map_requests_per_source": 10_000_000,
            "map_requests_total": 20_000_000,
            "map_replies_per_eid": 1_000_000,
            "map_cache_entries": 200_000,
        },
        "store": {"path": str(directory / "store.db")},
    }
    if switch:
        for number in range(REMOTE_SITES):
            prefix = ipaddress.IPv4Address(0x40000000 | number << 23)
            settings["sites"].append(_site(_remote(number), f"{prefix}/9", IID))
            settings["policies"].append(policy(_remote(number), _rlocs(number)[1]))
        settings["sites"].append(_site("left", "10.1.0.0/24", IID))
        settings["xtrs"] = [
            {
                "name": "left",
                "site": "left",
                "datapath_id": f"{DATAPATH_ID:016x}",
                "rlocs": [{"rloc": "192.0.2.1"}],
                "eid_ports": [{"name": "blue1", "iid": IID, "gateways": ["10.1.0.254/24"]}],
            }
        ]
    return settings


def write(settings: dict[str, Any], directory: Path) -> Path:
    """The configuration as a file."""
    path = directory / "config.yaml"
    path.write_text(json.dumps(settings))
    return path


def fill(path: Path, prefixes: Iterable[int], length: int, *, remote: bool = False) -> None:
    """Registrations of `ETRS` ETRs with two RLOCs each, as the Map-Server itself stores them.

    remote: of the remote sites, in instance-ID `IID`.
    """
    database = Database()
    store = SqliteStore(path)
    now = time.time()
    sets = [
        database.intern(
            Locator(ipaddress.ip_address(rloc), priority=priority)
            for priority, rloc in enumerate(_rlocs(number), 1)
        )
        for number in range(REMOTE_SITES)
    ]
    changes = []
    for number, address in enumerate(prefixes):
        site = (address >> 23) % REMOTE_SITES if remote else 0
        registrar = Registrar(None, Endpoint(LOOPBACK, 4342), 1 + number % ETRS, 1)
        eid = EidPrefix.trusted(IID if remote else 0, 4, address, length)
        entry = Registration(
            code_of(eid.network), registrar, sets[site], 1440, PROXY_REPLY | USE_TTL, now
        )
        name = _remote(site) if remote else SITE
        key = codec.registration_key(name, eid, registrar.identity)
        changes.append(Change(Table.REGISTRATIONS, key, codec.registration_value(entry, registrar)))
        if len(changes) == 10_000:
            store.append(changes)
            store.flush()
            changes = []
    store.append(changes)
    store.close()


def remote_prefixes(count: int, rng: random.Random) -> list[int]:
    """Distinct /24 of the remote sites, in no order."""
    found = [0x40000000 | address >> 3 for address in random_prefixes(count, 32, 21, rng)]
    found = [address & 0xFFFFFF00 for address in found]
    rng.shuffle(found)
    return found


@dataclass(frozen=True, slots=True)
class Manager:
    """A ryu-manager. Ports: openflow is TCP, rest TCP, control UDP; 0 when it has none."""

    pid: int
    openflow: int
    rest: int = 0
    control: int = 0

    def busy(self) -> float:
        """Processor seconds so far."""
        return cpu_seconds(self.pid)


@contextlib.contextmanager
def controller(
    settings: dict[str, Any], directory: Path, core: int | None = None
) -> Iterator[Manager]:
    """`ryu-manager lisp_sdn.apps` with this configuration."""
    control, openflow, rest = free_port(), free_port(), free_port()
    settings = {
        **settings,
        "control": {"listen": [f"127.0.0.1:{control}"]},
        "rest": {"listen": f"127.0.0.1:{rest}"},
    }
    config = write(settings, directory)
    ryu = directory / "ryu.conf"
    ryu.write_text(
        f"[DEFAULT]\nofp_listen_host = 127.0.0.1\nofp_tcp_listen_port = {openflow}\n"
        f"default_log_level = 20\n[lisp_sdn]\nconfig = {config}\n"
    )
    command = (_ryu_manager(), "--config-file", str(ryu), "lisp_sdn.apps")
    with process(*command, ready="REST: listening", core=core) as pid:
        yield Manager(pid, openflow, rest, control)


@contextlib.contextmanager
def minimal(core: int | None = None) -> Iterator[Manager]:
    """`ryu-manager bench/_minimal_ryu.py`, the yardstick."""
    openflow = free_port()
    command = [_ryu_manager(), "--ofp-listen-host", "127.0.0.1"]
    command += ["--ofp-tcp-listen-port", str(openflow), str(HERE / "_minimal_ryu.py")]
    ready = "instantiating app ryu.controller.ofp_handler"
    with process(*command, ready=ready, core=core) as pid:
        yield Manager(pid, openflow)


def _ryu_manager() -> str:
    return str(Path(sys.executable).with_name("ryu-manager"))
