"""What an earlier controller left on the switch, read back as map-cache entries and hosts.

A restart keeps what forwards: an entry is taken over with its flow and group exactly as they
are, and is asked for again; only what then differs is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork, SourceDestPrefix
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.rules import (
    CookieClass,
    FlowRule,
    GroupRule,
    Match,
    Output,
    RuleAction,
    Ruleset,
    SetField,
    ToGroup,
    cookie_class,
)
from lisp_sdn.xtr import rlocsets
from lisp_sdn.xtr.cache import CacheKey, Entry, Via
from lisp_sdn.xtr.compiler import GLEANED_BIT, cache_match, cache_priority
from lisp_sdn.xtr.frames import ETH_IPV4, ETH_IPV6
from lisp_sdn.xtr.hosts import Host, HostKey
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, IID_MASK, METADATA_MASK, TableId
from lisp_sdn.xtr.reconcile import normalise

_VERSIONS = {ETH_IPV4: 4, ETH_IPV6: 6}
_NEGATIVE_TTL_MINUTES = 15


def entries(installed: Ruleset, now: float, lifetime: float) -> Iterator[Entry]:
    """Map-cache entries of the flows found. lifetime: seconds until they need confirmation."""
    return Found(installed).entries(installed.flows, now, lifetime)


class Found:
    """What map-cache flows on a switch share: its groups, and the rules that spread traffic."""

    def __init__(self, installed: Ruleset) -> None:
        self._groups = {rule.group_id: rule for rule in installed.groups}
        self._spread = _spread(installed)

    def entries(self, flows: Iterable[FlowRule], now: float, lifetime: float) -> Iterator[Entry]:
        """The map-cache entries of some of the flows."""
        for found in flows:
            if cookie_class(found.cookie) is CookieClass.MAP_CACHE and not is_gleaned(found):
                entry = self._entry(found, now, lifetime)
                if entry is not None:
                    yield entry

    def _entry(self, found: FlowRule, now: float, lifetime: float) -> Entry | None:
        rule, key = found, _key(found)
        if key is None:
            rule = normalise(found)
            key = _key(rule)
        if key is None:
            return None
        used = [self._groups.get(a.group_id) for a in rule.actions if isinstance(a, ToGroup)]
        if None in used:
            return None
        kept = tuple(rule for rule in used if rule is not None)
        shared = self._spread.get(_set_number(rule), ())
        if rule.goto == TableId.SPREAD and not shared:
            return None
        mapping = _mapping(key, rule, kept, shared)
        flows = (rule, *shared)
        return Entry(key, mapping, now, now, now + lifetime, Via.ADOPTED, adopted=(flows, kept))


def is_gleaned(rule: FlowRule) -> bool:
    """Whether a map-cache flow came of a received packet and was not verified."""
    return bool(rule.cookie & GLEANED_BIT)


def _spread(installed: Ruleset) -> dict[int, tuple[FlowRule, ...]]:
    """The rules of RLOC-sets with several locators, by number of the set."""
    found: dict[int, list[FlowRule]] = {}
    for rule in installed.flows:
        number = dict(rule.match).get(rlocsets.SET_REGISTER)
        if cookie_class(rule.cookie) is CookieClass.RLOC_SET and isinstance(number, int):
            found.setdefault(number, []).append(normalise(rule))
    return {number: tuple(sorted(rules, key=repr)) for number, rules in found.items()}


def _set_number(rule: FlowRule) -> int:
    """The RLOC-set that a map-cache flow continues with; 0 for none."""
    for action in rule.actions:
        if isinstance(action, SetField) and action.field == rlocsets.SET_REGISTER:
            return _number(action.value)
    return 0


def destination(table: int, priority: int, match: Match) -> EidPrefix | None:
    """The destination EID-prefix of a map-cache flow, by what identifies it; else None."""
    key = _key_of(table, priority, match)
    return key.destination if isinstance(key, SourceDestPrefix) else key


def plain_destination(rule: FlowRule) -> EidPrefix | None:
    """The EID-prefix of a map-cache flow for all sources; else None."""
    key = _key(rule)
    return key if isinstance(key, EidPrefix) else None


def _key(rule: FlowRule) -> CacheKey | None:
    return _key_of(rule.table, rule.priority, rule.match)


def _key_of(table: int, priority: int, match: Match) -> CacheKey | None:
    """The map-cache key of a flow, None if it is not one that we would have made."""
    fields = dict(match)
    version = _VERSIONS.get(_number(fields.get("eth_type")))
    metadata = fields.get("metadata")
    if table != TableId.MAP_CACHE or version is None or not isinstance(metadata, tuple):
        return None
    value, mask = metadata
    if mask != METADATA_MASK or value & FROM_TUNNEL:
        return None
    iid = value & IID_MASK
    to = EidPrefix(iid, _network(fields.get(f"ipv{version}_dst"), version))
    source = None
    if f"ipv{version}_src" in fields:
        source = EidPrefix(iid, _network(fields[f"ipv{version}_src"], version))
    expected = (cache_priority(to, source), cache_match(to, source))
    if (priority, match) != expected:
        return None
    return to if source is None else SourceDestPrefix(source, to)


def _mapping(
    key: CacheKey,
    rule: FlowRule,
    groups: tuple[GroupRule, ...],
    shared: tuple[FlowRule, ...],
) -> Mapping:
    """As much of the mapping as flow and group tell: the locators in use, or the action."""
    eid = key.destination if isinstance(key, SourceDestPrefix) else key
    act = (rule.cookie >> 24 & 0xFF) - 1
    if act >= 0:
        action = Act(act) if act in set(Act) else Act.NO_ACTION
        return Mapping(eid, (), _NEGATIVE_TTL_MINUTES, action)
    weights: Counter[IPAddress] = Counter()
    for bucket in (bucket for group in groups for bucket in group.buckets):
        weights.update(_outer(bucket.actions, bucket.weight))
    for part in shared:
        _, mask = _slots(part)
        weights.update(_outer(part.actions, rlocsets.SLOTS - mask))
    locators = (Locator(rloc, 1, min(255, weight)) for rloc, weight in weights.items())
    return Mapping(eid).with_locators(tuple(locators))


def _outer(actions: tuple[RuleAction, ...], weight: int) -> dict[IPAddress, int]:
    """The outer destination that actions set, with a weight."""
    for action in actions:
        if isinstance(action, SetField) and action.field in ("tun_ipv4_dst", "tun_ipv6_dst"):
            rloc = action.value
            if isinstance(rloc, IPv4Address | IPv6Address):
                return {rloc: weight}
    return {}


def _slots(rule: FlowRule) -> tuple[int, int]:
    value = dict(rule.match).get(rlocsets.SLOT_REGISTER)
    if isinstance(value, tuple):
        return value
    if value is None:
        return (0, 0)
    return (_number(value), rlocsets.SLOTS - 1)


def hosts(installed: Ruleset) -> Iterator[Host]:
    """Local EIDs of the delivery flows found."""
    for rule in installed.flows:
        if cookie_class(rule.cookie) is not CookieClass.LOCAL_EID or not rule.notify_removed:
            continue
        fields = dict(rule.match)
        version = _VERSIONS.get(_number(fields.get("eth_type")))
        metadata, address = fields.get("metadata"), fields.get(f"ipv{version}_dst")
        macs = [a.value for a in rule.actions if isinstance(a, SetField) and a.field == "eth_dst"]
        ports = [a.port for a in rule.actions if isinstance(a, Output)]
        if (
            isinstance(metadata, tuple)
            and isinstance(address, IPv4Address | IPv6Address)
            and len(macs) == len(ports) == 1
        ):
            kept = rule.idle_timeout == 0
            yield Host(metadata[0] & IID_MASK, address, ports[0], str(macs[0]), kept)


def away(installed: Ruleset) -> Iterator[HostKey]:
    """EIDs that were known to be elsewhere, by the flows found (host mobility)."""
    for rule in installed.flows:
        if cookie_class(rule.cookie) is not CookieClass.LOCAL_EID or rule.goto != TableId.MAP_CACHE:
            continue
        fields = dict(rule.match)
        version = _VERSIONS.get(_number(fields.get("eth_type")))
        metadata, address = fields.get("metadata"), fields.get(f"ipv{version}_dst")
        if isinstance(metadata, tuple) and isinstance(address, IPv4Address | IPv6Address):
            yield (metadata[0] & IID_MASK, address)


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1


def _network(value: object, version: int) -> IPNetwork:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if isinstance(value, IPv4Address | IPv6Address):
        return _host_network(value)
    return ip_network("0.0.0.0/0" if version == 4 else "::/0")


def _host_network(address: IPAddress) -> IPNetwork:
    return ip_network(address)
