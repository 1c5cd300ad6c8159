"""The configuration file: YAML in, frozen settings out, every mistake named at once.

`load` reads text, never a file: the edges read files. `ConfigError.problems` holds
(key path, message) pairs such as ("sites[0].eid_prefixes[1].prefix", "...").
"""

from __future__ import annotations

from pydantic import ValidationError

from lisp_sdn.config.checks import check
from lisp_sdn.config.limits import Limits, Reachability
from lisp_sdn.config.mobility import MobileSubnet, MobilitySettings, Subnet, roaming_gateways
from lisp_sdn.config.model import Config, ControlSettings, LogSettings, StoreSettings
from lisp_sdn.config.policy_checks import check_policies
from lisp_sdn.config.references import references
from lisp_sdn.config.sites import (
    Algorithm,
    AuthenticationKey,
    EidPrefixSettings,
    LocatorSettings,
    NonceCheck,
    SiteSettings,
    StaticMapping,
)
from lisp_sdn.config.xtrs import EidPort, Underlay, UsePetr, XtrRloc, XtrSettings
from lisp_sdn.errors import ConfigError
from lisp_sdn.rest_settings import RestSettings
from lisp_sdn.settings import (
    AddressField,
    EndpointField,
    Iid,
    Name,
    NetworkField,
    Octet,
    Problem,
    Settings,
    load_yaml,
    problems,
)

__all__ = [
    "AddressField",
    "Algorithm",
    "AuthenticationKey",
    "Config",
    "ControlSettings",
    "EidPort",
    "EidPrefixSettings",
    "EndpointField",
    "Iid",
    "Limits",
    "LocatorSettings",
    "LogSettings",
    "MobileSubnet",
    "MobilitySettings",
    "Name",
    "NetworkField",
    "NonceCheck",
    "Octet",
    "Problem",
    "Reachability",
    "RestSettings",
    "Settings",
    "SiteSettings",
    "StaticMapping",
    "StoreSettings",
    "Subnet",
    "Underlay",
    "UsePetr",
    "XtrRloc",
    "XtrSettings",
    "check",
    "check_policies",
    "load",
    "roaming_gateways",
]


def load(text: str, source: str = "configuration") -> Config:
    """Parse and check YAML text. source: the file name for messages. Raises ConfigError."""
    try:
        data = load_yaml(text)
    except ValueError as error:
        raise ConfigError(source, [("YAML", str(error))]) from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(source, [("(top)", f"{type(data).__name__}, expected a mapping")])
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(source, [*problems(error, Config), *references(data)]) from None
    found = list(check(config))
    if found:
        raise ConfigError(source, found)
    return config
