"""The lisp-map-server command as processes of its own, on the loopback interface."""

from __future__ import annotations

import ipaddress
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.cli.lig import main as lig
from lisp_sdn.cli.map_server import main
from lisp_sdn.cli.workers import is_for_a_copy
from lisp_sdn.model import Locator
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

KEY = b"map-server-test-key"
CONFIG = """
sites:
- name: athens
  authentication_keys: [{{key: {key}}}]
  eid_prefixes: [{{prefix: 10.0.0.0/8, accept_more_specifics: true}}]
  proxy_reply: true
store: {{path: {store}}}
limits: {{map_requests_per_source: 100000, map_replies_per_eid: 10000}}
"""
PATIENCE = 20.0


class Server:
    """One lisp-map-server and the tests' ETR and ITRs."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "config.yaml"
        self.config.write_text(CONFIG.format(key=KEY.decode(), store=directory / "store.db"))
        self.process: subprocess.Popen[str] | None = None
        self.nonce = time.time_ns()
        # Map-Notifies come to port 4342: an address that no other test uses.
        self.etr = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        number = random.SystemRandom().randrange(1, 1 << 16)
        self.etr.bind((f"127.77.{number >> 8}.{number & 0xFF}", 4342))
        self.etr.settimeout(PATIENCE)
        self.itrs = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(12)]
        for itr in self.itrs:
            itr.bind(("127.0.0.1", 0))
            itr.settimeout(1.0)

    def start(self, workers: int = 1) -> None:
        command = [sys.executable, "-m", "lisp_sdn.cli.map_server", "--config", str(self.config)]
        command += ["--listen", "127.0.0.1:0", "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready: 127.0.0.1:"), line
        assert line.rstrip().endswith(f"workers {workers}")
        self.target = ("127.0.0.1", int(line.split(":")[2].split(",")[0]))

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.stop(signal.SIGKILL)
        for sock in (self.etr, *self.itrs):
            sock.close()

    def register(self, *prefixes: str, ttl: int = 1440, nonce: int | None = None) -> MapNotify:
        """Register and wait for the Map-Notify."""
        self.etr.sendto(self.registration(*prefixes, ttl=ttl, nonce=nonce), self.target)
        message = decode(self.etr.recv(65535))
        assert type(message) is MapNotify
        assert message.nonce == self.nonce
        return message

    def registration(self, *prefixes: str, ttl: int = 1440, nonce: int | None = None) -> bytes:
        self.nonce = self.nonce + 1 if nonce is None else nonce
        locators = (Locator(ipaddress.ip_address("203.0.113.1")),) if ttl else ()
        records = tuple(EidRecord(EidPrefix.from_text(p), locators, ttl) for p in prefixes)
        message = MapRegister(self.nonce, records, want_notify=True, xtr_id=1, site_id=1)
        return auth.sign(message, 1, KEY, 3)

    def ask(self, itr: socket.socket, eid: str) -> int | None:
        """How many RLOCs the answer names; None without an answer."""
        nonce = random.getrandbits(64)
        address = ipaddress.ip_address("127.0.0.1")
        request = MapRequest(nonce, None, (address,), (RequestRecord(EidPrefix.from_text(eid)),))
        inner = Endpoint(address, itr.getsockname()[1])
        target = Endpoint(ipaddress.ip_address(eid), 4342)
        itr.sendto(Ecm(inner, target, request.serialize()).serialize(), self.target)
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            try:
                message = decode(itr.recv(65535))
            except TimeoutError:
                return None
            if isinstance(message, MapReply) and message.nonce == nonce:
                return len(message.records[0].locators)
        return None

    def everybody_hears(self, eid: str, rlocs: int) -> bool:
        """Whether the same comes back to every ITR, whichever worker answers."""
        return all(self.ask(itr, eid) == rlocs for itr in self.itrs)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
    return False


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_a_life_with_kill_9_and_with_workers(server: Server) -> None:
    """One story, because starting processes is what takes the time here."""
    server.start()
    assert server.ask(server.itrs[0], "10.1.0.1") == 0
    notify = server.register("10.1.0.0/16")
    assert [str(record.eid) for record in notify.records] == ["10.1.0.0/16"]
    assert server.ask(server.itrs[0], "10.1.0.1") == 1
    assert server.ask(server.itrs[0], "10.1.0.2") == 1
    lg_004_lig_gets_its_answers(server)
    used = server.nonce
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL

    # What was acknowledged is there again, in every worker.
    server.start(workers=2)
    assert server.process is not None
    pid = server.process.pid
    assert server.everybody_hears("10.1.0.1", 1)
    # RFC 9301 section 5.6: so are the nonces; a replay is refused and not answered.
    server.etr.sendto(server.registration("10.9.0.0/16", nonce=used), server.target)
    server.nonce = used
    # From whichever worker a Map-Register lands on to all of them.
    for number in range(4):
        notify = server.register(f"10.2.{number}.0/24")
        assert [str(record.eid) for record in notify.records] == [f"10.2.{number}.0/24"]
        assert eventually(lambda n=number: server.everybody_hears(f"10.2.{n}.1", 1))
    assert server.everybody_hears("10.9.0.1", 0)
    server.register("10.1.0.0/16", ttl=0)
    assert eventually(lambda: server.everybody_hears("10.1.0.1", 0))

    before = children(pid)
    assert len(before) == 1
    os.kill(before[0], signal.SIGKILL)
    assert eventually(lambda: len(set(children(pid)) - set(before)) == 1)
    server.register("10.3.0.0/16")
    assert eventually(lambda: server.everybody_hears("10.3.0.1", 1))
    assert server.everybody_hears("10.2.3.1", 1)
    assert server.stop() == 0


def lg_004_lig_gets_its_answers(server: Server) -> None:
    """Ours, and one that sends from another port than the inner one (as old ones do)."""
    for eid, code in (("10.1.0.1", 0), ("10.200.0.1", 3)):
        to = f"127.0.0.1:{server.target[1]}"
        shown = CliRunner().invoke(lig, [eid, "--to", to, "--json"])
        assert shown.exit_code == code, shown.output
    wants, sends = server.itrs[:2]
    address = ipaddress.ip_address("127.0.0.1")
    request = MapRequest(7, None, (address,), (RequestRecord(EidPrefix.from_text("10.1.0.1")),))
    inner = Endpoint(address, wants.getsockname()[1])
    target = Endpoint(ipaddress.ip_address("10.1.0.1"), 4342)
    sends.sendto(Ecm(inner, target, request.serialize()).serialize(), server.target)
    message = decode(wants.recv(65535))
    assert isinstance(message, MapReply)
    assert message.nonce == 7


def test_without_worker_0_no_worker_serves_on(server: Server) -> None:
    server.start(workers=2)
    assert server.process is not None
    others = children(server.process.pid)
    assert len(others) == 1
    server.stop(signal.SIGKILL)
    # Not Path.exists: a process that goes in that moment makes it raise.
    assert eventually(lambda: not any(os.path.exists(f"/proc/{other}/stat") for other in others))


def test_mistakes_are_told_in_one_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, arguments)
        return result.exit_code, result.output

    good = tmp_path / "good.yaml"
    good.write_text("sites: []")
    bad = tmp_path / "bad.yaml"
    bad.write_text("sites: [{name: x}]")
    code, output = run("--config", str(bad))
    assert code == 1
    assert "sites[0].authentication_keys" in output
    code, output = run("--config", str(good), "--listen", "nonsense")
    assert code == 2
    assert "'nonsense' is not ADDRESS:PORT" in output
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as busy:
        busy.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{busy.getsockname()[1]}"
        code, output = run("--config", str(good), "--listen", where)
    assert code == 1
    assert f"UDP {where}: Address already in use" in output


@pytest.mark.parametrize(
    ("data", "mine"),
    [
        (b"", True),
        (b"\x80", False),
        (b"\x30\0\0\1", False),
        (b"\x50\0\0\1", False),
        (b"\x10\0\0\1", True),
        (b"\x10\x10\0\1", False),
    ],
)
def test_what_a_copy_answers(data: bytes, mine: bool) -> None:
    assert is_for_a_copy(data) is mine


@pytest.mark.parametrize("eid", ["10.0.0.1", "2001:db8::1"])
@pytest.mark.parametrize("subscribes", [False, True])
def test_subscriptions_are_not_for_a_copy(eid: str, subscribes: bool) -> None:
    key = EidPrefix.from_text(eid)
    ids = {"xtr_id": 1, "site_id": 2} if subscribes else {}
    itr = ipaddress.ip_address("192.0.2.1" if key.version == 4 else "2001:db8::2")
    request = MapRequest(1, None, (itr,), (RequestRecord(key, subscribes),), **ids)
    inner = Endpoint(itr, 4342)
    data = Ecm(inner, Endpoint(key.network.network_address, 4342), request.serialize())
    assert is_for_a_copy(data.serialize()) is not subscribes
    assert is_for_a_copy(request.serialize()) is not subscribes
