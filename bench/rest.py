"""REST without HTTP: pages through a large mapping database, and what one request costs.

    python bench/rest.py [--mappings 1000000]

The yardstick is `json.dumps` of the same pages, made once. What must hold: no page costs more at
the end of the list than at its beginning, and memory does not grow with the list. Times are
processor seconds.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import random
import time
from statistics import median

from _common import heading, resident_bytes, row

from lisp_sdn.address import EidPrefix
from lisp_sdn.api import Api, Request
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping

PATH = "/lisp/v1/mappings"
LIMIT = 1000


def filled(count: int) -> Controller:
    """A controller with static /32 mappings at random addresses."""
    store = MemoryStore(max_pending=count + 1)
    controller = Controller(load(""), store=store, rng=random.Random(1))
    locators = (
        Locator(ipaddress.ip_address("192.0.2.1")),
        Locator(ipaddress.ip_address("192.0.2.2")),
    )
    for address in random.Random(2).sample(range(1 << 24, 224 << 24), count):
        eid = EidPrefix(0, ipaddress.IPv4Network(address))
        controller.mapping.set_static(Mapping(eid, locators), 0.0)
    while store.durable_seq < store.seq:
        store.flush()
    return controller


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mappings", type=int, default=1_000_000)
    count = parser.parse_args().mappings
    heading(f"REST, {count} mappings")
    api = Api(filled(count).management)
    before = resident_bytes()
    cursor, entries, times, sample = None, 0, [], b""
    while True:
        query = {"limit": str(LIMIT), **({"after": cursor} if cursor else {})}
        start = time.process_time()
        response, _ = api.handle(Request("GET", PATH, query), 0.0)
        times.append(time.process_time() - start)
        page = json.loads(response.body)
        entries += len(page["items"])
        cursor, sample = page["next"], response.body if len(page["items"]) == LIMIT else sample
        if cursor is None:
            break
    assert entries == count, f"{entries} of {count} listed"
    document = json.loads(sample)
    start = time.process_time()
    for _ in range(10):
        json.dumps(document)
    yardstick = LIMIT * 10 / (time.process_time() - start)
    rate = count / sum(times)
    row(
        "list all, pages of 1000",
        f"{rate:,.0f} mappings/s",
        f"json.dumps {yardstick:,.0f}/s",
        rate / yardstick,
    )
    tenth = max(len(times) // 10, 1)
    first, last = median(times[:tenth]), median(times[-tenth:])
    row(
        "one page at the end",
        f"{last * 1e3:.1f} ms",
        f"at the beginning {first * 1e3:.1f} ms",
        last / first,
    )
    slowest = max(times)
    row(
        "slowest page (a full garbage collection fell into it)",
        f"{slowest * 1e3:.1f} ms",
        f"median {median(times) * 1e3:.1f} ms",
        slowest / median(times),
    )
    grown = resident_bytes() - before
    row(
        "memory grown meanwhile",
        f"{grown / 2**20:.1f} MiB",
        f"all pages {len(sample) * len(times) / 2**20:.0f} MiB",
    )
    one_request(api, document["items"][0]["eid"])


def one_request(api: Api, eid: str) -> None:
    """What single requests cost."""
    for what, path, query in (
        ("one mapping", f"{PATH}/{eid}", {}),
        ("mappings that cover an EID", PATH, {"covering": eid}),
        ("what would be answered", "/lisp/v1/resolve", {"eid": eid}),
        ("status", "/lisp/v1/status", {}),
    ):
        start = time.process_time()
        for _ in range(500):
            response, _ = api.handle(Request("GET", path, query), 0.0)
            assert response.status == 200
        row(what, f"{500 / (time.process_time() - start):,.0f} requests/s")


if __name__ == "__main__":
    main()
