"""The mapping database at a million EIDs: memory, registrations, look-ups, recovery from disk.

    python bench/mapping.py [--ipv4 N] [--ipv6 N] [--directory DIR]

Each measurement runs in a process of its own, on the same code that serves: authenticated
Map-Registers go through `MapSystem.receive` into a SQLite store, and another process recovers from
that file. Yardsticks: a Python dict of the same keys, and the same look-ups at 1,000 EIDs.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from _common import heading, random_prefixes, resident_bytes, row

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.cli.serve import loading
from lisp_sdn.config import Config
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Locator, RegisteredPolicy, Requester
from lisp_sdn.wire import EidRecord, MapRegister, auth

KEY = "bench-key"
ETRS = 1000
RECORDS = 20
"""EID-records of a Map-Register."""
LOOKUPS = 50_000
ROUNDS = 5


def config(store: Path) -> Config:
    """One site that may register everything."""
    prefixes = [
        {"prefix": prefix, "accept_more_specifics": True, "max_more_specifics": 10_000_000}
        for prefix in ("0.0.0.0/1", "2001:db8::/32")
    ]
    return Config.model_validate(
        {
            "sites": [
                {
                    "name": "bench",
                    "authentication_keys": [{"key": KEY, "algorithm": "hmac-sha-256-128"}],
                    "eid_prefixes": prefixes,
                    "max_registrations": 10_000_000,
                }
            ],
            "store": {"path": str(store)},
        }
    )


def eids(ipv4: int, ipv6: int) -> Iterator[EidPrefix]:
    """Random hosts: /32 below 128.0.0.0, and /128 in 2001:db8::/32."""
    rng = random.Random(1)
    for address in random_prefixes(ipv4, 31, 31, rng):
        yield EidPrefix.trusted(0, 4, address, 32)
    base = 0x20010DB8 << 96
    for address in random_prefixes(ipv6, 96, 96, rng):
        yield EidPrefix.trusted(0, 6, base | address, 128)


def system(store: SqliteStore, path: Path) -> MapSystem:
    return MapSystem(config(path), store=store, policy=RegisteredPolicy(), rng=random.Random(1))


def registers(keys: Iterator[EidPrefix]) -> Iterator[tuple[bytes, int]]:
    """Signed Map-Registers in turn from `ETRS` ETRs, each with two RLOCs, and their records."""
    nonce = time.time_ns()
    number = 0
    while True:
        chunk = [eid for _, eid in zip(range(RECORDS), keys, strict=False)]
        if not chunk:
            return
        number += 1
        etr = number % ETRS
        rlocs = (0xCB007100 + etr * 2, 0xCB007100 + etr * 2 + 1)
        locators = tuple(Locator(ipaddress.IPv4Address(rloc)) for rloc in rlocs)
        message = MapRegister(
            nonce + number,
            tuple(EidRecord(eid, locators) for eid in chunk),
            proxy_reply=True,
            want_notify=True,
            xtr_id=etr + 1,
            site_id=1,
        )
        yield auth.sign(message, 1, KEY.encode(), 2), len(chunk)


def register(path: Path, ipv4: int, ipv6: int) -> dict[str, float]:
    """Fill a store: seconds in `receive`, seconds in `flush`, records."""
    store = SqliteStore(path)
    core = system(store, path)
    source = Endpoint(ipaddress.IPv4Address("127.0.0.1"), 4342)
    now = time.time()
    with loading():
        core.start(now)
    receiving = flushing = 0.0
    records = messages = 0
    for data, count in registers(eids(ipv4, ipv6)):
        start = time.perf_counter()
        core.receive(data, source, now)
        receiving += time.perf_counter() - start
        records += count
        messages += 1
        if messages % 500 == 0:
            start = time.perf_counter()
            core.durable(store.flush(), now)
            flushing += time.perf_counter() - start
    start = time.perf_counter()
    store.close()
    flushing += time.perf_counter() - start
    assert core.database.registered == records
    return {"receiving": receiving, "flushing": flushing, "records": records, "messages": messages}


def recover(path: Path, ipv4: int, ipv6: int) -> dict[str, float]:
    """Start from the store: seconds, octets for each EID, look-up times."""
    keys = [eid.network for eid in eids(ipv4, ipv6)]
    rng = random.Random(2)
    asked = [rng.choice(keys) for _ in range(LOOKUPS)]
    del keys
    gc.collect()
    before = resident_bytes()
    start = time.perf_counter()
    store = SqliteStore(path)
    core = system(store, path)
    with loading():
        core.start(time.time())
    seconds = time.perf_counter() - start
    found = {
        "seconds": seconds,
        "octets": (resident_bytes() - before) / (ipv4 + ipv6),
        "records": float(core.database.registered),
    }
    requester = Requester((ipaddress.IPv4Address("192.0.2.1"),))
    now = time.time()
    for version in (4, 6):
        packed = [net.network_address.packed for net in asked if net.version == version]
        eid_prefixes = [EidPrefix(0, net) for net in asked[:10_000] if net.version == version]
        family = core.database.family(0, version)
        if family is None or not packed:
            continue
        find = family.table.find_packed
        found[f"find{version}"] = best(lambda find=find, packed=packed: [*map(find, packed)]) / len(
            packed
        )
        found[f"answer{version}"] = best(
            lambda eid_prefixes=eid_prefixes: [core.answer(e, requester, now) for e in eid_prefixes]
        ) / len(eid_prefixes)
    table = {net.network_address.packed: net for net in asked if net.version == 4}
    packed = [net.network_address.packed for net in asked if net.version == 4]
    found["dict"] = best(lambda: [*map(table.get, packed)]) / len(packed)
    store.close()
    return found


def best(run: object) -> float:
    """Seconds of the fastest of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)


