"""The web page: what is given out, how browsers may use it, and that it is complete."""

from __future__ import annotations

import re
from typing import Any

import pytest
from api_fake import CONFIG, NOW, FakeBackend

from lisp_sdn.api import Api, Request, Response
from lisp_sdn.api.hints import PAGE, read_hints
from lisp_sdn.api.page import MEDIA_TYPES, Page
from lisp_sdn.apps import page
from lisp_sdn.config import load

FILES = page.files()
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))


def get(path: str, method: str = "GET", **more: Any) -> Response:
    api = Api(FakeBackend(), page=Page(FILES))
    response, actions = api.handle(Request(method, path, **more), NOW)
    assert actions == []
    return response


def test_the_page_is_at_the_root() -> None:
    response = get("/")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.body == FILES["index.html"]


@pytest.mark.parametrize("name", sorted(set(FILES) - {PAGE, "index.html"}))
def test_every_part_has_its_type_and_may_load_nothing_from_elsewhere(name: str) -> None:
    response = get(f"/web/{name}")
    assert response.headers["Content-Type"] == MEDIA_TYPES[name.rpartition(".")[2]]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_browser_that_has_it_is_told_so() -> None:
    tag = get("/").headers["ETag"]
    assert get("/").headers["Cache-Control"] == "no-cache"
    response = get("/", headers={"If-None-Match": tag})
    assert (response.status, response.body) == (304, b"")
    assert get("/", headers={"If-None-Match": '"other"'}).status == 200


def test_head_and_options() -> None:
    head = get("/", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert get("/", "OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"
    assert get("/", "POST").status == 405


@pytest.mark.parametrize(
    "path", ["/web/", "/web", "/web/nothing.js", f"/web/{PAGE}", "/web/../app.py"]
)
def test_nothing_else_is_given_out(path: str) -> None:
    assert get(path).status == 404


def test_it_needs_no_token_but_what_it_shows_does() -> None:
    backend = FakeBackend()
    tokens = "rest: {tokens: [{name: noc, token: 0123456789abcdef}]}"
    backend.settings = load(CONFIG + tokens)
    api = Api(backend, page=Page(FILES))
    assert api.handle(Request("GET", "/"), NOW)[0].status == 200
    assert api.handle(Request("GET", "/lisp/v1/topology"), NOW)[0].status == 401


def test_without_a_page_the_root_is_no_path() -> None:
    response, _ = Api(FakeBackend()).handle(Request("GET", "/"), NOW)
    assert response.status == 404


# --- the files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_import_is_a_file_of_the_page(name: str) -> None:
    text = FILES[name].decode()
    imported = re.findall(r'from "([^"]+)"', text)
    assert all(path.startswith("./") and path[2:] in FILES for path in imported), imported


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_of_text_or_asks_elsewhere(name: str) -> None:
    text = FILES[name].decode()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in text
    addresses = set(re.findall(r"https?://[^\"' ]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_the_page_names_no_file_that_is_missing_and_nothing_inline() -> None:
    text = FILES["index.html"].decode()
    for path in re.findall(r'(?:src|href)="([^"#]+)"', text):
        assert path.removeprefix("web/") in FILES, path
    assert not re.search(r"\son\w+=|style=|<script>|<style", text)


# --- hints ---------------------------------------------------------------------------------


def test_reasons_mean_what_documentation_says() -> None:
    hints = read_hints(FILES[PAGE].decode())
    assert len(hints) > 60
    assert hints["bad_digest"] == "authentication data is wrong: another key"
    assert hints["eid-of-other-site"] == hints["more-specific"]
    assert "](" not in hints["too-many-streams"]
    assert all(hints.values())
