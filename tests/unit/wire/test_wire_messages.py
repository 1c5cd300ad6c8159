"""Control messages beyond the vectors: flags, reserved bits, ids, and what is refused."""

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from lisp_sdn import wire
from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.errors import (
    BadLength,
    BadValue,
    DecodeError,
    FieldError,
    Truncated,
    Unsupported,
)
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.wire import (
    NO_ADDRESS,
    EidRecord,
    InstanceId,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    OtherEid,
    RequestRecord,
    SourceDestKey,
    decode,
)

VECTORS = {
    v["id"]: bytes.fromhex(v["hex"])
    for v in json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())["vectors"]
}
EID = EidPrefix.from_text("192.0.2.0/24")
HOST = EidPrefix.from_text("192.0.2.9/32")
ONE = IPv4Address("203.0.113.1")
LOCATOR = Locator(ONE)
ETR_PRIVATE = IPv4Address("10.0.0.7")
RECORD = EidRecord(EID, (LOCATOR,))
ASK = RequestRecord(HOST)

REQUEST_FLAGS = {
    "authoritative": 0x08000000,
    "probe": 0x02000000,
    "smr": 0x01000000,
    "pitr": 0x00800000,
    "smr_invoked": 0x00400000,
    "local_xtr": 0x00004000,
    "dont_reply": 0x00002000,
}
REGISTER_FLAGS = {
    "proxy_reply": 0x08000000,
    "security_capable": 0x04000000,
    "eid_notify": 0x00001000,
    "use_ttl": 0x00000800,
    "merge": 0x00000400,
    "want_notify": 0x00000100,
}


def first_word(message):
    return int.from_bytes(message.serialize()[:4], "big")


@pytest.mark.parametrize("flag", REQUEST_FLAGS)
def test_request_flags(flag):
    plain = MapRequest(1, None, (ONE,), (ASK,))
    flagged = MapRequest(1, None, (ONE,), (ASK,), **{flag: True})
    assert first_word(flagged) == first_word(plain) | REQUEST_FLAGS[flag]
    assert decode(flagged.serialize()) == flagged


def test_request_with_ids_and_piggybacked_record():
    message = MapRequest(
        1, None, (ONE,), (RequestRecord(EID, subscribe=True),), reply_record=RECORD,
        xtr_id=2**128 - 1, site_id=2**64 - 1,
    )  # fmt: skip
    data = message.serialize()
    assert first_word(message) == 0x14100001
    assert data[20] == 0x80
    assert data[-24:] == b"\xff" * 24
    assert decode(data) == message
    for size in range(len(data) - 24, len(data)):
        with pytest.raises(Truncated, match=r"map_request\.(xtr|site)_id"):
            decode(data[:size])


@pytest.mark.parametrize("count", [1, 2, 32])
def test_itr_rlocs(count):
    rlocs = tuple(IPv4Address(n) for n in range(count))
    message = MapRequest(1, None, rlocs, (ASK,))
    assert first_word(message) >> 8 & 0x1F == count - 1
    assert decode(message.serialize()).itr_rlocs == rlocs


def test_unsubscription_has_an_itr_rloc_of_afi_0():
    message = MapRequest(
        1, None, (NO_ADDRESS,), (RequestRecord(EID, subscribe=True),), xtr_id=1, site_id=2
    )
    assert decode(message.serialize()) == message


def test_several_records():
    records = tuple(RequestRecord(EidPrefix.host(n, ONE)) for n in range(3))
    message = MapRequest(1, HOST, (ONE,), records)
    assert decode(message.serialize()) == message


@pytest.mark.parametrize("flag", REGISTER_FLAGS)
def test_register_flags(flag):
    plain = MapRegister(1, (RECORD,))
    flagged = MapRegister(1, (RECORD,), **{flag: True})
    assert first_word(flagged) == first_word(plain) | REGISTER_FLAGS[flag]
    assert decode(flagged.serialize()) == flagged


def test_reply_flags():
    message = MapReply(1, (), probe=True, echo_nonce_capable=True)
    assert first_word(message) == 0x2C000000
    assert decode(message.serialize()) == message


