"""The lines drawn in docs/architecture.md: who imports whom, and who may do I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lisp_sdn"

EDGE_LIBRARIES = {"ryu", "eventlet", "webob"}
IO_MODULES = {"socket", "select", "selectors", "asyncio", "threading", "subprocess"}
"""Only the edges and the command line may use these; `time` neither, `now` is passed in.

The constants of `socket` (AF_INET for pytricia) are no I/O: `from socket import AF_INET` is fine.
"""

FLOORS = {
    "errors": 0,
    "unchecked": 0,
    "histogram": 0,
    "address": 1,
    "model": 2,
    "prefixtable": 2,
    "rules": 2,
    "settings": 2,
    "actions": 3,
    "policy_settings": 3,
    "rest_settings": 3,
    "alt_settings": 3,
    "guard_settings": 3,
    "config": 4,
    "views": 5,
    "ovsdb": 5,
    "alt_views": 5,
    "inflow": 6,
    "ledger": 6,
    "exchanges": 7,
    "measures": 8,
    "wire": 6,
    "policy": 7,
    "mapping": 7,
    "xtr": 7,
    "alt": 7,
    "policing": 8,
    "trace": 8,
    "unreachable": 8,
    "alt_router": 8,
    "registering": 8,
    "mobility": 8,
    "rlocs": 8,
    "fleet": 8,
    "reloading": 9,
    "interworking": 9,
    "senders": 8,
    "answering": 8,
    "asking": 9,
    "express": 9,
    "management": 10,
    "controller": 11,
    "api": 12,
    "cli": 13,
    "apps": 13,
}
"""Room -> floor. A room imports from floors below; two rooms of one floor do not know each other.

Every new room takes its place here, and in docs/architecture.md.
"""


def sources() -> list[Path]:
    return sorted(PACKAGE.glob("**/*.py"))


def room(path: Path) -> str:
    """The room that a file belongs to: its folder below the package, or its own name."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Everything in a file, read once."""
    return list(ast.walk(ast.parse(path.read_text(), str(path))))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, also inside of functions."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "socket" and all(a.name.startswith("AF_") for a in node.names):
                continue
            if node.module == "lisp_sdn":
                yield from (f"lisp_sdn.{alias.name}" for alias in node.names)
            else:
                yield node.module


SOURCES = [path for path in sources() if room(path) != "__init__"]
IDS = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def test_the_package_is_where_this_test_looks() -> None:
    assert PACKAGE / "errors.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_only_apps_imports_ryu_eventlet_and_webob(path: Path) -> None:
    if room(path) == "apps":
        return
    assert not {name.split(".")[0] for name in imports(path)} & EDGE_LIBRARIES


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_only_the_edges_and_the_command_line_do_io(path: Path) -> None:
    if room(path) in ("apps", "cli"):
        return
    used = {name.split(".")[0] for name in imports(path)}
    assert not used & IO_MODULES
    assert "time" not in used, "`now` is passed in"
    called = {
        node.func.id
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"open", "print", "input"}


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_a_file_imports_only_from_floors_below(path: Path) -> None:
    here = room(path)
    assert here in FLOORS, f"give {here} a floor in this test and in docs/architecture.md"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "lisp_sdn" or len(parts) == 1:
            continue
        there = parts[1]
        if there == here:
            continue
        assert there in FLOORS, f"{path} imports {name}, which has no floor"
        assert FLOORS[there] < FLOORS[here], f"{path} ({here}) imports {name}"


def test_mininet_scripts_do_not_hide_the_real_mininet() -> None:
    assert not (PACKAGE.parent / "mininet" / "__init__.py").exists()


def test_apps_is_reachable_as_part_of_the_package() -> None:
    assert (PACKAGE / "apps").resolve() == (PACKAGE.parent / "apps").resolve()
