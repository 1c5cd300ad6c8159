"""The event stream (server-sent events, HTML Standard section 9.2): who gets what, in which form.

The kept events are the queue of every client at once: a client is a place in them, and one that
falls behind so far that events are forgotten before it read them is told how many. So no client,
however slow, holds memory, and none keeps back another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from lisp_sdn.address import EidPrefix
from lisp_sdn.config import Config
from lisp_sdn.errors import FieldError
from lisp_sdn.views import EventEntry

EVENT_STREAM = "text/event-stream"

HEARTBEAT = b": still here\n\n"
"""A comment: tells proxies and the client that the connection lives, and us when it does not."""

HEARTBEAT_INTERVAL = 15.0
"""Seconds without an event until a heartbeat."""

RETRY = 2.0
"""Seconds after which a client that lost the connection is to come back."""

BATCH = 200
"""Events in one piece at most, so that others get their turn."""


class EventFilter:
    """Which events are wanted; None stands for all.

    kind: it, or all that begin with it and a dot. subject: exactly. xtr: that concern this xTR.
    site: that concern this site: by name, by one of its xTRs, or by an EID inside of its
    EID-prefixes.
    """

    def __init__(
        self,
        config: Config,
        *,
        kind: str | None = None,
        subject: str | None = None,
        site: str | None = None,
        xtr: str | None = None,
    ) -> None:
        self._kind = kind
        self._subject = subject
        self._site = site
        self._xtr = xtr
        settings = config.site(site) if site is not None else None
        self._prefixes = [entry.eid for entry in settings.eid_prefixes] if settings else []
        self._xtrs = {item.name for item in config.xtrs if item.site == site}

    def fits(self, entry: EventEntry) -> bool:
        """Whether an event is wanted."""
        kind = self._kind
        if kind is not None and entry.kind != kind and not entry.kind.startswith(f"{kind}."):
            return False
        if self._subject not in (None, entry.subject):
            return False
        if self._xtr not in (None, entry.data.get("xtr")):
            return False
        return self._site is None or self._of_site(entry)

    def _of_site(self, entry: EventEntry) -> bool:
        data = entry.data
        if data.get("site") == self._site or data.get("xtr") in self._xtrs:
            return True
        sites = data.get("sites")
        if isinstance(sites, list | tuple) and self._site in sites:
            return True
        try:
            eid = EidPrefix.from_text(entry.subject)
        except FieldError:
            return False
        return any(prefix.covers(eid) for prefix in self._prefixes)


class Follow:
    """One client's place in the events.

    events: kept events after an id. encode: an event as JSON. epoch: seconds since the epoch at
    which the controller started; ids begin at 1 again with it. lost: how many events were
    forgotten before they were read. behind: whether there is more to take at once.
    """

    def __init__(
        self,
        events: Callable[[int], Iterable[EventEntry]],
        encode: Callable[[EventEntry], bytes],
        wanted: EventFilter,
        *,
        epoch: float,
        after: int,
    ) -> None:
        self._events = events
        self._encode = encode
        self._wanted = wanted
        self._epoch = int(epoch)
        self._after = after
        self._told = after
        self.behind = False
        self.lost = 0

    def begin(self) -> bytes:
        """What comes first: how long to wait before coming back."""
        return f"retry: {int(RETRY * 1000)}\n\n".encode()

    def take(self) -> bytes:
        """What has happened since the last call, at most `BATCH` events; empty without any."""
        pieces = []
        batch = list(islice(self._events(self._after), BATCH))
        self.behind = len(batch) == BATCH
        if batch:
            missing = batch[0].id - self._after - 1
            if missing:
                self.lost += missing
                pieces.append(b'event: overflow\ndata: {"lost": %d}\n\n' % missing)
            self._after = batch[-1].id
        for entry in batch:
            if self._wanted.fits(entry):
                pieces.append(self._entry(entry))
                self._told = entry.id
        return b"".join(pieces)

    def heartbeat(self) -> bytes:
        """With the place, so that a client with a narrow filter resumes from there."""
        if self._told == self._after:
            return HEARTBEAT
        self._told = self._after
        # An id without data sets the client's Last-Event-ID and shows nothing.
        return HEARTBEAT[:-1] + f"id: {self._epoch}-{self._after}\n\n".encode()

    def _entry(self, entry: EventEntry) -> bytes:
        # JSON holds no line break.
        return b"id: %d-%d\ndata: %s\n\n" % (self._epoch, entry.id, self._encode(entry))


def place(given: str | None, epoch: float, last: int) -> int:
    """After which event to go on. given: Last-Event-ID, None or unreadable: after the newest.

    The place of a controller that ran before is none in this one: everything that is kept is new.
    """
    if given is None:
        return last
    started, dash, number = given.strip().rpartition("-")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        return last
    if (dash and started != str(int(epoch))) or int(number) > last:
        return 0
    return int(number)
