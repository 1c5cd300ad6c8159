"""Names: used once, and known where they are referred to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lisp_sdn.settings import Problem


def no_site(name: str, sites: Sequence[str]) -> str:
    """The message for a name that is no site, with those that are."""
    return f"{name!r} is not a site; configured: {', '.join(sites) or 'none'}"


def unique(path: str, key: str, values: list[str]) -> Iterator[Problem]:
    """One problem for each value that stands in the list before."""
    for index, value in enumerate(values):
        first = values.index(value)
        if first != index:
            yield f"{path}[{index}].{key}", f"{value!r} is already {path}[{first}]"


def references(data: dict[str, Any]) -> Iterator[Problem]:
    """Sites that a file with other mistakes names wrongly; the rest of `check` needs settings."""
    sites = [entry.get("name") for entry in _mappings(data, "sites").values()]
    for index, entry in _mappings(data, "xtrs").items():
        name = entry.get("site")
        if isinstance(name, str) and name not in sites:
            yield f"xtrs[{index}].site", no_site(name, [str(site) for site in sites])


def _mappings(data: dict[str, Any], key: str) -> dict[int, dict[str, Any]]:
    entries = data.get(key)
    listed = entries if isinstance(entries, list) else []
    return {index: entry for index, entry in enumerate(listed) if isinstance(entry, dict)}
