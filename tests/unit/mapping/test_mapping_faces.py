"""Which ITRs a change of policy concerns, as far as they showed themselves."""

from __future__ import annotations

from ipaddress import IPv4Address

from lisp_sdn.address import EidPrefix
from lisp_sdn.mapping.faces import MAX_FACES, MAX_SOURCES, Face, Faces
from lisp_sdn.model import Requester

ITR = IPv4Address("192.0.2.1")
RLOC = ITR.packed


def host(number: int) -> EidPrefix:
    return EidPrefix.host(0, IPv4Address(0x0A000000 + number))


def nobody(face: Face) -> bool:
    return False


def test_an_unknown_itr_is_concerned() -> None:
    faces = Faces(10)
    assert faces.concerned(RLOC, nobody)
    faces.note(RLOC, Requester((ITR,), host(1)))
    assert not faces.concerned(RLOC, nobody)


def test_every_way_of_asking_is_kept_once() -> None:
    faces = Faces(100)
    seen: list[Face] = []
    for source in (1, 2, 1):
        for pitr in (False, True):
            faces.note(RLOC, Requester((ITR,), host(source), pitr=pitr))
    faces.concerned(RLOC, lambda face: bool(seen.append(face)))
    assert seen[0].requesters == {Requester((ITR,)), Requester((ITR,), pitr=True)}
    assert seen[0].sources == {host(1), host(2)}
    assert len(faces) == 4


def test_an_itr_with_too_many_faces_or_sources_is_concerned() -> None:
    for many in (
        [Requester((ITR,), xtr_id=number) for number in range(MAX_FACES + 1)],
        [Requester((ITR,), host(number)) for number in range(MAX_SOURCES + 1)],
    ):
        faces = Faces(1000)
        for requester in many[:-1]:
            faces.note(RLOC, requester)
        assert not faces.concerned(RLOC, nobody)
        faces.note(RLOC, many[-1])
        assert faces.concerned(RLOC, nobody)
        faces.note(RLOC, many[0])
        assert faces.concerned(RLOC, nobody), "it stays unknown what it was told before"
        assert len(faces) == 0


def test_what_comes_when_it_is_full_is_concerned() -> None:
    faces = Faces(4)
    others = [IPv4Address(f"192.0.2.{number}") for number in range(2, 9)]
    for rloc in others:
        faces.note(rloc.packed, Requester((rloc,), host(1)))
    assert len(faces) <= 4
    assert faces.concerned(others[-1].packed, nobody)
    assert not faces.concerned(others[0].packed, nobody)
