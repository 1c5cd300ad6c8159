"""One worker of the standalone Map-Server: sockets and timers around a MapSystem.

A plain loop over epoll(7), without threads but for the one that writes the store. It carries out
what the cores return and decides nothing.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from lisp_sdn.actions import Action, Dropped, Event, MappingChanged, SendControl
from lisp_sdn.address import Endpoint
from lisp_sdn.cli.datagrams import (
    DatagramSocket,
    pack_address,
    pack_endpoint,
    unpack_endpoint,
)
from lisp_sdn.errors import StoreError
from lisp_sdn.mapping.fastpath import REFUSED, FastPath
from lisp_sdn.mapping.store import Store
from lisp_sdn.mapping.system import MapSystem

LOGGER = logging.getLogger("lisp_sdn.map_server")

ROUNDS = 8
"""Batches taken from one socket before the others, the timers and the store get their turn."""

IDLE_SECONDS = 1.0
"""The loop looks at its timers at least this often."""

REPORT_SECONDS = 1.0
"""How often the fast path's counts are added to the counters."""

RETRY_SECONDS = 1.0
"""Pause after the store could not be written."""

LOG_PERIOD = 10.0
"""Seconds in which one kind of refusal gets one line."""

MAX_LOGGED = 1000
"""Kinds of refusal that the log tells apart."""


