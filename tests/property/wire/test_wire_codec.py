"""The codec never loses a value, never crashes, and never takes more than linear time."""

from __future__ import annotations

import sys

import pytest
import wire_strategies as ws
from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.errors import DecodeError, Truncated
from lisp_sdn.wire import Ecm, MacAddress, Message, OpaqueLcaf, SecurityKey, decode
from lisp_sdn.wire.afi import LCAF_TYPES, MAX_DEPTH, parse_address, serialize_address
from lisp_sdn.wire.cursor import Reader

LCAFS = ws.lcafs(ws.simple)


def test_there_is_a_strategy_for_everything_registered():
    assert {cls.__name__ for cls in LCAF_TYPES.values()} == set(LCAFS)

    def leaves(cls: type) -> set[type]:
        return {cls} | {leaf for sub in cls.__subclasses__() for leaf in leaves(sub)}

    # Twins that build unchecked values share name and base with the class they become.
    names = {cls.name for cls in leaves(Message) if "name" in vars(cls)}
    assert names == set(ws.MESSAGES)


@pytest.mark.parametrize("name", ws.MESSAGES)
def test_message_round_trip(name):
    @ws.some
    @given(ws.MESSAGES[name])
    def check(message):
        data = message.serialize()
        again = decode(data)
        assert again == message
        assert type(again) is type(message)
        assert again.serialize() == data
        assert hash(again) == hash(message)

    check()


@pytest.mark.parametrize("name", LCAFS)
def test_lcaf_round_trip(name):
    @ws.some
    @given(LCAFS[name])
    def check(address):
        data = serialize_address(address)
        reader = Reader(data)
        assert parse_address(reader) == address
        assert not reader.remaining
        assert type(address).parse(Reader(data)) == address
        with pytest.raises(DecodeError, match="expected MacAddress"):
            MacAddress.parse(Reader(data))

    check()


@given(ws.addresses)
def test_address_round_trip(address):
    reader = Reader(serialize_address(address))
    assert parse_address(reader) == address
    assert not reader.remaining


REASONS = {"malformed", "truncated", "bad_length", "bad_value", "unsupported"}


def refusal(data: bytes) -> DecodeError | None:
    """The DecodeError that bytes raise, None if they decode; everything else fails the test."""
    try:
        decode(data)
    except DecodeError as error:
        return error
    return None


@ws.some
@given(ws.damaged(ws.messages.map(lambda m: m.serialize())))
def test_damaged_messages_raise_decode_error_only(data):
    """What still decodes is a value like any other: it goes out and comes in again."""
    error = refusal(data)
    if error is None:
        message = decode(data)
        assert decode(message.serialize()) == message
    else:
        assert 0 <= error.offset <= len(data)
        assert error.field
        assert error.reason in REASONS


@given(st.integers(0, 15), st.binary(max_size=200))
def test_random_bytes_raise_decode_error_only(number, data):
    octets = bytes([number << 4 | (data[0] & 0xF if data else 0)]) + data
    try:
        message = decode(octets)
    except DecodeError:
        return
    assert decode(message.serialize()) == message


@ws.some
@given(ws.messages)
def test_truncations_at_every_octet(message):
    data = message.serialize()
    for size in range(len(data)):
        error = refusal(data[:size])
        if error is None:
            # Only a type that is nothing but opaque octets can be cut unnoticed.
            assert message.name in {"shared_extension", "unknown"}
            assert decode(data[:size]).serialize() == data[:size]
        else:
            assert error.offset <= size


def test_an_empty_message_is_truncated():
    with pytest.raises(Truncated):
        decode(b"")


@ws.some
@given(ws.messages, st.integers(0, 255))
def test_lying_record_counts(message, count):
    data = bytearray(message.serialize())
    if message.name not in {"ecm", "shared_extension", "unknown"}:
        data[3] = count
    try:
        again = decode(bytes(data))
    except DecodeError:
        return
    assert decode(again.serialize()) == again


