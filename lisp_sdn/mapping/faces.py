"""What ITRs showed of themselves: whether a change of policy concerns one of them.

An ITR that was told a mapping gets an SMR when its answer changes, and nothing when it stays the
same. Which answer it gets depends on what its Map-Requests showed. What is not known here counts
as concerned: one SMR too many costs a Map-Request, one too few leaves an ITR with the old way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Requester

MAX_FACES = 4
MAX_SOURCES = 32
"""Different ways in which one ITR asks, and its source EIDs; with more it is not told apart."""


@dataclass(slots=True)
class Face:
    """One ITR. requesters: as which it asked, without source EID. sources: its source EIDs.

    blurred: there were more than are kept.
    """

    requesters: set[Requester] = field(default_factory=set)
    sources: set[EidPrefix | None] = field(default_factory=set)
    blurred: bool = False

    def __len__(self) -> int:
        return len(self.requesters) + len(self.sources)

    @property
    def too_many(self) -> bool:
        """Whether it has more than are kept."""
        return len(self.requesters) > MAX_FACES or len(self.sources) > MAX_SOURCES

    def blur(self) -> None:
        """Stop to tell it apart."""
        self.blurred = True
        self.requesters.clear()
        self.sources.clear()


Concerns = Callable[[Face], bool]
"""Whether the answer of an ITR has changed, as far as can be told from its face."""


def face_of(requester: Requester) -> Face:
    """Of an ITR that is known as one requester."""
    return Face({replace(requester, source_eid=None)}, {requester.source_eid})


class Faces:
    """By packed ITR-RLOC. capacity: requesters and source EIDs in all; with more, ITRs that show
    another face are not told apart any more, and new ones stay unknown."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._faces: dict[bytes, Face] = {}
        self._kept = 0

    def __len__(self) -> int:
        return self._kept

    def note(self, rloc: bytes, requester: Requester) -> None:
        """A Map-Request of this requester was answered to `rloc`."""
        face = self._faces.get(rloc)
        if face is None:
            if self._kept >= self.capacity:
                return
            face = self._faces[rloc] = Face()
        if face.blurred:
            return
        before = len(face)
        face.sources.add(requester.source_eid)
        face.requesters.add(replace(requester, source_eid=None))
        self._kept += len(face) - before
        if face.too_many or self._kept > self.capacity:
            self._kept -= len(face)
            face.blur()

    def concerned(self, rloc: bytes, concerns: Concerns) -> bool:
        """Whether the ITR has to be told; true for one that is unknown or blurred."""
        face = self._faces.get(rloc)
        return face is None or face.blurred or concerns(face)
