"""RLOCs that carry nothing now, in sentences: the first thing to look at when nothing works.

Drained RLOCs are out of use on purpose, and are none of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from lisp_sdn.address import IPAddress
from lisp_sdn.config import XtrSettings
from lisp_sdn.xtr.topology import Topology

MOST = 20
"""RLOCs that are told; of more only how many there are."""

NAMED = 3
"""xTRs that are named of those that get no answer from one RLOC."""


class Seeing(Protocol):
    """An xTR of ours, as far as it tells which RLOCs it does not reach."""

    settings: XtrSettings

    @property
    def connected_since(self) -> float | None:
        """When its switch connected, None while it is away."""

    @property
    def topology(self) -> Topology:
        """What it is attached to; `down`: the RLOCs that it does not use."""


def unreachable(xtrs: Iterable[Seeing]) -> tuple[str, ...]:
    """A sentence for each RLOC that an uplink or the answers to RLOC-probes are missing for."""
    connected = [xtr for xtr in xtrs if xtr.connected_since is not None]
    owners = {entry.rloc: (xtr, entry) for xtr in connected for entry in xtr.settings.rlocs}
    told: dict[IPAddress, str] = {}
    silent: dict[IPAddress, list[str]] = {}
    for xtr in connected:
        for rloc in xtr.topology.down:
            owner, entry = owners.get(rloc, (None, None))
            if owner is xtr and entry is not None:
                uplink = f"uplink {entry.uplink}" if entry.uplink else "its uplink"
                whose = f"RLOC {rloc} of xTR {xtr.settings.name}"
                told[rloc] = f"{whose}: {uplink} has no link, or came back just now"
            else:
                silent.setdefault(rloc, []).append(xtr.settings.name)
    for rloc, names in silent.items():
        owner, _ = owners.get(rloc, (None, None))
        whose = "" if owner is None else f" of xTR {owner.settings.name}"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        by = ", ".join(sorted(names)[:NAMED]) + more
        told.setdefault(rloc, f"RLOC {rloc}{whose} does not answer RLOC-probes of xTR {by}")
    sentences = [told[rloc] for rloc in sorted(told, key=lambda x: (x.version, x))]
    if len(sentences) > MOST:
        sentences[MOST:] = [f"and {len(sentences) - MOST} more RLOCs, see lispctl show topology"]
    return tuple(sentences)
