"""docs/rest.md is what the code generates."""

from __future__ import annotations

from pathlib import Path

from lisp_sdn.api.document import markdown
from lisp_sdn.api.routes import ROUTES

PAGE = Path(__file__).parents[3] / "docs" / "rest.md"


def test_the_page_is_what_the_code_generates() -> None:
    assert PAGE.read_text() == markdown(), "run: python -m lisp_sdn.api.document > docs/rest.md"


def test_the_page_names_every_route() -> None:
    text = PAGE.read_text()
    for route in ROUTES:
        assert f"### {route.method} /lisp/v1{route.template}\n" in text
