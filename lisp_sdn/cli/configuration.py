"""The reference of the configuration file, made of its settings and what their docstrings say:
`python -m lisp_sdn.cli.configuration`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from lisp_sdn.api.document import kind_words, table_lines
from lisp_sdn.config import Config

Schema = dict[str, Any]

INTRODUCTION = """# Configuration

<!-- Made by python -m lisp_sdn.cli.configuration; change the code, not this page. -->

One YAML file, UTF-8, which ryu-manager finds by its own configuration file:

```ini
[lisp_sdn]
config = /etc/lisp-sdn/lisp.yaml
```

`lispctl check FILE` names every mistake of a file with its place, before anything is started. A key
that is unknown or written twice is a mistake, so is an address with host bits where a prefix is
expected. [packaging/lisp.yaml](../packaging/lisp.yaml) is an example with every key.

Times are seconds unless the name says minutes. Prefixes are `ADDRESS/LENGTH`, endpoints
`ADDRESS:PORT`, `[ADDRESS]:PORT` for IPv6; IPv6 in `{...}` needs quotes in YAML. Datapath ids are up
to 16 hex digits, in quotes.
"""


def markdown() -> str:
    """The whole page."""
    schema = Config.model_json_schema(by_alias=True)
    parts = [INTRODUCTION, "## The file\n", *_rows(schema, schema)]
    for name in _order(schema, schema, []):
        model = schema["$defs"][name]
        parts += [f"## {name}\n", *_summary(model), *_rows(schema, model)]
    return "\n".join(parts).rstrip() + "\n"


def meanings(model: Schema) -> tuple[str, dict[str, str]]:
    """What a docstring says of the model, and of each of its keys: "key: words. key2, key3: words".

    A key of the docstring may be the Python name where YAML has another.
    """
    text = model.get("description", "")
    keys = "|".join(map(re.escape, model.get("properties", {}))) or "(?!)"
    pattern = rf"(?:^|(?<=[.;,)])\s|\n)((?:{keys})(?:,\s(?:{keys}))*):\s"
    *pieces, last = re.split(pattern, text)
    summary, told = (pieces or [last])[0].strip(), {}
    words = [*pieces[2::2], last] if pieces else []
    for keys, said in zip(pieces[1::2], words, strict=True):
        told.update(dict.fromkeys(re.split(r",\s", keys), " ".join(said.split()).rstrip(".,;")))
    return summary, told


def _summary(model: Schema) -> Iterator[str]:
    summary, _ = meanings(model)
    if summary:
        yield f"{summary}\n"


def _rows(root: Schema, model: Schema) -> Iterator[str]:
    _, told = meanings(model)
    required = model.get("required", ())
    rows = [
        (
            f"`{key}`",
            kind_words(_plain(root, given)).removesuffix(" or null"),
            _default(given, key in required),
            told.get(key, ""),
        )
        for key, given in model.get("properties", {}).items()
    ]
    yield from table_lines(("Key", "Type", "Default", "Meaning"), rows)
    yield ""


def _plain(root: Schema, given: Any) -> Any:
    """The schema with what is not a model of its own, such as an enumeration, in its place."""
    if isinstance(given, list):
        return [_plain(root, item) for item in given]
    if not isinstance(given, dict):
        return given
    found = root["$defs"].get(given.get("$ref", "").rpartition("/")[2])
    if found is not None and "properties" not in found:
        return found
    return {key: _plain(root, value) for key, value in given.items()}


def _default(given: Schema, required: bool) -> str:
    if required:
        return "required"
    value = given.get("default")
    if value is None or value == []:
        return ""
    values = value if isinstance(value, list) else [value]
    return ", ".join(f"`{text}`" for text in map(_value, values) if text)


def _value(value: object) -> str:
    """As YAML has it; "" for settings whose own table tells their defaults."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, dict):
        return str(value)
    if value.keys() != {"address", "port"}:
        return ""
    host = value["address"]
    return f"[{host}]:{value['port']}" if ":" in host else f"{host}:{value['port']}"


def _order(root: Schema, model: Schema, seen: list[str]) -> list[str]:
    """The models as a reader meets them, each once."""
    for given in model.get("properties", {}).values():
        for name in _references(given):
            if name not in seen and "properties" in root["$defs"][name]:
                seen.append(name)
                _order(root, root["$defs"][name], seen)
    return seen


def _references(given: Any) -> Iterator[str]:
    if isinstance(given, dict):
        if "$ref" in given:
            yield given["$ref"].rpartition("/")[2]
        for value in given.values():
            yield from _references(value)
    elif isinstance(given, list):
        for value in given:
            yield from _references(value)


if __name__ == "__main__":
    sys.stdout.write(markdown())
