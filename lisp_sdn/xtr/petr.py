"""Natively-Forward answers by way of a Proxy-ETR (RFC 6832 section 6).

An ITR without a native path for a destination encapsulates to a PETR, which forwards natively:
the negative map-cache entry carries the PETR's RLOC-set, and is treated as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lisp_sdn.config import UsePetr, XtrSettings
from lisp_sdn.model import Act, Mapping


class Petrs:
    """The PETRs that one xTR uses, by instance-ID."""

    def __init__(self, settings: XtrSettings, used: Sequence[UsePetr]) -> None:
        mine = [entry for entry in used if not entry.xtrs or settings.name in entry.xtrs]
        # An entry that names this xTR is put over one for all.
        self.used = {entry.iid: entry for entry in sorted(mine, key=lambda e: bool(e.xtrs))}
        for port in settings.native_ports:
            if port.proxy_itr is not None:
                # What it attracts for nobody would come back from the PETR, again and again.
                self.used.pop(port.iid, None)
        self._ipv6_underlay = any(entry.rloc.version == 6 for entry in settings.rlocs)

    def uses(self, entry: UsePetr) -> bool:
        """Whether any packet goes there by this entry."""
        if self.used.get(entry.iid) is not entry:
            return False
        return entry.when == "always" or not self._ipv6_underlay

    def through(self, mapping: Mapping) -> Mapping:
        """The mapping with the PETR's RLOC-set where it is to be used; else itself."""
        if mapping.action is not Act.NATIVELY_FORWARD:
            return mapping
        entry = self.used.get(mapping.eid.iid)
        if entry is None:
            return mapping
        if entry.when == "ipv6-over-ipv4-only" and (
            mapping.eid.version == 4 or self._ipv6_underlay
        ):
            return mapping
        locators = tuple(item.locator for item in entry.locators)
        return replace(mapping, action=Act.NO_ACTION).with_locators(locators)
