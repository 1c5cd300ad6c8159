"""`peek_map_request` says what `decode` says, or nothing."""

from __future__ import annotations

import wire_strategies as ws
from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.errors import DecodeError
from lisp_sdn.wire import Ecm, MapRequest, decode
from lisp_sdn.wire.afi import serialize_address
from lisp_sdn.wire.peek import Peeked, peek_map_request


def expected(data: bytes) -> Peeked | None:
    """What a peek may say, taken from the full decoder; None where it must stay silent."""
    message = decode(data)
    port = 0
    if isinstance(message, Ecm):
        assert not message.ddt
        assert message.security is None
        port = message.source.port
        message = decode(message.payload)
    assert isinstance(message, MapRequest)
    flags = (message.authoritative, message.probe, message.smr, message.dont_reply)
    assert not any(flags)
    assert message.reply_record is None
    assert message.xtr_id is None
    (record,) = message.records
    assert not record.subscribe
    eid, source = record.eid, message.source_eid
    assert isinstance(eid, EidPrefix)
    assert source is None or isinstance(source, EidPrefix)
    first = next(rloc for rloc in message.itr_rlocs if isinstance(rloc, IPAddress))
    return (
        message.nonce.to_bytes(8, "big"),
        eid.iid,
        1 if eid.version == 4 else 2,
        eid.network.network_address.packed,
        eid.prefixlen,
        source.network.network_address.packed if source else b"",
        source.iid if source else 0,
        first.packed,
        b"".join(map(serialize_address, message.itr_rlocs)),
        port,
        message.pitr,
    )


@given(ws.in_ecm(ws.common_requests()))
def test_sees_every_common_request(data):
    assert peek_map_request(data) == expected(data)


@given(ws.damaged(ws.in_ecm(ws.common_requests())))
def test_agrees_on_damaged_common_requests(data):
    peeked = peek_map_request(data)
    if peeked is not None:
        assert peeked == expected(data)


@ws.some
@given(ws.damaged(ws.in_ecm(ws.messages) | ws.messages.map(lambda m: m.serialize())))
def test_agrees_on_every_message(data):
    peeked = peek_map_request(data)
    if peeked is not None:
        assert peeked == expected(data)


@given(st.binary(max_size=100) | st.binary(min_size=64, max_size=64))
def test_agrees_on_random_bytes(data):
    peeked = peek_map_request(data)
    if peeked is not None:
        assert peeked == expected(data)


@given(ws.in_ecm(ws.common_requests()), st.data())
def test_agrees_when_one_bit_differs_and_the_checksum_is_absent(data, choice):
    """Without a checksum no flipped bit of the payload is caught early: the shapes must agree."""
    changed = bytearray(data)
    if changed[0] >> 4 == 8:
        udp = 24 if changed[4] >> 4 == 4 else 44
        changed[udp + 6 : udp + 8] = b"\0\0"
    bit = choice.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 0x80 >> bit % 8
    peeked = peek_map_request(bytes(changed))
    if peeked is not None:
        assert peeked == expected(bytes(changed))


@ws.some
@given(ws.in_ecm(ws.common_requests()))
def test_truncations_and_extra_octets_are_not_seen(data):
    for size in range(len(data)):
        assert peek_map_request(data[:size]) is None
        try:
            decode(data[:size])
        except DecodeError:
            continue
        raise AssertionError(f"{size} octets decoded")
    assert peek_map_request(data + b"\0") is None
