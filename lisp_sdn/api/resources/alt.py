"""BGP sessions and the ALT (RFC 6836): what is announced, routes, tunnels."""

from __future__ import annotations

from ipaddress import ip_network

from lisp_sdn.address import IPNetwork
from lisp_sdn.alt_views import AltRoute, AltTunnelState, BgpNeighbourState
from lisp_sdn.api.fields import AddressField, DatapathField, Iid, Model, PrefixField, TimeField
from lisp_sdn.api.paging import Key, Paging, decode_cursor, page_sorted
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route

TAG = "alt"


class AltTunnelModel(Model):
    """A GRE tunnel to an ALT-Router. address, neighbour: inside; local, remote: outside of it.

    up: the GRE port has link. session_up: BGP runs over it. routes: best routes by it.
    map_requests: that came by it, since its flow was installed.
    """

    port: str
    host_port: str
    address: AddressField
    neighbour: AddressField
    local: AddressField | None
    remote: AddressField | None
    up: bool
    session_up: bool
    routes: int
    map_requests: int


class HeldDownModel(Model):
    """An EID-prefix that is announced without a registration, and until when."""

    prefix: PrefixField
    until: TimeField


class AltModel(Model):
    """The ALT. iid: None without `alt`; datapath_id: of its bridge.

    problems: why the bridge does not forward as configured. packets: of the bridge, by what became
    of them, since the controller started.
    """

    iid: Iid | None
    datapath_id: DatapathField | None
    connected_since: TimeField | None
    problems: list[str]
    announced: list[PrefixField]
    held_down: list[HeldDownModel]
    routes: int
    tunnels: list[AltTunnelModel]
    packets: dict[str, int]


class AltRouteModel(Model):
    """A best route: by which neighbour, into which port. packets: of its flow, if known."""

    prefix: PrefixField
    neighbour: AddressField
    next_hop: AddressField
    as_path: list[int]
    port: str | None
    packets: int | None


class AltRoutePage(Model):
    """A page of routes."""

    items: list[AltRouteModel]
    next: str | None


class BgpNeighbourModel(Model):
    """A BGP session. since: of its state. shut: it had more than maximum_prefixes.

    password: whether TCP MD5 is used. routes: best routes from it.
    """

    address: AddressField
    as_number: int
    scope: str
    up: bool
    since: TimeField | None
    shut: bool
    password: bool
    hold_time: int
    routes: int
    maximum_prefixes: int


class BgpModel(Model):
    """The BGP speaker; as_number and router_id are None without `bgp`."""

    as_number: int | None
    router_id: AddressField | None
    neighbours: list[BgpNeighbourModel]


def _tunnel(state: AltTunnelState) -> AltTunnelModel:
    return AltTunnelModel.build(
        port=state.port,
        host_port=state.host_port,
        address=state.address,
        neighbour=state.neighbour,
        local=state.local,
        remote=state.remote,
        up=state.up,
        session_up=state.session_up,
        routes=state.routes,
        map_requests=state.map_requests,
    )


def get_alt(call: Call[NoQuery, None]) -> Reply:
    """What is announced and held down, tunnels, and what became of packets."""
    state = call.backend.alt()
    return Reply(
        AltModel.build(
            iid=state.iid,
            datapath_id=state.datapath_id,
            connected_since=state.connected_since,
            problems=list(state.problems),
            announced=list(state.announced),
            held_down=[
                HeldDownModel.build(prefix=entry.prefix, until=entry.until)
                for entry in state.held_down
            ],
            routes=state.routes,
            tunnels=[_tunnel(tunnel) for tunnel in state.tunnels],
            packets=state.packets,
        )
    )


def _key(route: AltRoute) -> Key:
    prefix = route.prefix
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)


def list_routes(call: Call[Paging, None]) -> Reply:
    """A page, by prefix."""
    query = call.query
    after = decode_cursor(query.after, (int, int, int)) if query.after else None
    entries = call.backend.alt_routes(_start(after))
    page = page_sorted(entries, _key, query.limit, after)
    items = [
        AltRouteModel.build(
            prefix=route.prefix,
            neighbour=route.neighbour,
            next_hop=route.next_hop,
            as_path=list(route.as_path),
            port=route.port,
            packets=route.packets,
        )
        for route in page.items
    ]
    return Reply(AltRoutePage.build(items=items, next=page.next), next=page.next)


def _start(after: Key | None) -> IPNetwork | None:
    """The prefix that a cursor names; one that names none begins at the begin."""
    if after is None:
        return None
    version, value, length = map(int, after)
    bits = {4: 32, 6: 128}.get(version, 0)
    if not (0 <= value < 1 << bits and 0 <= length <= bits):
        return None
    packed = value.to_bytes(bits // 8, "big")
    return ip_network((packed, length), strict=False)


def get_bgp(call: Call[NoQuery, None]) -> Reply:
    """The speaker and all its sessions."""
    state = call.backend.bgp()
    return Reply(
        BgpModel.build(
            as_number=state.as_number,
            router_id=state.router_id,
            neighbours=[_neighbour(entry) for entry in state.neighbours],
        )
    )


def _neighbour(state: BgpNeighbourState) -> BgpNeighbourModel:
    return BgpNeighbourModel.build(
        address=state.address,
        as_number=state.as_number,
        scope=state.scope.value,
        up=state.up,
        since=state.since,
        shut=state.shut,
        password=state.password,
        hold_time=state.hold_time,
        routes=state.routes,
        maximum_prefixes=state.maximum_prefixes,
    )


ROUTES = (
    Route("GET", "/alt", "Show the ALT", get_alt, TAG, response=AltModel),
    Route(
        "GET",
        "/alt/routes",
        "List the routes of the ALT",
        list_routes,
        TAG,
        query=Paging,
        response=AltRoutePage,
    ),
    Route("GET", "/bgp", "Show the BGP speaker", get_bgp, TAG, response=BgpModel),
)
