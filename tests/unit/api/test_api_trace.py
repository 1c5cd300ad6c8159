"""The way of a packet over REST."""

from __future__ import annotations

import pytest
from api_fake import Client, FakeBackend, eid, filled, problem

from lisp_sdn.trace import Endpoint, Mark, Packet, Step, StepName, Trace, Verdict


@pytest.fixture
def backend() -> FakeBackend:
    return filled()


def test_a_trace_that_stops_says_where_why_and_what_to_do(backend: FakeBackend) -> None:
    found = Client(backend).get("/trace?source=[42] 10.1.0.5&destination=[42] 10.2.0.7")
    assert (found["verdict"], found["xtr"], found["rloc"]) == ("stopped", "xtr-east", None)
    assert [step["step"] for step in found["steps"]] == ["source", "switch"]
    last = found["steps"][-1]
    assert (last["mark"], last["reason"]) == ("stop", "switch-not-connected")
    assert "ovs-vsctl show" in last["suggestion"]


def test_a_trace_that_arrives(backend: FakeBackend) -> None:
    steps = (Step(StepName.SOURCE, Mark.OK, "here", details=("a", "b")),)
    backend.ways[eid("[42] 10.2.0.7")] = (Verdict.DELIVERED, steps)
    found = Client(backend).get("/trace?source=10.1.0.5&destination=10.2.0.7&iid=42")
    assert found == {
        "source": "[42] 10.1.0.5/32",
        "destination": "[42] 10.2.0.7/32",
        "verdict": "delivered",
        "xtr": "xtr-east",
        "rloc": "192.0.2.2",
        "etr": None,
        "steps": [
            {
                "step": "source",
                "mark": "ok",
                "text": "here",
                "reason": None,
                "suggestion": None,
                "details": ["a", "b"],
            }
        ],
    }


@pytest.mark.parametrize(
    "query",
    ["source=[42] 10.1.0.5&destination=10.2.0.7", "source=10.1.0.5&destination=[42] 10.2.0.7"],
)
def test_one_instance_id_is_enough(backend: FakeBackend, query: str) -> None:
    found = Client(backend).get(f"/trace?{query}")
    assert (found["source"], found["destination"]) == ("[42] 10.1.0.5/32", "[42] 10.2.0.7/32")


@pytest.mark.parametrize(
    ("query", "parameter", "words"),
    [
        ("source=10.1.0.5", "destination", "Field required"),
        ("source=10.1.0.0/24&destination=10.2.0.7", "source", "one EID"),
        ("source=10.1.0.5&destination=2001:db8::1", "destination", "an IPv4 EID"),
        ("source=[1] 10.1.0.5&destination=[2] 10.2.0.7", "destination", "in instance-ID 1"),
        ("source=[1] 10.1.0.5&destination=10.2.0.7&iid=2", "iid", "2"),
        ("source=10.1.0.5&destination=10.2.0.7&protocol=256", "protocol", "256"),
        ("source=10.1.0.5&destination=10.2.0.7&source_port=65536", "source_port", "65535"),
        ("source=nobody&destination=10.2.0.7", "source", "nobody"),
    ],
)
def test_a_question_that_cannot_be_asked(query: str, parameter: str, words: str) -> None:
    document = problem(Client(filled())("GET", f"/trace?{query}"))
    assert document["status"] == 400
    assert document["errors"][0]["parameter"] == parameter
    assert words in document["errors"][0]["detail"]


@pytest.mark.parametrize(("protocol", "number"), [("tcp", 6), ("udp", 17), ("253", 253)])
def test_protocols_by_name_or_number(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, protocol: str, number: int
) -> None:
    asked: list[Packet] = []

    def note(packet: Packet, now: float) -> Trace:
        asked.append(packet)
        return Trace(packet, (), Verdict.DELIVERED)

    monkeypatch.setattr(backend, "trace", note)
    query = f"source=10.1.0.5&destination=10.2.0.7&protocol={protocol}&destination_port=443"
    assert Client(backend).get(f"/trace?{query}")["verdict"] == "delivered"
    assert (asked[0].protocol, asked[0].destination_port) == (number, 443)


def test_endpoints_come_in_pages(backend: FakeBackend) -> None:
    backend.places = [
        Endpoint(eid("[42] 10.2.0.1"), "west", None, False),
        Endpoint(eid("[42] 10.1.0.2"), "east", "xtr-east", True),
    ]
    call = Client(backend)
    first = call.get("/trace/endpoints?limit=1")
    expected = {"eid": "[42] 10.1.0.2/32", "site": "east", "xtr": "xtr-east", "known": True}
    assert first["items"] == [expected]
    second = call.get(f"/trace/endpoints?limit=1&after={first['next']}")
    assert [item["site"] for item in second["items"]] == ["west"]
    assert second["next"] is None
