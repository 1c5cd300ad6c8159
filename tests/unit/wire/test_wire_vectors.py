"""The vectors of tests/vectors/rfc.json: computed from the RFCs, independently of this codec."""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.wire import (
    NO_ADDRESS,
    Ecm,
    InstanceId,
    MapReferral,
    MapRegister,
    MapReply,
    MapRequest,
    auth,
    decode,
)
from lisp_sdn.wire.afi import parse_address
from lisp_sdn.wire.cursor import Reader

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())
CONTROL = [v for v in VECTORS["vectors"] if v["id"] not in ("V10", "V11", "B08", "B09")]
SIGNED = [v for v in CONTROL if "auth" in v]
PSK = bytes.fromhex(VECTORS["psk"]["hex"])


def ids(vectors):
    return [v["id"] for v in vectors]


def flag_fields(message):
    """The fields of a message under the names that the vectors use."""
    out = {"nonce": getattr(message, "nonce", None)}
    if isinstance(message, MapRequest):
        out |= {
            "type": 1,
            "A": message.authoritative,
            "M": message.reply_record is not None,
            "P": message.probe,
            "S": message.smr,
            "p": message.pitr,
            "s": message.smr_invoked,
            "I": message.xtr_id is not None,
            "L": message.local_xtr,
            "D": message.dont_reply,
            "IRC": len(message.itr_rlocs) - 1,
            "itr_rlocs": [str(r) for r in message.itr_rlocs],
        }
        source = message.source_eid
        out["source_eid"] = None if source is None else str(source.network.network_address)
    elif isinstance(message, MapReply):
        out |= {
            "type": 2,
            "P": message.probe,
            "E": message.echo_nonce_capable,
            "S": message.security is not None,
        }
    elif isinstance(message, MapRegister):
        out |= {
            "type": 3,
            "P": message.proxy_reply,
            "S": message.security_capable,
            "I": message.xtr_id is not None,
            "E": message.eid_notify,
            "T": message.use_ttl,
            "a": message.merge,
            "M": message.want_notify,
        }
    elif isinstance(message, MapReferral):
        out |= {"type": 6}
    else:
        out |= {"type": int(message.message_type)}
    if hasattr(message, "auth_data"):
        out |= {
            "key_id": message.key_id,
            "algorithm_id": message.algorithm,
            "auth_len": len(message.auth_data),
            "auth_data": message.auth_data.hex(),
        }
    if getattr(message, "xtr_id", None) is not None:
        out |= {"xtr_id": f"{message.xtr_id:032x}", "site_id": f"{message.site_id:016x}"}
    return out


def record_fields(record):
    """The fields of an EID-record, request record or referral record, as the vectors name them."""
    network = record.eid.network
    out = {"masklen": network.prefixlen, "eid": str(network.network_address)}
    out |= {"afi": {4: 1, 6: 2}[network.version]}
    if hasattr(record, "subscribe"):
        return out | {"N": record.subscribe}
    locators = getattr(record, "locators", None) or getattr(record, "referrals", ())
    out |= {
        "ttl_min": record.ttl_minutes,
        "loc_count": len(locators),
        "referral_count": len(locators),
        "act": record.action,
        "A": record.authoritative,
        "incomplete": getattr(record, "incomplete", False),
        "sig_count": len(getattr(record, "signatures", ())),
        "map_version": record.map_version,
    }
    out["rlocs"] = [
        {
            "addr": str(loc.rloc),
            "prio": loc.priority,
            "weight": loc.weight,
            "mprio": loc.mpriority,
            "mweight": loc.mweight,
            "L": loc.local,
            "p": loc.probed,
            "R": loc.reachable,
        }
        for loc in locators
    ]
    return out


def check_subset(expected, actual, path=""):
    for name, value in expected.items():
        have = actual[name]
        if isinstance(value, list) and value and isinstance(value[0], dict):
            assert len(value) == len(have), path + name
            for one, two in zip(value, have, strict=True):
                check_subset(one, two, f"{path}{name}.")
        elif isinstance(value, list):
            have = [h["addr"] if isinstance(h, dict) else h for h in have]
            assert value == have, path + name
        elif isinstance(value, str) and value.startswith("0x"):
            assert int(value, 16) == have, path + name
        else:
            assert value == have, path + name


@pytest.mark.parametrize("vector", CONTROL, ids=ids(CONTROL))
def test_encodes_to_the_same_bytes(vector):
    data = bytes.fromhex(vector["hex"])
    assert len(data) == vector["length"]
    message = decode(data)
    assert message.serialize() == data
    assert decode(message.serialize()) == message


