"""ARP for gateway addresses, answered by the switch itself."""

from __future__ import annotations

from ipaddress import IPv4Address

from lisp_sdn.rules import (
    CookieClass,
    FlowRule,
    MoveField,
    Output,
    Port,
    SetField,
    ToController,
    match,
)
from lisp_sdn.xtr.compiled import flow
from lisp_sdn.xtr.frames import ETH_ARP
from lisp_sdn.xtr.hosts import Host
from lisp_sdn.xtr.pipeline import MeterId, Punt, TableId
from lisp_sdn.xtr.topology import AttachedPort


def arp_responder(port: AttachedPort, gateway: IPv4Address, asker: Host | None = None) -> FlowRule:
    """Turn an ARP request for the gateway into its answer in the switch itself.

    Hosts keep their gateway while the controller is down. The order of the actions matters: the
    requester's addresses are moved before they are overwritten. asker: only its requests; where
    hosts come and go, the controller learns of all others' as well.
    """
    answer = (
        MoveField("eth_src", "eth_dst", 48),
        SetField("eth_src", port.mac),
        SetField("arp_op", 2),
        MoveField("arp_sha", "arp_tha", 48),
        MoveField("arp_spa", "arp_tpa", 32),
        SetField("arp_sha", port.mac),
        SetField("arp_spa", gateway),
        Output(Port.IN_PORT),
    )
    asked = match(in_port=port.number, eth_type=ETH_ARP, arp_op=1, arp_tpa=gateway)
    if asker is not None:
        spa = match(arp_spa=asker.address, **dict(asked))
        kind = CookieClass.LOCAL_EID
        return flow(TableId.CLASSIFY, 510, spa, *answer, kind=kind, value=asker.iid)
    if not port.mobility:
        return flow(TableId.CLASSIFY, 500, asked, *answer)
    return flow(
        TableId.CLASSIFY,
        500,
        asked,
        ToController(),
        *answer,
        value=Punt.ARP,
        meter=MeterId.NEIGHBOUR,
    )
