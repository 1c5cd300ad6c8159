"""ALT Datagrams: Map-Requests as IP packets to the EID asked for (RFC 6836 section 4.1).

Inside of an ECM is the same IP packet (RFC 9301 section 5.8), so one becomes the other without a
change to anything that the ITR wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from lisp_sdn.address import EidPrefix, Endpoint, IPAddress, SourceDestPrefix
from lisp_sdn.alt_router.rules import CONTROL_PORT
from lisp_sdn.errors import BadValue, DecodeError
from lisp_sdn.mapping.chain import Query, encapsulated
from lisp_sdn.wire import Ecm, MapRequest, decode
from lisp_sdn.xtr import replies
from lisp_sdn.xtr.frames import parse_ethernet, parse_ip

_ECM_HEADER = bytes((0x80, 0, 0, 0))
"""An ECM without Authentication Data and without flags: what follows is the inner IP packet."""

_MAC = "02:00:00:00:00:00"
"""Any will do: the tunnel takes the Ethernet header away."""


@dataclass(frozen=True, slots=True)
class AltDatagram:
    """A Map-Request that came over the ALT.

    message: as an ECM, which the Map-Server takes. source: inner one, an RLOC of the ITR.
    """

    message: bytes
    source: Endpoint
    request: MapRequest
    eid: EidPrefix


def received(frame: bytes, iid: int) -> AltDatagram:
    """The Map-Request in a frame of the ALT bridge. Raises DecodeError.

    iid: the instance-ID of the ALT.
    """
    packet = parse_ip(parse_ethernet(frame).payload)
    message = _ECM_HEADER + packet.packet
    ecm = decode(message)
    assert isinstance(ecm, Ecm)
    if ecm.destination.port != CONTROL_PORT:
        raise BadValue("alt.udp.port", 22, f"{ecm.destination.port}, expected {CONTROL_PORT}")
    request = decode(ecm.payload)
    if not isinstance(request, MapRequest):
        raise BadValue("alt.type", 28, f"{request.name}, expected a Map-Request")
    if not request.records:
        raise BadValue("alt.records", 28, "the Map-Request asks for nothing")
    asked = request.records[0].eid
    eid = asked.destination if isinstance(asked, SourceDestPrefix) else asked
    if not isinstance(eid, EidPrefix) or eid.iid != iid or not eid.contains(packet.destination):
        # It was routed by another EID than it asks for.
        raise BadValue("alt.eid", 28, f"asks for {eid}, sent to {packet.destination}")
    return AltDatagram(message, ecm.source, request, eid)


def to_send(query: Query) -> tuple[int, bytes] | None:
    """IP version and packet of a query; None where no source address can be had.

    Without an ITR-RLOC of the EID's family the source is the EID of the host that asks.
    """
    destination: IPAddress = query.eid.network.network_address
    data = encapsulated(query, destination)
    if data is None:
        return None
    try:
        ecm = decode(data)
    except DecodeError:
        return None
    assert isinstance(ecm, Ecm)
    source = ecm.source
    if source.address.is_unspecified or ecm.destination.address.version != destination.version:
        return None
    plain = Ecm(
        source, Endpoint(destination, CONTROL_PORT), ecm.payload, hop_limit=ecm.hop_limit
    ).serialize()
    return destination.version, plain[len(_ECM_HEADER) :]


def frame(version: int, packet: bytes) -> bytes:
    """An IP packet as the ALT bridge takes it."""
    return replies.ip_frame(_MAC, _MAC, version, packet)
