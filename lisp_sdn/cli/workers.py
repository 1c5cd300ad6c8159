"""Several workers of one Map-Server on one UDP port (SO_REUSEPORT).

Worker 0 is the Map-Server: it takes Map-Registers, expires registrations and writes the store.
The others, processes of their own, answer Map-Requests from a copy. A copy that ends is replaced
and filled again; one that cannot follow any more is ended.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from lisp_sdn.cli.replication import (
    FrameReader,
    Kind,
    Outbox,
    ReplicationError,
    changes_frame,
    complete_frame,
    datagram_frame,
    read_changes,
    read_datagram,
    ready_frame,
    relevant,
)
from lisp_sdn.cli.serve import Worker
from lisp_sdn.mapping.store import Change
from lisp_sdn.wire.messages.base import MessageType

LOGGER = logging.getLogger("lisp_sdn.map_server")

OUTBOX = 64 << 20
"""Octets that may wait for a slow worker; beyond it is ended and filled again."""

CHUNK = 1000
"""Changes of a snapshot in one frame."""

LOW_WATER = 1 << 20
"""A snapshot goes on when less than this waits."""

RESTART_SECONDS = 1.0
"""A worker that ended is replaced at most this often."""

_XTR_ID_BIT = 0x10
"""The I-bit in the second octet of a Map-Request (RFC 9437 section 4)."""


class Link:
    """One end of the stream between two workers, watched by a Worker's loop."""

    def __init__(
        self,
        worker: Worker,
        stream: socket.socket,
        on_frame: Callable[[Kind, bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        stream.setblocking(False)
        self._worker = worker
        self._stream = stream
        self._on_frame = on_frame
        self._on_end = on_end
        self._reader = FrameReader()
        self._outbox = Outbox(OUTBOX)
        self._refill: Callable[[], None] | None = None
        self._writing = False
        self.ended = False
        worker.watch(stream.fileno(), self._ready)

    def send(self, frame: bytes) -> None:
        """Queue a frame."""
        if self.ended:
            return
        if not self._outbox.add(frame):
            self.end(f"does not follow, {OUTBOX >> 20} MiB wait for it")
            return
        self._write()

    def refill(self, more: Callable[[], None] | None) -> None:
        """Call `more` whenever little is waiting; None: no longer."""
        self._refill = more
        self._write()

    @property
    def waiting(self) -> int:
        """Octets that wait to be written."""
        return len(self._outbox)

    def end(self, why: str) -> None:
        """Give the stream up."""
        if not self.ended:
            self.ended = True
            self._worker.unwatch(self._stream.fileno())
            self._stream.close()
            self._on_end(why)

    def _ready(self) -> None:
        self._read()
        if not self.ended:
            if self._refill is not None and len(self._outbox) < LOW_WATER:
                self._refill()
            self._write()

    def _read(self) -> None:
        while not self.ended:
            try:
                data = self._stream.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError as error:
                self.end(str(error))
                return
            if not data:
                self.end("ended")
                return
            try:
                for kind, body in self._reader.feed(data):
                    self._on_frame(kind, body)
            except ReplicationError as error:
                self.end(str(error))

    def _write(self) -> None:
        if self.ended:
            return
        data = self._outbox.take()
        sent = 0
        if data:
            try:
                sent = self._stream.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self.end(str(error))
                return
            self._outbox.give_back(data[sent:])
        wanted = bool(self._outbox) or self._refill is not None
        if wanted != self._writing:
            self._writing = wanted
            events = select.EPOLLIN | (select.EPOLLOUT if wanted else 0)
            self._worker.watch(self._stream.fileno(), self._ready, events)


class Replica:
    """A process of worker 0 that answers Map-Requests from a copy."""

    def __init__(self, number: int, worker: Worker, start: Callable[[int], Sequence[str]]) -> None:
        self.number = number
        self.ready = False
        self._worker = worker
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                start(theirs.fileno()), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self._snapshot: Iterator[Change] = worker.system.snapshot()
        self._link = Link(worker, ours, self._on_frame, self._on_end)
        self._link.refill(self._send_snapshot)

    @property
    def ended(self) -> bool:
        """Whether it has to be replaced."""
        return self._link.ended

    def publish(self, changes: Sequence[Change]) -> None:
        """Changes of the state, in order."""
        kept = relevant(changes)
        if kept:
            self._link.send(changes_frame(kept))

    def stop(self) -> None:
        """End the process."""
        self._link.end("stopped")
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send_snapshot(self) -> None:
        # What changes meanwhile is sent in between: a chunk shows the state when it is queued.
        chunk = list(itertools.islice(self._snapshot, CHUNK))
        if chunk:
            self._link.send(changes_frame(chunk))
        else:
            self._link.refill(None)
            self._link.send(complete_frame())

    def _on_frame(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.DATAGRAM:
            name, data = read_datagram(body)
            self._worker.receive(data, name, self._worker.clock())
        elif kind is Kind.READY:
            self.ready = True
        else:
            raise ReplicationError(f"unexpected {kind.name} from a worker")

    def _on_end(self, why: str) -> None:
        LOGGER.info("worker %d: %s", self.number, why)
        self.ready = False


class Replicas:
    """All of them, kept alive. start: the command of a replica, given the stream's descriptor."""

    def __init__(self, count: int, worker: Worker, start: Callable[[int], Sequence[str]]) -> None:
        self._worker = worker
        self._start = start
        self._replicas = [Replica(number, worker, start) for number in range(1, count + 1)]
        self._checked = time.monotonic()

    @property
    def ready(self) -> int:
        """How many serve."""
        return sum(replica.ready for replica in self._replicas)

    def publish(self, changes: Sequence[Change]) -> None:
        """Tell all of them; this is `on_append` of the store."""
        for replica in self._replicas:
            replica.publish(changes)

    def check(self) -> None:
        """Replace those that ended."""
        if time.monotonic() - self._checked < RESTART_SECONDS:
            return
        self._checked = time.monotonic()
        for at, replica in enumerate(self._replicas):
            if replica.ended:
                replica.stop()
                LOGGER.error("worker %d has ended, another one takes its place", replica.number)
                self._replicas[at] = Replica(replica.number, self._worker, self._start)

    def stop(self) -> None:
        """End all of them."""
        for replica in self._replicas:
            replica.stop()


class Copy:
    """The other end, in the replica: follows worker 0 and hands on what is not for a copy.

    serve: called once the copy is whole.
    """

    def __init__(self, stream: socket.socket, serve: Callable[[], None]) -> None:
        self._stream = stream
        self._serve = serve
        self._link: Link | None = None
        self._worker: Worker | None = None

    def attach(self, worker: Worker) -> None:
        """Follow from now on."""
        self._worker = worker
        self._link = Link(worker, self._stream, self._on_frame, lambda why: worker.stop())

    def hand_over(self, name: bytes, data: bytes) -> bool:
        """Give worker 0 what only it may handle."""
        if is_for_a_copy(data) or self._link is None:
            return False
        with contextlib.suppress(ReplicationError):
            self._link.send(datagram_frame(name, data))
        return True

    def _on_frame(self, kind: Kind, body: bytes) -> None:
        worker = self._worker
        assert worker is not None
        if kind is Kind.CHANGES:
            now = worker.clock()
            worker.carry_out(worker.system.apply(read_changes(body), now), now)
        elif kind is Kind.COMPLETE:
            self._serve()
            assert self._link is not None
            self._link.send(ready_frame())
        else:
            raise ReplicationError(f"unexpected {kind.name} from worker 0")


def is_for_a_copy(data: bytes) -> bool:
    """Whether a copy may handle a datagram: a Map-Request that subscribes to nothing."""
    if not data:
        return True
    at = 0
    if data[0] >> 4 == MessageType.ECM:
        if len(data) < 24 or data[0] & 0x08:
            return False
        at = 4 + (data[4] & 0x0F) * 4 + 8 if data[4] >> 4 == 4 else 52
    if len(data) < at + 2 or data[at] >> 4 != MessageType.MAP_REQUEST:
        return False
    return not data[at + 1] & _XTR_ID_BIT
