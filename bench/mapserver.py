"""Map-Requests and Map-Registers answered a second, against a plain UDP echo.

    python bench/mapserver.py [--prefixes N] [--seconds S] [--rounds R] [--workers 1,2,0]
                              [--only requests|registers]
    python bench/mapserver.py --switch

The load generator (bench/loadgen.c, compiled here) is another process on the same machine, so the
server gets less than a core of its own where cores are few: replies per processor second of the
server are printed beside replies per second. The yardstick, a blocking Python UDP echo of the same
datagrams, is measured before and after each figure. With --switch, ryu-manager answers Map-Requests
while a fake switch (bench/fakeswitch.c) sends it packet-ins that each need a flow; the yardstick is
each of the two alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import ipaddress
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _common import (
    Generator,
    Load,
    children,
    cpu_seconds,
    echo,
    free_port,
    heading,
    process,
    random_prefixes,
    row,
)
from _fakeswitch import FakeSwitch
from _overlay import (
    DATAPATH_ID,
    KEY,
    configuration,
    controller,
    fill,
    remote_prefixes,
    write,
)

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.model import Locator
from lisp_sdn.wire import Ecm, EidRecord, MapRegister, MapRequest, RequestRecord, auth

QUESTIONS = 50_000
"""Different Map-Requests of a run, each for a host in another registered EID-prefix."""
REGISTRATIONS = 20_000

SETUPS = 500
"""Flow set-ups a second that go on beside Map-Requests with --switch."""


def questions(prefixes: list[int], length: int, rng: random.Random) -> Iterator[bytes]:
    """ECM Map-Requests for hosts behind as many EID-prefixes, from 256 source EIDs.

    Nonce, ITR-RLOC and inner source port are zero: the generator fills them in.
    """
    span = 32 - length
    nobody = ipaddress.IPv4Address(0)
    for address in rng.sample(prefixes, min(QUESTIONS, len(prefixes))):
        eid = EidPrefix.trusted(0, 4, address | (rng.getrandbits(span) if span else 0), 32)
        source = EidPrefix.trusted(0, 4, 0x0A000000 | rng.randrange(256), 32)
        request = MapRequest(0, source, (nobody,), (RequestRecord(eid),))
        inner = Endpoint(source.network.network_address, 0)
        target = Endpoint(eid.network.network_address, 4342)
        yield Ecm(inner, target, request.serialize()).serialize()


def registers(prefixes: list[int], length: int, records: int) -> Iterator[bytes]:
    """Signed Map-Registers of new EID-prefixes, `records` each, with want-map-notify."""
    locators = tuple(Locator(ipaddress.ip_address(f"203.0.113.{n}")) for n in (1, 2))
    nonce = time.time_ns()
    for at in range(0, len(prefixes), records):
        eids = [EidPrefix.trusted(0, 4, a, length) for a in prefixes[at : at + records]]
        message = MapRegister(
            nonce,
            tuple(EidRecord(eid, locators) for eid in eids),
            proxy_reply=True,
            want_notify=True,
            xtr_id=5000,
            site_id=1,
        )
        nonce += 1
        yield auth.sign(message, 1, KEY.encode(), 2)


class Server:
    """A lisp-map-server in processes of its own. pids: worker 0 and the others."""

    def __init__(self, config: Path, workers: int, stack: contextlib.ExitStack) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "lisp_sdn.cli.map_server", "--config", str(config)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--workers", str(workers)]
        pid = stack.enter_context(process(*command))
        self.pids = [pid, *children(pid)]

    def busy(self) -> float:
        """Processor seconds of all workers so far."""
        return sum(map(cpu_seconds, self.pids))


class Embedded(Server):
    """The same mapping system inside `ryu-manager lisp_sdn.apps`."""

    def __init__(
        self, settings: dict[str, Any], directory: Path, stack: contextlib.ExitStack
    ) -> None:
        self.manager = stack.enter_context(controller(settings, directory))
        self.port, self.pids = self.manager.control, [self.manager.pid]


def measure(busy: Callable[[], float], run: Callable[[], Load]) -> tuple[Load, float]:
    """A run and the processor seconds that the server spent on it."""
    before = busy()
    load = run()
    return load, busy() - before


def text(load: Load, busy: float, what: str) -> str:
    """Answers a second, answers per processor second, percentiles."""
    return (
        f"{load.rate:,.0f} {what}/s ({load.received / busy:,.0f} per CPU second), "
        f"p50 {load.p50 / 1000:.2f} ms, p99 {load.p99 / 1000:.2f} ms, lost {load.lost}"
    )


class Bench:
    """One run of everything."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.seconds = arguments.seconds
        self.count = arguments.prefixes
        self.rounds = arguments.rounds
        self.rng = random.Random(1)
        self.generator = Generator()

    def yardstick(self, messages: Path) -> tuple[float, float]:
        """The echo: answers a second, and per processor second."""
        with echo() as (pid, port):
            load, busy = measure(
                lambda: cpu_seconds(pid),
                lambda: self.generator.run("echo", port, messages, seconds=self.seconds),
            )
        return load.rate, load.received / busy

    def requests(self, workers: int, length: int) -> None:
        """Map-Requests for random prefixes of one length, from 16 ITRs. workers: 0 embedded."""
        prefixes = [address >> 1 for address in self.random(length)]
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = configuration(directory)
            fill(directory / "store.db", prefixes, length)
            messages = self.generator.messages(questions(prefixes, length, self.rng))
            server = (
                Server(write(settings, directory), workers, stack)
                if workers
                else Embedded(settings, directory, stack)
            )
            self.warm_up(server, messages)
            for _ in range(self.rounds):
                plain, plain_cpu = self.yardstick(messages)
                load, busy = measure(
                    server.busy,
                    lambda: self.generator.run(
                        "request", server.port, messages, seconds=self.seconds, flows=16
                    ),
                )
                where = f"{workers} worker(s)" if workers else "in ryu-manager"
                what = f"Map-Requests, {self.count:,} x /{length}, {where}"
                stick = f"echo {plain:,.0f}/s ({plain_cpu:,.0f} per CPU second)"
                row(what, text(load, busy, "replies"), stick, load.rate / plain)

    def beside_switch(self, length: int) -> None:
        """Map-Requests and flow set-ups in one ryu-manager, each alone and both at once."""
        prefixes = [address >> 1 for address in self.random(length)]
        remote = remote_prefixes(50_000, self.rng)
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = configuration(directory, switch=True)
            fill(directory / "store.db", prefixes, length)
            fill(directory / "store.db", remote, 24, remote=True)
            messages = self.generator.messages(questions(prefixes, length, self.rng))
            server = Embedded(settings, directory, stack)
            switch = stack.enter_context(
                FakeSwitch(DATAPATH_ID, [address | 1 for address in remote])
            )
            switch.connect(server.manager.openflow)
            switch.setups(5, count=1000)
            self.warm_up(server, messages)
            for _ in range(self.rounds):
                self.alone_and_together(server, switch, messages)
            switch.disconnect()

    def alone_and_together(self, server: Server, switch: FakeSwitch, messages: Path) -> None:
        """One round."""

        def requests() -> Load:
            return self.generator.run(
                "request", server.port, messages, seconds=self.seconds, flows=16
            )

        def both() -> Load:
            switch.begin_setups(self.seconds, rate=SETUPS)
            return requests()

        alone, busy = measure(server.busy, requests)
        row("Map-Requests in ryu-manager, alone", text(alone, busy, "replies"))
        setups = switch.setups(self.seconds, rate=SETUPS)
        row(f"flow set-ups, {SETUPS}/s sent, alone", setups.text())
        together, busy = measure(server.busy, both)
        beside = switch.end_setups()
        row(
            f"Map-Requests, {SETUPS} set-ups/s beside them",
            text(together, busy, "replies"),
            "alone",
            together.rate / alone.rate,
        )
        row("the set-ups beside them", beside.text(), "alone", beside.rate / setups.rate)

    def warm_up(self, server: Server, messages: Path) -> None:
        """Let every worker see every question once, as it has after a minute of service."""
        for _ in range(10):
            load = self.generator.run("request", server.port, messages, seconds=15, flows=16)
            if load.received > 2 * QUESTIONS * len(server.pids):
                return
        print("# not warmed up: what follows is answered by the full path in part")

    def registers(self, records: int) -> None:
        """Authenticated Map-Registers of new EID-prefixes, acknowledged once they are on disk."""
        prefixes = [a >> 1 for a in random_prefixes(REGISTRATIONS, 32, 32, self.rng)]
        prefixes = sorted(set(prefixes))
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = Server(write(configuration(directory), directory), 1, stack)
            messages = self.generator.messages(registers(prefixes, 32, records))
            load, busy = measure(
                server.busy,
                lambda: self.generator.run(
                    "register", server.port, messages, seconds=60, outstanding=128, flows=1
                ),
            )
            what = f"Map-Registers, {records} record(s), SHA-256, Map-Notify when on disk"
            digests = hmac_rate(len(next(registers(prefixes, 32, records))))
            stick = f"two HMACs alone {digests:,.0f}/s"
            row(what, text(load, busy, "registers"), stick, load.rate / digests)
            row("  EID-prefixes registered", f"{load.rate * records:,.0f}/s")

    def random(self, length: int) -> list[int]:
        """Distinct random prefixes, one bit shorter than asked: the top bit is left free."""
        return random_prefixes(self.count, 32, length - 1, self.rng)


def hmac_rate(length: int) -> float:
    """Pairs of HMAC-SHA-256 over a message of this length that one core makes a second."""
    data = bytes(length)
    rounds = 20_000
    start = time.perf_counter()
    for _ in range(rounds):
        hmac.digest(b"key", data, "sha256")
        hmac.digest(b"key", data, "sha256")
    return rounds / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefixes", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2,0", help="0: inside ryu-manager")
    parser.add_argument("--only", choices=["requests", "registers"])
    parser.add_argument("--switch", action="store_true", help="only beside flow set-ups")
    arguments = parser.parse_args()
    heading("Map-Server with policy and rate limits in force, 256 requests in flight")
    bench = Bench(arguments)
    if arguments.switch:
        bench.beside_switch(24)
        return
    if arguments.only != "registers":
        for workers in map(int, arguments.workers.split(",")):
            for length in (32, 24):
                bench.requests(workers, length)
    if arguments.only != "requests":
        for records in (1, 20):
            bench.registers(records)


if __name__ == "__main__":
    main()
