"""`lispctl show topology` against the API over loopback HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lispctl_server import Controller, serving

from lisp_sdn.cli.lispctl_topology import percent, rate
from lisp_sdn.model import Mapping
from lisp_sdn.views import MappingEntry, Origin

from api_fake import FakeBackend, eid, locator  # isort: skip


@pytest.fixture(scope="module")
def ctl() -> Iterator[Controller]:
    backend = FakeBackend()
    west = Mapping(eid("[42] 10.2.0.0/16"), (locator("192.0.2.2", 1, 30), locator("192.0.2.9")))
    backend.add(MappingEntry(west, Origin.REGISTERED, "west"))
    with serving(backend) as controller:
        yield controller


def cells(output: str) -> list[list[str]]:
    lines = [line.split("  ") for line in output.splitlines()]
    return [[cell.strip() for cell in line if cell.strip()] for line in lines]


def test_every_uplink_has_its_state_and_parts(ctl: Controller) -> None:
    head, east, west, other = cells(ctl("show", "topology").stdout)
    assert head == ["Site", "RLOC", "State", "xTR", "Policy", "Measured", "Inbound"]
    assert east == ["east", "192.0.2.1", "unknown", "xtr-east", "-", "-", "-"]
    assert west == ["west", "192.0.2.2", "unknown", "xtr-west", "23 %", "-", "-"]
    assert other[:4] == ["west", "192.0.2.9", "unknown", "-"]


def test_one_site_and_json(ctl: Controller) -> None:
    document = json.loads(ctl("--json", "show", "topology", "east").stdout)
    assert [site["name"] for site in document["sites"]] == ["east"]
    assert [xtr["name"] for xtr in document["xtrs"]] == ["xtr-east"]


def test_a_site_that_is_none(ctl: Controller) -> None:
    result = ctl("show", "topology", "nowhere")
    assert result.exit_code != 0
    assert "nowhere" in result.output
    assert "east, west" in result.output


@pytest.mark.parametrize(
    ("octets", "text"),
    [(None, "-"), (0, "0 bit/s"), (125, "1.0 kbit/s"), (1e6, "8.0 Mbit/s"), (1e8, "800 Mbit/s")],
)
def test_rates_are_in_bits_a_second(octets: float | None, text: str) -> None:
    assert rate(octets) == text


def test_parts_are_percents() -> None:
    assert [percent(None), percent(0.304)] == ["-", "30 %"]
