"""What differs between two configurations, as a reload tells it: `diff(old, new)` is pure.

Entries of lists are told apart by what names them (a site by its name, a key by its Key ID), so
that an entry which only moved is not told as many that changed. Secrets are never shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, SecretStr

from lisp_sdn.config.model import Config

LIVE = (
    "sites",
    "xtrs",
    "mappings",
    "use_petr",
    "policies",
    "limits",
    "log",
    "alt",
    "reachability",
    "source_guard",
    "gleaning",
    "mobility",
    "rest.tokens",
)
"""The parts of a configuration that a reload puts in force; every other one needs a restart."""

_NAMES = ("name", "eid", "key_id", "rloc", "site", "iid", "address", "prefix", "eid_prefix")
"""What tells the entries of a list apart: the first of these that they have, and all differ in."""

_LONGEST = 200


class ChangeKind(StrEnum):
    """What happened to a part of the configuration."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One difference. path: of the key, entries of lists by name: "sites[athens].proxy_reply".

    old, new: as text; None where there is nothing, and for secrets. restart: it is left as it is
    until the controller starts again.
    """

    path: str
    kind: ChangeKind
    old: str | None = None
    new: str | None = None
    restart: bool = False

    def __str__(self) -> str:
        text = f"{self.path}: {self.kind.value}"
        if self.kind is ChangeKind.CHANGED and self.old is not None:
            text = f"{self.path}: {self.old} -> {self.new}"
        elif self.new is not None or self.old is not None:
            text += f" {self.new if self.new is not None else self.old}"
        return f"{text} (needs a restart)" if self.restart else text


def diff(old: Config, new: Config) -> tuple[ConfigChange, ...]:
    """Every difference, in the order of the configuration."""
    return tuple(_models("", old, new))


def effective(old: Config, new: Config) -> Config:
    """`new`, with what needs a restart as it is in `old`."""
    values: dict[str, Any] = {}
    for name in Config.model_fields:
        if name in LIVE:
            continue
        parts = [part.partition(".")[2] for part in LIVE if part.startswith(f"{name}.")]
        kept = getattr(old, name)
        if parts and kept is not None:
            kept = kept.model_copy(
                update={part: getattr(getattr(new, name), part) for part in parts}
            )
        values[name] = kept
    return new.model_copy(update=values)


def _models(path: str, old: BaseModel, new: BaseModel) -> Iterator[ConfigChange]:
    for name in type(new).model_fields:
        yield from _values(
            f"{path}.{name}" if path else name, getattr(old, name), getattr(new, name)
        )


def _values(path: str, old: object, new: object) -> Iterator[ConfigChange]:
    if old == new:
        return
    if isinstance(old, BaseModel) and type(old) is type(new):
        yield from _models(path, old, new)
    elif isinstance(old, tuple) and isinstance(new, tuple):
        yield from _lists(path, old, new)
    elif old is None:
        yield _change(path, ChangeKind.ADDED, None, new)
    elif new is None:
        yield _change(path, ChangeKind.REMOVED, old, None)
    else:
        yield _change(path, ChangeKind.CHANGED, old, new)


def _lists(path: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[ConfigChange]:
    before, after = _named(old, new)
    for name, value in before.items():
        if name not in after:
            yield _change(f"{path}[{name}]", ChangeKind.REMOVED, value, None)
    for name, value in after.items():
        if name not in before:
            yield _change(f"{path}[{name}]", ChangeKind.ADDED, None, value)
        else:
            yield from _values(f"{path}[{name}]", before[name], value)
    kept = [name for name in before if name in after]
    order = [name for name in after if name in before]
    if kept != order:
        yield _change(path, ChangeKind.MOVED, None, ", ".join(order))


def _named(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of two lists by what names them; by their place where nothing does."""
    if not any(isinstance(value, BaseModel) for value in (*old, *new)):
        return {_text(value): value for value in old}, {_text(value): value for value in new}
    for key in _NAMES:
        if all(hasattr(value, key) for value in (*old, *new)):
            before = {str(getattr(value, key)): value for value in old}
            after = {str(getattr(value, key)): value for value in new}
            if (len(before), len(after)) == (len(old), len(new)):
                return before, after
    return {str(i): v for i, v in enumerate(old)}, {str(i): v for i, v in enumerate(new)}


def _change(path: str, kind: ChangeKind, old: object, new: object) -> ConfigChange:
    secret = isinstance(old, SecretStr) or isinstance(new, SecretStr)
    shown = [None if value is None or secret else _text(value) for value in (old, new)]
    # A list of plain values has its entries as names: said once is enough.
    if path.endswith((f"[{shown[0]}]", f"[{shown[1]}]")):
        shown = [None, None]
    live = any(path == part or path.startswith((f"{part}.", f"{part}[")) for part in LIVE)
    return ConfigChange(path, kind, shown[0], shown[1], restart=not live)


def _text(value: object) -> str:
    if isinstance(value, BaseModel):
        # As JSON a secret is asterisks; what is as by default is left out.
        value = json.dumps(value.model_dump(mode="json", exclude_defaults=True))
    elif isinstance(value, tuple):
        value = ", ".join(_text(item) for item in value) or "none"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
