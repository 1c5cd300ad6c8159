"""The xTRs that the controller plays and their underlay bridges, as the configuration names them.

`reconfigure` follows another configuration: an xTR whose settings are the same is not touched, one
with other settings goes on where it was (`xtr.handover`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from lisp_sdn.actions import ApplyRules, Event, ReadRules
from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.model import Mapping
from lisp_sdn.rules import RuleChange, Verb
from lisp_sdn.wire import EidRecord
from lisp_sdn.xtr import native
from lisp_sdn.xtr.etr import split
from lisp_sdn.xtr.guard_rules import guarding
from lisp_sdn.xtr.handover import take_over
from lisp_sdn.xtr.outbox import XtrAction
from lisp_sdn.xtr.requests import Register
from lisp_sdn.xtr.underlay import ControlFrame, RlocChanged, Underlay
from lisp_sdn.xtr.xtr import Xtr

AnyAction = XtrAction | ControlFrame | RlocChanged

_NOT_OF_XTRS = {
    "sites",
    "xtrs",
    "mappings",
    "policies",
    "control",
    "rest",
    "store",
    "log",
    "bgp",
    "alt",
}
"""Parts of the configuration that xTRs do not read, or only what `_inputs` names."""


class Fleet:
    """xtrs: by name. by_datapath: by the id of the overlay bridge. underlays: by their own id.

    These dictionaries always are the same objects. present: every switch that is connected,
    configured or not.
    """

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._rng = rng
        self.xtrs = {settings.name: Xtr(settings, config, rng) for settings in config.xtrs}
        self.by_datapath: dict[int, Xtr] = {}
        self.underlays: dict[int, Underlay] = {
            number: Underlay(settings, number)
            for settings in config.xtrs
            if (number := settings.underlay.datapath_id) is not None
        }
        self.underlay_of: dict[str, Underlay] = {}
        self.by_rloc: dict[IPAddress, Xtr] = {}
        self.packed_rlocs: set[bytes] = set()
        self.present: set[int] = set()
        self._index()

    def _index(self) -> None:
        for index in (self.by_datapath, self.underlay_of, self.by_rloc, self.packed_rlocs):
            index.clear()
        for xtr in self.xtrs.values():
            self.by_datapath[xtr.settings.datapath_id] = xtr
            self.by_rloc.update((entry.rloc, xtr) for entry in xtr.settings.rlocs)
        self.underlay_of.update({item.settings.name: item for item in self.underlays.values()})
        self.packed_rlocs.update(rloc.packed for rloc in self.by_rloc)

    # --- another configuration ---

    def withdrawn(self, old: Config, new: Config) -> Iterator[Register]:
        """The Map-Registers that end registrations which xTRs will not refresh any more.

        Record TTL 0 (RFC 9301 section 5.6).
        """
        later = {settings.name: settings for settings in new.xtrs}
        for before in old.xtrs:
            after = later.get(before.name)
            kept = set()
            if after is not None and _same_etr(before, after):
                kept = {entry.eid for entry in new.registered_prefixes(after)}
            gone = [e.eid for e in old.registered_prefixes(before) if e.eid not in kept]
            if before.site is None or not gone:
                continue
            records = tuple(EidRecord.from_mapping(Mapping(eid, ttl_minutes=0)) for eid in gone)
            for part in split(records):
                yield Register(before.name, part)

    def reconfigure(self, old: Config, new: Config, now: float) -> list[AnyAction]:
        """Play the xTRs of `new`. What is not there any more leaves no rules behind."""
        actions: list[AnyAction] = []
        before = dict(self.xtrs)
        earlier = {settings.name: settings for settings in old.xtrs}
        self.xtrs.clear()
        for settings in new.xtrs:
            name, known = settings.name, before.get(settings.name)
            if known is not None and known.settings.datapath_id == settings.datapath_id:
                del before[name]
                if _inputs(old, earlier[name]) == _inputs(new, settings):
                    known.pace_probes(new)
                    self.xtrs[name] = known
                    continue
                self.xtrs[name] = Xtr(settings, new, self._rng)
                actions += take_over(self.xtrs[name], known, now)
                continue
            self.xtrs[name] = Xtr(settings, new, self._rng)
            actions += self.xtrs[name].start(now)
            if settings.datapath_id in self.present:
                actions.append(ReadRules(settings.datapath_id))
        # What another xTR plays from now on is taken over: that one reads what the switch holds.
        played = {settings.datapath_id for settings in new.xtrs}
        for gone in before.values():
            changes = [] if gone.settings.datapath_id in played else gone.retire()
            actions.append(Event("xtr.removed", gone.settings.name, {"rules": len(changes)}))
            if changes:
                actions.append(ApplyRules(gone.settings.datapath_id, tuple(changes)))
        actions += self._underlays(new, now)
        self._index()
        return actions

    def _underlays(self, new: Config, now: float) -> list[AnyAction]:
        actions: list[AnyAction] = []
        before = dict(self.underlays)
        self.underlays.clear()
        for settings in new.xtrs:
            number = settings.underlay.datapath_id
            if number is None:
                continue
            known = before.pop(number, None)
            if known is not None and known.settings == settings:
                self.underlays[number] = known
                continue
            made = self.underlays[number] = Underlay(settings, number)
            if known is not None:
                actions += made.take_over(known)
            elif number in self.present:
                actions.append(ReadRules(number))
        for number, gone in before.items():
            if gone.connected:
                # What forwards without us stays: an underlay needs no controller.
                flows = [rule for rule in gone.wanted().flows if rule.priority]
                changes = tuple(RuleChange(Verb.DELETE, rule) for rule in flows)
                actions.append(ApplyRules(number, changes))
        return actions


def _same_etr(before: XtrSettings, after: XtrSettings) -> bool:
    """Whether what one registered is what the other refreshes, at some Map-Server."""
    servers = not before.map_servers and not after.map_servers
    shared = servers or bool(set(before.map_servers) & set(after.map_servers))
    return shared and (before.datapath_id, before.site) == (after.datapath_id, after.site)


def _inputs(config: Config, settings: XtrSettings) -> tuple[object, ...]:
    """Everything that an xTR is made from."""
    parts = [name for name in Config.model_fields if name not in _NOT_OF_XTRS]
    return (
        settings,
        config.registered_prefixes(settings),
        native.roles(config, settings),
        guarding(settings, config),
        config.subnets_at(settings),
        *(getattr(config, name) for name in parts),
    )
