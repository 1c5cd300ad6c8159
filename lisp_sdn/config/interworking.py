"""Where an xTR meets what is not LISP (RFC 6832): native ports, Proxy-ITRs and Proxy-ETRs."""

from __future__ import annotations

from pydantic import Field

from lisp_sdn.settings import AddressField, Iid, NetworkField, Settings


class ProxyItr(Settings):
    """What a Proxy-ITR attracts (RFC 6832 section 5).

    eid_prefixes: announced in BGP to neighbours of scope underlay, as aggregated as can be.
    next_hops: where their routers send the packets, one address of a family; by default our first
    RLOC of the family. preference: of several Proxy-ITRs of this controller that have the same
    EID-prefix, the one with the highest is announced. hold_down: seconds that it must be able to
    forward again before it is announced anew; twice as long each time that it fails again soon.
    """

    eid_prefixes: tuple[NetworkField, ...] = Field(min_length=1, max_length=10_000)
    next_hops: tuple[AddressField, ...] = Field(default=(), max_length=2)
    preference: int = Field(default=100, ge=0, le=0xFFFFFFFF)
    hold_down: float = Field(default=3.0, ge=0, le=86400)


class ProxyEtr(Settings):
    """For whom a Proxy-ETR forwards (RFC 6832 section 6.1).

    eid_prefixes: which source EIDs; empty means those of every site and static mapping of the
    instance-ID that are configured here.
    """

    eid_prefixes: tuple[NetworkField, ...] = Field(default=(), max_length=10_000)


class NativePort(Settings):
    """A port of the overlay bridge that leads to the routing of the host: what is not LISP.

    name: an internal port of Open vSwitch. iid: the instance-ID that it is in. proxy_itr: packets
    that come in by it are encapsulated; without, it delivers to EIDs of this xTR only. proxy_etr:
    what ITRs send here for destinations that are not LISP leaves by it.
    """

    name: str = Field(default="native0", min_length=1, max_length=15)
    iid: Iid = 0
    proxy_itr: ProxyItr | None = None
    proxy_etr: ProxyEtr | None = None
