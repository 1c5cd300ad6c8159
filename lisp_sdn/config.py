"""The configuration file: YAML in, frozen settings out, every mistake named at once.

`load` reads text, never a file: the edges read files. `ConfigError.problems` holds
(key path, message) pairs such as ("sites[0].eid_prefixes[1].prefix", "...").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.alt_settings import AltSettings, BgpSettings, check_alt, check_bgp
from lisp_sdn.errors import ConfigError, FieldError
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.policy_settings import PolicyRule, SitePolicy
from lisp_sdn.rest_settings import RestSettings, check_rest
from lisp_sdn.settings import (
    TEXT,
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
    "Name",
    "NetworkField",
    "NonceCheck",
    "Octet",
    "Problem",
    "RestSettings",
    "Settings",
    "SiteSettings",
    "StaticMapping",
    "StoreSettings",
    "Underlay",
    "XtrSettings",
    "check",
    "check_policies",
    "load",
]

_MAC = re.compile(r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")


def _interface(value: object) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        if "/" not in str(value):
            raise ValueError("the length is missing")
        return ipaddress.ip_interface(str(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not GATEWAY-ADDRESS/LENGTH ({error})") from None


def _datapath_id(value: object) -> int:
    try:
        number = value if isinstance(value, int) else int(str(value), 16)
    except ValueError:
        raise ValueError(f"{value!r} is not a datapath id (up to 16 hex digits)") from None
    if not 0 < number < 1 << 64:
        raise ValueError(f"{value!r} is not in 1..2**64-1")
    return number


def _mac(value: str) -> str:
    if not _MAC.match(value.lower()):
        raise ValueError(f"{value!r} is not a MAC address like 02:00:00:00:00:fe")
    return value.lower()


InterfaceField = Annotated[
    ipaddress.IPv4Interface | ipaddress.IPv6Interface, BeforeValidator(_interface), TEXT
]
DatapathId = Annotated[int, BeforeValidator(_datapath_id)]
MacField = Annotated[str, AfterValidator(_mac)]


class Algorithm(StrEnum):
    """Algorithm IDs of RFC 9301 section 12.5, by name."""

    HMAC_SHA_1_96 = "hmac-sha-1-96"
    HMAC_SHA_256_128 = "hmac-sha-256-128"
    HMAC_SHA_256_128_HKDF = "hmac-sha256-128+hkdf-sha256"

    @property
    def number(self) -> int:
        """The Algorithm ID on the wire: 1, 2 or 3."""
        return list(Algorithm).index(self) + 1


class AuthenticationKey(Settings):
    """A shared secret of a site. Two may be live at once while keys are rolled over."""

    key_id: Octet = 1
    key: SecretStr = Field(min_length=1)
    algorithm: Algorithm = Algorithm.HMAC_SHA_256_128_HKDF


class NonceCheck(StrEnum):
    """How the nonce of a Map-Register is judged (RFC 9301 section 5.6, peers that differ)."""

    STRICTLY_INCREASING = "strictly-increasing"
    NOT_SEEN = "not-seen"
    OFF = "off"


class EidPrefixSettings(Settings):
    """An EID-prefix that a site may register."""

    prefix: NetworkField
    iid: Iid = 0
    accept_more_specifics: bool = False
    max_more_specifics: int = Field(default=10_000, ge=0)
    unregistered_action: Literal["natively-forward", "drop-no-reason"] = "natively-forward"

    @property
    def eid(self) -> EidPrefix:
        """As a value."""
        return EidPrefix(self.iid, self.prefix)


class SiteSettings(Settings):
    """A LISP site as the Map-Server knows it (RFC 9301 section 8.2)."""

    name: Name
    authentication_keys: tuple[AuthenticationKey, ...] = Field(min_length=1, max_length=2)
    eid_prefixes: tuple[EidPrefixSettings, ...] = ()
    proxy_reply: bool = False
    allowed_rlocs: tuple[NetworkField, ...] = ()
    allowed_algorithms: tuple[Algorithm, ...] = (
        Algorithm.HMAC_SHA_256_128,
        Algorithm.HMAC_SHA_256_128_HKDF,
    )
    nonce_check: NonceCheck = NonceCheck.STRICTLY_INCREASING
    mac_length: Literal["truncated", "full"] = "truncated"
    legacy_actions: bool = False
    max_registrations: int = Field(default=1_000_000, ge=1)
    shutdown: bool = False


class LocatorSettings(Settings):
    """One RLOC with its priority and weight."""

    rloc: AddressField
    priority: Octet = 1
    weight: Octet = 100

    @property
    def locator(self) -> Locator:
        """As a value."""
        return Locator(self.rloc, self.priority, self.weight)


class XtrRloc(LocatorSettings):
    """An RLOC of an xTR of ours, with the way that its packets take.

    uplink: port of the underlay bridge; None: any of its ports, the RLOC is up while one is.
    next_hop: router through which other RLOCs are reached; None: they are on the same link.
    """

    uplink: str | None = Field(default=None, min_length=1, max_length=15)
    next_hop: AddressField | None = None


class EidPort(Settings):
    """An EID-facing port of an xTR: hosts of one instance-ID behind an anycast gateway.

    name: interface name on the overlay bridge. gateways: the addresses, with the length of the
    subnet, that the xTR answers ARP and neighbour discovery for. mac: of the gateway.
    """

    name: str = Field(min_length=1, max_length=15)
    iid: Iid = 0
    gateways: tuple[InterfaceField, ...] = Field(min_length=1)
    mac: MacField = "02:00:5e:00:00:fe"
    allow_mobility: bool = False


class Underlay(Settings):
    """The bridge that holds the uplinks and, on its LOCAL port, the RLOCs."""

    bridge: str = Field(default="br-phy", min_length=1, max_length=15)
    datapath_id: DatapathId | None = None


class XtrSettings(Settings):
    """One Open vSwitch for which the controller plays ITR and ETR.

    eid_prefixes: what it registers; empty means all prefixes of its site. ovsdb: "tcp:ADDR:PORT"
    or "unix:PATH" of its database, to verify the tunnel port's options; without it only the
    port's name can be verified. map_resolvers, map_servers: empty means the embedded ones.
    """

    name: Name
    site: Name | None = None
    datapath_id: DatapathId
    rlocs: tuple[XtrRloc, ...] = Field(min_length=1)
    tunnel_port: str = Field(default="lisp0", min_length=1, max_length=15)
    underlay: Underlay = Underlay()
    eid_ports: tuple[EidPort, ...] = ()
    eid_prefixes: tuple[EidPrefixSettings, ...] = ()
    map_resolvers: tuple[AddressField, ...] = ()
    map_servers: tuple[AddressField, ...] = ()
    ovsdb: str | None = Field(default=None, pattern=r"^(tcp:.+:\d+|unix:/.+)$")


class StaticMapping(Settings):
    """A mapping that is configured instead of registered."""

    eid_prefix: NetworkField
    iid: Iid = 0
    locators: tuple[LocatorSettings, ...] = ()
    ttl_minutes: int = Field(default=1440, ge=0, le=0xFFFFFFFF)
    action: str = Act.NO_ACTION.text

    @model_validator(mode="after")
    def _check_action(self) -> StaticMapping:
        try:
            act = Act.from_text(self.action)
        except FieldError as error:
            raise ValueError(str(error)) from None
        if self.locators and act is not Act.NO_ACTION:
            raise ValueError(f"action: {self.action!r} beside locators, expected no-action")
        return self

    @property
    def mapping(self) -> Mapping:
        """As a value."""
        return Mapping(
            EidPrefix(self.iid, self.eid_prefix),
            ttl_minutes=self.ttl_minutes,
            action=Act.from_text(self.action),
        ).with_locators(tuple(entry.locator for entry in self.locators))


class UsePetr(Settings):
    """The Proxy-ETRs of an instance-ID (RFC 6832 section 6): where ITRs send what is to be natively
    forwarded.

    when: "ipv6-over-ipv4-only" is for IPv6 EIDs, and only at xTRs without an IPv6 RLOC.
    """

    iid: Iid = 0
    when: Literal["always", "ipv6-over-ipv4-only"] = "always"
    locators: tuple[LocatorSettings, ...] = Field(min_length=1, max_length=32)


class ControlSettings(Settings):
    """LISP control sockets (UDP)."""

    listen: tuple[EndpointField, ...] = (
        Endpoint(ipaddress.IPv4Address("0.0.0.0"), 4342),
        Endpoint(ipaddress.IPv6Address("::"), 4342),
    )


class StoreSettings(Settings):
    """Where registrations and nonces are kept. path: SQLite file; None keeps them in memory."""

    path: str | None = None


class LogSettings(Settings):
    """Log lines. format: text for people, or json: one document a line. level: the least wanted."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Limits(Settings):
    """Every bound. Counts are entries, times seconds, rates packets per second.

    map_replies_per_eid: to one ITR-RLOC within 3 seconds. amplification: octets of a Map-Reply per
    octet of its Map-Request. requesters: who asked for what, to be told of changes. smr_interval:
    between two SMRs to one RLOC over time, smr_burst: at once. map_notify_rate: unsolicited ones.
    event_streams: clients that follow the events at once.
    """

    held_packets_per_eid: int = Field(default=32, ge=0)
    held_packets_total: int = Field(default=4096, ge=0)
    pending_resolutions: int = Field(default=4096, ge=1)
    map_cache_entries: int = Field(default=100_000, ge=1)
    idle_timeout: int = Field(default=300, ge=1, le=65535)
    neighbour_prime_delay: float = Field(default=0.02, ge=0, le=5)
    miss_rate: int = Field(default=2000, ge=1)
    miss_burst: int = Field(default=200, ge=1)
    icmp_rate: int = Field(default=100, ge=1)
    icmp_burst: int = Field(default=50, ge=1)
    neighbour_rate: int = Field(default=500, ge=1)
    neighbour_burst: int = Field(default=100, ge=1)
    pending_rate: int = Field(default=100, ge=1)
    pending_burst: int = Field(default=32, ge=1)
    map_requests_per_source: int = Field(default=1000, ge=1)
    map_requests_total: int = Field(default=200_000, ge=1)
    map_replies_per_eid: int = Field(default=3, ge=1)
    amplification: int = Field(default=10, ge=1)
    requesters: int = Field(default=100_000, ge=0)
    smr_interval: float = Field(default=3.0, gt=0)
    smr_burst: int = Field(default=8, ge=1)
    subscriptions: int = Field(default=100_000, ge=0)
    subscriptions_per_xtr: int = Field(default=10_000, ge=0)
    map_notify_rate: int = Field(default=500, ge=1)
    event_streams: int = Field(default=64, ge=0, le=200)


