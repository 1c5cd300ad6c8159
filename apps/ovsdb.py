"""Is the switch set up for LISP? Asked of its database (RFC 7047) when we know where it is."""

from __future__ import annotations

import ipaddress
import os
from typing import Any

import eventlet
from eventlet.green import socket

from lisp_sdn.config import XtrSettings
from lisp_sdn.ovsdb import rpc
from lisp_sdn.ovsdb.plan import TUNNEL_OPTIONS, TUNNEL_TYPE

TIMEOUT = 5.0
"""Seconds for connecting and the answer together."""


class OvsdbError(Exception):
    """The database cannot be asked; the text is one line for the operator."""


def problems(xtr: XtrSettings) -> list[str]:
    """What the database shows of the tunnel port and its bridge. Raises OvsdbError."""
    if xtr.ovsdb is None:
        raise OvsdbError("not configured; for that set xtrs[].ovsdb")
    interfaces, bridges, underlay = query(
        xtr.ovsdb,
        rpc.select(
            "Interface", ["type", "options", "error", "ofport"], [["name", "==", xtr.tunnel_port]]
        ),
        rpc.select(
            "Bridge", ["name", "fail_mode"], [["datapath_id", "==", f"{xtr.datapath_id:016x}"]]
        ),
        rpc.select("Interface", ["name", "mtu"], [["name", "==", xtr.underlay.bridge]]),
    )
    others = bridge_problems(bridges) + underlay_problems(xtr, underlay)
    if not interfaces:
        bridge = bridges[0]["name"] if bridges else "BRIDGE"
        add = f"ovs-vsctl add-port {bridge} {xtr.tunnel_port} -- {repair(xtr)}"
        return [f"port {xtr.tunnel_port} can be added so: {add}", *others]
    return interface_problems(xtr, interfaces[0]) + others


def interface_problems(xtr: XtrSettings, row: dict[str, Any]) -> list[str]:
    """What is wrong with the tunnel port. row: of table Interface."""
    port = xtr.tunnel_port
    found = []
    if row["type"] != TUNNEL_TYPE:
        found.append(f"port {port}: type is {row['type'] or 'empty'}, expected {TUNNEL_TYPE}")
    options = dict(row["options"][1])
    for name, expected in TUNNEL_OPTIONS.items():
        value = options.get(name)
        if value is None:
            found.append(f"port {port}: options:{name} is missing, expected {expected}")
        elif value != expected:
            found.append(f"port {port}: options:{name} is {value}, expected {expected}")
    if found:
        found[-1] += f"; lispctl xtr adopt {xtr.name}, or ovs-vsctl {repair(xtr)}"
    elif isinstance(row["error"], str) and row["error"]:
        found.append(f"port {port}: Open vSwitch says: {row['error']}")
    return found


def bridge_problems(rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the overlay bridge. rows: of table Bridge with its datapath id."""
    found = []
    for row in rows:
        # Not set is an empty set, and means standalone.
        mode = row["fail_mode"] if isinstance(row["fail_mode"], str) else "standalone"
        if mode != "secure":
            found.append(
                f"bridge {row['name']}: fail_mode is {mode}, expected secure: without a "
                "controller it would forget its flows and forward as a learning switch; "
                f"ovs-vsctl set-fail-mode {row['name']} secure"
            )
    return found


def underlay_problems(xtr: XtrSettings, rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the LOCAL port of the underlay bridge. rows: of table Interface."""
    expected = xtr.underlay.mtu
    return [
        f"bridge {row['name']}: its MTU is {row['mtu']}, underlay.mtu says {expected}: larger "
        f"packets are lost; ovs-vsctl set interface {row['name']} mtu_request={expected}, or lower "
        "the setting"
        for row in rows
        if isinstance(row["mtu"], int) and row["mtu"] < expected
    ]


def repair(xtr: XtrSettings) -> str:
    """The ovs-vsctl command that sets the port up as it should be."""
    options = " ".join(f"options:{name}={value}" for name, value in TUNNEL_OPTIONS.items())
    return f"set interface {xtr.tunnel_port} type={TUNNEL_TYPE} {options}"


def query(target: str, *operations: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows of each operation. target: "tcp:ADDR:PORT" or "unix:PATH". Raises OvsdbError."""
    try:
        with eventlet.Timeout(TIMEOUT), _connect(target) as connection:
            connection.sendall(rpc.transact(operations))
            answer = rpc.Answer()
            while (results := answer.feed(connection.recv(65536))) is None:
                pass
        refused = rpc.refusal(results)
        if refused is not None or len(results) < len(operations):
            raise ValueError(refused or f"{len(results)} results, expected {len(operations)}")
        return [result["rows"] for result in results[: len(operations)]]
    except eventlet.Timeout:
        raise OvsdbError(f"{target}: no answer in {TIMEOUT:.0f} s") from None
    except OSError as error:
        # eventlet gives the name of the error where the system gives a sentence.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OvsdbError(f"{target}: {reason}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise OvsdbError(f"{target}: not what a database of Open vSwitch says: {error!r}") from None


def _connect(target: str) -> Any:
    kind, _, rest = target.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(rest)
        return connection
    host, _, port = rest.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family)
    connection.connect((str(address), int(port)))
    return connection
