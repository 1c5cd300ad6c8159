"""The source guard on real Open vSwitch, with packets that a foreign router writes octet by octet.

One foreign ETR is registered for 10.12.9.0/24 and 2001:db8:e12:9::/64, with two RLOCs, one of each
family. What it sends is answered by our host, and the answer comes back to it; what the guard drops
is not answered.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import foreign_wire as wire
import pytest
import yaml
from foreign_lab import ETR, ITR, OUR_HOST, OUR_RLOC, ForeignLab, Peer
from foreign_wire import HKDF, Record, Rloc
from labrun import LabError, in_namespace, poll

if TYPE_CHECKING:
    from labnodes import LispNode

EID, SENDER, NOBODY = "10.12.9.0/24", "10.12.9.1", "10.200.0.1"
KEY = "first"
IN_FLIGHT = 3


class Data:
    """UDP port 4341 of one RLOC of the foreign router."""

    def __init__(self, node: LispNode, rloc: str) -> None:
        with in_namespace(node.pid):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((rloc, 4341))
        self._socket.settimeout(0.02)
        self.headers: set[bytes] = set()

    def __enter__(self) -> Data:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ping(self, source: str, sequence: int, target: str = OUR_HOST) -> None:
        """An echo request of a source EID to our host."""
        echo = struct.pack("!BBHHH", 8, 0, 0, 4343, sequence)
        echo = echo[:2] + struct.pack("!H", wire.checksum(echo)) + echo[4:]
        self._socket.sendto(wire.gpe(wire.ip_packet(source, target, 1, echo)), (OUR_RLOC, 4341))

    def packets(self, wait: float) -> Iterator[bytes]:
        """Inner packets that come in this time."""
        end = time.monotonic() + wait
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                data = self._socket.recv(65535)
                self.headers.add(data[:4])
                yield wire.read_gpe(data)[1]

    def answers(self, wait: float = 0.5, *, until: int | None = None) -> list[int]:
        """Sequence numbers of the echo replies that come; until: stop at this one."""
        seen = []
        for packet in self.packets(wait):
            if packet[9] == 1 and packet[20] == 0:
                seen.append(struct.unpack_from("!H", packet, 26)[0])
                if seen[-1] == until:
                    break
        return seen


class Guarded(ForeignLab):
    """The lab with a guard; `mode` changes it by a reload of the configuration."""

    mode = "count"

    def start(self) -> None:
        self.net.ctl.start(self._configuration())
        poll("our xTR to connect", self._connected, 15)

    def _configuration(self) -> dict[str, Any]:
        store = {"path": str(self.net.ctl.dir / "lisp.db")}
        return self.net.controller_config({"store": store, "source_guard": {"mode": self.mode}})

    def change(self, mode: str) -> None:
        self.mode = mode
        text = yaml.safe_dump(self._configuration(), sort_keys=False)
        (self.net.ctl.dir / "lisp.yaml").write_text(text)
        reply = self.net.ctl.rest("POST", "/lisp/v1/configuration/reload", {})
        assert reply.status == 200, reply.body
        assert self.get("/xtrs/ours/source-guard")["mode"] == mode

    def register(self, *rlocs: str) -> None:
        with Peer(self.node, ETR) as peer:
            item = Record(EID, tuple(Rloc(rloc) for rloc in rlocs))
            register = wire.map_register(
                self.next_nonce(), [item], KEY, HKDF, proxy=True, use_ttl=True
            )
            peer.send(register)
            # RLOC-probes of our xTR and SMRs come here as well.
            while (data := peer.receive()) and data[0] >> 4 != wire.MAP_NOTIFY:
                pass
            assert data is not None

    def verdicts(self) -> dict[tuple[str, str], str | None]:
        items = self.get("/xtrs/ours/source-guard?limit=1000")["items"]
        return {(item["eid"], item["rloc"] or item["port"]): item["reason"] for item in items}

    def counted(self, reason: str) -> int:
        """Packets that the guard has counted for a reason, in the metrics."""
        text = self.net.ctl.rest("GET", "/metrics").body
        assert isinstance(text, str)
        for line in text.splitlines():
            if line.startswith("lisp_source_guard_packets_total{") and f'"{reason}"' in line:
                return int(float(line.split()[-1]))
        return 0


@pytest.fixture(scope="module")
def lab(_lab_possible: None) -> Iterator[Guarded]:
    with Guarded() as lab:
        lab.h1.ping("10.1.0.254", 1)
        yield lab


@pytest.fixture
def etr(lab: Guarded) -> Iterator[Data]:
    with Data(lab.node, ETR) as data:
        yield data


def spoof_from_host(lab: Guarded, source: str, target: str) -> None:
    """An echo request that our host sends in another name."""
    with in_namespace(lab.h1.pid):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    echo = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
    echo = echo[:2] + struct.pack("!H", wire.checksum(echo)) + echo[4:]
    with raw:
        raw.sendto(wire.ip_packet(source, target, 1, echo), (target, 0))


def poll_count(lab: Guarded, reason: str, packets: int) -> None:
    """The flows' counters are read every two seconds."""

    def complete() -> bool:
        now = lab.counted(reason)
        if now < packets:
            raise LabError(f"{now} of {packets}")
        return True

    poll(f"{packets} packets counted as {reason}", complete, 8)
    # Open vSwitch counts packets that were on their way to us when the flow came for it as well.
    assert packets <= lab.counted(reason) <= packets + IN_FLIGHT