class Reachability(Settings):
    """How it is found out which RLOCs carry traffic (RFC 9301 section 7), times in seconds.

    probes: send RLOC-probes. probe_interval: between two to one RLOC, jittered by a quarter.
    probe_timeout: without an answer in this time, or three times the RTT if that is longer, the
    probe is sent again; probe_retries: how often, before the RLOC is unreachable.
    probes_per_second: of all xTRs together; with many RLOCs the interval grows.
    recovery: how long an RLOC that was down must be up before it is used again; twice as long
    each time that it fails again soon, up to recovery_limit.
    """

    probes: bool = True
    probe_interval: float = Field(default=0.5, ge=0.05, le=3600)
    probe_timeout: float = Field(default=0.12, ge=0.01, le=60)
    probe_retries: int = Field(default=2, ge=0, le=100)
    probes_per_second: float = Field(default=200, gt=0)
    recovery: float = Field(default=1.0, ge=0, le=3600)
    recovery_limit: float = Field(default=60.0, ge=0, le=86400)


class Config(Settings):
    """The whole configuration."""

    sites: tuple[SiteSettings, ...] = ()
    xtrs: tuple[XtrSettings, ...] = ()
    mappings: tuple[StaticMapping, ...] = ()
    use_petr: tuple[UsePetr, ...] = ()
    policies: tuple[SitePolicy, ...] = ()
    control: ControlSettings = ControlSettings()
    rest: RestSettings = RestSettings()
    store: StoreSettings = StoreSettings()
    limits: Limits = Limits()
    log: LogSettings = LogSettings()
    bgp: BgpSettings | None = None
    alt: AltSettings | None = None
    reachability: Reachability = Reachability()

    def site(self, name: str) -> SiteSettings | None:
        """The site of this name."""
        return next((site for site in self.sites if site.name == name), None)

    def owned_prefixes(self) -> tuple[EidPrefix, ...]:
        """Every EID-prefix that is ours to answer for: of sites and of static mappings."""
        sites = [entry.eid for site in self.sites for entry in site.eid_prefixes]
        return (*sites, *(mapping.mapping.eid for mapping in self.mappings))

    def registered_prefixes(self, xtr: XtrSettings) -> tuple[EidPrefixSettings, ...]:
        """The EID-prefixes that this xTR registers."""
        if xtr.eid_prefixes or xtr.site is None:
            return xtr.eid_prefixes
        site = self.site(xtr.site)
        return site.eid_prefixes if site else ()


