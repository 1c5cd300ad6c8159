"""Filters on lists that are ordered by EID-prefix, as walks that skip what cannot fit."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import Field

from lisp_sdn.address import EidPrefix
from lisp_sdn.api.fields import Iid
from lisp_sdn.api.http import Problem
from lisp_sdn.api.paging import Key, Paging
from lisp_sdn.api.routing import read_eid


class EidFilters(Paging):
    """The query parameters of lists of EID-prefixes."""

    iid: Iid | None = None
    within: str | None = Field(default=None, description="only EID-prefixes inside of this one")
    covering: str | None = Field(
        default=None, description="only EID-prefixes that contain this EID or EID-prefix"
    )


class HasEid(Protocol):
    """An entry of such a list."""

    @property
    def eid(self) -> EidPrefix:
        """The key."""


E = TypeVar("E", bound=HasEid)
Start = Callable[[EidPrefix | None], Iterator[E]]


@dataclass(frozen=True, slots=True)
class Walk:
    """Which part of the list is asked for: at most one of the three is set."""

    iid: int | None = None
    within: EidPrefix | None = None
    covering: EidPrefix | None = None

    @classmethod
    def of(cls, query: EidFilters) -> Walk:
        """The walk that the parameters ask for. Raises Problem (400)."""
        if query.within is not None and query.covering is not None:
            raise Problem("bad-query", "within and covering exclude each other")
        if query.within is not None:
            return cls(within=read_eid(query.within, query.iid, "within"))
        if query.covering is not None:
            return cls(covering=read_eid(query.covering, query.iid, "covering"))
        return cls(iid=query.iid)

    def fits(self, eid: EidPrefix) -> bool:
        """Whether an EID-prefix belongs to the part; for collections without an order."""
        if self.covering is not None:
            return eid.covers(self.covering)
        if self.within is not None:
            return self.within.covers(eid)
        return self.iid is None or eid.iid == self.iid

    def entries(self, start: Start[E], after: Key | None) -> Iterator[E]:
        """The entries, in order, from the cursor on. start: the list from an EID-prefix on."""
        begin = eid_of(after) if after is not None else None
        if self.covering is not None:
            return self._covering(start, self.covering, begin)
        if self.within is not None:
            within = self.within
            first = within if begin is None else max(begin, within)
            return _while(start(first), within.covers)
        if self.iid is not None:
            iid = self.iid
            lowest = EidPrefix(iid, ipaddress.IPv4Network((0, 0)))
            first = lowest if begin is None else max(begin, lowest)
            return _while(start(first), lambda eid: eid.iid == iid)
        return start(begin)

    def _covering(self, start: Start[E], inner: EidPrefix, begin: EidPrefix | None) -> Iterator[E]:
        """One look-up for every length: at most 129, whatever the size of the database."""
        for length in range(inner.prefixlen + 1):
            eid = EidPrefix(inner.iid, inner.network.supernet(new_prefix=length))
            if begin is None or not eid < begin:
                yield from _while(start(eid), eid.__eq__)


def _while(entries: Iterator[E], fits: Callable[[EidPrefix], bool]) -> Iterator[E]:
    for entry in entries:
        if not fits(entry.eid):
            return
        yield entry


def eid_of(key: Key) -> EidPrefix:
    """The EID-prefix of a cursor that begins with `EidPrefix.sort_key`. Raises Problem (400)."""
    iid, version, address, length = (int(part) for part in key[:4])
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    try:
        return EidPrefix(iid, kind((address, length)))
    except ValueError:
        raise Problem("bad-query", "after: not a cursor of this list") from None
