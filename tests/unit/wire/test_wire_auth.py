"""Authentication Data: RFC 9301 section 5.6, with the lengths that deployed routers send."""

import hmac
from ipaddress import IPv4Address

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.errors import AuthError, BadDigest, FieldError, UnknownKey
from lisp_sdn.model import Locator
from lisp_sdn.wire import EidRecord, MapNotify, MapNotifyAck, MapRegister, auth, decode
from lisp_sdn.wire.auth import Algorithm, MacScope

KEY = b"correct horse battery"
RECORD = EidRecord(EidPrefix.from_text("192.0.2.0/24"), (Locator(IPv4Address("203.0.113.1")),))
REGISTER = MapRegister(7, (RECORD,), want_notify=True)
MESSAGES = [REGISTER, MapNotify(7, (RECORD,)), MapNotifyAck(7, (RECORD,))]
ALGORITHMS = [a for a in Algorithm if a]


@pytest.mark.parametrize("full_length", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.name)
def test_sign_and_verify(message, algorithm, full_length):
    data = auth.sign(message, 3, KEY, algorithm, full_length=full_length)
    received = decode(data)
    assert (received.key_id, received.algorithm) == (3, algorithm)
    lengths = {Algorithm.HMAC_SHA_1_96_NONE: (12, 20)}.get(algorithm, (16, 32))
    assert len(received.auth_data) == lengths[full_length]
    assert auth.verify(data, received, KEY, algorithm) is MacScope.RECORDS
    assert auth.signed(message, 3, KEY, algorithm, full_length=full_length) == received
    with pytest.raises(BadDigest):
        auth.verify(data, received, KEY + b"!", algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_flipped_bit_is_noticed(algorithm):
    data = auth.sign(REGISTER, 3, KEY, algorithm)
    message = decode(data)
    for octet in range(len(data)):
        changed = bytearray(data)
        changed[octet] ^= 1
        if octet in range(12, 16):  # Key ID, algorithm, length: not the MAC's business alone
            continue
        received = message
        if 16 <= octet < 16 + len(message.auth_data):
            received = decode(bytes(changed))
        with pytest.raises(BadDigest):
            auth.verify(bytes(changed), received, KEY, algorithm)


def test_the_key_id_is_covered():
    data = bytearray(auth.sign(REGISTER, 3, KEY, 2))
    data[12] = 4
    with pytest.raises(BadDigest):
        auth.verify(bytes(data), decode(bytes(data)), KEY, 2)


def test_messages_of_one_type_do_not_pass_for_another_with_hkdf():
    """The salt differs by message type, so even equal bytes have different keys."""
    keys = {auth.message_key(bytes([t << 4]) + bytes(11), KEY) for t in (3, 4, 5)}
    assert len(keys) == 3


@pytest.mark.parametrize("length", [0, 1, 8, 11, 13, 15, 17, 19, 21, 31, 33])
def test_other_lengths_are_refused(length):
    data = auth.sign(REGISTER, 3, KEY, 2, full_length=True)
    message = decode(data)
    mac = message.auth_data[:length].ljust(length, b"\0")
    received = decode(
        data[:14] + length.to_bytes(2, "big") + mac + data[16 + len(message.auth_data) :]
    )
    with pytest.raises(BadDigest, match=f"{length} octets"):
        auth.verify(data, received, KEY, 2)


def test_algorithm_must_be_the_allowed_one():
    data = auth.sign(REGISTER, 3, KEY, Algorithm.HMAC_SHA_1_96_NONE)
    with pytest.raises(UnknownKey, match="algorithm 1, expected 2"):
        auth.verify(data, decode(data), KEY, Algorithm.HMAC_SHA_256_128_NONE)


def test_no_authentication_never_passes_for_some():
    data = auth.sign(REGISTER, 3, KEY, Algorithm.NONE)
    message = decode(data)
    assert message.auth_data == b""
    assert auth.verify(data, message, KEY, Algorithm.NONE) is MacScope.RECORDS
    for algorithm in ALGORITHMS:
        with pytest.raises(AuthError):
            auth.verify(data, message, KEY, algorithm)


def test_an_unknown_algorithm_is_parsed_by_length_and_refused():
    data = bytearray(auth.sign(REGISTER, 3, KEY, 2))
    data[13] = 200
    message = decode(bytes(data))
    assert message.records == REGISTER.records
    with pytest.raises(UnknownKey, match="200"):
        auth.verify(bytes(data), message, KEY, 200)
    with pytest.raises(FieldError, match="algorithm"):
        auth.sign(REGISTER, 3, KEY, 200)


def test_ids_outside_of_the_mac_are_told_apart():
    message = MapRegister(7, (RECORD,), xtr_id=1, site_id=2)
    for scope in MacScope:
        data = auth.sign(message, 3, KEY, 2, scope=scope)
        assert auth.verify(data, decode(data), KEY, 2) is scope
    data = bytearray(auth.sign(message, 3, KEY, 2, scope=MacScope.RECORDS))
    data[-1] ^= 1
    assert auth.verify(bytes(data), decode(bytes(data)), KEY, 2) is MacScope.RECORDS
    data = bytearray(auth.sign(message, 3, KEY, 2, scope=MacScope.MESSAGE))
    data[-1] ^= 1
    with pytest.raises(BadDigest):
        auth.verify(bytes(data), decode(bytes(data)), KEY, 2)


def test_octets_behind_a_notify():
    data = auth.sign(MapNotify(7, (RECORD,)), 3, KEY, 2)
    longer = data + b"ids of an old draft"
    received = decode(longer)
    assert received.records == (RECORD,)
    assert auth.verify(longer, received, KEY, 2) is MacScope.RECORDS
    covered = longer[:16] + bytes(16) + longer[32:]
    mac = hmac.digest(KEY, covered, "sha256")[:16]
    longer = longer[:16] + mac + longer[32:]
    assert auth.verify(longer, decode(longer), KEY, 2) is MacScope.MESSAGE


def test_bytes_of_another_message_are_refused():
    data = auth.sign(MapNotify(7, (RECORD,)), 3, KEY, 2)
    with pytest.raises(BadDigest):
        auth.verify(data[:20], decode(data), KEY, 2)


def test_reserved_bits_are_covered_as_received():
    """The MAC is over the received bytes, not over what we would have sent."""
    data = bytearray(REGISTER.serialize())
    data[1] |= 0xE0
    signed = auth.sign(REGISTER, 3, KEY, 2)
    raw = bytes(data[:12]) + signed[12:16] + bytes(16) + bytes(data[16:])
    mac = hmac.digest(KEY, raw, "sha256")[:16]
    raw = raw[:16] + mac + raw[32:]
    received = decode(raw)
    assert received.serialize() != raw
    assert auth.verify(raw, received, KEY, 2) is MacScope.RECORDS


def test_the_comparison_is_constant_time(monkeypatch):
    seen = []

    def compare(a, b):
        seen.append((a, b))
        return hmac.compare_digest(a, b)

    class Watched:
        digest = staticmethod(hmac.digest)
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(auth, "hmac", Watched)
    data = auth.sign(REGISTER, 3, KEY, 2)
    auth.verify(data, decode(data), KEY, 2)
    assert seen == [(decode(data).auth_data, decode(data).auth_data)]


def test_no_error_shows_the_key_or_the_right_mac():
    data = auth.sign(REGISTER, 3, KEY, 2)
    right = decode(data).auth_data
    message = decode(data[:16] + bytes(16) + data[32:])
    with pytest.raises(BadDigest) as caught:
        auth.verify(data, message, KEY, 2)
    text = f"{caught.value} {caught.value!r}"
    assert KEY.decode() not in text
    assert right.hex() not in text
