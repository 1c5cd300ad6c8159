"""What every settings model is made of: base class, field types, strict YAML, readable problems."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from lisp_sdn.address import MAX_IID, EidPrefix, Endpoint, IPAddress, IPNetwork
from lisp_sdn.errors import FieldError

Problem = tuple[str, str]
"""(key path, message); the message names the value and what was expected."""


def _address(value: object) -> IPAddress:
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 or IPv6 address") from None


def _network(value: object) -> IPNetwork:
    try:
        return ipaddress.ip_network(str(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not ADDRESS/LENGTH ({error})") from None


def _eid_prefix(value: object) -> EidPrefix:
    if isinstance(value, EidPrefix):
        return value
    try:
        return EidPrefix.from_text(str(value))
    except FieldError as error:
        raise ValueError(f"{value!r} is not {error.expected}") from None


def _listen(value: object) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    host, _, port = str(value).rpartition(":")
    try:
        endpoint = Endpoint(ipaddress.ip_address(host.strip("[]")), int(port))
    except ValueError:
        raise ValueError(f"{value!r} is not ADDRESS:PORT") from None
    if not 0 <= endpoint.port <= 0xFFFF:
        raise ValueError(f"{value!r}: the port is not in 0..65535")
    return endpoint


def _datapath_id(value: object) -> int:
    try:
        number = value if isinstance(value, int) else int(str(value), 16)
    except ValueError:
        raise ValueError(f"{value!r} is not a datapath id (up to 16 hex digits)") from None
    if not 0 < number < 1 << 64:
        raise ValueError(f"{value!r} is not in 1..2**64-1")
    return number


TEXT = PlainSerializer(str, return_type=str, when_used="json")
AddressField = Annotated[IPAddress, BeforeValidator(_address), TEXT]
NetworkField = Annotated[IPNetwork, BeforeValidator(_network), TEXT]
EidPrefixField = Annotated[EidPrefix, BeforeValidator(_eid_prefix), TEXT]
EndpointField = Annotated[Endpoint, BeforeValidator(_listen, json_schema_input_type=str), TEXT]
Iid = Annotated[int, Field(ge=0, le=MAX_IID)]
Octet = Annotated[int, Field(ge=0, le=255)]
DatapathId = Annotated[int, BeforeValidator(_datapath_id)]
PortName = Annotated[str, Field(min_length=1, max_length=15)]
OvsdbTarget = Annotated[str, Field(pattern=r"^(tcp:.+:\d+|unix:/.+)$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        # One schema for what is written and what is shown.
        json_schema_mode_override="validation",
    )


def load_yaml(text: str) -> Any:
    """Parse YAML; a key written twice is an error. Raises ValueError.

    The message tells what is wrong and where, and holds none of the text there: that may be a key
    or a token.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_yaml_problem(error)) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("lists and mappings in each other, too deep to be read") from None


_QUOTED = re.compile(r"\b(alias|anchor|tag|tag handle) '.*'")


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    told = [
        words + (f" in line {mark.line + 1}, column {mark.column + 1}" if mark else "")
        for words, mark in (
            (error.context, error.context_mark),
            (error.problem, error.problem_mark),
        )
        if words
    ]
    return _QUOTED.sub(r"\1", ": ".join(told))


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice; plain YAML would keep the last silently."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML lets errors through of what it makes values with, such as 2024-99-99."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"no {kind}, and text that looks like one needs quotes,",
                node.start_mark,
            ) from None


def _strict_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is a list or a mapping, expected text", key_node.start_mark
            )
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _strict_mapping)


def key_path(location: tuple[int | str, ...]) -> str:
    """The location of a mistake as a person writes it: "sites[0].eid_prefixes[1].prefix"."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "(top)"


_EXPECTED = {"tuple_type": "expected a list", "model_type": "expected a mapping"}
"""In the words of YAML."""

_SECRET = ("key", "token", "password")
_OPEN = ("key_id", "algorithm")


def problems(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Every mistake that pydantic found in what was to become a `model`."""
    items: Any = error.errors()
    # A list that only seems empty because its entries are wrong is not a second mistake.
    parents = {item["loc"][:length] for item in items for length in range(len(item["loc"]))}
    return [
        problem(item, known_keys(model, item["loc"][:-1]))
        for item in items
        if item["type"] != "too_short" or item["loc"] not in parents
    ]


def problem(item: Any, known: tuple[str, ...] = ()) -> Problem:
    """One of pydantic's errors as key path and message; values of secrets stay out.

    known: the keys that may stand there, as far as one can tell.
    """
    message = _EXPECTED.get(item["type"]) or item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    named = [part for part in item["loc"] if isinstance(part, str)]
    secret = named[-1:] not in ([name] for name in _OPEN) and any(
        word in name for word in _SECRET for name in named
    )
    if item["type"] == "extra_forbidden":
        message = "unknown key" + (f", expected one of {', '.join(known)}" if known else "")
    elif isinstance(given, str | int | float) and repr(given) not in message and not secret:
        message = f"{given!r}: {message}"
    return key_path(item["loc"]), message


def known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys of the mapping at a location; () where there may be one of several."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        below = list(_models(field.annotation)) if field is not None else []
        if len(below) != 1:
            return ()
        model = below[0]
    return tuple(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
