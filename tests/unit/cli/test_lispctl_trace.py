"""`lispctl trace` and `lispctl connectivity-test` against the API over loopback HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lispctl_server import Controller, serving

from lisp_sdn.trace import Endpoint, Mark, Step, StepName, Verdict

from api_fake import eid, filled  # isort: skip

HERE = Step(StepName.SOURCE, Mark.OK, "it is here", details=("because",))
ODD = Step(StepName.MAP_CACHE, Mark.NOTE, "no entry", "miss", "wait")
NOWHERE = Step(StepName.MAPPING, Mark.STOP, "nobody has it", "no-mapping", "configure it")
NO_HOST = Step(StepName.DELIVERY, Mark.STOP, "no host", "host-unknown", "is it up?")


@pytest.fixture
def ctl() -> Iterator[Controller]:
    backend = filled()
    backend.ways = {
        eid("[42] 10.2.0.7"): (Verdict.RESOLVES, (HERE, ODD)),
        eid("[42] 10.3.0.7"): (Verdict.STOPPED, (HERE, NOWHERE)),
        eid("[42] 10.1.0.5"): (Verdict.STOPPED, (HERE, NO_HOST)),
    }
    with serving(backend) as controller:
        yield controller


def test_trace_numbers_and_marks_the_steps(ctl: Controller) -> None:
    result = ctl("trace", "[42] 10.1.0.5", "10.2.0.7")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "[42] 10.1.0.5/32 to [42] 10.2.0.7/32",
        " 1. ok    source       it is here",
        " 2. note  map-cache    no entry",
        "                       -> wait",
        "result: delivered, the first packet after its Map-Request was answered",
    ]


def test_trace_that_stops_is_exit_status_1(ctl: Controller) -> None:
    result = ctl("trace", "10.1.0.5", "10.3.0.7", "--iid", "42", "-v")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:] == [
        " 1. ok    source       it is here",
        "                       because",
        " 2. STOP  mapping      nobody has it",
        "                       -> configure it",
        "result: stops at mapping: no-mapping",
    ]


def test_trace_as_json(ctl: Controller) -> None:
    result = ctl("trace", "[42] 10.1.0.5", "10.3.0.7", "--protocol", "tcp", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["verdict"], document["steps"][1]["reason"]) == ("stopped", "no-mapping")


def test_trace_of_nonsense(ctl: Controller) -> None:
    result = ctl("trace", "nobody", "10.3.0.7")
    assert result.exit_code == 1
    assert "nobody" in result.stderr


def places(ctl: Controller, *more: Endpoint) -> None:
    ctl.backend.places = [
        Endpoint(eid("[42] 10.1.0.5"), "east", "xtr-east", False),
        Endpoint(eid("[42] 10.2.0.7"), "west", "xtr-west", True),
        Endpoint(eid("[7] 10.2.0.7"), "west", "xtr-west", True),
        Endpoint(eid("[42] 2001:db8::7"), "west", "xtr-west", True),
        *more,
    ]


def test_connectivity_that_is_there(ctl: Controller) -> None:
    """A subnet without a host that was seen counts as reached."""
    places(ctl)
    result = ctl("connectivity-test", "-v")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "ok    east to west: [42] 10.1.0.5/32 to [42] 10.2.0.7/32: resolves",
        "ok    west to east: [42] 10.2.0.7/32 to [42] 10.1.0.5/32: reached",
        "2 pairs: 2 reach each other, 0 fail",
    ]


def test_connectivity_that_fails_says_where(ctl: Controller) -> None:
    """Nothing is sent from a site without an xTR of ours."""
    places(ctl, Endpoint(eid("[42] 10.3.0.7"), "north", None, False))
    result = ctl("connectivity-test")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "FAIL  east to north: [42] 10.1.0.5/32 to [42] 10.3.0.7/32",
        "      mapping: nobody has it",
        "      -> configure it",
    ]
    assert lines[-2].split() == ["mapping", "no-mapping", "2"]
    assert lines[-1] == "4 pairs: 2 reach each other, 2 fail"
    document = json.loads(ctl("connectivity-test", "--json").stdout)
    assert (document["pairs"], document["failed"]) == (4, 2)
    assert [r["reason"] for r in document["results"] if not r["passed"]] == ["no-mapping"] * 2
    assert ctl("connectivity-test", "--to", "west").exit_code == 0


def test_a_host_that_was_seen_must_be_reached(ctl: Controller) -> None:
    places(ctl, Endpoint(eid("[42] 10.1.0.5"), "east", "xtr-east", True))
    result = ctl("connectivity-test", "--from", "west", "--iid", "42")
    assert result.exit_code == 1
    assert "delivery: no host" in result.stdout


def test_nothing_to_test(ctl: Controller) -> None:
    places(ctl)
    result = ctl("connectivity-test", "--iid", "7")
    assert result.exit_code == 1
    assert "no such pair" in result.stderr
