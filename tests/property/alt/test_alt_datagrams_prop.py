"""Frames of the ALT: any octets give a Map-Request or a DecodeError, nothing else."""

from __future__ import annotations

import contextlib
import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.alt_router import datagrams
from lisp_sdn.errors import DecodeError
from lisp_sdn.wire import Ecm, MapRequest, RequestRecord

FRAMES = []
for eid, rloc in (("10.2.0.1", "192.0.2.1"), ("2001:db8:2::1", "2001:db8::1")):
    address, source = ipaddress.ip_address(eid), ipaddress.ip_address(rloc)
    request = MapRequest(7, None, (source,), (RequestRecord(EidPrefix.host(0, address)),))
    ecm = Ecm(Endpoint(source, 61000), Endpoint(address, 4342), request.serialize())
    FRAMES.append(datagrams.frame(address.version, ecm.serialize()[4:]))


def test_the_frames_that_are_spoiled_below_are_good() -> None:
    for frame in FRAMES:
        assert datagrams.received(frame, 0).request.nonce == 7


@given(st.binary(max_size=200))
def test_noise(frame: bytes) -> None:
    with contextlib.suppress(DecodeError):
        datagrams.received(frame, 0)


@given(st.sampled_from(FRAMES), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255))))
def test_spoiled_frames(frame: bytes, changes: list[tuple[int, int]]) -> None:
    octets = bytearray(frame)
    for place, value in changes:
        octets[place % len(octets)] = value
    with contextlib.suppress(DecodeError):
        datagram = datagrams.received(bytes(octets), 0)
        assert datagram.eid.iid == 0
