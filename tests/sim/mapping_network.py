"""ITRs, a Map-Server and ETRs joined in memory by a network that loses, reorders and repeats."""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lisp_sdn.actions import Action, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config
from lisp_sdn.mapping.store import Batch, JournalEntry, Table, WriteBehindStore
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Locator, RegisteredPolicy
from lisp_sdn.wire import (
    Ecm,
    EidRecord,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    RequestRecord,
    auth,
    decode,
)

KEY = b"secret"
PORT = 4342
MS = ipaddress.ip_address("192.0.2.53")
TTL_MINUTES = 2
PREFIX = "10.0.0.0/24"
OTHER_PREFIX = "10.0.0.128/26"


class CrashingStore(WriteBehindStore):
    """A store in memory whose unflushed half is lost in a crash."""

    def __init__(self, tables: dict[Table, dict[bytes, bytes]] | None = None) -> None:
        super().__init__()
        self.tables = tables or {table: {} for table in Table}

    def _commit(self, batch: Batch) -> None:
        for table, changes in batch.tables.items():
            for key, value in changes.items():
                if value is None:
                    self.tables[table].pop(key, None)
                else:
                    self.tables[table][key] = value

    def load(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self.tables[table].items()))

    def count(self, table: Table) -> int:
        return len(self.tables[table])

    def _journal_stored(self, limit: int, before: int | None) -> Iterable[JournalEntry]:
        return ()


@dataclass
class Etr:
    """Registers what it has every minute, and again until a Map-Notify comes."""

    net: Network
    address: IPAddress
    merge: bool
    has: dict[EidPrefix, tuple[Locator, ...]] = field(default_factory=dict)
    gone: set[EidPrefix] = field(default_factory=set)
    up: bool = True
    nonce: int = 0
    due: float = 0.0
    backoff: float = 1.0
    waiting: int | None = None
    promised: dict[EidPrefix, tuple[Locator, ...]] = field(default_factory=dict)
    released: set[EidPrefix] = field(default_factory=set)

    def set(self, eid: EidPrefix, locators: tuple[Locator, ...]) -> None:
        self.has[eid] = locators
        self.gone.discard(eid)
        self._soon()

    def withdraw(self, eid: EidPrefix) -> None:
        if self.has.pop(eid, None) is not None:
            self.gone.add(eid)
            self._soon()

    def _soon(self) -> None:
        self.promised.clear()
        self.released.clear()
        self.due, self.backoff = self.net.now, 1.0

    def next_timer(self) -> float:
        return self.due if self.up and (self.has or self.gone) else float("inf")

    def handle_timer(self) -> None:
        self.nonce += 1
        self.waiting = self.nonce
        records = [EidRecord(eid, locators, TTL_MINUTES) for eid, locators in self.has.items()]
        records += [EidRecord(eid, (), 0) for eid in self.gone]
        message = MapRegister(
            self.nonce,
            tuple(records),
            proxy_reply=True,
            want_notify=True,
            merge=self.merge,
            xtr_id=int(self.address),
            site_id=1,
        )
        data = auth.sign(message, 1, KEY, 3, scope=auth.MacScope.MESSAGE)
        self.net.send(Endpoint(self.address, PORT), Endpoint(MS, PORT), data)
        self.due = self.net.now + self.backoff
        self.backoff = min(60.0, self.backoff * 2)

    def receive(self, data: bytes, source: Endpoint) -> None:
        message = decode(data)
        if not self.up or type(message) is not MapNotify or message.nonce != self.waiting:
            return
        auth.verify(data, message, KEY, 3)
        self.waiting, self.due, self.backoff = None, self.net.now + 60.0, 1.0
        self.released = {
            r.eid
            for r in message.records
            if not r.ttl_minutes and isinstance(r.eid, EidPrefix) and r.eid not in self.has
        }
        self.gone -= self.released
        self.promised = {
            r.eid: r.locators
            for r in message.records
            if r.ttl_minutes and isinstance(r.eid, EidPrefix)
        }


@dataclass
class Itr:
    """A map-cache that asks again every second while it has a question."""

    net: Network
    address: IPAddress
    cache: dict[EidPrefix, tuple[float, EidRecord]] = field(default_factory=dict)
    asking: dict[EidPrefix, tuple[int, float]] = field(default_factory=dict)
    solicited: dict[EidPrefix, float] = field(default_factory=dict)

    def look_up(self, host: EidPrefix) -> EidRecord | None:
        now = self.net.now
        found = [
            (eid.prefixlen, record)
            for eid, (expires, record) in self.cache.items()
            if eid.covers(host) and expires > now
        ]
        return max(found, key=lambda item: item[0])[1] if found else None

    def ask(self, host: EidPrefix, *, fresh: bool = False) -> None:
        if host not in self.asking and (fresh or self.look_up(host) is None):
            self.asking[host] = (0, self.net.now)

    def next_timer(self) -> float:
        return min((due for _, due in self.asking.values()), default=float("inf"))

    def handle_timer(self) -> None:
        for host, (_, due) in list(self.asking.items()):
            if due <= self.net.now:
                nonce = self.net.rng.getrandbits(64)
                self.asking[host] = (nonce, self.net.now + 1.0)
                request = MapRequest(nonce, None, (self.address,), (RequestRecord(host),))
                inner = Endpoint(host.network.network_address, PORT)
                data = Ecm(Endpoint(self.address, PORT), inner, request.serialize()).serialize()
                self.net.send(Endpoint(self.address, PORT), Endpoint(MS, PORT), data)

    def receive(self, data: bytes, source: Endpoint) -> None:
        message = decode(data)
        if isinstance(message, MapReply):
            self._reply(message)
        elif isinstance(message, MapRequest) and message.smr:
            self._smr(message)

    def _reply(self, reply: MapReply) -> None:
        hosts = [host for host, (nonce, _) in self.asking.items() if nonce == reply.nonce]
        for host in hosts:
            del self.asking[host]
        if not hosts:
            return
        for record in reply.records:
            assert isinstance(record.eid, EidPrefix)
            # RFC 9301 section 5.5: a less-specific answer replaces what it covers.
            for known in [known for known in self.cache if record.eid.covers(known)]:
                del self.cache[known]
            self.cache[record.eid] = (self.net.now + record.ttl_minutes * 60.0, record)

    def _smr(self, smr: MapRequest) -> None:
        host = smr.source_eid
        assert isinstance(host, EidPrefix)
        last = self.solicited.get(host, float("-inf"))
        if self.look_up(host) is not None and self.net.now - last >= 3.0:
            self.solicited[host] = self.net.now
            self.ask(host, fresh=True)


