"""What a receiver must do with addresses that it does not understand (RFC 9306 sections 3 and 4).

`decode` keeps every address, so that a message can go out as it came in. Whoever acts on a message
asks here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from lisp_sdn.address import AnyAddress, IPAddress
from lisp_sdn.errors import Unsupported
from lisp_sdn.model import Locator
from lisp_sdn.wire.afi import NO_ADDRESS, Lcaf, WireAddress
from lisp_sdn.wire.eid import OtherEid
from lisp_sdn.wire.lcaf import AfiList, VendorSpecific
from lisp_sdn.wire.messages.base import Message
from lisp_sdn.wire.messages.referral import MapReferral, ReferralRecord
from lisp_sdn.wire.messages.register import MapNotify, MapRegister
from lisp_sdn.wire.messages.reply import MapReply
from lisp_sdn.wire.messages.request import MapRequest
from lisp_sdn.wire.record import EidRecord

M = TypeVar("M", bound=Message)


def understood(message: M) -> M:
    """The message as its receiver may read it.

    Locators and ITR-RLOCs of an unknown LCAF are left out, so that a record may lose them all and
    an ITR-RLOC list becomes AFI 0. Raises Unsupported for a Vendor-Specific LCAF anywhere: no OUI
    is understood here, and RFC 9306 section 4 wants such a message dropped; and for a subscription
    that loses all its ITR-RLOCs, which AFI 0 would turn into its opposite (RFC 9437 section 5).
    """
    if isinstance(message, MapRequest):
        return _request(message)  # type: ignore[return-value]
    if isinstance(message, MapReply | MapRegister | MapNotify):
        records = tuple(map(_record, message.records))
        return message if _same(records, message.records) else replace(message, records=records)
    if isinstance(message, MapReferral):
        referrals = tuple(map(_referral, message.records))
        same = _same(referrals, message.records)
        return message if same else replace(message, records=referrals)
    return message


def ip_of(address: AnyAddress) -> IPAddress | None:
    """The IP address to encapsulate to: the address itself or the one an LCAF qualifies.

    Of an AFI-List the first that has one, whatever the order of the others (RFC 8060 section
    4.10.5). None for an address that names no single RLOC, a path or a replication list.
    """
    if isinstance(address, IPv4Address | IPv6Address):
        return address
    if not isinstance(address, Lcaf) or not address.understood:
        return None
    if isinstance(address, AfiList):
        return next((ip for ip in map(ip_of, address.inner) if ip is not None), None)
    return ip_of(address.inner[0]) if len(address.inner) == 1 else None


def _same(one: tuple[object, ...], two: tuple[object, ...]) -> bool:
    return all(a is b for a, b in zip(one, two, strict=True))


def _request(message: MapRequest) -> MapRequest:
    rlocs = tuple(rloc for rloc in message.itr_rlocs if _known(rloc, "itr_rlocs"))
    for record in message.records:
        if isinstance(record.eid, OtherEid):
            _known(record.eid.address, "records.eid")
    if isinstance(message.source_eid, WireAddress):
        _known(message.source_eid, "source_eid")
    if not rlocs and any(record.subscribe for record in message.records):
        raise Unsupported("itr_rlocs", 0, "no ITR-RLOC of the subscription is understood")
    mine = message.reply_record
    reply_record = mine and _record(mine)
    if len(rlocs) == len(message.itr_rlocs) and reply_record is mine:
        return message
    return replace(message, itr_rlocs=rlocs or (NO_ADDRESS,), reply_record=reply_record)


def _record(record: EidRecord) -> EidRecord:
    if isinstance(record.eid, OtherEid):
        _known(record.eid.address, "records.eid")
    kept = _locators(record.locators)
    return record if len(kept) == len(record.locators) else replace(record, locators=kept)


def _referral(record: ReferralRecord) -> ReferralRecord:
    if isinstance(record.eid, OtherEid):
        _known(record.eid.address, "records.eid")
    kept = _locators(record.referrals)
    return record if len(kept) == len(record.referrals) else replace(record, referrals=kept)


def _locators(locators: tuple[Locator, ...]) -> tuple[Locator, ...]:
    return tuple(loc for loc in locators if _known(loc.rloc, "records.locators"))


def _known(address: AnyAddress, field: str) -> bool:
    """Whether an address may be used. Raises Unsupported for a Vendor-Specific LCAF in it."""
    if not isinstance(address, Lcaf):
        return True
    for inner in _walk(address):
        if isinstance(inner, VendorSpecific):
            raise Unsupported(field, 0, f"OUI {inner.oui:06x} is not understood")
    return address.understood


def _walk(address: AnyAddress) -> Iterator[AnyAddress]:
    yield address
    if isinstance(address, Lcaf):
        for inner in address.inner:
            yield from _walk(inner)
