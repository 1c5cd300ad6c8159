"""Coverage-guided fuzzing of the decoder: `python tests/fuzz/fuzz_wire.py [--seconds 60] [CORPUS]`.

Needs the package atheris. Starts from the vectors of tests/vectors; the CORPUS directory
(by default one in the directory for temporary files) keeps what was found from run to run.
Whatever the octets are: only DecodeError may be raised; what decodes goes out and comes in again as
the same value; the peek agrees with the decoder. A finding ends the run with exit code 77, its
octets in a file crash-*; it becomes a named unit test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CORPUS = Path(tempfile.gettempdir()) / "lisp_sdn-fuzz-wire"
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["lisp_sdn.wire", "lisp_sdn.address"]):
    from lisp_sdn.address import EidPrefix
    from lisp_sdn.errors import DecodeError
    from lisp_sdn.wire import Ecm, MapRequest, decode
    from lisp_sdn.wire.header import decode_data
    from lisp_sdn.wire.peek import Peeked, peek_map_request
    from lisp_sdn.wire.understood import understood


def check(data: bytes) -> None:
    """What must hold for any octets."""
    peeked = peek_map_request(data)
    for gpe in (False, True):
        with contextlib.suppress(DecodeError):
            decode_data(data, gpe=gpe)
    try:
        message = decode(data)
    except DecodeError:
        assert peeked is None
        return
    assert decode(message.serialize()) == message
    with contextlib.suppress(DecodeError):
        again = understood(message)
        assert understood(again) is again
    inner = message
    if isinstance(message, Ecm):
        try:
            inner = decode(message.payload)
        except DecodeError:
            assert peeked is None
            return
    if peeked is not None:
        check_peek(peeked, inner, message.source.port if isinstance(message, Ecm) else 0)


def check_peek(peeked: Peeked, message: object, port: int) -> None:
    """The peek says what the decoder says."""
    nonce, iid, _, eid, mask_len, source, source_iid, _, _, peeked_port, pitr = peeked
    assert isinstance(message, MapRequest)
    (record,) = message.records
    assert record.eid == EidPrefix.trusted(
        iid, 4 if len(eid) == 4 else 6, int.from_bytes(eid, "big"), mask_len
    )
    assert nonce == message.nonce.to_bytes(8, "big")
    assert (pitr, peeked_port) == (message.pitr, port)
    if message.source_eid is None:
        assert source == b""
    else:
        assert isinstance(message.source_eid, EidPrefix)
        assert source == message.source_eid.network.network_address.packed
        assert source_iid == message.source_eid.iid


def seeds(folder: Path) -> None:
    """The vectors, one file each, for the fuzzer to start from."""
    for name in ("rfc.json", "more.json"):
        data = json.loads((ROOT / "tests" / "vectors" / name).read_text())
        for vector in data["vectors"]:
            (folder / vector["id"]).write_bytes(bytes.fromhex(vector["hex"]))


def main() -> None:
    """Run for a bounded time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("corpus", nargs="?", type=Path, default=DEFAULT_CORPUS)
    options = parser.parse_args()
    options.corpus.mkdir(parents=True, exist_ok=True)
    seeds(options.corpus)
    limits = [f"-max_total_time={options.seconds}", "-max_len=2048", "-timeout=5"]
    atheris.Setup([sys.argv[0], *limits, str(options.corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