PLAIN = [v for v in CONTROL if v["id"] not in ("V02", "V09", "B11")]


@pytest.mark.parametrize("vector", PLAIN, ids=ids(PLAIN))
def test_decodes_to_the_stated_fields(vector):
    message = decode(bytes.fromhex(vector["hex"]))
    expected = {k: v for k, v in vector["fields"].items() if k not in ("record_count", "udp")}
    records = expected.pop("records", None)
    assert vector["fields"].get("record_count", 1) == len(message.records)
    assert expected
    check_subset(expected, flag_fields(message))
    if records is not None:
        check_subset({"records": records}, {"records": [record_fields(r) for r in message.records]})


def test_v02_instance_id():
    (vector,) = (v for v in CONTROL if v["id"] == "V02")
    message = decode(bytes.fromhex(vector["hex"]))
    assert message.source_eid == EidPrefix.from_text("[1001] 2001:db8:a::10/128")
    assert message.records[0].eid == EidPrefix.from_text("[1001] 2001:db8:b::20/128")
    assert message.itr_rlocs == (IPv6Address("2001:db8:ffff::1"), IPv4Address("192.0.2.1"))
    assert message.nonce == 0x1122334455667788


def test_v09_ecm():
    by_id = {v["id"]: bytes.fromhex(v["hex"]) for v in CONTROL}
    message = decode(by_id["V09"])
    assert message == Ecm(
        Endpoint(IPv4Address("192.0.2.1"), 61001),
        Endpoint(IPv4Address("198.51.100.140"), 4342),
        by_id["V01"],
        hop_limit=32,
    )


def test_b11_every_lcaf_as_locator():
    (vector,) = (v for v in CONTROL if v["id"] == "B11")
    message = decode(bytes.fromhex(vector["hex"]))
    expected = list(vector["fields"]["lcafs"].values())
    assert [loc.rloc.serialize().hex() for loc in message.records[0].locators] == expected
    numbers = [loc.rloc.lcaf_type for loc in message.records[0].locators]
    assert numbers == [1, 2, 3, 5, 7, 9, 10, 12, 13, 15, 255]


@pytest.mark.parametrize("name", VECTORS["lcaf_samples"])
def test_lcaf_samples(name):
    data = bytes.fromhex(VECTORS["lcaf_samples"][name])
    reader = Reader(data)
    address = parse_address(reader)
    assert not reader.remaining
    assert address.serialize() == data
    assert address.lcaf_type == int(name.split()[0])


@pytest.mark.parametrize("vector", SIGNED, ids=ids(SIGNED))
def test_authentication(vector):
    data = bytes.fromhex(vector["hex"])
    message = decode(data)
    algorithm = vector["auth"]["algorithm_id"]
    assert auth.verify(data, message, PSK, algorithm) is auth.MacScope.RECORDS
    assert auth.sign(message, 1, PSK, algorithm) == data
    if "kdf" in vector["auth"]:
        assert auth.message_key(data, PSK).hex() == vector["auth"]["kdf"]["okm_hex"]


@pytest.mark.parametrize("vector", SIGNED, ids=ids(SIGNED))
def test_authentication_alternates(vector):
    for name, alternate in vector.get("alternates", {}).items():
        if "message_hex" not in alternate:
            continue
        data = bytes.fromhex(alternate["message_hex"])
        message = decode(data)
        whole = name.startswith("mac_over_whole")
        scope = auth.MacScope.MESSAGE if whole else auth.MacScope.RECORDS
        assert auth.verify(data, message, PSK, message.algorithm) is scope
        again = auth.sign(message, 1, PSK, message.algorithm, full_length=not whole, scope=scope)
        assert again == data


def test_iid_zero_is_read_both_ways_and_sent_plain():
    plain = bytes.fromhex("10000001000000000000000100000001c000020100200001c633648c")
    with_lcaf = plain[:20] + bytes.fromhex("0020400300000200000a000000000001c633648c")
    assert decode(plain) == decode(with_lcaf)
    assert decode(with_lcaf).serialize() == plain
    assert decode(plain).records[0].eid == EidPrefix(0, IPv4Network("198.51.100.140/32"))
    assert decode(plain).itr_rlocs == (IPv4Address("192.0.2.1"),)
    assert InstanceId(0, NO_ADDRESS).serialize().hex() == "40030000020000060000000000" + "00"
