"""UDP port 4342: whatever arrives is answered or counted with a reason, and nothing crashes."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from labrun import poll
from two_sites_lab import BLUE, H2, datagram, show

MAP_SERVER = "192.0.2.53"
GARBAGE = {
    "empty": b"",
    "one octet": b"\x10",
    "Map-Request cut short": bytes.fromhex("10000001") + b"\0" * 5,
    "unknown type": b"\x50" + b"\0" * 11,
    "Map-Register whose record count lies": bytes.fromhex("300000ff") + b"\0" * 20,
    "ECM without an inner header": b"\x80\0\0\0",
    "ECM around noise": b"\x80\0\0\0" + bytes(range(60)),
    "a Map-Reply that nobody asked for": bytes.fromhex("20000001") + b"\0" * 8,
    "text": b"GET / HTTP/1.1\r\n\r\n",
}


def dropped(lab: Any) -> float:
    """Drops with a reason, as the controller counts them."""
    return float(lab.counted("dropped{", "reason="))


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_counted_with_a_reason(lab: Any, name: str) -> None:
    before = dropped(lab)
    datagram(lab.node("core"), MAP_SERVER, 4342, GARBAGE[name])
    poll(f"{name!r} to be counted", lambda: dropped(lab) > before, 5)
    told = [item for item in lab.refusals() if item["source"].startswith(("192.0.2.254", "["))]
    assert told, show(lab.refusals())
    assert all(item["reason"] and item["detail"] for item in told), show(told)
    assert alive(lab)


def test_a_storm_of_noise_leaves_the_controller_alive(lab: Any) -> None:
    rng = random.Random(4342)
    noise = [rng.randbytes(rng.randrange(1, 200)) for _ in range(2000)]
    # Plausible types with nonsense behind them.
    noise += [
        bytes([kind << 4]) + rng.randbytes(60) for kind in (1, 2, 3, 4, 8) for _ in range(200)
    ]
    before = dropped(lab)
    datagram(lab.node("core"), MAP_SERVER, 4342, *noise)
    poll("the noise to be counted", lambda: dropped(lab) - before >= 1000, 20)
    assert alive(lab)
    assert lab.h1.ping(H2, 2, 0.1).received == 2


def test_noise_on_the_data_port_and_from_hosts_is_harmless(lab: Any) -> None:
    rng = random.Random(4341)
    datagram(lab.node("core"), "198.51.100.1", 4341, *(rng.randbytes(80) for _ in range(200)))
    gpe = struct.pack("!II", 0x0C000001, BLUE << 8)
    datagram(lab.node("core"), "198.51.100.1", 4341, *(gpe + rng.randbytes(60) for _ in range(200)))
    datagram(lab.h1, "10.1.0.254", 4342, *(rng.randbytes(60) for _ in range(50)))
    assert alive(lab)
    assert lab.h1.ping(H2, 2, 0.1).received == 2


def test_a_wrong_key_is_refused_and_told(lab: Any) -> None:
    """A Map-Register (RFC 9301 5.6) for a configured EID-prefix, signed with nothing."""
    record = bytes.fromhex("0000000a01180000 0000 4001 0a010000".replace(" ", ""))
    record = struct.pack("!IBBHHH", 1440, 0, 24, 0, 0, 1) + bytes([10, 1, 0, 0])
    message = struct.pack("!IQBBH", 0x30000001, 1, 1, 2, 16) + b"\0" * 16 + record
    before = dropped(lab)
    datagram(lab.node("core"), MAP_SERVER, 4342, message)
    poll("the refusal", lambda: dropped(lab) > before, 5)
    assert alive(lab)


def test_no_exception_was_logged(lab: Any) -> None:
    """Runs last in this file: none of the above made the controller stumble."""
    log = lab.net.ctl.log.read_text(errors="replace")
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]


def alive(lab: Any) -> bool:
    status = lab.get("/status")
    assert status["xtrs_connected"] == 2, show(status)
    return lab.net.ctl.process is not None and lab.net.ctl.process.poll() is None