RESERVED = {
    "V01": [(0, 0x002F8000)],
    "V03": [(0, 0x01FFFF00), (18, 0x0FFF), (20, 0xF000), (32, 0xFFF8), (44, 0xFFF8)],
    "V06": [(0, 0x01FFE200), (38, 0x0FFF), (40, 0xF000), (52, 0xFFF8)],
    "V08": [(0, 0x0FFFFF00)],
    "V09": [(0, 0x03FFFFFF)],
    "B05": [(0, 0x0FFFFF00), (18, 0x07FF)],
}


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_bits_are_ignored_and_sent_as_zero(name):
    """Every reserved bit of a vector set: the same message, and zero again when it goes out."""
    data = bytearray(VECTORS[name])
    for offset, bits in RESERVED[name]:
        size = 4 if bits > 0xFFFF else 2
        word = int.from_bytes(data[offset : offset + size], "big")
        assert not word & bits
        data[offset : offset + size] = (word | bits).to_bytes(size, "big")
    assert decode(bytes(data)) == decode(VECTORS[name])
    assert decode(bytes(data)).serialize() == VECTORS[name]


def test_lcaf_reserved_octets_are_ignored():
    data = bytearray(VECTORS["V02"])
    at = data.index(b"\x40\x03")
    data[at + 2], data[at + 3], data[at + 5] = 0xFF, 0xFF, 32
    assert decode(bytes(data)) == decode(VECTORS["V02"])


def test_the_request_record_octet_has_only_the_n_bit():
    data = bytearray(VECTORS["V01"])
    data[24] = 0x7F
    assert decode(bytes(data)) == decode(VECTORS["V01"])


def test_host_bits_are_cleared_and_long_masks_refused():
    data = bytearray(VECTORS["V01"])
    data[25] = 24
    assert decode(bytes(data)).records[0].eid == EidPrefix.from_text("198.51.100.0/24")
    data[25] = 33
    with pytest.raises(BadValue, match=r"records\[0\].mask_len.*33, expected 0..32"):
        decode(bytes(data))
    data = bytearray(VECTORS["V02"])
    data[data.rindex(b"\x80\x40\x03")] = 129
    with pytest.raises(BadValue, match="mask_len"):
        decode(bytes(data))


def test_act_counts_only_without_locators_and_outside_of_claims():
    data = bytearray(VECTORS["V03"])
    data[18] |= 0xE0
    assert decode(bytes(data)).records[0].action == 0
    negative = MapReply(1, (EidRecord(EID, action=7),)).serialize()
    assert decode(negative).records[0].action == 7
    notify = MapNotify(1, (EidRecord(EID, action=4),))
    assert decode(notify.serialize()) == notify
    register = bytearray(MapRegister(1, (EidRecord(EID),)).serialize())
    register[22] |= 0xE0
    assert decode(bytes(register)).records[0].action == 0


def test_the_p_bit_counts_only_in_replies():
    register = bytearray(MapRegister(1, (RECORD,)).serialize())
    assert register[-7] == 0x01
    register[-7] |= 0x02
    assert decode(bytes(register)).records[0].locators[0].probed is False
    reply = MapReply(1, (EidRecord(EID, (Locator(ONE, probed=True),)),))
    assert decode(reply.serialize()).records[0].locators[0].probed is True


