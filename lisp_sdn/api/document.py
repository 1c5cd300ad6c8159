"""The REST reference, made of the OpenAPI document: `python -m lisp_sdn.api.document`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from lisp_sdn.api.body import MAX_LINES
from lisp_sdn.api.http import BASE, JSON, PROBLEMS
from lisp_sdn.api.openapi import document
from lisp_sdn.api.paging import MAX_LIMIT, MAX_SCAN
from lisp_sdn.api.routes import ROUTES
from lisp_sdn.api.routing import BODY_LIMIT, BULK_LIMIT

Schema = dict[str, Any]

HEADINGS = {"xtrs": "xTRs", "map-cache": "Map-cache", "source-guard": "Source guard"}

INTRODUCTION = f"""# REST interface

<!-- Made by python -m lisp_sdn.api.document; change the code, not this page. -->

Everything is below `{BASE}`; without configuration the controller listens on
<http://127.0.0.1:8080>. The same as OpenAPI 3.1: `GET {BASE}/openapi.json`.

```sh
curl -s http://127.0.0.1:8080{BASE}/status
curl -s 'http://127.0.0.1:8080{BASE}/mappings?within=10.0.0.0/8&iid=42'
curl -s -X PUT -H 'Content-Type: application/json' -H 'If-None-Match: *' \\
  -d '{{"locators": [{{"rloc": "192.0.2.1", "priority": 1, "weight": 100}}]}}' \\
  'http://127.0.0.1:8080{BASE}/mappings/10.0.0.0%2F24?iid=42'
```

## What holds everywhere

- **EIDs** are written `[IID] ADDRESS/LENGTH`, as in the configuration and on the command line:
  `[42] 10.0.0.0/24`; without `[IID]` the instance-ID is 0, or the query parameter `iid`; without
  a length it is one EID, a /32 or /128. Host bits are an error, never silently dropped. In a path
  the EID is percent-encoded.
- **Bodies** are JSON, at most {BODY_LIMIT >> 20} MiB. A name that is unknown or written twice is
  refused, and so is a number in quotes. Every mistake is told at once.
- **Times** are RFC 3339 in UTC. `Date` is the controller's clock, to compare them with.
- **Lists** come in pages: `limit` (1..{MAX_LIMIT}, 100 without it) and `after`, the `next` of the
  page before; `next` is null on the last page. The `Link` header holds the address of the next
  page. A page may be short or empty and still have a `next`: one request looks at no more than
  {MAX_SCAN} entries, so that a filter over a million of them stops nobody else. A list that
  changes between two pages neither repeats nor skips what stayed.
- **Filters** on EID-prefixes: `within` (inside of this one), `covering` (containing this one),
  `iid`, `site`.
- **ETags** are strong. `If-None-Match` on GET answers 304. A change takes `If-Match` (only when
  it is still so) and `If-None-Match: *` (only when there is nothing yet), else 412: two operators
  do not overwrite each other.
- **JSON lines**: `GET {BASE}/mappings` with `Accept: application/x-ndjson` gives one mapping a
  line, page by page; `POST` with that `Content-Type` sets them, all or none: at most {MAX_LINES}
  lines and {BULK_LIMIT >> 20} MiB in one request.
