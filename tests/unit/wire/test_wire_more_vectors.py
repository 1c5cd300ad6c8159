"""The vectors of tests/vectors/more.json, put together by hand, have the fields stated here."""

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from lisp_sdn import wire
from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.model import Locator
from lisp_sdn.wire import EidRecord, OtherEid, decode

FILE = Path(__file__).parents[2] / "vectors" / "more.json"
VECTORS = {v["id"]: v for v in json.loads(FILE.read_text())["vectors"]}
ETR = IPv4Address("203.0.113.1")
LOCATOR = Locator(ETR, 1, 50, 255, 0, local=True)
EID = EidPrefix.from_text("198.51.100.128/25")

EXPECTED = {
    "W01": wire.MapRegister(
        0xFF,
        (
            EidRecord(EidPrefix.from_text("[1001] 2001:db8:a::/64"), (LOCATOR,), 60, map_version=7),
            EidRecord(EidPrefix.from_text("192.0.2.0/24"), (), 0, authoritative=True),
        ),
        key_id=1,
        proxy_reply=True,
        security_capable=True,
        use_ttl=True,
        merge=True,
        want_notify=True,
        eid_notify=True,
        xtr_id=0x101112131415161718191A1B1C1D1E1F,
        site_id=0x42,
    ),
    "W02": wire.Ecm(
        Endpoint(IPv6Address("2001:db8::1"), 61001),
        Endpoint(IPv6Address("2001:db8:b::9"), 4342),
        b"\xf0",
        wire.EcmSecurity(2, 5, 1, bytes(8), bytes(range(16)), wire.EidAuthentication(2)),
    ),
    "W03": wire.MapReply(
        7,
        (EidRecord(EID, (), 1, 1),),
        security=wire.MapReplySecurity(
            wire.EidAuthentication(
                2,
                wire.ProtectedEids(
                    (EID,), 2, bytes(range(0xB0, 0xC0)) + b"\xca\xfe", etr_cant_sign=True
                ),
            ),
            2,
            bytes(range(0xC0, 0xD0)),
        ),
    ),
    "W04": wire.InfoReply(
        7,
        wire.NatTraversal(
            4342,
            61001,
            IPv4Address("203.0.113.7"),
            IPv4Address("192.0.2.53"),
            IPv4Address("10.0.0.7"),
            (IPv4Address("192.0.2.8"),),
        ),
        1,
        1,
        bytes.fromhex("deadbeef"),
        1440,
        EID,
    ),
    "W05": wire.MapReply(
        7,
        (
            EidRecord(
                SourceDestPrefix.from_text("srcdst:[5] 192.0.2.0/24|[5] 198.51.100.128/25"),
                (LOCATOR,),
            ),
        ),
    ),
    "W06": wire.MapRegister(
        7,
        (
            EidRecord(
                OtherEid(
                    wire.MulticastInfo(
                        9, IPv4Address("192.0.2.9"), 32, IPv4Address("232.1.1.1"), 32
                    ),
                    0,
                ),
                (Locator(wire.ReplicationList((wire.ReplicationEntry(ETR, 128),)), 1, 1),),
                3,
            ),
        ),
        proxy_reply=True,
        merge=True,
    ),
    "W07": wire.MapReferral(
        7,
        (
            wire.ReferralRecord(
                EID,
                wire.ReferralAct.MS_ACK,
                (Locator(IPv4Address("192.0.2.11"), 0, 0, 0, 0),),
                authoritative=True,
                incomplete=True,
                map_version=3,
                signatures=(wire.ReferralSignature(1440, 2, 1, 9, 2, b"\1\2\3\4"),),
            ),
        ),
    ),
    "W08": wire.MapNotify(
        7,
        (
            EidRecord(
                OtherEid(wire.MacAddress(bytes.fromhex("020000000001")), 48),
                (
                    Locator(
                        wire.ExplicitLocatorPath(
                            (
                                wire.ElpHop(IPv4Address("192.0.2.7"), probe=True, strict=True),
                                wire.ElpHop(IPv4Address("198.51.100.8"), lookup=True),
                            )
                        )
                    ),
                ),
            ),
            EidRecord(OtherEid(wire.DistinguishedName("cpe-router"), 0), (), 15, 4),
        ),
        1,
        2,
    ),
}


def test_every_vector_has_its_fields_stated():
    assert set(EXPECTED) == set(VECTORS)


@pytest.mark.parametrize("name", VECTORS)
def test_decodes_and_encodes(name):
    vector = VECTORS[name]
    data = bytes.fromhex(vector["hex"])
    assert data == b"".join(bytes.fromhex(octets) for _, octets in vector["parts"])
    assert decode(data) == EXPECTED[name]
    assert EXPECTED[name].serialize() == data
