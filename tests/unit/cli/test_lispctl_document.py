"""docs/cli.md is what the code generates."""

from __future__ import annotations

from pathlib import Path

from lisp_sdn.cli.document import markdown

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_what_the_code_generates() -> None:
    assert PAGE.read_text() == markdown(), "run: python -m lisp_sdn.cli.document > docs/cli.md"


def test_the_page_names_commands_of_every_depth() -> None:
    text = PAGE.read_text()
    for command in ("lispctl", "lispctl check", "lispctl show map-cache", "lispctl mapping set"):
        assert f"## {command}\n" in text
