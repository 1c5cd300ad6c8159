"""The configuration file by REST: looked at first, then put in force, never half."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_fake import CONFIG, NOW, Client, FakeBackend

from lisp_sdn.actions import Reconfigured
from lisp_sdn.api import Api, Request

WIDER = CONFIG.replace("10.2.0.0/16", "10.2.0.0/15").replace("very-secret-too", "rolled-over")
TOKENS = """
rest:
  tokens:
    - {name: ops, token: operator-operator, role: operator}
    - {name: eyes, token: readonly-readonly}
    - {name: east, token: easteasteasteast, role: site, site: east}
"""


def call(backend: FakeBackend, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    response = Client(backend)(method, path, body)
    return response.status, json.loads(response.body)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


def test_what_the_file_would_change_is_told_and_nothing_is_changed(backend: FakeBackend) -> None:
    backend.file = WIDER
    status, document = call(backend, "GET", "/configuration/diff")
    assert status == 200
    changes = {c["path"]: (c["kind"], c["old"], c["new"]) for c in document["changes"]}
    assert changes["sites[west].authentication_keys[1].key"] == ("changed", None, None)
    assert {kind for kind, _, _ in changes.values()} == {"changed", "added", "removed"}
    assert "rolled-over" not in str(document)
    assert "very-secret" not in str(document)
    assert backend.config.sites[1].eid_prefixes[0].prefix.prefixlen == 16


def test_it_is_put_in_force_as_it_was_seen(backend: FakeBackend) -> None:
    backend.file = WIDER
    _, seen = call(backend, "GET", "/configuration/diff")
    body = {"digest": seen["digest"], "who": "ada"}
    backend.file = WIDER + "# edited meanwhile"
    status, problem = call(backend, "POST", "/configuration/reload", body)
    assert (status, problem["type"].rpartition("/")[2]) == (412, "precondition-failed")
    backend.file = WIDER
    status, done = call(backend, "POST", "/configuration/reload", body)
    assert (status, done["changes"]) == (200, seen["changes"])
    assert backend.config.sites[1].eid_prefixes[0].prefix.prefixlen == 15
    entry = backend.journal.journal_list()[0]
    assert (entry.who, entry.what) == ("ada", "configuration: reload")
    _, left = call(backend, "GET", "/configuration/diff")
    assert left["changes"] == []


def test_mistakes_are_all_told_and_nothing_is_changed(backend: FakeBackend) -> None:
    backend.file = CONFIG.replace("name: west", "name: east").replace("192.0.2.2", "192.0.2.1")
    for method, path, body in (
        ("GET", "/configuration/diff", None),
        ("POST", "/configuration/reload", {}),
    ):
        status, problem = call(backend, method, path, body)
        assert status == 422
        told = [error["pointer"] for error in problem["errors"]]
        assert "#/sites[1].name" in told
        assert "#/xtrs[1].rlocs[0].rloc" in told
        assert not any(
            error["detail"].startswith(error["pointer"][2:]) for error in problem["errors"]
        )
    assert backend.config.sites[1].name == "west"


def test_what_waits_for_a_restart_shows(backend: FakeBackend) -> None:
    backend.file = CONFIG + "control: {listen: ['127.0.0.1:5342']}\n"
    call(backend, "POST", "/configuration/reload", {})
    _, found = call(backend, "GET", "/configuration")
    assert [change["path"] for change in found["waiting"]] == [
        "control.listen[0.0.0.0:4342]",
        "control.listen[[::]:4342]",
        "control.listen[127.0.0.1:5342]",
    ]
    assert found["reloaded"].startswith("2027-01-15T08:00:00")


@pytest.mark.parametrize(
    ("token", "status"),
    [("operator-operator", 200), ("readonly-readonly", 403), ("easteasteasteast", 403)],
)
def test_only_an_operator_may(backend: FakeBackend, token: str, status: int) -> None:
    backend.file = CONFIG + TOKENS
    backend.configuration.reload(NOW, who="test")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request("POST", "/lisp/v1/configuration/reload", {}, headers, b"{}")
    response, actions = Api(backend).handle(request, NOW)
    assert response.status == status
    assert any(isinstance(action, Reconfigured) for action in actions) == (status == 200)
