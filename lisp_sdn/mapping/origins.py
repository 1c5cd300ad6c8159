"""From which RLOCs packets of a source EID may come, as far as the mapping database says.

What is registered counts, not what policy makes of it for a requester: an RLOC that is hidden from
some ITRs, or offered to none, may still be the one that the site sends from.
"""

from __future__ import annotations

from dataclasses import dataclass

from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.mapping.database import Database
from lisp_sdn.mapping.effective import rlocs_of
from lisp_sdn.mapping.lookup import Lookup
from lisp_sdn.mapping.sites import Sites
from lisp_sdn.prefixtable import code_of


@dataclass(frozen=True, slots=True)
class Origins:
    """What is known of a source EID.

    eid: the EIDs for which the same holds; where there are more-specifics inside of what was asked
    for, only its first one. rlocs: of all live registrations and of static mappings. registered:
    whether there are any. site: whose EID it is, None outside of every site.
    """

    eid: EidPrefix
    rlocs: frozenset[IPAddress]
    registered: bool
    site: str | None


def origins(sites: Sites, database: Database, lookup: Lookup, eid: EidPrefix) -> Origins:
    """The longest match for `eid`, with whatever is registered for some destinations only."""
    match = lookup.match(eid, None)
    scope = match.alone
    if scope is None:
        eid = EidPrefix.host(eid.iid, eid.network.network_address)
        match = lookup.match(eid, None)
        scope = match.alone or eid
    rlocs, registered = rlocs_of(match.head), match.head is not None
    code = code_of(eid.network)
    family = database.family(eid.iid, eid.version)
    least = match.eid.prefixlen if match.head or match.configured else 0
    for keyed in family.keyed.covering(code) if family is not None and family.keyed else ():
        if keyed.code & 0xFF >= least:
            for source in keyed.table.codes_from(0):
                rlocs |= rlocs_of(keyed.table.get(source))
                registered = True
    owner = sites.owner(eid)
    return Origins(scope, rlocs, registered, owner.site.name if owner is not None else None)
