"""Encapsulated Control Messages: RFC 9301 section 5.8, LISP-SEC data of RFC 9303."""

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.errors import BadLength, BadValue, DecodeError, FieldError, Truncated, Unsupported
from lisp_sdn.wire import (
    Ecm,
    EcmSecurity,
    EidAuthentication,
    EidRecord,
    MapReply,
    MapReplySecurity,
    ProtectedEids,
    decode,
)

VECTORS = {
    v["id"]: bytes.fromhex(v["hex"])
    for v in json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())["vectors"]
}
V09 = VECTORS["V09"]
FOUR = (Endpoint(IPv4Address("192.0.2.1"), 61001), Endpoint(IPv4Address("198.51.100.140"), 4342))
SIX = (Endpoint(IPv6Address("2001:db8::1"), 61001), Endpoint(IPv6Address("2001:db8:b::9"), 4342))
EID = EidPrefix.from_text("[7] 198.51.100.128/25")


def words_sum(octets):
    """The checksum arithmetic of RFC 1071, written out once more."""
    padded = octets + b"\0" * (len(octets) & 1)
    total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def patch(data, offset, octets):
    return data[:offset] + octets + data[offset + len(octets) :]


@pytest.mark.parametrize("payload", [b"", b"\x10", VECTORS["V01"], VECTORS["V02"] + b"\1"])
@pytest.mark.parametrize("ends", [FOUR, SIX], ids=["ipv4", "ipv6"])
def test_headers_and_checksums(ends, payload):
    message = Ecm(*ends, payload, hop_limit=9)
    data = message.serialize()
    assert decode(data) == message
    inner = data[4:]
    length = (8 + len(payload)).to_bytes(2, "big")
    if ends is FOUR:
        assert words_sum(inner[:20]) == 0xFFFF
        assert inner[2:4] == (28 + len(payload)).to_bytes(2, "big")
        addresses, udp, hops = inner[12:20], inner[20:], inner[8]
    else:
        assert inner[4:6] == length
        addresses, udp, hops = inner[8:40], inner[40:], inner[7]
    assert hops == 9
    assert udp[:2] == (61001).to_bytes(2, "big")
    assert udp[4:6] == length
    assert udp[6:8] != b"\0\0"
    assert words_sum(addresses + b"\0\x11" + length + udp) == 0xFFFF


def test_a_checksum_that_comes_out_as_zero_is_sent_as_all_ones():
    base = Ecm(*FOUR, b"\0\0")
    checksum = int.from_bytes(base.serialize()[30:32], "big")
    message = Ecm(*FOUR, checksum.to_bytes(2, "big"))
    assert message.serialize()[30:32] == b"\xff\xff"
    assert decode(message.serialize()) == message


def test_d_bit_and_ignored_reserved_bits():
    data = patch(V09, 0, b"\x87\xff\xff\xff")
    message = decode(data)
    assert message.ddt
    assert message.payload == VECTORS["V01"]
    assert message.serialize()[:4] == b"\x84\0\0\0"
    assert decode(patch(V09, 0, b"\x83")) == decode(V09)


def test_wrong_checksum_is_refused_and_zero_accepted():
    with pytest.raises(BadValue, match="checksum"):
        decode(patch(V09, 30, b"\x12\x34"))
    assert decode(patch(V09, 30, b"\0\0")) == decode(V09)