@pytest.mark.parametrize(
    "build",
    [
        lambda: MapRequest(1 << 64, None, (ONE,), ()),
        lambda: MapRequest(-1, None, (ONE,), ()),
        lambda: MapRequest(True, None, (ONE,), ()),
        lambda: MapRequest(1, EID, (ONE,), ()),
        lambda: MapRequest(1, ONE, (ONE,), ()),
        lambda: MapRequest(1, NO_ADDRESS, (ONE,), ()),
        lambda: MapRequest(1, InstanceId(1, ONE), (ONE,), ()),
        lambda: MapRequest(1, None, (), ()),
        lambda: MapRequest(1, None, (ONE,) * 33, ()),
        lambda: MapRequest(1, None, ("203.0.113.1",), ()),
        lambda: MapRequest(1, None, (IPv6Address("fe80::1%eth0"),), ()),
        lambda: MapRequest(1, None, (ONE,), (ASK,) * 256),
        lambda: MapRequest(1, None, (ONE,), (RECORD,)),
        lambda: MapRequest(1, None, (ONE,), (), xtr_id=1),
        lambda: MapRequest(1, None, (ONE,), (), site_id=1),
        lambda: MapRequest(1, None, (ONE,), (), xtr_id=1 << 128, site_id=1),
        lambda: MapRequest(1, None, (ONE,), (), reply_record=EidRecord(EID, action=1)),
        lambda: MapReply(1, (RECORD,) * 256),
        lambda: MapReply(1, (ASK,)),
        lambda: MapRegister(1, (EidRecord(EID, action=1),)),
        lambda: MapRegister(1, (EidRecord(EID, (Locator(ONE, probed=True),)),)),
        lambda: MapRegister(1, (), key_id=256),
        lambda: MapRegister(1, (), algorithm=256),
        lambda: MapRegister(1, (), auth_data=bytes(65536)),
        lambda: MapNotify(1, (), xtr_id=1),
        lambda: EidRecord(ONE),
        lambda: EidRecord(EID, (LOCATOR,) * 256),
        lambda: EidRecord(EID, (LOCATOR,), action=1),
        lambda: EidRecord(EID, ttl_minutes=1 << 32),
        lambda: EidRecord(EID, map_version=4096),
        lambda: EidRecord(EID, action=8),
        lambda: EidRecord(EID, (Locator("203.0.113.1"),)),
        lambda: RequestRecord("192.0.2.0/24"),
        lambda: OtherEid(ONE, 32),
        lambda: OtherEid(InstanceId(5, ONE), 32),
        lambda: OtherEid(SourceDestKey(ONE, 32, ONE, 32), 0),
        lambda: OtherEid(wire.MacAddress(bytes(6)), 49),
        lambda: OtherEid(wire.OpaqueLcaf(200, b""), 0),
        lambda: OtherEid(wire.VendorSpecific(1, b""), 0),
        lambda: wire.MacAddress(bytes(5)),
        lambda: wire.DistinguishedName("a\0b"),
        lambda: wire.DistinguishedName("é"),
        lambda: wire.DistinguishedName("a" * 1025),
        lambda: InstanceId(1 << 32, ONE),
        lambda: InstanceId(1, ONE, 33),
        lambda: wire.GeoCoordinates((91, 0, 0), True, (0, 0, 0), True),
        lambda: wire.GeoCoordinates((0, 60, 0), True, (0, 0, 0), True),
        lambda: wire.GeoCoordinates((0, 0, 0), True, (0, 0, 0), True, 0x7FFFFFFF),
        lambda: wire.AfiList((ONE,) * 11000),
        lambda: wire.AfiList((wire.DistinguishedName("a" * 1024),) * 64),
        lambda: wire.AfiList((wire.OpaqueLcaf(200, bytes(65535)),)),
        lambda: wire.OpaqueKey(bytes(65533)),
        lambda: wire.VendorSpecific(1, bytes(65532)),
        lambda: wire.JsonData(bytes(65534)),
        lambda: wire.SecurityKey(ONE, (bytes(65535),)),
        lambda: wire.AfiList(("x",)),
        lambda: wire.SecurityKey(ONE, (bytes(65536),)),
        lambda: wire.EncapsulationFormat(frozenset({"carrier-pigeon"}), ONE),
        lambda: wire.OpaqueKey(b"", 17),
        lambda: wire.JsonData(bytes(65536)),
        lambda: wire.SharedExtension(4096, b""),
        lambda: wire.UnknownMessage(b""),
        lambda: wire.UnknownMessage(b"\x10"),
        lambda: wire.InfoReply(1, NO_ADDRESS),
    ],
)
def test_impossible_values_are_refused_at_construction(build):
    with pytest.raises((FieldError, TypeError)):
        build()


def test_nesting_is_limited_at_construction_too():
    address = ONE
    for _ in range(wire.lcaf.MAX_DEPTH):
        address = wire.AfiList((address,))
    with pytest.raises(FieldError, match="nested"):
        wire.AfiList((address,))


@pytest.mark.parametrize("number", [0, 9, 10, 11, 12, 13, 14])
def test_unassigned_types_survive_as_they_are(number):
    data = bytes([number << 4 | 3]) + b"anything"
    message = decode(data)
    assert isinstance(message, wire.UnknownMessage)
    assert message.type_number == number
    assert message.serialize() == data


def test_shared_extension():
    data = bytes.fromhex("ffff") + b"data"
    assert decode(data) == wire.SharedExtension(4095, b"data")
    assert decode(data).serialize() == data
    with pytest.raises(Truncated, match="sub_type"):
        decode(b"\xf0")


def test_trailing_octets_are_refused_but_for_notifies():
    for name in ("V01", "V03", "V06", "B05", "B06"):
        with pytest.raises(BadLength, match="trailing"):
            decode(VECTORS[name] + b"\0")
    assert decode(VECTORS["V08"] + b"\0") == decode(VECTORS["V08"])
    assert decode(VECTORS["V12"] + b"\0") == decode(VECTORS["V12"])