def load(text: str, source: str = "configuration") -> Config:
    """Parse and check YAML text. source: the file name for messages. Raises ConfigError."""
    try:
        data = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(source, [("YAML", " ".join(str(error).split()))]) from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(source, [("(top)", f"{type(data).__name__}, expected a mapping")])
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(source, [*problems(error, Config), *_references(data)]) from None
    found = list(check(config))
    if found:
        raise ConfigError(source, found)
    return config


def _references(data: dict[str, Any]) -> Iterator[Problem]:
    """Sites that a file with other mistakes names wrongly; the rest of `check` needs settings."""
    sites = [entry.get("name") for entry in _mappings(data, "sites").values()]
    for index, entry in _mappings(data, "xtrs").items():
        name = entry.get("site")
        if isinstance(name, str) and name not in sites:
            yield f"xtrs[{index}].site", _no_site(name, [str(site) for site in sites])


def _mappings(data: dict[str, Any], key: str) -> dict[int, dict[str, Any]]:
    entries = data.get(key)
    listed = entries if isinstance(entries, list) else []
    return {index: entry for index, entry in enumerate(listed) if isinstance(entry, dict)}


def _no_site(name: str, sites: Sequence[str]) -> str:
    return f"{name!r} is not a site; configured: {', '.join(sites) or 'none'}"


