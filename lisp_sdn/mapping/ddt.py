"""The Map-Server's part in a Delegated Database Tree: Map-Referrals (RFC 8111 section 7.2).

Who sends an ECM with the D-bit gets a Map-Referral; the Map-Request inside is answered or forwarded
besides only when the EID is registered. TTLs and the Incomplete flag follow the table of section
6.4 (open decision Q-16). Nothing is configured about peers, so every referral is incomplete.
"""

from __future__ import annotations

from dataclasses import replace

from lisp_sdn.address import EidPrefix
from lisp_sdn.mapping.lookup import Lookup
from lisp_sdn.wire import MapReferral, MapRequest, ReferralRecord, RequestRecord
from lisp_sdn.wire.messages.referral import ReferralAct

ACK_TTL = 1440
NOT_REGISTERED_TTL = 1
"""Minutes."""

MAX_RECORDS = 16


def refer(request: MapRequest, lookup: Lookup) -> tuple[MapReferral, MapRequest | None]:
    """The Map-Referral to a DDT Map-Request, and what of it is to be answered or forwarded."""
    source = request.source_eid if isinstance(request.source_eid, EidPrefix) else None
    referrals: list[ReferralRecord] = []
    registered: list[RequestRecord] = []
    for record in request.records[:MAX_RECORDS]:
        if not isinstance(record.eid, EidPrefix):
            referrals.append(_not_authoritative(record))
            continue
        match = lookup.match(record.eid, source)
        if match.head is not None:
            registered.append(record)
            referrals.append(_referral(match.eid, ReferralAct.MS_ACK, ACK_TTL))
        elif match.configured is not None:
            hole = match.alone or record.eid
            referrals.append(_referral(hole, ReferralAct.MS_NOT_REGISTERED, NOT_REGISTERED_TTL))
        else:
            referrals.append(_not_authoritative(record))
    rest = replace(request, records=tuple(registered)) if registered else None
    return MapReferral(request.nonce, tuple(referrals)), rest


def _referral(eid: EidPrefix, action: ReferralAct, ttl_minutes: int) -> ReferralRecord:
    return ReferralRecord(
        eid, int(action), ttl_minutes=ttl_minutes, authoritative=True, incomplete=True
    )


def _not_authoritative(record: RequestRecord) -> ReferralRecord:
    """RFC 8111 section 6.1: with the EID-prefix received and a TTL of 0."""
    action = int(ReferralAct.NOT_AUTHORITATIVE)
    return ReferralRecord(record.eid, action, ttl_minutes=0, incomplete=True)
