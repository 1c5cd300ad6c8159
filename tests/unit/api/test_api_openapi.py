"""The OpenAPI document describes what the interface does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from api_fake import Client, filled, problem
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

import lisp_sdn
from lisp_sdn.api.http import PROBLEMS
from lisp_sdn.api.routes import ROUTES


@pytest.fixture(scope="module")
def spec() -> Any:
    return Client(filled()).get("/openapi.json")


def test_it_is_valid_openapi(spec: Any) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(spec).iter_errors()] == []
    assert spec["openapi"] == "3.1.0"


def test_it_names_every_route(spec: Any) -> None:
    described = {
        (method.upper(), path) for path, methods in spec["paths"].items() for method in methods
    }
    assert described == {(route.method, f"/lisp/v1{route.template}") for route in ROUTES}


def test_operation_ids_are_unique() -> None:
    names = [route.handler.__name__ for route in ROUTES]
    assert len(names) == len(set(names))


PATHS = [
    ("/status", "/status"),
    ("/sites", "/sites"),
    ("/sites/{name}", "/sites/east"),
    ("/xtrs", "/xtrs"),
    ("/xtrs/{name}", "/xtrs/xtr-east"),
    ("/mappings", "/mappings"),
    ("/mappings/{eid}", "/mappings/[42] 10.2.0.0/16"),
    ("/registrations", "/registrations"),
    ("/resolve", "/resolve?eid=[42] 10.2.0.1&source=10.1.0.1&xtr=xtr-east"),
    ("/xtrs/{name}/map-cache", "/xtrs/xtr-west/map-cache"),
    ("/xtrs/{name}/map-requests", "/xtrs/xtr-west/map-requests"),
    ("/xtrs/{name}/flows", "/xtrs/xtr-west/flows"),
    ("/trace", "/trace?source=[42] 10.1.0.5&destination=10.2.0.7"),
    ("/trace/endpoints", "/trace/endpoints"),
    ("/policies", "/policies"),
    ("/policies/history", "/policies/history"),
    ("/policies/explain", "/policies/explain?eid=[42] 10.1.0.5&xtr=xtr-west"),
    ("/policies/{name}", "/policies/east"),
    ("/xtrs/{name}/groups", "/xtrs/xtr-west/groups"),
    ("/xtrs/{name}/meters", "/xtrs/xtr-west/meters"),
    ("/refusals", "/refusals"),
    ("/events", "/events"),
    ("/counters", "/counters"),
    ("/problems/{problem}", "/problems/not-found"),
    ("/mappings/{eid}", "/mappings/nonsense"),
    ("/sites/{name}", "/sites/north"),
]


@pytest.mark.parametrize(("template", "path"), PATHS)
def test_answers_are_as_described(spec: Any, template: str, path: str) -> None:
    response = Client(filled())("GET", path)
    described = spec["paths"][f"/lisp/v1{template}"]["get"]["responses"][str(response.status)]
    schema = described["content"][response.headers["Content-Type"]]["schema"]
    validator = Draft202012Validator({**schema, "components": spec["components"]})
    assert [error.message for error in validator.iter_errors(json.loads(response.body))] == []


def test_answers_name_nothing_that_is_not_described(spec: Any) -> None:
    for name, schema in spec["components"]["schemas"].items():
        if schema.get("type") == "object" and name != "Problem":
            assert schema["additionalProperties"] is False, name


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_type_can_be_looked_up(name: str) -> None:
    document = Client(filled()).get(f"/problems/{name}")
    assert document["type"] == f"/lisp/v1/problems/{name}"
    assert document["status"] >= 400


def test_an_unknown_problem_type_is_a_404() -> None:
    assert problem(Client(filled())("GET", "/problems/none"))["status"] == 404


def test_the_version_is_that_of_the_package() -> None:
    setup = (Path(lisp_sdn.__file__).parents[1] / "setup.py").read_text()
    found = re.search(r'version="([^"]+)"', setup)
    assert found is None or found[1] == lisp_sdn.__version__
