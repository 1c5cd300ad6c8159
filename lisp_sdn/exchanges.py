"""The newest Map-Requests of our xTRs and their Map-Replies, for whoever asks why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from lisp_sdn.address import EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.views import Exchange
from lisp_sdn.wire import MapReply, MapRequest

MAX_EXCHANGES = 256
"""Exchanges kept, of all xTRs together; the oldest go first."""


class ExchangeSource(Protocol):
    """Something that can tell what was asked and answered."""

    def exchange(self, address: int) -> Exchange:
        """The exchange. address: the EID that was asked for."""


class Exchanges:
    """Keeps messages by nonce; a miss costs one assignment, they are made readable when read.

    Where an answer was ready no message was made, and there is no nonce.
    """

    def __init__(self, limit: int = MAX_EXCHANGES) -> None:
        self._limit = limit
        self._kept: OrderedDict[
            int, tuple[str, float, MapRequest, MapReply | None] | tuple[str, ExchangeSource, int]
        ] = OrderedDict()
        self._ready = 0

    def note(self, xtr: str, request: MapRequest, reply: MapReply | None, now: float) -> None:
        """An xTR of ours sent this Map-Request. reply: None while there is none."""
        if len(self._kept) >= self._limit:
            self._kept.popitem(last=False)
        self._kept[request.nonce] = (xtr, now, request, reply)

    def note_ready(self, xtr: str, answered: Sequence[tuple[ExchangeSource, int]]) -> None:
        """Questions that were answered without a message, with the EIDs that were asked for."""
        for source, address in answered[-self._limit :]:
            if len(self._kept) >= self._limit:
                self._kept.popitem(last=False)
            self._ready -= 1
            self._kept[self._ready] = (xtr, source, address)

    def answered(self, reply: MapReply) -> None:
        """A Map-Reply came from a configured Map-Resolver."""
        known = self._kept.get(reply.nonce)
        if known is not None and len(known) == 4:
            self._kept[reply.nonce] = (*known[:3], reply)

    def of(self, xtr: str) -> Iterator[Exchange]:
        """Those of one xTR, oldest first."""
        for kept in tuple(self._kept.values()):
            if kept[0] != xtr:
                continue
            if len(kept) == 3:
                yield kept[1].exchange(kept[2])
            else:
                yield _exchange(*kept[1:])


def _exchange(time: float, request: MapRequest, reply: MapReply | None) -> Exchange:
    source = request.source_eid
    return Exchange(
        time=time,
        nonce=request.nonce,
        eids=tuple(
            record.eid
            for record in request.records
            if isinstance(record.eid, EidPrefix | SourceDestPrefix)
        ),
        source_eid=source if isinstance(source, EidPrefix) else None,
        itr_rlocs=tuple(rloc for rloc in request.itr_rlocs if isinstance(rloc, IPAddress)),
        answers=None
        if reply is None
        else tuple(record.mapping for record in reply.records if isinstance(record.eid, EidPrefix)),
    )
