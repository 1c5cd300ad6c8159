"""What reaches the RLOCs of our xTRs on UDP port 4342: the controller answers as that xTR.

RFC 9301 sections 5.5 (Map-Reply of an ETR), 6.1 (Solicit-Map-Request), 7.1 (RLOC-probe).
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import replace

from lisp_sdn.actions import Dropped, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config.proxies import proxy_etr
from lisp_sdn.errors import DecodeError
from lisp_sdn.exchanges import Exchanges
from lisp_sdn.mapping.intake import MAX_RECORDS, Arrival, requester_of, usable_rlocs
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import UNUSABLE_PRIORITY, Act, Locator, Mapping
from lisp_sdn.wire import Ecm, EidRecord, MapNotify, MapReply, MapRequest, decode
from lisp_sdn.wire.understood import understood
from lisp_sdn.xtr.outbox import XtrAction
from lisp_sdn.xtr.requests import Order
from lisp_sdn.xtr.underlay import ControlFrame, RlocChanged, Underlay
from lisp_sdn.xtr.xtr import Xtr

LISP_CONTROL_PORT = 4342

AnyAction = XtrAction | Order | ControlFrame | RlocChanged
"""For the edges, or for a core that the controller hands it to."""


class Answering:
    """Plays the xTRs toward everybody who writes to one of their RLOCs.

    rlocs: whose xTR an RLOC is. underlays: by the name of the xTR, where it has one.
    """

    def __init__(
        self,
        mapping: MapSystem,
        exchanges: Exchanges,
        xtrs: ReadOnly[str, Xtr],
        rlocs: ReadOnly[IPAddress, Xtr],
        underlays: ReadOnly[str, Underlay],
    ) -> None:
        self._mapping = mapping
        self._exchanges = exchanges
        self._xtrs = xtrs
        self._by_rloc = rlocs
        self._underlay_of = underlays

    def deliver(self, action: SendControl, now: float) -> list[AnyAction]:
        """A control message of a core beside us for an RLOC of an xTR of ours."""
        xtr = self._by_rloc[action.destination.address]
        return self._as_xtr(xtr, action.data, action.destination.address, None, now)

    def frame(self, frame: ControlFrame, now: float) -> list[AnyAction]:
        """A control message that another router sent to an RLOC of an xTR of ours."""
        xtr = self._xtrs[frame.xtr]
        return self._as_xtr(xtr, frame.data, frame.destination.address, frame.source, now)

    def _as_xtr(
        self, xtr: Xtr, data: bytes, rloc: IPAddress, source: Endpoint | None, now: float
    ) -> list[AnyAction]:
        """The controller plays the xTR. rloc: which of its RLOCs got the message."""
        where, sender = f"xtr.{xtr.settings.name}", str(source or "")
        asker, payload = source or Endpoint(rloc, LISP_CONTROL_PORT), data
        try:
            message = decode(data)
            encapsulated = isinstance(message, Ecm)
            if isinstance(message, Ecm):
                asker, payload = message.source, message.payload
                message = decode(payload)
            message = understood(message)
        except DecodeError as error:
            return [Dropped(where, error.reason, str(error), sender)]
        if isinstance(message, MapReply):
            self._exchanges.answered(message)
            return [*xtr.receive(message, source, now)]
        if isinstance(message, MapRequest):
            if message.smr:
                return [*xtr.receive(message, source, now)]
            sent_by = source or asker
            arrival = Arrival(message, asker, sent_by, data, payload, encapsulated)
            return self._answer_as_etr(xtr, arrival, rloc, now)
        if isinstance(message, MapNotify) and source is None:
            # Of the embedded Map-Server, whose database is the xTR's too: nothing to learn.
            return []
        return [Dropped(where, "unexpected-type", f"{message.name} to an xTR", sender)]

    def _answer_as_etr(
        self, xtr: Xtr, arrival: Arrival, rloc: IPAddress, now: float
    ) -> list[AnyAction]:
        """A Map-Request that reached an ETR of ours: the site's own answer (section 5.5).

        An RLOC-probe gets the same answer with the p-bit on the probed RLOC (section 7.1). The
        limits are those of the Map-Server: nobody proves where a Map-Request comes from.
        """
        where, request, sender = f"xtr.{xtr.settings.name}", arrival.request, str(arrival.sender)
        rlocs = usable_rlocs(request)
        if not rlocs or request.dont_reply:
            reason = "dont-reply" if rlocs else "no-itr-rloc"
            return [Dropped(where, reason, "Map-Request without an answer", sender)]
        target = next((r for r in rlocs if r.version == rloc.version), rlocs[0])
        speaker = rloc if rloc.version == target.version else xtr.source_rloc(target.version)
        if speaker is None:
            detail = f"{target}: no RLOC of ours has that address family"
            return [Dropped(where, "no-itr-rloc", detail, sender)]
        intake = self._mapping.intake
        refused = intake.limited(target, now)
        if refused is not None:
            return [Dropped(where, refused.reason, refused.hint, sender)]
        requester = requester_of(request, rlocs)
        own = {entry.rloc for entry in xtr.settings.rlocs}
        records = []
        for wanted in request.records[:MAX_RECORDS]:
            eid = wanted.eid
            if not isinstance(eid, EidPrefix):
                continue
            mapping = self._mapping.answer(eid, requester, now).mapping
            # A PETR is in no mapping; who uses it probes it with a prefix that is not LISP.
            petr = request.probe and proxy_etr(xtr.settings, eid.iid) is not None
            if petr or xtr.serves(eid) or any(item.rloc == rloc for item in mapping.locators):
                probed = rloc if request.probe else None
                records.append(EidRecord.from_mapping(_as_etr(mapping, own, probed)))
        if not records:
            eids = ", ".join(str(wanted.eid) for wanted in request.records[:MAX_RECORDS])
            return [Dropped(where, "eid-not-served", eids, sender)]
        data = MapReply(request.nonce, tuple(records), probe=request.probe).serialize()
        if intake.amplifies(len(data), len(arrival.datagram)):
            detail = f"{len(data)} octets for {len(arrival.datagram)}"
            return [Dropped(where, "amplification", detail, sender)]
        return self._send_as(xtr, speaker, data, Endpoint(target, arrival.source.port), now)

    def _send_as(
        self, xtr: Xtr, rloc: IPAddress, data: bytes, destination: Endpoint, now: float
    ) -> list[AnyAction]:
        """Send by an xTR's own RLOC; without an underlay bridge, from the controller's socket."""
        underlay = self._underlay_of.get(xtr.settings.name)
        if underlay is None or not underlay.connected:
            return [SendControl(data, destination)]
        return [*underlay.send(data, rloc, destination, LISP_CONTROL_PORT, now)]


def _as_etr(mapping: Mapping, own: set[IPAddress], probed: IPAddress | None) -> Mapping:
    """A mapping as an ETR tells it (RFC 9301 section 5.4): A-bit, L-bits, p-bit.

    A probed RLOC that is not in the answer for this requester is added without being offered.
    """
    locators = tuple(
        replace(item, local=item.rloc in own, probed=item.rloc == probed)
        for item in mapping.locators
    )
    if probed is not None and not any(item.probed for item in locators):
        hidden = Locator(probed, UNUSABLE_PRIORITY, 0, local=True, probed=True)
        mapping = replace(mapping, action=Act.NO_ACTION)
        return replace(mapping.with_locators((*locators, hidden)), authoritative=True)
    return replace(mapping, locators=locators, authoritative=True)