@pytest.mark.parametrize("offset", [24, 26])
def test_the_data_port_is_refused(offset):
    with pytest.raises(BadValue, match="4341"):
        decode(patch(patch(V09, 30, b"\0\0"), offset, (4341).to_bytes(2, "big")))
    ends = [Endpoint(e.address, 4341 if i == (offset - 24) // 2 else e.port)
            for i, e in enumerate(FOUR)]  # fmt: skip
    with pytest.raises(FieldError, match="port"):
        Ecm(*ends, b"")


def test_ip_options_are_skipped():
    options = b"\x01\x01\x01\x00"
    data = patch(V09, 4, b"\x46")
    data = patch(data, 6, (64).to_bytes(2, "big"))
    data = data[:24] + options + data[24:]
    assert decode(data) == decode(V09)


def intact(version):
    if version == 4:
        return V09
    return Ecm(*SIX, VECTORS["V01"]).serialize()


@pytest.mark.parametrize(
    ("data", "error", "field"),
    [
        (b"\x80\0\0", Truncated, "ecm.header"),
        (b"\x80\0\0\0", Truncated, "ecm.inner"),
        (V09[:20], Truncated, "ecm.inner.ipv4"),
        (V09[:-1], BadLength, "ecm.inner.ipv4.total_length"),
        (V09 + b"\0", BadLength, "ecm.inner.ipv4.total_length"),
        (patch(V09, 4, b"\x44"), BadLength, "ecm.inner.ipv4.ihl"),
        (patch(V09, 4, b"\x55"), Unsupported, "ecm.inner.version"),
        (patch(V09, 10, b"\x20"), Unsupported, "ecm.inner.ipv4.fragment"),
        (patch(V09, 11, b"\x01"), Unsupported, "ecm.inner.ipv4.fragment"),
        (patch(V09, 13, b"\x06"), Unsupported, "ecm.inner.ipv4.protocol"),
        (patch(V09, 29, b"\x29"), BadLength, "ecm.inner.udp.length"),
        (patch(V09, 4, b"\x4f"), Truncated, "ecm.inner.udp"),
        (intact(6)[:30], Truncated, "ecm.inner.ipv6"),
        (intact(6)[:-1], BadLength, "ecm.inner.ipv6.payload_length"),
        (patch(intact(6), 10, b"\x3b"), Unsupported, "ecm.inner.ipv6.next_header"),
    ],
    ids=map(str, range(15)),
)
def test_what_is_wrong_is_named(data, error, field):
    with pytest.raises(error) as caught:
        decode(data)
    assert caught.value.field == field


def test_dont_fragment_is_no_fragment():
    assert decode(patch(V09, 10, b"\x40")) == decode(V09)


def test_mixed_families_are_refused():
    with pytest.raises(FieldError, match="family"):
        Ecm(FOUR[0], SIX[1], b"")
    with pytest.raises(FieldError, match="payload"):
        Ecm(*FOUR, bytes(65508))
    with pytest.raises(FieldError, match="hop_limit"):
        Ecm(*FOUR, b"", hop_limit=256)


OTK = bytes(range(16))


def test_ecm_security_as_an_itr_sends_it():
    """RFC 9303 section 6.1, octet by octet: EID-AD Length 4, only the KDF ID filled."""
    ad = EcmSecurity(2, 5, 2, b"\xa6" * 8, OTK, EidAuthentication(2))
    expected = "0100000200180502" + "a6" * 8 + OTK.hex() + "00040002"
    assert ad.serialize().hex() == expected
    message = Ecm(*FOUR, VECTORS["V01"], ad)
    data = message.serialize()
    assert data[0] == 0x88
    assert data[4:40] == ad.serialize()
    assert decode(data) == message


def test_ecm_security_as_a_map_server_sends_it():
    eids = EidAuthentication(2, ProtectedEids((EID,), 2, b"\xbb" * 16, etr_cant_sign=True))
    ad = EcmSecurity(2, 5, 1, bytes(8), OTK, eids)
    record = "0019" + "400300000200000a00000007" + "0001c6336480"
    body = "000201800002" + record + "bb" * 16
    length = f"{len(body) // 2 + 2:04x}"
    assert eids.serialize().hex() == length + body
    message = Ecm(*SIX, VECTORS["V01"], ad)
    assert decode(message.serialize()) == message


def test_map_reply_security():
    eids = EidAuthentication(2, ProtectedEids((EID,), 2, b"\xbb" * 16))
    message = MapReply(1, (EidRecord(EID),), security=MapReplySecurity(eids, 2, b"\xcc" * 16))
    data = message.serialize()
    assert data[0] == 0x22
    tail = bytes.fromhex("01000000") + eids.serialize() + bytes.fromhex("00140002") + b"\xcc" * 16
    assert data.endswith(tail)
    assert decode(data) == message


@pytest.mark.parametrize(
    ("offset", "octets", "error"),
    [
        (4, b"\x02", Unsupported),
        (8, b"\0\x07", BadLength),
        (8, b"\xff\xff", BadLength),
        (36, b"\0\x03", BadLength),
        (36, b"\xff\xff", BadLength),
    ],
    ids=map(str, range(5)),
)
def test_broken_security_data(offset, octets, error):
    data = Ecm(*FOUR, b"", EcmSecurity(2, 5, 2, bytes(8), OTK, EidAuthentication(2))).serialize()
    with pytest.raises(error, match=r"ecm\.security"):
        decode(patch(data, offset, octets))
    for size in range(4, 40):
        with pytest.raises(DecodeError):
            decode(data[:size])


def test_one_time_keys_stay_out_of_repr():
    ad = EcmSecurity(2, 5, 2, b"\xa6" * 8, OTK, EidAuthentication(2))
    assert repr(OTK)[2:-1] not in repr(ad)
    assert "one_time_key" not in repr(Ecm(*FOUR, b"", ad))
