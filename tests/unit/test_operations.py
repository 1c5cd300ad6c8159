"""Every reason for a drop or refusal is explained to who knows only that it does not work."""

from __future__ import annotations

import re
from pathlib import Path

import lisp_sdn
from lisp_sdn.config import Config
from lisp_sdn.config.changes import LIVE

PACKAGE = Path(lisp_sdn.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"

SAID = (
    r'\b_?drop\(\s*"([a-z_-]+)"',
    r'\b_refuse\(\s*"([a-z_-]+)"',
    r'\bRefused\(\s*"([a-z_-]+)"',
    r'\bDropped\(\s*(?:f?"[^"]*"|[\w.]+),\s*"([a-z_-]+)"',
    r'\bgive_up\([^,"]+, "([a-z_-]+)"',
    r'\breason = "([a-z_-]+)"',
)


def reasons() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in (*PACKAGE.glob("**/*.py"), *(PACKAGE / "apps").glob("*.py")):
        if "cli" not in path.relative_to(PACKAGE).parts:
            text = path.read_text()
            found.update((name, path) for said in SAID for name in re.findall(said, text))
    return found


def test_every_reason_is_in_the_table() -> None:
    table = PAGE.read_text().partition("## Reasons")[2]
    explained = set(re.findall(r"`([a-z_-]+)`", table))
    found = reasons()
    assert len(found) > 60
    missing = {name: str(path) for name, path in found.items() if name not in explained}
    assert not missing, f"explain them in docs/operations.md, Reasons: {missing}"


def test_reasons_that_the_text_names_exist() -> None:
    named = set(re.findall(r'"reason": "([a-z_-]+)"', PAGE.read_text()))
    assert named == {"bad_digest"}


def test_the_table_of_what_a_reload_does_names_every_part_of_the_configuration() -> None:
    section = PAGE.read_text().partition("## Change the configuration")[2].partition("\n## ")[0]
    told: dict[str, bool] = {}
    for row in re.findall(r"^\| (`.*)$", section, re.MULTILINE):
        parts, what = row.split(" | ", 1)
        told.update((name, what.startswith("yes")) for name in re.findall(r"`([a-z_.]+)`", parts))
    for name in Config.model_fields:
        assert told[name] == (name in LIVE), name
