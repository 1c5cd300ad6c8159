"""The RLOCs of our own xTRs, seen centrally: which have no uplink, which an operator drains.

A link that comes back is believed after `reachability.recovery` seconds, longer every time that it
fails again soon; a link that goes away is believed at once. Drained RLOCs outlive a restart.
"""

from __future__ import annotations

from dataclasses import dataclass

from lisp_sdn.actions import Event
from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config
from lisp_sdn.mapping.store import Store
from lisp_sdn.xtr.damping import Damping

KIND = "drained-rloc"


@dataclass(slots=True)
class _Link:
    xtr: str
    damping: Damping
    back_at: float | None = None


class Rlocs:
    """down, drained: what every xTR of ours, and the mapping system, go by."""

    def __init__(self, config: Config, store: Store) -> None:
        self._store = store
        self._links: dict[IPAddress, _Link] = {}
        self.down: frozenset[IPAddress] = frozenset()
        self.drained: frozenset[IPAddress] = frozenset()
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go on with the RLOCs of this configuration; what is known of those that stay, stays."""
        settings, before = config.reachability, self._links
        self._links = {}
        for xtr in config.xtrs:
            for entry in xtr.rlocs:
                link = before.get(entry.rloc)
                if link is None:
                    damping = Damping(settings.recovery, settings.recovery_limit)
                    link = _Link(xtr.name, damping)
                link.xtr = xtr.name
                link.damping.configure(settings.recovery, settings.recovery_limit)
                self._links[entry.rloc] = link
        self.down = frozenset(rloc for rloc in self.down if rloc in self._links)
        self.start()

    def __contains__(self, rloc: object) -> bool:
        return rloc in self._links

    def start(self) -> None:
        """Recover what is drained; RLOCs that are configured no longer are left out."""
        names = {document.name for document in self._store.document_list(KIND)}
        self.drained = frozenset(rloc for rloc in self._links if str(rloc) in names)

    def link(self, rloc: IPAddress, *, up: bool, now: float) -> None:
        """An RLOC lost its last uplink, or got one back."""
        link = self._links[rloc]
        if not up:
            link.back_at = None
            if rloc not in self.down:
                link.damping.failed(now)
                self.down |= {rloc}
        elif rloc in self.down and link.back_at is None:
            link.back_at = now + link.damping.wait

    def next_timer(self) -> float | None:
        """When a link has been back for long enough."""
        waiting = (link.back_at for link in self._links.values() if link.back_at is not None)
        return min(waiting, default=None)

    def handle_timer(self, now: float) -> list[Event]:
        """Believe the links that have been back for long enough."""
        events = []
        for rloc, link in self._links.items():
            if link.back_at is not None and link.back_at <= now:
                link.back_at = None
                self.down -= {rloc}
                events.append(Event("rloc.used-again", str(rloc), {"xtr": link.xtr}))
        return events

    def drain(self, rloc: IPAddress, now: float) -> list[Event]:
        """Let traffic leave an RLOC while it is up. Raises KeyError: none of ours; StoreError."""
        link = self._links[rloc]
        if rloc in self.drained:
            return []
        self._store.document_put(KIND, str(rloc), "{}", now)
        self.drained |= {rloc}
        return [Event("rloc.drained", str(rloc), {"xtr": link.xtr})]

    def undrain(self, rloc: IPAddress, now: float) -> list[Event]:
        """Let traffic come back. Raises KeyError: none of ours; StoreError."""
        link = self._links[rloc]
        if rloc not in self.drained:
            return []
        self._store.document_delete(KIND, str(rloc))
        self.drained -= {rloc}
        return [Event("rloc.undrained", str(rloc), {"xtr": link.xtr})]
