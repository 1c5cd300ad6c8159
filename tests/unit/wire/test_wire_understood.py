"""Unknown AFIs and LCAFs: RFC 9301 section 5.1, RFC 9306 sections 3 and 4."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.errors import Unsupported
from lisp_sdn.model import Locator
from lisp_sdn.wire import (
    NO_ADDRESS,
    AfiList,
    AsNumber,
    EidRecord,
    ElpHop,
    ExplicitLocatorPath,
    GeoCoordinates,
    MacAddress,
    MapNotify,
    MapReferral,
    MapRegister,
    MapReply,
    MapRequest,
    OpaqueLcaf,
    OtherEid,
    ReferralRecord,
    RequestRecord,
    SharedExtension,
    VendorSpecific,
    decode,
)
from lisp_sdn.wire.understood import ip_of, understood

EID = EidPrefix.from_text("192.0.2.0/24")
ONE = IPv4Address("203.0.113.1")
UNKNOWN = OpaqueLcaf(200, b"\1\2")
VENDOR = VendorSpecific(0x5E, b"\1")
GEO = GeoCoordinates((46, 31, 12), True, (6, 34, 5), True, 372)


def reply(*rlocs):
    return MapReply(1, (EidRecord(EID, tuple(map(Locator, rlocs))),))


def patched(message, old, new):
    data = message.serialize()
    assert data.count(old) == 1
    return data.replace(old, new)


def test_unknown_afi_drops_the_message():
    afi_999 = b"\x03\xe7\xcb\0\x71\1"
    locator = patched(reply(ONE), b"\0\1\xcb\0\x71\1", afi_999)
    with pytest.raises(Unsupported, match=r"records\[0\].locators\[0\].afi.*AFI 999"):
        decode(locator)
    request = MapRequest(1, None, (ONE,), (RequestRecord(EID),))
    with pytest.raises(Unsupported, match=r"itr_rlocs\[0\].afi.*AFI 999"):
        decode(patched(request, b"\0\1\xcb\0\x71\1", afi_999))
    with pytest.raises(Unsupported, match=r"records\[0\].afi.*AFI 999"):
        decode(patched(request, b"\0\1\xc0\0\2\0", b"\x03\xe7\xc0\0\2\0"))


def test_unknown_afi_inside_an_lcaf_makes_the_lcaf_unknown():
    known = reply(AsNumber(65001, ONE), ONE)
    data = patched(known, b"\xfd\xe9\0\1", b"\xfd\xe9\x03\xe7")
    rloc = decode(data).records[0].locators[0].rloc
    assert isinstance(rloc, OpaqueLcaf)
    assert rloc.type_number == 3
    assert decode(data).serialize() == data
    assert understood(decode(data)).records[0].locators == (Locator(ONE),)


def test_unknown_lcaf_locators_are_ignored():
    message = decode(reply(UNKNOWN, ONE).serialize())
    assert message.records[0].locators[0].rloc == UNKNOWN
    assert [loc.rloc for loc in understood(message).records[0].locators] == [ONE]


def test_a_record_of_unknown_locators_only_has_none():
    assert understood(reply(UNKNOWN, UNKNOWN)).records[0].locators == ()


@pytest.mark.parametrize(
    "build",
    [
        lambda r: MapReply(1, r),
        lambda r: MapRegister(1, r),
        lambda r: MapNotify(1, r),
        lambda r: MapRequest(1, None, (UNKNOWN,), (), reply_record=r[0]),
        lambda r: MapReferral(1, (ReferralRecord(EID, 0, r[0].locators),)),
    ],
)
def test_in_every_message(build):
    locators = (Locator(UNKNOWN), Locator(ONE))
    message = understood(build((EidRecord(EID, locators),)))
    if isinstance(message, MapRequest):
        assert message.itr_rlocs == (NO_ADDRESS,)
        record = message.reply_record
    else:
        (record,) = message.records
    kept = record.referrals if isinstance(record, ReferralRecord) else record.locators
    assert kept == (Locator(ONE),)


def test_unknown_lcaf_as_eid_drops_the_message():
    eid = OtherEid(MacAddress(b"\2\0\0\0\0\1"), 48)
    data = patched(MapReply(1, (EidRecord(eid),)), b"\0\6\2\0\0\0\0\1", UNKNOWN.serialize())
    with pytest.raises(Unsupported, match=r"records\[0\].eid"):
        decode(data)
    request = MapRequest(1, MacAddress(b"\2\0\0\0\0\1"), (ONE,), ())
    with pytest.raises(Unsupported, match="source_eid"):
        decode(patched(request, b"\0\6\2\0\0\0\0\1", UNKNOWN.serialize()))


@pytest.mark.parametrize(
    "message",
    [
        reply(VENDOR),
        reply(ONE, AfiList((ONE, VENDOR))),
        MapRequest(1, None, (VENDOR,), ()),
        MapRequest(1, AfiList((VENDOR,)), (ONE,), ()),
        MapRequest(1, None, (ONE,), (RequestRecord(OtherEid(AfiList((VENDOR,)), 0)),)),
        MapReply(1, (EidRecord(OtherEid(AfiList((VENDOR,)), 0)),)),
        MapReferral(1, (ReferralRecord(OtherEid(AfiList((VENDOR,)), 0), 0),)),
    ],
)
def test_a_vendor_specific_lcaf_drops_the_message(message):
    received = decode(message.serialize())
    assert received == message
    with pytest.raises(Unsupported, match="OUI 00005e"):
        understood(received)


def test_a_subscription_does_not_become_its_opposite():
    """RFC 9437 section 5: AFI 0 alone in the ITR-RLOCs takes a subscription back."""
    record = RequestRecord(EID, subscribe=True)
    message = MapRequest(1, None, (UNKNOWN,), (record,), xtr_id=1, site_id=1)
    with pytest.raises(Unsupported, match="no ITR-RLOC of the subscription"):
        understood(message)
    kept = understood(replace(message, itr_rlocs=(UNKNOWN, ONE)))
    assert kept.itr_rlocs == (ONE,)


@pytest.mark.parametrize(
    "message",
    [
        reply(ONE, GEO),
        MapRequest(1, None, (ONE, NO_ADDRESS), (RequestRecord(EID),)),
        MapReferral(1, (ReferralRecord(EID, 0, (Locator(ONE),)),)),
        SharedExtension(1, b"abc"),
    ],
)
def test_what_is_understood_is_left_alone(message):
    assert understood(message) is message


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        (ONE, ONE),
        (NO_ADDRESS, None),
        (UNKNOWN, None),
        (VENDOR, None),
        (AsNumber(65001, ONE), ONE),
        (AfiList((GEO, ONE)), ONE),
        (AfiList((ONE, GEO)), ONE),
        (AfiList((UNKNOWN, IPv6Address("2001:db8::1"))), IPv6Address("2001:db8::1")),
        (AfiList((MacAddress(bytes(6)),)), None),
        (ExplicitLocatorPath((ElpHop(ONE), ElpHop(ONE))), None),
    ],
)
def test_ip_of(address, ip):
    assert ip_of(address) == ip
