"""Hypothesis strategies for every value of the wire format."""

from __future__ import annotations

import string
from ipaddress import IPv4Address, IPv6Address

from hypothesis import settings
from hypothesis import strategies as st

from lisp_sdn import wire
from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.model import Locator
from lisp_sdn.wire.eid import OtherEid
from lisp_sdn.wire.lcaf.attributes import ENCAPSULATIONS, NO_ALTITUDE

some = settings(max_examples=settings.default.max_examples // 4)
"""For tests of whole messages, whose examples are dear: a quarter of what the profile says."""

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u24 = st.integers(0, 0xFFFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 2**64 - 1)
octets = st.binary(max_size=24)

ipv4 = st.integers(0, 2**32 - 1).map(IPv4Address)
ipv6 = st.integers(0, 2**128 - 1).map(IPv6Address)
ip = ipv4 | ipv6
names = st.text(string.printable, max_size=12)
simple = (
    ip
    | st.just(wire.NO_ADDRESS)
    | st.binary(min_size=6, max_size=6).map(wire.MacAddress)
    | names.map(wire.DistinguishedName)
)
opaque = st.builds(wire.OpaqueLcaf, st.integers(17, 254), octets, flags=u8, rsvd1=u8, reserved=u8)


def _dms(limit):
    return st.tuples(st.integers(0, limit), st.integers(0, 59), st.integers(0, 59))


@st.composite
def _masked(draw, address):
    value = draw(address)
    limit = value.max_prefixlen if isinstance(value, IPv4Address | IPv6Address) else 255
    return value, draw(st.integers(0, limit))


def _pair(address, build):
    return st.tuples(_masked(address), _masked(address)).map(lambda p: build(*p[0], *p[1]))


def lcafs(address):
    """One strategy per LCAF type, by class name, around addresses of another strategy."""
    few = st.lists(address, max_size=3).map(tuple)
    hops = st.builds(wire.ElpHop, address, st.booleans(), st.booleans(), st.booleans())
    entries = st.builds(wire.ReplicationEntry, address, u8)
    altitude = st.none() | st.integers(-(2**31), NO_ALTITUDE - 1)
    ports = st.tuples(u16, u16)
    iid = u24 | u32
    return {
        "NullBody": st.just(wire.NullBody()),
        "AfiList": few.map(wire.AfiList),
        "InstanceId": st.builds(wire.InstanceId, iid, address, st.integers(0, 32)),
        "AsNumber": st.builds(wire.AsNumber, u32, address),
        "ApplicationData": st.builds(wire.ApplicationData, address, u24, u8, ports, ports),
        "GeoCoordinates": st.builds(
            wire.GeoCoordinates,
            _dms(90),
            st.booleans(),
            _dms(180),
            st.booleans(),
            altitude,
            address,
        ),
        "OpaqueKey": st.builds(wire.OpaqueKey, octets, st.integers(1, 16), u16),
        "NatTraversal": st.builds(wire.NatTraversal, u16, u16, address, address, address, few),
        "NonceLocator": st.builds(wire.NonceLocator, u24, address),
        "MulticastInfo": iid.flatmap(
            lambda i: _pair(address, lambda s, sl, g, gl: wire.MulticastInfo(i, s, sl, g, gl))
        ),
        "ExplicitLocatorPath": st.lists(hops, max_size=3).map(
            lambda h: wire.ExplicitLocatorPath(tuple(h))
        ),
        "SecurityKey": st.builds(
            wire.SecurityKey, address, st.lists(octets, max_size=3).map(tuple), u8, st.booleans()
        ),
        "SourceDestKey": _pair(address, wire.SourceDestKey),
        "ReplicationList": st.lists(entries, max_size=3).map(
            lambda e: wire.ReplicationList(tuple(e))
        ),
        "JsonData": st.builds(wire.JsonData, octets, address, st.booleans()),
        "KeyValue": st.builds(wire.KeyValue, address, address),
        "EncapsulationFormat": st.builds(
            wire.EncapsulationFormat, st.frozensets(st.sampled_from(ENCAPSULATIONS)), address
        ),
        "VendorSpecific": st.builds(wire.VendorSpecific, u24, octets),
    }


_shallow = st.one_of(*lcafs(simple).values())
_addresses = simple | opaque | _shallow | st.one_of(*lcafs(simple | _shallow).values())
# Deferred, so that no failing example or filter spells the whole tree of strategies out.
addresses = st.deferred(lambda: _addresses)
rlocs = ip | ip | addresses

iids = st.just(0) | u24


@st.composite
def prefixes(draw, iid=iids, address=ip):
    value = draw(address)
    return EidPrefix.trusted(
        draw(iid), value.version, int(value), draw(st.integers(0, value.max_prefixlen))
    )


@st.composite
def pairs(draw):
    iid = st.just(draw(iids))
    return SourceDestPrefix(draw(prefixes(iid)), draw(prefixes(iid)))


def _other(args):
    address, mask_len = args
    try:
        return OtherEid(address, mask_len)
    except ValueError:
        return OtherEid(wire.NO_ADDRESS, mask_len)


other_eids = st.tuples(
    addresses.filter(lambda a: isinstance(a, wire.WireAddress)), st.integers(0, 48)
).map(_other)
_eids = prefixes() | prefixes() | pairs() | other_eids
eids = st.deferred(lambda: _eids)


def _source(address):
    from lisp_sdn.wire.eid import check_source_eid

    try:
        check_source_eid(address)
    except ValueError:
        return None
    return address


hosts = st.builds(EidPrefix.host, iids, ip)
source_eids = st.none() | hosts | hosts | addresses.map(_source)


def locators(probed=st.booleans()):  # noqa: B008
    return st.builds(Locator, rlocs, u8, u8, u8, u8, st.booleans(), probed, st.booleans())


def eid_records(claim=False):
    flag = st.just(False) if claim else st.booleans()
    act = st.just(0) if claim else st.integers(0, 7)
    version = st.integers(0, 0xFFF)
    positive = st.builds(
        wire.EidRecord,
        eids,
        st.lists(locators(flag), max_size=3).map(tuple),
        u32,
        st.just(0),
        st.booleans(),
        version,
    )
    negative = st.builds(wire.EidRecord, eids, st.just(()), u32, act, st.booleans(), version)
    return positive | positive | negative


def several(strategy, least=0):
    return st.lists(strategy, min_size=least, max_size=3).map(tuple)


def with_ids(strategy):
    """Pairs of (xtr_id, site_id) for the messages that carry both or neither."""
    ids = st.just((None, None)) | st.tuples(st.integers(0, 2**128 - 1), u64)
    return st.tuples(strategy, ids)


request_records = st.builds(wire.RequestRecord, eids, st.booleans())


@st.composite
def map_requests(draw):
    xtr_id, site_id = draw(st.just((None, None)) | st.tuples(u64, u64))
    flags = [draw(st.booleans()) for _ in range(7)]
    return wire.MapRequest(
        draw(u64),
        draw(source_eids),
        draw(several(rlocs, 1)),
        draw(several(request_records)),
        *flags,
        reply_record=draw(st.none() | eid_records(claim=True)),
        xtr_id=xtr_id,
        site_id=site_id,
    )


protected = st.builds(wire.ProtectedEids, several(eids), u16, octets, st.booleans())
eid_authentication = st.builds(wire.EidAuthentication, u16, st.none() | protected)
ecm_security = st.builds(
    wire.EcmSecurity,
    u16,
    u8,
    u8,
    st.binary(min_size=8, max_size=8),
    octets,
    eid_authentication,
)
reply_security = st.builds(wire.MapReplySecurity, eid_authentication, u16, octets)

map_replies = st.builds(
    wire.MapReply,
    u64,
    several(eid_records()),
    st.booleans(),
    st.booleans(),
    st.none() | reply_security,
)


@st.composite
def map_registers(draw):
    xtr_id, site_id = draw(st.just((None, None)) | st.tuples(u64, u64))
    flags = [draw(st.booleans()) for _ in range(6)]
    records = draw(several(eid_records(claim=True)))
    return wire.MapRegister(
        draw(u64), records, draw(u8), draw(u8), draw(octets), *flags, xtr_id, site_id
    )


def _notify(cls):
    return st.builds(cls, u64, several(eid_records()), u8, u8, octets)


signatures = st.builds(wire.ReferralSignature, u32, u32, u32, u16, u8, octets)
referral_records = st.builds(
    wire.ReferralRecord,
    eids,
    st.integers(0, 7),
    several(locators()),
    u32,
    st.booleans(),
    st.booleans(),
    st.integers(0, 0xFFF),
    several(signatures),
)
map_referrals = st.builds(wire.MapReferral, u64, several(referral_records))
info_requests = st.builds(wire.InfoRequest, u64, u8, u8, octets, u32, eids)
info_replies = st.builds(
    wire.InfoReply, u64, lcafs(simple)["NatTraversal"], u8, u8, octets, u32, eids
)
shared_extensions = st.builds(wire.SharedExtension, st.integers(0, 0xFFF), octets)
unknown = st.tuples(st.sampled_from([0, 9, 10, 11, 12, 13, 14]), octets).map(
    lambda p: wire.UnknownMessage(bytes([p[0] << 4]) + p[1])
)
ports = u16.filter(lambda p: p != 4341)


@st.composite
def ecms(draw, payload=octets):
    family = draw(st.sampled_from([ipv4, ipv6]))
    return wire.Ecm(
        Endpoint(draw(family), draw(ports)),
        Endpoint(draw(family), draw(ports)),
        draw(payload),
        draw(st.none() | ecm_security),
        draw(st.booleans()),
        draw(u8),
    )


MESSAGES = {
    "map_request": map_requests(),
    "map_reply": map_replies,
    "map_register": map_registers(),
    "map_notify": _notify(wire.MapNotify),
    "map_notify_ack": _notify(wire.MapNotifyAck),
    "map_referral": map_referrals,
    "info_request": info_requests,
    "info_reply": info_replies,
    "ecm": ecms(),
    "shared_extension": shared_extensions,
    "unknown": unknown,
}
messages = st.one_of(*MESSAGES.values())


@st.composite
def common_requests(draw):
    """Map-Requests of the shape that `peek_map_request` is made for."""
    address = draw(st.sampled_from([ipv4, ipv6]))
    if draw(st.booleans()):
        source, eid = (EidPrefix.host(0, draw(address)) for _ in range(2))
        return wire.MapRequest(draw(u64), source, (draw(address),), (wire.RequestRecord(eid),))
    return wire.MapRequest(
        draw(u64),
        draw(st.none() | st.builds(EidPrefix.host, iids, address)),
        draw(st.tuples(address) | several(ip, 1)),
        (wire.RequestRecord(draw(hosts | prefixes())),),
        pitr=draw(st.booleans()),
        smr_invoked=draw(st.booleans()),
        local_xtr=draw(st.booleans()),
    )


@st.composite
def in_ecm(draw, requests):
    """The bytes of a message, alone or in an ECM without Authentication Data."""
    data = draw(requests).serialize()
    if draw(st.booleans()):
        return data
    family = draw(st.sampled_from([ipv4, ipv6]))
    source, destination = draw(family), draw(family)
    return wire.Ecm(
        Endpoint(source, draw(ports)), Endpoint(destination, draw(ports)), data
    ).serialize()


@st.composite
def damaged(draw, data):
    """Bytes with a few octets changed, cut off or added."""
    octets_ = bytearray(draw(data))
    for _ in range(draw(st.integers(0, 4))):
        if octets_:
            at = draw(st.integers(0, len(octets_) - 1))
            how = draw(st.sampled_from(["set", "flip", "cut", "grow", "drop"]))
            if how == "set":
                octets_[at] = draw(st.sampled_from([0, 1, 2, 0x40, 0x7F, 0x80, 0xFF]))
            elif how == "flip":
                octets_[at] ^= 1 << draw(st.integers(0, 7))
            elif how == "cut":
                del octets_[at:]
            elif how == "grow":
                octets_[at:at] = draw(st.binary(max_size=4))
            else:
                del octets_[at]
    return bytes(octets_)
