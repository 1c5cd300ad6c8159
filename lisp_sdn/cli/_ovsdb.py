"""A connection to the database of an Open vSwitch, for commands: one question at a time."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Sequence
from typing import Any

from lisp_sdn.errors import LispError
from lisp_sdn.ovsdb import rpc, snapshot
from lisp_sdn.ovsdb.rpc import Operation
from lisp_sdn.ovsdb.snapshot import Snapshot

TIMEOUT = 10.0
"""Seconds for connecting, and for an answer."""

SETTLE = 10.0
"""Seconds that ovs-vswitchd may take for what the database says."""


class OvsdbError(LispError):
    """The database cannot be asked, or refuses; one line for the operator."""


class Database:
    """target: "tcp:ADDRESS:PORT" or "unix:PATH"."""

    def __init__(self, target: str) -> None:
        self.target = target

    def read(self) -> Snapshot:
        """What it says now. Raises OvsdbError."""
        results = self.transact(snapshot.questions())
        try:
            return snapshot.read(results)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            text = f"{self.target}: not what a database of Open vSwitch says: {error!r}"
            raise OvsdbError(text) from None

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """Carry out operations, all or none. Raises OvsdbError."""
        answer = rpc.Answer()
        try:
            with self._connect() as connection:
                connection.sendall(rpc.transact(operations))
                while (results := answer.feed(connection.recv(65536))) is None:
                    pass
        except TimeoutError:
            raise OvsdbError(f"{self.target}: no answer in {TIMEOUT:.0f} s") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OvsdbError(f"{self.target}: {reason}") from None
        refused = rpc.refusal(results)
        if refused is not None:
            raise OvsdbError(f"{self.target}: refused: {refused}")
        return results

    def settle(self) -> Snapshot | None:
        """Wait until ovs-vswitchd has done what the database says; None when it takes too long."""
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            now = self.read()
            if now.cur_cfg >= now.next_cfg:
                return now
            time.sleep(0.05)
        return None

    def _connect(self) -> socket.socket:
        kind, _, rest = self.target.partition(":")
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT)
            connection.connect(rest)
            return connection
        host, _, port = rest.rpartition(":")
        if kind != "tcp" or not port.isdigit():
            raise ValueError("expected tcp:ADDRESS:PORT or unix:PATH")
        address = ipaddress.ip_address(host.strip("[]"))
        return socket.create_connection((str(address), int(port)), TIMEOUT)