def test_errors_name_field_offset_and_reason():
    with pytest.raises(DecodeError) as caught:
        decode(VECTORS["V03"][:-1])
    error = caught.value
    assert error.field == "map_reply.records[0].locators[1].address"
    assert error.offset == 48
    assert error.reason == "truncated"
    with pytest.raises(BadLength) as length:
        decode(VECTORS["V06"][:20])
    assert length.value.field == "map_register.auth_data"
    assert (length.value.offset, length.value.reason) == (16, "bad_length")


def test_instance_ids():
    high = InstanceId(0x1000001, ONE)
    record = RequestRecord(OtherEid(high, 32))
    assert decode(MapRequest(1, None, (ONE,), (record,)).serialize()).records == (record,)
    top = EidPrefix.host(0xFFFFFF, ONE)
    assert decode(MapRequest(1, top, (ONE,), ()).serialize()).source_eid == top
    ranged = OtherEid(InstanceId(0x100, NO_ADDRESS, 24), 0)
    reply = MapReply(1, (EidRecord(ranged),))
    assert decode(reply.serialize()) == reply


def test_source_destination_pairs():
    """Inside one Instance-ID LCAF, or with two equal ones inside: the same EID."""
    pair = SourceDestPrefix.from_text("srcdst:[5] 192.0.2.0/24|[5] 198.51.100.0/25")
    record = EidRecord(pair)
    data = MapReply(1, (record,)).serialize()
    assert decode(data).records == (record,)
    source, destination = (p.network.network_address for p in (pair.source, pair.destination))
    inner = SourceDestKey(InstanceId(5, source), 24, InstanceId(5, destination), 25)
    other = data[:12] + data[12:22] + inner.serialize()
    assert decode(other).records == (record,)
    assert decode(other).serialize() == data
    mixed = SourceDestKey(InstanceId(5, source), 24, InstanceId(6, destination), 25)
    assert decode(data[:22] + mixed.serialize()).records[0].eid == OtherEid(mixed, 25)
    plain = SourceDestPrefix.from_text("srcdst:192.0.2.0/24|198.51.100.0/25")
    assert decode(MapReply(1, (EidRecord(plain),)).serialize()).records[0].eid == plain
    bad = data.replace(b"\x18\x19", b"\x21\x19")
    with pytest.raises(BadValue, match="mask_len"):
        decode(bad)


def test_records_and_mappings():
    mapping = Mapping(EID, (LOCATOR,), 60, map_version=7, authoritative=True)
    assert EidRecord.from_mapping(mapping).mapping == mapping
    negative = Mapping(EID, (), 15, Act.NATIVELY_FORWARD)
    assert EidRecord.from_mapping(negative).mapping == negative
    assert EidRecord(EID, action=7).mapping.action is Act.NO_ACTION
    with pytest.raises(FieldError, match="eid"):
        _ = EidRecord(OtherEid(wire.MacAddress(bytes(6)), 48)).mapping


def test_names_end_with_a_nul():
    eid = OtherEid(wire.DistinguishedName("cpe-router"), 0)
    data = MapReply(1, (EidRecord(eid),)).serialize()
    assert data.endswith(b"\0\x11cpe-router\0")
    assert decode(data).records[0].eid == eid
    with pytest.raises(BadValue, match="no NUL"):
        decode(data[:-1])
    with pytest.raises(BadValue, match="not ASCII"):
        decode(data.replace(b"cpe", b"\xffpe"))
    inside = bytes.fromhex("4003000001000005") + b"\0\x11abc"
    reply = MapReply(1, (EidRecord(EID, (Locator(NO_ADDRESS),)),)).serialize()
    locator = decode(reply[:-2] + inside).records[0].locators[0]
    assert locator.rloc == wire.AfiList((wire.DistinguishedName("abc"),))


def test_locator_order():
    """RFC 9301 section 5.5 and RFC 8060 section 3: IPv4, IPv6, then by {AFI, LCAF type}."""
    ordered = [
        IPv4Address("192.0.2.1"),
        IPv4Address("203.0.113.1"),
        IPv6Address("2001:db8::1"),
        wire.MacAddress(bytes(6)),
        wire.DistinguishedName("a"),
        wire.AfiList((ONE,)),
        wire.AsNumber(2, ONE),
        wire.AsNumber(10, ONE),
        wire.ExplicitLocatorPath(()),
        wire.OpaqueLcaf(200, b""),
    ]
    mapping = Mapping(EID).with_locators(tuple(map(Locator, reversed(ordered))))
    assert [loc.rloc for loc in mapping.locators] == ordered


