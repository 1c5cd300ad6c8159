"""Where LISP meets the rest of the Internet (RFC 6832): PETRs, Proxy-ITRs, native ports."""

from __future__ import annotations

from lisp_sdn.api.fields import Iid, Model, Octet, PrefixField, RlocField, TimeField
from lisp_sdn.api.resources.network import LocatorStatusModel
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route
from lisp_sdn.views import Carried, NativePortState, PetrState, ProxyItrState

TAG = "interworking"


class CarriedModel(Model):
    """Packets and octets, without tunnel headers, since the controller started."""

    packets: int
    octets: int

    @classmethod
    def of(cls, carried: Carried) -> CarriedModel:
        """From the value."""
        return cls(packets=carried.packets, octets=carried.octets)


class PetrUserModel(LocatorStatusModel):
    """An ITR of ours that uses a PETR, and how it sees the PETR's RLOC."""

    xtr: str


class PetrModel(Model):
    """A Proxy-ETR that ITRs of ours use. xtr: its name when it is one of ours."""

    iid: Iid
    when: str
    rloc: RlocField
    priority: Octet
    weight: Octet
    xtr: str | None
    users: list[PetrUserModel]


class AnnouncementModel(Model):
    """An EID-prefix of a Proxy-ITR in BGP."""

    prefix: PrefixField
    next_hop: RlocField | None
    announced: bool


class ProxyItrModel(Model):
    """A Proxy-ITR of ours. reason: why it is not healthy, "" when it is."""

    xtr: str
    iid: Iid
    port: str
    preference: int
    healthy: bool
    reason: str
    since: TimeField
    announcements: list[AnnouncementModel]


class NativePortModel(Model):
    """A native port. up: None where the switch does not have it.

    proxy_etr: source EIDs that it forwards for, empty where it is no Proxy-ETR. refused: came in
    by it and was for no EID; petr_refused: sent by ITRs from no LISP site, or to LISP.
    """

    xtr: str
    iid: Iid
    port: str
    up: bool | None
    received: CarriedModel
    sent: CarriedModel
    refused: CarriedModel
    proxy_etr: list[PrefixField]
    petr_sent: CarriedModel
    petr_refused: CarriedModel


class InterworkingModel(Model):
    """All of it."""

    petrs: list[PetrModel]
    proxy_itrs: list[ProxyItrModel]
    native_ports: list[NativePortModel]


def _petr(state: PetrState) -> PetrModel:
    return PetrModel.build(
        iid=state.iid,
        when=state.when,
        rloc=state.locator.rloc,
        priority=state.locator.priority,
        weight=state.locator.weight,
        xtr=state.xtr,
        users=[
            PetrUserModel.build(**dict(LocatorStatusModel.of(user.status)), xtr=user.xtr)
            for user in state.users
        ],
    )


def _proxy_itr(state: ProxyItrState) -> ProxyItrModel:
    return ProxyItrModel.build(
        xtr=state.xtr,
        iid=state.iid,
        port=state.port,
        preference=state.preference,
        healthy=state.healthy,
        reason=state.reason,
        since=state.since,
        announcements=[
            AnnouncementModel.build(
                prefix=entry.prefix, next_hop=entry.next_hop, announced=entry.announced
            )
            for entry in state.announcements
        ],
    )


def _native_port(state: NativePortState) -> NativePortModel:
    return NativePortModel.build(
        xtr=state.xtr,
        iid=state.iid,
        port=state.port,
        up=state.up,
        received=CarriedModel.of(state.received),
        sent=CarriedModel.of(state.sent),
        refused=CarriedModel.of(state.refused),
        proxy_etr=list(state.proxy_etr),
        petr_sent=CarriedModel.of(state.petr_sent),
        petr_refused=CarriedModel.of(state.petr_refused),
    )


def get_interworking(call: Call[NoQuery, None]) -> Reply:
    """PETRs that are used, Proxy-ITRs with their announcements, native ports with counters."""
    backend = call.backend
    return Reply(
        InterworkingModel.build(
            petrs=[_petr(state) for state in backend.petrs()],
            proxy_itrs=[_proxy_itr(state) for state in backend.proxy_itrs()],
            native_ports=[_native_port(state) for state in backend.native_ports()],
        )
    )


ROUTES = (
    Route(
        "GET",
        "/interworking",
        "Show where LISP meets the rest",
        get_interworking,
        TAG,
        response=InterworkingModel,
    ),
)