- **Events**: `GET {BASE}/events` with `Accept: text/event-stream` goes on with what happens from
  then on, as server-sent events whose `data` is one [EventModel](#eventmodel); `Last-Event-ID`, or
  `after`, goes on where a client was. `event: overflow` tells how many events a client was too
  slow for.
- **Access**: without `rest.tokens` in the configuration everybody who reaches the interface may do
  everything, so it listens on the loopback only, and answers only when it is addressed by address
  or as `localhost`, not to a web page with a name of its own. With tokens every request carries
  one: `Authorization: Bearer TOKEN`. Role `read-only` looks, `operator` changes everything, `site`
  looks at everything and changes the policy and the static mappings of its own site. Refused
  access shows in `{BASE}/refusals`; the history of the policies names the token.
- **Errors** are problem documents (RFC 9457), `application/problem+json`: `type`, `title`,
  `status`, `detail`, and in `errors` every single mistake with its `pointer` into the body, its
  query `parameter` or its `line`.

```json
{{"type": "{BASE}/problems/invalid", "title": "The body is JSON, but not what is expected",
 "status": 422, "detail": "the body is not as expected",
 "errors": [{{"pointer": "#/locators/0/weight",
             "detail": "300: Input should be less than or equal to 255"}}]}}
```
"""


def markdown() -> str:
    """The whole page."""
    spec = document(ROUTES, "")
    parts = [INTRODUCTION, _problems()]
    for tag in (entry["name"] for entry in spec["tags"]):
        parts.append(f"## {HEADINGS.get(tag, tag.capitalize())}\n")
        for path, methods in spec["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    parts.append("\n".join(_operation(method, path, operation)))
    parts.append("## Models\n")
    for name, schema in spec["components"]["schemas"].items():
        parts.append("\n".join(_model(name, schema)))
    return "\n".join(parts).rstrip() + "\n"


def _problems() -> str:
    rows = [(f"`{name}`", str(int(status)), title) for name, (status, title) in PROBLEMS.items()]
    return "\n".join(["## Problems\n", *table_lines(("Type", "Status", "Meaning"), rows), ""])


def _operation(method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    yield f"{operation['summary']}.\n"
    parameters = [p for p in operation["parameters"] if p["in"] == "query"]
    if parameters:
        rows = [
            (f"`{p['name']}`", kind_words(p["schema"]), _parameter_words(p)) for p in parameters
        ]
        yield from table_lines(("Query", "Type", "Meaning"), rows)
        yield ""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body: {_media_kind(media, content['schema'])}.\n"
    yield f"Answer: {', '.join(_answers(operation))}.\n"


def _media_kind(media: str, schema: Schema) -> str:
    if "description" in schema:
        return f"{schema['description']} (`{media}`)"
    return kind_words(schema) + ("" if media == JSON else f" (`{media}`)")


def _parameter_words(parameter: Schema) -> str:
    words = [parameter.get("description", "")]
    if parameter["required"]:
        words.append("required")
    if "default" in parameter["schema"]:
        words.append(f"default {str(parameter['schema']['default']).lower()}")
    return "; ".join(filter(None, words))


def _answers(operation: Schema) -> Iterator[str]:
    conditional = any(p["name"] == "If-Match" for p in operation["parameters"])
    for status, response in operation["responses"].items():
        kinds = [
            _media_kind(media, content["schema"])
            for media, content in response.get("content", {}).items()
        ]
        if status < "400":
            yield f"{status} {' or '.join(kinds)}".rstrip()
    if conditional:
        yield "412 when a condition does not hold"


def _model(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    if "description" in schema:
        yield f"{schema['description']}\n"
    required = schema.get("required", ())
    rows = [
        (f"`{field}`", kind_words(given), _field_words(given, field in required))
        for field, given in schema.get("properties", {}).items()
    ]
    if rows:
        yield from table_lines(("Field", "Type", "Meaning"), rows)
        yield ""


def _field_words(given: Schema, required: bool) -> str:
    words = [given.get("description", "")]
    if not required and given.get("default") is not None:
        words.append(f"default {_json(given['default'])}")
    return "; ".join(filter(None, words))


def _json(value: object) -> str:
    return "none" if value in ([], (), {}) else str(value).lower()


def kind_words(schema: Schema) -> str:
    """The type of a schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_words(choice) for choice in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {kind_words(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind_words(schema['additionalProperties'])}"
    return f"{kind}{_range(schema)}"


def _range(schema: Schema) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    return f" {'' if low is None else low}..{'' if high is None else high}"


def table_lines(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in row)
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
