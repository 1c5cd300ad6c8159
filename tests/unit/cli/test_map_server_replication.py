"""The stream between workers: what goes in comes out, however it is cut; lies are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisp_sdn.cli.replication import (
    FrameReader,
    Kind,
    Outbox,
    ReplicationError,
    changes_frame,
    complete_frame,
    datagram_frame,
    read_changes,
    read_datagram,
    relevant,
)
from lisp_sdn.mapping.store import Change, Table

CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(Table),
        st.binary(max_size=40),
        st.none() | st.binary(max_size=60),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(CHANGES, max_size=4),
    st.binary(min_size=16, max_size=28),
    st.binary(max_size=80),
    st.integers(1, 50),
)
def test_frames_survive_any_cutting(
    groups: list[list[Change]], name: bytes, data: bytes, piece: int
) -> None:
    stream = b"".join(map(changes_frame, groups)) + complete_frame() + datagram_frame(name, data)
    reader = FrameReader()
    frames = [
        frame
        for at in range(0, len(stream), piece)
        for frame in reader.feed(stream[at : at + piece])
    ]
    assert [kind for kind, _ in frames] == [
        *([Kind.CHANGES] * len(groups)),
        Kind.COMPLETE,
        Kind.DATAGRAM,
    ]
    assert [read_changes(body) for kind, body in frames if kind is Kind.CHANGES] == groups
    assert read_datagram(frames[-1][1]) == (name, data)


@pytest.mark.parametrize(
    "stream", [b"\0\0\0\0\x01", b"\xff\xff\xff\xff\x01", b"\0\0\0\x01\x09", b"\0\0\0\x01\x00"]
)
def test_impossible_frames_are_refused(stream: bytes) -> None:
    with pytest.raises(ReplicationError):
        list(FrameReader().feed(stream))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_wrong_changes_are_refused_or_read(body: bytes) -> None:
    try:
        changes = read_changes(body)
    except ReplicationError:
        return
    assert b"".join([changes_frame(changes)])[5:] == body


def test_a_datagram_without_its_sender_is_refused() -> None:
    with pytest.raises(ReplicationError):
        read_datagram(b"")
    with pytest.raises(ReplicationError):
        read_datagram(b"\x10short")


def test_outbox_is_bounded_and_keeps_order() -> None:
    box = Outbox(10)
    assert box.add(b"12345")
    assert box.add(b"678")
    assert not box.add(b"901")
    assert len(box) == 8
    assert box.take() == b"12345678"
    assert box.add(b"90")
    box.give_back(b"45678")
    assert box.take() == b"4567890"
    assert len(box) == 0


def test_nonces_stay_at_home() -> None:
    kept = Change(Table.REGISTRATIONS, b"k", None)
    assert relevant([Change(Table.NONCES, b"n", b"1"), kept]) == [kept]
