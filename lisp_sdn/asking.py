"""Map-Requests and RLOC-probes of our own xTRs, brought to whom they ask, and the Map-Replies.

RFC 9301 sections 5.3 (nonces), 5.8 (ECM), 7.1 (RLOC-probes) and 8.4 (Map-Resolvers).
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from ipaddress import IPv4Address, IPv6Address

from lisp_sdn.actions import Dropped, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.answering import LISP_CONTROL_PORT, AnyAction
from lisp_sdn.errors import DecodeError
from lisp_sdn.exchanges import Exchanges
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Requester
from lisp_sdn.wire import Ecm, MapReply, decode
from lisp_sdn.wire.understood import understood
from lisp_sdn.xtr.requests import Probe, Resolve
from lisp_sdn.xtr.underlay import Underlay
from lisp_sdn.xtr.xtr import Xtr

_UNSPECIFIED: dict[int, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


def xtr_id(xtr: Xtr) -> int:
    """The 128-bit xTR-ID of an xTR of ours: its datapath id, unique by configuration."""
    return xtr.settings.datapath_id


class Asking:
    """Asks for our xTRs. xtrs, underlays: by the name of the xTR, where it has one."""

    def __init__(
        self,
        mapping: MapSystem,
        exchanges: Exchanges,
        xtrs: ReadOnly[str, Xtr],
        underlays: ReadOnly[str, Underlay],
    ) -> None:
        self._mapping = mapping
        self._exchanges = exchanges
        self._xtrs = xtrs
        self._underlay_of = underlays

    def requester(self, xtr: str, source: EidPrefix | None) -> Requester:
        """As whom an xTR of ours asks for a packet from this source EID."""
        core = self._xtrs[xtr]
        return Requester(
            itr_rlocs=tuple(entry.rloc for entry in core.settings.rlocs),
            source_eid=source,
            xtr_id=xtr_id(core),
            pitr=source is not None and core.asks_for_others(source),
            xtr=xtr,
            authenticated=True,
        )

    def resolve(self, action: Resolve, now: float) -> list[AnyAction]:
        """Bring a Map-Request of an xTR of ours to its Map-Resolver (RFC 9301 section 8.4)."""
        xtr = self._xtrs[action.xtr]
        resolvers = xtr.settings.map_resolvers
        request = action.request
        if resolvers:
            self._exchanges.note(action.xtr, request, None, now)
            return [_encapsulate(xtr, action, resolvers)]
        source = request.source_eid if isinstance(request.source_eid, EidPrefix) else None
        requester = self.requester(action.xtr, source)
        reply, actions = self._mapping.resolve(request, requester, now)
        self._exchanges.note(action.xtr, request, reply, now)
        if reply is None:
            return [*actions]
        return [*actions, *xtr.receive(reply, None, now)]

    def probe(self, probe: Probe, now: float) -> list[AnyAction]:
        """Straight to the locator, never through the mapping system (RFC 9301 section 7.1)."""
        underlay = self._underlay_of[probe.xtr]
        target = Endpoint(probe.destination, LISP_CONTROL_PORT)
        data = probe.request.serialize()
        return [*underlay.send(data, probe.source, target, LISP_CONTROL_PORT, now)]

    def replied(self, data: bytes, source: Endpoint, now: float) -> list[AnyAction]:
        """A Map-Reply belongs to the xTR that waits for its nonce (RFC 9301 section 5.3)."""
        try:
            reply = understood(decode(data))
        except DecodeError as error:
            return [Dropped("controller", error.reason, str(error), str(source))]
        assert isinstance(reply, MapReply)
        for xtr in self._xtrs.values():
            if xtr.expects(reply.nonce):
                self._exchanges.answered(reply)
                return [*xtr.receive(reply, source, now)]
        return [Dropped("controller", "unexpected_nonce", "no such Map-Request", str(source))]


def _encapsulate(xtr: Xtr, action: Resolve, resolvers: tuple[IPAddress, ...]) -> SendControl:
    """Section 5.8: the Map-Request in an ECM; the next resolver at each retransmission."""
    request = action.request
    resolver = resolvers[action.attempt % len(resolvers)]
    key = request.records[0].eid
    assert isinstance(key, EidPrefix)
    eid = key.network.network_address
    source = xtr.source_rloc(eid.version) or _UNSPECIFIED[eid.version]
    ecm = Ecm(
        Endpoint(source, LISP_CONTROL_PORT),
        Endpoint(eid, LISP_CONTROL_PORT),
        request.serialize(),
    )
    return SendControl(ecm.serialize(), Endpoint(resolver, LISP_CONTROL_PORT))
