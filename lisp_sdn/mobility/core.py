"""Host mobility: where every EID is that may roam, and what changes when one is seen elsewhere.

An EID that is seen at another port that allows mobility is there from then on: it gets a host
route from that xTR, the old one lets go of it and sends on what still arrives for it. Then the old
place is asked. If somebody still answers for the EID there, it is a duplicate: whoever had it first
and answers keeps it, and from then on every newcomer waits until the old place was silent.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config, Subnet
from lisp_sdn.mobility.directory import (
    Directory,
    Entry,
    Place,
    mobile_ports,
    place_of,
    subnet_of,
)
from lisp_sdn.mobility.ports import TIMER as SEEK_TIMER
from lisp_sdn.mobility.ports import PortWatch
from lisp_sdn.views import Counter, MobileEid
from lisp_sdn.xtr.damping import Damping
from lisp_sdn.xtr.hosts import Host, HostKey
from lisp_sdn.xtr.requests import (
    Admit,
    Ask,
    Elsewhere,
    Forgotten,
    HostRoute,
    Leave,
    Order,
    Report,
    Sighted,
    Sign,
    Sought,
)
from lisp_sdn.xtr.timers import Timers

WHERE = "mobility"

ASK_INTERVAL = 0.25
ASK_ATTEMPTS = 3
"""A place is asked so often, so many seconds apart; silence means that the host is not there."""

CHALLENGE_INTERVAL = 1.0
"""Seconds from one question on behalf of the newcomers of a duplicate to the next."""

GONE_INTERVAL = 1.0
"""Seconds between two questions before a host route goes; a busy host may take its time."""

Decision = Order | Event | Dropped


class Mobility:
    """Follows the EIDs of all ports that allow mobility. Returns what xTRs are to do about them.

    connected: whether the switch of an xTR is there to be asked.
    """

    def __init__(self, config: Config, connected: Callable[[str], bool]) -> None:
        self._config = config
        self._connected = connected
        self._settings = config.mobility
        self._subnets = config.mobile_subnets
        self._directory = Directory()
        self._left: dict[HostKey, dict[str, None]] = {}
        self._timers = Timers()
        self._watch = PortWatch(mobile_ports(config), self._directory, self._timers)
        self._tally: Tally[str] = Tally()
        self._moved: list[Entry] = []

    def __len__(self) -> int:
        return len(self._directory)

    # --- another configuration ---------------------------------------------------------------

    def leave(self, config: Config) -> list[Decision]:
        """Let go of what may not roam any more under another configuration, while its xTRs are
        there still.
        """
        self._config, self._settings = config, config.mobility
        self._subnets = config.mobile_subnets
        self._watch.configure(mobile_ports(config))
        self._moved.clear()
        decisions: list[Decision] = []
        for entry in list(self._directory):
            subnet = subnet_of(entry.host.key, self._subnets)
            if subnet is None or entry.place.port_name not in self._watch.ports:
                decisions += self._remove(entry)
                continue
            self._forget_places(entry)
            if subnet != entry.subnet:
                self._moved.append(entry)
                former = set(entry.subnet.homes) - {*subnet.homes, entry.place.xtr}
                decisions += [Leave(xtr, entry.host.key, away=False) for xtr in sorted(former)]
        xtrs = {xtr.name for xtr in config.xtrs}
        for key, xtr in [(key, xtr) for key, left in self._left.items() for xtr in left]:
            if xtr not in xtrs:
                self._forget_left(key, xtr)
        return decisions

    def _forget_places(self, entry: Entry) -> None:
        """Places beside its own that are there no longer: nobody can be asked there."""
        previous, contender = entry.previous, entry.contender
        if previous is not None and previous[0].port_name not in self._watch.ports:
            entry.previous = None
            self._timers.cancel(("asked", entry.host.key))
        if contender is not None and place_of(contender).port_name not in self._watch.ports:
            self._forget_contender(entry)

    def _forget_contender(self, entry: Entry) -> None:
        entry.contender = None
        self._timers.cancel(("contender", entry.host.key))

    def come(self, now: float) -> list[Decision]:
        """Go on under that configuration, when its xTRs are there."""
        decisions: list[Decision] = []
        for entry in self._moved:
            entry.subnet = subnet_of(entry.host.key, self._subnets) or entry.subnet
            at = Sighted(entry.place.xtr, entry.place.port, entry.host, Sign.ADOPTED)
            routed = entry.routed
            decisions += self._settle(entry, at, now)
            if routed and not entry.routed:
                decisions.append(HostRoute(entry.place.xtr, entry.eid, None))
        self._moved.clear()
        return decisions

    # --- what xTRs report --------------------------------------------------------------------

    def report(self, report: Report, now: float) -> list[Decision]:
        """Handle what an xTR has noticed."""
        if isinstance(report, Sighted):
            return list(self._sighted(report, now))
        if isinstance(report, Forgotten):
            return list(self._forgotten(report))
        if isinstance(report, Elsewhere):
            self._leaves(report.key, report.xtr, now)
            return []
        return list(self._sought(report))

    def _sighted(self, sighted: Sighted, now: float) -> Iterator[Decision]:
        key, place = sighted.host.key, place_of(sighted)
        subnet = subnet_of(key, self._subnets)
        if subnet is None:
            yield self._refuse("eid-not-mobile", sighted)
            return
        entry = self._directory.get(key)
        if entry is None:
            yield from self._appeared(sighted, subnet, now)
        elif entry.place == place:
            yield from self._still_there(entry, sighted, now)
        elif sighted.sign is Sign.ADOPTED:
            # It moved while this xTR was away.
            yield Leave(sighted.xtr, key, away=True)
        elif self._left_behind(entry, place):
            yield from self._old_place(entry, sighted, now)
        elif now < entry.held_until:
            yield self._refuse("eid-held-down", sighted)
        elif now < entry.contested:
            yield from self._wait(entry, sighted, now)
        else:
            yield from self._move(entry, sighted, now)

    def _refuse(self, reason: str, sighted: Sighted) -> Dropped:
        self._tally["sightings-refused"] += 1
        return Dropped(WHERE, reason, f"{_text(sighted.host.key)} at {place_of(sighted)}")

    # --- coming and going --------------------------------------------------------------------

    def _appeared(self, sighted: Sighted, subnet: Subnet, now: float) -> Iterator[Decision]:
        if not self._directory.has_room((sighted.xtr, sighted.port), self._settings):
            yield self._refuse("mobile-eids-full", sighted)
            if sighted.xtr in subnet.homes and not subnet.stretched:
                yield Admit(sighted.xtr, sighted.port, sighted.host, sighted.held)
            return
        damping = Damping(self._settings.hold_down, self._settings.hold_down_limit)
        entry = Entry(subnet, place_of(sighted), sighted.host, now, now, damping)
        self._directory.add(entry)
        yield from self._settle(entry, sighted, now)
        if entry.routed and sighted.sign is not Sign.ADOPTED:
            yield self._event("eid.appeared", entry, sign=sighted.sign.value)

    def _still_there(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        entry.seen, entry.silent = now, 0
        contender, entry.contender = entry.contender, None
        if contender is not None:
            self._timers.cancel(("contender", sighted.host.key))
            yield from self._duplicate(entry, place_of(contender), now)
            yield self._refuse("eid-duplicate", contender)
        if sighted.sign is not Sign.ANSWER:
            # The xTR asks because it does not know it: after a restart, or it was evicted there.
            host = self._host(entry, sighted.host)
            entry.host = host
            yield Admit(sighted.xtr, sighted.port, host, sighted.held)

    def _move(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        key, settings = sighted.host.key, self._settings
        entry.recent = [t for t in entry.recent if now - t < settings.window]
        if len(entry.recent) >= settings.max_moves:
            yield from self._hold_down(entry, sighted, now)
            return
        old = entry.place
        self._forget_contender(entry)
        entry.previous = (old, entry.since)
        entry.recent.append(now)
        entry.moves += 1
        self._tally["moves"] += 1
        yield from self._change_place(entry, sighted, now)
        yield self._event("eid.moved", entry, was=str(old), sign=sighted.sign.value)
        entry.asked = 0
        yield from self._ask_previous(entry, key, now)

    def _change_place(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        """To the place of a sighting, away from the one where it is."""
        key, old, routed = sighted.host.key, entry.place, entry.routed
        self._directory.move(entry, place_of(sighted))
        entry.since = entry.seen = now
        yield from self._settle(entry, sighted, now)
        if old.xtr == sighted.xtr:
            return
        if routed:
            yield HostRoute(old.xtr, entry.eid, None)
        if old.xtr not in entry.subnet.homes:
            self._leaves(key, old.xtr, now)
        yield Leave(old.xtr, key, away=True)

    def _settle(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        """Let it be at the place of a sighting: rules there, a host route if it needs one."""
        key, subnet, xtr = sighted.host.key, entry.subnet, sighted.xtr
        at_home = xtr in subnet.homes and not subnet.stretched
        entry.routed = not at_home
        entry.host = self._host(entry, sighted.host)
        yield Admit(xtr, sighted.port, entry.host, sighted.held)
        if xtr in self._left.get(key, {}):
            self._forget_left(key, xtr)
        if at_home:
            self._timers.cancel(("alive", key))
        else:
            owner = self._config.owner(subnet.eid)
            assert owner is not None
            yield HostRoute(xtr, entry.eid, owner[0].name)
            self._timers.schedule(("alive", key), now + self._settings.probe_interval)
        for home in subnet.homes:
            if home != xtr:
                yield Leave(home, key, away=True)

    @staticmethod
    def _host(entry: Entry, host: Host) -> Host:
        return Host(host.iid, host.address, host.port, host.mac, kept=entry.routed)

    def _leaves(self, key: HostKey, xtr: str, now: float) -> None:
        """An xTR sends on what comes for an EID, for a while; the xTRs of its subnet for longer."""
        self._left.setdefault(key, {})[xtr] = None
        self._timers.schedule(("left", (key, xtr)), now + self._settings.forward_time)

    def _forget_left(self, key: HostKey, xtr: str) -> None:
        self._timers.cancel(("left", (key, xtr)))
        left = self._left[key]
        del left[xtr]
        if not left:
            del self._left[key]

    def _remove(self, entry: Entry) -> Iterator[Decision]:
        """Nobody is known to have the EID any more."""
        key = entry.host.key
        self._directory.remove(entry)
        for name in ("alive", "asked", "contender", "held"):
            self._timers.cancel((name, key))
        if entry.routed:
            yield HostRoute(entry.place.xtr, entry.eid, None)
        for xtr in {entry.place.xtr, *entry.subnet.homes, *self._left.get(key, {})}:
            yield Leave(xtr, key, away=False)
        for xtr in list(self._left.get(key, {})):
            self._forget_left(key, xtr)

    def _forgotten(self, report: Forgotten) -> Iterator[Decision]:
        entry = self._directory.get(report.key)
        if entry is not None and entry.place.xtr == report.xtr:
            yield from self._remove(entry)

    def _sought(self, sought: Sought) -> Iterator[Decision]:
        """Somebody at one site of a stretched subnet wants an EID that is not there."""
        subnet = subnet_of(sought.key, self._subnets)
        if subnet is None or not subnet.stretched:
            return
        entry = self._directory.get(sought.key)
        if entry is not None:
            yield Ask(entry.place.xtr, sought.key, entry.place.port)
            return
        for home in subnet.homes:
            if home != sought.xtr:
                yield Ask(home, sought.key, "")

    # --- ports -------------------------------------------------------------------------------

    def port(self, xtr: str, name: str, *, up: bool, now: float) -> list[Decision]:
        """A port came, went, or changed its link state."""
        return [*self._watch.changed((xtr, name), now, up=up)]

    # --- duplicates --------------------------------------------------------------------------

    def _ask_previous(self, entry: Entry, key: HostKey, now: float) -> Iterator[Decision]:
        """Does somebody still answer where the EID came from?"""
        assert entry.previous is not None
        place, _ = entry.previous
        yield Ask(place.xtr, key, place.port)
        self._timers.schedule(("asked", key), now + ASK_INTERVAL)

    def _left_behind(self, entry: Entry, place: Place) -> bool:
        """Whether it was at `place` a moment ago, and cannot just have come back.

        It can where the port that it is at now has gone down again.
        """
        if entry.previous is None or entry.previous[0] != place:
            return False
        return not self._watch.is_down(entry.place)

    def _old_place(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        assert entry.previous is not None
        _, since = entry.previous
        if sighted.sign is not Sign.ANSWER:
            # Sent before the move, or by a duplicate that will answer in a moment.
            yield self._refuse("eid-just-moved", sighted)
            return
        newcomer, entry.previous = entry.place, None
        self._timers.cancel(("asked", sighted.host.key))
        yield from self._change_place(entry, sighted, now)
        entry.since = since
        yield from self._duplicate(entry, newcomer, now)

    def _duplicate(self, entry: Entry, newcomer: Place, now: float) -> Iterator[Decision]:
        """The place still answers, so it keeps the EID. newcomer: where it was seen as well."""
        known = now < entry.contested and entry.duplicate == newcomer
        entry.contested = now + self._settings.hold_down
        entry.duplicate = newcomer
        self._tally["duplicates"] += 1
        if not known:
            yield self._event("eid.duplicate", entry, newcomer=str(newcomer))

    def _wait(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        """A duplicate was seen before: the newcomer waits until its place was silent."""
        key, known = sighted.host.key, entry.contender
        if known is not None or now - entry.challenged < CHALLENGE_INTERVAL:
            yield self._refuse("eid-contested", sighted)
            return
        entry.contender, entry.asked, entry.challenged = sighted, 0, now
        yield Ask(entry.place.xtr, key, entry.place.port)
        self._timers.schedule(("contender", key), now + ASK_INTERVAL)

    # --- flap damping ------------------------------------------------------------------------

    def _hold_down(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        key = sighted.host.key
        entry.damping.failed(now)
        entry.held_until = now + entry.damping.wait
        entry.recent.clear()
        self._timers.schedule(("held", key), entry.held_until)
        self._tally["held-down"] += 1
        yield self._event(
            "eid.held-down",
            entry,
            seen_at=str(place_of(sighted)),
            moves=self._settings.max_moves,
            window=self._settings.window,
            seconds=entry.damping.wait,
        )
        yield self._refuse("eid-held-down", sighted)

    # --- time --------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` has work to do, epoch seconds."""
        return self._timers.next()

    def handle_timer(self, now: float) -> list[Decision]:
        """Ask again, and act on silence."""
        decisions: list[Decision] = []
        for kind, key in self._timers.due(now):
            if kind == SEEK_TIMER:
                port, attempt = key
                decisions += self._watch.seek(port, attempt, now)
                continue
            if kind == "left":
                decisions += self._left_long_ago(*key)
                continue
            entry = self._directory.get(key)
            if entry is None:
                continue
            if kind == "asked":
                decisions += self._asked_due(entry, key, now)
            elif kind == "contender":
                decisions += self._contender_due(entry, key, now)
            elif kind == "held":
                decisions.append(self._event("eid.released", entry))
            elif kind == "alive":
                decisions += self._alive_due(entry, key, now)
        return decisions

    def _left_long_ago(self, key: HostKey, xtr: str) -> Iterator[Decision]:
        if xtr in self._left.get(key, {}):
            self._forget_left(key, xtr)
            entry = self._directory.get(key)
            if entry is None or xtr not in entry.subnet.homes:
                yield Leave(xtr, key, away=False)

    def _asked_due(self, entry: Entry, key: HostKey, now: float) -> Iterator[Decision]:
        entry.asked += 1
        if entry.previous is None or entry.asked >= ASK_ATTEMPTS:
            entry.previous, entry.asked = None, 0
            return
        yield from self._ask_previous(entry, key, now)

    def _contender_due(self, entry: Entry, key: HostKey, now: float) -> Iterator[Decision]:
        entry.asked += 1
        if entry.contender is None:
            return
        if entry.asked < ASK_ATTEMPTS:
            yield Ask(entry.place.xtr, key, entry.place.port)
            self._timers.schedule(("contender", key), now + ASK_INTERVAL)
            return
        contender, entry.contender, entry.contested = entry.contender, None, 0.0
        yield from self._move(entry, contender, now)

    def _alive_due(self, entry: Entry, key: HostKey, now: float) -> Iterator[Decision]:
        """An EID with a host route must be there: its ITRs would go on sending for ever."""
        if not entry.routed:
            return
        interval = self._settings.probe_interval
        if entry.silent == 0 and now - entry.seen < interval:
            self._timers.schedule(("alive", key), entry.seen + interval)
            return
        if not self._connected(entry.place.xtr):
            # Its switch goes on forwarding, and nobody can ask there.
            self._timers.schedule(("alive", key), now + interval)
            return
        if entry.silent < ASK_ATTEMPTS or now < entry.held_until:
            entry.silent += 1
            yield Ask(entry.place.xtr, key, entry.place.port)
            self._timers.schedule(("alive", key), now + GONE_INTERVAL)
            return
        self._tally["gone"] += 1
        yield self._event("eid.gone", entry, silent_for=round(now - entry.seen, 3))
        yield from self._remove(entry)

    # --- what it shows -----------------------------------------------------------------------

    def _event(self, kind: str, entry: Entry, **data: object) -> Event:
        place = {"xtr": entry.place.xtr, "port": entry.place.port, "mac": entry.place.mac}
        return Event(kind, _text(entry.host.key), {**place, **data})

    def eids(self, now: float) -> Iterator[MobileEid]:
        """Every EID that is followed, in no particular order."""
        for entry in self._directory:
            yield entry.view(now)

    def eid(self, iid: int, address: IPAddress, now: float) -> MobileEid | None:
        """One of them."""
        entry = self._directory.get((iid, address))
        return None if entry is None else entry.view(now)

    def counters(self) -> Iterator[Counter]:
        """How often what happened."""
        for name in ("moves", "duplicates", "held-down", "gone", "sightings-refused"):
            yield Counter(f"mobility-{name}", self._tally[name])


def _text(key: HostKey) -> str:
    return f"[{key[0]}] {key[1]}"
