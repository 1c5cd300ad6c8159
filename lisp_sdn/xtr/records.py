"""EID-records of Map-Replies as map-cache records; what an ITR must not believe is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lisp_sdn.address import EidPrefix, SourceDestPrefix
from lisp_sdn.guard_settings import bad_rloc
from lisp_sdn.wire import EidRecord
from lisp_sdn.wire.understood import ip_of
from lisp_sdn.xtr.keeper import Record
from lisp_sdn.xtr.outbox import Outbox


def records(found: Iterable[EidRecord], outbox: Outbox) -> Iterator[Record]:
    """Those for IPv4 and IPv6 EIDs, without RLOCs that can be none (RFC 9301 section 5.4).

    A record of which no RLOC is left is refused as a whole: it is not the same as a negative one.
    """
    for record in found:
        eid = record.eid
        if not isinstance(eid, EidPrefix | SourceDestPrefix):
            outbox.drop("eid-not-ip", str(eid))
            continue
        left = _unicast(record, outbox)
        if left is None:
            continue
        if isinstance(eid, SourceDestPrefix):
            left = replace(left, eid=eid.destination)
        yield eid, left.mapping


def _unicast(record: EidRecord, outbox: Outbox) -> EidRecord | None:
    kept = []
    for locator in record.locators:
        rloc = ip_of(locator.rloc)
        what = None if rloc is None else bad_rloc(rloc)
        if what is None:
            kept.append(locator)
        else:
            outbox.drop("rloc-not-unicast", f"{record.eid}: RLOC {rloc} is {what}", str(rloc))
    if len(kept) == len(record.locators):
        return record
    return replace(record, locators=tuple(kept)) if kept else None
