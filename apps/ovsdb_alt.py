"""Is the ALT bridge set up for GRE? Asked of its database when we know where it is."""

from __future__ import annotations

from typing import Any

from lisp_sdn.alt_settings import AltBridge, AltTunnel
from lisp_sdn.apps.ovsdb import OvsdbError, bridge_problems, query
from lisp_sdn.ovsdb import rpc


def problems(bridge: AltBridge) -> list[str]:
    """What the database shows of the tunnels' ports and their bridge. Raises OvsdbError."""
    if bridge.ovsdb is None:
        raise OvsdbError("not configured; for that set alt.bridge.ovsdb")
    interfaces, bridges = query(
        bridge.ovsdb,
        rpc.select("Interface", ["name", "type", "options", "error"], []),
        rpc.select(
            "Bridge", ["name", "fail_mode"], [["datapath_id", "==", f"{bridge.datapath_id:016x}"]]
        ),
    )
    found = bridge_problems(bridges)
    rows = {row["name"]: row for row in interfaces}
    for tunnel in bridge.tunnels:
        # That a port is missing is told by the switch itself.
        if tunnel.port in rows:
            found += tunnel_problems(tunnel, rows[tunnel.port])
        if tunnel.host_port in rows and rows[tunnel.host_port]["type"] != "internal":
            kind = rows[tunnel.host_port]["type"] or "empty"
            found.append(f"port {tunnel.host_port}: type is {kind}, expected internal")
    return found


def tunnel_problems(tunnel: AltTunnel, row: dict[str, Any]) -> list[str]:
    """What is wrong with a GRE port. row: of table Interface."""
    found = []
    if row["type"] != "gre":
        found.append(f"port {tunnel.port}: type is {row['type'] or 'empty'}, expected gre")
    options = dict(row["options"][1])
    expected = {"packet_type": "legacy_l3"}
    if tunnel.local is not None:
        expected["local_ip"] = str(tunnel.local)
    if tunnel.remote is not None:
        expected["remote_ip"] = str(tunnel.remote)
    for name, value in expected.items():
        if options.get(name) != value:
            seen = options.get(name, "missing")
            found.append(f"port {tunnel.port}: options:{name} is {seen}, expected {value}")
    if "key" in options:
        # RFC 2784 section 2 has none, and an ALT-Router that sends none is not heard.
        found.append(f"port {tunnel.port}: options:key is {options['key']}, expected none")
    if found:
        settings = " ".join(f"options:{name}={value}" for name, value in expected.items())
        found[-1] += f"; ovs-vsctl set interface {tunnel.port} type=gre {settings}"
    elif isinstance(row["error"], str) and row["error"]:
        found.append(f"port {tunnel.port}: Open vSwitch says: {row['error']}")
    return found
