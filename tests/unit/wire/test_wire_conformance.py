"""docs/conformance.md names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
REFERENCE = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_every_named_test_exists():
    named = set(REFERENCE.findall((ROOT / "docs" / "conformance.md").read_text()))
    assert len(named) > 50
    functions = {}
    for file in {file for file, _ in named}:
        (path,) = (ROOT / "tests").rglob(file)
        tree = ast.parse(path.read_text())
        functions[file] = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    assert not {(file, name) for file, name in named if name not in functions[file]}
