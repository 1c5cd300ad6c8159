"""Reads what belongs to the web page from where the package is installed."""

from __future__ import annotations

from importlib import resources


def files() -> dict[str, bytes]:
    """Name -> content."""
    folder = resources.files("lisp_sdn") / "web"
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