def warm(lab: Guarded, etr: Data) -> None:
    """Both ways known, so that what is not answered was dropped by the guard."""
    lab.register(ETR)

    def answered() -> bool:
        etr.ping(SENDER, 1)
        return bool(etr.answers(1.0, until=1))

    poll("an answer of our host", answered, 10)


def test_in_mode_count_everything_passes_and_is_counted(lab: Guarded, etr: Data) -> None:
    lab.change("count")
    warm(lab, etr)
    before = lab.counted("source-rloc-mismatch")
    with Data(lab.node, ITR) as spoofer:
        for sequence in range(100, 150):
            spoofer.ping(SENDER, sequence)
            time.sleep(0.002)
    assert sorted(etr.answers(5.0, until=149)) == list(range(100, 150))
    # N, L, E and V clear, no nonce, no map-versions; I and P set, Next Protocol IPv4 (RFC 9305).
    assert etr.headers == {bytes.fromhex("0c000001")}
    poll_count(lab, "source-rloc-mismatch", before + 50)
    verdicts = lab.verdicts()
    assert verdicts[EID, ETR] is None
    assert verdicts[EID, ITR] == "source-rloc-mismatch"
    ports = lab.counted("source-eid-not-of-port")
    for _ in range(5):
        spoof_from_host(lab, "10.77.0.1", SENDER)
        time.sleep(0.05)
    sources = [packet[12:16] for packet in etr.packets(1.0)]
    assert sources.count(socket.inet_aton("10.77.0.1")) == 5
    poll_count(lab, "source-eid-not-of-port", ports + 5)


def test_enforced_spoofed_packets_are_dropped_and_others_are_not(lab: Guarded, etr: Data) -> None:
    lab.change("enforce")
    warm(lab, etr)
    before = {
        reason: lab.counted(reason) for reason in ("source-rloc-mismatch", "source-eid-unknown")
    }
    with Data(lab.node, ITR) as spoofer:
        for sequence in range(200, 300):
            etr.ping(SENDER, sequence)
            spoofer.ping(SENDER, 1000 + sequence)
            time.sleep(0.002)
        etr.ping(NOBODY, 2000)
        seen = etr.answers(5.0, until=299) + etr.answers(0.3)
        assert sorted(seen) == list(range(200, 300))
        assert spoofer.answers(0.1) == []
    poll_count(lab, "source-rloc-mismatch", before["source-rloc-mismatch"] + 100)
    assert lab.counted("source-eid-unknown") == before["source-eid-unknown"] + 1
    assert "drop" not in str(lab.get("/xtrs/ours")["problems"])
    # Our own host: in its own name, not in another.
    assert lab.h1.ping("10.1.0.254", 2).received == 2
    list(etr.packets(0.1))
    spoof_from_host(lab, "10.77.0.1", SENDER)
    spoof_from_host(lab, OUR_HOST, SENDER)
    sources = [packet[12:16] for packet in etr.packets(0.6)]
    assert socket.inet_aton(OUR_HOST) in sources
    assert socket.inet_aton("10.77.0.1") not in sources


def test_the_first_packet_of_a_sender_waits_and_arrives(lab: Guarded, etr: Data) -> None:
    lab.change("off")
    lab.change("enforce")
    warm(lab, etr)
    lab.change("off")
    lab.change("enforce")
    assert (EID, ETR) not in lab.verdicts()
    for sequence in range(300, 310):
        etr.ping(SENDER, sequence)
    assert sorted(etr.answers(3.0, until=309)) == list(range(300, 310))


def test_a_withdrawn_rloc_is_refused_at_once(lab: Guarded, etr: Data) -> None:
    lab.change("enforce")
    lab.register(ETR, ITR)
    warm(lab, etr)
    lab.register(ETR, ITR)
    with Data(lab.node, ITR) as other:

        def arrives(sequence: int, wait: float) -> bool:
            other.ping(SENDER, sequence)
            return sequence in etr.answers(wait, until=sequence) + other.answers(0.05)

        poll("the second RLOC to be used", lambda: arrives(400, 0.5), 8)
        lab.register(ETR)
        # The Map-Notify is here, and with it the verdict; Open vSwitch takes a moment to forget.
        assert lab.verdicts()[EID, ITR] == "source-rloc-mismatch"
        numbers = itertools.count(1000)
        poll("a refused packet", lambda: not arrives(next(numbers), 0.5), 3)
        assert not arrives(401, 0.5)
        etr.ping(SENDER, 402)
        assert 402 in etr.answers(1.0, until=402)
        lab.register(ETR, ITR)
        assert lab.verdicts()[EID, ITR] is None
        assert arrives(403, 1.0)


def test_a_restarted_controller_takes_the_verdicts_over(lab: Guarded, etr: Data) -> None:
    lab.change("enforce")
    warm(lab, etr)
    with Data(lab.node, ITR) as spoofer:
        spoofer.ping(SENDER, 500)
        poll("a refusal", lambda: lab.verdicts().get((EID, ITR)), 5)
        lab.net.ctl.kill()
        # Nobody decides now; what was decided holds.
        etr.ping(SENDER, 501)
        spoofer.ping(SENDER, 502)
        assert etr.answers(1.0) == [501]
        lab.start()
        events = lab.get("/events?limit=1000")["items"]
        (told,) = [item for item in events if item["kind"] == "switch.reconciled"]
        verdicts = lab.verdicts()
        assert (verdicts[EID, ETR], verdicts[EID, ITR]) == (None, "source-rloc-mismatch")
        assert told["data"]["changes"] == 0
        etr.ping(SENDER, 503)
        spoofer.ping(SENDER, 504)
        assert etr.answers(1.0) == [503]
