"""Wireshark's dissector reads every message that we build, without complaint and as we meant it.

Its LISP dissector is older than RFC 9301: Map-Notify-Ack is unknown to it, Key ID and Algorithm ID
are one number, and the newest flags lie in what it calls reserved.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lisp_sdn import wire
from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.model import Locator
from lisp_sdn.wire import auth
from lisp_sdn.wire.header import DataHeader, NextProtocol

ITR = IPv4Address("192.0.2.1")
ETR = IPv4Address("203.0.113.1")
ETR6 = IPv6Address("2001:db8:ffff::1")
EID = EidPrefix.from_text("198.51.100.128/25")
EID6 = EidPrefix.from_text("[1001] 2001:db8:a::/48")
HOST = EidPrefix.host(0, IPv4Address("198.51.100.10"))
ASK = (wire.RequestRecord(EID),)
LOCATORS = (Locator(ETR, 1, 50, 255, 0, local=True), Locator(ETR6, 2, 60, 3, 4, probed=True))
RECORD = wire.EidRecord(EID, LOCATORS, 1440, 0, authoritative=True, map_version=5)
CLAIM = wire.EidRecord(EID, LOCATORS[:1], 60)
KEY = b"tshark"


def reply(*rlocs):
    locators = tuple(Locator(rloc, 1, 1) for rloc in rlocs)
    return wire.MapReply(7, (wire.EidRecord(EID, locators),))


def about(eid):
    return wire.MapReply(7, (wire.EidRecord(eid, LOCATORS[:1]),))


def request(**fields):
    return wire.MapRequest(0x1122334455667788, HOST, (ITR, ETR6), ASK, **fields)


def signed(message, algorithm=2, full=False):
    return auth.signed(message, 1, KEY, algorithm, full_length=full)


def ecm(first, second, **fields):
    ends = Endpoint(first, 61001), Endpoint(second, 4342)
    return wire.Ecm(*ends, request().serialize(), **fields)


REGISTER_FLAGS = {
    "proxy_reply": "lisp.mreg.flags.pmr",
    "security_capable": "lisp.mreg.flags.sec",
    "want_notify": "lisp.mreg.flags.wmn",
}
REQUEST_FLAGS = {
    "authoritative": "auth",
    "probe": "probe",
    "smr": "smr",
    "pitr": "pitr",
    "smr_invoked": "smri",
}
PROTECTED = wire.EidAuthentication(2, wire.ProtectedEids((EID,), 2, bytes(16)))
ECM_AD = wire.EcmSecurity(2, 1, 2, bytes(8), bytes(16), wire.EidAuthentication(2))
NAT = wire.NatTraversal(4342, 61001, ETR, ITR, IPv4Address("10.0.0.7"), (ETR6,))
OTHER_MAC = wire.MacAddress(bytes.fromhex("020000000001"))

# name: (message, the fields that tshark must show)
CASES = {
    "request": (
        request(),
        {
            "lisp.type": ["1"],
            "lisp.irc": ["1"],
            "lisp.records": ["1"],
            "lisp.nonce": ["0x1122334455667788"],
            "lisp.mreq.srceid.ipv4": ["198.51.100.10"],
            "lisp.mreq.itr_rloc_ipv4": ["192.0.2.1"],
            "lisp.mreq.itr_rloc_ipv6": ["2001:db8:ffff::1"],
            "lisp.mreq.record.prefix.length": ["25"],
            "lisp.mreq.record.prefix.ipv4": ["198.51.100.128"],
        },
    ),
    **{
        f"request-{name}": (request(**{name: True}), {f"lisp.mreq.flags.{field}": ["1"]})
        for name, field in REQUEST_FLAGS.items()
    },
    "request-record": (
        request(reply_record=CLAIM),
        {"lisp.mreq.flags.mrp": ["1"], "lisp.mapping.ttl": ["60"]},
    ),
    "request-subscribe": (
        wire.MapRequest(
            1, None, (ITR,), (wire.RequestRecord(EID, subscribe=True),), xtr_id=1, site_id=2
        ),
        {"lisp.mreq.res": ["0x000080"], "lisp.mreq.record.res": ["0x80"]},
    ),
    "request-iid": (
        wire.MapRequest(1, EidPrefix.host(7, ETR6), (ITR,), (wire.RequestRecord(EID6),)),
        {"lisp.lcaf.iid": ["7", "1001"], "lisp.mreq.record.prefix.length": ["48"]},
    ),
    "reply": (
        wire.MapReply(7, (RECORD,), probe=True, echo_nonce_capable=True),
        {
            "lisp.type": ["2"],
            "lisp.mrep.flags.probe": ["1"],
            "lisp.mrep.flags.enlr": ["1"],
            "lisp.mapping.ttl": ["1440"],
            "lisp.mapping.loccnt": ["2"],
            "lisp.mapping.eid.masklen": ["25"],
            "lisp.mapping.eid.ipv4": ["198.51.100.128"],
            "lisp.mapping.auth": ["1"],
            "lisp.mapping.ver": ["5"],
            "lisp.loc.priority": ["1", "2"],
            "lisp.loc.weight": ["50", "60"],
            "lisp.loc.multicast_priority": ["255", "3"],
            "lisp.loc.multicast_weight": ["0", "4"],
            "lisp.loc.flags.local": ["1", "0"],
            "lisp.loc.flags.probe": ["0", "1"],
            "lisp.loc.flags.reach": ["1", "1"],
            "lisp.loc.locator": ["203.0.113.1", "2001:db8:ffff::1"],
        },
    ),
    **{
        f"reply-act-{act}": (
            wire.MapReply(7, (wire.EidRecord(EID, (), 15, act),)),
            {"lisp.mapping.act": [str(act)], "lisp.mapping.loccnt": ["0"]},
        )
        for act in range(6)
    },
    "reply-security": (
        wire.MapReply(7, (RECORD,), security=wire.MapReplySecurity(PROTECTED, 2, bytes(16))),
        {"lisp.mrep.flags.sec": ["1"]},
    ),
    "eid-mac": (
        about(wire.OtherEid(OTHER_MAC, 48)),
        {"lisp.mapping.eid.mac": ["02:00:00:00:00:01"]},
    ),
    "eid-name": (
        about(wire.OtherEid(wire.DistinguishedName("router-1"), 0)),
        {"lisp.mapping.eid.dn": ["router-1"]},
    ),
    "eid-pair": (
        about(SourceDestPrefix.from_text("srcdst:192.0.2.0/24|198.51.100.0/25")),
        {"lisp.lcaf.srcdst.src.masklen": ["24"], "lisp.lcaf.srcdst.dst.masklen": ["25"]},
    ),
    "eid-pair-iid": (
        about(SourceDestPrefix.from_text("srcdst:[5] 192.0.2.0/24|[5] 198.51.100.0/25")),
        {"lisp.lcaf.type": ["2", "12"], "lisp.lcaf.srcdst.dst.masklen": ["25"]},
    ),
    "lcaf-list": (
        reply(wire.AfiList((ETR, ETR6, OTHER_MAC))),
        {
            "lisp.lcaf.afi_list.ipv4": ["203.0.113.1"],
            "lisp.lcaf.afi_list.ipv6": ["2001:db8:ffff::1"],
            "lisp.lcaf.afi_list.mac": ["02:00:00:00:00:01"],
        },
    ),
    "lcaf-iid": (
        reply(wire.InstanceId(9, ETR)),
        {"lisp.lcaf.iid": ["9"], "lisp.lcaf.iid.ipv4": ["203.0.113.1"]},
    ),
    "lcaf-as": (
        reply(wire.AsNumber(65001, ETR)),
        {"lisp.lcaf.asn": ["65001"], "lisp.lcaf.asn.ipv4": ["203.0.113.1"]},
    ),
    "lcaf-geo": (
        reply(wire.GeoCoordinates((46, 31, 12), True, (6, 34, 5), False, 372, ETR)),
        {
            "lisp.lcaf.geo.lat.deg": ["46"],
            "lisp.lcaf.geo.lat.min": ["31"],
            "lisp.lcaf.geo.lat.sec": ["12"],
            "lisp.lcaf.geo.lon.deg": ["6"],
            "lisp.lcaf.geo.lon.hemisphere": ["0"],
            "lisp.lcaf.geo.ipv4": ["203.0.113.1"],
        },
    ),
    "lcaf-nat": (reply(NAT), {"lisp.lcaf.type": ["7"]}),
    "lcaf-nonce": (
        reply(wire.NonceLocator(0xABCDEF, ETR)),
        {"lisp.lcaf.nonce_loc.ipv4": ["203.0.113.1"]},
    ),
    "lcaf-multicast": (
        reply(wire.MulticastInfo(9, ITR, 32, IPv4Address("232.1.1.1"), 32)),
        {
            "lisp.lcaf.mcinfo_iid": ["9"],
            "lisp.lcaf.mcinfo.src.ipv4": ["192.0.2.1"],
            "lisp.lcaf.mcinfo.grp.ipv4": ["232.1.1.1"],
        },
    ),
    "lcaf-elp": (
        reply(wire.ExplicitLocatorPath((wire.ElpHop(ITR, probe=True), wire.ElpHop(ETR)))),
        {
            "lisp.lcaf.elp_hop.ipv4": ["192.0.2.1", "203.0.113.1"],
            "lisp.lcaf.elp_hop.flags.probe": ["1", "0"],
        },
    ),
    "lcaf-key": (reply(wire.SecurityKey(ETR, (b"0123456789abcdef",), 2)), {}),
    "lcaf-rle": (
        reply(
            wire.ReplicationList((wire.ReplicationEntry(ITR, 0), wire.ReplicationEntry(ETR, 128)))
        ),
        {
            "lisp.lcaf.rle_entry.level": ["0", "128"],
            "lisp.lcaf.rle_entry.ipv4": ["192.0.2.1", "203.0.113.1"],
        },
    ),
    "lcaf-kv": (
        reply(wire.KeyValue(ETR, OTHER_MAC)),
        {
            "lisp.lcaf.kv_key.ipv4": ["203.0.113.1"],
            "lisp.lcaf.kv_value.mac": ["02:00:00:00:00:01"],
        },
    ),
    "lcaf-others": (
        reply(
            wire.NullBody(),
            wire.ApplicationData(ETR, 184, 6, (1, 2), (443, 443)),
            wire.OpaqueKey(b"12345678", 4),
            wire.JsonData(b'{"a":1}', ETR),
            wire.EncapsulationFormat(frozenset({"lisp", "vxlan-gpe"}), ETR),
            wire.VendorSpecific(0x5E, b"abcd"),
            wire.OpaqueLcaf(200, b"abcd"),
        ),
        {"lisp.lcaf.type": ["0", "4", "6", "14", "16", "255", "200"]},
    ),
    "register": (
        signed(
            wire.MapRegister(
                0xA1,
                (CLAIM,),
                proxy_reply=True,
                security_capable=True,
                want_notify=True,
                xtr_id=1,
                site_id=2,
            )
        ),
        {
            "lisp.type": ["3"],
            "lisp.nonce": ["0x00000000000000a1"],
            **{field: ["1"] for field in REGISTER_FLAGS.values()},
            "lisp.mreg.flags.xtrid": ["1"],
            "lisp.keyid": ["0x0102"],
            "lisp.authlen": ["16"],
            "lisp.xtrid": [":".join(["00"] * 15 + ["01"])],
            "lisp.siteid": ["00:00:00:00:00:00:00:02"],
        },
    ),
    "register-merge-ttl-eid": (
        signed(wire.MapRegister(1, (CLAIM,), merge=True, use_ttl=True, eid_notify=True)),
        {"lisp.mreg.flags.wmn": ["0"], "lisp.mreg.res": ["0x00000e"]},
    ),
    "register-sha1-full": (
        signed(wire.MapRegister(1, (CLAIM,)), 1, full=True),
        {"lisp.keyid": ["0x0101"], "lisp.authlen": ["20"]},
    ),
    "register-hkdf": (
        signed(wire.MapRegister(1, (CLAIM,)), 3),
        {"lisp.keyid": ["0x0103"], "lisp.authlen": ["16"]},
    ),
    "notify": (
        signed(wire.MapNotify(0xA1, (CLAIM, wire.EidRecord(EID6, LOCATORS)))),
        {"lisp.type": ["4"], "lisp.records": ["2"], "lisp.lcaf.iid": ["1001"]},
    ),
    "notify-ack": (signed(wire.MapNotifyAck(0xA1, (CLAIM,))), {"lisp.type": ["5"]}),
    "referral": (
        wire.MapReferral(
            7,
            (wire.ReferralRecord(EID6, 4, (), 15), wire.ReferralRecord(EID, 0, LOCATORS[:1])),
        ),
        {
            "lisp.type": ["6"],
            "lisp.mapping.ttl": ["15", "1440"],
            "lisp.mapping.act": ["4", "0"],
            "lisp.referral.sigcnt": ["0", "0"],
        },
    ),
    "referral-signed": (
        wire.MapReferral(
            7,
            (
                wire.ReferralRecord(
                    EID,
                    2,
                    (),
                    incomplete=True,
                    authoritative=True,
                    signatures=(wire.ReferralSignature(1440, 2000, 1000, 9, 2, bytes(32)),),
                ),
            ),
        ),
        {"lisp.referral.incomplete": ["1"], "lisp.referral.sigcnt": ["1"]},
    ),
    "info-request": (
        wire.InfoRequest(7, 1, 1, bytes(20), 1440, EID),
        {"lisp.type": ["7"], "lisp.info.r": ["0"], "lisp.info.ttl": ["1440"]},
    ),
    "info-reply": (
        wire.InfoReply(7, NAT, 1, 1, bytes(20), 1440, EID),
        {"lisp.info.r": ["1"], "lisp.lcaf.type": ["7"]},
    ),
    "ecm": (
        ecm(ITR, ETR, ddt=True),
        {
            "lisp.type": ["8", "1"],
            "lisp.ecm.flags.sec": ["0"],
            "lisp.ecm.flags.ddt": ["1"],
            "ip.src": ["192.0.2.1", "192.0.2.1"],
            "ip.dst": ["203.0.113.1", "203.0.113.1"],
            "udp.srcport": ["4342", "61001"],
            "udp.checksum.status": ["1", "1"],
            "ip.checksum.status": ["1", "1"],
            "lisp.nonce": ["0x1122334455667788"],
        },
    ),
    "ecm6": (
        ecm(ETR6, IPv6Address("2001:db8:b::9")),
        {
            "lisp.type": ["8", "1"],
            "ipv6.dst": ["2001:db8:b::9"],
            "udp.checksum.status": ["1", "1"],
        },
    ),
    "ecm-security": (ecm(ITR, ETR, security=ECM_AD), {"lisp.ecm.flags.sec": ["1"]}),
    "shared-extension": (wire.SharedExtension(1024, bytes(8)), {"lisp.type": ["15"]}),
}
MORE = json.loads((Path(__file__).parents[1] / "vectors" / "more.json").read_text())["vectors"]
CASES |= {v["id"]: (wire.decode(bytes.fromhex(v["hex"])), {}) for v in MORE}
HEADERS = {
    "data-nonce": (
        DataHeader(nonce=0xABCDEF, iid=1001, echo_request=True),
        {
            "lisp-data.flags.nonce": ["1"],
            "lisp-data.flags.enr": ["1"],
            "lisp-data.nonce": [str(0xABCDEF)],
            "lisp-data.iid": ["1001"],
        },
    ),
    "data-status-bits": (
        DataHeader(status_bits=3),
        {"lisp-data.flags.lsb": ["1"], "lisp-data.lsb": ["0x00000003"]},
    ),
    "data-versions": (
        DataHeader(versions=(0x123, 0x456)),
        {"lisp-data.srcmapver": [str(0x123)], "lisp-data.dstmapver": [str(0x456)]},
    ),
    "data-gpe": (
        DataHeader(next_protocol=NextProtocol.IPV4, iid=1001),
        {"lisp-data.iid": ["1001"], "lisp-data.flags.res": ["0x04"]},
    ),
}


def packet(payload: bytes, port: int) -> bytes:
    """An IPv4 packet with a UDP payload; the checksums are those of the ECM encoder."""
    ends = Endpoint(ITR, 4342 if port == 4342 else 40000), Endpoint(ETR, 4342)
    data = bytearray(wire.Ecm(*ends, payload).serialize()[4:])
    if port != 4342:
        data[22:24] = port.to_bytes(2, "big")
        data[26:28] = b"\0\0"
    return bytes(data)


def capture(packets: list[bytes]) -> bytes:
    """A pcap file of raw IP packets."""
    parts = [struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]
    for data in packets:
        parts.append(struct.pack("!IIII", 0, 0, len(data), len(data)) + data)
    return b"".join(parts)


@pytest.fixture(scope="module")
def dissected(tmp_path_factory, cannot_run):
    """Per case, the fields that tshark shows, by name; one run of tshark for all."""
    tshark = shutil.which("tshark")
    if tshark is None:
        cannot_run("tshark is not installed")
    packets = [packet(message.serialize(), 4342) for message, _ in CASES.values()]
    inner = packet(b"inner", 9999)
    packets += [packet(header.serialize() + inner, 4341) for header, _ in HEADERS.values()]
    path = tmp_path_factory.mktemp("tshark") / "all.pcap"
    path.write_bytes(capture(packets))
    checksums = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    command = [tshark, "-r", str(path), "-T", "pdml", *checksums]
    command += ["-d", "udp.port==4341,lisp-data"]
    run = subprocess.run(command, capture_output=True, timeout=120, check=True)
    shown = []
    for frame in ElementTree.fromstring(run.stdout).iter("packet"):
        fields = defaultdict(list)
        for field in frame.iter():
            if field.get("name"):
                fields[field.get("name")].append(field.get("show"))
        shown.append(fields)
    names = [*CASES, *HEADERS]
    assert len(shown) == len(names)
    return dict(zip(names, shown, strict=True))


@pytest.mark.parametrize("name", [*CASES, *HEADERS])
def test_tshark_reads_it_as_we_meant_it(dissected, name):
    _, expected = (CASES | HEADERS)[name]
    fields = dissected[name]
    assert not [f for f in fields if "malformed" in f.lower()]
    assert "lisp" in fields or "lisp-data" in fields
    assert {key: fields[key] for key in expected} == expected


def test_map_notify_ack_has_the_layout_of_a_map_notify():
    """tshark stops at type 5; with the type nibble of a notify it is one."""
    ack = signed(wire.MapNotifyAck(0xA1, (CLAIM,))).serialize()
    notify = wire.decode(b"\x40" + ack[1:])
    assert isinstance(notify, wire.MapNotify)
    assert notify.records == (CLAIM,)


def test_every_message_type_is_here():
    built = {type(message) for message, _ in CASES.values()}
    assert built == {
        wire.MapRequest,
        wire.MapReply,
        wire.MapRegister,
        wire.MapNotify,
        wire.MapNotifyAck,
        wire.MapReferral,
        wire.InfoRequest,
        wire.InfoReply,
        wire.Ecm,
        wire.SharedExtension,
    }