class Flusher:
    """Writes the store in a thread of its own and says when something became durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted = threading.Event()
        self._stopping = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when something became durable; `acknowledge` makes it quiet again."""
        return self._read

    def acknowledge(self) -> None:
        """Take note of what `fileno` said."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def wake(self) -> None:
        """Something was appended."""
        self._wanted.set()

    def stop(self) -> None:
        """Write what is left, once, and end."""
        self._stopping = True
        self._wanted.set()
        self._thread.join()
        self._store.close()
        os.close(self._read)
        os.close(self._write)

    def _run(self) -> None:
        while not self._stopping:
            self._wanted.wait()
            self._wanted.clear()
            while self._store.durable_seq < self._store.seq:
                try:
                    self._store.flush()
                except StoreError as error:
                    LOGGER.error("store: %s; trying again", error)
                    if self._stopping:
                        return
                    time.sleep(RETRY_SECONDS)
                    continue
                with contextlib.suppress(BlockingIOError):
                    os.write(self._write, b"\0")


class Worker:
    """Sockets, timers and a MapSystem.

    flusher: writes the store in a thread; None: the store is flushed in the loop. hand_over: takes
    the datagrams, given as sockaddr and octets, that another worker answers, and says whether it
    did. clock: seconds since the epoch.
    """

    def __init__(
        self,
        system: MapSystem,
        fast: FastPath,
        store: Store,
        *,
        flusher: Flusher | None = None,
        hand_over: Callable[[bytes, bytes], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.system = system
        self.fast = fast
        self.clock = clock
        self._store = store
        self._flusher = flusher
        self._hand_over = hand_over
        self._reported = 0.0
        self._chores: list[Callable[[], object]] = []
        self._sockets: dict[int, DatagramSocket] = {}
        self._by_family: dict[int, DatagramSocket] = {}
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._log = RefusalLog()
        self._stopping = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._wake_read.setblocking(False)
        self.watch(self._wake_read.fileno(), self._woken)
        if flusher is not None:
            self.watch(flusher.fileno(), self._flushed)

    # --- set-up ---

    def add_socket(self, sock: socket.socket) -> None:
        """Serve a bound UDP socket; the first of each family also sends."""
        datagrams = DatagramSocket(sock)
        self._sockets[sock.fileno()] = datagrams
        self._by_family.setdefault(sock.family, datagrams)
        self.watch(sock.fileno(), lambda: self._readable(datagrams))

    def watch(
        self, descriptor: int, handler: Callable[[], None], events: int = select.EPOLLIN
    ) -> None:
        """Call `handler` when a descriptor is ready; replaces what was watched for before."""
        known = descriptor in self._handlers
        self._handlers[descriptor] = handler
        (self._epoll.modify if known else self._epoll.register)(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def stop_on_signals(self) -> None:
        """End `run` on SIGTERM and SIGINT."""
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())

    def stop(self) -> None:
        """End `run` after this turn."""
        self._stopping = True

    # --- the loop ---

    def start(self) -> None:
        """Recover what the store holds."""
        now = self.clock()
        with loading():
            actions = self.system.start(now)
        self.carry_out(actions, now)

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopping:
            for descriptor, _ in self._epoll.poll(self._patience()):
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler()
            self._timers()
            self._keep()
            for chore in tuple(self._chores):
                chore()

    def every_turn(self, chore: Callable[[], object]) -> None:
        """Call something in every turn of the loop, at least once in `IDLE_SECONDS`."""
        self._chores.append(chore)

    def until_done(self, chore: Callable[[], bool]) -> None:
        """Call something in every turn until it returns True."""

        def attempt() -> None:
            if chore():
                self._chores.remove(attempt)

        self._chores.append(attempt)

    def close(self) -> None:
        """Write what is left and close the sockets."""
        if self._flusher is not None:
            self._flusher.stop()
        for datagrams in self._sockets.values():
            datagrams.close()
        self._epoll.close()

    def _patience(self) -> float:
        timer = self.system.next_timer()
        if timer is None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(0.0, timer - self.clock()))

    def _timers(self) -> None:
        now = self.clock()
        timer = self.system.next_timer()
        if timer is not None and timer <= now:
            self.carry_out(self.system.handle_timer(now), now)
        if not 0 <= now - self._reported < REPORT_SECONDS:
            self._reported = now
            self.carry_out(self.fast.report(now), now)

    def _keep(self) -> None:
        """See that what was appended becomes durable."""
        store = self._store
        if store.durable_seq < store.seq:
            if self._flusher is not None:
                self._flusher.wake()
            else:
                store.flush()
                self._flushed()

    def _flushed(self) -> None:
        if self._flusher is not None:
            self._flusher.acknowledge()
        now = self.clock()
        self.carry_out(self.system.durable(self._store.durable_seq, now), now)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    # --- datagrams ---

    def _readable(self, datagrams: DatagramSocket) -> None:
        quick, send = self.fast.answer, datagrams.answer
        version, width = (4, 4) if datagrams.family == socket.AF_INET else (6, 16)
        for _ in range(ROUNDS):
            batch = datagrams.receive()
            if not batch:
                return
            now = self.clock()
            self.fast.begin(now)
            for index, data in enumerate(batch):
                found = quick(data, version, now)
                if found is None:
                    self.receive(data, datagrams.source(index), now)
                elif found is not REFUSED:
                    reply, address, port = found
                    if len(address) == width:
                        send(reply, address, port)
                    else:
                        self._send(reply, pack_address(address, port), len(address))
            self._flush_sockets()

    def receive(self, data: bytes, name: bytes, now: float) -> None:
        """A datagram that the fast path leaves to the whole MapSystem. name: sockaddr."""
        if self._hand_over is not None and self._hand_over(name, data):
            return
        self.carry_out(self.fast.receive(data, unpack_endpoint(name), now), now)

    def carry_out(self, actions: Iterable[Action], now: float) -> None:
        """Do what a core asks for."""
        for action in actions:
            if isinstance(action, SendControl):
                address = action.destination.address
                self._send(action.data, pack_endpoint(action.destination), len(address.packed))
            elif isinstance(action, MappingChanged):
                self.fast.changed(action.eid)
            elif isinstance(action, Dropped | Event):
                self._log.note(action, now)
        self._flush_sockets()

    def _send(self, data: bytes, name: bytes, width: int) -> None:
        family = socket.AF_INET if width == 4 else socket.AF_INET6
        datagrams = self._by_family.get(family)
        if datagrams is None:
            dropped = Dropped("map-server", "no-socket", f"no IPv{4 if width == 4 else 6} socket")
            self._log.note(dropped, self.clock())
        else:
            datagrams.send(data, name)

    def _flush_sockets(self) -> None:
        for datagrams in self._sockets.values():
            datagrams.flush()

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where it listens."""
        return [datagrams.endpoint for datagrams in self._sockets.values()]


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Keep the garbage collector from walking the mapping database again and again.

    What is loaded stays, and hardly anything of ours is in a reference cycle: at a million
    registrations the collector else takes a fifth of the processor, and more while they are read.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)


class RefusalLog:
    """Log lines for drops and events: one for each kind in `LOG_PERIOD`, with how many more."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], tuple[float, int]] = {}

    def note(self, what: Dropped | Event, now: float) -> None:
        """Log it, or count it."""
        if isinstance(what, Event):
            pairs = " ".join(f"{key}={value}" for key, value in what.data.items())
            LOGGER.info("%s %s %s", what.kind, what.subject, pairs)
            return
        key = (what.where, what.reason, what.source)
        last, held = self._kinds.pop(key, (float("-inf"), 0))
        if 0 <= now - last < LOG_PERIOD:
            self._kinds[key] = (last, held + 1)
            return
        if len(self._kinds) >= MAX_LOGGED:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[key] = (now, 0)
        more = f" ({held} more in between)" if held else ""
        source = f" from {what.source}" if what.source else ""
        LOGGER.warning("dropped, %s%s: %s%s", what.reason, source, what.detail, more)
