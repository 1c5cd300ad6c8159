"""Keeps a switch at what the owners of rules want, by the difference only.

Every owner's rules are a pure function of state (`compiler`). After an event only the owners
that it touched are compiled again; the result is the same as compiling everything, which is what
happens when a switch connects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping

from lisp_sdn.rules import FlowRule, GroupRule, RuleChange, Ruleset
from lisp_sdn.xtr import rlocsets
from lisp_sdn.xtr.compiled import Compiled
from lisp_sdn.xtr.compiler import GroupOf
from lisp_sdn.xtr.outbox import Owner
from lisp_sdn.xtr.reconcile import FlowKey, Installed, changes_in_parts, parts_of
from lisp_sdn.xtr.rlocsets import GroupNumbers, RlocSet

Compile = Callable[[Owner, GroupOf], Compiled]
SetsOf = Callable[[Owner], tuple[RlocSet, ...]]

_NOTHING = Compiled()
_SET = "set"


def set_owner(rlocs: RlocSet) -> Owner:
    """An RLOC-set as the owner of rules."""
    return (_SET, rlocs)


def merge(parts: Iterable[Compiled]) -> Ruleset:
    """The rules of all owners. A group that is wanted outweighs the same one merely kept."""
    items = list(parts)
    return Ruleset(
        frozenset(rule for item in items for rule in item.flows),
        frozenset(_groups(items)),
        frozenset(rule for item in items for rule in item.meters),
    )


def _groups(parts: Collection[Compiled]) -> Iterable[GroupRule]:
    groups = {rule.group_id: rule for part in parts for rule in part.kept_groups}
    groups.update({rule.group_id: rule for part in parts for rule in part.groups})
    return groups.values()


class Program:
    """The rules of one switch. compile_owner, sets_of: what an owner wants now.

    Of a map-cache entry that is kept in brief, only the use of its RLOC-set is noted here: its flow
    is on the switch, and is noted when it is written out. write_out: does that for the entries of
    some RLOC-sets, or for so many of them.
    """

    def __init__(self, compile_owner: Compile, sets_of: SetsOf) -> None:
        self._compile = compile_owner
        self._sets_of = sets_of
        self._numbers = GroupNumbers()
        self._compiled: dict[Owner, Compiled] = {}
        self._sets: dict[Owner, tuple[RlocSet, ...]] = {}
        self._set_uses: Counter[RlocSet] = Counter()
        self._user: dict[RlocSet, Owner] = {}
        self._group_uses: Counter[int] = Counter()
        self._flow_uses: Counter[FlowKey] = Counter()
        self._flow_owner: dict[FlowKey, Owner] = {}
        self._in_brief = 0
        self._later: dict[Owner, None] | None = None
        self._numbered: dict[RlocSet, int] = {}
        self.forgotten: set[FlowKey] = set()
        """Flows that left the switch since it was asked what it holds."""
        self.installed: Installed | None = None
        self.coming = Installed()
        self.write_out: Callable[[Container[RlocSet], int | None], None] = lambda sets, most: None

    def wanted(self, owners: Iterable[Owner]) -> Ruleset:
        """What all owners want; depends on nothing else."""
        listed = list(owners)
        numbers = rlocsets.assign(item for owner in listed for item in self._sets_of(owner))
        listed += [set_owner(rlocs) for rlocs in numbers]
        return merge(self._compile(owner, numbers.__getitem__) for owner in listed)

    def owner(self, key: FlowKey) -> Owner | None:
        """Whose flow this is."""
        return self._flow_owner.get(key)

    def number(self, rlocs: RlocSet) -> int:
        """The group of an RLOC-set in use."""
        return self._numbers[rlocs]

    def in_use(self, rlocs: RlocSet) -> bool:
        """Whether some entry uses an RLOC-set."""
        return rlocs in self._numbers

    def has_number(self, rlocs: RlocSet, number: int) -> bool:
        """Whether an RLOC-set is in use under this number."""
        return rlocs in self._numbers and self._numbers[rlocs] == number

    # --- entries in brief --------------------------------------------------------------------

    def use(self, rlocs: RlocSet) -> None:
        """An entry in brief uses an RLOC-set that is in use already; its flow is on the switch."""
        self._set_uses[rlocs] += 1
        self._in_brief += 1

    def note_written_out(self, owner: Owner, rule: FlowRule, rlocs: RlocSet) -> None:
        """An entry in brief is not so any more: this is its flow on the switch."""
        self._in_brief -= 1
        self._sets[owner] = (rlocs,)
        self._note(owner, Compiled((rule,)))
        (self.installed or self.coming).flows[rule.key] = rule

    # --- what there is -----------------------------------------------------------------------

    def group_in_use(self, group_id: int) -> bool:
        """Whether some flow continues in this group."""
        return self._group_uses[group_id] > 0

    def live_sets(self) -> Iterable[RlocSet]:
        """The RLOC-sets in use."""
        return self._set_uses.keys()

    def user(self, rlocs: RlocSet) -> Owner:
        """One of the owners that use an RLOC-set in use."""
        known = self._user.get(rlocs)
        if known is None or rlocs not in self._sets.get(known, ()):
            self._user.pop(rlocs, None)
            if not any(rlocs in sets for sets in self._sets.values()):
                self.write_out((rlocs,), 1)
            known = next(owner for owner, sets in self._sets.items() if rlocs in sets)
            self._user[rlocs] = known
        return known

    def counts(self) -> tuple[int, int, int]:
        """How many flows, groups and meters are wanted, as last compiled."""
        flows = self._in_brief + sum(len(item.flows) for item in self._compiled.values())
        meters = sum(len(item.meters) for item in self._compiled.values())
        return flows, len(self._group_uses), meters

    def start(self, owners: Iterable[Owner], installed: Ruleset) -> list[RuleChange]:
        """A switch that holds `installed` is there: bring it to what the owners want."""
        self.begin()
        self.resume({}, {})
        self.coming.note(installed.flows, installed.groups, installed.meters)
        return [change for part in self.resumed(owners) for change in part]

    def begin(self) -> None:
        """A switch tells what it holds; `coming` is to be told all but the flows of entries that
        are in brief. Nothing is sent before that is done.
        """
        self.installed = self._later = None
        self.coming = Installed()
        self.forgotten.clear()

    def resume(self, in_brief: Mapping[RlocSet, int], numbers: Mapping[RlocSet, int]) -> None:
        """From here on changes are noted; `resumed` will compile everything.

        in_brief: how many entries in brief use an RLOC-set. numbers: under which number.
        """
        self._later = {}
        self._numbered = dict(numbers)
        self._compiled.clear()
        self._sets.clear()
        self._set_uses = Counter(in_brief)
        self._in_brief = sum(in_brief.values())
        self._user.clear()
        self._group_uses.clear()
        self._flow_uses.clear()
        self._flow_owner.clear()

    def resumed(self, owners: Iterable[Owner]) -> Iterator[list[RuleChange]]:
        """The changes that bring the switch to what the owners want, a part at a time.

        Owners may change meanwhile: they are given to `update`, and looked at again at the end.
        """
        listed = list(owners)
        for part in parts_of(listed):
            self._count_sets(part)
            yield []
        self._number_all()
        for part in parts_of([*listed, *self.set_owners()]):
            for owner in part:
                # What changed is looked at again in the end; until then its flows stay as they are,
                # with their groups.
                if owner not in (self._later or ()) or self._is_counted(owner):
                    self._note(owner, self._compile(owner, self.number))
            yield []
        compiled = list(self._compiled.values())
        yield from changes_in_parts(
            self.coming,
            (rule for part in compiled for rule in part.flows),
            _groups(compiled),
            (rule for part in compiled for rule in part.meters),
            self._flow_uses.__contains__,
        )
        self.installed, self.coming = self.coming, Installed()
        self.forgotten.clear()
        later, self._later = self._later, None
        yield self.update(later or ())

    def _number_all(self) -> None:
        """Give every RLOC-set its number; write out entries in brief that count on another."""
        self._numbers = GroupNumbers(self._set_uses)
        moved = {
            rlocs
            for rlocs, number in self._numbered.items()
            if rlocs in self._numbers and self._numbers[rlocs] != number
        }
        if moved:
            self.write_out(moved, None)
            using = [owner for owner, sets in self._sets.items() if not moved.isdisjoint(sets)]
            self.update(using)

    def stop(self) -> None:
        """The switch is gone; what it holds will be read when it is back."""
        self.installed = self._later = None
        self.forgotten.clear()

    def forget(self, key: FlowKey) -> None:
        """The switch no longer holds this flow."""
        if self.installed is not None:
            self.installed.flows.pop(key, None)
        else:
            self.coming.flows.pop(key, None)
            self.forgotten.add(key)

    def forget_owner(self, owner: Owner) -> None:
        """Send this owner's flows again: the switch seems not to hold them."""
        for flow in self._compiled.get(owner, _NOTHING).flows:
            self.forget(flow.key)

    def update(self, dirty: Iterable[Owner]) -> list[RuleChange]:
        """Compile these owners again and give the changes."""
        owners = list(dirty)
        if self.installed is None:
            if self._later is not None:
                self._later.update(dict.fromkeys(owners))
            return []
        if not owners:
            return []
        # RLOC-sets first: a map-cache flow finds the rules that it continues in.
        sets, others = self._renumber(owners)
        owners = [*sets, *(owner for owner in owners if owner not in sets), *others]
        flows: dict[FlowKey, FlowRule] = {}
        groups: dict[int, GroupRule] = {}
        meters = {}
        before: list[Compiled] = []
        for owner in owners:
            old = self._compiled.get(owner, _NOTHING)
            new = _NOTHING if self._is_gone(owner) else self._compile(owner, self.number)
            before.append(old)
            self._note(owner, new)
            flows.update({rule.key: rule for rule in new.flows})
            groups.update({rule.group_id: rule for rule in new.groups})
            meters.update({rule.meter_id: rule for rule in new.meters})
        gone = {r.key for old in before for r in old.flows if not self._flow_uses[r.key]}
        for key in gone:
            self._flow_owner.pop(key, None)
        return self.installed.change(
            flows.values(),
            groups.values(),
            meters.values(),
            gone,
            [number for old in before for number in _numbers(old) if not self.group_in_use(number)],
            [rule.meter_id for old in before for rule in old.meters if rule.meter_id not in meters],
        )

    def _note(self, owner: Owner, new: Compiled) -> None:
        old = self._compiled.pop(owner, _NOTHING)
        self._group_uses.subtract(_numbers(old))
        self._group_uses.update(_numbers(new))
        self._flow_uses.subtract(rule.key for rule in old.flows)
        self._flow_uses.update(rule.key for rule in new.flows)
        for rule in old.flows:
            if not self._flow_uses[rule.key]:
                del self._flow_uses[rule.key]
        for number in _numbers(old):
            if not self._group_uses[number]:
                del self._group_uses[number]
        if new.flows or new.groups or new.kept_groups or new.meters:
            self._compiled[owner] = new
        for rule in new.flows:
            self._flow_owner[rule.key] = owner

    def _count_sets(self, owners: Iterable[Owner]) -> None:
        for owner in owners:
            self._set_uses.subtract(self._sets.pop(owner, ()))
            sets = self._sets_of(owner)
            if sets:
                self._sets[owner] = sets
                self._set_uses.update(sets)

    def set_owners(self) -> list[Owner]:
        """The RLOC-sets in use, as owners of the rules that they have by themselves."""
        return [set_owner(rlocs) for rlocs in self._set_uses]

    def _is_counted(self, owner: Owner) -> bool:
        return self._sets_of(owner) == self._sets.get(owner, ())

    def _is_gone(self, owner: Owner) -> bool:
        return owner[0] == _SET and owner[1] not in self._numbers

    def _renumber(self, owners: list[Owner]) -> tuple[list[Owner], list[Owner]]:
        """Number the RLOC-sets of these owners.

        Returns the sets that are new, gone or numbered anew, and other owners that use these.
        """
        touched = {item for owner in owners for item in self._sets.get(owner, ())}
        self._count_sets(owners)
        touched.update(item for owner in owners for item in self._sets.get(owner, ()))
        gone = [item for item in touched if not self._set_uses[item]]
        for item in gone:
            del self._set_uses[item]
            self._user.pop(item, None)
        new = [item for item in touched if item in self._set_uses and item not in self._numbers]
        moved = self._numbers.change(new, gone)
        changed = [set_owner(rlocs) for rlocs in (*new, *gone, *moved)]
        if not moved:
            return changed, []
        self.write_out(moved, None)
        known = set(owners)
        return changed, [
            owner
            for owner, sets in self._sets.items()
            if owner not in known and not moved.isdisjoint(sets)
        ]


def _numbers(compiled: Compiled) -> list[int]:
    return [rule.group_id for rule in (*compiled.groups, *compiled.kept_groups)]