def apart(step: str, path: Path, ipv4: int, ipv6: int) -> dict[str, float]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--store", str(path)]
    command += ["--ipv4", str(ipv4), "--ipv6", str(ipv6)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show(name: str, path: Path, ipv4: int, ipv6: int) -> dict[str, float]:
    """Measure one size."""
    filled = apart("register", path, ipv4, ipv6)
    rate = filled["records"] / filled["receiving"]
    what = f"{name}: register, {RECORDS} EID-records a message, authenticated"
    row(what, f"{rate:,.0f} EIDs/s", f"{filled['messages'] / filled['receiving']:,.0f} messages/s")
    written = filled["records"] / filled["flushing"]
    row(f"{name}: made durable (SQLite, off the hot path)", f"{written:,.0f} EIDs/s")
    size = path.stat().st_size / filled["records"]
    row(f"{name}: file", f"{size:,.0f} octets/EID")
    back = apart("recover", path, ipv4, ipv6)
    assert back["records"] == filled["records"]
    rate = back["records"] / back["seconds"]
    row(f"{name}: recovered from disk", f"{back['seconds']:.1f} s", f"{rate:,.0f} EIDs/s")
    row(f"{name}: resident memory", f"{back['octets']:,.0f} octets/EID", "aim: under 400")
    return back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ipv4", type=int, default=1_000_000)
    parser.add_argument("--ipv6", type=int, default=100_000)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--step", choices=["register", "recover"], help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step is not None:
        step = register if arguments.step == "register" else recover
        print(json.dumps(step(arguments.store, arguments.ipv4, arguments.ipv6)))
        return
    heading("mapping database")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        few = show("1,000 + 1,000", Path(directory) / "few.db", 1000, 1000)
        name = f"{arguments.ipv4:,} + {arguments.ipv6:,}"
        many = show(name, Path(directory) / "many.db", arguments.ipv4, arguments.ipv6)
    for key, what in (
        ("find4", "longest match, IPv4"),
        ("find6", "longest match, IPv6"),
        ("answer4", "whole answer (MapSystem.answer), IPv4"),
        ("answer6", "whole answer (MapSystem.answer), IPv6"),
    ):
        figure = f"{many[key] * 1e6:.2f} us"
        yardstick = f"at 1,000: {few[key] * 1e6:.2f} us"
        row(f"{name}: {what}", figure, yardstick, many[key] / few[key])
    row("a Python dict of the EIDs that were looked up", f"{many['dict'] * 1e6:.2f} us")


if __name__ == "__main__":
    main()
