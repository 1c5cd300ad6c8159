"""The lig command against a Map-Resolver of the test's own on the loopback interface."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lisp_sdn.address import EidPrefix
from lisp_sdn.cli.lig import main
from lisp_sdn.model import Locator
from lisp_sdn.wire import Ecm, EidRecord, MapReply, MapRequest, decode

CONFIG = """
sites:
- name: athens
  authentication_keys: [{key: secret}]
  eid_prefixes:
  - {prefix: 10.5.0.0/16, iid: 3}
  - {prefix: 2001:db8:5::/48, iid: 3}
xtrs:
- name: athens-1
  site: athens
  datapath_id: 1
  rlocs: [{rloc: 192.0.2.1}]
control:
  listen: ["127.0.0.1:PORT"]
"""

Answer = Callable[[MapRequest], EidRecord | None]


class Resolver:
    """Answers each Map-Request from `answer`; keeps what it was asked."""

    def __init__(self, family: socket.AddressFamily, answer: Answer) -> None:
        self.asked: list[tuple[Ecm, MapRequest]] = []
        self._answer = answer
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while data := self._socket.recv(65535):
            ecm = decode(data)
            assert isinstance(ecm, Ecm)
            request = decode(ecm.payload)
            assert isinstance(request, MapRequest)
            self.asked.append((ecm, request))
            record = self._answer(request)
            if record is not None:
                reply = MapReply(request.nonce, (record,)).serialize()
                target = (str(request.itr_rlocs[0]), ecm.source.port)
                self._socket.sendto(reply, target)

    def close(self) -> None:
        own = self._socket.getsockname()
        self._socket.sendto(b"", own)
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._socket.close()


Start = Callable[..., Resolver]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Resolver] = []

    def begin(answer: Answer, family: socket.AddressFamily = socket.AF_INET) -> Resolver:
        running.append(Resolver(family, answer))
        return running[-1]

    yield begin
    for resolver in running:
        resolver.close()


def lig(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def mapping(request: MapRequest) -> EidRecord:
    eid = request.records[0].eid
    assert isinstance(eid, EidPrefix)
    version = eid.version
    cut = eid.network.supernet(new_prefix=24 if version == 4 else 48)
    locators = (
        Locator(ip_address("192.0.2.1"), 1, 75),
        Locator(ip_address("2001:db8::1"), 2, 25, reachable=False),
    )
    return EidRecord(EidPrefix(eid.iid, cut), locators, 1440, authoritative=True)


def nothing(request: MapRequest) -> None:
    return None


def test_lg_001_shows_prefix_replier_rtt_and_locators(start: Start) -> None:
    resolver = start(mapping)
    shown = lig("192.168.1.1", "--to", f"127.0.0.1:{resolver.port}")
    assert shown.exit_code == 0, shown.output
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert lines[0] == "Send Map-Request to 127.0.0.1 for 192.168.1.1/32 ..."
    assert lines[1].startswith("Received Map-Reply from 127.0.0.1 with rtt 0.")
    assert "192.168.1.0/24, expires: 1 day, 0:00:00, via Map-Reply, auth" in lines
    assert lines[-3:] == [
        "Locator State Priority/Weight",
        "192.0.2.1 up 1/75",
        "2001:db8::1 down 2/25",
    ]


def test_iid_source_and_ipv6_transport(start: Start) -> None:
    resolver = start(mapping, socket.AF_INET6)
    shown = lig(
        "10.0.0.1", "--iid", "9", "--source", "10.0.0.2", "--to", f"[::1]:{resolver.port}", "--json"
    )
    assert shown.exit_code == 0, shown.output
    ((ecm, request),) = resolver.asked
    assert request.records[0].eid == EidPrefix.from_text("[9] 10.0.0.1")
    assert request.source_eid == EidPrefix.from_text("[9] 10.0.0.2")
    assert request.itr_rlocs == (ip_address("::1"),)
    assert ecm.source.address == ip_address("::1")
    assert json.loads(shown.output)["records"][0]["eid_prefix"] == "[9] 10.0.0.0/24"


def test_lg_002_silence_is_told(start: Start) -> None:
    resolver = start(nothing)
    to = f"127.0.0.1:{resolver.port}"
    shown = lig("10.0.0.1", "--to", to, "--count", "1", "--interval", "1")
    assert shown.exit_code == 1
    assert "No Map-Reply after 1 Map-Request." in shown.output
    assert len(resolver.asked) == 1


def test_negative_reply_is_shown_as_such(start: Start) -> None:
    resolver = start(lambda r: EidRecord(EidPrefix.from_text("10.0.0.0/8"), (), 15, action=1))
    shown = lig("10.0.0.1", "--to", f"127.0.0.1:{resolver.port}")
    assert shown.exit_code == 3
    assert "Negative: no RLOC, action natively-forward" in shown.output


def config_file(tmp_path: Path, resolver: Resolver) -> str:
    path = tmp_path / "lisp.yaml"
    path.write_text(CONFIG.replace("PORT", str(resolver.port)))
    return str(path)


@pytest.mark.parametrize(("word", "eid"), [("self", "10.5.0.0"), ("self6", "2001:db8:5::")])
def test_lg_003_self_asks_for_our_first_prefix_from_itself(
    start: Start, tmp_path: Path, word: str, eid: str
) -> None:
    resolver = start(mapping)
    shown = lig(word, "--config", config_file(tmp_path, resolver))
    assert shown.exit_code == 0, shown.output
    ((_, request),) = resolver.asked
    assert request.records[0].eid == EidPrefix.from_text(f"[3] {eid}") == request.source_eid


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["10.0.0.1"], "no Map-Resolver"),
        (["self"], "needs --config"),
        (["10.0.0.1/8", "--to", "127.0.0.1"], "10.0.0.1/8"),
        (["10.0.0.1", "--to", "127.0.0.1:99999"], "99999"),
        (["10.0.0.1", "--to", "not an address"], "not an address"),
        (["10.0.0.1", "--count", "6", "--to", "127.0.0.1"], "--count"),
        (["10.0.0.1", "--count", "0", "--to", "127.0.0.1"], "--count"),
        (["10.0.0.1", "--iid", "16777216", "--to", "127.0.0.1"], "--iid"),
        (["10.0.0.1", "--source", "10.0.0.0/8", "--to", "127.0.0.1"], "10.0.0.0/8"),
        (["[5] 10.0.0.1", "--source", "[6] 10.0.0.2", "--to", "127.0.0.1"], "instance-ID 5"),
        (["10.0.0.1", "--xtr", "x", "--to", "127.0.0.1"], "--config"),
    ],
)
def test_wrong_use_is_told_without_sending(arguments: list[str], message: str) -> None:
    shown = lig(*arguments)
    assert shown.exit_code == 2
    assert message in shown.output


def test_self_needs_an_xtr_that_exists(start: Start, tmp_path: Path) -> None:
    path = config_file(tmp_path, start(nothing))
    shown = lig("self", "--config", path, "--xtr", "sparta-1")
    assert shown.exit_code == 2
    assert "athens-1" in shown.output