def check(config: Config) -> Iterator[Problem]:
    """What the fields alone cannot show: references, duplicates, overlaps."""
    yield from _unique("sites", "name", [site.name for site in config.sites])
    yield from _unique("xtrs", "name", [xtr.name for xtr in config.xtrs])
    yield from _check_prefixes(config)
    yield from _check_keys(config)
    yield from _check_datapaths(config)
    for index, xtr in enumerate(config.xtrs):
        yield from _check_xtr(config, f"xtrs[{index}]", xtr)
    yield from _check_petrs(config)
    yield from check_policies(config, config.policies)
    yield from check_rest(config.rest, [site.name for site in config.sites])
    if config.bgp is not None:
        yield from check_bgp(config.bgp)
    if config.alt is not None:
        yield from check_alt(config.alt, config.bgp, config.owned_prefixes())


def _unique(path: str, key: str, values: list[str]) -> Iterator[Problem]:
    for index, value in enumerate(values):
        first = values.index(value)
        if first != index:
            yield f"{path}[{index}].{key}", f"{value!r} is already {path}[{first}]"


def _check_prefixes(config: Config) -> Iterator[Problem]:
    owners: dict[EidPrefix, str] = {}
    for s, site in enumerate(config.sites):
        for p, entry in enumerate(site.eid_prefixes):
            path = f"sites[{s}].eid_prefixes[{p}].prefix"
            if entry.eid in owners:
                yield path, f"{entry.eid} is already {owners[entry.eid]}"
            else:
                owners[entry.eid] = path
    seen: dict[EidPrefix, str] = {}
    for m, mapping in enumerate(config.mappings):
        path = f"mappings[{m}].eid_prefix"
        eid = mapping.mapping.eid
        if eid in seen:
            yield path, f"{eid} is already {seen[eid]}"
        seen.setdefault(eid, path)


def _check_keys(config: Config) -> Iterator[Problem]:
    for s, site in enumerate(config.sites):
        path = f"sites[{s}].authentication_keys"
        ids = [str(key.key_id) for key in site.authentication_keys]
        yield from _unique(path, "key_id", ids)
        for k, key in enumerate(site.authentication_keys):
            if key.algorithm not in site.allowed_algorithms:
                yield f"{path}[{k}].algorithm", f"{key.algorithm} is not in allowed_algorithms"


def _check_datapaths(config: Config) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    for x, xtr in enumerate(config.xtrs):
        for path, number in (
            (f"xtrs[{x}].datapath_id", xtr.datapath_id),
            (f"xtrs[{x}].underlay.datapath_id", xtr.underlay.datapath_id),
        ):
            if number is None:
                continue
            if number in owners:
                yield path, f"{number:016x} is already {owners[number]}"
            else:
                owners[number] = path
    rlocs: dict[IPAddress, str] = {}
    for x, xtr in enumerate(config.xtrs):
        for r, locator in enumerate(xtr.rlocs):
            path = f"xtrs[{x}].rlocs[{r}].rloc"
            mistake = _rloc_problem(locator.rloc)
            if locator.next_hop is not None and locator.next_hop.version != locator.rloc.version:
                yield (
                    f"xtrs[{x}].rlocs[{r}].next_hop",
                    f"{locator.next_hop} is not of the family of {locator.rloc}",
                )
            if mistake:
                yield path, mistake
            elif locator.rloc in rlocs:
                yield path, f"{locator.rloc} is already {rlocs[locator.rloc]}"
            rlocs.setdefault(locator.rloc, path)


def _rloc_problem(rloc: IPAddress) -> str | None:
    """RFC 9301 section 5.4: an RLOC is never broadcast or link-local multicast."""
    if rloc.is_multicast or rloc.is_unspecified or str(rloc) == "255.255.255.255":
        return f"{rloc} cannot be an RLOC, expected a unicast address"
    return None


