"""What would keep hosts from roaming."""

from __future__ import annotations

from collections.abc import Iterator

from lisp_sdn.config.mobility import Subnet
from lisp_sdn.config.model import Config
from lisp_sdn.config.xtrs import EidPort, XtrSettings
from lisp_sdn.settings import Problem


def check_mobility(config: Config) -> Iterator[Problem]:
    """What would keep a host from roaming."""
    yield from _check_same_mac(config)
    for path, subnet in _placed(config):
        yield from _check_overlap(config, path, subnet)
        yield from _check_owner(config, path, subnet)


def _ports(config: Config) -> Iterator[tuple[str, XtrSettings, EidPort]]:
    for x, xtr in enumerate(config.xtrs):
        for p, port in enumerate(xtr.eid_ports):
            if port.allow_mobility:
                yield f"xtrs[{x}].eid_ports[{p}]", xtr, port


def _check_same_mac(config: Config) -> Iterator[Problem]:
    """A host that moves keeps the MAC address of its gateway."""
    first: dict[int, tuple[str, str]] = {}
    for path, _, port in _ports(config):
        where, mac = first.setdefault(port.iid, (path, port.mac))
        if port.mac != mac:
            yield (
                f"{path}.mac",
                f"{port.mac} differs from {mac} of {where}; hosts that roam between ports of an "
                "instance-ID keep the MAC address of their gateway",
            )


def _placed(config: Config) -> Iterator[tuple[str, Subnet]]:
    """Each subnet that may roam, with the place that names it first."""
    subnets = {(s.iid, s.gateway): s for s in config.mobile_subnets}
    named = [
        (f"mobility.subnets[{n}].gateway", entry.iid, entry.gateway)
        for n, entry in enumerate(config.mobility.subnets)
    ]
    named += [
        (f"{path}.gateways[{g}]", port.iid, gateway)
        for path, _, port in _ports(config)
        for g, gateway in enumerate(port.gateways)
    ]
    for path, iid, gateway in named:
        subnet = subnets.pop((iid, gateway), None)
        if subnet is not None:
            yield path, subnet


def _check_overlap(config: Config, path: str, subnet: Subnet) -> Iterator[Problem]:
    for other in config.mobile_subnets:
        if other == subnet:
            return
        if other.eid.covers(subnet.eid) or subnet.eid.covers(other.eid):
            yield (
                path,
                f"{subnet.gateway} and {other.gateway} may both roam in instance-ID {subnet.iid} "
                "and overlap; expected one subnet with one gateway address",
            )
            return


def _check_owner(config: Config, path: str, subnet: Subnet) -> Iterator[Problem]:
    owner = config.owner(subnet.eid)
    if owner is None:
        yield path, f"subnet {subnet.eid} may roam, but is in no EID-prefix of a site"
        return
    site, prefix = owner
    if not prefix.accept_more_specifics:
        yield (
            path,
            f"subnet {subnet.eid} may roam, so {prefix.eid} of site {site.name} needs "
            "accept_more_specifics: true",
        )
    if not site.allowed_rlocs:
        return
    for _, xtr, port in _ports(config):
        for entry in xtr.rlocs if port.iid == subnet.iid else ():
            if all(entry.rloc not in network for network in site.allowed_rlocs):
                yield (
                    path,
                    f"subnet {subnet.eid} may roam to xTR {xtr.name}, whose RLOC {entry.rloc} is "
                    f"not in allowed_rlocs of site {site.name}",
                )
                return