class Network:
    """Everybody, the time, and the packets under way."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.loss = self.repeat = self.delay = 0.0
        self.steps = 0
        self._order = itertools.count()
        self._under_way: list[tuple[float, int, Endpoint, Endpoint, bytes]] = []
        self.etrs = [
            Etr(self, ipaddress.ip_address(f"203.0.113.{n}"), merge=n > 2) for n in range(1, 5)
        ]
        self.itrs = [Itr(self, ipaddress.ip_address(f"198.51.100.{n}")) for n in (1, 2)]
        self.store = CrashingStore()
        self.ms = self._started()

    def _started(self) -> MapSystem:
        prefix = {"prefix": PREFIX, "accept_more_specifics": True}
        other = {"prefix": OTHER_PREFIX, "accept_more_specifics": True}
        keys = [{"key_id": 1, "key": KEY.decode()}]
        site = {"name": "one", "authentication_keys": keys, "eid_prefixes": [prefix, other]}
        ms = MapSystem(
            Config.model_validate({"sites": [site]}),
            store=self.store,
            policy=RegisteredPolicy(),
            rng=self.rng,
        )
        self._carry_out(ms.start(self.now))
        return ms

    def crash(self) -> None:
        """kill -9 of the Map-Server: what was not flushed is gone."""
        self.store = CrashingStore(self.store.tables)
        self.ms = self._started()

    def flush(self) -> None:
        """The store writes what it has."""
        self._carry_out(self.ms.durable(self.store.flush(), self.now))

    def send(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        for _ in range(2 if self.rng.random() < self.repeat else 1):
            if self.rng.random() >= self.loss:
                when = self.now + 0.01 + self.rng.random() * self.delay
                item = (when, next(self._order), source, destination, data)
                heapq.heappush(self._under_way, item)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SendControl):
                self.send(Endpoint(MS, PORT), action.destination, action.data)

    def _deliver(self) -> None:
        _, _, source, destination, data = heapq.heappop(self._under_way)
        if destination.address == MS:
            self._carry_out(self.ms.receive(data, source, self.now))
        for node in (*self.etrs, *self.itrs):
            if node.address == destination.address:
                node.receive(data, source)

    def run(self, seconds: float) -> None:
        """Let time pass; the store is flushed about once a second."""
        end = self.now + seconds
        flush = self.now + 0.3
        while True:
            nodes = (*self.etrs, *self.itrs)
            network = self._under_way[0][0] if self._under_way else float("inf")
            timer = self.ms.next_timer()
            times = [network, timer or float("inf"), *(node.next_timer() for node in nodes)]
            if self.store.durable_seq < self.store.seq:
                times.append(max(flush, self.now))
            when = min(times)
            if when > end:
                break
            self.steps += 1
            assert self.steps < 500_000, "the network never comes to rest"
            self.now = max(self.now, when)
            if self.now >= flush and self.store.durable_seq < self.store.seq:
                self.flush()
                flush = self.now + 1.0
            if self._under_way and self._under_way[0][0] <= self.now:
                self._deliver()
            if (timer := self.ms.next_timer()) is not None and timer <= self.now:
                self._carry_out(self.ms.handle_timer(self.now))
            for node in nodes:
                if node.next_timer() <= self.now:
                    node.handle_timer()
        self.now = end

    # --- the truth ---

    def truth(self) -> dict[EidPrefix, tuple[Locator, ...]]:
        """What is registered once everything has come to rest."""
        found: dict[EidPrefix, dict[IPAddress, Locator]] = {}
        for etr in self.etrs:
            if etr.up:
                for eid, locators in etr.has.items():
                    found.setdefault(eid, {}).update({x.rloc: x for x in locators})
        return {
            eid: tuple(sorted(by_rloc.values(), key=lambda x: int(x.rloc)))
            for eid, by_rloc in found.items()
        }

    def registered(self) -> dict[EidPrefix, tuple[Locator, ...]]:
        """What the Map-Server answers with."""
        return {entry.eid: entry.mapping.locators for entry in self.ms.inventory.mappings(None)}

    def true_answer(self, host: EidPrefix) -> tuple[Locator, ...]:
        """What an ITR should do about a host."""
        truth = self.truth()
        configured = EidPrefix.from_text(OTHER_PREFIX)
        matches = [eid for eid in truth if eid.covers(host)]
        best = max(matches, key=lambda eid: eid.prefixlen, default=None)
        if best is None or (configured.covers(host) and best.prefixlen < configured.prefixlen):
            return ()
        return truth[best]
