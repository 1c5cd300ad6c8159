"""RLOCs are drained and put back over REST, and with lispctl."""

from __future__ import annotations

import pytest
from api_fake import Client, filled, problem

from lisp_sdn.actions import Event


@pytest.fixture
def call() -> Client:
    return Client(filled())


@pytest.mark.parametrize(
    ("method", "drained", "kind"),
    [("PUT", True, "rloc.drained"), ("DELETE", False, "rloc.undrained")],
)
def test_drain_and_undrain(call: Client, method: str, drained: bool, kind: str) -> None:
    response = call(method, "/rlocs/192.0.2.2/drain")
    assert response.status == 200
    assert response.body == (
        b'{"rloc":"192.0.2.2","xtr":"xtr-west","drained":%s}' % str(drained).lower().encode()
    )
    assert call.actions == [Event(kind, "192.0.2.2")]


@pytest.mark.parametrize("text", ["192.0.2.9", "nonsense", "2001:db8::1"])
def test_an_rloc_of_somebody_else_is_not_found(call: Client, text: str) -> None:
    response = call("PUT", f"/rlocs/{text}/drain")
    found = problem(response)
    assert (found["status"], found["type"]) == (404, "/lisp/v1/problems/not-found")
    assert "192.0.2.1" in found["detail"]
