"""Rules of the source guard and of gleaning: what table 1 holds.

From an EID-facing port: the subnets of its gateways pass, and hosts known at the port. Out of the
tunnel: pairs of source EID-prefix and outer source RLOC for which there is a verdict. Everything
else goes to the controller, as a copy where the packet may pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.address import EidPrefix, IPAddress, IPNetwork
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.guard_settings import GuardMode, SourceGuardSettings
from lisp_sdn.rules import (
    CookieClass,
    FieldValue,
    FlowRule,
    Match,
    MeterRule,
    Ruleset,
    ToController,
    cookie_class,
    match,
)
from lisp_sdn.xtr.compiled import Compiled, eth_type, flow
from lisp_sdn.xtr.frames import ETH_IPV4, ETH_IPV6
from lisp_sdn.xtr.pipeline import (
    FROM_TUNNEL,
    IID_MASK,
    METADATA_MASK,
    MeterId,
    Punt,
    TableId,
)
from lisp_sdn.xtr.reconcile import normalise
from lisp_sdn.xtr.topology import AttachedPort, Topology
from lisp_sdn.xtr.verdicts import REASONS, GuardKey, ProxyItrs, SourceReason

_TABLE = TableId.SOURCE_GUARD
_HOST_PRIORITY = 400
_SUBNET_PRIORITY = 350
_EID_PRIORITY = 200
_KNOWN_RLOC_PRIORITY = 110
_REST_PRIORITY = 100
_VERSIONS = {ETH_IPV4: 4, ETH_IPV6: 6}


@dataclass(frozen=True, slots=True)
class Guarding:
    """How one xTR guards. known: RLOCs whose packets have a meter of their own.

    gleaning: sources out of the tunnel are looked at even with mode off.
    """

    mode: GuardMode
    settings: SourceGuardSettings
    known: frozenset[IPAddress] = frozenset()
    gleaning: bool = False
    proxies: ProxyItrs = field(default_factory=ProxyItrs)

    @property
    def checks(self) -> bool:
        """Whether sources are judged at all."""
        return self.mode is not GuardMode.OFF

    @property
    def looks(self) -> bool:
        """Whether table 1 sends packets to the controller."""
        return self.checks or self.gleaning

    @property
    def enforces(self) -> bool:
        """Whether packets wait for a verdict, and are dropped when it is against them."""
        return self.mode is GuardMode.ENFORCE


def guarding(settings: XtrSettings, config: Config) -> Guarding:
    """How an xTR guards by its configuration."""
    common = config.source_guard
    own = {entry.rloc for xtr in config.xtrs for entry in xtr.rlocs}
    return Guarding(
        settings.source_guard or common.mode,
        common,
        frozenset((*own, *common.proxy_itrs)),
        config.gleaning.enabled,
        ProxyItrs.of(config),
    )


def base(topology: Topology, guarding: Guarding) -> Compiled:
    """What depends on settings and ports only."""
    flows = [flow(_TABLE, 0, (), goto=TableId.LOCAL_EIDS)]
    meters: list[MeterRule] = []
    settings = guarding.settings
    if guarding.checks and topology.ports:
        meters.append(MeterRule(MeterId.SOURCE_PORT, settings.rate, settings.burst))
        for port in topology.ports:
            flows.extend(_port(port, guarding))
    if guarding.looks and topology.tunnel_port is not None:
        meters.append(MeterRule(MeterId.SOURCE_UNKNOWN_RLOC, settings.rate, settings.burst))
        meters.append(MeterRule(MeterId.SOURCE_RLOC, settings.rate, settings.burst))
        tunnel: dict[str, FieldValue] = {"metadata": (FROM_TUNNEL, FROM_TUNNEL)}
        for rloc in sorted(guarding.known, key=lambda item: (item.version, int(item))):
            known = match(**tunnel, **_origin(rloc))
            flows.append(_to_controller(_KNOWN_RLOC_PRIORITY, known, MeterId.SOURCE_RLOC, guarding))
        rest = match(**tunnel)
        flows.append(_to_controller(_REST_PRIORITY, rest, MeterId.SOURCE_UNKNOWN_RLOC, guarding))
    return Compiled(tuple(flows), meters=tuple(meters))


def _port(port: AttachedPort, guarding: Guarding) -> Iterable[FlowRule]:
    for gateway in port.gateways:
        subnet = _source(gateway.network)
        matching = match(in_port=port.number, **subnet)
        yield flow(_TABLE, _SUBNET_PRIORITY, matching, goto=TableId.LOCAL_EIDS)
    rest = match(in_port=port.number)
    yield _to_controller(_REST_PRIORITY, rest, MeterId.SOURCE_PORT, guarding)


def _to_controller(priority: int, matching: Match, meter: MeterId, guarding: Guarding) -> FlowRule:
    """To be verified: the packet itself where it has to wait, else a copy of it."""
    if guarding.enforces:
        return flow(_TABLE, priority, matching, ToController(), meter=meter, value=Punt.SOURCE)
    copy = ToController(meter=int(meter))
    return flow(_TABLE, priority, matching, copy, goto=TableId.LOCAL_EIDS, value=Punt.SOURCE)


def verdict(
    key: GuardKey, reason: SourceReason | None, topology: Topology, guarding: Guarding
) -> Compiled:
    """The flow of a verdict. A refused packet that passes nevertheless is counted by it."""
    matching = match_of(key, topology)
    if matching is None:
        return Compiled()
    settings = guarding.settings
    timeout = topology.limits.idle_timeout if reason is None else settings.refused_timeout
    rule = flow(
        _TABLE,
        _priority(key),
        matching,
        goto=TableId.LOCAL_EIDS if reason is None or not guarding.enforces else None,
        kind=CookieClass.SOURCE_GUARD,
        value=(0 if reason is None else REASONS.index(reason) + 1) << 24 | key.source.iid,
        idle_timeout=timeout,
        notify_removed=True,
    )
    return Compiled((rule,))


def _priority(key: GuardKey) -> int:
    if isinstance(key.origin, int):
        return _HOST_PRIORITY
    return _EID_PRIORITY + key.source.prefixlen


def match_of(key: GuardKey, topology: Topology) -> Match | None:
    """What the flow of a verdict matches; None when its port is there no longer."""
    if isinstance(key.origin, int):
        port = topology.port(key.origin)
        if port is None or port.iid != key.source.iid:
            return None
        return match(in_port=key.origin, **_source(key.source.network))
    return match(
        metadata=(FROM_TUNNEL | key.source.iid, METADATA_MASK),
        **_source(key.source.network),
        **_origin(key.origin),
    )


def _source(network: IPNetwork) -> dict[str, FieldValue]:
    version = network.version
    return {"eth_type": eth_type(version), f"ipv{version}_src": network}


def _origin(rloc: IPAddress) -> dict[str, FieldValue]:
    return {f"tun_ipv{rloc.version}_src": rloc}


# --- read back ---------------------------------------------------------------------------


def key_of(matching: Match, topology: Topology) -> GuardKey | None:
    """The verdict that a flow with this match is of; None if it is of none."""
    fields = dict(matching)
    version = _VERSIONS.get(_number(fields.get("eth_type")))
    if version is None:
        return None
    network = _network(fields.get(f"ipv{version}_src"), version)
    rloc = fields.get("tun_ipv4_src", fields.get("tun_ipv6_src"))
    metadata, in_port = fields.get("metadata"), fields.get("in_port")
    if isinstance(rloc, IPv4Address | IPv6Address) and isinstance(metadata, tuple):
        return GuardKey(EidPrefix(metadata[0] & IID_MASK, network), rloc)
    port = topology.port(in_port) if isinstance(in_port, int) else None
    return None if port is None else GuardKey(EidPrefix(port.iid, network), port.number)


def read_back(
    installed: Ruleset, topology: Topology
) -> Iterator[tuple[GuardKey, SourceReason | None]]:
    """The verdicts whose flows a switch holds."""
    for found in installed.flows:
        if cookie_class(found.cookie) is not CookieClass.SOURCE_GUARD:
            continue
        matching = normalise(found).match
        key = key_of(matching, topology)
        if key is not None and matching == match_of(key, topology):
            number = found.cookie >> 24 & 0xFF
            yield key, REASONS[number - 1] if 0 < number <= len(REASONS) else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1


def _network(value: object, version: int) -> IPNetwork:
    if isinstance(value, IPv4Address | IPv6Address):
        return EidPrefix.host(0, value).network
    if value is None:
        return EidPrefix.trusted(0, version, 0, 0).network
    return value  # type: ignore[return-value]
