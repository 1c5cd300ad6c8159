"""Policies as text: parse with every mistake named, canonical form, entity tag."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config, check_policies
from lisp_sdn.errors import InvalidPolicy, PolicyError
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.settings import Problem, Settings, load_yaml, problem

Registered = Callable[[str], Collection[IPAddress]]
"""Site -> the RLOCs that it has registered now."""

_RULE_PATH = re.compile(r"^policies\[(\d+)\](?:\.rules\[(\d+)\])?\.?(.*)$")
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]")


class _Document(Settings):
    policies: tuple[SitePolicy, ...]


def parse(text: str) -> tuple[SitePolicy, ...]:
    """Read YAML or JSON: a list of site policies, or a mapping with only `policies`.

    Raises InvalidPolicy; `check` finds what the text alone cannot show.
    """
    try:
        data = load_yaml(text)
    except ValueError as error:
        raise InvalidPolicy([PolicyError("(none)", "document", "text", str(error))]) from None
    return from_plain(data)


def from_plain(data: object) -> tuple[SitePolicy, ...]:
    """Policies from plain values. Raises InvalidPolicy."""
    if isinstance(data, list | tuple):
        data = {"policies": data}
    if not isinstance(data, dict):
        fix = "expected a list of site policies or a mapping with the key policies"
        raise InvalidPolicy([PolicyError("(none)", "document", type(data).__name__, fix)])
    try:
        return _Document.model_validate(data).policies
    except ValidationError as error:
        found = [problem(item) for item in error.errors()]
        raise InvalidPolicy([_policy_error(item, data) for item in found]) from None


def check(
    config: Config, policies: tuple[SitePolicy, ...], registered: Registered | None = None
) -> None:
    """Judge policies against the configuration and what is registered. Raises InvalidPolicy."""
    found = list(check_policies(config, policies))
    if registered is not None:
        found += _check_registered(config, policies, registered)
    if found:
        data = {"policies": to_plain(policies)}
        raise InvalidPolicy([_policy_error(item, data) for item in found])


def _check_registered(
    config: Config, policies: tuple[SitePolicy, ...], registered: Registered
) -> Iterator[Problem]:
    """For sites that may register any RLOC: rules name only those that they did register."""
    for p, policy in enumerate(policies):
        site = config.site(policy.site)
        if site is None or site.allowed_rlocs or policy.allow_unregistered_rlocs:
            continue
        own = {entry.rloc for xtr in config.xtrs if xtr.site == site.name for entry in xtr.rlocs}
        known = own | set(registered(policy.site))
        if not known:
            continue  # nothing to judge by yet; the engine leaves out what is not registered
        names = ", ".join(map(str, sorted(known, key=lambda rloc: (rloc.version, int(rloc)))))
        for r, rule in enumerate(policy.rules):
            for part, rloc in rule.action.rlocs():
                if rloc not in known:
                    yield (
                        f"policies[{p}].rules[{r}].action.{part}",
                        f"{rloc} is not registered by site {site.name}; name one of {names} "
                        "or set allow_unregistered_rlocs",
                    )


def _policy_error(item: Problem, data: dict[str, Any]) -> PolicyError:
    path, message = item
    value = _value(data, path)
    message = message.removeprefix(f"{value!r}: ")
    found = _RULE_PATH.match(path)
    if found is None:
        return PolicyError("(none)", path, value, message)
    base = f"policies[{found[1]}]"
    site = _value(data, f"{base}.site") or base
    field = found[3] or "rules"
    if found[2] is None:
        return PolicyError(str(site), field, value, message)
    rule = _value(data, f"{base}.rules[{found[2]}].name") or f"rules[{found[2]}]"
    return PolicyError(f"{site}/{rule}", found[3] or "rule", value, message)


def _value(data: Any, path: str) -> Any:
    """What the document says at a key path; None where it says nothing, "..." for a branch."""
    for name, index in _STEP.findall(path):
        try:
            data = data[int(index)] if index else data[name]
        except (KeyError, IndexError, TypeError):
            return None
    return "..." if isinstance(data, dict) else data


def to_plain(policies: Iterable[SitePolicy]) -> list[dict[str, Any]]:
    """Policies as plain values, as they are written: without what is left at its default."""
    return [
        policy.model_dump(mode="json", by_alias=True, exclude_defaults=True) for policy in policies
    ]


def to_yaml(policies: Iterable[SitePolicy]) -> str:
    """Policies as the YAML that `parse` reads."""
    document = {"policies": to_plain(policies)}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=100)


def canonical(policies: Iterable[SitePolicy]) -> str:
    """One text per meaning: sites in the order of their names, keys sorted, JSON."""
    ordered = sorted(policies, key=lambda policy: policy.site)
    return json.dumps(to_plain(ordered), sort_keys=True, separators=(",", ":"))


def etag(policies: Iterable[SitePolicy]) -> str:
    """The entity tag (RFC 9110 section 8.8.3) of policies: a hash of their canonical form."""
    return f'"{hashlib.sha256(canonical(policies).encode()).hexdigest()[:16]}"'