def test_info_request_and_reply():
    nat = wire.NatTraversal(4342, 61001, ONE, ONE, IPv4Address("10.0.0.1"))
    request = wire.InfoRequest(7, 1, 1, bytes(20), 1440, EID)
    reply = wire.InfoReply(7, nat, 1, 1, bytes(20), 1440, EID)
    assert request.serialize()[:1] == b"\x70"
    assert reply.serialize()[:1] == b"\x78"
    assert decode(request.serialize()) == request
    assert decode(reply.serialize()) == reply
    with pytest.raises(BadValue, match="NAT-Traversal"):
        decode(b"\x78" + request.serialize()[1:])
    with pytest.raises(BadValue, match="not 0"):
        decode(b"\x70" + reply.serialize()[1:])


def test_referral_signatures():
    signature = wire.ReferralSignature(1440, 2, 1, 9, 2, b"sig")
    record = wire.ReferralRecord(
        EID, wire.ReferralAct.MS_ACK, (LOCATOR,), incomplete=True, signatures=(signature,) * 2
    )
    message = wire.MapReferral(7, (record,))
    data = message.serialize()
    assert data[18:20] == bytes.fromhex("4800")
    assert data[20:22] == bytes.fromhex("2000")
    assert decode(data) == message
    with pytest.raises(BadLength, match=r"signature\.length"):
        decode(data[:-1])


def test_unsupported_is_a_decode_error():
    assert issubclass(Unsupported, DecodeError)


def test_info_messages_parse_themselves():
    nat = wire.NatTraversal(4342, 61001, ETR_PRIVATE, ONE, ONE)
    reply, request = wire.InfoReply(7, nat), wire.InfoRequest(7)
    assert wire.InfoReply.parse(wire.Reader(reply.serialize())) == reply
    with pytest.raises(BadValue, match="expected an Info-Reply"):
        wire.InfoReply.parse(wire.Reader(request.serialize()))


def test_a_referral_names_the_record_and_locator_that_is_wrong():
    record = wire.ReferralRecord(EID, 0, (LOCATOR, LOCATOR))
    data = wire.MapReferral(7, (record,)).serialize()
    with pytest.raises(Truncated) as caught:
        decode(data[:-1])
    assert caught.value.field == "map_referral.records[0].referrals[1].address"


def test_a_value_that_only_its_class_refuses_is_a_decode_error():
    """An EID HMAC of 65281 octets fits its length field, but no HMAC is that long."""
    hmac_octets = 0xFF01
    ad = b"\1\0\0\0" + (hmac_octets + 8).to_bytes(2, "big") + b"\0\2" + b"\0\0\0\2"
    data = b"\x22\0\0\0" + bytes(8) + ad + bytes(hmac_octets) + b"\0\4\0\2"
    with pytest.raises(BadValue, match=r"map_reply\.hmac"):
        decode(data)


def test_a_map_reply_with_broken_security_data():
    with pytest.raises(Unsupported, match=r"map_reply\.security\.ad_type"):
        decode(b"\x22\0\0\0" + bytes(8) + b"\2\0\0\0")
    with pytest.raises(BadLength, match=r"pkt_ad\.length"):
        decode(b"\x22\0\0\0" + bytes(8) + b"\1\0\0\0\0\4\0\2\0\3")


def test_unusual_eids_stay_what_they_are():
    mac = wire.MacAddress(b"\2\0\0\0\0\1")
    for address in (
        InstanceId(5, InstanceId(6, ONE)),
        InstanceId(5, mac),
        SourceDestKey(mac, 48, ONE, 32),
        SourceDestKey(ONE, 32, mac, 48),
    ):
        record = RequestRecord(OtherEid(address, 32))
        message = MapRequest(1, address, (ONE,), (record,))
        assert decode(message.serialize()) == message


def test_a_mac_mask_above_48_is_refused():
    data = MapReply(1, (EidRecord(OtherEid(wire.MacAddress(bytes(6)), 48)),)).serialize()
    with pytest.raises(BadValue, match="mask_len"):
        decode(data.replace(b"\0\0\5\xa0\0\x30", b"\0\0\5\xa0\0\x31"))
