"""Long lists page through in constant memory, and a page costs the same wherever it begins."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address
from random import Random

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.api import Api, Request
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.views import MappingEntry

NOW = 1_800_000_000.0
COUNT = 3000
LIMIT = 100


@pytest.fixture(scope="module")
def controller() -> Controller:
    made = Controller(load(""), store=MemoryStore(), rng=Random(1))
    made.start(NOW)
    rlocs = (Locator(ip_address("192.0.2.1")),)
    for number in range(COUNT):
        eid = EidPrefix(7, IPv4Network((0x0A000000 + number, 32)))
        made.mapping.set_static(Mapping(eid, rlocs), NOW)
    return made


def pages(api: Api) -> Iterator[list[str]]:
    """The EID-prefixes of page after page."""
    after: str | None = ""
    while after is not None:
        query = {"limit": str(LIMIT), **({"after": after} if after else {})}
        response, _ = api.handle(Request("GET", "/lisp/v1/mappings", query), NOW)
        assert response.status == 200
        document = json.loads(response.body)
        yield [item["eid"] for item in document["items"]]
        after = document["next"]


def test_every_entry_once_and_in_order(controller: Controller) -> None:
    found = list(pages(Api(controller.management)))
    assert len(found) == COUNT // LIMIT
    eids = [EidPrefix.from_text(eid) for page in found for eid in page]
    assert len(set(eids)) == COUNT
    assert eids == sorted(eids, key=lambda eid: eid.sort_key)


def test_a_page_takes_memory_for_its_own_entries_only(controller: Controller) -> None:
    api = Api(controller.management)
    walk = pages(api)
    next(walk)
    tracemalloc.start()
    try:
        first = len(next(walk))
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        for _ in walk:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert first == LIMIT
    assert peak - held < 1 << 20


def test_a_page_reads_no_more_entries_than_it_shows(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    real = controller.management.mappings

    def counted(start: EidPrefix | None, now: float) -> Iterator[MappingEntry]:
        nonlocal read
        for entry in real(start, now):
            read += 1
            yield entry

    monkeypatch.setattr(controller.management, "mappings", counted)
    count = sum(1 for _ in pages(Api(controller.management)))
    assert read <= COUNT + 2 * count