def lcaf(number: int, body: bytes) -> bytes:
    return bytes.fromhex("40030000") + bytes([number, 0]) + len(body).to_bytes(2, "big") + body


def map_reply_around(locator: bytes) -> bytes:
    """A Map-Reply with one record and one locator of these octets."""
    head = bytes.fromhex("20000001000000000000000a")
    record = bytes.fromhex("0000003c0118000000000001c0000200")
    return head + record + bytes.fromhex("0101ff000001") + locator


def nested(levels: int) -> bytes:
    data = b"\0\x01\xc0\0\2\1"
    for _ in range(levels):
        data = lcaf(1, data)
    return data


def test_nesting_up_to_the_limit_only():
    message = decode(map_reply_around(nested(MAX_DEPTH)))
    assert message.records[0].locators[0].rloc.depth == MAX_DEPTH
    for levels in (MAX_DEPTH + 1, 100, 8000):
        with pytest.raises(DecodeError, match="nested deeper"):
            decode(map_reply_around(nested(levels)))


def calls_of(data: bytes) -> int:
    """Function calls, Python's and the interpreter's own, that decoding takes."""
    count = 0

    def profile(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        decode(data)
    except DecodeError:
        pass
    finally:
        sys.setprofile(None)
    return count


BOMBS = {
    "afi-list": lambda n: map_reply_around(lcaf(1, b"\0\x01\1\2\3\4" * n)),
    "null-lcafs": lambda n: map_reply_around(lcaf(1, lcaf(0, b"") * n)),
    "names": lambda n: map_reply_around(lcaf(1, b"\0\x11a\0" * n)),
    "unknown-inside": lambda n: map_reply_around(lcaf(1, lcaf(10, b"\0\0\x03\xe7") * n)),
    "hops": lambda n: map_reply_around(lcaf(10, b"\0\0\0\0" * n)),
    "records": lambda n: b"\x20\0\0\xff" + bytes(8) + bytes(12) * (n // 20),
    "itr-rlocs": lambda n: b"\x10\0\x1f\xff" + bytes(8) + bytes(2) * n,
    "nesting": lambda n: map_reply_around(nested(n // 8)),
    "nested-lists": lambda n: map_reply_around(
        lcaf(1, lcaf(1, lcaf(1, lcaf(1, lcaf(1, b"\0\x01\1\2\3\4" * n)))))
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_time_is_linear_in_the_length(name):
    grow = BOMBS[name]
    assert calls_of(grow(5000)) <= 4.2 * calls_of(grow(1250)) + 200


@ws.some
@given(ws.ecms(payload=ws.messages.map(lambda m: m.serialize())))
def test_messages_inside_an_ecm(ecm):
    again = decode(ecm.serialize())
    assert isinstance(again, Ecm)
    assert decode(again.payload).serialize() == ecm.payload


@ws.some
@given(ws.ecms(), st.data())
def test_a_flipped_bit_under_the_inner_checksum_is_refused(ecm, choice):
    data = bytearray(ecm.serialize())
    first = len(data) - len(ecm.payload) - 8
    address = first - (8 if ecm.source.address.version == 4 else 32)
    bit = choice.draw(st.integers(address * 8, len(data) * 8 - 1))
    data[bit // 8] ^= 0x80 >> bit % 8
    if data[first + 6 : first + 8] == b"\0\0":
        return
    with pytest.raises(DecodeError):
        decode(bytes(data))


@given(ws.opaque)
def test_an_unknown_lcaf_is_kept_and_flagged(address):
    message = decode(map_reply_around(address.serialize()))
    rloc = message.records[0].locators[0].rloc
    assert rloc == address
    assert isinstance(rloc, OpaqueLcaf)
    assert not rloc.understood


@given(LCAFS["SecurityKey"])
def test_keys_stay_out_of_repr_and_str(address):
    assert isinstance(address, SecurityKey)
    for key in address.keys:
        if len(key) > 2:
            assert key.hex() not in str(address)
            assert repr(key) not in repr(address)
