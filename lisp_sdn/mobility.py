"""Host mobility: where every EID is that may roam, and what changes when one is seen elsewhere.

An EID that is seen at another port that allows mobility is there from then on: it gets a host
route from that xTR, the old one lets go of it and sends on what still arrives for it. Then the old
place is asked. If somebody still answers for the EID there, it is a duplicate: whoever had it first
and answers keeps it, and from then on every newcomer waits until the old place was silent.
"""

from __future__ import annotations

import itertools
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.address import EidPrefix, IPAddress
from lisp_sdn.config import Config, Subnet
from lisp_sdn.views import Counter, MobileEid, MobileState
from lisp_sdn.xtr.damping import Damping
from lisp_sdn.xtr.hosts import Host, HostKey
from lisp_sdn.xtr.requests import (
    Admit,
    Ask,
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

SEEK_AGAIN = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between the questions at a port that came up: the host may not hear the first."""

SEEK_TIME = 3.0
"""Seconds between the ends of one move: a port that goes down, and one that comes up."""

SEEK_AT_MOST = 64
"""EIDs asked for at a port that came up."""

Decision = Order | Event | Dropped


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is: xTR, name of the port, its MAC address."""

    xtr: str
    port: str
    mac: str

    def __str__(self) -> str:
        return f"{self.xtr} {self.port} {self.mac}"


@dataclass(slots=True)
class Entry:
    """What is known of one EID; times are epoch seconds.

    since: when it came to its place; seen: last sign of it there. moves: all of them; recent: times
    of those that count for hold-down, held_until: no other before. previous: the place that is
    being asked after a move. contender: a newcomer that waits for the answer of the place.
    contested: until when newcomers wait; challenged: when one was last. asked: questions to the
    previous place or about a contender, silent: to its own place, without an answer.
    """

    subnet: Subnet
    place: Place
    host: Host
    since: float
    seen: float
    damping: Damping
    routed: bool = False
    moves: int = 0
    recent: list[float] = field(default_factory=list)
    held_until: float = 0.0
    previous: Entry | None = None
    contender: Sighted | None = None
    contested: float = 0.0
    duplicate: Place | None = None
    challenged: float = 0.0
    asked: int = 0
    silent: int = 0


def place_of(sighted: Sighted) -> Place:
    """Where an EID was seen."""
    return Place(sighted.xtr, sighted.port, sighted.host.mac)


class Mobility:
    """Follows the EIDs of all ports that allow mobility. Returns what xTRs are to do about them.

    connected: whether the switch of an xTR is there to be asked.
    """

    def __init__(self, config: Config, connected: Callable[[str], bool]) -> None:
        self._config = config
        self._connected = connected
        self._settings = config.mobility
        self._subnets = config.mobile_subnets
        self._entries: dict[HostKey, Entry] = {}
        self._left: dict[HostKey, dict[str, None]] = {}
        self._timers = Timers()
        self._tally: Tally[str] = Tally()

        self._moved: list[HostKey] = []
        self._down: set[tuple[str, str]] = set()
        self._came_up: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    # --- another configuration ---------------------------------------------------------------

    def leave(self, config: Config) -> list[Decision]:
        """Let go of what may not roam any more under another configuration, while its xTRs are
        there still.
        """
        ports = {
            (xtr.name, port.name)
            for xtr in config.xtrs
            for port in xtr.eid_ports
            if port.allow_mobility
        }
        decisions: list[Decision] = []
        self._moved = []
        for key, entry in list(self._entries.items()):
            subnet = _subnet_of(key, config.mobile_subnets)
            if subnet is None or (entry.place.xtr, entry.place.port) not in ports:
                decisions += self._remove(key, entry)
            elif subnet != entry.subnet:
                self._moved.append(key)
        self._config, self._settings = config, config.mobility
        self._subnets = config.mobile_subnets
        return decisions

    def come(self, now: float) -> list[Decision]:
        """Go on under that configuration, when its xTRs are there."""
        decisions: list[Decision] = []
        for key in self._moved:
            entry = self._entries[key]
            entry.subnet = _subnet_of(key, self._subnets) or entry.subnet
            at = Sighted(entry.place.xtr, entry.place.port, entry.host, Sign.ADOPTED)
            routed = entry.routed
            decisions += self._settle(entry, at, now)
            if routed and not entry.routed:
                decisions.append(HostRoute(entry.place.xtr, EidPrefix.host(*key), None))
        self._moved = []
        return decisions

    # --- what xTRs report --------------------------------------------------------------------

    def report(self, report: Report, now: float) -> list[Decision]:
        """Handle what an xTR has noticed."""
        if isinstance(report, Sighted):
            return list(self._sighted(report, now))
        if isinstance(report, Forgotten):
            return list(self._forgotten(report, now))
        return list(self._sought(report))

    def _sighted(self, sighted: Sighted, now: float) -> Iterator[Decision]:
        key, place = sighted.host.key, place_of(sighted)
        subnet = self._subnet(key)
        if subnet is None:
            yield self._refuse("eid-not-mobile", sighted)
            return
        entry = self._entries.get(key)
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

    def _subnet(self, key: HostKey) -> Subnet | None:
        return _subnet_of(key, self._subnets)

    def _refuse(self, reason: str, sighted: Sighted) -> Dropped:
        self._tally["sightings-refused"] += 1
        return Dropped(WHERE, reason, f"{_text(sighted.host.key)} at {place_of(sighted)}")

    # --- coming and going --------------------------------------------------------------------

    def _appeared(self, sighted: Sighted, subnet: Subnet, now: float) -> Iterator[Decision]:
        if len(self._entries) >= self._settings.max_eids:
            yield self._refuse("mobile-eids-full", sighted)
            if sighted.xtr in subnet.homes and not subnet.stretched:
                yield Admit(sighted.xtr, sighted.host, sighted.held)
            return
        damping = Damping(self._settings.hold_down, self._settings.hold_down_limit)
        entry = Entry(subnet, place_of(sighted), sighted.host, now, now, damping)
        self._entries[sighted.host.key] = entry
        yield from self._settle(entry, sighted, now)
        if entry.routed and sighted.sign is not Sign.ADOPTED:
            yield self._event("eid.appeared", entry, sign=sighted.sign.value)

    def _still_there(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        entry.seen, entry.silent = now, 0
        contender, entry.contender = entry.contender, None
        if contender is not None and sighted.sign is Sign.ANSWER:
            self._timers.cancel(("contender", sighted.host.key))
            yield from self._duplicate(entry, place_of(contender), now)
            yield self._refuse("eid-duplicate", contender)
        if sighted.sign is not Sign.ANSWER:
            # The xTR asks because it does not know it: after a restart, or it was evicted there.
            host = self._host(entry, sighted.host)
            entry.host = host
            yield Admit(sighted.xtr, host, sighted.held)

    def _move(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        key, settings = sighted.host.key, self._settings
        entry.recent = [t for t in entry.recent if now - t < settings.window]
        if len(entry.recent) >= settings.max_moves:
            yield from self._hold_down(entry, sighted, now)
            return
        old = Entry(entry.subnet, entry.place, entry.host, entry.since, entry.seen, entry.damping)
        entry.recent.append(now)
        entry.moves += 1
        self._tally["moves"] += 1
        entry.previous = old
        yield from self._change_place(entry, sighted, now)
        yield self._event("eid.moved", entry, was=str(old.place), sign=sighted.sign.value)
        entry.asked = 0
        yield from self._ask_previous(entry, key, now)

    def _change_place(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        """To the place of a sighting, away from the one where it is."""
        key, old, routed = sighted.host.key, entry.place, entry.routed
        entry.place, entry.since, entry.seen = place_of(sighted), now, now
        yield from self._settle(entry, sighted, now)
        if old.xtr == sighted.xtr:
            return
        if routed:
            yield HostRoute(old.xtr, EidPrefix.host(*key), None)
        if old.xtr not in entry.subnet.homes:
            self._left.setdefault(key, {})[old.xtr] = None
            self._timers.schedule(("left", (key, old.xtr)), now + self._settings.forward_time)
        yield Leave(old.xtr, key, away=True)

    def _settle(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        """Let it be at the place of a sighting: rules there, a host route if it needs one."""
        key, subnet, xtr = sighted.host.key, entry.subnet, sighted.xtr
        at_home = xtr in subnet.homes and not subnet.stretched
        entry.routed = not at_home
        entry.host = self._host(entry, sighted.host)
        yield Admit(xtr, entry.host, sighted.held)
        if xtr in self._left.get(key, {}):
            self._forget_left(key, xtr)
        if at_home:
            self._timers.cancel(("alive", key))
        else:
            owner = self._config.owner(subnet.eid)
            assert owner is not None
            yield HostRoute(xtr, EidPrefix.host(*key), owner[0].name)
            self._timers.schedule(("alive", key), now + self._settings.probe_interval)
        for home in subnet.homes:
            if home != xtr:
                yield Leave(home, key, away=True)

    @staticmethod
    def _host(entry: Entry, host: Host) -> Host:
        return Host(host.iid, host.address, host.port, host.mac, kept=entry.routed)

    def _forget_left(self, key: HostKey, xtr: str) -> None:
        self._timers.cancel(("left", (key, xtr)))
        left = self._left[key]
        del left[xtr]
        if not left:
            del self._left[key]

    def _remove(self, key: HostKey, entry: Entry) -> Iterator[Decision]:
        """Nobody is known to have the EID any more."""
        del self._entries[key]
        for name in ("alive", "asked", "contender", "held"):
            self._timers.cancel((name, key))
        if entry.routed:
            yield HostRoute(entry.place.xtr, EidPrefix.host(*key), None)
        for xtr in {entry.place.xtr, *entry.subnet.homes, *self._left.get(key, {})}:
            yield Leave(xtr, key, away=False)
        for xtr in list(self._left.get(key, {})):
            self._forget_left(key, xtr)

    def _forgotten(self, report: Forgotten, now: float) -> Iterator[Decision]:
        entry = self._entries.get(report.key)
        if entry is not None and entry.place.xtr == report.xtr:
            yield from self._remove(report.key, entry)

    def _sought(self, sought: Sought) -> Iterator[Decision]:
        """Somebody at one site of a stretched subnet wants an EID that is not there."""
        subnet = self._subnet(sought.key)
        if subnet is None or not subnet.stretched:
            return
        entry = self._entries.get(sought.key)
        if entry is not None:
            yield Ask(entry.place.xtr, sought.key, entry.place.port)
            return
        for home in subnet.homes:
            if home != sought.xtr:
                yield Ask(home, sought.key, "")

    # --- ports -------------------------------------------------------------------------------

    def port(self, xtr: str, name: str, *, up: bool, now: float) -> list[Decision]:
        """A port came, went, or changed its link state.

        A host that says nothing after it was plugged in is found by asking: EIDs of ports that are
        down are asked for at ports that came up.
        """
        iid = self._mobile_ports().get((xtr, name))
        if iid is None:
            return []
        place = (xtr, name)
        if not up:
            self._down.add(place)
            decisions: list[Decision] = []
            for other in [p for p, since in self._came_up.items() if now - since < SEEK_TIME]:
                decisions += self._seek(other, 0, now)
            return decisions
        self._down.discard(place)
        self._came_up[place] = now
        return self._seek(place, 0, now)

    def _mobile_ports(self) -> dict[tuple[str, str], int]:
        return {
            (xtr.name, port.name): port.iid
            for xtr in self._config.xtrs
            for port in xtr.eid_ports
            if port.allow_mobility
        }

    def _seek(self, place: tuple[str, str], attempt: int, now: float) -> list[Decision]:
        """Ask at a port that came up for EIDs whose port is down."""
        iid = self._mobile_ports().get(place)
        lost = (
            key
            for key, entry in self._entries.items()
            if key[0] == iid and (entry.place.xtr, entry.place.port) in self._down - {place}
        )
        keys = list(itertools.islice(lost, SEEK_AT_MOST)) if self._down else []
        if attempt < len(SEEK_AGAIN) and now - self._came_up.get(place, 0.0) < SEEK_TIME:
            self._timers.schedule(("seek", (place, attempt + 1)), now + SEEK_AGAIN[attempt])
        return [Ask(place[0], key, place[1]) for key in keys]

    # --- duplicates --------------------------------------------------------------------------

    def _ask_previous(self, entry: Entry, key: HostKey, now: float) -> Iterator[Decision]:
        """Does somebody still answer where the EID came from?"""
        assert entry.previous is not None
        yield Ask(entry.previous.place.xtr, key, entry.previous.place.port)
        self._timers.schedule(("asked", key), now + ASK_INTERVAL)

    def _left_behind(self, entry: Entry, place: Place) -> bool:
        """Whether it was at `place` a moment ago, and cannot just have come back.

        It can where the port that it is at now has gone down again.
        """
        if entry.previous is None or entry.previous.place != place:
            return False
        return (entry.place.xtr, entry.place.port) not in self._down

    def _old_place(self, entry: Entry, sighted: Sighted, now: float) -> Iterator[Decision]:
        old = entry.previous
        assert old is not None
        if sighted.sign is not Sign.ANSWER:
            # Sent before the move, or by a duplicate that will answer in a moment.
            yield self._refuse("eid-just-moved", sighted)
            return
        newcomer, entry.previous = entry.place, None
        self._timers.cancel(("asked", sighted.host.key))
        yield from self._change_place(entry, sighted, now)
        entry.since = old.since
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
            if kind == "seek":
                place, attempt = key
                decisions += self._seek(place, attempt, now)
                continue
            if kind == "left":
                decisions += self._left_long_ago(*key)
                continue
            entry = self._entries.get(key)
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
        yield from self._remove(key, entry)

    # --- what it shows -----------------------------------------------------------------------

    def _event(self, kind: str, entry: Entry, **data: object) -> Event:
        place = {"xtr": entry.place.xtr, "port": entry.place.port, "mac": entry.place.mac}
        return Event(kind, _text(entry.host.key), {**place, **data})

    def eids(self, now: float) -> Iterator[MobileEid]:
        """Every EID that is followed, in no particular order."""
        for entry in self._entries.values():
            yield self._view(entry, now)

    def eid(self, iid: int, address: IPAddress, now: float) -> MobileEid | None:
        """One of them."""
        entry = self._entries.get((iid, address))
        return None if entry is None else self._view(entry, now)

    def _view(self, entry: Entry, now: float) -> MobileEid:
        state = MobileState.AWAY if entry.routed else MobileState.HOME
        if entry.routed and entry.subnet.stretched and entry.place.xtr in entry.subnet.homes:
            state = MobileState.STRETCHED
        if now < entry.held_until:
            state = MobileState.HELD_DOWN
        elif now < entry.contested:
            state = MobileState.DUPLICATE
        return MobileEid(
            EidPrefix.host(*entry.host.key),
            entry.place.xtr,
            entry.place.port,
            entry.place.mac,
            state,
            entry.subnet.homes,
            entry.since,
            entry.seen,
            entry.moves,
            entry.held_until if now < entry.held_until else None,
            str(entry.duplicate) if now < entry.contested else None,
        )

    def counters(self) -> Iterator[Counter]:
        """How often what happened."""
        for name in ("moves", "duplicates", "held-down", "gone", "sightings-refused"):
            yield Counter(f"mobility-{name}", self._tally[name])


def _subnet_of(key: HostKey, subnets: Iterable[Subnet]) -> Subnet | None:
    iid, address = key
    return next((subnet for subnet in subnets if subnet.holds(iid, address)), None)


def _text(key: HostKey) -> str:
    return f"[{key[0]}] {key[1]}"
