"""What a database says of bridges, ports, interfaces and controllers, as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lisp_sdn.ovsdb.rpc import Operation, Row, select

COLUMNS: dict[str, tuple[str, ...]] = {
    "Open_vSwitch": ("_uuid", "next_cfg", "cur_cfg"),
    "Bridge": (
        "_uuid",
        "name",
        "ports",
        "controller",
        "datapath_type",
        "fail_mode",
        "protocols",
        "other_config",
    ),
    "Port": ("_uuid", "name", "interfaces"),
    "Interface": ("_uuid", "name", "type", "options", "error", "mtu", "mtu_request"),
    "Controller": ("_uuid", "target", "connection_mode", "max_backoff", "is_connected"),
}
"""The tables and columns that are read."""


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface. mtu: as the system has it; mtu_request: as it was asked for."""

    uuid: str
    name: str
    type: str
    options: dict[str, str]
    error: str
    mtu: int | None
    mtu_request: int | None


@dataclass(frozen=True, slots=True)
class Port:
    """A port with its interfaces."""

    uuid: str
    name: str
    interfaces: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Controller:
    """An OpenFlow controller of a bridge. max_backoff: milliseconds."""

    uuid: str
    target: str
    connection_mode: str | None
    max_backoff: int | None
    connected: bool


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge. fail_mode: None when it is not set, which means standalone."""

    uuid: str
    name: str
    ports: tuple[Port, ...]
    controllers: tuple[Controller, ...]
    datapath_type: str
    fail_mode: str | None
    protocols: frozenset[str]
    other_config: dict[str, str]

    @property
    def datapath_id(self) -> int | None:
        """The datapath id that was asked for; None when it is derived from a MAC address."""
        text = self.other_config.get("datapath-id")
        try:
            return None if text is None else int(text, 16)
        except ValueError:
            return None

    def port(self, name: str) -> Port | None:
        """The port with this name."""
        return next((port for port in self.ports if port.name == name), None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole database at one time. next_cfg, cur_cfg: asked for, and carried out by the daemon."""

    uuid: str
    next_cfg: int
    cur_cfg: int
    bridges: tuple[Bridge, ...]

    def bridge(self, name: str) -> Bridge | None:
        """The bridge with this name."""
        return next((bridge for bridge in self.bridges if bridge.name == name), None)

    def holder(self, port: str) -> Bridge | None:
        """The bridge that has a port with this name."""
        return next((bridge for bridge in self.bridges if bridge.port(port)), None)


def questions() -> list[Operation]:
    """The operations whose results `read` takes."""
    return [select(table, columns) for table, columns in COLUMNS.items()]


def read(results: Sequence[dict[str, Any]]) -> Snapshot:
    """The answer to `questions`. Raises ValueError, KeyError, TypeError, IndexError for others."""
    system, bridges, ports, interfaces, controllers = (result["rows"] for result in results[:5])
    by_interface = {_uuid(row): _interface(row) for row in interfaces}
    by_port = {
        _uuid(row): Port(
            _uuid(row),
            row["name"],
            tuple(by_interface[uuid] for uuid in _uuids(row["interfaces"])),
        )
        for row in ports
    }
    by_controller = {_uuid(row): _controller(row) for row in controllers}
    return Snapshot(
        _uuid(system[0]),
        int(system[0]["next_cfg"]),
        int(system[0]["cur_cfg"]),
        tuple(
            Bridge(
                _uuid(row),
                row["name"],
                tuple(by_port[uuid] for uuid in _uuids(row["ports"])),
                tuple(by_controller[uuid] for uuid in _uuids(row["controller"])),
                row["datapath_type"],
                _optional(row["fail_mode"]),
                frozenset(_items(row["protocols"])),
                _map(row["other_config"]),
            )
            for row in sorted(bridges, key=lambda row: str(row["name"]))
        ),
    )


def _interface(row: Row) -> Interface:
    return Interface(
        _uuid(row),
        row["name"],
        row["type"],
        _map(row["options"]),
        _optional(row["error"]) or "",
        _optional(row["mtu"]),
        _optional(row["mtu_request"]),
    )


def _controller(row: Row) -> Controller:
    return Controller(
        _uuid(row),
        row["target"],
        _optional(row["connection_mode"]),
        _optional(row["max_backoff"]),
        bool(row["is_connected"]),
    )


def _uuid(row: Row) -> str:
    return str(row["_uuid"][1])


def _items(value: Any) -> list[Any]:
    """A set of RFC 7047 section 5.1: one atom stands for itself."""
    is_set = isinstance(value, list) and len(value) == 2 and value[0] == "set"
    return list(value[1]) if is_set else [value]


def _uuids(value: Any) -> Iterable[str]:
    return [item[1] for item in _items(value)]


def _optional(value: Any) -> Any:
    items = _items(value)
    return items[0] if items else None


def _map(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value[1]}
