"""Data headers: RFC 9300 section 5.3, RFC 9302 section 4, RFC 9305 section 3."""

import json
from pathlib import Path

import pytest

from lisp_sdn.errors import BadLength, BadValue, FieldError, Truncated, Unsupported
from lisp_sdn.wire.cursor import Reader
from lisp_sdn.wire.header import DataHeader, NextProtocol, ShimHeader, decode_data

VECTORS = {
    v["id"]: bytes.fromhex(v["hex"])
    for v in json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())["vectors"]
}


@pytest.mark.parametrize(
    ("name", "gpe", "header"),
    [
        ("V10", False, DataHeader(nonce=0xABCDEF, iid=1001)),
        ("V11", True, DataHeader(next_protocol=NextProtocol.ETHERNET, iid=1001)),
        ("B08", False, DataHeader(versions=(0x123, 0x456), iid=1001)),
        ("B09", False, DataHeader(status_bits=3)),
    ],
)
def test_vectors(name, gpe, header):
    assert decode_data(VECTORS[name] + b"inner", gpe=gpe) == (header, (), b"inner")
    assert header.serialize() == VECTORS[name]


@pytest.mark.parametrize(
    "header",
    [
        DataHeader(),
        DataHeader(nonce=1, echo_request=True, status_bits=0xFFFFFFFF),
        DataHeader(iid=0, status_bits=0xFF),
        DataHeader(versions=(0, 1), key=3),
        DataHeader(next_protocol=1, status_bits=1, key=2),
    ],
)
def test_round_trip(header):
    gpe = header.next_protocol is not None
    assert DataHeader.parse(Reader(header.serialize()), gpe=gpe) == header


def test_a_nonce_wins_over_versions():
    """N and V are never both set; a receiver reads the nonce (RFC 9300 section 5.3)."""
    header, _, _ = decode_data(bytes.fromhex("9000000100000000"))
    assert header == DataHeader(nonce=1)


def test_nonce_and_e_are_ignored_without_n():
    header, _, _ = decode_data(bytes.fromhex("20ffffff00000000"))
    assert header == DataHeader()


def test_bit_5_is_ignored_unless_gpe_was_agreed():
    assert decode_data(VECTORS["V11"])[0] == DataHeader(iid=1001)


def test_gpe_ignores_n_e_v_and_the_middle_octets():
    header, _, _ = decode_data(bytes.fromhex("bc1234030003e900"), gpe=True)
    assert header == DataHeader(next_protocol=3, iid=1001)


def test_gpe_without_the_p_bit_is_a_plain_header():
    assert decode_data(VECTORS["V10"], gpe=True)[0] == DataHeader(nonce=0xABCDEF, iid=1001)


def test_the_instance_id_leaves_8_status_bits():
    header, _, _ = decode_data(bytes.fromhex("480000000003e9a5"))
    assert header == DataHeader(iid=1001, status_bits=0xA5)
    assert decode_data(bytes.fromhex("080000000003e9a5"))[0].serialize()[-1] == 0


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
def test_known_next_protocols(protocol):
    header, shims, inner = decode_data(bytes([4, 0, 0, protocol]) + bytes(5), gpe=True)
    assert (header.next_protocol, shims, inner) == (protocol, (), b"\0")


@pytest.mark.parametrize("protocol", [0, 5, 0x7D, 0x7E])
def test_unknown_next_protocols_are_refused(protocol):
    with pytest.raises(Unsupported, match="next_protocol"):
        decode_data(bytes([4, 0, 0, protocol]) + bytes(5), gpe=True)


def test_shim_headers_come_first():
    shims = (ShimHeader(7, 0x90, b"abcd", 9), ShimHeader(1, NextProtocol.IPV6))
    data = DataHeader(next_protocol=0xFE).serialize() + b"".join(s.serialize() for s in shims)
    assert decode_data(data + b"inner", gpe=True) == (
        DataHeader(next_protocol=0xFE),
        shims,
        b"inner",
    )
    with pytest.raises(Unsupported):
        decode_data(DataHeader(next_protocol=0xFE).serialize() + bytes(4), gpe=True)
    with pytest.raises(BadLength):
        decode_data(DataHeader(next_protocol=0xFE).serialize() + b"\0\2\0\1" + bytes(7), gpe=True)


def test_the_null_destination_version_is_a_protocol_violation():
    with pytest.raises(BadValue, match="Null Map-Version"):
        decode_data(bytes.fromhex("1012300000000000"))


@pytest.mark.parametrize("size", range(8))
def test_truncated(size):
    with pytest.raises(Truncated):
        decode_data(bytes(size))


@pytest.mark.parametrize(
    "fields",
    [
        {"nonce": 1 << 24},
        {"echo_request": True},
        {"nonce": 1, "versions": (1, 1)},
        {"versions": (0x1000, 1)},
        {"versions": (1, 0)},
        {"iid": 1 << 24},
        {"iid": 1, "status_bits": 256},
        {"status_bits": 1 << 32},
        {"key": 4},
        {"next_protocol": 256},
        {"next_protocol": 1, "nonce": 1},
    ],
)
def test_impossible_headers(fields):
    with pytest.raises(FieldError):
        DataHeader(**fields)


@pytest.mark.parametrize("body", [b"abc", bytes(1024)])
def test_impossible_shims(body):
    with pytest.raises(FieldError, match="body"):
        ShimHeader(0, 1, body)
