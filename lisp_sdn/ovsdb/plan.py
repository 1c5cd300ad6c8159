"""What has to change in a database so that its switch is an xTR: steps to show, one transaction.

What is as it should be is left alone, so the plan for an adopted switch is empty. Bridges, ports
and controllers of somebody else are named and refused, until the operator says otherwise.

Open vSwitch flushes the flows of a bridge that gets its first or loses its last controller, so
controllers are changed in the transaction that changes everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lisp_sdn.ovsdb.rpc import Operation
from lisp_sdn.ovsdb.snapshot import Bridge, Interface, Port, Snapshot

TUNNEL_TYPE = "vxlan"
TUNNEL_OPTIONS = {
    "exts": "gpe",
    "dst_port": "4341",
    "key": "flow",
    "remote_ip": "flow",
    "local_ip": "flow",
    "packet_type": "legacy_l3",
    "tos": "inherit",
    "ttl": "inherit",
}
"""What makes a VXLAN port of Open vSwitch speak LISP-GPE (RFC 9305), with DSCP, ECN and TTL as
RFC 9300 section 5.3 wants them."""

PROTOCOL = "OpenFlow13"
DATAPATH_TYPE = "netdev"
MAX_BACKOFF = 1000
"""Milliseconds after which a switch looks for a restarted controller, at most."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An xTR as its database should show it.

    overlay: name of its bridge, None for the one that has its datapath id, or br0. underlay: with
    its datapath id, the bridge of its RLOCs. internal: ports of the overlay that Open vSwitch makes
    itself. uplinks: ports of the underlay bridge. controllers: targets such as
    "tcp:192.0.2.53:6653"; () keeps those that are there. mtu: of the RLOCs' interface.
    """

    xtr: str
    datapath_id: int
    tunnel_port: str = "lisp0"
    eid_ports: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()
    overlay: str | None = None
    underlay: tuple[str, int] | None = None
    uplinks: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()
    mtu: int | None = None


@dataclass(slots=True)
class Plan:
    """steps: sentences for the operator. refused: what stands in the way. operations: for one
    transaction, in this order; to be carried out only when nothing is refused.
    """

    steps: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        """Whether anything has to change."""
        return bool(self.operations)


def make(
    wanted: Wanted, snapshot: Snapshot, *, take_over: bool = False, add_uplinks: bool = False
) -> Plan:
    """The plan for a switch. take_over: also what somebody else seems to own.

    add_uplinks: put uplinks into the underlay bridge; the system then reaches nothing by their own
    addresses any more, so that these belong on the bridge.
    """
    planner = _Planner(wanted, snapshot, take_over=take_over)
    planner.overlay()
    if wanted.underlay is not None:
        planner.underlay(*wanted.underlay, add_uplinks=add_uplinks)
    return planner.finish()


class _Planner:
    def __init__(self, wanted: Wanted, snapshot: Snapshot, *, take_over: bool) -> None:
        self._wanted = wanted
        self._snapshot = snapshot
        self._take_over = take_over
        self._plan = Plan()
        self._names = 0

    def finish(self) -> Plan:
        """The plan; with operations it makes the daemon tell when it has done them.

        And they are carried out on what was looked at only: ovs-vsctl raises next_cfg, too.
        """
        if self._plan.operations:
            where = _is(self._snapshot.uuid)
            unchanged: Operation = {
                "op": "wait",
                "timeout": 0,
                "table": "Open_vSwitch",
                "where": where,
                "columns": ["next_cfg"],
                "until": "==",
                "rows": [{"next_cfg": self._snapshot.next_cfg}],
            }
            self._plan.operations.insert(0, unchanged)
            self._do("mutate", "Open_vSwitch", where, mutations=[["next_cfg", "+=", 1]])
        return self._plan

    # --- bridges ---

    def overlay(self) -> None:
        """The bridge with the EID-facing ports and the tunnel port."""
        wanted = self._wanted
        mine = (b for b in self._snapshot.bridges if b.datapath_id == wanted.datapath_id)
        found = next(mine, None)
        name = wanted.overlay or (found.name if found else "br0")
        bridge = self._snapshot.bridge(name)
        if found is not None and found.name != name:
            self._plan.refused.append(
                f"datapath id {wanted.datapath_id:016x} is that of bridge {found.name} already"
            )
        ports: list[tuple[str, str, dict[str, str]]] = [(p, "", {}) for p in wanted.eid_ports]
        ports += [(port, "internal", {}) for port in wanted.internal]
        tunnel: tuple[str, str, dict[str, str]] = (wanted.tunnel_port, TUNNEL_TYPE, TUNNEL_OPTIONS)
        if bridge is not None and bridge.datapath_id != wanted.datapath_id:
            known = {port for port, _, _ in (*ports, tunnel)} | {name}
            others = [port.name for port in bridge.ports if port.name not in known]
            if others:
                self._foreign(
                    f"bridge {name} has ports that are not of xTR {wanted.xtr}: {', '.join(others)}"
                )
        columns = {"fail_mode": "secure"}
        config = {"disable-in-band": "true"}
        self._bridge(
            name, bridge, wanted.datapath_id, columns, config, [*ports, tunnel], "out-of-band"
        )

    def underlay(self, name: str, datapath_id: int, *, add_uplinks: bool) -> None:
        """The bridge of the RLOCs: it forwards without us, and stays as it is beside that.

        Its fail_mode is kept; a new one is standalone. The controller may be reached through it, so
        Open vSwitch is left its hidden flows for that (in-band).
        """
        bridge = self._snapshot.bridge(name)
        missing = [p for p in self._wanted.uplinks if bridge is None or bridge.port(p) is None]
        if missing and not add_uplinks:
            self._plan.refused.append(
                f"bridge {name} lacks the uplinks {', '.join(missing)}; what the system reaches by "
                "their addresses is cut off until these are on the bridge: --add-uplinks"
            )
        columns = {} if bridge is not None else {"fail_mode": "standalone"}
        ports: list[tuple[str, str, dict[str, str]]] = [(port, "", {}) for port in missing]
        self._bridge(name, bridge, datapath_id, columns, {}, ports, None)
        local = bridge.port(name) if bridge is not None else None
        for interface in local.interfaces if local is not None else ():
            self._pin_mtu(interface)

    def _bridge(
        self,
        name: str,
        bridge: Bridge | None,
        datapath_id: int,
        columns: dict[str, str],
        config: dict[str, str],
        ports: Iterable[tuple[str, str, dict[str, str]]],
        mode: str | None,
    ) -> None:
        config = {**config, "datapath-id": f"{datapath_id:016x}"}
        columns = {**columns, "datapath_type": DATAPATH_TYPE}
        if bridge is None:
            self._new_bridge(name, columns, config, ports, mode)
            return
        if bridge.datapath_id not in (None, datapath_id):
            self._foreign(
                f"bridge {name} has datapath id {bridge.other_config['datapath-id']}, not "
                f"{datapath_id:016x}"
            )
        if bridge.datapath_type != DATAPATH_TYPE:
            self._foreign(
                f"bridge {name} has datapath type {bridge.datapath_type or 'system'}, expected "
                f"{DATAPATH_TYPE}; to change it makes all its ports anew"
            )
        row: dict[str, Any] = {}
        for column, value in columns.items():
            old = getattr(bridge, column)
            if old != value:
                row[column] = value
                self._step(f"~ bridge {name}: {column} {old or 'not set'} -> {value}")
        if bridge.protocols != {PROTOCOL}:
            row["protocols"] = PROTOCOL
            was = ", ".join(sorted(bridge.protocols)) or "all"
            self._step(f"~ bridge {name}: protocols {was} -> {PROTOCOL}")
        changed = {k: v for k, v in config.items() if not _same(k, bridge.other_config.get(k), v)}
        for key, value in changed.items():
            old = bridge.other_config.get(key, "not set")
            self._step(f"~ bridge {name}: {key} {old} -> {value}")
        if changed:
            row["other_config"] = _map({**bridge.other_config, **changed})
        controllers = self._controllers(bridge, mode)
        if controllers is not None:
            row["controller"] = controllers
        if row:
            self._do("update", "Bridge", _is(bridge.uuid), row=row)
        made = [made for port in ports if (made := self._port(name, *port)) is not None]
        if made:
            self._do(
                "mutate", "Bridge", _is(bridge.uuid), mutations=[["ports", "insert", _set(made)]]
            )

    def _new_bridge(
        self,
        name: str,
        columns: dict[str, str],
        config: dict[str, str],
        ports: Iterable[tuple[str, str, dict[str, str]]],
        mode: str | None,
    ) -> None:
        told = ", ".join(f"{k} {v}" for k, v in sorted({**columns, **config}.items()))
        self._step(f"+ bridge {name}: {told}, protocols {PROTOCOL}")
        made = [self._new_port(name, name, "internal", {})]
        made += [new for port in ports if (new := self._port(name, *port)) is not None]
        row = {
            **columns,
            "name": name,
            "protocols": PROTOCOL,
            "other_config": _map(config),
            "ports": _set(made),
            "controller": _set(self._new_controllers(name, self._wanted.controllers, mode)),
        }
        if not self._wanted.controllers:
            self._no_controller(name)
        new = self._insert("Bridge", row)
        where = _is(self._snapshot.uuid)
        self._do("mutate", "Open_vSwitch", where, mutations=[["bridges", "insert", _set([new])]])

    # --- controllers ---

    def _controllers(self, bridge: Bridge, mode: str | None) -> Any:
        """What the bridge's column has to become; None when it is right."""
        targets = self._wanted.controllers
        known = {controller.target: controller for controller in bridge.controllers}
        if not targets:
            if not known:
                self._no_controller(bridge.name)
            return None
        others = [target for target in known if target not in targets]
        if others:
            self._foreign(f"bridge {bridge.name} is controlled by {', '.join(others)}")
            self._step(f"- bridge {bridge.name}: controller {', '.join(others)}")
        for target in targets:
            controller = known.get(target)
            if controller is None:
                continue
            row: dict[str, Any] = {}
            if mode is not None and controller.connection_mode != mode:
                row["connection_mode"] = mode
            if controller.max_backoff is None or controller.max_backoff > MAX_BACKOFF:
                row["max_backoff"] = MAX_BACKOFF
            if row:
                told = ", ".join(f"{key} {value}" for key, value in row.items())
                self._step(f"~ bridge {bridge.name}: controller {target}: {told}")
                self._do("update", "Controller", _is(controller.uuid), row=row)
        new = [target for target in targets if target not in known]
        if not new and not others:
            return None
        kept = [["uuid", known[target].uuid] for target in targets if target in known]
        return _set([*kept, *self._new_controllers(bridge.name, new, mode)])

    def _new_controllers(self, bridge: str, targets: Iterable[str], mode: str | None) -> list[Any]:
        made = []
        for target in targets:
            row: dict[str, Any] = {"target": target, "max_backoff": MAX_BACKOFF}
            if mode is not None:
                row["connection_mode"] = mode
            self._step(f"+ bridge {bridge}: controller {target}")
            made.append(self._insert("Controller", row))
        return made

    def _no_controller(self, bridge: str) -> None:
        self._plan.refused.append(
            f"bridge {bridge} has no controller; where does it reach this one? "
            "--controller tcp:ADDRESS:6653"
        )

    # --- ports ---

    def _port(
        self,
        here: str,
        name: str,
        kind: str,
        options: dict[str, str],
    ) -> Any:
        """A port of the bridge `here`: to be added to it, None when it is there."""
        holder = self._snapshot.holder(name)
        if holder is None:
            return self._new_port(here, name, kind, options)
        port = holder.port(name)
        assert port is not None
        if holder.name != here:
            self._foreign(f"port {name} is one of bridge {holder.name}")
            self._step(f"~ port {name}: from bridge {holder.name} to bridge {here}")
            gone = ["ports", "delete", _set([["uuid", port.uuid]])]
            self._do("mutate", "Bridge", _is(holder.uuid), mutations=[gone])
        self._correct(port, kind, options)
        return None if holder.name == here else ["uuid", port.uuid]

    def _correct(self, port: Port, kind: str, options: dict[str, str]) -> None:
        for interface in port.interfaces:
            row: dict[str, Any] = {}
            if interface.type != kind and (
                kind or interface.type not in ("", "internal", "system")
            ):
                self._foreign(
                    f"port {port.name} has type {interface.type or 'system'}, expected "
                    f"{kind or 'system'}"
                )
                row["type"] = kind
                self._step(f"~ port {port.name}: type {interface.type or 'system'} -> {kind}")
            changed = {k: v for k, v in options.items() if interface.options.get(k) != v}
            for key, value in changed.items():
                old = interface.options.get(key, "not set")
                self._step(f"~ port {port.name}: {key} {old} -> {value}")
            if changed:
                row["options"] = _map({**interface.options, **changed})
            if row:
                self._do("update", "Interface", _is(interface.uuid), row=row)

    def _new_port(self, bridge: str, name: str, kind: str, options: dict[str, str]) -> Any:
        if name != bridge:
            told = " ".join([kind or "system", *(f"{k}={v}" for k, v in options.items())])
            self._step(f"+ bridge {bridge}: port {name}: {told}")
        row: dict[str, Any] = {"name": name, "type": kind, "options": _map(options)}
        if self._wanted.mtu is not None and self._is_rloc_interface(name):
            row["mtu_request"] = self._wanted.mtu
        interface = self._insert("Interface", row)
        return self._insert("Port", {"name": name, "interfaces": interface})

    def _is_rloc_interface(self, name: str) -> bool:
        return self._wanted.underlay is not None and self._wanted.underlay[0] == name

    def _pin_mtu(self, interface: Interface) -> None:
        """Open vSwitch resets the MTU of an internal port when a port comes, unless it was asked
        for; so ask for the one that it has.
        """
        mtu = self._wanted.mtu or interface.mtu_request or interface.mtu
        if mtu is not None and mtu != interface.mtu_request:
            old = interface.mtu_request or "not set"
            self._step(f"~ port {interface.name}: mtu_request {old} -> {mtu}")
            self._do("update", "Interface", _is(interface.uuid), row={"mtu_request": mtu})

    # --- the plan ---

    def _step(self, text: str) -> None:
        self._plan.steps.append(text)

    def _foreign(self, text: str) -> None:
        if not self._take_over:
            self._plan.refused.append(f"{text}: --take-over")

    def _insert(self, table: str, row: dict[str, Any]) -> Any:
        self._names += 1
        name = f"row{self._names}"
        self._plan.operations.append(
            {"op": "insert", "table": table, "row": row, "uuid-name": name}
        )
        return ["named-uuid", name]

    def _do(self, op: str, table: str, where: list[Any], **more: Any) -> None:
        self._plan.operations.append({"op": op, "table": table, "where": where, **more})


def _same(key: str, old: str | None, new: str) -> bool:
    if key != "datapath-id" or old is None:
        return old == new
    try:
        return int(old, 16) == int(new, 16)
    except ValueError:
        return False


def _is(uuid: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", uuid]]]


def _set(items: list[Any]) -> list[Any]:
    return ["set", items]


def _map(values: dict[str, str]) -> list[Any]:
    return ["map", [[key, value] for key, value in sorted(values.items())]]
