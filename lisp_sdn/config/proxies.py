"""Proxy-ITRs and Proxy-ETRs of a configuration: where they are, for what, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from lisp_sdn.address import IPAddress, IPNetwork
from lisp_sdn.config.interworking import NativePort, ProxyItr
from lisp_sdn.config.model import Config
from lisp_sdn.config.xtrs import XtrSettings
from lisp_sdn.model import BgpScope
from lisp_sdn.settings import Problem


def next_hop(xtr: XtrSettings, role: ProxyItr, version: int) -> IPAddress | None:
    """What BGP tells as next hop of a Proxy-ITR's EID-prefixes of this family."""
    addresses = (*role.next_hops, *(entry.rloc for entry in xtr.rlocs))
    return next((address for address in addresses if address.version == version), None)


def forwarded_sources(config: Config, port: NativePort) -> tuple[IPNetwork, ...]:
    """The source EIDs for which this port's Proxy-ETR forwards, merged; () if it plays none."""
    if port.proxy_etr is None:
        return ()
    return merged(port.proxy_etr.eid_prefixes) or _owned(config, port.iid)


def lisp_prefixes(config: Config, port: NativePort) -> tuple[IPNetwork, ...]:
    """The EID-prefixes of LISP that this port knows of: what is in them is not native."""
    roles = (port.proxy_itr, port.proxy_etr)
    named = [prefix for role in roles if role is not None for prefix in role.eid_prefixes]
    return merged([*named, *_owned(config, port.iid)])


def _owned(config: Config, iid: int) -> tuple[IPNetwork, ...]:
    return merged([eid.network for eid in config.owned_prefixes() if eid.iid == iid])


def merged(prefixes: Sequence[IPNetwork]) -> tuple[IPNetwork, ...]:
    """As few prefixes as hold the same addresses, IPv4 first."""
    old = [network for network in prefixes if isinstance(network, IPv4Network)]
    new = [network for network in prefixes if isinstance(network, IPv6Network)]
    return (*collapse_addresses(old), *collapse_addresses(new))


def check_native(config: Config, path: str, xtr: XtrSettings) -> Iterator[Problem]:
    """What the fields of an xTR's native ports alone cannot show."""
    taken = {xtr.tunnel_port: f"{path}.tunnel_port"}
    taken |= {port.name: f"{path}.eid_ports[{p}]" for p, port in enumerate(xtr.eid_ports)}
    iids: dict[int, str] = {}
    for n, port in enumerate(xtr.native_ports):
        here = f"{path}.native_ports[{n}]"
        if port.name in taken:
            yield f"{here}.name", f"{port.name!r} is already {taken[port.name]}"
        taken.setdefault(port.name, here)
        if port.iid in iids:
            yield f"{here}.iid", f"'{port.iid}' is already {iids[port.iid]}: one for each"
        iids.setdefault(port.iid, here)
        if port.proxy_etr is not None and not forwarded_sources(config, port):
            message = f"no EID-prefix of instance-ID {port.iid} is configured, expected some"
            yield f"{here}.proxy_etr.eid_prefixes", message
        if port.proxy_itr is not None:
            yield from _check_proxy_itr(config, f"{here}.proxy_itr", xtr, port.proxy_itr)


def _check_proxy_itr(
    config: Config, path: str, xtr: XtrSettings, role: ProxyItr
) -> Iterator[Problem]:
    scopes = [n.scope for n in config.bgp.neighbours] if config.bgp is not None else []
    if BgpScope.UNDERLAY not in scopes:
        yield path, "nobody hears it, expected a bgp.neighbours[] with scope: underlay"
    for h, hop in enumerate(role.next_hops):
        if hop.is_multicast or hop.is_unspecified or hop.is_loopback or hop.is_link_local:
            yield (
                f"{path}.next_hops[{h}]",
                f"{hop} cannot be a next hop, expected a unicast address",
            )
        if hop.version in {other.version for other in role.next_hops[:h]}:
            yield f"{path}.next_hops[{h}]", f"{hop} is the second of its family, expected one"
    seen: list[IPNetwork] = []
    for p, prefix in enumerate(role.eid_prefixes):
        where = f"{path}.eid_prefixes[{p}]"
        wider = next((other for other in seen if other.overlaps(prefix)), None)
        if wider is not None:
            yield where, f"{prefix} overlaps {wider}, expected aggregates side by side"
        seen.append(prefix)
        if next_hop(xtr, role, prefix.version) is None:
            message = (
                f"{prefix}: xTR {xtr.name} has no IPv{prefix.version} RLOC, expected next_hops"
            )
            yield where, message
        mine = [entry.rloc for entry in xtr.rlocs if entry.rloc in prefix]
        if mine:
            yield where, f"{prefix} holds the RLOC {mine[0]}: what is encapsulated would come back"


def proxies(config: Config) -> Iterator[tuple[XtrSettings, NativePort, ProxyItr]]:
    """Every Proxy-ITR of ours."""
    for xtr in config.xtrs:
        for port in xtr.native_ports:
            if port.proxy_itr is not None:
                yield xtr, port, port.proxy_itr


def proxy_etr(xtr: XtrSettings, iid: int) -> NativePort | None:
    """The port by which an xTR of ours is Proxy-ETR of an instance-ID."""
    ports = (port for port in xtr.native_ports if port.iid == iid and port.proxy_etr is not None)
    return next(ports, None)