def _check_xtr(config: Config, path: str, xtr: XtrSettings) -> Iterator[Problem]:
    site = config.site(xtr.site) if xtr.site else None
    if xtr.site and site is None:
        yield f"{path}.site", _no_site(xtr.site, [s.name for s in config.sites])
    yield from _unique(f"{path}.eid_ports", "name", [port.name for port in xtr.eid_ports])
    if site:
        owned = [entry.eid for entry in site.eid_prefixes]
        for p, entry in enumerate(xtr.eid_prefixes):
            if not any(own.covers(entry.eid) for own in owned):
                yield f"{path}.eid_prefixes[{p}].prefix", f"{entry.eid} is not of site {site.name}"
    registered = [entry.eid for entry in config.registered_prefixes(xtr)]
    for p, port in enumerate(xtr.eid_ports):
        for g, gateway in enumerate(port.gateways):
            subnet = EidPrefix(port.iid, gateway.network)
            if not any(own.covers(subnet) for own in registered):
                yield (
                    f"{path}.eid_ports[{p}].gateways[{g}]",
                    f"subnet {subnet} is in no EID-prefix that this xTR registers",
                )
    for key, addresses in (("map_resolvers", xtr.map_resolvers), ("map_servers", xtr.map_servers)):
        for a, address in enumerate(addresses):
            if any(own.contains(address) for own in registered if own.iid == 0):
                yield f"{path}.{key}[{a}]", f"{address} is an EID of this site, expected an RLOC"


def _check_petrs(config: Config) -> Iterator[Problem]:
    own = {entry.rloc: xtr.name for xtr in config.xtrs for entry in xtr.rlocs}
    yield from _unique("use_petr", "iid", [str(entry.iid) for entry in config.use_petr])
    for p, petr in enumerate(config.use_petr):
        rlocs = [entry.rloc for entry in petr.locators]
        yield from _unique(f"use_petr[{p}].locators", "rloc", [str(rloc) for rloc in rlocs])
        for r, rloc in enumerate(rlocs):
            path = f"use_petr[{p}].locators[{r}].rloc"
            mistake = _rloc_problem(rloc)
            if mistake:
                yield path, mistake
            elif rloc in own:
                yield path, f"{rloc} is of xTR {own[rloc]}, which is no Proxy-ETR"


def check_policies(config: Config, policies: tuple[SitePolicy, ...]) -> Iterator[Problem]:
    """What a policy's fields alone cannot show: sites, EID-prefixes and RLOCs that it names."""
    yield from _unique("policies", "site", [policy.site for policy in policies])
    sites = [site.name for site in config.sites]
    for p, policy in enumerate(policies):
        site = config.site(policy.site)
        if site is None:
            yield f"policies[{p}].site", _no_site(policy.site, sites)
            continue
        for r, rule in enumerate(policy.rules):
            path = f"policies[{p}].rules[{r}]"
            for m, name in enumerate(rule.match.sites):
                if config.site(name) is None:
                    yield f"{path}.match.sites[{m}]", _no_site(name, sites)
            yield from _check_policy_eids(path, rule, site)
            if not policy.allow_unregistered_rlocs:
                yield from _check_policy_rlocs(config, path, rule, site)


def _check_policy_eids(path: str, rule: PolicyRule, site: SiteSettings) -> Iterator[Problem]:
    owned = [entry.eid for entry in site.eid_prefixes]
    for e, eid in enumerate(rule.match.eid_prefixes):
        if not any(own.covers(eid) or eid.covers(own) for own in owned):
            known = ", ".join(map(str, owned)) or "none"
            message = f"{eid} holds no EID of site {site.name}; its EID-prefixes: {known}"
            yield f"{path}.match.eid_prefixes[{e}]", message
    for i, iid in enumerate(rule.match.iids):
        if all(own.iid != iid for own in owned):
            message = f"{iid} is no instance-ID of site {site.name}"
            yield f"{path}.match.iids[{i}]", message


def _check_policy_rlocs(
    config: Config, path: str, rule: PolicyRule, site: SiteSettings
) -> Iterator[Problem]:
    own = {entry.rloc for xtr in config.xtrs if xtr.site == site.name for entry in xtr.rlocs}
    if not site.allowed_rlocs:
        return  # the site may register any RLOC; the engine judges by what it did register
    for part, rloc in rule.action.rlocs():
        if rloc not in own and all(rloc not in network for network in site.allowed_rlocs):
            yield (
                f"{path}.action.{part}",
                f"{rloc} is no RLOC that site {site.name} may register; name one in its "
                "allowed_rlocs or set allow_unregistered_rlocs",
            )
