"""Rates of the wire codec, per message type, on one core.

    python bench/wire.py [--seconds 0.2]

The yardstick is struct.unpack of 16 words, measured between the other measurements; "x" is how
many yardsticks one message takes. The aims are for a machine on which the yardstick takes 0.25
microseconds: an ECM-encapsulated Map-Request decoded in under 12, a Map-Reply with two RLOCs
encoded in under 8. Every figure is the best of many short runs, interleaved, so that a busy
neighbour counts less. The messages are those of tests/vectors/rfc.json.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from timeit import Timer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from _common import heading  # noqa: E402

from lisp_sdn.wire import Ecm, auth, decode  # noqa: E402
from lisp_sdn.wire.peek import peek_map_request  # noqa: E402

STATED_YARDSTICK = 0.25
RUNS = 50
AIMS = {"decode ECM + Map-Request": 12.0, "encode Map-Reply, 2 RLOCs": 8.0}
NAMES = {
    "V01": "Map-Request, IPv4",
    "V02": "Map-Request, IPv6, instance-ID",
    "V03": "Map-Reply, 2 RLOCs",
    "V04": "Map-Reply, negative",
    "V06": "Map-Register, 2 RLOCs",
    "V08": "Map-Notify, 2 RLOCs",
    "V12": "Map-Notify-Ack, 2 RLOCs",
    "B06": "Map-Referral, 2 nodes",
    "V09": "ECM, headers only",
    "B11": "Map-Reply, 11 LCAFs",
}


def load() -> tuple[dict[str, bytes], bytes]:
    """The vectors by id, and the key that they are signed with."""
    data = json.loads((ROOT / "tests" / "vectors" / "rfc.json").read_text())
    vectors = {v["id"]: bytes.fromhex(v["hex"]) for v in data["vectors"]}
    return vectors, bytes.fromhex(data["psk"]["hex"])


def cases() -> dict[str, Callable[[], object]]:
    """What is measured."""
    vectors, key = load()

    def ecm() -> object:
        outer = decode(vectors["V09"])
        assert isinstance(outer, Ecm)
        return decode(outer.payload)

    found: dict[str, Callable[[], object]] = {"decode ECM + Map-Request": ecm}
    for name, title in NAMES.items():
        data = vectors[name]
        message = decode(data)
        assert message.serialize() == data
        found[f"decode {title}"] = lambda data=data: decode(data)  # type: ignore[misc]
        found[f"encode {title}"] = message.serialize
    register = decode(vectors["V06"])
    derived = decode(vectors["V07"])
    found["verify Map-Register, HMAC-SHA-256"] = lambda: auth.verify(
        vectors["V06"],
        register,  # type: ignore[arg-type]
        key,
        2,
    )
    found["verify Map-Register, HKDF"] = lambda: auth.verify(
        vectors["V07"],
        derived,  # type: ignore[arg-type]
        key,
        3,
    )
    found["peek ECM + Map-Request, IPv4"] = lambda: peek_map_request(vectors["V09"])
    found["peek Map-Request, IPv6, instance-ID"] = lambda: peek_map_request(vectors["V02"])
    return found


def measure(seconds: float) -> dict[str, float]:
    """Seconds per call, the best of many runs that take about `seconds` per case."""
    octets = bytes(64)
    timers = {}
    timers["yardstick"] = Timer(
        "struct.unpack('!16I', octets)", globals={"struct": struct, "octets": octets}
    )
    timers |= {name: Timer(call) for name, call in cases().items()}
    # As many calls to a run as give every case the same time.
    calls = {
        name: max(1, int(seconds / RUNS / (timer.timeit(20) / 20)))
        for name, timer in timers.items()
    }
    best = dict.fromkeys(timers, float("inf"))
    for _ in range(RUNS):
        for name, timer in timers.items():
            best[name] = min(best[name], timer.timeit(calls[name]) / calls[name])
    return best


def main() -> int:
    """Print the table; exit code 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="per figure")
    seconds = parser.parse_args().seconds
    heading("wire codec")
    best = measure(seconds)
    yardstick = best.pop("yardstick")
    print(f"yardstick struct.unpack('!16I'): {yardstick * 1e6:.3f} us")
    print(f"{'':44}{'us':>8}{'per second':>12}{'x':>7}  aim")
    missed = 0
    for name, took in best.items():
        ratio = took / yardstick
        aim = AIMS.get(name)
        verdict = ""
        if aim is not None:
            limit = aim / STATED_YARDSTICK
            verdict = f"{ratio:.1f} of {limit:.0f} x: {'met' if ratio < limit else 'MISSED'}"
            missed += ratio >= limit
        print(f"{name:44}{took * 1e6:8.2f}{1 / took:12,.0f}{ratio:7.1f}  {verdict}")
    print(
        "# The limit is building objects: 2 EID-prefixes, 3 addresses, 2 endpoints and 3 messages"
    )
    print("# are more than half of an ECM + Map-Request. The peek builds none of them.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
