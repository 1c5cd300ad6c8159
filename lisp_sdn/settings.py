"""What every settings model is made of: base class, field types, strict YAML, readable problems."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

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
    host, _, port = str(value).rpartition(":")
    try:
        endpoint = Endpoint(ipaddress.ip_address(host.strip("[]")), int(port))
    except ValueError:
        raise ValueError(f"{value!r} is not ADDRESS:PORT") from None
    if not 0 <= endpoint.port <= 0xFFFF:
        raise ValueError(f"{value!r}: the port is not in 0..65535")
    return endpoint


TEXT = PlainSerializer(str, return_type=str, when_used="json")
AddressField = Annotated[IPAddress, BeforeValidator(_address), TEXT]
NetworkField = Annotated[IPNetwork, BeforeValidator(_network), TEXT]
EidPrefixField = Annotated[EidPrefix, BeforeValidator(_eid_prefix), TEXT]
EndpointField = Annotated[Endpoint, BeforeValidator(_listen), TEXT]
Iid = Annotated[int, Field(ge=0, le=MAX_IID)]
Octet = Annotated[int, Field(ge=0, le=255)]
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
    """Parse YAML; a key written twice is an error. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_StrictLoader)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice; plain YAML would keep the last silently."""


def _strict_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
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


def problem(item: Any) -> Problem:
    """One of pydantic's errors as key path and message; values of secrets stay out."""
    message = item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    secret = any(word in str(item["loc"][-1:]) for word in ("key", "token"))
    if item["type"] == "extra_forbidden":
        message = "unknown key"
    elif isinstance(given, str | int | float) and repr(given) not in message and not secret:
        message = f"{given!r}: {message}"
    return key_path(item["loc"]), message
