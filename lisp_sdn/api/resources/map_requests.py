"""What an xTR of ours asked, and what it was answered."""

from __future__ import annotations

from pydantic import Field

from lisp_sdn.api.fields import AddressField, EidField, KeyField, Model, TimeField
from lisp_sdn.api.resources.mappings import MappingModel
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route
from lisp_sdn.views import Exchange


class MapRequestModel(Model):
    """A Map-Request and its Map-Reply. answers: null while there is no Map-Reply."""

    time: TimeField
    nonce: str = Field(description="64 bits, hexadecimal")
    eids: list[KeyField]
    source_eid: EidField | None
    itr_rlocs: list[AddressField]
    answers: list[MappingModel] | None

    @classmethod
    def of(cls, exchange: Exchange) -> MapRequestModel:
        """From the value."""
        return cls(
            time=exchange.time,
            nonce=f"{exchange.nonce:016x}",
            eids=list(exchange.eids),
            source_eid=exchange.source_eid,
            itr_rlocs=list(exchange.itr_rlocs),
            answers=None
            if exchange.answers is None
            else [MappingModel.of(mapping) for mapping in exchange.answers],
        )


class MapRequestList(Model):
    """The newest Map-Requests of an xTR, the oldest first; older ones are forgotten."""

    items: list[MapRequestModel]


def list_map_requests(call: Call[NoQuery, None]) -> Reply:
    """All that are kept."""
    kept = call.backend.exchanges(call.xtr().name)
    return Reply(MapRequestList(items=[MapRequestModel.of(exchange) for exchange in kept]))


ROUTES = (
    Route(
        "GET",
        "/xtrs/{name}/map-requests",
        "List the newest Map-Requests of an xTR and their Map-Replies",
        list_map_requests,
        "map-cache",
        response=MapRequestList,
    ),
)
